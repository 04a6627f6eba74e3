#!/usr/bin/env bash
# List new migrations in migrations/CHECKSUMS. What is listed already is left alone: a merged migration never changes.
set -euo pipefail
cd "$(dirname "$0")/.."

touch migrations/CHECKSUMS
find migrations -name '*.sql' | sort | while read -r file; do
    if ! grep -qF "  $file" migrations/CHECKSUMS; then
        sha256sum "$file" >>migrations/CHECKSUMS
        echo "listed $file"
    fi
done
