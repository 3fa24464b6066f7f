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
    let end = after(since.0, limit);
    if d.now() >= end {
        cursor::enter_pause(d, reasons::INCONCLUSIVE_RUN);
    } else {
        d.wake.at(end);
    }
}
