#!/usr/bin/env bash
# The demo's proxy in front of two real nginx servers on loopback: bodies arrive whole, a server that stops is avoided,
# and one that is back serves again. Ends what it started by process id.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
processes=()
finish() {
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_nginx() { # name port
  local home=$scratch/$1
  mkdir -p "$home/www"
  echo "$1" >"$home/www/name"
  head -c 3000000 /dev/zero | tr '\0' x >"$home/www/large"
  cat >"$home/nginx.conf" <<CONF
daemon off;
master_process off;
pid $home/pid;
error_log $home/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $home; proxy_temp_path $home; fastcgi_temp_path $home; uwsgi_temp_path $home; scgi_temp_path $home;
  server { listen 127.0.0.1:$2; root $home/www; }
}
CONF
  nginx -p "$home" -c "$home/nginx.conf" 2>"$home/stderr" &
  processes+=($!)
  last=$!
}

wait_for() { # url
  for _ in $(seq 200); do curl -fs -o /dev/null "$1" && return; sleep 0.05; done
  echo "nothing answers at $1" >&2
  return 1
}

names() { # count -> the distinct names that answered, sorted, and "lost" if a request failed
  local url=http://127.0.0.1:$front/name
  for _ in $(seq "$1"); do curl -fsS --max-time 10 "$url" || echo lost; done | sort -u | tr '\n' ' '
}

expect() { # what got wanted
  if [ "$2" != "$3" ]; then echo "FAILED: $1: got '$2', not '$3'" >&2; exit 1; fi
  echo "ok: $1"
}

one=$(free_port) two=$(free_port) front=$(free_port)
start_nginx one "$one"
start_nginx two "$two"
second=$last
wait_for "http://127.0.0.1:$one/name"
wait_for "http://127.0.0.1:$two/name"

cargo build -q --release -p evenkeel-examples --bin demo
"${CARGO_TARGET_DIR:-target}/release/demo" --listen "127.0.0.1:$front" \
  --backend "127.0.0.1:$one" "127.0.0.1:$two" --check /name >"$scratch/proxy.log" 2>&1 &
processes+=($!)
wait_for "http://127.0.0.1:$front/name"

expect 'both servers answer' "$(names 40)" 'one two '
expect 'a large body arrives whole' "$(curl -fsS "http://127.0.0.1:$front/large" | wc -c)" 3000000
expect 'the status is the server'"'"'s' "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$front/none")" 404

kill "$second"
wait "$second" 2>/dev/null || true
expect 'no request is lost when a server stops' "$(names 40)" 'one '

start_nginx two "$two"
for _ in $(seq 100); do
  back=$(names 20)
  [ "$back" = 'one two ' ] && break
  sleep 0.2
done
expect 'a server that is back serves again' "$back" 'one two '
