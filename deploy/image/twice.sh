#!/bin/sh
# Builds the image of what is committed in two folders, from nothing each time, and compares: the same sources give
# the same image, byte for byte, wherever they lie. Takes two release builds.
#
#   deploy/image/twice.sh [amd64 or arm64, default this machine's]
set -eu

cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'git worktree remove --force "$work/one" 2>/dev/null; git worktree remove --force "$work/another/deeper" 2>/dev/null; rm -rf "$work"' EXIT

digests=
for folder in one another/deeper; do
    git worktree add --quiet --detach "$work/$folder" HEAD
    (cd "$work/$folder" && env -u CARGO_TARGET_DIR deploy/image/build.sh image ${1:+"$1"})
    digests="$digests $(cat "$work/$folder/image/image.json")
"
done
cmp "$work/one/image/rootfs/serin" "$work/another/deeper/image/rootfs/serin"
diff -r "$work/one/image" "$work/another/deeper/image"
echo "image: two builds in different folders are equal:"
echo "$digests"
