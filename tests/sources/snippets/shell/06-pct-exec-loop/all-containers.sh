#!/bin/bash
CONTAINERS="101 102 103"
LINE="10.0.0.153 traefik.internal.example"
for ct in $CONTAINERS; do
  echo "container $ct"
  pct exec "$ct" -- bash -c "echo '$LINE' >> /etc/hosts"
done
