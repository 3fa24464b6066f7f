//! Versions that were good a moment ago are gone back to without pauses and analyses (contract B7).
//! Decided once, when the update begins, and kept in `status.serin`: what it rests on (a deadline)
//! goes away with the update itself.

use super::draft::Draft;
use super::observed::ReplicaSetSeen;

/// Why an update to this ReplicaSet, which exists already, needs no judgement; `None` when it does.
pub(crate) fn reason(d: &Draft<'_>, canary: &ReplicaSetSeen) -> Option<&'static str> {
    let stable_hash = d.read().stable_rs.as_deref()?;
    let stable = d
        .seen
        .replica_sets
        .iter()
        .find(|rs| rs.hash == stable_hash)?;
    let is_older = (canary.created, canary.revision) < (stable.created, stable.revision);
    let is_warm = canary.scale_down_deadline.is_some_and(|end| d.now() < end);
    let is_blue_green = d.spec.blue_green().is_some();
    (is_blue_green && is_older && is_warm && canary.replicas > 0).then_some("Fast rollback")
}

/// Why the update on record needs no judgement.
pub(crate) fn on_record(status: &crate::api::RolloutStatus) -> Option<&str> {
    status.serin.as_ref()?.fast_track.as_deref()
}
