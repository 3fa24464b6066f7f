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

/// A person overruled the failed analysis before the switch in this attempt.
pub(crate) fn is_overruled(status: &RolloutStatus) -> bool {
    let serin = status.serin.as_ref();
    serin.is_some_and(|s| s.overruled.is_some_and(|n| n == s.attempt.unwrap_or(0)))
}

/// promote of blueGreen before the switch: the failed analysis is overruled, and no more than that. The
/// pause comes next, and what is measured after the switch is measured.
pub(crate) fn overrule(d: &mut Draft<'_>) {
    let reason = d.read().serin.as_ref().and_then(|s| s.hold.clone());
    let reason = reason.map_or(String::new(), |hold| format!(": {}", hold.reason));
    forget(d);
    let serin = d.serin();
    serin.overruled = Some(serin.attempt.unwrap_or(0));
    d.is_forced = true;
    let text = format!("A promote overrode what was measured before the switch{reason}");
    d.event(Event::warning(reasons::GATE_OVERRIDDEN, text));
}

/// The same step with runs of its own; its pods stay.
pub(crate) fn measure_anew(d: &mut Draft<'_>) {
    forget(d);
    cursor::next_attempt(d);
}

/// The question is answered.
fn forget(d: &mut Draft<'_>) {
    if let Some(conditions) = &mut d.next.pause_conditions {
        conditions.retain(|c| c.reason != reasons::FAILED_RUN);
    }
    if d.next.pause_conditions.as_ref().is_none_or(Vec::is_empty) {
        cursor::clear_pause(d);
    }
    d.serin().hold = None;
}
