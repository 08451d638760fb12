#!/bin/bash
# prepare the proxy container
set -e
apt-get update
apt-get install -y curl

echo "10.0.0.153 traefik.internal.example" >> /etc/hosts
systemctl restart cron
