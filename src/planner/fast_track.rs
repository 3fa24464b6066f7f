//! Versions that were good a moment ago are gone back to without pauses and analyses (contract B7).
//! Decided once, when the update begins, and kept in `status.serin`: what it rests on (a deadline)
//! goes away with the update itself.

use super::draft::Draft;
use super::observed::{Observed, ReplicaSetSeen};
use super::rollback;
use super::spec::Spec;

/// Why an update to this ReplicaSet, which exists already, needs no judgement; `None` when it does.
pub(crate) fn reason(d: &Draft<'_>, canary: &ReplicaSetSeen) -> Option<&'static str> {
    let is_older = rollback::is_older_than_stable(d.seen, &canary.hash);
    let is_warm = canary.scale_down_deadline.is_some_and(|end| d.now() < end);
    let is_blue_green = d.spec.blue_green().is_some();
    let mut proven = d
        .read()
        .serin
        .iter()
        .flat_map(|s| s.proven.iter().flatten());
    let is_older = is_older && proven.any(|hash| *hash == canary.hash);
    (is_blue_green && is_older && is_warm && canary.replicas > 0).then_some("Fast rollback")
}

/// Another version is promoted: the former stable one was good, and remains so while it has pods.
/// One that was superseded or aborted before its promotion never gets in.
pub(crate) fn remember_former(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    if d.spec.blue_green().is_none() {
        return;
    }
    let former = d.read().stable_rs.clone();
    let seen = d.seen;
    let is_up = |hash: &String| {
        let mut sets = seen.replica_sets.iter();
        *hash != canary.hash && sets.any(|rs| rs.hash == *hash && rs.replicas > 0)
    };
    let serin = d.serin();
    let mut proven = serin.proven.take().unwrap_or_default();
    proven.extend(former);
    proven.retain(is_up);
    proven.sort();
    proven.dedup();
    serin.proven = (!proven.is_empty()).then_some(proven);
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
