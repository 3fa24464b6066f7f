//! The canary: how big each side shall be, and when the cursor moves. Rules in order, each with
//! the reason for its place. Knows no traffic router.

use super::cursor;
use super::draft::{Draft, after};
use super::duration;
use super::observed::ReplicaSetSeen;
use super::plan::Event;
use super::reasons;
use super::replicas::{self, Fence, MAX_WEIGHT, Move, Pair, Size, Sizes};
use super::revision::Sets;
use super::runs;
use super::slo::Gate;
use super::spec::{Pause, Step};
use super::{command, status};
use crate::api::status::Hold;
use crate::api::{DESIRED_REPLICAS, RolloutStatus};

/// Steers an update whose template and steps are on record.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) {
    // A person's word comes first; what it changes is put on record before anything rests on it.
    if command::act(d, sets) || command::take_over_patches(d, sets) {
        return;
    }
    // Without a stable version on record this is a first deployment, or a status that was lost.
    if d.read().stable_rs.is_none() && !first_deployment(d, sets) {
        return;
    }
    // Verdicts before sizes: a failed gate must not wait for pods.
    if runs::steer(d, sets) {
        return;
    }
    d.is_stable_gone = is_stable_gone(d, sets);
    let plan = scale(d, sets);
    // Steps are judged on a settled cluster only (A25): a move ends the turn.
    // A reference that leads nowhere makes the spec invalid: no step is taken (A38), but sizes
    // follow `spec.replicas`.
    if !d.has_patches() && d.faults.is_empty() {
        progress(d, sets, &plan);
    }
    runs::clean_up(d, sets);
    clean_up(d, sets);
}

/// The stable version on record has no ReplicaSet, although a live list was made.
fn is_stable_gone(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let stable = d.read().stable_rs.as_deref();
    stable.is_some_and(|hash| hash != sets.canary.hash) && sets.stable.is_none()
}

/// No stable version is known. True when the turn may go on as a first deployment: a live list has
/// found no other ReplicaSet of ours. Else the newest other one that has pods becomes stable.
fn first_deployment(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let other = sets
        .older
        .iter()
        .filter(|rs| rs.replicas > 0 && !rs.hash.is_empty())
        .max_by_key(|rs| rs.revision);
    if let Some(other) = other {
        d.next.stable_rs = Some(other.hash.clone());
        cursor::set_index(d, 0);
        d.note(format!(
            "no stable version was on record; {} has pods and is it now",
            other.name
        ));
        return false;
    }
    d.next.stable_rs = Some(sets.canary.hash.clone());
    let steps = d.steps();
    cursor::set_index(d, steps);
    let text = promoted_text(sets.canary, "Initial deploy");
    d.event(Event::normal(reasons::ROLLOUT_COMPLETED, text));
    true
}

/// What this turn wants of the sizes, and how far they are.
struct Scaling {
    target: Pair,
    next: Move,
}

/// The weight that the cursor asks for: the nearest `setWeight` at or before it (C13).
pub(crate) fn weight(status: &RolloutStatus, steps: &[Step]) -> u32 {
    if status.abort == Some(true) {
        return 0;
    }
    let at = cursor::index(status, steps.len());
    if status.promote_full == Some(true) || at >= steps.len() {
        return MAX_WEIGHT;
    }
    let upto = steps.get(..=at).unwrap_or(steps);
    upto.iter()
        .rev()
        .find_map(|step| match step {
            Step::SetWeight(weight) => Some(*weight),
            Step::Pause(_) | Step::Analysis(_) => None,
        })
        .unwrap_or(0)
}

/// Sizes that are wanted now.
pub(crate) fn target(d: &Draft<'_>, sets: &Sets<'_>, fence: Fence) -> Pair {
    let replicas = d.spec.replicas;
    let alone = Pair {
        canary: replicas,
        stable: 0,
    };
    let read = d.read();
    let stable = read.stable_rs.as_deref();
    if stable.is_none() || stable == Some(sets.canary.hash.as_str()) {
        return alone;
    }
    // A spec that cannot be used starts nothing.
    if !d.faults.is_empty() && sets.canary.replicas == 0 {
        return Pair {
            canary: 0,
            stable: replicas,
        };
    }
    let steps = &d.spec.canary().steps;
    replicas::weighted_counts(replicas, weight(read, steps), fence.surge)
}

