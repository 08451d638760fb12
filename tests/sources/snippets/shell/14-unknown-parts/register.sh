#!/bin/sh
MY_IP=$(hostname -I | awk '{print $1}')
NAME="${1:-node}.pool.example"
echo "$MY_IP $(hostname).pool.example" >> /etc/hosts
echo "10.4.4.4 $NAME" >> /etc/hosts
