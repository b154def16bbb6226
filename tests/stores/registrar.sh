#!/usr/bin/env bash
# The example of a service that announces itself, against a real etcd, Consul and ZooKeeper on the loopback: not there before
# it is ready, there while it serves, gone after SIGTERM, and it leaves within its deadline. `registrar.sh [store]...`.
set -euo pipefail
cd "$(dirname "$0")/../.."
stores=("$@")
if [ ${#stores[@]} = 0 ]; then stores=(etcd consul zookeeper); fi
wanted() { [[ " ${stores[*]} " == *" $1 "* ]]; }
packages=()
if wanted etcd && ! command -v etcd >/dev/null; then packages+=(etcd-server); fi
if wanted zookeeper; then
  dpkg -s zookeeperd >/dev/null 2>&1 || packages+=(zookeeperd)
  dpkg -s zookeeper-bin >/dev/null 2>&1 || packages+=(zookeeper-bin)
fi
if [ ${#packages[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi
dir=$(mktemp -d)
chmod 755 "$dir"
pids=()
finish() {
  if [ -f "$dir/zookeeper/pid" ]; then pids+=("$(cat "$dir/zookeeper/pid")"); fi
  for pid in "${pids[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap finish EXIT

cargo build -q -p evenkeel-examples --features stores --bin registrar
program=${CARGO_TARGET_DIR:-target}/debug/registrar

free_ports() { # how many
  python3 -c 'import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*[s.getsockname()[1] for s in held])' "$1"
}
until_true() { # what, command...
  local what=$1
  shift
  for _ in $(seq 400); do
    if "$@"; then return; fi
    sleep 0.05
  done
  echo "not within 20 s: $what" >&2
  cat "$dir/service.log" "$dir"/*.log >&2 || true
  return 1
}

# For each store: how it is started, which sets `at`, and how its own client sees the entry.
start_etcd() {
  local client peer
  read -r client peer <<<"$(free_ports 2)"
  at=http://127.0.0.1:$client
  etcd --data-dir "$dir/data" --listen-client-urls "$at" --advertise-client-urls "$at" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer" 2>"$dir/etcd.log" &
  pids+=($!)
  until_true "etcd is ready" curl -sf -m 2 -o /dev/null "$at/health"
}
there_etcd() {
  [ "$(curl -s -m 2 "$at/v3/kv/range" -d "{\"key\":\"$(printf users/users-1 | base64)\"}" | grep -c '"kvs"')" = 1 ]
}

consul_leads() { curl -s -m 2 "$at/v1/status/leader" | grep -q '[0-9]'; }
start_consul() {
  local consul http serf_lan serf_wan server dns
  consul=$(bash tests/stores/find_consul "$dir/consul")
  read -r http serf_lan serf_wan server dns <<<"$(free_ports 5)"
  at=http://127.0.0.1:$http
  "$consul" agent -dev -bind=127.0.0.1 -client=127.0.0.1 -disable-host-node-id -log-level=warn -http-port="$http" \
    -serf-lan-port="$serf_lan" -serf-wan-port="$serf_wan" -server-port="$server" -dns-port="$dns" \
    -hcl 'ports { grpc = -1 }' >"$dir/consul.log" 2>&1 &
  pids+=($!)
  until_true "Consul is ready" consul_leads
}
# Announced means that its readers get it: passing.
there_consul() { curl -s -m 2 "$at/v1/health/service/users?passing" | grep -q '"users-1"'; }

start_zookeeper() {
  local port
  port=$(free_ports 1)
  at=127.0.0.1:$port
  mkdir -p "$dir/zookeeper"
  printf '%s\n' tickTime=500 "dataDir=$dir/zookeeper/data" "clientPort=$port" clientPortAddress=127.0.0.1 \
    admin.enableServer=false 4lw.commands.whitelist=ruok,srvr,dump >"$dir/zookeeper/zoo.cfg"
  EVENKEEL_ZOOKEEPER_DIR=$dir/zookeeper EVENKEEL_ZOOKEEPER_PORT=$port bash tests/stores/zookeeper.sh ctl start
}
# The ephemeral nodes of all sessions.
there_zookeeper() {
  (exec 3<>"/dev/tcp/127.0.0.1/${at##*:}" && printf dump >&3 && cat <&3) 2>/dev/null | grep -q /services/users/users-1
}

announce() { # store
  local store=$1 service log=$dir/service.log
  printf -- '-- %s\n' "$store"
  "start_$store"
  gone() { ! "there_$store"; }
  "$program" --store "$store" --at "$at" --warm-up 1 --deadline 10 >"$log" 2>&1 &
  service=$!
  pids+=("$service")
  sleep 0.5
  if "there_$store"; then
    echo "it was announced before it was ready" >&2
    return 1
  fi
  until_true "the entry is in $store" "there_$store"
  # Longer than the lease of 4 s: it is renewed.
  sleep 6
  if gone; then
    echo "the entry was not kept" >&2
    cat "$log" >&2
    return 1
  fi
  kill -TERM "$service"
  until_true "the entry is gone from $store" gone
  if ! wait "$service"; then
    cat "$log" >&2
    return 1
  fi
  cat "$log"
}
for store in "${stores[@]}"; do announce "$store"; done
