#!/bin/bash
ENTRIES=(
  "10.20.0.5 registry.corp.example"
  "10.20.0.6 git.corp.example git"
)
for entry in "${ENTRIES[@]}"; do
  echo "$entry" >> /etc/hosts
done
