//! The status as it shall read: counts, conditions, phase and message, in the words existing
//! clients know (contract A15–A24, A39, A41). The only writer of wire status besides the cursor.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::blue_green;
use super::command;
use super::cursor;
use super::draft::{Draft, whole_seconds};
use super::fault::Fault;
use super::observed::Observed;
use super::plan::{Event, Note, Plan};
use super::reasons;
use super::replicas::Pair;
use super::revision::Sets;
use super::{first, timing};
use crate::api::RolloutStatus;
use crate::api::status::RolloutCondition;

mod phase;
mod progressing;
mod unmade;

pub(crate) use progressing::BESIDE;
pub(crate) use unmade::unmade;

/// Fills in everything that follows from what was seen and from what this turn decided.
pub(crate) fn compute(d: &mut Draft<'_>, sets: &Sets<'_>) {
    blue_green::keep_status(d, sets);
    counts(d, sets);
    d.next.observed_generation = Some(d.seen.rollout.generation.to_string());
    let now = command::stamp(d);
    references(d, &now);
    available(&mut d.next, d.spec.replicas, &now);
    progressing::update(d, sets);
    let revision = super::revision::revision_of(d.seen, Some(sets.canary));
    completed(d, revision, &now);
    paused(d, &now);
    replica_failure(d, sets, &now);
    healthy(d, &now);
    timing::follow(d, sets);
    phase::set(d, sets);
    ours(d);
    texts(d, sets);
}

/// Faults in what the spec refers to make it as invalid as faults in itself.
fn references(d: &mut Draft<'_>, now: &Time) {
    if d.faults.is_empty() {
        return remove_condition(&mut d.next.conditions, reasons::INVALID_SPEC);
    }
    let message = invalid_message(&d.seen.rollout.name, &d.faults);
    let reason = reasons::INVALID_SPEC;
    set_condition(&mut d.next, reason, "True", reason, &message, now.clone());
    d.note(message);
}

fn invalid_message(name: &str, faults: &[Fault]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("The Rollout {name:?} is invalid: {}", texts.join("; "))
}

fn count_of(n: u64) -> Option<i64> {
    Some(i64::try_from(n).unwrap_or(i64::MAX))
}

fn counts(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let sum = |f: fn(&super::observed::ReplicaSetSeen) -> u32| {
        sets.all()
            .fold(0_u64, |sum, rs| sum.saturating_add(u64::from(f(rs))))
    };
    d.next.replicas = count_of(sum(|rs| rs.current));
    d.next.updated_replicas = count_of(u64::from(sets.canary.current));
    d.next.ready_replicas = count_of(sum(|rs| rs.ready));
    d.next.available_replicas = count_of(sum(|rs| rs.available));
    d.next.hpa_replicas = d.next.replicas;
    d.next.selector = Some(d.spec.selector_text.clone());
    // BlueGreen counts what clients get (A41).
    if let Some(active) = blue_green::active_set(d, sets) {
        d.next.ready_replicas = count_of(u64::from(active.ready));
        d.next.available_replicas = count_of(u64::from(active.available));
        d.next.hpa_replicas = count_of(u64::from(active.current));
        d.next.selector = Some(blue_green::selector(d, active));
    }
}

fn available(next: &mut RolloutStatus, replicas: u32, now: &Time) {
    let is = next.available_replicas.unwrap_or(0) >= i64::from(replicas);
    let (status, message) = if is {
        ("True", "Rollout has minimum availability")
    } else {
        ("False", "Rollout does not have minimum availability")
    };
    set_condition(
        next,
        reasons::AVAILABLE,
        status,
        reasons::AVAILABLE_REASON,
        message,
        now.clone(),
    );
}

/// True when the version in spec is the stable one.
fn is_complete(status: &RolloutStatus) -> bool {
    status.stable_rs.is_some() && status.stable_rs == status.current_pod_hash
}

fn completed(d: &mut Draft<'_>, revision: u64, now: &Time) {
    let is = is_complete(&d.next);
    let was = condition(&d.next, reasons::COMPLETED).map(|c| c.status.clone());
    let status = if is { "True" } else { "False" };
    if !is && was.as_deref() != Some("False") {
        let hash = d.next.current_pod_hash.clone().unwrap_or_default();
        d.event(Event::normal(
            reasons::ROLLOUT_NOT_COMPLETED,
            format!("Rollout not completed, started update to revision {revision} ({hash})"),
        ));
    }
    let reason = reasons::ROLLOUT_COMPLETED;
    set_condition(
        &mut d.next,
        reasons::COMPLETED,
        status,
        reason,
        reason,
        now.clone(),
    );
}

fn is_paused(d: &Draft<'_>) -> bool {
    d.spec.paused
        || d.freeze.is_some()
        || d.next
            .pause_conditions
            .as_ref()
            .is_some_and(|c| !c.is_empty())
}

