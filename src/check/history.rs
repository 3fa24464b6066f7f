//! What a Rollout of a cluster tells of ways back: versions that are kept, and those that came back already.

use serde_json::Value;

use super::{Found, Given, list, namespace, of_kind, text_at, title};

const REVISION: &str = "/metadata/annotations/rollout.argoproj.io~1revision";
/// Revisions that a ReplicaSet had before: it was come back to.
const FORMER: &str = "/metadata/annotations/rollout.argoproj.io~1revision-history";

/// Looks at each Rollout that a controller has worked on, and at its ReplicaSets where they are given.
pub(super) fn look(given: Given<'_>, found: &mut Found) {
    for rollout in of_kind(given, "Rollout") {
        let current = text_at(rollout, "/status/currentPodHash");
        if current.is_empty() {
            continue;
        }
        let sets: Vec<&Value> = of_kind(given, "ReplicaSet")
            .filter(|set| is_of(set, rollout))
            .collect();
        for set in &sets {
            let former = text_at(set, FORMER);
            if !former.is_empty() {
                let name = text_at(set, "/metadata/name");
                let now = text_at(set, REVISION);
                found.looked_at.push(format!(
                    "{}: went back to {name} (revisions {former}, now {now})",
                    title(rollout)
                ));
            }
        }
        let is_first = matches!(text_at(rollout, REVISION), "" | "1");
        if sets.len() == 1 && !is_first {
            found.fault(
                rollout,
                "no earlier version is kept in the cluster: there is nothing to go back to",
            );
        }
    }
}

fn is_of(set: &Value, rollout: &Value) -> bool {
    let uid = text_at(rollout, "/metadata/uid");
    namespace(set) == namespace(rollout)
        && list(set, "/metadata/ownerReferences").any(|owner| text_at(owner, "/uid") == uid)
}
