#!/bin/sh
# Rehearses every agent of an environment, as a pipeline does before it ships: a good version must go out (in prod after
# a person's approval), and one that is slow, fails its tools, costs too much or breaks a rule must be taken back.
#
#   examples/agents/rehearse.sh dev|staging|prod [FOLDER for what is written]
#
#   SERIN     the serin program, default serin
#   KUBECTL   a kubectl, for its kustomize, default kubectl
set -eu

environment=$1
here=$(cd "$(dirname "$0")" && pwd)
out=${2:-$(mktemp -d)}
serin=${SERIN:-serin}

case $environment in
dev | staging) good=good ;;
prod) good=good-approved ;;
*) echo "rehearse.sh: no such environment: $environment: dev, staging or prod" >&2; exit 2 ;;
esac

mkdir -p "$out"
"${KUBECTL:-kubectl}" kustomize "$here/overlays/$environment" >"$out/$environment.yaml"
"$serin" lint "$out/$environment.yaml"
failed=0
for agent in security-agent it-ops-agent ai-agent architect-agent; do
    for world in $good slow failing-tools expensive violations; do
        file=$out/$environment-$agent-$world.yaml
        sed "s|MANIFESTS|$environment.yaml|; s|AGENT|$agent|" "$here/rehearsals/$world.yaml" >"$file"
        if "$serin" rehearse "$file" >"$file.txt" 2>&1; then
            echo "as expected: $environment $agent $world"
        else
            echo "NOT as expected: $environment $agent $world"
            cat "$file.txt"
            failed=1
        fi
    done
done
exit $failed