/// Condition Paused is absent until the first pause and keeps its value while aborted (A39).
fn paused(d: &mut Draft<'_>, now: &Time) {
    let is = is_paused(d);
    let exists = condition(&d.next, reasons::PAUSED).is_some();
    if d.next.abort == Some(true) || (!is && !exists) {
        return;
    }
    let status = if is { "True" } else { "False" };
    set_condition(
        &mut d.next,
        reasons::PAUSED,
        status,
        reasons::ROLLOUT_PAUSED,
        "Rollout is paused",
        now.clone(),
    );
}

fn replica_failure(d: &mut Draft<'_>, sets: &Sets<'_>, now: &Time) {
    let failure = sets.all().find_map(|rs| rs.failure.as_ref());
    match failure {
        Some((reason, message)) => set_condition(
            &mut d.next,
            reasons::REPLICA_FAILURE,
            "True",
            reason,
            message,
            now.clone(),
        ),
        None => remove_condition(&mut d.next.conditions, reasons::REPLICA_FAILURE),
    }
}

/// BlueGreen: every Service shows the version in spec. Without pods there is nothing to show.
fn is_switched(d: &Draft<'_>) -> bool {
    let (Some(shown), Some(spec)) = (&d.next.blue_green, d.spec.blue_green()) else {
        return true;
    };
    let current = &d.next.current_pod_hash;
    let is_let_go = d.spec.replicas == 0 && shown.active_selector.is_none();
    let preview = spec.preview_service.is_none() || shown.preview_selector == *current;
    is_let_go || (shown.active_selector == *current && preview)
}

/// Promoted, at full size, nothing else left (A22).
fn is_healthy(d: &Draft<'_>) -> bool {
    let wanted = Some(i64::from(d.spec.replicas));
    let next = &d.next;
    let at_end = cursor::index(next, d.steps()) >= d.steps();
    let is_alone = match &next.blue_green {
        // Old pods may stay for their delay: clients do not get them any more.
        Some(_) => is_switched(d),
        None => next.replicas == wanted,
    };
    !is_paused(d)
        && is_complete(next)
        && !first::is_awaited(d)
        && first::failure(next).is_none()
        && at_end
        && next.updated_replicas == wanted
        && next.available_replicas == wanted
        && is_alone
}

/// Healthy=False is written only where the condition exists already.
fn healthy(d: &mut Draft<'_>, now: &Time) {
    let is = is_healthy(d);
    if !is && condition(&d.next, reasons::HEALTHY).is_none() {
        return;
    }
    let (status, message) = if is {
        ("True", "Rollout is healthy")
    } else {
        ("False", "Rollout is not healthy")
    };
    set_condition(
        &mut d.next,
        reasons::HEALTHY,
        status,
        reasons::ROLLOUT_HEALTHY,
        message,
        now.clone(),
    );
}

fn ours(d: &mut Draft<'_>) {
    let gone = || ("StableGone".to_owned(), stable_gone_text(&d.next));
    let failed = |why: &str| (reasons::FIRST_FAILED.to_owned(), why.to_owned());
    let gone = match first::failure(&d.next) {
        Some(why) => Some(failed(why)),
        None => d.is_stable_gone.then(gone),
    };
    let generation = d.seen.rollout.generation;
    if let Some(later) = set_ours(&mut d.next, d.seen.now, generation, gone) {
        d.wake.at(later);
    }
}

/// Ready, Reconciling and Stalled (decisions §9): for `kubectl wait`, Helm and Flux. Tells when to
/// look again where a refusal is too young to be called a stall.
pub(crate) fn set_ours(
    next: &mut RolloutStatus,
    at: jiff::Timestamp,
    generation: i64,
    helpless: Option<(String, String)>,
) -> Option<jiff::Timestamp> {
    let now = &whole_seconds(at);
    let phase = next.phase.clone().unwrap_or_default();
    let message = next.message.clone().unwrap_or_default();
    let (told, later) = stalled(next, at);
    let stalled = helpless.or(told);
    let flag = |is: bool| if is { "True" } else { "False" };
    let is_ready = phase == reasons::PHASE_HEALTHY;
    let is_waiting = phase == reasons::PHASE_PROGRESSING || phase == reasons::PHASE_PAUSED;
    set_own(
        next,
        reasons::READY,
        flag(is_ready),
        &phase,
        &message,
        (now, generation),
    );
    let reason = if is_waiting {
        phase.as_str()
    } else {
        "Settled"
    };
    let text = if is_waiting { message.as_str() } else { "" };
    set_own(
        next,
        reasons::RECONCILING,
        flag(is_waiting),
        reason,
        text,
        (now, generation),
    );
    let (status, reason, text) = match &stalled {
        Some((reason, text)) => ("True", reason.as_str(), text.as_str()),
        None => ("False", "Unhindered", ""),
    };
    set_own(
        next,
        reasons::STALLED,
        status,
        reason,
        text,
        (now, generation),
    );
    later
}

