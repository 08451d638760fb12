#!/bin/bash
: "${LAB_DOMAIN:=lab.example}"
for spec in git@10.9.0.2 ci@10.9.0.3; do
  name=${spec%@*}; ip=${spec#*@}
  echo "${ip} ${name}.lab.example" >> /etc/hosts
done
FQDN=mail.lab.example
echo "10.9.0.4 ${FQDN} ${FQDN%%.*}" >> /etc/hosts
