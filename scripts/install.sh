#!/usr/bin/env bash
# Install what is missing, and only that: `build` for building and running, `check` for the tests and checks as well.
# System packages come from Debian, the rest goes into target/venv and tests/foreign/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."

want=${1:?usage: scripts/install.sh build|check}
case $want in build | check) ;; *) echo "scripts/install.sh: build or check, not '$want'" >&2; exit 2 ;; esac

has() { command -v "$1" >/dev/null 2>&1; }

missing=()
has cc || missing+=(build-essential)
has pkg-config || missing+=(pkg-config)
pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
if [[ $want == check ]]; then
    has git || missing+=(git)
    has openssl || missing+=(openssl)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    has node || missing+=(nodejs)
    has npm || missing+=(npm)
fi

if ((${#missing[@]})); then
    as_root=()
    if ((EUID != 0)); then as_root=(sudo); fi
    echo "installing Debian packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
fi

if ! has cargo; then
    echo "cargo is missing: install a Rust toolchain, at least $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" >&2
    exit 1
fi
if [[ $want == build ]]; then exit 0; fi

# Installed anew when the list changes.
if ! cmp -s scripts/requirements.txt target/venv/installed.txt; then
    rm -rf target/venv
    python3 -m venv target/venv
    target/venv/bin/pip install --quiet --disable-pip-version-check -r scripts/requirements.txt
    cp scripts/requirements.txt target/venv/installed.txt
fi
if [[ -f tests/foreign/package-lock.json ]] &&
    ! cmp -s tests/foreign/package-lock.json tests/foreign/node_modules/.installed; then
    (cd tests/foreign && npm ci --silent --no-audit --no-fund </dev/null)
    cp tests/foreign/package-lock.json tests/foreign/node_modules/.installed
fi
