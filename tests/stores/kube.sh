#!/usr/bin/env bash
# evenkeel-kube against an API server by script: `bash tests/stores/kube.sh [filter]`. There is no Kubernetes to be had from
# package registries, so the server is the tests' own (crates/evenkeel-kube/tests/support): a process on loopback that the
# tests start, stop, kill and restart, and that answers as kube-apiserver does, or wrongly, as they ask.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test -q -p evenkeel-kube --features real-store --test scripted --test real_store -- --test-threads=1 --nocapture "$@"
