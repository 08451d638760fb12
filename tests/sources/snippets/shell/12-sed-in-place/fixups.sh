#!/bin/bash
sed -i '/traefik.internal.example/d' /etc/hosts
echo "10.0.0.153 traefik.internal.example" >> /etc/hosts
sed -i '$a 10.0.0.9 log.internal.example' /etc/hosts
sed -i -e 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf
sed -i "1i 10.0.0.8 first.internal.example" /etc/hosts
