#!/bin/bash
. "$(dirname "$0")/site.env"
case "$ROLE" in
  ca|pki)
    echo "$TRAEFIK_ADDR traefik.internal.example" >> /etc/hosts
    ;;
  web)
    echo "10.0.0.99 never.internal.example" >> /etc/hosts
    ;;
esac
if [ "$ROLE" = "db" ]; then
  echo "10.0.0.98 db.internal.example" >> /etc/hosts
elif [[ $ROLE == ca ]]; then
  echo "10.0.0.97 backup.internal.example" >> /etc/hosts
fi
