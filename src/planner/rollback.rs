//! Going back to a version that was good not long ago: `spec.rollbackWindow` (contract Z2, R42), and
//! the reason that a promotion gives (A31). Stateless: it is seen from the ReplicaSets each time.

use super::command;
use super::cursor;
use super::draft::Draft;
use super::observed::{Observed, ReplicaSetSeen};
use super::origin;
use super::plan::Event;
use super::reasons;
use super::revision::Sets;
use super::spec::Spec;
use super::undo;

/// The ReplicaSet that wears this hash.
pub(crate) fn wearing<'a>(seen: &'a Observed, hash: Option<&str>) -> Option<&'a ReplicaSetSeen> {
    let hash = hash.filter(|hash| !hash.is_empty())?;
    seen.replica_sets
        .iter()
        .find(|rs| rs.hash == hash && !rs.is_deleting)
}

/// True when the version with this hash was made before the stable one.
pub(crate) fn is_older_than_stable(seen: &Observed, hash: &str) -> bool {
    let stable = wearing(seen, seen.rollout.status.stable_rs.as_deref());
    let new = wearing(seen, Some(hash));
    matches!((new, stable), (Some(new), Some(stable)) if origin::age(new) < origin::age(stable))
}

/// True when the version with this hash may come back without steps, pauses and analysis: it was
/// made before the stable one, with fewer than `revisions` others made in between, and is not known
/// to have been no good (the peer asks for its age alone).
pub(crate) fn is_trusted(seen: &Observed, spec: &Spec, hash: &str) -> bool {
    let Some(window) = spec.rollback_window else {
        return false;
    };
    let stable = wearing(seen, seen.rollout.status.stable_rs.as_deref());
    let (Some(new), Some(stable)) = (wearing(seen, Some(hash)), stable) else {
        return false;
    };
    let (from, to) = (origin::age(new), origin::age(stable));
    let ages = seen.replica_sets.iter().map(origin::age);
    let between = ages.filter(|age| from < *age && *age < to).count();
    let is_good = origin::may_be_good(&seen.rollout.status, new);
    is_good && from < to && u32::try_from(between).is_ok_and(|n| n < window)
}

/// Ends the steps of an update that may skip them, also where that shows only later (a retry, a
/// window set meanwhile). True when it did. An abort by a person stands.
pub(crate) fn jump(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let read = d.read();
    let at_end = cursor::index(read, d.steps()) >= d.steps();
    let waits = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    let is_over = read.abort == Some(true) || read.promote_full == Some(true);
    if is_over
        || d.spec.paused
        || (at_end && !waits)
        || !is_trusted(d.seen, d.spec, &sets.canary.hash)
    {
        return false;
    }
    cursor::clear_pause(d);
    let steps = d.steps();
    cursor::set_index(d, steps);
    tell(d, &sets.canary.hash);
    true
}

/// Says that the steps are skipped, where the version is still up (Z2).
pub(crate) fn tell(d: &mut Draft<'_>, hash: &str) {
    if wearing(d.seen, Some(hash)).is_some_and(|rs| rs.replicas > 0) {
        let text = "Rollback to active ReplicaSets within RollbackWindow";
        d.event(Event::normal(reasons::SKIP_STEPS, text));
    }
}

/// Why a canary is promoted, in the order and words that clients know (A31).
pub(crate) fn reason(d: &Draft<'_>, sets: &Sets<'_>) -> String {
    let hash = sets.canary.hash.as_str();
    if d.read().promote_full == Some(true) {
        let last = command::last(&d.seen.rollout.annotations);
        let is_undo = undo::is_fast(last.as_ref(), hash);
        let text = if is_undo {
            "Fast rollback"
        } else {
            "Full promotion requested"
        };
        return text.to_owned();
    }
    if is_trusted(d.seen, d.spec, hash) {
        return "Rollback within window".to_owned();
    }
    format!("Completed all {} canary steps", d.steps())
}
