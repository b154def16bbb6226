#!/usr/bin/env bash
# The example of a service that announces itself, against a real etcd on the loopback: not there before it is ready, there
# while it serves, gone after SIGTERM, and it leaves within its deadline.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v etcd >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends etcd-server >/dev/null
fi
dir=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT

cargo build -q -p evenkeel-examples --features stores --bin registrar
program=${CARGO_TARGET_DIR:-target}/debug/registrar

ports=$(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*[s.getsockname()[1] for s in held])')
read -r client peer <<<"$ports"
etcd --data-dir "$dir/data" --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
  --initial-cluster "default=http://127.0.0.1:$peer" 2>"$dir/etcd.log" &
pids+=($!)

there() { # whether the entry is in etcd
  [ "$(curl -s -m 2 "http://127.0.0.1:$client/v3/kv/range" -d "{\"key\":\"$(printf users/users-1 | base64)\"}" |
    grep -c '"kvs"')" = 1 ]
}
until_true() { # what, command...
  local what=$1
  shift
  for _ in $(seq 200); do
    if "$@"; then return; fi
    sleep 0.05
  done
  echo "not within 10 s: $what" >&2
  cat "$dir/service.log" >&2
  return 1
}
gone() { ! there; }
ready() { curl -sf -m 2 "http://127.0.0.1:$client/health" >/dev/null; }
until_true "etcd is ready" ready

"$program" --store etcd --at "http://127.0.0.1:$client" --warm-up 1 --deadline 10 >"$dir/service.log" 2>&1 &
service=$!
pids+=("$service")
sleep 0.5
if there; then
  echo "it was announced before it was ready" >&2
  exit 1
fi
until_true "the entry is there" there
kill -TERM "$service"
until_true "the entry is gone" gone
if ! wait "$service"; then
  cat "$dir/service.log" >&2
  exit 1
fi
cat "$dir/service.log"
