#!/bin/bash
vmid="$1"
phase="$2"
if [ "$phase" = "post-start" ]; then
  pct exec "$vmid" -- sh -c 'grep -q ca.internal.example /etc/hosts || echo "10.0.0.10 ca.internal.example" >> /etc/hosts'
fi
