#!/bin/sh
# Waits until a Rollout has gone out, and is a pipeline's gate: 0 it is out; 1 it was taken back, and the message says
# why; 2 time is over; 3 it waits for a person, where --until-paused asks for that.
#
#   gate.sh NAMESPACE ROLLOUT [SECONDS, default 3600] [--until-paused]
set -eu

namespace=$1
rollout=$2
limit=${3:-3600}
paused=${4:-}
end=$(($(date +%s) + limit))
last=

field() { "${KUBECTL:-kubectl}" -n "$namespace" get rollout "$rollout" -o "jsonpath=$1"; }

while :; do
    # Of the newest generation only: an old status says nothing about this update.
    now=$(field '{.metadata.generation}/{.status.observedGeneration} {.status.phase}: {.status.message}')
    generations=${now%% *}
    state=${now#* }
    if [ "$now" != "$last" ]; then
        echo "$rollout: $state"
        last=$now
    fi
    if [ "${generations%/*}" = "${generations#*/}" ]; then
        case $state in
        Healthy:*) exit 0 ;;
        Degraded:*) exit 1 ;;
        "Paused: CanaryPauseStep"*) if [ "$paused" = --until-paused ]; then exit 3; fi ;;
        esac
    fi
    if [ "$(date +%s)" -ge "$end" ]; then
        echo "$rollout: not out after $limit s" >&2
        exit 2
    fi
    "${KUBECTL:-kubectl}" -n "$namespace" wait "rollout/$rollout" --for=condition=Ready --timeout=5s >/dev/null 2>&1 || true
done
