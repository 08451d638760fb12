#!/bin/sh
cat "$LEGO_CERT_PATH" "$LEGO_CERT_KEY_PATH" > /etc/haproxy/certs/"$LEGO_CERT_DOMAIN".pem && systemctl reload haproxy
