//! Freezes: while a window is in force no step advances and nothing is promoted, and an update that
//! begins starts nothing. Aborts and rollbacks always go on. A person may let one update through,
//! and that is recorded.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::command::stamp;
use super::draft::{Draft, whole_seconds};
use super::observed::Observed;
use super::origin;
use super::plan::Event;
use super::reasons;
use super::revision::Sets;
use crate::api::status::{FreezeOverride, FreezeStatus};

pub mod cron;
pub mod window;

pub use window::Window;

/// What holds an update now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frozen {
    /// Which windows, until when, why, and whom to ask.
    pub(crate) text: String,
    /// When the last of them ends, as far as that is known.
    until: Option<Timestamp>,
}

/// The windows that are in force for this Rollout, and when the next of its windows begins or ends.
fn look_up(seen: &Observed) -> (Option<Frozen>, Option<Timestamp>) {
    let rollout = &seen.rollout;
    let near = seen
        .freezes
        .iter()
        .map(AsRef::as_ref)
        .filter(|w: &&Window| w.is_for(&rollout.namespace, &rollout.name, &rollout.labels));
    in_force(near, seen.now)
}

/// What the windows that are in force now say, for whoever has no turn: a webhook.
pub fn text_at<'a>(near: impl Iterator<Item = &'a Window>, now: Timestamp) -> Option<String> {
    in_force(near, now).0.map(|frozen| frozen.text)
}

fn in_force<'a>(
    near: impl Iterator<Item = &'a Window>,
    now: Timestamp,
) -> (Option<Frozen>, Option<Timestamp>) {
    let (mut texts, mut until, mut boundary) = (Vec::new(), Some(Timestamp::MIN), None);
    for window in near {
        let state = window.at(now);
        boundary = [boundary, state.changes].into_iter().flatten().min();
        if !state.is_frozen {
            continue;
        }
        let end = match state.changes {
            Some(end) => format!("until {}", window.read(end)),
            None => "until it is deleted".to_owned(),
        };
        let owner = window
            .owner
            .as_ref()
            .map(|owner| format!(" (owner: {owner})"))
            .unwrap_or_default();
        texts.push(if state.faults.is_empty() {
            format!("{} {end}: {}{owner}", window.title, window.reason)
        } else {
            let faults: Vec<String> = state.faults.iter().map(ToString::to_string).collect();
            let faults = faults.join("; ");
            format!("{}, which cannot be read: {faults}{owner}", window.title)
        });
        until = match (until, state.changes) {
            (Some(known), Some(end)) => Some(known.max(end)),
            _ => None,
        };
    }
    texts.sort();
    let frozen = (!texts.is_empty()).then(|| Frozen {
        text: texts.join("; "),
        until,
    });
    (frozen, boundary)
}

/// Finds out whether this update is held, and puts what changed on record. Must come before sizes and
/// steps are decided: they ask `d.freeze`.
pub(crate) fn look(d: &mut Draft<'_>, sets: &Sets<'_>) {
    if !goes_forward(d, sets) {
        return forget(d, None);
    }
    let (frozen, boundary) = look_up(d.seen);
    if let Some(boundary) = boundary {
        d.wake.at(boundary);
    }
    let Some(frozen) = frozen else {
        return forget(
            d,
            Some("No freeze is in force any more: the update goes on"),
        );
    };
    if d.read().promote_full == Some(true) && override_of(d).is_none() {
        record(d, "promote=full", Some(&frozen));
    }
    if let Some(over) = override_of(d) {
        let reason = over.reason.clone();
        forget(d, None);
        d.note(format!("goes through a freeze ({reason}): {}", frozen.text));
        return;
    }
    hold(d, frozen);
}

/// An update to a newer version, neither aborted nor done. A version that is older than the stable one
/// is a rollback, unless it is known that it was never good.
fn goes_forward(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let read = d.read();
    let hash = Some(sets.canary.hash.as_str());
    let is_rollback = sets
        .stable
        .is_some_and(|stable| origin::age(sets.canary) < origin::age(stable))
        && origin::may_be_good(read, sets.canary);
    read.stable_rs.is_some()
        && read.stable_rs.as_deref() != hash
        && read.abort != Some(true)
        && !is_rollback
}

fn override_of<'a>(d: &'a Draft<'_>) -> Option<&'a FreezeOverride> {
    d.next.serin.as_ref()?.freeze_override.as_ref()
}

fn hold(d: &mut Draft<'_>, frozen: Frozen) {
    let old = d.read().serin.as_ref().and_then(|s| s.freeze.clone());
    let now = stamp(d);
    let next = FreezeStatus {
        message: frozen.text.clone(),
        since: old.as_ref().and_then(|f| f.since.clone()).or(Some(now)),
        until: frozen.until.map(|until| -> Time { whole_seconds(until) }),
    };
    if old.is_none() {
        let text = format!("The update is frozen by {}", frozen.text);
        d.event(Event::warning(reasons::UPDATE_FROZEN, text));
    }
    d.is_forced |= old.as_ref() != Some(&next);
    d.serin().freeze = Some(next);
    d.note(format!("frozen by {}", frozen.text));
    d.freeze = Some(frozen);
}

/// No freeze holds the update: what was on record goes.
fn forget(d: &mut Draft<'_>, told: Option<&str>) {
    if d.next.serin.as_ref().is_none_or(|s| s.freeze.is_none()) {
        return;
    }
    d.serin().freeze = None;
    d.is_forced = true;
    if let Some(told) = told {
        d.event(Event::normal(reasons::FREEZE_ENDED, told));
    }
}

/// Why a step cannot be promoted now: the freeze that this turn found, or the one on record.
pub(crate) fn refusal(d: &Draft<'_>) -> Option<String> {
    // On record, and still in force: it may have ended since.
    let recorded = || {
        d.next.serin.as_ref()?.freeze.as_ref()?;
        look_up(d.seen).0.map(|frozen| frozen.text)
    };
    let text = d
        .freeze
        .as_ref()
        .map(|f| f.text.clone())
        .or_else(recorded)?;
    Some(refusal_text(&text))
}

/// Why a step cannot be promoted in a freeze, and what can be done.
pub fn refusal_text(freeze: &str) -> String {
    format!(
        "the update is frozen by {freeze}. Wait, or give a reason in serin.dev/override-freeze, or promote=full"
    )
}

/// A person's override by annotation: for this update, until it is done or another begins.
pub(crate) fn override_by(d: &mut Draft<'_>, reason: &str) {
    let (frozen, _) = look_up(d.seen);
    record(d, reason, frozen.as_ref());
}

fn record(d: &mut Draft<'_>, reason: &str, frozen: Option<&Frozen>) {
    let now = stamp(d);
    let what = match frozen {
        Some(frozen) => format!("overrides {}", frozen.text),
        None => "will go through any freeze; none is in force now".to_owned(),
    };
    let text = format!("This update {what}. Reason given: {reason}");
    d.event(Event::warning(reasons::FREEZE_OVERRIDDEN, text));
    d.serin().freeze_override = Some(FreezeOverride {
        reason: reason.to_owned(),
        at: Some(now),
        freeze: frozen.map(|frozen| frozen.text.clone()),
    });
    d.is_forced = true;
}
