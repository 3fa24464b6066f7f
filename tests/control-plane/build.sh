#!/bin/sh
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl for the tests from the Go modules pinned in
# go.mod. Says what it does; does nothing when the binaries for this go.mod and go.sum are there already.
#
#   SERIN_CACHE          where caches live, default .cache at the top of the repository (outside git)
#   KUBEBUILDER_ASSETS   a directory that has the binaries already: nothing is built
#
# The binaries go to $SERIN_CACHE/control-plane/bin; `build.sh --where` prints that directory.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SERIN_CACHE:-$(cd "$here/../.." && pwd)/.cache}
bin=$cache/control-plane/bin
tools="etcd kube-apiserver kube-controller-manager kubectl"

say() { echo "control-plane: $*" >&2; }

if [ "${1:-}" = --where ]; then
    echo "${KUBEBUILDER_ASSETS:-$bin}"
    exit 0
fi

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for tool in etcd kube-apiserver kube-controller-manager; do
        if [ ! -x "$KUBEBUILDER_ASSETS/$tool" ]; then
            say "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, and $tool is not there."
            say "Put it there, or unset KUBEBUILDER_ASSETS and run this again: it will be built."
            exit 1
        fi
    done
    exit 0
fi

mkdir -p "$cache/control-plane"
# Two builds at once would only slow each other down: the second waits, and then finds the work done.
exec 9>"$cache/control-plane/lock"
flock 9

pins=$(cat "$here/go.mod" "$here/go.sum" "$here/build.sh" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$bin/pins" 2>/dev/null || true)" = "$pins" ]; then
    exit 0
fi

# install.sh puts a Go that is new enough here where the machine has none.
if [ -x "$cache/go/bin/go" ]; then
    PATH=$cache/go/bin:$PATH
fi
if ! command -v go >/dev/null; then
    say "Go is needed to build the control plane, and there is none: run tests/control-plane/install.sh"
    exit 1
fi

version=$(sed -n 's/^[[:space:]]*k8s.io\/kubernetes \(v[0-9.]*\).*/\1/p' "$here/go.mod")
minor=$(echo "$version" | cut -d. -f2)
stamp=k8s.io/component-base/version
flags="-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor -X $stamp.gitTreeState=clean"

say "building etcd and Kubernetes $version from pinned Go modules into $bin"
say "the first time this takes 3 to 5 minutes on 2 cores and 2 GB of Go's module cache; later seconds"
begun=$(date +%s)
new=$bin.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"
cd "$here"
export CGO_ENABLED=0
go build -mod=readonly -trimpath -ldflags "$flags" -o "$new/" \
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kubectl
# Its package is called server: `go build` would name it so.
go build -mod=readonly -trimpath -ldflags "-s -w" -o "$new/etcd" go.etcd.io/etcd/server/v3
for tool in $tools; do
    test -x "$new/$tool"
done
echo "$pins" >"$new/pins"
rm -rf "$bin"
mv "$new" "$bin"
say "built in $(($(date +%s) - begun)) s"
