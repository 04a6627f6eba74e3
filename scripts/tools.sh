#!/bin/sh
# Installs what the tests need beyond cargo: Python packages into target/venv, npm packages into tests/foreign/node_modules.
# Versions are pinned; running it again does nothing that is done. Registries are those the machine is configured for.
set -eu
cd "$(dirname "$0")/.."

venv="${CARGO_TARGET_DIR:-target}/venv"
wanted="tests/foreign/requirements.txt"
if ! cmp -s "$wanted" "$venv/installed.txt"; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/installed.txt"
fi

cd tests/foreign
if ! cmp -s package-lock.json node_modules/installed.json; then
    npm ci --no-audit --no-fund --silent
    cp package-lock.json node_modules/installed.json
fi
