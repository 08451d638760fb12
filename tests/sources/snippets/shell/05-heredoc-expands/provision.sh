#!/bin/bash
GATEWAY_IP="10.0.0.153"
DOMAIN=internal.example
CA_HOST="ca.${DOMAIN}"

cat <<EOF >> /etc/hosts
${GATEWAY_IP} traefik.${DOMAIN} traefik
10.0.0.10 ${CA_HOST}
10.0.0.11 plain.internal.example
EOF
