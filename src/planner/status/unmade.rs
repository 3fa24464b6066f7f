//! What the status says when a ReplicaSet cannot be made: nothing of what was to begin with it, and
//! nothing of pods that are gone (I-17).

use super::{available, condition, count_of, healthy_lost, remove_condition};
use crate::api::RolloutStatus;
use crate::planner::draft::whole_seconds;
use crate::planner::observed::{Observed, ReplicaSetSeen};
use crate::planner::reasons;

/// The status as it was read, with the pods that there are, and why there is no more. An abort stays
/// what it is, and so does what the turn that failed found wrong with the spec (`planned`).
pub(crate) fn unmade(seen: &Observed, planned: &RolloutStatus, why: &str) -> RolloutStatus {
    let mut next = (*seen.rollout.status).clone();
    count(seen, &mut next);
    let now = whole_seconds(seen.now);
    if let Ok(spec) = &seen.rollout.spec {
        available(&mut next, spec.replicas, &now);
        let ready = format!("{}/{}", next.ready_replicas.unwrap_or(0), spec.replicas);
        // A block of ours would say that the update is ours: the peer's has none.
        if let Some(serin) = &mut next.serin {
            serin.ready_text = Some(ready);
        }
    }
    healthy_lost(&mut next, &now);
    let is_invalid = condition(planned, reasons::INVALID_SPEC).is_some();
    if !is_invalid && condition(&next, reasons::INVALID_SPEC).is_some() {
        remove_condition(&mut next.conditions, reasons::INVALID_SPEC);
        // It was seen, and that it was wrong; of what it wants nothing is on record yet.
        let earlier = seen.rollout.generation.saturating_sub(1);
        next.observed_generation = Some(earlier.to_string());
    }
    let ended = condition(&next, reasons::PROGRESSING).and_then(|c| c.reason.as_deref());
    let is_over = matches!(
        ended,
        Some(reasons::ROLLOUT_ABORTED | reasons::DEADLINE_EXCEEDED)
    );
    if !is_invalid && !is_over {
        next.phase = Some(reasons::PHASE_PROGRESSING.to_owned());
        next.message = Some(why.to_owned());
    }
    next
}

/// Counts of the version on record, of what clients get where a Service tells it, and of all.
fn count(seen: &Observed, next: &mut RolloutStatus) {
    let sets = || seen.replica_sets.iter().filter(|set| !set.is_deleting);
    let sum = |of: fn(&ReplicaSetSeen) -> u32, hash: Option<&str>| {
        let those = sets().filter(|set| hash.is_none_or(|hash| set.hash == hash));
        count_of(those.fold(0, |sum: u64, set| sum.saturating_add(u64::from(of(set)))))
    };
    let current = next.current_pod_hash.clone().unwrap_or_default();
    let active = next
        .blue_green
        .as_ref()
        .and_then(|it| it.active_selector.clone());
    let active = active.as_deref();
    next.replicas = sum(|set| set.current, None);
    next.updated_replicas = sum(|set| set.current, Some(&current));
    next.ready_replicas = sum(|set| set.ready, active);
    next.available_replicas = sum(|set| set.available, active);
    next.hpa_replicas = sum(|set| set.current, active);
}
