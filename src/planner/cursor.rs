//! The step cursor and everything that moves it: reset, advance, pause, promote, abort, retry.
//! Changes the next status and reports; never a pod.

use super::command::stamp;
use super::draft::Draft;
use super::plan::Event;
use super::reasons;
use super::revision::Sets;
use super::spec::Step;
use super::status::set_condition;
use super::{canary, descent, failure, first, origin, rollback, timing};
use crate::api::RolloutStatus;
use crate::api::status::PauseCondition;

/// The current step as an index into the steps; `steps` when all are done.
pub(crate) fn index(status: &RolloutStatus, steps: usize) -> usize {
    status
        .current_step_index
        .and_then(|i| usize::try_from(i).ok())
        .unwrap_or(if steps == 0 { 0 } else { usize::MAX })
        .min(steps)
}

/// Puts the cursor on a step, and notes when.
pub(crate) fn set_index(d: &mut Draft<'_>, to: usize) {
    let value = i64::try_from(to).unwrap_or(i64::MAX);
    d.next.current_step_index = (d.steps() > 0).then_some(value);
    let now = stamp(d);
    let hash = d.next.current_pod_hash.clone();
    let serin = d.serin();
    serin.step = Some(value);
    serin.step_started_at = Some(now);
    serin.progress = None;
    serin.most_updated = None;
    serin.least_old = None;
    serin.hold = None;
    serin.resuming = None;
    serin.pause_clock = None;
    serin.ramp = None;
    serin.descent = None;
    serin.hash = hash;
    if let Some(canary) = &mut d.next.canary {
        canary.current_step_analysis_run_status = None;
        canary.current_experiment = None;
    }
}

/// A new template or other steps: everything that belongs to the old update is forgotten (A27, A28).
pub(crate) fn reset(d: &mut Draft<'_>, hash: &str) {
    let read = d.read();
    let was_paused = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    let back_to_stable = read.stable_rs.as_deref() == Some(hash);
    let is_first = read.stable_rs.is_none();
    let was_updating = read.stable_rs.is_some()
        && read.current_pod_hash != read.stable_rs
        && read.current_pod_hash.is_some();
    d.next.current_pod_hash = Some(hash.to_owned());
    d.next.current_step_hash = d.spec.step_hash().map(str::to_owned);
    d.next.pause_conditions = None;
    d.next.controller_pause = None;
    d.next.abort = None;
    d.next.aborted_at = None;
    d.next.promote_full = None;
    if read.current_pod_hash.as_deref() != Some(hash) {
        super::restart::forget(d);
    }
    if let Some(canary) = &mut d.next.canary {
        canary.current_background_analysis_run_status = None;
        canary.current_experiment = None;
        canary.step_plugin_statuses = None;
    }
    if let Some(blue_green) = &mut d.next.blue_green {
        blue_green.scale_up_preview_check_point = None;
        blue_green.pre_promotion_analysis_run_status = None;
        blue_green.post_promotion_analysis_run_status = None;
    }
    timing::began(d, hash);
    let is_trusted = rollback::is_trusted(d.seen, d.spec, hash);
    let to = if back_to_stable || is_first || is_trusted {
        d.steps()
    } else {
        0
    };
    set_index(d, to);
    // The same revision again: its old runs have given their verdicts on other steps.
    let same_template = read.current_pod_hash.as_deref() == Some(hash);
    let first = first::carried(read).filter(|_| same_template && back_to_stable);
    let serin = d.serin();
    serin.settled = None;
    serin.first = first;
    serin.aborted_step = None;
    if !same_template {
        serin.freeze = None;
        serin.freeze_override = None;
    }
    serin.fast_track = None;
    serin.overruled = None;
    serin.attempt = if same_template {
        Some(serin.attempt.unwrap_or(0).saturating_add(1))
    } else {
        None
    };
    if back_to_stable && was_updating && d.steps() > 0 {
        d.event(Event::normal(
            reasons::SKIP_STEPS,
            "Rollback to stable ReplicaSets",
        ));
    }
    if is_trusted && d.steps() > 0 {
        rollback::tell(d, hash);
    }
    if was_paused {
        d.event(Event::normal(
            reasons::ROLLOUT_RESUMED,
            "Rollout is resumed",
        ));
    }
}

