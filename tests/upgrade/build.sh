#!/usr/bin/env bash
# Builds serin as it was at a commit, once, into the cache, and prints the folder: what `make upgrade`
# upgrades from and rolls back to. The usual commit is the last one before shipping began: the parent of
# the one that brought `serin deploy`, the chart and the image.
#
#   tests/upgrade/build.sh [COMMIT]      SERIN_CACHE: where to keep it; default .cache
set -euo pipefail
cd "$(dirname "$0")/../.."

commit=$(git rev-parse --verify --quiet "${1:-b17ca54}^{commit}") || {
    echo "there is no commit ${1:-b17ca54} here: a shallow clone lacks it; git fetch --unshallow" >&2
    exit 1
}
folder="${SERIN_CACHE:-$PWD/.cache}/upgrade/${commit:0:12}"
if [ ! -x "$folder/serin" ]; then
    mkdir -p "$folder"
    tree="$folder/source"
    trap 'git worktree remove --force "$tree" 2>/dev/null || true' EXIT
    echo "building serin as it was at ${commit:0:12}; this takes some minutes, once" >&2
    git worktree prune
    git worktree add --quiet --force --detach "$tree" "$commit"
    target=${SERIN_UPGRADE_TARGET:-$folder/target}
    (cd "$tree" && CARGO_TARGET_DIR="$target" cargo build --quiet --locked --bin serin) >&2
    rm -rf "$folder/crds"
    cp -r "$tree/crds" "$folder/crds"
    for rbac in deploy/rbac.yaml deploy/kustomize/base/rbac.yaml; do
        [ ! -f "$tree/$rbac" ] || cp "$tree/$rbac" "$folder/rbac.yaml"
    done
    # Nobody looks for its lines.
    strip --strip-debug -o "$folder/serin.new" "$target/debug/serin" 2>/dev/null || cp "$target/debug/serin" "$folder/serin.new"
    mv "$folder/serin.new" "$folder/serin"
    [ -n "${SERIN_UPGRADE_TARGET:-}" ] || rm -rf "$target"
fi
echo "$folder"
