#!/bin/sh
# Installs what the real tests and `make demo-live` need and this machine lacks, saying what; quiet when all is there.
#
#   openssl, setpriv, flock   by apt, where missing
#   Go 1.26 or newer          only to build the control plane; by apt, then Go's own module proxy, into $SERIN_CACHE/go
#   Prometheus                from Debian's package, unpacked into $SERIN_CACHE/prometheus: no service is started
#
#   Python, Java, Maven       by apt, where missing; only for the tests of what is shipped: `install.sh --delivery`
#   Rust, a C compiler        by apt, where Debian's rustup is too young by rustup's own installer; alone with `install.sh --rust`
#
#   a C compiler, a libc and an emulator for another processor, by apt: `install.sh --cross aarch64`, for its image
#
#   a browser, by apt, to take README's picture: `install.sh --browser`
#
#   SERIN_CACHE          where caches live, default .cache at the top of the repository (outside git)
#   SERIN_PROMETHEUS     a Prometheus server to use in place of one from the path or from Debian
#   KUBEBUILDER_ASSETS   a directory that has the control plane already: Go is not needed
#
# `install.sh --where-prometheus` prints the Prometheus server that tests use.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SERIN_CACHE:-$(cd "$here/../.." && pwd)/.cache}
unpacked=$cache/prometheus/usr/bin/prometheus

say() { echo "install: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "this needs root and there is no sudo; run as root: $*"
        exit 1
    fi
}

# A package list is fetched once, and only when something is lacking.
know_packages() {
    if ! command -v apt-get >/dev/null; then
        say "$1 is missing and this is no Debian: install it by hand and run this again"
        exit 1
    fi
    if ! apt-cache show "$2" >/dev/null 2>&1; then
        say "fetching Debian's package lists"
        as_root apt-get update -qq
    fi
}

# add WHAT-FOR PACKAGE…
add() {
    reason=$1
    shift
    know_packages "$reason" "$1"
    say "installing Debian's $*, for $reason"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# need COMMAND PACKAGE…
need() {
    command -v "$1" >/dev/null || add "$@"
}

prometheus_path() {
    if [ -n "${SERIN_PROMETHEUS:-}" ]; then
        echo "$SERIN_PROMETHEUS"
    elif command -v prometheus >/dev/null; then
        command -v prometheus
    else
        echo "$unpacked"
    fi
}

# Unpacked, not installed: Debian's package would start a server of its own.
need_prometheus() {
    if [ -x "$(prometheus_path)" ]; then
        return
    fi
    if [ -n "${SERIN_PROMETHEUS:-}" ]; then
        say "SERIN_PROMETHEUS is $SERIN_PROMETHEUS, and no program is there: correct it or unset it"
        exit 1
    fi
    know_packages prometheus prometheus
    say "unpacking Debian's prometheus into $cache/prometheus (no service is started)"
    rm -rf "$cache/prometheus"
    mkdir -p "$cache/prometheus"
    (
        cd "$cache/prometheus"
        apt-get download -qq prometheus 2>apt.log || { cat apt.log >&2; exit 1; }
        dpkg-deb -x prometheus_*.deb .
        rm -f prometheus_*.deb apt.log
    )
    "$unpacked" --version >/dev/null
}

# True when this Go can build the control plane, if need be by fetching the toolchain that go.mod names.
go_will_do() {
    command -v "$1" >/dev/null || return 1
    version=$("$1" version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 26 ] && return 0
    [ "${version:-0}" -ge 21 ] && [ "$("$1" env GOTOOLCHAIN)" != local ]
}

need_go() {
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] || go_will_do go || go_will_do "$cache/go/bin/go"; then
        return
    fi
    need go golang-go
    if go_will_do go; then
        return
    fi
    # Debian's Go may be too old to fetch its successor by itself, but not to download a module; the checksum
    # database of Go vouches for it.
    arch=$(go env GOHOSTARCH)
    toolchain=golang.org/toolchain@v0.0.1-go1.26.8.linux-$arch
    say "Go $(go env GOVERSION) is too old, fetching $toolchain into $cache/go"
    mkdir -p "$cache"
    dir=$(cd "$cache" && GO111MODULE=on GOFLAGS=-mod=mod go mod download -json "$toolchain" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    rm -rf "$cache/go"
    cp -r "$dir" "$cache/go"
    chmod -R u+w "$cache/go"
    chmod -R a+x "$cache/go/bin" "$cache/go/pkg/tool"
    go_will_do "$cache/go/bin/go" || { say "the Go in $cache/go does not run"; exit 1; }
}

# The toolchain itself is named in rust-toolchain.toml; rustup fetches it when cargo is first called.
need_rust() {
    if command -v cargo >/dev/null; then
        return
    fi
    if command -v apt-get >/dev/null; then
        know_packages cargo gcc
        if apt-cache policy rustup | grep -q 'Candidate: [0-9]'; then
            need rustup rustup
            return
        fi
    fi
    need curl curl
    need update-ca-certificates ca-certificates
    say "installing Rust for this user with rustup's own installer, https://sh.rustup.rs (nothing else changes)"
    installer=$(mktemp)
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$installer" || {
        rm -f "$installer"
        say "the installer cannot be fetched; install Rust by hand (https://rustup.rs) and run this again"
        exit 1
    }
    sh "$installer" -y --quiet --no-modify-path --default-toolchain none --profile minimal
    rm -f "$installer"
}

if [ "${1:-}" = --where-prometheus ]; then
    prometheus_path
    exit 0
fi
if [ "${1:-}" = --rust ]; then
    need cc gcc
    need_rust
    exit 0
fi

if [ "${1:-}" = --cross ]; then
    cpu=$2
    debian=$(echo "$cpu" | sed 's/x86_64/amd64/; s/aarch64/arm64/')
    need "$cpu-linux-gnu-gcc" "gcc-$(echo "$cpu" | tr _ -)-linux-gnu"
    [ -f "/usr/$cpu-linux-gnu/lib/libc.a" ] || add "a libc for $cpu" "libc6-dev-$debian-cross"
    need "qemu-$cpu-static" qemu-user-static
    exit 0
fi

# A browser, to take README's picture.
if [ "${1:-}" = --browser ]; then
    need chromium chromium fonts-dejavu-core
    exit 0
fi

need openssl openssl
need setpriv util-linux
need flock util-linux
need_go
need_prometheus
if [ "${1:-}" = --delivery ]; then
    need python3 python3
    need java default-jdk-headless
    need mvn maven
fi
