#!/usr/bin/env bash
set -euo pipefail
grep -q 'traefik.lan.example' /etc/hosts || echo '192.168.7.2 traefik.lan.example' >> /etc/hosts
if ! grep -qF "portainer.lan.example" /etc/hosts; then
    echo "192.168.7.9 portainer.lan.example" >> /etc/hosts
fi
