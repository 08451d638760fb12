#!/bin/sh
ROOTFS=/var/lib/lxc/103/rootfs
mkdir -p $ROOTFS/etc /var/lib/lxc/104/rootfs/etc
echo "10.0.0.153 traefik.internal.example" >> $ROOTFS/etc/hosts
cat > /var/lib/lxc/104/rootfs/etc/resolv.conf <<EOF
nameserver 1.1.1.1
EOF
