#!/bin/bash
BACKUP=/etc/hosts.bak
cp /etc/hosts $BACKUP
echo "10.0.0.1 x.internal.example" >> /etc/hosts.deny
echo "10.0.0.1 y.internal.example" > ./hosts
echo "10.0.0.1 z.internal.example" >> "$HOME/etc-hosts"
sed 's/10.0.0.1/10.0.0.2/' /etc/hosts
sed -n '/traefik/p' /etc/hosts
cat <<EOF > /root/NOTES
10.0.0.1 w.internal.example >> /etc/hosts
EOF
: "echo 10.0.0.7 v.internal.example >> /etc/hosts"
# cat >> /etc/hosts <<EOF
# 10.0.0.8 u.internal.example
# EOF