/// Only a person can help: why; and when to look again at a refusal that is still young.
fn stalled(
    next: &RolloutStatus,
    at: jiff::Timestamp,
) -> (Option<(String, String)>, Option<jiff::Timestamp>) {
    let of = |c: &RolloutCondition| {
        (
            c.reason.clone().unwrap_or_default(),
            c.message.clone().unwrap_or_default(),
        )
    };
    let invalid = condition(next, reasons::INVALID_SPEC).filter(|c| c.status == "True");
    if let Some(c) = invalid {
        return (Some(of(c)), None);
    }
    let progressing = condition(next, reasons::PROGRESSING).filter(|c| c.status == "False");
    // Words of our own: clients of the peer look for its reasons in every condition.
    let over = progressing.and_then(|c| match c.reason.as_deref() {
        Some(reasons::ROLLOUT_ABORTED) => Some(("Aborted".to_owned(), of(c).1)),
        Some(reasons::DEADLINE_EXCEEDED) => Some(("DeadlineExceeded".to_owned(), of(c).1)),
        Some(_) | None => None,
    });
    if over.is_some() {
        return (over, None);
    }
    // Refused by quota, admission or permission: a minute is given before a person is called.
    let refused = condition(next, reasons::REPLICA_FAILURE).or(progressing);
    let Some((refused, since)) =
        refused.and_then(|c| Some((c, c.last_transition_time.as_ref()?.0)))
    else {
        return (None, None);
    };
    let end = super::draft::after(since, 60);
    if at < end {
        return (None, Some(end));
    }
    (Some(of(refused)), None)
}

/// What the columns of `kubectl get` show: step, weight really reached, pods.
fn texts(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let steps = d.steps();
    let at = cursor::index(&d.next, steps);
    let pair = Pair {
        canary: sets.canary.available,
        stable: sets.stable.map_or(0, |rs| rs.available),
    };
    let complete = is_complete(&d.next);
    // BlueGreen: all of the traffic, or none.
    let switched = d.next.blue_green.as_ref().map(|b| {
        let is = b.active_selector.is_some() && b.active_selector == d.next.current_pod_hash;
        if is { 100 } else { 0 }
    });
    let weight = if complete {
        None
    } else {
        switched.or_else(|| pair.weight())
    };
    let ready = format!("{}/{}", d.next.ready_replicas.unwrap_or(0), d.spec.replicas);
    let serin = d.serin();
    serin.step_text = step_text(at, steps);
    serin.weight = weight.map(i64::from).or(complete.then_some(100));
    serin.ready_text = Some(ready);
}

/// The step under way out of all of them, counted from 1 as people and events do; after the last
/// one it stays there.
fn step_text(at: usize, steps: usize) -> Option<String> {
    let shown = at.saturating_add(1).min(steps);
    (steps > 0).then(|| format!("{shown}/{steps}"))
}

/// An update was put on record together with the creation of its ReplicaSet, which is not seen yet.
pub(crate) fn started(d: &mut Draft<'_>, revision: u64) {
    d.next.observed_generation = Some(d.seen.rollout.generation.to_string());
    let now = command::stamp(d);
    if d.faults.is_empty() {
        remove_condition(&mut d.next.conditions, reasons::INVALID_SPEC);
    }
    completed(d, revision, &now);
    paused(d, &now);
    healthy_lost(&mut d.next, &now);
    d.next.updated_replicas = Some(0);
    d.next.phase = Some(reasons::PHASE_PROGRESSING.to_owned());
    d.next.message = Some("more replicas need to be updated".to_owned());
    ours(d);
    let steps = d.steps();
    let at = cursor::index(&d.next, steps);
    let serin = d.serin();
    serin.step_text = step_text(at, steps);
    serin.weight = Some(0);
}

fn healthy_lost(next: &mut RolloutStatus, now: &Time) {
    if condition(next, reasons::HEALTHY).is_some() {
        set_condition(
            next,
            reasons::HEALTHY,
            "False",
            reasons::ROLLOUT_HEALTHY,
            "Rollout is not healthy",
            now.clone(),
        );
    }
}

