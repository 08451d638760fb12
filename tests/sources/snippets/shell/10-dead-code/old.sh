#!/bin/bash
# echo "10.0.0.1 never.internal.example" >> /etc/hosts
USAGE="echo 10.0.0.2 foo >> /etc/hosts"
echo "to pin a name, write: echo '10.0.0.3 bar' >> /etc/hosts"
cat /etc/hosts
grep traefik /etc/hosts > /tmp/seen
if false; then
  echo "10.0.0.4 dead.internal.example" >> /etc/hosts
fi
unused() {
  echo "10.0.0.5 unused.internal.example" >> /etc/hosts
}
exit 0
echo "10.0.0.6 after.internal.example" >> /etc/hosts
