#!/bin/bash
ips=(10.1.0.1 10.1.0.2)
names=("one.k8s.example" "two.k8s.example")
for i in "${!ips[@]}"; do
  printf "%-16s %s\n" "${ips[$i]}" "${names[$i]}" | tee -a /etc/hosts >/dev/null
done
