#!/bin/bash
SCRIPT_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$SCRIPT_DIR/hosts-lib.sh"
add_host 10.0.0.12 traefik.internal.example
add_host "10.0.0.10" 'ca.internal.example'
