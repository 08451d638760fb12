#!/bin/bash
CTID=103
pct exec $CTID -- bash <<'SCRIPT'
apt-get install -y step-ca
echo "10.0.0.153 nginx.internal.example" >> /etc/hosts
printf 'nameserver 10.0.0.153\nsearch internal.example\n' > /etc/resolv.conf
SCRIPT
