//! `onFailure: Pause`: a failed gate or analysis asks a person in place of going back. The canary
//! keeps its pods and its step; promote overrides, abort goes back, retry=step measures anew.

use super::command::stamp;
use super::cursor;
use super::draft::Draft;
use super::plan::Event;
use super::reasons;
use crate::api::RolloutStatus;
use crate::api::status::Hold;

/// True while a person is asked about a failure.
pub(crate) fn asks(status: &RolloutStatus) -> bool {
    let mut pauses = status.pause_conditions.iter().flatten();
    pauses.any(|c| c.reason == reasons::FAILED_RUN)
}

/// A run has failed where a person shall decide. True when it changed the status.
pub(crate) fn pause(d: &mut Draft<'_>, message: &str) -> bool {
    let read = d.read();
    if asks(read) {
        return false;
    }
    let waits = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    let was_asked = read.serin.as_ref().is_some_and(|s| s.hold.is_some());
    // A person cleared the pause without moving the step (the plugin's promote): measure anew.
    if !waits && was_asked && read.controller_pause == Some(true) {
        measure_anew(d);
        cursor::pass_pause(d);
        return true;
    }
    cursor::enter_pause(d, reasons::FAILED_RUN);
    let step = d.read().current_step_index.unwrap_or(0);
    let since = Some(stamp(d));
    d.serin().hold = Some(Hold {
        since,
        step,
        reason: message.to_owned(),
    });
    d.is_forced = true;
    let text = format!("{message}: promote to go on, abort to go back, retry=step to measure anew");
    d.event(Event::warning(reasons::GATE_HOLDING, text));
    true
}

/// The same step with runs of its own; its pods stay.
pub(crate) fn measure_anew(d: &mut Draft<'_>) {
    if let Some(conditions) = &mut d.next.pause_conditions {
        conditions.retain(|c| c.reason != reasons::FAILED_RUN);
    }
    if d.next.pause_conditions.as_ref().is_none_or(Vec::is_empty) {
        cursor::clear_pause(d);
    }
    d.serin().hold = None;
    cursor::next_attempt(d);
}
