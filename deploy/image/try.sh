#!/bin/sh
# Runs serin out of a root file system as its container would: user 65532, read-only root, no new privileges, no network.
#
#   deploy/image/try.sh ROOTFS ARGUMENT…      SERIN_EMULATOR: a static program that runs those of another processor
set -eu

root=$1
shift
inside='root=$1; shift
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
if [ -n "${SERIN_EMULATOR:-}" ]; then
    mount -t tmpfs none "$root/dev"
    cp "$SERIN_EMULATOR" "$root/dev/emulator"
fi
if touch "$root/written" 2>/dev/null; then echo "the root is not read-only" >&2; exit 1; fi
exec setpriv --no-new-privs chroot --userspec=65532:65532 "$root" ${SERIN_EMULATOR:+/dev/emulator} /serin "$@"'
if [ "$(id -u)" = 0 ]; then
    exec unshare --mount --net sh -euc "$inside" sh "$root" "$@"
fi
# Without root, a user namespace stands in; it knows one user only, so the number is that of the caller.
exec unshare --map-root-user --mount --net sh -euc "$(echo "$inside" | sed 's/ --userspec=65532:65532//')" sh "$root" "$@"
