//! Commands of people: by annotation (decisions §4, exactly once, also across a crash) and by the
//! status patches that existing clients send (contract §1.10). Both lead into the same moves of
//! the cursor. Knows the protocol: take (a patch of the object), act (the status that carries the
//! effect and the command's id).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cursor;
use super::draft::{Draft, whole_seconds};
use super::freeze;
use super::plan::Event;
use super::reasons;
use super::revision::{self, Found, Sets};
use super::{failure, first, lost, resume, undo};
use crate::api::{
    ABORT, LAST_COMMAND, OVERRIDE_FREEZE, PAUSE, PROMOTE, RESTART, RESUME, RETRY, RolloutStatus,
    UNDO,
};

/// `serin.dev/last-command`: what was asked last, when, of which revision and step, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastCommand {
    /// resourceVersion at which the annotation was seen: two equal commands differ in it.
    pub id: String,
    /// promote, abort, retry, pause, resume, restart or undo.
    pub verb: String,
    /// The annotation's value.
    pub value: String,
    /// Pod hash it was meant for.
    pub hash: String,
    /// Step index it was meant for; `None` without steps.
    pub step: Option<i64>,
    /// When it was taken (RFC 3339).
    pub at: String,
    /// `accepted` (to be acted on), `done`, or `refused: <why>`.
    pub outcome: String,
}

const ACCEPTED: &str = "accepted";
const DONE: &str = "done";

/// Verbs in order of precedence: an abort wins over everything else that waits.
const VERBS: [(&str, &str); 8] = [
    (ABORT, "abort"),
    (PAUSE, "pause"),
    (OVERRIDE_FREEZE, "override-freeze"),
    (PROMOTE, "promote"),
    (RESUME, "resume"),
    (RETRY, "retry"),
    (RESTART, "restart"),
    (UNDO, "undo"),
];

/// What the planner says to a command when it is taken.
pub(super) enum Judgement {
    /// To be acted on in the status.
    Accept,
    /// The same, for the version with this hash.
    AcceptFor(String),
    /// The spec patch is all of it.
    Done,
    /// No, and why.
    Refuse(String),
}

/// The last command, where the annotation can be read.
pub fn last(annotations: &std::collections::BTreeMap<String, String>) -> Option<LastCommand> {
    serde_json::from_str(annotations.get(LAST_COMMAND)?).ok()
}

/// The command that is taken and not yet acted on.
fn pending(d: &Draft<'_>) -> Option<LastCommand> {
    taken(&d.seen.rollout.annotations, d.read())
}

/// The same, of an object and its status.
pub(crate) fn taken(
    annotations: &std::collections::BTreeMap<String, String>,
    status: &RolloutStatus,
) -> Option<LastCommand> {
    let last = last(annotations)?;
    let done = status.serin.as_ref().and_then(|s| s.command.as_deref());
    (last.outcome == ACCEPTED && done != Some(last.id.as_str())).then_some(last)
}

/// The command annotations that wait to be taken.
pub(crate) fn waiting(
    annotations: &std::collections::BTreeMap<String, String>,
) -> Vec<&'static str> {
    let keys = VERBS.iter().map(|(key, _)| *key);
    keys.filter(|key| annotations.contains_key(*key)).collect()
}

