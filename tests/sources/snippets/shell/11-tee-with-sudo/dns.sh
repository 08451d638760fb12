#!/bin/bash
echo "nameserver 8.8.8.8" | sudo tee /etc/resolv.conf > /dev/null
echo "nameserver 1.1.1.1" | sudo tee -a /etc/resolv.conf
sudo tee -a /etc/hosts >/dev/null <<HOSTS
172.16.3.4 vault.dc.example
HOSTS
sudo sh -c 'echo "172.16.3.5 consul.dc.example" >> /etc/hosts'