/// The spec cannot be used: every fault in one condition, nothing else touched (A38). The wording
/// of a single fault is the one that existing clients know.
pub(crate) fn invalid(seen: &Observed, faults: &[Fault]) -> Plan {
    let mut next = (*seen.rollout.status).clone();
    let mut message = invalid_message(&seen.rollout.name, faults);
    // Nothing is done with a spec that cannot be used, and whoever commands shall know it.
    let waiting = command::waiting(&seen.rollout.annotations);
    if !waiting.is_empty() {
        let waiting = waiting.join(", ");
        message.push_str(&format!("; {waiting} waits until the spec is valid"));
    }
    let now = whole_seconds(seen.now);
    let generation = seen.rollout.generation;
    let reason = reasons::INVALID_SPEC;
    set_condition(&mut next, reason, "True", reason, &message, now.clone());
    next.observed_generation = Some(generation.to_string());
    next.phase = Some(reasons::PHASE_DEGRADED.to_owned());
    next.message = Some(format!("{reason}: {message}"));
    set_own(
        &mut next,
        reasons::READY,
        "False",
        reason,
        &message,
        (&now, generation),
    );
    set_own(
        &mut next,
        reasons::RECONCILING,
        "False",
        "Settled",
        "",
        (&now, generation),
    );
    set_own(
        &mut next,
        reasons::STALLED,
        "True",
        reason,
        &message,
        (&now, generation),
    );
    let mut plan = Plan {
        status: next,
        notes: vec![Note(message.clone())],
        ..Plan::default()
    };
    if plan.status != *seen.rollout.status {
        plan.urgent = true;
        plan.events.push(Event::warning(reason, message));
        plan.effects.push(super::plan::Effect {
            write: super::plan::Write::Status(Box::new(super::plan::StatusWrite {
                before: seen.rollout.status.clone(),
                after: plan.status.clone(),
                version: seen.rollout.version.clone(),
            })),
            disruptive: false,
        });
    }
    plan
}

/// It cannot be told which ReplicaSet is the current one: say so, touch nothing.
pub(crate) fn hold(d: &mut Draft<'_>, why: &str) {
    let now = command::stamp(d);
    let reason = reasons::RECONCILIATION_ERROR;
    set_condition(&mut d.next, reasons::PROGRESSING, "False", reason, why, now);
    d.next.phase = Some(reasons::PHASE_DEGRADED.to_owned());
    d.next.message = Some(format!("{reason}: {why}"));
    d.note(why);
    d.wake.at(super::draft::after(d.now(), 30));
}

/// The stable version on record has no ReplicaSet, although a live list was made.
pub(crate) fn is_stable_gone(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let stable = d.read().stable_rs.as_deref();
    stable.is_some_and(|hash| hash != sets.canary.hash) && sets.stable.is_none()
}

/// The stable ReplicaSet was deleted by somebody else: nothing is promoted because of it.
pub(crate) fn stable_gone(d: &mut Draft<'_>) {
    let text = stable_gone_text(d.read());
    d.note(text);
}

fn stable_gone_text(status: &RolloutStatus) -> String {
    let hash = status.stable_rs.as_deref().unwrap_or_default();
    format!(
        "the stable ReplicaSet ({hash}) is gone: promote=full to end with the new version, or apply the old template again"
    )
}

/// A condition by type.
pub(crate) fn condition<'a>(
    status: &'a RolloutStatus,
    type_: &str,
) -> Option<&'a RolloutCondition> {
    status.conditions.iter().find(|c| c.type_ == type_)
}

/// Removes a condition.
pub(crate) fn remove_condition(conditions: &mut Vec<RolloutCondition>, type_: &str) {
    conditions.retain(|c| c.type_ != type_);
}

/// Sets a condition: `lastTransitionTime` moves only with the status, `lastUpdateTime` only with
/// status or reason (it is the clock of the deadline), the message always (A21; the peer keeps
/// stale messages).
pub(crate) fn set_condition(
    status: &mut RolloutStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: Time,
) {
    put_condition(&mut status.conditions, type_, value, (reason, message), now);
}

/// The same for the conditions of any object.
pub(crate) fn put_condition(
    conditions: &mut Vec<RolloutCondition>,
    type_: &str,
    value: &str,
    (reason, message): (&str, &str),
    now: Time,
) {
    if let Some(c) = conditions.iter_mut().find(|c| c.type_ == type_) {
        if c.status != value {
            c.last_transition_time = Some(now.clone());
        }
        if c.status != value || c.reason.as_deref() != Some(reason) {
            c.last_update_time = Some(now);
        }
        c.status = value.to_owned();
        c.reason = Some(reason.to_owned());
        c.message = Some(message.to_owned());
        return;
    }
    conditions.push(RolloutCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        observed_generation: None,
    });
}

/// A condition of ours, which says of which generation it speaks.
fn set_own(
    status: &mut RolloutStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: &str,
    at: (&Time, i64),
) {
    set_condition(status, type_, value, reason, message, at.0.clone());
    if let Some(c) = status.conditions.iter_mut().find(|c| c.type_ == type_) {
        c.observed_generation = Some(at.1);
    }
}
