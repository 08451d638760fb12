#!/bin/bash
for f in /etc/hosts /etc/resolv.conf; do
  [ -r "$f" ] || echo "cannot read $f" >&2
done
cat <<'EOF'
Add this to /etc/hosts:
  10.0.0.153 traefik.internal.example
EOF
diff /etc/hosts files/hosts && echo "10.0.0.1 same" > /dev/null
awk '$2 == "traefik.internal.example" {print "10.0.0.1 " $2 " >> /etc/hosts"}' /etc/hosts
exit
cat >> /etc/hosts <<'EOF'
10.0.0.2 late.internal.example
EOF
