//! `status.duration` (contract A16): when an update began and ended, how it ended, and how long it
//! waited for a person. Changes only together with what it tells of.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::command::{self, stamp};
use super::draft::Draft;
use super::fast_track;
use super::revision::Sets;
use super::rollback;
use super::standing;
use super::undo;
use crate::api::status::RolloutDuration;

fn is_under_way(duration: Option<&RolloutDuration>) -> bool {
    duration.is_some_and(|d| d.rollout_started_at.is_some() && d.finished_at.is_none())
}

/// Another template, or other steps. On the way back to stable, or to what is older than stable,
/// the record goes on; else a new one begins. Nothing begins where stable is all that is wanted.
pub(crate) fn began(d: &mut Draft<'_>, hash: &str) {
    let is_stable = d.read().stable_rs.as_deref() == Some(hash);
    let is_back = is_stable || rollback::is_older_than_stable(d.seen, hash);
    let is_warm =
        rollback::wearing(d.seen, Some(hash)).is_some_and(|rs| fast_track::reason(d, rs).is_some());
    let is_fast = is_stable || is_warm || rollback::is_trusted(d.seen, d.spec, hash);
    let goes_on = is_back && is_under_way(d.read().duration.as_ref());
    if is_stable && !goes_on {
        return;
    }
    if !goes_on {
        anew(d);
    }
    let word = if is_fast {
        "FastRolledBack"
    } else {
        "RolledBack"
    };
    if let Some(duration) = &mut d.next.duration {
        duration.completion_status = is_back.then(|| word.to_owned());
    }
}

/// A record of its own begins: an update, or a retry.
pub(crate) fn anew(d: &mut Draft<'_>) {
    d.next.duration = Some(RolloutDuration {
        rollout_started_at: Some(stamp(d)),
        ..RolloutDuration::default()
    });
}

/// The update was aborted: that is its end.
pub(crate) fn aborted(d: &mut Draft<'_>) {
    end(d, "Aborted");
}

/// The version became stable; its record ends when its pods are all there.
pub(crate) fn promoted(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let is_full = d.read().promote_full == Some(true);
    let last = command::last(&d.seen.rollout.annotations);
    let is_back = rollback::is_older_than_stable(d.seen, &sets.canary.hash);
    let is_undo = is_back && undo::is_fast(last.as_ref(), &sets.canary.hash);
    let Some(duration) = &mut d.next.duration else {
        return;
    };
    if is_undo {
        duration.completion_status = Some("FastRolledBack".to_owned());
    } else if is_full {
        duration.completion_status = Some("FastPromoted".to_owned());
    }
}

/// Counts the time spent waiting for a person, and ends the record of a version that is stable and
/// has all its pods.
pub(crate) fn follow(d: &mut Draft<'_>, sets: &Sets<'_>) {
    if !is_under_way(d.next.duration.as_ref()) {
        return;
    }
    let now = stamp(d);
    let waits = standing::asks_a_person(d.spec, &d.next);
    let is_stable = d.next.stable_rs.is_some() && d.next.stable_rs == d.next.current_pod_hash;
    let is_over = is_stable && sets.canary.available >= d.spec.replicas;
    if let Some(duration) = &mut d.next.duration {
        if !waits || is_over {
            settle_pause(duration, &now);
        } else if duration.manual_pause_started_at.is_none() {
            duration.manual_pause_started_at = Some(now);
        }
    }
    if is_over {
        end(d, "");
    }
}

fn end(d: &mut Draft<'_>, word: &str) {
    if !is_under_way(d.next.duration.as_ref()) {
        return;
    }
    let now = stamp(d);
    let Some(duration) = &mut d.next.duration else {
        return;
    };
    settle_pause(duration, &now);
    duration.finished_at = Some(now);
    if !word.is_empty() {
        duration.completion_status = Some(word.to_owned());
    }
    let last = &mut duration.completion_status;
    last.get_or_insert_with(|| "Promoted".to_owned());
}

fn settle_pause(duration: &mut RolloutDuration, now: &Time) {
    let Some(since) = duration.manual_pause_started_at.take() else {
        return;
    };
    let waited = now.0.as_second().saturating_sub(since.0.as_second()).max(0);
    let before = duration.total_manual_pause_duration_seconds.unwrap_or(0);
    duration.total_manual_pause_duration_seconds = Some(before.saturating_add(waited));
}
