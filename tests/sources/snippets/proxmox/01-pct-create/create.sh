#!/bin/bash
TEMPLATE=local:vztmpl/debian-12.tar.zst
pct create 103 $TEMPLATE --hostname ca --memory 512 \
  --net0 name=eth0,bridge=vmbr0,ip=10.0.0.10/24,gw=10.0.0.1 \
  --nameserver 8.8.8.8 --searchdomain internal.example
pct set 102 -nameserver "10.0.0.153 1.1.1.1"
pct start 103
