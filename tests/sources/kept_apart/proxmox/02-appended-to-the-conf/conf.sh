#!/bin/bash
ID=105
cat >> /etc/pve/lxc/$ID.conf <<EOF
nameserver: 1.1.1.1
lxc.apparmor.profile: unconfined
EOF
echo "searchdomain: lan.example" >> /etc/pve/lxc/${ID}.conf
