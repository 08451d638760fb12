#!/bin/sh
# add.sh CTID ADDRESS NAME
[ $# -eq 3 ] || { echo "usage: add.sh CTID ADDRESS NAME" >&2; exit 64; }
id=$1; shift
pct exec "$id" -- sh -c "echo '$*' >> /etc/hosts"
