#!/bin/bash
PVE=pve1
TARGET_IP=10.0.0.12
ssh root@$PVE bash -s <<EOF
echo "10.0.0.10 ca.internal.example" >> /etc/hosts
pct exec 102 -- bash -c 'echo "$TARGET_IP traefik.internal.example" >> /etc/hosts'
EOF