/// Takes the next command annotation, where there is one and the last command is done: one patch
/// removes it, records it, and carries what of it is a change of the spec. True when it did.
pub(crate) fn take(d: &mut Draft<'_>) -> bool {
    if pending(d).is_some() {
        return false;
    }
    let annotations = &d.seen.rollout.annotations;
    let waiting = VERBS.iter().filter_map(|(key, verb)| {
        let value = annotations.get(*key)?;
        Some((*key, *verb, value.clone()))
    });
    let next = waiting.into_iter().find(|(key, ..)| may_be_taken(d, key));
    let Some((key, verb, value)) = next else {
        return false;
    };
    let judgement = judge(d, verb, &value);
    let outcome = match &judgement {
        Judgement::Accept | Judgement::AcceptFor(_) => ACCEPTED.to_owned(),
        Judgement::Done => DONE.to_owned(),
        Judgement::Refuse(why) => format!("refused: {why}"),
    };
    if let Judgement::Refuse(why) = &judgement {
        d.event(refusal(verb, why));
    }
    let hash = match judgement {
        Judgement::AcceptFor(hash) => Some(hash),
        Judgement::Accept | Judgement::Done | Judgement::Refuse(_) => {
            d.read().current_pod_hash.clone()
        }
    };
    let command = LastCommand {
        id: d.seen.rollout.version.clone(),
        verb: verb.to_owned(),
        value,
        hash: hash.unwrap_or_default(),
        step: d.read().current_step_index,
        at: d.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        outcome,
    };
    d.annotations.insert(key.to_owned(), None);
    let text = serde_json::to_string(&command).unwrap_or_default();
    d.annotations.insert(LAST_COMMAND.to_owned(), Some(text));
    true
}

fn refusal(verb: &str, why: &str) -> Event {
    Event::warning(
        reasons::COMMAND_REFUSED,
        format!("Refused command {verb}: {why}"),
    )
}

/// The patch that takes a command, when what it asks of another object was refused: only the refusal
/// is left of it. The event that tells.
pub(super) fn refuse(patch: &mut Value, why: &str) -> Option<Event> {
    let patch = patch.as_object_mut()?;
    let annotations = patch.get_mut("metadata")?.get_mut("annotations")?;
    let text = annotations.get_mut(LAST_COMMAND)?;
    let command: LastCommand = serde_json::from_str(text.as_str()?).ok()?;
    let event = refusal(&command.verb, why);
    let told = LastCommand {
        outcome: format!("refused: {why}"),
        ..command
    };
    *text = Value::String(serde_json::to_string(&told).ok()?);
    patch.remove("spec");
    Some(event)
}

fn judge(d: &mut Draft<'_>, verb: &str, value: &str) -> Judgement {
    let refuse = |why: &str| Judgement::Refuse(why.to_owned());
    match verb {
        "restart" => judge_restart(d, value),
        "undo" => undo::judge(d, value),
        "pause" | "resume" => judge_pause(d, verb == "pause"),
        "override-freeze" if value.trim().is_empty() || value.trim() == "true" => refuse(
            "the value must say why this update goes through the freeze, as in serin.dev/override-freeze='security fix, approved by the on-call'",
        ),
        "promote" if value != "true" && value != "full" => {
            refuse("the value must be true (one step) or full (skip everything that is left)")
        }
        "promote" => judge_promote(d, value),
        "abort" if !is_updating(d) => refuse("no update is under way"),
        "abort" if d.read().abort == Some(true) => refuse("the update is aborted already"),
        "abort" => {
            // A person who wants to go back does not want to be held by an earlier pause.
            if d.spec.paused {
                d.spec_patch.insert("paused".into(), Value::Bool(false));
            }
            Judgement::Accept
        }
        "retry" if value != "true" && value != "step" => refuse(
            "the value must be true (from the first step) or step (from the one it was aborted at)",
        ),
        "retry" if first::failure(d.read()).is_some() => Judgement::Accept,
        "retry" if value == "step" && d.spec.blue_green().is_some() && !failure::asks(d.read()) => {
            refuse("blueGreen has no steps: retry=true begins with the preview again")
        }
        "retry" if value == "step" => resume::refusal(d.read()).map_or(Judgement::Accept, refuse),
        "retry" if d.read().abort != Some(true) => refuse("the update is not aborted"),
        _ => Judgement::Accept,
    }
}

/// `spec.restartAt` is all of it: whoever reads the manifest sees when its pods were asked to go.
fn judge_restart(d: &mut Draft<'_>, value: &str) -> Judgement {
    if value != "true" {
        let why = "the value must be true; for another time than now set spec.restartAt";
        return Judgement::Refuse(why.to_owned());
    }
    let at = stamp(d).0.to_string();
    d.spec_patch.insert("restartAt".into(), Value::String(at));
    Judgement::Done
}

