#!/bin/bash
pct list
pct set 103 --memory 1024
echo pct set 103 --nameserver 8.8.8.8
pct exec 103 -- cat /etc/resolv.conf
qm list
# pct set 104 --nameserver 1.1.1.1
