#!/bin/sh
# Counts the instructions of every pick and holds them against instructions.json; `--bless` writes it. Needs valgrind.
set -eu
cd "$(dirname "$0")/.."
exec cargo run --release --quiet -p evenkeel-benches --bin instructions -- "$@"