fn judge_pause(d: &mut Draft<'_>, pause: bool) -> Judgement {
    if d.spec.paused == pause {
        let why = if pause {
            "it is paused already"
        } else {
            "spec.paused is not set; to go on from a pause step use serin.dev/promote"
        };
        return Judgement::Refuse(why.to_owned());
    }
    d.spec_patch.insert("paused".into(), Value::Bool(pause));
    Judgement::Done
}

fn judge_promote(d: &mut Draft<'_>, value: &str) -> Judgement {
    let refuse = |why: &str| Judgement::Refuse(why.to_owned());
    // Meant for the version before or for this one? Nobody can tell, and this one has had no gate yet.
    if !is_on_record(d) {
        return refuse(
            "the pod template has changed with it or just before, and a promotion is for an update that is under way: give it again when this one is",
        );
    }
    if !is_updating(d) {
        return refuse("no update is under way: the version in spec is the stable one");
    }
    let read = d.read();
    if value == "true" && read.abort == Some(true) {
        return refuse("the update is aborted: retry it first, or promote=full");
    }
    let waits = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    let only_resumes = d.spec.paused && !waits;
    if value == "true"
        && !only_resumes
        && let Some(why) = freeze::refusal(d)
    {
        return Judgement::Refuse(why);
    }
    if d.spec.paused {
        d.spec_patch.insert("paused".into(), Value::Bool(false));
        // Held by spec.paused alone: going on is all that was asked; the step is not skipped.
        if value == "true" && !waits {
            return Judgement::Done;
        }
    }
    let at_end = cursor::index(read, d.steps()) >= d.steps();
    let held = read.serin.as_ref().is_some_and(|s| s.hold.is_some());
    if value == "true" && at_end && !waits && !held {
        return refuse(if d.spec.blue_green().is_some() {
            "nothing waits for a person: the switch comes when every pod of the new version is available"
        } else {
            "all steps are done: the update ends when its pods are available"
        });
    }
    Judgement::Accept
}

/// An override is for an update: one that is there before waits for it. And where the template in spec
/// is not the one on record yet, an override and an abort are about the new one.
fn may_be_taken(d: &Draft<'_>, key: &str) -> bool {
    match key {
        OVERRIDE_FREEZE => is_updating(d) && is_on_record(d),
        ABORT => is_on_record(d),
        _ => true,
    }
}

/// The version in spec is the one that the status speaks of; also where somebody has deleted its
/// ReplicaSet a moment ago, and it is made again.
fn is_on_record(d: &Draft<'_>) -> bool {
    let current = d.read().current_pod_hash.as_deref();
    match revision::find(d.seen) {
        Found::Known(set) | Found::Adopt(set) => current == Some(set.hash.as_str()),
        Found::Missing => lost::is_again(d, &lost::hash(d.seen)),
        Found::Ask(_) | Found::Hold(_) => true,
    }
}

fn is_updating(d: &Draft<'_>) -> bool {
    let read = d.read();
    read.stable_rs.is_some() && read.stable_rs != read.current_pod_hash
}

/// Acts on the taken command, once: the status that carries the effect also records its id. True
/// when there was one.
pub(crate) fn act(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let Some(command) = pending(d) else {
        return false;
    };
    d.serin().command = Some(command.id.clone());
    d.is_forced = true;
    let read = d.read();
    let same_hash = read.current_pod_hash.as_deref() == Some(command.hash.as_str());
    let same_step = read.current_step_index == command.step;
    let is_step = command.verb == "promote" && command.value == "true";
    let frozen = freeze::refusal(d).filter(|_| is_step);
    if !same_hash || (is_step && !same_step) || frozen.is_some() {
        let why = match frozen {
            _ if !same_hash => "the pod template has changed since".to_owned(),
            Some(frozen) => frozen,
            None => "the update has moved on to another step since".to_owned(),
        };
        d.event(refusal(&command.verb, &why));
        let told = LastCommand {
            outcome: format!("refused: {why}"),
            ..command
        };
        let text = serde_json::to_string(&told).unwrap_or_default();
        d.annotations.insert(LAST_COMMAND.to_owned(), Some(text));
        return true;
    }
    match command.verb.as_str() {
        "promote" if command.value == "full" => d.next.promote_full = Some(true),
        "promote" => cursor::promote(d),
        "abort" => {
            let reason = command.value.trim();
            let plain = reason.is_empty() || reason == "true";
            cursor::abort(d, sets, (!plain).then_some(reason));
        }
        "retry" if first::failure(d.read()).is_some() => first::retry(d),
        "retry" if failure::asks(d.read()) => failure::measure_anew(d),
        "retry" if command.value == "step" => resume::retry(d),
        "retry" => cursor::retry(d),
        "undo" => undo::act(d, sets),
        "override-freeze" => freeze::override_by(d, command.value.trim()),
        _ => {}
    }
    true
}

