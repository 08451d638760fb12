#!/bin/bash
add_host() {
  local ip="$1" name="$2"
  if grep -q "$name" /etc/hosts; then
    return 0
  fi
  echo "$ip $name" >> /etc/hosts
}
