#!/bin/bash
set -e
docker exec -i proxy sh -c "echo '10.0.0.10 ca.internal.example' >> /etc/hosts"
echo '10.0.0.10 step.internal.example' | docker exec -i -u root proxy tee -a /etc/hosts
mkdir -p /etc/dnsmasq.d
cat > /etc/dnsmasq.d/fleet.conf <<-EOF
	# names of the fleet
	address=/traefik.internal.example/10.0.0.12
	host-record=ca.internal.example,10.0.0.10
EOF
echo "server=9.9.9.9" >> /etc/dnsmasq.conf
