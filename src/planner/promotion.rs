//! How a version becomes the stable one, of either strategy: the first one at once, a later one when
//! the strategy says so. Knows no step and no service.

use super::cursor;
use super::draft::Draft;
use super::first;
use super::kept;
use super::observed::ReplicaSetSeen;
use super::origin;
use super::plan::Event;
use super::reasons;
use super::revision::Sets;
use super::timing;

/// No stable version is known. True when the turn may go on as a first deployment: a live list has
/// found no other ReplicaSet of ours. Else the newest other one that has pods becomes stable.
pub(crate) fn first_deployment(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let other = sets
        .older
        .iter()
        .filter(|rs| rs.replicas > 0 && !rs.hash.is_empty())
        .max_by_key(|rs| rs.revision);
    if let Some(other) = other {
        d.next.stable_rs = Some(other.hash.clone());
        cursor::set_index(d, 0);
        d.note(format!(
            "no stable version was on record; {} has pods and is it now",
            other.name
        ));
        return false;
    }
    d.next.stable_rs = Some(sets.canary.hash.clone());
    let steps = d.steps();
    cursor::set_index(d, steps);
    first::begin(d);
    let text = promoted_text(sets.canary, "Initial deploy");
    d.event(Event::normal(reasons::ROLLOUT_COMPLETED, text));
    true
}

/// True when the version has every pod that is wanted, and all are available, or as many as the
/// canary's threshold asks for (A32).
pub(crate) fn is_full(d: &Draft<'_>, canary: &ReplicaSetSeen) -> bool {
    let replicas = d.spec.replicas;
    if let Some(threshold) = d.spec.canary().and_then(|c| c.threshold) {
        return canary.is_observed && threshold.is_met(canary.available, replicas);
    }
    has_every_pod(d, canary)
}

/// True when the version has every pod that is wanted, and all are available, whatever a threshold
/// lets a step do with.
pub(crate) fn has_every_pod(d: &Draft<'_>, set: &ReplicaSetSeen) -> bool {
    let replicas = d.spec.replicas;
    set.is_observed && set.replicas == replicas && set.available >= replicas
}

/// The version in spec is the stable one from now on.
pub(crate) fn make_stable(d: &mut Draft<'_>, sets: &Sets<'_>, reason: &str) {
    kept::let_go(d, sets);
    if let Some(former) = sets.stable {
        origin::mark_stable(d, former);
    }
    let canary = sets.canary;
    d.next.stable_rs = Some(canary.hash.clone());
    timing::promoted(d, sets);
    d.next.promote_full = None;
    cursor::clear_pause(d);
    let steps = d.steps();
    cursor::set_index(d, steps);
    if let Some(status) = &mut d.next.canary {
        status.current_background_analysis_run_status = None;
    }
    if let Some(status) = &mut d.next.blue_green {
        status.scale_up_preview_check_point = None;
    }
    d.event(Event::normal(
        reasons::ROLLOUT_COMPLETED,
        promoted_text(canary, reason),
    ));
}

pub(crate) fn promoted_text(canary: &ReplicaSetSeen, reason: &str) -> String {
    format!(
        "Rollout completed update to revision {} ({}): {reason}",
        canary.revision, canary.hash
    )
}
