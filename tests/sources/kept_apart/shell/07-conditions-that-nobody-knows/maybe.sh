#!/bin/bash
if [ -n "$PRODUCTION" ]; then
  GATEWAY=10.0.0.153
else
  GATEWAY=10.0.0.253
fi
if ping -c1 -W1 10.0.0.12 >/dev/null 2>&1; then
  echo "10.0.0.12 up.internal.example" >> /etc/hosts
else
  echo "10.0.0.13 down.internal.example" >> /etc/hosts
fi
[ "$(id -u)" -eq 0 ] || exit 1
echo "10.0.0.14 always.internal.example" >> /etc/hosts
