//! The canary: how big each side shall be, and when the cursor moves. Rules in order, each with
//! the reason for its place. Knows no traffic router.

use super::draft::{Draft, after};
use super::hold::{self, ask_a_person, gate_opens};
use super::plan::Event;
use super::promotion::{first_deployment, is_full, make_stable};
use super::replicas::{self, Fence, MAX_WEIGHT, Move, Pair, Sizes};
use super::restart::{self, Room};
use super::revision::Sets;
use super::sizes::{resize, size};
use super::spec::{Pause, Step};
use super::{
    command, cursor, descent, duration, experiments, failure, freeze, history, kept, pause_clock,
    ramp, reasons, resume, rollback, runs, scale_down, services, status, warm,
};
use crate::api::RolloutStatus;

/// Steers an update whose template and steps are on record.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) {
    // Before everything that asks whether the update is frozen; a person's word may end it.
    freeze::look(d, sets);
    // A person's word comes first; what it changes is put on record before anything rests on it.
    if command::act(d, sets) || command::take_over_patches(d, sets) {
        return;
    }
    // A reference that leads nowhere stops what has not begun.
    runs::check_references(d, sets);
    let is_untouched = d.read().stable_rs.is_none() && sets.canary.replicas == 0;
    if !d.faults.is_empty() && is_untouched {
        return;
    }
    // Without a stable version on record this is a first deployment, or a status that was lost.
    if d.read().stable_rs.is_none() && !first_deployment(d, sets) {
        return;
    }
    // A way back that is trusted needs no steps: put on record before anything is made for them.
    if rollback::jump(d, sets) {
        return;
    }
    // Verdicts before sizes: a failed gate must not wait for pods.
    if runs::steer(d, sets) {
        return;
    }
    // Made again where it was kept: then nothing is gone for long.
    d.is_stable_gone = status::is_stable_gone(d, sets) && !kept::restore(d);
    let fence = d.spec.canary().map_or_else(Fence::default, |canary| {
        replicas::fenceposts(d.spec.replicas, canary.max_surge, canary.max_unavailable)
    });
    let wanted = target(d, sets, fence);
    services::steer_canary(d, sets, wanted);
    let plan = scale(d, sets, fence, wanted);
    // Steps are judged on a settled cluster only (A25): a move ends the turn.
    // A reference that leads nowhere makes the spec invalid: no step is taken (A38), but sizes
    // follow `spec.replicas`.
    if !d.has_patches() && d.faults.is_empty() {
        progress(d, sets, &plan);
    } else if !d.has_patches() && d.read().abort == Some(true) {
        // The way back waits for nothing.
        descent::steer(d);
    }
    runs::clean_up(d, sets);
    history::clean_up(d, sets);
}

/// What this turn wants of the sizes, and how far they are.
struct Scaling {
    target: Pair,
    is_stuck: bool,
}

/// Seconds without progress after which a broken stable version is no longer waited for.
const PATIENCE: i64 = 60;

/// True when nothing has got on for a while.
fn is_stuck(d: &mut Draft<'_>) -> bool {
    let since = status::condition(d.read(), reasons::PROGRESSING);
    let Some(since) = since.and_then(|c| c.last_update_time.as_ref()) else {
        return false;
    };
    let end = after(since.0, PATIENCE);
    if d.now() < end {
        d.wake.at(end);
        return false;
    }
    true
}

/// The weight that the cursor asks for: the nearest `setWeight` at or before it (C13).
pub(crate) fn weight(status: &RolloutStatus, steps: &[Step]) -> u32 {
    if status.abort == Some(true) {
        return descent::weight(status);
    }
    step_weight(status, steps)
}