fn scale(d: &mut Draft<'_>, sets: &Sets<'_>) -> Scaling {
    let canary_spec = d.spec.canary();
    let fence = replicas::fenceposts(
        d.spec.replicas,
        canary_spec.max_surge,
        canary_spec.max_unavailable,
    );
    let target = target(d, sets, fence);
    let sizes = Sizes {
        replicas: d.spec.replicas,
        fence,
        canary: size(sets.canary),
        stable: sets.stable.map(size),
        older: sets.older.iter().map(|rs| size(rs)).collect(),
    };
    let next = replicas::next_move(&sizes, target);
    // A person froze the update: no size changes at all (A9).
    if d.spec.paused {
        d.note("spec.paused is set: nothing is scaled and no step completes");
        return Scaling { target, next };
    }
    match &next {
        Move::Stable(n) => {
            if let Some(stable) = sets.stable {
                resize(d, stable, *n);
            }
        }
        Move::Canary(n) => resize(d, sets.canary, *n),
        Move::Older(counts) => {
            for (rs, n) in sets.older.iter().zip(counts) {
                if *n != rs.replicas {
                    resize(d, rs, *n);
                }
            }
        }
        Move::Wait => d.note("waiting for pods to become available before anything else moves"),
        Move::Settled => {}
    }
    if sets.canary.min_ready_seconds != d.spec.min_ready_seconds {
        d.set_min_ready(sets.canary, d.spec.min_ready_seconds);
    }
    Scaling { target, next }
}

fn size(rs: &ReplicaSetSeen) -> Size {
    Size {
        spec: rs.replicas,
        available: rs.available,
    }
}

fn resize(d: &mut Draft<'_>, rs: &ReplicaSetSeen, replicas: u32) {
    d.scale(rs, replicas);
    let desired = d.spec.replicas.to_string();
    if rs.desired_replicas != Some(d.spec.replicas) {
        d.annotate(rs, DESIRED_REPLICAS, desired);
    }
    let word = if replicas > rs.replicas { "up" } else { "down" };
    let text = format!(
        "Scaled {word} ReplicaSet {} (revision {}) from {} to {replicas}",
        rs.name, rs.revision, rs.replicas
    );
    d.event(Event::normal(reasons::SCALING_RS, text));
}

/// Moves the cursor by at most one step, on observed facts only.
fn progress(d: &mut Draft<'_>, sets: &Sets<'_>, scaling: &Scaling) {
    let read = d.read();
    let is_stable = read.stable_rs.as_deref() == Some(sets.canary.hash.as_str());
    let promotes_full = read.promote_full == Some(true);
    if read.stable_rs.is_none() || is_stable || d.spec.paused || read.abort == Some(true) {
        return;
    }
    if promotes_full {
        return promote_full(d, sets);
    }
    if d.is_stable_gone {
        return status::stable_gone(d);
    }
    // No verdict: a person decides. Clearing the condition goes on with a new run (C8).
    let inconclusive = read
        .pause_conditions
        .iter()
        .flatten()
        .any(|c| c.reason == reasons::INCONCLUSIVE_RUN);
    if inconclusive {
        return ask_a_person(d, sets);
    }
    let at = cursor::index(read, d.steps());
    match d.spec.canary().steps.get(at) {
        None => promote(d, sets, scaling),
        Some(Step::SetWeight(_)) => {
            if is_settled(sets, scaling) {
                cursor::advance(d, at);
            } else {
                explain(d, sets, scaling);
            }
        }
        Some(Step::Pause(pause)) => pause_step(d, sets, at, pause),
        Some(Step::Analysis(_)) => runs::step_verdict(d, sets, at),
    }
}

