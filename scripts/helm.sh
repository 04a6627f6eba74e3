#!/usr/bin/env bash
# The chart with the real helm: lint it, render it for the values in helm/values and write what comes out to helm/snapshots (with
# --check: fail when it is another), hold that against Kubernetes' own schemas, and see that helm/refused/* are refused, each
# with the message that its first line promises.
set -euo pipefail
cd "$(dirname "$0")/.."

check=false
if [[ ${1:-} == --check ]]; then check=true; fi
helm=target/helm/helm
chart=helm/hallpass
# The oldest version that Chart.yaml allows.
kubernetes=$(sed -n 's/^kubeVersion: ">=\([0-9.]*\)-0"$/\1/p' "$chart/Chart.yaml")
# Nothing of this user's own helm is read or written.
export HELM_CACHE_HOME=$PWD/target/helm/cache HELM_CONFIG_HOME=$PWD/target/helm/config HELM_DATA_HOME=$PWD/target/helm/data
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

render() { "$helm" template acme "$chart" --namespace broker --kube-version "$kubernetes" "$@"; }

failed=0
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
grep -qx "appVersion: $version" "$chart/Chart.yaml" || { echo "$chart/Chart.yaml: appVersion is not $version, the version in Cargo.toml" >&2; failed=1; }
# What the page tells people to write must be right as well.
# shellcheck disable=SC2016 # the backquotes are the page's
sed -n '/^```yaml$/,/^```$/{/^```/d;p}' docs/deploying.md >"$fresh/page-values"
grep -q public_url "$fresh/page-values" || { echo "docs/deploying.md has lost its values" >&2; failed=1; }
"$helm" lint --strict --quiet --kube-version "$kubernetes" "$chart" --values "$fresh/page-values"
render --values "$fresh/page-values" --set policy.existingConfigMap= \
    --set-file 'policy.files.agents/sre\.toml=policies/agents.toml' >"$fresh/page"
grep -q 'path: "agents/sre.toml"' "$fresh/page" || { echo "docs/deploying.md: --set-file gives no such file" >&2; failed=1; }
for values in helm/values/*.yaml; do
    name=$(basename "$values" .yaml)
    "$helm" lint --strict --quiet --kube-version "$kubernetes" "$chart" --values "$values"
    render --values "$values" >"$fresh/$name.yaml"
    if cmp -s "$fresh/$name.yaml" "helm/snapshots/$name.yaml"; then
        :
    elif $check; then
        echo "helm/snapshots/$name.yaml is not what helm renders; run scripts/helm.sh and look at the difference" >&2
        diff -u "helm/snapshots/$name.yaml" "$fresh/$name.yaml" | head -40 >&2 || true
        failed=1
    else
        cp "$fresh/$name.yaml" "helm/snapshots/$name.yaml"
        echo "wrote helm/snapshots/$name.yaml"
    fi
    target/venv/bin/kubernetes-validate --strict --quiet --kubernetes-version "$kubernetes" "$fresh/$name.yaml"
done
for values in helm/refused/*.yaml; do
    promised=$(sed -n '1s/^# says: //p' "$values")
    if said=$(render --values helm/values/minimal.yaml --values "$values" 2>&1 >/dev/null); then
        echo "$values is accepted; it must be refused" >&2
        failed=1
    elif [[ -z $promised || $said != *"$promised"* ]]; then
        printf '%s: its first line promises "%s", but helm says:\n%s\n' "$values" "$promised" "$said" >&2
        failed=1
    fi
done
# Without any values, whoever installs it is told what to say.
said=$(render 2>&1 >/dev/null || true)
for key in database.host image.repository config.server.public_url secrets; do
    [[ $said == *"${key##*.} is required"* ]] || { echo "without values, helm does not ask for $key: $said" >&2; failed=1; }
done
exit "$failed"