/// The same, whether the update is aborted or not: where it stood.
pub(crate) fn step_weight(status: &RolloutStatus, steps: &[Step]) -> u32 {
    let at = cursor::index(status, steps.len());
    if status.promote_full == Some(true) || at >= steps.len() {
        return MAX_WEIGHT;
    }
    let upto = steps.get(..=at).unwrap_or(steps).iter().enumerate();
    upto.rev()
        .find_map(|(i, step)| match step {
            Step::SetWeight(weight) => Some(*weight),
            Step::Ramp(it) if i == at => Some(ramp::weight(status, it)),
            Step::Ramp(it) => it.levels.last().copied(),
            Step::Pause(_) | Step::Analysis(_) | Step::Experiment(_) => None,
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
    let steps = d.spec.steps();
    let weight = weight(read, steps);
    let is_constant = d.spec.canary().is_some_and(|canary| canary.is_constant);
    let surge = if is_constant { 0 } else { fence.surge };
    let pair = replicas::weighted_counts(replicas, weight, surge);
    if read.abort == Some(true) {
        let back = descent::capped(pair, sets.canary.replicas, replicas);
        return warm::beside(d, sets, fence, back);
    }
    // A freeze starts nothing and finishes nothing; the step that was under way gets its pods.
    let is_begun = sets.canary.replicas > 0 && cursor::index(read, steps.len()) < steps.len();
    if d.freeze.is_none() || is_begun {
        return pair;
    }
    let canary = pair.canary.min(sets.canary.replicas);
    Pair {
        canary,
        stable: replicas.saturating_sub(canary),
    }
}

/// An abort has not reached its sizes yet.
fn goes_back(d: &Draft<'_>, sets: &Sets<'_>, wanted: Pair) -> bool {
    let read = d.read();
    let stable = sets.stable.map_or(0, |rs| rs.replicas);
    let is_back = sets.canary.replicas <= wanted.canary && stable >= wanted.stable;
    is_taken_back(read) && !is_back
}

fn is_taken_back(read: &RolloutStatus) -> bool {
    read.abort == Some(true) && read.stable_rs != read.current_pod_hash
}

fn scale(d: &mut Draft<'_>, sets: &Sets<'_>, fence: Fence, wanted: Pair) -> Scaling {
    let room = Room::of_canary(d.spec.replicas, fence);
    let restart = restart::look(d, sets, room, wanted);
    let goes_back = goes_back(d, sets, wanted);
    let surge = restart.as_ref().filter(|_| !goes_back);
    let raised = surge.and_then(|it| it.surge(d));
    // What is taken back step by step is not made larger to restart its pods: they go anyway.
    let raised = raised.map(|pair| match is_taken_back(d.read()) {
        true => descent::capped(pair, sets.canary.replicas, d.spec.replicas),
        false => pair,
    });
    let target = raised.unwrap_or(wanted);
    let has_older = sets.older.iter().any(|rs| rs.replicas > 0);
    let is_stuck = has_older && is_stuck(d);
    let sizes = Sizes {
        replicas: d.spec.replicas,
        fence,
        canary: size(sets.canary),
        stable: sets.stable.map(size),
        older: sets.older.iter().map(|rs| size(rs)).collect(),
        is_stuck,
    };
    let next = replicas::next_move(&sizes, target);
    // What the update asks of sizes comes before a restart: neither it nor an abort waits for a budget.
    let is_still = match next {
        Move::Settled => true,
        Move::Wait => !goes_back,
        Move::Stable(_) | Move::Canary(_) | Move::Older(_) => d.spec.paused && !goes_back,
    };
    // With the sizes of the strategy a step can end, whatever room a restart still waits for.
    let is_at = |pair: Pair| {
        sets.canary.replicas == pair.canary
            && sets.stable.map_or(0, |rs| rs.replicas) == pair.stable
    };
    let target = if is_at(wanted) { wanted } else { target };
    if let Some(restart) = restart.filter(|_| is_still)
        && restart.evict(d)
    {
        return Scaling { target, is_stuck };
    }
    // A person froze the update: no size changes at all (A9).
    if d.spec.paused {
        d.note("spec.paused is set: nothing is scaled and no step completes");
        return Scaling { target, is_stuck };
    }
    // Left by blueGreen, or by the peer: what is in use has no end.
    if let Some(stable) = sets.stable {
        scale_down::keep(d, stable);
    }
    if !warm::steer(d, sets, next == Move::Settled) {
        scale_down::keep(d, sets.canary);
    }
    match &next {
        Move::Stable(n) => {
            if *n == 0 {
                services::leave_stable(d, sets);
            }
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
    Scaling { target, is_stuck }
}

/// Moves the cursor by at most one step, on observed facts only.
fn progress(d: &mut Draft<'_>, sets: &Sets<'_>, scaling: &Scaling) {
    let read = d.read();
    let is_stable = read.stable_rs.as_deref() == Some(sets.canary.hash.as_str());
    let promotes_full = read.promote_full == Some(true);
    if read.abort == Some(true) && !is_stable {
        descent::steer(d);
    }
    if read.stable_rs.is_none() || is_stable || read.abort == Some(true) {
        return;
    }
    if d.spec.paused {
        return pause_clock::stop(d);
    }
    if promotes_full {
        return promote_full(d, sets);
    }
    if d.freeze.is_some() {
        return pause_clock::stop(d);
    }
    if d.is_stable_gone {
        return status::stable_gone(d);
    }
    if pause_clock::gives_up(d, sets) {
        return;
    }
    // No verdict: a person decides. Clearing the condition goes on with a new run (C8).
    let inconclusive = read.pause_conditions.iter().flatten().any(|c| {
        c.reason == reasons::INCONCLUSIVE_RUN || c.reason == reasons::INCONCLUSIVE_EXPERIMENT
    });
    if inconclusive {
        return ask_a_person(d, sets);
    }
    if failure::asks(read) {
        return d.note(
            "a run has failed: promote to go on, abort to go back, retry=step to measure anew",
        );
    }
    let settled = is_settled(d, sets, scaling);
    if resume::waits(d, settled) {
        return;
    }
    let at = cursor::index(read, d.steps());
    match d.spec.steps().get(at) {
        None => promote(d, sets, scaling),
        Some(Step::SetWeight(_)) => {
            if settled {
                cursor::advance(d, at);
            } else {
                explain(d, sets, scaling);
            }
        }
        Some(Step::Pause(pause)) => pause_step(d, sets, at, pause),
        Some(Step::Ramp(it)) => ramp::steer(d, sets, at, it, settled),
        Some(Step::Analysis(_)) => runs::step_verdict(d, sets, at),
        Some(Step::Experiment(_)) => experiments::step_verdict(d, sets, at),
    }
}

/// Every set has its size, and the canary's pods are available, or as many as the threshold asks
/// for (C2, S16). A stable version that is broken holds nothing: pods that its ReplicaSet cannot
/// make are not waited for, nor older pods that stand in for them.
fn is_settled(d: &Draft<'_>, sets: &Sets<'_>, scaling: &Scaling) -> bool {
    let canary = sets.canary;
    let target = scaling.target;
    let threshold = d.spec.canary().and_then(|c| c.threshold);
    let canary_done = canary.is_observed
        && match threshold {
            Some(threshold) => threshold.is_met(canary.available, target.canary),
            None => {
                canary.replicas == target.canary
                    && canary.available >= target.canary
                    && canary.current == target.canary
            }
        };
    let stable_done = match sets.stable {
        None => target.stable == 0,
        Some(s) if s.failure.is_some() => s.is_observed && s.current <= target.stable,
        Some(s) => s.is_observed && s.replicas == target.stable && s.current == target.stable,
    };
    let mut older = sets.older.iter();
    let older_done = older.all(|rs| rs.replicas == 0 && rs.available == 0)
        || (scaling.is_stuck && sets.stable.is_some_and(|s| s.available < target.stable));
    canary_done && stable_done && older_done
}

fn explain(d: &mut Draft<'_>, sets: &Sets<'_>, scaling: &Scaling) {
    let target = scaling.target;
    // What is missing now is pods, not a verdict.
    if d.next.serin.as_ref().is_some_and(|s| s.hold.is_some()) {
        d.serin().hold = None;
        d.is_forced = true;
    }
    hold::release(d);
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
        let reason = rollback::reason(d, sets);
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
        let reason = rollback::reason(d, sets);
        make_stable(d, sets, &reason);
    } else {
        d.note("promoting in full: waiting for the new version's pods");
    }
}
