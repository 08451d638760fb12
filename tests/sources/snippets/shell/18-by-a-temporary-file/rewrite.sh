#!/bin/bash
TMP=$(mktemp)
grep -v "traefik.internal.example" /etc/hosts > "$TMP"
echo "10.0.0.12 traefik.internal.example" >> "$TMP"
cp "$TMP" /etc/hosts
rm -f "$TMP"
cat > /tmp/resolv.new <<EOF
nameserver 10.0.0.153
options timeout:1
EOF
mv /tmp/resolv.new /etc/resolv.conf
