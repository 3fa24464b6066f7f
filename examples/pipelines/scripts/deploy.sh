#!/bin/sh
# Ships one image, by its digest, to an environment: writes it into the overlay, rehearses, applies.
#
#   deploy.sh ENVIRONMENT AGENT IMAGE@sha256:…
set -eu

environment=$1
agent=$2
image=$3
here=$(cd "$(dirname "$0")" && pwd)
agents=${AGENTS:-$here/../../agents}

case $image in
*@sha256:*) ;;
*) echo "deploy.sh: name the image by its digest: $image" >&2; exit 2 ;;
esac

# The names of the base stay; only the digest changes.
sed -i "s|\(ai-agents/$agent, digest: \"\)sha256:[0-9a-f]*|\1${image#*@}|" "$agents/overlays/$environment/kustomization.yaml"
"$agents/rehearse.sh" "$environment" "${OUT:-out}"
# The policy serin-known-images lets in what stands on this list.
digest=${image#*@}
"${KUBECTL:-kubectl}" -n serin-system patch configmap serin-known-images --type=merge \
    -p "{\"data\":{\"sha256.${digest#sha256:}\":\"$agent $(date -u +%Y-%m-%dT%H:%M:%SZ)\"}}"
"${KUBECTL:-kubectl}" apply -f "${OUT:-out}/$environment.yaml"
