#!/bin/bash
while read -r ip name; do
  [ -z "$ip" ] && continue
  echo "$ip $name.internal.example" >> /etc/hosts
done <<TABLE
10.0.0.12 traefik
10.0.0.10 ca
TABLE
for pair in traefik:10.0.0.12 ca:10.0.0.10; do
  IFS=: read -r host addr <<< "$pair"
  printf '%s %s\n' "$addr" "$host.phoenix.example" >> /etc/hosts
done
