//! Condition Progressing and the deadline. Progress is measured from what was reached, so that a
//! pod that flaps does not keep a stuck update alive (I-22).

use super::{condition, is_complete, is_healthy, is_paused, set_condition};
use crate::planner::command::stamp;
use crate::planner::cursor;
use crate::planner::draft::{Draft, after};
use crate::planner::reasons;
use crate::planner::revision::Sets;
use crate::planner::spec::Step;
use crate::planner::{first, ramp, resume, runs};

/// Brings the condition up to date; aborts where the deadline says so and the spec asks for it.
pub(super) fn update(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let progressed = has_progressed(d, sets);
    let before = reason_of(d.read());
    let decided = reason_of(&d.next) != before;
    let was_available = is_settled(d, before.as_deref());
    let name = sets.canary.name.clone();
    if d.next.abort == Some(true) {
        if !decided && before.as_deref() != Some(reasons::ROLLOUT_ABORTED) {
            let text = format!(
                "Rollout aborted update to revision {}",
                sets.canary.revision
            );
            set(d, "False", reasons::ROLLOUT_ABORTED, &text);
        }
        forget_beside(d);
    } else if is_paused(d) && !is_complete(&d.next) {
        set(d, "Unknown", reasons::ROLLOUT_PAUSED, "Rollout is paused");
    } else if decided {
        // The cursor has set it in this turn: created, found, retried.
    } else if is_healthy(d) {
        let text = format!("ReplicaSet {name:?} has successfully progressed.");
        set(d, "True", reasons::NEW_RS_AVAILABLE, &text);
    } else if is_complete(&d.next) && was_available {
        // Nothing is being updated: a pod that goes away is no failed update.
        if is_full(d) {
            // Only paused: nothing else changed (A39).
            let text = format!("ReplicaSet {name:?} has successfully progressed.");
            set(d, "True", reasons::NEW_RS_AVAILABLE, &text);
        } else {
            let text = "Rollout does not have minimum availability";
            set(d, "True", reasons::RS_NOT_AVAILABLE, text);
        }
    } else if progressed {
        set(
            d,
            "True",
            reasons::RS_UPDATED,
            &format!("ReplicaSet {name:?} is progressing."),
        );
        touch(d);
        // Pods of a preview are not in the counts of a blueGreen status: what was reached would be
        // forgotten where the second is the same.
        d.is_forced |= d.spec.blue_green().is_some();
    } else if before.as_deref() == Some(reasons::ROLLOUT_PAUSED) {
        set(d, "Unknown", reasons::ROLLOUT_RESUMED, "Rollout is resumed");
    } else if before.is_none() {
        set(
            d,
            "True",
            reasons::RS_UPDATED,
            &format!("ReplicaSet {name:?} is progressing."),
        );
    } else {
        forget_failure(d, before.as_deref(), &name);
        deadline(d, sets);
    }
}

/// A write that failed is not due any more, so it went through or its cause is gone. Only the words
/// change: the deadline's clock goes on.
fn forget_failure(d: &mut Draft<'_>, before: Option<&str>, name: &str) {
    let failed = matches!(
        before,
        Some(reasons::RECONCILIATION_ERROR | reasons::RS_CREATE_ERROR)
    );
    if !failed || d.has_writes() {
        return;
    }
    let since = condition(&d.next, reasons::PROGRESSING).and_then(|c| c.last_update_time.clone());
    set(
        d,
        "True",
        reasons::RS_UPDATED,
        &format!("ReplicaSet {name:?} is progressing."),
    );
    let found = d
        .next
        .conditions
        .iter_mut()
        .find(|c| c.type_ == reasons::PROGRESSING);
    if let Some(condition) = found {
        condition.last_update_time = since;
    }
}

/// The same of what failed on the way back: it is told beside the abort.
fn forget_beside(d: &mut Draft<'_>) {
    if d.has_writes() {
        return;
    }
    let mut conditions = d.next.conditions.iter_mut();
    let found = conditions.find(|c| c.type_ == reasons::PROGRESSING);
    if let Some(message) = found.and_then(|c| c.message.as_mut())
        && let Some((abort, _)) = message.split_once(BESIDE)
    {
        *message = abort.to_owned();
    }
}

/// What comes between the words of an abort and those of a failure beside it.
pub(crate) const BESIDE: &str = "; Failed to";

fn reason_of(status: &crate::api::RolloutStatus) -> Option<String> {
    condition(status, reasons::PROGRESSING).and_then(|c| c.reason.clone())
}

fn set(d: &mut Draft<'_>, status: &str, reason: &str, message: &str) {
    let now = stamp(d);
    set_condition(
        &mut d.next,
        reasons::PROGRESSING,
        status,
        reason,
        message,
        now,
    );
}

/// Progress moves the deadline's clock although status and reason stay.
fn touch(d: &mut Draft<'_>) {
    let now = stamp(d);
    let found = d
        .next
        .conditions
        .iter_mut()
        .find(|c| c.type_ == reasons::PROGRESSING);
    if let Some(condition) = found {
        condition.last_update_time = Some(now);
    }
}

