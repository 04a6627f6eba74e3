#!/usr/bin/env bash
# Measures the release executable over loopback HTTP, beside what the machine itself can do: on SQLite, on PostgreSQL with one
# replica and with three, with a million live leases on each, and roles that come and go at a target. BENCH_SECONDS is the length
# of each phase (default 10). With arguments only the load generator runs, with these: --store sqlite|postgres, --replicas N, --connections N, --phases
# a1,a2,b,c,o,s, --perf FILE, --executable FILE. `BENCH_SECONDS=600 scripts/bench.sh --phases s` is the soak.
# docs/benchmarks.md says how to read what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release --bin hallpass
load() { cargo bench --locked --bench load -- --seconds "${BENCH_SECONDS:-10}" "$@"; }
if (($#)); then
    load "$@"
    exit
fi
load
load --store postgres --phases a1,a2,b,o
for replicas in 1 3; do
    load --store postgres --phases a1,a2 --connections 256 --replicas "$replicas"
done
for store in sqlite postgres; do
    cargo bench --locked --bench million -- --store "$store"
done
cargo bench --locked --bench roles
cargo bench --locked --bench people
