#!/usr/bin/env bash
# Tests of evenkeel-consul against real agents of Consul on the loopback. The tests start and end them, since they also
# stop, kill and restart them; what is left when a test dies is ended here, by its pid.
#
# Debian 12 has no package of Consul, Debian 11 has 1.8.7: it is unpacked into the scratch directory, and nothing is
# installed. Set CONSUL to use a program of your own.
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
consul=${CONSUL:-$(command -v consul || true)}
if [ -z "${consul}" ]; then
  mirror=$(apt-cache policy | awk '/bookworm\/main/{print $2; exit}')
  apt=${dir}/apt
  mkdir -p "${apt}/lists/partial" "${apt}/cache/archives/partial"
  chmod 755 "${dir}"
  echo "deb ${mirror} bullseye main" >"${apt}/sources.list"
  options=(-o "Dir::State::lists=${apt}/lists" -o "Dir::Cache=${apt}/cache"
    -o "Dir::Etc::sourcelist=${apt}/sources.list" -o Dir::Etc::sourceparts=-)
  apt-get "${options[@]}" -qq update
  (cd "${apt}" && apt-get "${options[@]}" -qq download consul && dpkg -x consul_*.deb unpacked)
  consul=${apt}/unpacked/usr/bin/consul
fi
EVENKEEL_CONSUL_BIN=${consul} EVENKEEL_STORE_DIR=${dir} \
  cargo test -p evenkeel-consul --features real-store --test real_store -- --test-threads=1 --nocapture "$@"
