#!/bin/bash
cat >> /etc/hosts <<'EOF'
# fleet
10.0.0.153  gateway.internal.example
10.0.0.12   $HOSTNAME.internal.example
EOF
