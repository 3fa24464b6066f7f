#!/bin/sh
# Builds serin's image without a container engine, and tries it: a static binary, the root file system, an OCI image
# layout, two bills of materials. Fails when the binary is not static, the image is larger than 20 MiB, or the
# program does not run as user 65532 on a read-only root.
#
#   deploy/image/build.sh [OUT, default target/image] [amd64 or arm64, default this machine's]
#
# For the other architecture it needs rust-std for it (rustup fetches that), a C compiler and a libc for it, and an
# emulator to try it: `tests/control-plane/install.sh --cross` installs those.
set -eu

cd "$(dirname "$0")/../.."
out=${1:-target/image}
machine=$(uname -m)
cargo=${CARGO:-cargo}
home=${CARGO_HOME:-$HOME/.cargo}

say() { echo "image: $*"; }

case ${2:-$machine} in
amd64 | x86_64) architecture=amd64 cpu=x86_64 ;;
arm64 | aarch64) architecture=arm64 cpu=aarch64 ;;
*) say "$2: amd64 or arm64"; exit 2 ;;
esac
target=$cpu-unknown-linux-gnu
if [ "$cpu" != "$machine" ]; then
    tests/control-plane/install.sh --cross "$cpu"
    rustup target add "$target"
    linker=$cpu-linux-gnu-gcc
    upper=$(echo "$target" | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${upper}_LINKER=$linker" "CC_$(echo "$target" | tr - _)=$linker"
    SERIN_EMULATOR=$(command -v "qemu-$cpu-static")
    export SERIN_EMULATOR
fi

mkdir -p "$out"
# As in the Dockerfile. With --target the flags are the binary's alone, and not those of build scripts.
export RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C force-unwind-tables=no --remap-path-prefix=$PWD=. --remap-path-prefix=$home=cargo"
if ! "$cargo" auditable --version >/dev/null 2>&1; then
    # The version that the Dockerfile names; without the flags above, which are the image's binary's.
    auditable=$(sed -n 's/.*cargo-auditable@\([0-9.]*\).*/\1/p' Dockerfile)
    say "installing cargo-auditable $auditable from the registry, once"
    env -u RUSTFLAGS "$cargo" install --locked --quiet "cargo-auditable@$auditable"
fi
"$cargo" auditable build --release --locked --bin serin --target "$target"
binary=${CARGO_TARGET_DIR:-target}/$target/release/serin

say "binary, with libc and the list of its parts: $(stat -c %s "$binary") bytes"

# A program that needs a loader names it in its headers.
if python3 - "$binary" <<'EOF'
import struct, sys
data = open(sys.argv[1], "rb").read()
offset, = struct.unpack_from("<Q", data, 32)
size, count = struct.unpack_from("<HH", data, 54)
kinds = [struct.unpack_from("<I", data, offset + i * size)[0] for i in range(count)]
sys.exit(0 if 3 in kinds else 1)
EOF
then
    say "the binary is not static: it asks for a loader"
    exit 1
fi

certificates=${SERIN_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
python3 deploy/image/oci.py "$binary" "$certificates" "$out" "$architecture" >"$out/image.json"
python3 deploy/image/sbom.py cyclonedx >"$out/serin.cdx.json"
python3 deploy/image/sbom.py spdx >"$out/serin.spdx.json"

size=$(du -s --apparent-size --bytes "$out/rootfs" | cut -f1)
say "root file system: $size bytes; $(cat "$out/image.json")"
if [ "$size" -gt 20971520 ]; then
    say "larger than 20 MiB"
    exit 1
fi

deploy/image/try.sh "$out/rootfs" crds >"$out/crds.yaml"
cat crds/*.yaml | grep -c '^kind: CustomResourceDefinition$' >"$out/expected"
grep -c '^kind: CustomResourceDefinition$' "$out/crds.yaml" | cmp - "$out/expected"
say "runs as user 65532 on a read-only root"
