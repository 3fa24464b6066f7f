//! `serin.dev/retry=step`: an aborted update goes on at the step at which it was aborted, with runs
//! of its own. Pods of the canary that are still there stay; the step waits for the others before
//! its pause or its analysis begins.

use super::command::stamp;
use super::cursor;
use super::draft::Draft;
use super::reasons;
use super::spec::Step;
use crate::api::RolloutStatus;

/// Why it cannot be done, if it cannot.
pub(super) fn refusal(status: &RolloutStatus) -> Option<&'static str> {
    if status.abort != Some(true) {
        let has_failed = status
            .pause_conditions
            .iter()
            .flatten()
            .any(|c| c.reason == reasons::FAILED_RUN);
        return (!has_failed).then_some("the update is not aborted");
    }
    let step = status.serin.as_ref().and_then(|s| s.aborted_step);
    step.is_none().then_some(
        "it is not on record at which step the update was aborted: use retry=true, which begins at the first",
    )
}

/// Back to the step, on record; pods follow from the next turn on.
pub(super) fn retry(d: &mut Draft<'_>) {
    let step = d.read().serin.as_ref().and_then(|s| s.aborted_step);
    cursor::retry(d);
    let to = step.and_then(|s| usize::try_from(s).ok()).unwrap_or(0);
    stand_at(d, to);
}

/// The cursor stands on a step whose pods are not there (any more): it is judged once they are.
pub(crate) fn stand_at(d: &mut Draft<'_>, step: usize) {
    let ramp = d.read().serin.as_ref().and_then(|s| s.ramp.clone());
    let steps = d.steps();
    cursor::set_index(d, step.min(steps));
    let serin = d.serin();
    serin.resuming = Some(true);
    serin.ramp = ramp.map(|level| crate::api::status::WeightLevel {
        since: None,
        ..level
    });
}

pub(crate) fn is_resuming(status: &RolloutStatus) -> bool {
    status
        .serin
        .as_ref()
        .is_some_and(|s| s.resuming == Some(true))
}

/// True while the step is not to be judged yet. When every size is reached its time begins.
pub(crate) fn waits(d: &mut Draft<'_>, is_settled: bool) -> bool {
    if !is_resuming(d.read()) {
        return false;
    }
    let at = cursor::index(d.read(), d.steps());
    let number = at.saturating_add(1);
    if !is_settled {
        d.note(format!("back at step {number}: waiting for its pods"));
        return true;
    }
    let now = stamp(d);
    let serin = d.serin();
    serin.resuming = None;
    serin.step_started_at = Some(now);
    d.is_forced = true;
    if let Some(Step::Pause(_)) = d.spec.steps().get(at) {
        cursor::enter_pause(d, reasons::CANARY_PAUSE_STEP);
    }
    d.note(format!("step {number} has its pods again and begins"));
    true
}
