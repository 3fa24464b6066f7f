//! Versions that were good a moment ago are gone back to without pauses and analyses (contract B7).
//! Decided once, when the update begins, and kept in `status.serin`: what it rests on (a deadline)
//! goes away with the update itself.

use super::draft::Draft;
use super::observed::{Observed, ReplicaSetSeen};
use super::origin;
use super::rollback;
use super::spec::Spec;

/// Why an update to this ReplicaSet, which exists already, needs no judgement; `None` when it does.
pub(crate) fn reason(d: &Draft<'_>, canary: &ReplicaSetSeen) -> Option<&'static str> {
    let is_older = rollback::is_older_than_stable(d.seen, &canary.hash);
    let is_warm = canary.scale_down_deadline.is_some_and(|end| d.now() < end);
    let is_blue_green = d.spec.blue_green().is_some();
    let is_good = origin::may_be_good(d.read(), canary);
    (is_blue_green && is_older && is_good && is_warm && canary.replicas > 0)
        .then_some("Fast rollback")
}

/// Why the update on record needs no judgement.
pub(crate) fn on_record<'a>(seen: &'a Observed, spec: &Spec) -> Option<&'a str> {
    let status = &seen.rollout.status;
    let hash = status.current_pod_hash.as_deref().unwrap_or_default();
    if rollback::is_trusted(seen, spec, hash) {
        return Some("Rollback within window");
    }
    status.serin.as_ref()?.fast_track.as_deref()
}
