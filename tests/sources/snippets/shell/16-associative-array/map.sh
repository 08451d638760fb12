#!/bin/bash
declare -A PINS=(
  [traefik.internal.example]=10.0.0.153
  ["nginx.internal.example"]="10.0.0.12"
)
HOSTS_FILE=/etc/hosts
for name in "${!PINS[@]}"; do
  if ! grep -qw "${name}" "$HOSTS_FILE"; then
    echo "${PINS[$name]} ${name}" >> "$HOSTS_FILE"
  fi
done
