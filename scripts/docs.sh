#!/usr/bin/env bash
# Write the generated pages anew, or with --check fail when one differs from what would be written.
set -euo pipefail
cd "$(dirname "$0")/.."

check=false
if [[ ${1:-} == --check ]]; then check=true; fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

stale=0
# generated PAGE COMMAND…: the page is what the command prints.
generated() {
    local page=$1
    shift
    "$@" >"$fresh/page"
    if cmp -s "$fresh/page" "$page"; then return; fi
    if $check; then
        echo "$page is not what '$*' prints; run 'make docs'" >&2
        diff -u "$page" "$fresh/page" | head -40 >&2 || true
        stale=1
    else
        mkdir -p "$(dirname "$page")"
        cp "$fresh/page" "$page"
        echo "wrote $page"
    fi
}

generated docs/cases.md scripts/cases.py
generated docs/openapi.json cargo run --locked --quiet -- openapi
exit "$stale"
