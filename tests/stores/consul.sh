#!/usr/bin/env bash
# Tests of evenkeel-consul against real agents of Consul on the loopback. The tests start and end them, since they also
# stop, kill and restart them; what is left when a test dies is ended here, by its pid.
#
# Where the program comes from is in find_consul. Set CONSUL to use one of your own.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
finish() {
  for pid in "${dir}"/*/pid; do
    [ -e "${pid}" ] || continue
    kill -CONT "$(cat "${pid}")" 2>/dev/null || true
    kill -KILL "$(cat "${pid}")" 2>/dev/null || true
  done
  rm -rf "${dir}"
}
trap finish EXIT
if ! command -v openssl >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssl
fi
consul=$(bash tests/stores/find_consul "${dir}")
EVENKEEL_CONSUL_BIN=${consul} EVENKEEL_STORE_DIR=${dir} \
  cargo test -p evenkeel-consul --features real-store --test real_store -- --test-threads=1 --nocapture "$@"
