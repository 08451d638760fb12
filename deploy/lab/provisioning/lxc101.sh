#!/bin/bash
# lxc101: the nameserver and gateway. Run on the Proxmox host; running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")"

CTID=101

pct push "$CTID" dnsmasq/internal.conf /etc/dnsmasq.d/internal.conf
pct exec "$CTID" -- systemctl restart dnsmasq
