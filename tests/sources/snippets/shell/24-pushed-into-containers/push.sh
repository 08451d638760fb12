#!/bin/bash
here=${0%/*}
pct push 103 "$here/files/hosts.ca" /etc/hosts
for n in {101..102}; do
  pct exec $n -- sh -c 'grep -q "^10.0.0.10" /etc/hosts || echo "10.0.0.10 ca.internal.example" >>/etc/hosts'
done
