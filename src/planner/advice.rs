//! What a reader of a valid manifest might miss. Knows the sizing rules through the planner's own
//! arithmetic; the rehearsal says it before its timeline, lint with line and column.

use super::fault::Fault;
use super::replicas::{fenceposts, weighted_counts};
use super::spec::{BlueGreen, Canary, Spec, Step};
use crate::api::{IntOrString, RolloutSpec};

/// How far the weight reached may be from the weight asked before it is worth a word, in percent.
const OFF: f64 = 5.0;

/// A piece of advice, with the path of the field that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// Path and sentence.
    pub fault: Fault,
    /// Only worth knowing: it may well be meant so.
    pub is_note: bool,
}

/// Advice on a Rollout that can be used.
pub fn of(wire: &RolloutSpec, spec: &Spec) -> Vec<Advice> {
    let mut all = Vec::new();
    if let Some(canary) = spec.canary() {
        coarse_weights(spec, canary, &mut all);
        endless_pauses(canary, &mut all);
        late_start(canary, &mut all);
        idle_fields(wire, &mut all);
    }
    if let Some(blue_green) = spec.blue_green() {
        large_preview(spec, blue_green, &mut all);
    }
    if let Some(blue_green) = spec.blue_green().filter(|b| !b.auto_promotion_enabled) {
        let name = &blue_green.active_service;
        let message = format!("Service {name} is switched when a person promotes");
        let path = "spec.strategy.blueGreen.autoPromotionEnabled".to_owned();
        tell(&mut all, true, path, message);
    }
    bare_percents(wire, &mut all);
    if !spec.is_judged() {
        let message =
            "no gates: nothing but readiness and people stops a bad version; add slos or analysis";
        tell(&mut all, true, spec.strategy_path().to_owned(), message);
    }
    all
}

fn tell(all: &mut Vec<Advice>, is_note: bool, path: String, message: impl Into<String>) {
    let message = message.into();
    let fault = Fault { path, message };
    all.push(Advice { fault, is_note });
}

fn step_path(index: usize, field: &str) -> String {
    format!("spec.strategy.canary.steps[{index}].{field}")
}

fn coarse_weights(spec: &Spec, canary: &Canary, all: &mut Vec<Advice>) {
    let fence = fenceposts(spec.replicas, canary.max_surge, canary.max_unavailable);
    let mut told = Vec::new();
    for (i, step) in canary.steps.iter().enumerate() {
        let Step::SetWeight(weight) = step else {
            continue;
        };
        let surge = if canary.is_constant { 0 } else { fence.surge };
        let pair = weighted_counts(spec.replicas, *weight, surge);
        let total = pair.canary.saturating_add(pair.stable);
        if total == 0 || told.contains(weight) {
            continue;
        }
        let real = f64::from(pair.canary) * 100.0 / f64::from(total);
        if (real - f64::from(*weight)).abs() < OFF {
            continue;
        }
        told.push(*weight);
        let message = format!(
            "with {} replicas, setWeight: {weight} means {} of {total} pods, which is {real:.0}%",
            spec.replicas, pair.canary
        );
        tell(all, false, step_path(i, "setWeight"), message);
    }
}

fn endless_pauses(canary: &Canary, all: &mut Vec<Advice>) {
    for (i, step) in canary.steps.iter().enumerate() {
        if let Step::Pause(pause) = step
            && pause.seconds.is_none()
            && pause.timeout.or(canary.answer_within).is_none()
        {
            let number = i.saturating_add(1);
            let message = format!("step {number} pauses until a person promotes");
            tell(all, true, step_path(i, "pause"), message);
        }
    }
}

/// A preview never has more pods than clients will get.
fn large_preview(spec: &Spec, blue_green: &BlueGreen, all: &mut Vec<Advice>) {
    let count = blue_green.preview_replica_count;
    if let Some(count) = count.filter(|count| *count > spec.replicas) {
        let message = format!(
            "previewReplicaCount is {count}, and the preview never has more than spec.replicas: it gets {}",
            spec.replicas
        );
        let path = "spec.strategy.blueGreen.previewReplicaCount".to_owned();
        tell(all, false, path, message);
    }
}

fn late_start(canary: &Canary, all: &mut Vec<Advice>) {
    let steps = canary.steps.len();
    if let Some(background) = &canary.background
        && background.starting_step > steps
    {
        let message = format!(
            "the analysis never runs: there are {steps} steps, and it starts at step {}",
            background.starting_step
        );
        let path = "spec.strategy.canary.analysis.startingStep".to_owned();
        tell(all, false, path, message);
    }
}

/// Fields that do nothing where pods, not a router, make the weight (S13, S17, S18).
fn idle_fields(wire: &RolloutSpec, all: &mut Vec<Advice>) {
    let canary = wire.strategy.as_ref().and_then(|s| s.canary.as_ref());
    let Some(canary) = canary.filter(|c| c.traffic_routing.is_none()) else {
        return;
    };
    let min_pods = canary.min_pods_per_replica_set;
    let abort = canary.abort_scale_down_delay_seconds;
    let limit = canary.scale_down_delay_revision_limit;
    for (name, value) in [
        ("minPodsPerReplicaSet", min_pods),
        ("abortScaleDownDelaySeconds", abort),
        ("scaleDownDelayRevisionLimit", limit),
    ] {
        if value.is_some() {
            let message = format!("{name} does nothing without trafficRouting");
            tell(all, false, format!("spec.strategy.canary.{name}"), message);
        }
    }
}

fn bare_percents(wire: &RolloutSpec, all: &mut Vec<Advice>) {
    let Some(strategy) = &wire.strategy else {
        return;
    };
    let canary = strategy.canary.as_ref();
    let blue_green = strategy.blue_green.as_ref();
    for (path, name, bound) in [
        (
            "canary",
            "maxSurge",
            canary.and_then(|c| c.max_surge.as_ref()),
        ),
        (
            "canary",
            "maxUnavailable",
            canary.and_then(|c| c.max_unavailable.as_ref()),
        ),
        (
            "blueGreen",
            "maxUnavailable",
            blue_green.and_then(|b| b.max_unavailable.as_ref()),
        ),
    ] {
        if let Some(IntOrString::String(text)) = bound
            && !text.contains('%')
        {
            let message = format!(
                "{name}: {text:?} is a text, so it means {text}%, not {text} pods; write {text} without quotes for pods, or {text}%"
            );
            tell(all, false, format!("spec.strategy.{path}.{name}"), message);
        }
    }
}
