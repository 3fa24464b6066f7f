//! What a gate without a verdict does to an update: it holds, and after a time asks a person.

use super::draft::{Draft, after};
use super::plan::Event;
use super::revision::Sets;
use super::slo::Gate;
use super::{command, cursor, reasons, runs};
use crate::api::status::Hold;

/// An analysis came to no verdict, or a gate had none for too long: a person decides. What the gate
/// says meanwhile is kept up to date; without pods there is nothing to decide.
pub(crate) fn ask_a_person(d: &mut Draft<'_>, sets: &Sets<'_>) {
    d.note("no verdict: promote to go on, abort to go back");
    let Some(mut hold) = d.read().serin.as_ref().and_then(|s| s.hold.clone()) else {
        return;
    };
    if d.spec.replicas == 0 {
        cursor::clear_pause(d);
        d.serin().hold = None;
        return;
    }
    let reason = match runs::gate(d, sets) {
        Gate::Pass => "all objectives hold now; promote to go on".to_owned(),
        Gate::Fail { message, .. } => message,
        Gate::Hold { why } => why,
    };
    if hold.reason != reason {
        hold.reason = reason;
        d.serin().hold = Some(hold);
        d.is_forced = true;
    }
}

/// Asks the SLO gate. Open: go on. Else the step is held, with the reason on record; after
/// `holdFor` a person is asked.
pub(crate) fn gate_opens(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    match runs::gate(d, sets) {
        Gate::Pass => {
            if d.next.serin.as_ref().is_some_and(|s| s.hold.is_some()) {
                d.serin().hold = None;
            }
            release(d);
            true
        }
        // The failed run itself aborts, in `runs::steer` of this or the next turn.
        Gate::Fail { message, .. } => {
            d.note(message);
            false
        }
        Gate::Hold { why } => {
            hold(d, &why);
            false
        }
    }
}

/// The pause that only told clients of a hold ends with the hold.
pub(super) fn release(d: &mut Draft<'_>) {
    let pauses = d.next.pause_conditions.as_deref().unwrap_or_default();
    if pauses.iter().any(|c| c.reason == reasons::HELD_BY_GATE) {
        cursor::clear_pause(d);
        d.event(Event::normal(
            reasons::ROLLOUT_RESUMED,
            "Rollout is resumed",
        ));
    }
}

/// At the very end the existing plugin's promote has nothing to patch: no pause to clear, no step to
/// go to. So a hold there becomes a pause that it can clear, once it has lasted this long.
const UNTIL_PAUSE: i64 = 60;

fn pause_at_the_end(d: &mut Draft<'_>, since: jiff::Timestamp) {
    let at_end = cursor::index(d.read(), d.steps()) >= d.steps();
    if !at_end {
        return;
    }
    let due = after(since, UNTIL_PAUSE);
    if d.now() >= due {
        cursor::enter_pause(d, reasons::HELD_BY_GATE);
    } else {
        d.wake.at(due);
    }
}

fn hold(d: &mut Draft<'_>, why: &str) {
    let now = command::stamp(d);
    let step = d.read().current_step_index.unwrap_or(0);
    let old = d.read().serin.as_ref().and_then(|s| s.hold.clone());
    let since = old
        .as_ref()
        .and_then(|h| h.since.clone())
        .unwrap_or_else(|| now.clone());
    if old.is_none() {
        d.event(Event::warning(
            reasons::GATE_HOLDING,
            format!("SLO gate holds the update: {why}"),
        ));
        d.is_forced = true;
    } else if old.as_ref().is_some_and(|h| h.reason != why) {
        d.is_forced = true;
    }
    d.serin().hold = Some(Hold {
        since: Some(since.clone()),
        step,
        reason: why.to_owned(),
    });
    d.note(format!("held: {why}"));
    let limit = d
        .spec
        .slos()
        .map_or(1800, |s| s.hold_for_ms.checked_div(1000).unwrap_or(1800));
    pause_at_the_end(d, since.0);
    let end = after(since.0, limit);
    if d.now() >= end {
        cursor::enter_pause(d, reasons::INCONCLUSIVE_RUN);
    } else {
        d.wake.at(end);
    }
}
