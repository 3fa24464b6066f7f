#!/bin/sh
# Rehearses the support agent's rollout twice: a version that is good, and one that is not.
# `make demo` builds serin and calls it; no cluster, no network.
set -eu
serin=$1
cd "$(dirname "$0")/.."

echo '$ serin rehearse examples/rehearsals/support-agent-good.yaml'
"$serin" rehearse examples/rehearsals/support-agent-good.yaml
echo
echo '$ serin rehearse examples/rehearsals/support-agent-failing.yaml'
"$serin" rehearse --report target/support-agent.html examples/rehearsals/support-agent-failing.yaml

cat <<'END'

What to look at next:
  target/support-agent.html                     the failing rehearsal as a page with charts
  examples/rehearsals/                          more situations; change one and run it again
  serin rehearse YOUR-ROLLOUT.yaml              your own manifest: an image update, healthy metrics
  make demo-live                                the same for real: API server, Prometheus, agents
END
