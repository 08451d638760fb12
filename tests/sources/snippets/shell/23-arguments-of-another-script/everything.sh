#!/bin/sh
cd "$(dirname "$0")" || exit 1
./add.sh 102 10.0.0.10 ca.internal.example
sh add.sh 103 10.0.0.12 traefik.internal.example
