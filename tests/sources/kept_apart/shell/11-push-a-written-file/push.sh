#!/bin/bash
set -u
workdir=$(mktemp -d)
trap 'rm -rf "$workdir"' EXIT
cat > "$workdir/hosts" <<EOF
127.0.0.1 localhost
10.0.0.10 ca.internal.example
EOF
pct push 102 "$workdir/hosts" /etc/hosts
install -m 0644 "$workdir/hosts" /etc/hosts