/// An analysis came to no verdict, or a gate had none for too long: a person decides. What the gate
/// says meanwhile is kept up to date; without pods there is nothing to decide.
fn ask_a_person(d: &mut Draft<'_>, sets: &Sets<'_>) {
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

/// Every set has its size, and the canary's pods are available (C2).
fn is_settled(sets: &Sets<'_>, scaling: &Scaling) -> bool {
    let canary = sets.canary;
    let target = scaling.target;
    let stable = sets
        .stable
        .is_some_and(|s| s.current == target.stable && s.is_observed)
        || (sets.stable.is_none() && target.stable == 0);
    let older = sets
        .older
        .iter()
        .all(|rs| rs.replicas == 0 && rs.available == 0);
    scaling.next == Move::Settled
        && canary.is_observed
        && canary.available >= target.canary
        && canary.current == target.canary
        && stable
        && older
}

fn explain(d: &mut Draft<'_>, sets: &Sets<'_>, scaling: &Scaling) {
    let target = scaling.target;
    // What is missing now is pods, not a verdict.
    if d.next.serin.as_ref().is_some_and(|s| s.hold.is_some()) {
        d.serin().hold = None;
        d.is_forced = true;
    }
    let stable = sets.stable.map_or(0, |s| s.current);
    d.note(format!(
        "waiting: canary {}/{} available, stable {stable}/{}",
        sets.canary.available, target.canary, target.stable
    ));
}

fn pause_step(d: &mut Draft<'_>, sets: &Sets<'_>, at: usize, pause: &Pause) {
    let read = d.read();
    let condition = read
        .pause_conditions
        .iter()
        .flatten()
        .find(|c| c.reason == reasons::CANARY_PAUSE_STEP);
    let Some(condition) = condition else {
        // The condition is gone and the pause was ours: a person let it go on (C3).
        if read.controller_pause == Some(true) {
            cursor::override_hold(d);
            cursor::advance(d, at);
        } else {
            cursor::enter_pause(d, reasons::CANARY_PAUSE_STEP);
        }
        return;
    };
    let Some(seconds) = pause.seconds else {
        d.note(
            "paused until a person promotes: kubectl annotate rollout NAME serin.dev/promote=true",
        );
        return;
    };
    let start = condition.start_time.as_ref().map_or(d.now(), |t| t.0);
    let end = after(start, seconds);
    if d.now() < end {
        d.wake.at(end);
        let left = end.as_second().saturating_sub(d.now().as_second());
        d.note(format!("paused for another {}", duration::human(left)));
        return;
    }
    if gate_opens(d, sets) {
        cursor::advance(d, at);
        if d.next.pause_conditions.is_none() {
            d.event(Event::normal(
                reasons::ROLLOUT_RESUMED,
                "Rollout is resumed",
            ));
        }
    }
}

/// Asks the SLO gate. Open: go on. Else the step is held, with the reason on record; after
/// `holdFor` a person is asked.
fn gate_opens(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
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
        .canary()
        .slos
        .as_ref()
        .map_or(1800, |s| s.hold_for_ms.checked_div(1000).unwrap_or(1800));
    let end = after(since.0, limit);
    if d.now() >= end {
        cursor::enter_pause(d, reasons::INCONCLUSIVE_RUN);
    } else {
        d.wake.at(end);
    }
}

/// All steps are done: the new version becomes stable when all its pods are available (A32).
fn promote(d: &mut Draft<'_>, sets: &Sets<'_>, scaling: &Scaling) {
    if !is_full(d, sets.canary) {
        return explain(d, sets, scaling);
    }
    let read = d.read();
    // A person cleared the pause that the gate's silence had led to: the gate is overridden.
    let is_released = read.controller_pause == Some(true)
        && read.pause_conditions.as_ref().is_none_or(Vec::is_empty);
    if is_released {
        cursor::override_hold(d);
    }
    if is_released || gate_opens(d, sets) {
        let reason = format!("Completed all {} canary steps", d.steps());
        make_stable(d, sets, &reason);
    }
}

/// Skips everything that is left; still only onto available pods.
fn promote_full(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let read = d.read();
    let steps = d.steps();
    if read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty())
        || read.controller_pause == Some(true)
    {
        cursor::clear_pause(d);
        d.event(Event::normal(
            reasons::ROLLOUT_RESUMED,
            "Rollout is resumed",
        ));
    }
    cursor::override_hold(d);
    if cursor::index(read, steps) < steps {
        cursor::set_index(d, steps);
        return;
    }
    if is_full(d, sets.canary) {
        make_stable(d, sets, "Full promotion requested");
    } else {
        d.note("promoting in full: waiting for the new version's pods");
    }
}

fn is_full(d: &Draft<'_>, canary: &ReplicaSetSeen) -> bool {
    let replicas = d.spec.replicas;
    canary.is_observed && canary.replicas == replicas && canary.available >= replicas
}

fn make_stable(d: &mut Draft<'_>, sets: &Sets<'_>, reason: &str) {
    let canary = sets.canary;
    d.next.stable_rs = Some(canary.hash.clone());
    d.next.promote_full = None;
    cursor::clear_pause(d);
    let steps = d.steps();
    cursor::set_index(d, steps);
    if let Some(status) = &mut d.next.canary {
        status.current_background_analysis_run_status = None;
    }
    d.event(Event::normal(
        reasons::ROLLOUT_COMPLETED,
        promoted_text(canary, reason),
    ));
}

fn promoted_text(canary: &ReplicaSetSeen, reason: &str) -> String {
    format!(
        "Rollout completed update to revision {} ({}): {reason}",
        canary.revision, canary.hash
    )
}

/// Deletes old ReplicaSets beyond the history limit: only ours, only at 0, oldest first (A8).
fn clean_up(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let limit = usize::try_from(d.spec.revision_history_limit).unwrap_or(usize::MAX);
    let surplus = sets.older.len().saturating_sub(limit);
    let empty = sets
        .older
        .iter()
        .filter(|rs| rs.replicas == 0 && rs.current == 0 && rs.is_observed && !rs.is_deleting);
    for rs in empty.take(surplus) {
        d.delete(rs);
    }
}