/// The current step is done. A pause that comes next begins at once, in the same write.
pub(crate) fn advance(d: &mut Draft<'_>, from: usize) {
    let Some(step) = d.spec.steps().get(from) else {
        return;
    };
    let (number, total) = (from.saturating_add(1), d.steps());
    let text = format!("Rollout step {number}/{total} completed ({})", step.text());
    d.event(Event::normal(reasons::STEP_COMPLETED, text));
    clear_pause(d);
    set_index(d, number);
    if let Some(Step::Pause(_)) = d.spec.steps().get(number)
        && !d.spec.paused
    {
        enter_pause(d, reasons::CANARY_PAUSE_STEP);
    }
}

/// Starts to wait. The start is rounded up to a whole second, so that no pause is ever short.
pub(crate) fn enter_pause(d: &mut Draft<'_>, reason: &str) {
    let start = stamp(d);
    let conditions = d.next.pause_conditions.get_or_insert_default();
    if conditions.iter().any(|c| c.reason == reason) {
        return;
    }
    conditions.push(PauseCondition {
        reason: reason.to_owned(),
        start_time: Some(start),
    });
    d.next.controller_pause = Some(true);
    let text = format!("Rollout is paused ({reason})");
    d.event(Event::normal(reasons::ROLLOUT_PAUSED, text));
}

/// A person cleared every pause, a pause step's too: that one is over (C3), whatever else was asked.
pub(crate) fn pass_pause(d: &mut Draft<'_>) {
    let at = index(d.read(), d.steps());
    if let Some(Step::Pause(_)) = d.spec.steps().get(at) {
        advance(d, at);
    }
}

/// Ends every pause.
pub(crate) fn clear_pause(d: &mut Draft<'_>) {
    d.next.pause_conditions = None;
    d.next.controller_pause = None;
}

/// A person's promote of one step: the pause ends, or the step that is waited for is skipped. What
/// a gate held is let go, and that is recorded.
pub(crate) fn promote(d: &mut Draft<'_>) {
    let read = d.read();
    let steps = d.steps();
    let at = index(read, steps);
    let waits = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    if asks_anew(d) {
        return;
    }
    if failure::asks(read) && super::blue_green::is_before_switch(d) {
        return failure::overrule(d);
    }
    // BlueGreen: the pause before the switch ends; after it only a gate can be in the way.
    let waits_for_switch = read
        .pause_conditions
        .iter()
        .flatten()
        .any(|c| c.reason == reasons::BLUE_GREEN_PAUSE);
    if waits_for_switch && d.spec.blue_green().is_some() {
        return super::blue_green::release(d);
    }
    // What has failed would ask again: it is measured anew from the next step on.
    if failure::asks(read) {
        next_attempt(d);
    }
    override_hold(d);
    let step = d.spec.steps().get(at);
    match step {
        Some(Step::Pause(_)) => advance(d, at),
        Some(Step::SetWeight(_) | Step::Ramp(_) | Step::Analysis(_) | Step::Experiment(_)) => {
            clear_pause(d);
            set_index(d, at.saturating_add(1));
        }
        // Past the last step only a gate can be in the way: letting it go is a full promotion.
        None => {
            clear_pause(d);
            d.next.promote_full = Some(true);
        }
    }
    if waits {
        d.note("promoted by a person");
    }
}

/// The pause asks what to do about a background analysis without a verdict: promote means "ask
/// again", with runs of their own, and the step stays. True when it was that.
fn asks_anew(d: &mut Draft<'_>) -> bool {
    let read = d.read();
    let is_asked = read
        .pause_conditions
        .iter()
        .flatten()
        .any(|c| c.reason == reasons::INCONCLUSIVE_RUN);
    let is_held = read.serin.as_ref().is_some_and(|s| s.hold.is_some());
    let of_step = read
        .canary
        .as_ref()
        .and_then(|c| c.current_step_analysis_run_status.as_ref())
        .is_some_and(|run| run.status == "Inconclusive");
    if !is_asked || is_held || of_step {
        return false;
    }
    if let Some(conditions) = &mut d.next.pause_conditions {
        conditions.retain(|c| c.reason != reasons::INCONCLUSIVE_RUN);
    }
    if d.next.pause_conditions.as_ref().is_some_and(Vec::is_empty) {
        clear_pause(d);
    }
    next_attempt(d);
    true
}

