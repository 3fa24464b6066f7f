#!/bin/sh
# Takes README's picture again: the page of the failing rehearsal, as a browser shows its beginning.
# `make picture` builds serin and calls it. Installs Debian's chromium where there is none.
set -eu
serin=$1
cd "$(dirname "$0")/.."

tests/control-plane/install.sh --browser
page=$(mktemp -d)
trap 'rm -rf "$page"' EXIT
"$serin" rehearse --report "$page/report.html" examples/rehearsals/support-agent-failing.yaml >/dev/null
# A page of our own without scripts: the sandbox, which root does not get, protects nothing here.
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1270 \
    --user-data-dir="$page/profile" --screenshot=docs/rehearsal.png "file://$page/report.html" 2>/dev/null
echo "picture: docs/rehearsal.png"
