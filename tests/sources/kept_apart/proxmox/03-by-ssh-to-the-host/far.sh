#!/bin/bash
ssh root@pve 'pct set 101 --nameserver 8.8.8.8; pct exec 101 -- sh -c "echo 10.0.0.10 ca.internal.example >> /etc/hosts"'
