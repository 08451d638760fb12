#!/bin/sh
cd "$(dirname "$0")"
sed -i 's/10\.0\.0\.12 traefik/10.0.0.153 traefik/' /etc/hosts
cat base.hosts fleet.hosts > /etc/hosts