/// Runs of their own from now on: the names change.
pub(crate) fn next_attempt(d: &mut Draft<'_>) {
    let serin = d.serin();
    serin.attempt = Some(serin.attempt.unwrap_or(0).saturating_add(1));
    d.is_forced = true;
}

/// Lets go of what a gate holds; says so in an event.
pub(crate) fn override_hold(d: &mut Draft<'_>) {
    let Some(hold) = d.read().serin.as_ref().and_then(|s| s.hold.clone()) else {
        return;
    };
    d.serin().hold = None;
    let text = format!(
        "A promote overrode the SLO gate that held the update: {}",
        hold.reason
    );
    d.event(Event::warning(reasons::GATE_OVERRIDDEN, text));
}

/// A client moved the cursor itself (plugin's promote): its move becomes ours.
pub(crate) fn record_foreign_move(d: &mut Draft<'_>, to: i64) {
    override_hold(d);
    clear_pause(d);
    set_index(d, usize::try_from(to).unwrap_or(0));
    // Nothing else may have changed in this second, and until it is on record nothing goes on.
    d.is_forced = true;
}

/// Why an aborted update does not go back (A9): a client patched the status and left `spec.paused`.
pub(crate) const HELD_BY_PAUSED: &str = "spec.paused holds every size as it is: the pods go back once it is cleared (serin.dev/resume=true)";

/// Back to stable: on record now, pods move from the next turn on.
pub(crate) fn abort(d: &mut Draft<'_>, sets: &Sets<'_>, why: Option<&str>) {
    let now = stamp(d);
    let read = d.read();
    let (from, weight) = (
        index(read, d.steps()),
        canary::step_weight(read, d.spec.steps()),
    );
    let ramp = read.serin.as_ref().and_then(|s| s.ramp.clone());
    clear_pause(d);
    d.next.abort = Some(true);
    d.serin().settled = None;
    d.next.aborted_at = Some(now.clone());
    d.next.promote_full = None;
    set_index(d, 0);
    // For retry=step: where it was.
    d.serin().aborted_step = i64::try_from(from).ok();
    d.serin().ramp = ramp;
    descent::begin(d, weight);
    timing::aborted(d);
    origin::mark_aborted(d, sets);
    let revision = sets.canary.revision;
    let message = match why {
        Some(why) => format!("Rollout aborted update to revision {revision}: {why}"),
        None => format!("Rollout aborted update to revision {revision}"),
    };
    set_condition(
        &mut d.next,
        reasons::PROGRESSING,
        "False",
        reasons::ROLLOUT_ABORTED,
        &message,
        now,
    );
    d.event(Event::warning(reasons::ROLLOUT_ABORTED, message));
    if d.spec.paused {
        let text = format!("The update is aborted, and {HELD_BY_PAUSED}");
        d.event(Event::warning(reasons::ROLLOUT_PAUSED, text));
    }
}

/// A full promotion of an update that was aborted: it goes on, and so does the deadline's clock.
pub(crate) fn promote_aborted(d: &mut Draft<'_>) {
    d.next.abort = None;
    d.next.aborted_at = None;
    d.serin().aborted_step = None;
    d.serin().descent = None;
    goes_on_after_abort(d);
}

fn goes_on_after_abort(d: &mut Draft<'_>) {
    let now = stamp(d);
    set_condition(
        &mut d.next,
        reasons::PROGRESSING,
        "Unknown",
        reasons::ROLLOUT_RETRY,
        "Retrying Rollout after abort",
        now,
    );
}

/// From the first step again, with runs of its own.
pub(crate) fn retry(d: &mut Draft<'_>) {
    d.next.abort = None;
    d.next.aborted_at = None;
    clear_pause(d);
    set_index(d, 0);
    d.serin().aborted_step = None;
    timing::anew(d);
    if let Some(canary) = &mut d.next.canary {
        canary.current_background_analysis_run_status = None;
    }
    // The preview is judged anew, so it begins small again.
    if let Some(blue_green) = &mut d.next.blue_green {
        blue_green.scale_up_preview_check_point = None;
        blue_green.pre_promotion_analysis_run_status = None;
        blue_green.post_promotion_analysis_run_status = None;
    }
    next_attempt(d);
    goes_on_after_abort(d);
}
