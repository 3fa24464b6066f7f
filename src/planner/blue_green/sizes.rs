//! How big each version is: stable and new at `spec.replicas`, a preview smaller where that is asked
//! for, old ones until their delay is over (contract B4, B8, B9).

use super::View;
use crate::api::RolloutStatus;
use crate::planner::draft::Draft;
use crate::planner::observed::ReplicaSetSeen;
use crate::planner::promotion::is_full;
use crate::planner::replicas::Pair;
use crate::planner::restart::{self, Restart, Room};
use crate::planner::revision::Sets;
use crate::planner::scale_down::{self, Delay};
use crate::planner::sizes::resize;

/// Sizes every ReplicaSet. They do not depend on each other, so one turn does all.
pub(super) fn scale(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let replicas = d.spec.replicas;
    let mut wanted = Pair {
        canary: preview_size(d.read(), replicas, sets, view),
        stable: sets.stable.map_or(0, |_| replicas),
    };
    // A restart changes what sizes are decided on: while pods go, nothing is scaled.
    let room = Room::of_blue_green(replicas, view.spec.max_unavailable);
    match restart::steer(d, sets, room, wanted) {
        Restart::Idle => {}
        Restart::Evicts => return,
        Restart::Surge(more) => wanted = more,
    }
    if let Some(stable) = sets.stable {
        scale_down::keep(d, stable);
        give(d, stable, wanted.stable);
    }
    new_version(d, sets, view, wanted.canary);
    active(d, sets, view);
    older(d, sets, view);
    if sets.canary.min_ready_seconds != d.spec.min_ready_seconds {
        d.set_min_ready(sets.canary, d.spec.min_ready_seconds);
    }
}

/// What clients have may be neither: a version that was switched to and is not judged yet, when
/// another one is applied.
fn active(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    if let Some(active) = sets.older.iter().find(|rs| view.is_active(rs)) {
        scale_down::keep(d, active);
        give(d, active, d.spec.replicas);
    }
}

fn give(d: &mut Draft<'_>, rs: &ReplicaSetSeen, replicas: u32) {
    if rs.replicas != replicas {
        resize(d, rs, replicas);
    }
}

fn new_version(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>, size: u32) {
    let new = sets.canary;
    let read = d.read();
    let is_updating = read.stable_rs.as_deref() != Some(new.hash.as_str());
    if is_updating && read.abort == Some(true) {
        return aborted(d, sets, view);
    }
    // A spec that cannot be used starts nothing.
    // Nor does a freeze.
    let starts_nothing = !d.faults.is_empty() || d.freeze.is_some();
    if is_updating && starts_nothing && new.replicas == 0 {
        return;
    }
    scale_down::keep(d, new);
    give(d, new, size);
}

/// After an abort the new version stays up for a while, once clients are safe with the stable one.
fn aborted(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let new = sets.canary;
    let is_safe = sets
        .stable
        .is_some_and(|stable| stable.is_observed && stable.answering() >= d.spec.replicas);
    // What clients have cannot be told while the Service is missing.
    if new.replicas == 0 || view.active.is_none() || view.is_active(new) || !is_safe {
        return;
    }
    let delay = view.spec.abort_scale_down_delay_seconds;
    if delay == 0 {
        return d.note("abortScaleDownDelaySeconds is 0: the new version's pods stay");
    }
    if scale_down::is_over(d, new, delay) {
        resize(d, new, 0);
    }
}

/// Pods that are wanted of the new version now (B4).
pub(super) fn preview_size(
    read: &RolloutStatus,
    replicas: u32,
    sets: &Sets<'_>,
    view: View<'_>,
) -> u32 {
    let is_updating = read
        .stable_rs
        .as_deref()
        .is_some_and(|stable| stable != sets.canary.hash);
    let is_small = is_updating
        && !has_grown(read, view)
        && read.promote_full != Some(true)
        && view.fast.is_none()
        && view.active_hash().is_some()
        && !view.is_active(sets.canary);
    match view.spec.preview_replica_count {
        Some(count) if is_small => count.min(replicas),
        Some(_) | None => replicas,
    }
}

/// The preview was judged and released: it is at full size, or on its way.
pub(super) fn has_grown(read: &RolloutStatus, view: View<'_>) -> bool {
    let read = read.blue_green.as_ref();
    view.spec.preview_replica_count.is_some()
        && read.and_then(|b| b.scale_up_preview_check_point) == Some(true)
}

/// Every pod of that size is available.
pub(super) fn is_there(new: &ReplicaSetSeen, size: u32) -> bool {
    new.is_observed && new.replicas == size && new.available >= size
}

fn older(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    // Which ones Services select cannot be told while a Service is missing.
    if !d.faults.is_empty() {
        return;
    }
    // A Service that does not select by hash yet has every version's pods behind it.
    let is_stable_full = sets.stable.is_none_or(|stable| is_full(d, stable));
    if view.active_hash().is_none() && !is_stable_full {
        return;
    }
    // Until the switch is judged, what clients had before stays, unless a delay was asked for (B6).
    let is_judged = d.read().stable_rs.as_deref() == Some(sets.canary.hash.as_str());
    let waits = view.spec.post_promotion.is_some()
        && view.is_active(sets.canary)
        && !is_judged
        && !view.spec.is_delay_explicit;
    if waits {
        return;
    }
    let selected = [view.active, view.preview].map(|s| s.and_then(|s| s.hash()));
    // Without pods wanted there are no clients to keep pods for: Services are let go then (B12).
    let is_empty = d.spec.replicas == 0;
    let is_free = |rs: &&ReplicaSetSeen| is_empty || !selected.contains(&Some(rs.hash.as_str()));
    let free: Vec<&ReplicaSetSeen> = sets.older.iter().copied().filter(is_free).collect();
    let delay = Delay {
        seconds: view.spec.scale_down_delay_seconds,
        limit: view.spec.scale_down_delay_revision_limit,
    };
    scale_down::older(d, free, delay);
}
