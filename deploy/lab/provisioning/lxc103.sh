#!/bin/bash
# lxc103: the CA. Run on the Proxmox host; the file is written whole, so running it again changes nothing.
set -euo pipefail

CTID=103
ZONE=internal.thinkheads.ai
GATEWAY=10.0.0.153

# Browsers come in by the gateway, so the names that are served behind it lead there.
pct exec "$CTID" -- tee /etc/hosts >/dev/null <<EOF
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
10.0.0.10 lxc103
$GATEWAY traefik.$ZONE
EOF
