//! The Services of a canary without a router (V1): the stable one follows the stable version; the
//! canary one follows the new version while an update has pods of it, and the stable one at all other
//! times.

use super::switch::{can_take, is_usable, may_select, point};
use super::{ServiceSeen, find, let_go_at_zero};
use crate::planner::draft::Draft;
use crate::planner::observed::ReplicaSetSeen;
use crate::planner::replicas::Pair;
use crate::planner::revision::Sets;

/// The last stable pods are about to go although the new version is not promoted yet: the stable
/// Service leaves them first, or it would select nothing. Whatever is wrong with any Service keeps
/// it where it is.
pub(crate) fn leave_stable(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let name = d.spec.canary().and_then(|c| c.stable_service.as_deref());
    let (Some(service), Some(stable)) = (name.and_then(|n| find(d.seen, n)), sets.stable) else {
        return;
    };
    let is_there = service.hash() == Some(stable.hash.as_str());
    if is_there && d.faults.is_empty() && may_select(service, sets.canary) {
        point(d, service, &sets.canary.hash);
    }
}

/// Lets both Services select what the sizes that are wanted call for.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>, target: Pair) {
    let Some(canary) = d.spec.canary() else {
        return;
    };
    if canary.stable_service.is_none() && canary.canary_service.is_none() {
        return;
    }
    let read = d.read();
    let is_at_rest = read.stable_rs.as_deref() == Some(sets.canary.hash.as_str());
    let goes_back = read.abort == Some(true) && !is_at_rest;
    // A reference that leads nowhere stops every switch but the way back.
    if !d.faults.is_empty() && !goes_back {
        return;
    }
    if d.faults.is_empty() && let_go_at_zero(d, sets) {
        return;
    }
    let seen = d.seen;
    let stable = if is_at_rest {
        Some(sets.canary)
    } else {
        sets.stable
    };
    let service = |name: &Option<String>| find(seen, name.as_deref()?);
    if let (Some(service), Some(stable)) = (service(&canary.stable_service), stable) {
        // On the way to promotion the stable Service has left the old version already.
        let is_on_its_way = !is_at_rest && !goes_back && target.stable == 0;
        let has_left = is_on_its_way && service.hash() == Some(sets.canary.hash.as_str());
        if !has_left && is_usable(d, service) {
            // A version that was superseded on its own way to promotion has it; stable has no pod left
            // by then, and none to come.
            let is_lost = is_on_its_way
                && stable.answering() == 0
                && service.hash() != Some(stable.hash.as_str());
            if can_take(d, service, stable) {
                point(d, service, &stable.hash);
            } else if is_lost && can_take(d, service, sets.canary) {
                point(d, service, &sets.canary.hash);
            }
        }
    }
    let shows_new = !is_at_rest && !goes_back && target.canary > 0 && sets.canary.replicas > 0;
    if let Some(service) = service(&canary.canary_service)
        && is_usable(d, service)
        && let Some(set) = shown(service, sets, stable, shows_new)
    {
        point(d, service, &set.hash);
    }
}

/// The version that the canary's Service shall select, where another one than now is possible.
fn shown<'a>(
    service: &ServiceSeen,
    sets: &Sets<'a>,
    stable: Option<&'a ReplicaSetSeen>,
    shows_new: bool,
) -> Option<&'a ReplicaSetSeen> {
    if shows_new && may_select(service, sets.canary) {
        return Some(sets.canary);
    }
    let is_behind = |rs: &&ReplicaSetSeen| service.hash() == Some(rs.hash.as_str());
    // What is there is left alone until the new pods are: only a dead end is worse, and a version
    // that is neither new nor stable is about to be one.
    let mut lasting = std::iter::once(sets.canary).chain(stable).filter(is_behind);
    let stays = lasting.any(|rs| rs.answering() > 0 || rs.uid == sets.canary.uid);
    if shows_new && stays {
        return None;
    }
    stable.filter(|stable| may_select(service, stable))
}
