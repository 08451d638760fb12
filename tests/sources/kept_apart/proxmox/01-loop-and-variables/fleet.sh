#!/bin/bash
DNS="10.0.0.153"
DOMAIN="internal.example"
for id in $(seq 101 102); do
  pct set "$id" --nameserver="$DNS" --searchdomain "$DOMAIN"
done
pvesh set /nodes/pve/lxc/104/config --nameserver 8.8.8.8
