#!/usr/bin/env bash
# Measures the release executable over loopback HTTP, beside what the machine itself can do. BENCH_SECONDS is the length of each
# phase (default 10). What follows is handed to the load generator: --connections N, --phases a1,a2,b,c, --perf FILE,
# --executable FILE. docs/benchmarks.md says how to read what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release --bin hallpass
cargo bench --locked --bench load -- --seconds "${BENCH_SECONDS:-10}" "$@"
