#!/bin/sh
# Puts on record who shipped what: an Event of the Rollout, which goes where the cluster's events go, and a line of JSON
# on standard output for the pipeline's archive.
#
#   audit.sh NAMESPACE ROLLOUT IMAGE WHO COMMIT OUTCOME
set -eu

namespace=$1
rollout=$2
image=$3
who=$4
commit=$5
outcome=$6
now=$(date -u +%Y-%m-%dT%H:%M:%S.000000Z)
uid=$("${KUBECTL:-kubectl}" -n "$namespace" get rollout "$rollout" -o 'jsonpath={.metadata.uid}')

"${KUBECTL:-kubectl}" create -f - <<EOF >&2
{
  "apiVersion": "events.k8s.io/v1",
  "kind": "Event",
  "metadata": {"generateName": "$rollout-shipped-", "namespace": "$namespace"},
  "eventTime": "$now",
  "type": "Normal",
  "reason": "Shipped",
  "action": "Ship",
  "note": "$who shipped $image (commit $commit): $outcome",
  "regarding": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "namespace": "$namespace", "name": "$rollout", "uid": "$uid"},
  "reportingController": "pipeline",
  "reportingInstance": "pipeline"
}
EOF
printf '{"time":"%s","event":"DEPLOYMENT","namespace":"%s","rollout":"%s","image":"%s","who":"%s","commit":"%s","outcome":"%s"}\n' \
    "$now" "$namespace" "$rollout" "$image" "$who" "$commit" "$outcome"
