#!/usr/bin/env bash
# evenkeel-dns against Knot DNS, with live updates (RFC 2136), SIGSTOP, kill and restart.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v knotd >/dev/null || ! command -v knsupdate >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends knot knot-dnsutils >/dev/null
fi
knotd --version

T=$(mktemp -d)
stop() {
  if [ -f "$T/pid" ]; then
    kill -CONT "$(cat "$T/pid")" 2>/dev/null || true
    kill -KILL "$(cat "$T/pid")" 2>/dev/null || true
  fi
  rm -rf "$T"
}
trap stop EXIT

# A port that is free for UDP and TCP.
port=$(python3 -c '
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0))
tcp = socket.socket(); tcp.bind(udp.getsockname()); print(udp.getsockname()[1])')

mkdir "$T/db"
cat >"$T/knot.conf" <<CONF
server:
    listen: 127.0.0.1@$port
    rundir: "$T"
database:
    storage: "$T/db"
log:
  - target: stderr
    any: error
acl:
  - id: local
    address: 127.0.0.1
    action: update
zone:
  - domain: t
    storage: "$T"
    file: "t.zone"
    acl: local
    zonefile-sync: 0
    journal-content: none
  - domain: broken
    storage: "$T"
    file: "none.zone"
CONF
# "No" may be kept for 3 s, by the last field of the SOA.
cat >"$T/empty.zone" <<'ZONE'
$ORIGIN t.
$TTL 3
@ SOA ns hostmaster 1 60 60 3600 3
@ NS ns
ns A 127.0.0.1
ZONE
cp "$T/empty.zone" "$T/t.zone"
knotd -c "$T/knot.conf" &
echo $! >"$T/pid"
disown
for _ in $(seq 200); do
  if kdig +time=1 +retry=0 @127.0.0.1 -p "$port" t SOA +short 2>/dev/null | grep -q hostmaster; then break; fi
  sleep 0.05
done

EVENKEEL_DNS_SERVER=127.0.0.1:$port EVENKEEL_DNS_DIR=$T \
  cargo test --release -p evenkeel-dns --features real-store --test knot -- --test-threads=1 --nocapture