/// What clients did by patching the status: an abort, a retry, another index. True when the status
/// changed because of it, so that this turn only puts it on record.
pub(crate) fn take_over_patches(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let read = d.read();
    if !is_updating(d) {
        // Nothing to abort or to promote: such a patch has no effect (A34).
        if read.abort == Some(true) || read.promote_full == Some(true) {
            d.next.abort = None;
            d.next.aborted_at = None;
            d.next.promote_full = None;
            return true;
        }
        return false;
    }
    if remember_anew(d) {
        return true;
    }
    let aborted = read.abort == Some(true);
    // A client's abort wins over what was asked before it, a full promotion too.
    if aborted && read.aborted_at.is_none() {
        cursor::abort(d, sets, None);
        return true;
    }
    if aborted && read.promote_full == Some(true) {
        cursor::promote_aborted(d);
        return true;
    }
    if !aborted && read.aborted_at.is_some() {
        cursor::retry(d);
        return true;
    }
    !aborted && moved_index(d)
}

/// What we remember speaks of another version, or of none: the peer was at work in between. Its
/// cursor stands, and is remembered from now on. True when there was something to put right.
fn remember_anew(d: &mut Draft<'_>) -> bool {
    let read = d.read();
    let theirs = read.current_pod_hash.clone();
    let ours = read.serin.as_ref();
    if theirs.is_none() || ours.is_some_and(|s| s.hash == theirs && s.step.is_some()) {
        return false;
    }
    let now = stamp(d);
    let step = read.current_step_index;
    let command = ours.and_then(|s| s.command.clone());
    *d.serin() = crate::api::status::SerinStatus {
        command,
        hash: theirs,
        step: Some(step.unwrap_or(0)),
        step_started_at: Some(now),
        ..Default::default()
    };
    d.is_forced = true;
    true
}

/// A client wrote `currentStepIndex`: one step on is a promote, the end is "skip all steps";
/// anything else is put back (I-08).
fn moved_index(d: &mut Draft<'_>) -> bool {
    let read = d.read();
    let Some(ours) = read.serin.as_ref().and_then(|s| s.step) else {
        return false;
    };
    let theirs = match read.current_step_index {
        Some(theirs) => theirs,
        None if d.steps() == 0 || read.abort == Some(true) => return false,
        // Removed: read as the end it would promote past every step.
        None => {
            d.next.current_step_index = Some(ours);
            let message = format!("status.currentStepIndex was removed: it is {ours}");
            d.event(refusal("set step", &message));
            return true;
        }
    };
    if ours == theirs {
        return false;
    }
    if let Some(why) = freeze::refusal(d) {
        d.next.current_step_index = Some(ours);
        d.event(refusal("set step", &why));
        return true;
    }
    let steps = i64::try_from(d.steps()).unwrap_or(i64::MAX);
    if (theirs == ours.saturating_add(1) && theirs < steps) || theirs == steps {
        cursor::record_foreign_move(d, theirs);
    } else {
        d.next.current_step_index = Some(ours);
        d.event(refusal(
            "set step",
            &format!(
                "status.currentStepIndex was set from {ours} to {theirs}: only the next step or the end ({steps}) can be asked for"
            ),
        ));
    }
    true
}

/// Seconds text of now, for records.
pub(crate) fn stamp(d: &Draft<'_>) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    whole_seconds(d.now())
}
