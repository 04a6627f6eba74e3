#!/usr/bin/env bash
# The container image without a container engine: lint the Dockerfile, and see that each library the executable is linked with
# comes from a package that the Dockerfile puts into the image. Takes the executable, by default the one the tests built.
set -euo pipefail
cd "$(dirname "$0")/.."

executable=${1:-target/debug/hallpass}
target/venv/bin/hadolint --failure-threshold style Dockerfile
read -ra packages <<<"$(sed -n 's/^ARG PACKAGES="\(.*\)"$/\1/p' Dockerfile)"
if ((${#packages[@]} == 0)); then
    echo "Dockerfile: the line ARG PACKAGES=\"…\" is not found" >&2
    exit 1
fi
linked=$(ldd "$executable")
if [[ $linked != *libc.so* || $linked == *"not found"* ]]; then
    printf 'the libraries of %s are not all known:\n%s\n' "$executable" "$linked" >&2
    exit 1
fi
failed=0
while read -r library; do
    # A library's path here may lead through a link, as /lib does; packages know it by its file name. Some releases of Debian
    # append t64 to a package's name.
    owners=$(dpkg-query --search "*/$(basename "$library")" 2>/dev/null | cut -d: -f1 | sed 's/t64$//' | sort -u)
    if ! grep -qxF "$(printf '%s\n' "${packages[@]}")" <<<"$owners"; then
        echo "$executable needs $library of ${owners//$'\n'/ or }, which the image does not have: ${packages[*]}" >&2
        failed=1
    fi
done < <(grep -o '/[^ ]*\.so[^ ]*' <<<"$linked" | sort -u)
exit "$failed"