/// This version was Healthy once: what happens to it since is no update (I-22). On objects of the
/// peer the reason on record tells.
fn is_settled(d: &mut Draft<'_>, before: Option<&str>) -> bool {
    let on_record = d.next.serin.as_ref().and_then(|s| s.settled);
    let by_reason = matches!(
        before,
        Some(reasons::NEW_RS_AVAILABLE | reasons::RS_NOT_AVAILABLE)
    );
    let settled = on_record.unwrap_or(by_reason) || is_healthy(d);
    if settled && is_complete(&d.next) {
        d.serin().settled = Some(true);
    }
    settled
}

/// Every pod of this version is there and available, and no other pod.
fn is_full(d: &Draft<'_>) -> bool {
    let wanted = Some(i64::from(d.spec.replicas));
    let next = &d.next;
    let is_alone = next.blue_green.is_some() || next.replicas == wanted;
    next.updated_replicas == wanted && next.available_replicas == wanted && is_alone
}

/// Progress: a step, or more new pods, more available new pods or fewer old pods than this step
/// ever had. Pods that come and go are none.
fn has_progressed(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let read = d.read();
    let next = &d.next;
    let moved = next.current_step_index != read.current_step_index
        || next.current_step_hash != read.current_step_hash
        || ramp_weight(next) != ramp_weight(read)
        || next.stable_rs != read.stable_rs
        || selectors(next) != selectors(read);
    let updated = next.updated_replicas.unwrap_or(0);
    let old = next.replicas.unwrap_or(0).saturating_sub(updated);
    let available = i64::from(sets.canary.available);
    let serin = d.serin();
    let more_available = available > serin.progress.unwrap_or(0);
    let more_updated = updated > serin.most_updated.unwrap_or(0);
    let fewer_old = old < serin.least_old.unwrap_or(i64::MAX);
    serin.progress = Some(available.max(serin.progress.unwrap_or(0)));
    serin.most_updated = Some(updated.max(serin.most_updated.unwrap_or(0)));
    serin.least_old = Some(old.min(serin.least_old.unwrap_or(i64::MAX)));
    moved || more_updated || fewer_old || more_available
}

/// A ramp makes progress with each of its weights.
fn ramp_weight(status: &crate::api::RolloutStatus) -> Option<i64> {
    let ramp = status.serin.as_ref().and_then(|s| s.ramp.as_ref());
    ramp.map(|level| level.weight)
}

/// What the Services of a blueGreen update select.
fn selectors(status: &crate::api::RolloutStatus) -> Option<(&Option<String>, &Option<String>)> {
    let shown = status.blue_green.as_ref()?;
    Some((&shown.active_selector, &shown.preview_selector))
}

/// An analysis before or after the switch has no verdict yet. One that is shown and belongs to the
/// past is not waited for.
fn is_judging(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let shown = d.next.blue_green.as_ref();
    let runs = shown.into_iter().flat_map(|b| {
        [
            &b.pre_promotion_analysis_run_status,
            &b.post_promotion_analysis_run_status,
        ]
    });
    let mut going = runs
        .flatten()
        .filter(|run| matches!(run.status.as_str(), "Pending" | "Running"));
    going.any(|run| runs::is_wanted(d, sets, &run.name))
}

fn deadline(d: &mut Draft<'_>, sets: &Sets<'_>) {
    if !counts(d, sets) {
        return;
    }
    let name = &sets.canary.name;
    let text = format!("ReplicaSet {name:?} has timed out progressing.");
    let since = condition(&d.next, reasons::PROGRESSING)
        .and_then(|c| c.last_update_time.as_ref())
        .map_or(d.now(), |t| t.0);
    let expired = reason_of(&d.next).as_deref() == Some(reasons::DEADLINE_EXCEEDED);
    let end = after(since, i64::from(d.spec.progress_deadline_seconds));
    if !expired {
        if d.now() < end {
            d.wake.at(end);
            return;
        }
        set(d, "False", reasons::DEADLINE_EXCEEDED, &text);
    }
    if d.spec.progress_deadline_abort && !is_complete(&d.next) {
        cursor::abort(d, sets, Some(&text));
    }
}

/// The clock stands still in pauses, analyses and holds (A10), and where only a person can go on.
fn counts(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let next = &d.next;
    let is_held = next.serin.as_ref().is_some_and(|s| s.hold.is_some());
    if is_held || d.spec.replicas == 0 || first::is_pending(next) || is_judging(d, sets) {
        return false;
    }
    // A person is waited for, whatever the new version does.
    if d.is_stable_gone {
        return false;
    }
    let at = cursor::index(next, d.steps());
    let waits_by_plan = match d.spec.steps().get(at) {
        Some(Step::Pause(_) | Step::Analysis(_) | Step::Experiment(_)) => {
            !is_complete(next) && !resume::is_resuming(next)
        }
        Some(Step::Ramp(_)) => ramp::is_keeping(next),
        Some(Step::SetWeight(_)) | None => false,
    };
    !waits_by_plan && !is_paused(d)
}
