#!/usr/bin/env bash
# l4_proxy's PROXY headers beside real programs: nginx reads what it sends, in both versions, and it reads what HAProxy sends,
# in all of its forms. Ends what it started by process id.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
for tool in nginx haproxy curl; do command -v "$tool" >/dev/null || missing+=("${tool/#nginx/nginx-light}"); done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

scratch=$(mktemp -d)
processes=()
finish() {
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for() { # port
  for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.05; done
  echo "nobody listens at $1" >&2
  return 1
}

nginx -v
haproxy -v | sed -n 1p
server=$(free_port)
mkdir -p "$scratch/nginx"
cat >"$scratch/nginx.conf" <<CONF
daemon off; master_process off; pid $scratch/nginx/pid; error_log $scratch/nginx/error.log; events {}
http {
  access_log off;
  client_body_temp_path $scratch/nginx; proxy_temp_path $scratch/nginx; fastcgi_temp_path $scratch/nginx;
  uwsgi_temp_path $scratch/nginx; scgi_temp_path $scratch/nginx;
  server {
    listen 127.0.0.1:$server proxy_protocol;
    return 200 "\$proxy_protocol_addr \$proxy_protocol_port \$proxy_protocol_server_port\n";
  }
}
CONF
nginx -p "$scratch/nginx" -c "$scratch/nginx.conf" 2>"$scratch/nginx/stderr" &
processes+=($!)
wait_for "$server"

cargo build -q -p evenkeel-examples --bin l4_proxy
proxy() { # listen version more
  cat >"$scratch/$1.toml" <<CONF
[[listeners]]
name = "front"
address = "127.0.0.1:$1"
protocol = "tcp"
[[stream.routes]]
name = "all"
action = { cluster = "nginx" }
[[clusters]]
name = "nginx"
endpoints = [{ id = "nginx", address = "127.0.0.1:$server" }]
[program]
workers = 1
clusters.nginx.send_proxy = "$2"
$3
CONF
  "${CARGO_TARGET_DIR:-target}/debug/l4_proxy" "$scratch/$1.toml" >"$scratch/$1.log" 2>&1 &
  processes+=($!)
  wait_for "$1"
}

expect() { # what got wanted
  if [ "$2" != "$3" ]; then echo "FAILED: $1: got '$2', not '$3'" >&2; exit 1; fi
  echo "ok: $1: $2"
}

ask() { # port: what the server saw, and what is true
  curl -fsS --max-time 10 -w 'true %{local_port}\n' "http://127.0.0.1:$1/"
}

for version in v1 v2; do
  front=$(free_port)
  proxy "$front" "$version" ""
  told=$(ask "$front")
  expect "nginx reads $version" "$(sed -n 1p <<<"$told")" "127.0.0.1 $(sed -n 's/true //p' <<<"$told") $front"
done

# HAProxy in front: the client is the one of HAProxy, whose port is what the client went to.
for form in send-proxy send-proxy-v2 "send-proxy-v2 proxy-v2-options crc32c,unique-id" ; do
  front=$(free_port) middle=$(free_port)
  proxy "$middle" v2 'listeners.front.accept_proxy.from = ["127.0.0.1/32"]'
  cat >"$scratch/haproxy.cfg" <<CONF
defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend front
  bind 127.0.0.1:$front
  unique-id-format %ci_%cp
  default_backend middle
backend middle
  server middle 127.0.0.1:$middle $form
CONF
  haproxy -db -f "$scratch/haproxy.cfg" 2>"$scratch/haproxy.log" &
  processes+=($!)
  wait_for "$front"
  told=$(ask "$front")
  expect "HAProxy's $form" "$(sed -n 1p <<<"$told")" "127.0.0.1 $(sed -n 's/true //p' <<<"$told") $front"
done
