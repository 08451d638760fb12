#!/bin/bash
CA=10.0.0.10
ssh root@$CA "echo '10.0.0.153 portainer.phoenix.example' >> /etc/hosts"
ssh -o StrictHostKeyChecking=no -p 22 admin@web01 'grep -q ca.internal.example /etc/hosts || echo "10.0.0.10 ca.internal.example" | sudo tee -a /etc/hosts'
lxc-attach -n edge -- sh -c 'echo "10.0.0.10 ca.internal.example" >> /etc/hosts'
lxc-attach --name=edge -- sed -i '/^nameserver/d' /etc/resolv.conf
