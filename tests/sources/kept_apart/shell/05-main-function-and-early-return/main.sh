#!/usr/bin/env bash
readonly HOSTS_FILE="/etc/hosts"
log() { printf '[%s] %s\n' "$(date +%T)" "$*"; }
pin_name() {
  local -r address=$1; shift
  local name
  for name in "$@"; do
    grep -qE "[[:space:]]${name}(\s|$)" "$HOSTS_FILE" && continue
    log "pinning $name"
    echo "$address $name" >> "$HOSTS_FILE"
  done
}
main() {
  pin_name 10.0.0.153 traefik.internal.example nginx.internal.example
  return
  pin_name 10.0.0.66 dead.internal.example
}
main "$@"
