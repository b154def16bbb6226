#!/usr/bin/env bash
# Tests of evenkeel-etcd against real servers of etcd on the loopback. The tests start and end them, since they also
# stop, kill and restart them; what is left when a test dies is ended here, by its pid.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v etcd >/dev/null || ! command -v openssl >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends etcd-server etcd-client openssl
fi
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
EVENKEEL_ETCD_BIN=$(command -v etcd) EVENKEEL_STORE_DIR=${dir} \
  cargo test -p evenkeel-etcd --features real-store --test real_store -- --test-threads=1 --nocapture "$@"
