#!/bin/bash
BASE=192.168.50
for ((i=1; i<=3; i++)); do
  echo "$BASE.$((100+i)) worker$i.farm.example" >> /etc/hosts
done
n=0
while [ $n -lt 2 ]; do
  echo "$BASE.$((10+n)) master$n.farm.example" >> /etc/hosts
  n=$((n+1))
done
