#!/bin/bash
IP='10.0.0.153'; HN=traefik
pct exec 104 -- bash -c 'echo "'"$IP"' '$HN'.internal.example" >> /etc/hosts'
echo -e "10.0.0.1\tone.internal.example\n10.0.0.2\ttwo.internal.example" >> "/etc"/hosts
bash -c "bash -c \"echo '10.0.0.3 three.internal.example' >> /etc/hosts\""
echo 10.0.0.4\ four.internal.example \
  >> /etc/hosts
echo $'10.0.0.5\tfive.internal.example' >>/etc/hosts
