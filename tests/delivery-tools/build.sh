#!/bin/sh
# Builds what the tests of deploy/ and examples/ run, from the Go modules pinned in go.mod: helm, gator (Gatekeeper
# with OPA), actionlint, hclfmt; and fetches the Groovy parser for the Jenkinsfile. Says what it does; does nothing when the binaries for this go.mod and go.sum are there already.
#
#   SERIN_CACHE   where caches live, default .cache at the top of the repository (outside git)
#
# The binaries go to $SERIN_CACHE/delivery-tools/bin; `build.sh --where` prints that directory.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SERIN_CACHE:-$(cd "$here/../.." && pwd)/.cache}
bin=$cache/delivery-tools/bin

say() { echo "delivery-tools: $*" >&2; }

if [ "${1:-}" = --where ]; then
    echo "$bin"
    exit 0
fi

mkdir -p "$cache/delivery-tools"
exec 9>"$cache/delivery-tools/lock"
flock 9

pins=$(cat "$here/go.mod" "$here/go.sum" "$here/build.sh" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$bin/pins" 2>/dev/null || true)" = "$pins" ]; then
    exit 0
fi

# tests/control-plane/install.sh puts a Go that is new enough here where the machine has none.
if [ -x "$cache/go/bin/go" ]; then
    PATH=$cache/go/bin:$PATH
fi
if ! command -v go >/dev/null; then
    say "Go is needed to build helm, gator, actionlint and hclfmt, and there is none: run tests/control-plane/install.sh"
    exit 1
fi

say "building helm, gator, actionlint and hclfmt from pinned Go modules into $bin"
say "the first time this takes 2 to 3 minutes on 2 cores; later seconds"
begun=$(date +%s)
new=$bin.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"
cd "$here"
export CGO_ENABLED=0
# The same flags as in tests/control-plane/build.sh, so that what both build is compiled once.
go build -mod=readonly -trimpath -ldflags "-s -w" -o "$new/" \
    helm.sh/helm/v3/cmd/helm github.com/open-policy-agent/gatekeeper/v3/cmd/gator github.com/rhysd/actionlint/cmd/actionlint \
    github.com/hashicorp/hcl/v2/cmd/hclfmt
# The parser of Groovy, from Maven Central, for the Jenkinsfile. CI machines have Java and Maven.
if command -v mvn >/dev/null && command -v java >/dev/null; then
    say "fetching Groovy's parser from Maven Central"
    mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact=org.apache.groovy:groovy:4.0.24 -DoutputDirectory="$new" -Dmdep.stripVersion=true >&2
else
    say "there is no Java or no Maven: the Jenkinsfile will not be parsed (apt-get install default-jdk-headless maven)"
fi
echo "$pins" >"$new/pins"
rm -rf "$bin"
mv "$new" "$bin"
say "built in $(($(date +%s) - begun)) s"
