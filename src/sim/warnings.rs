//! What a reader of a manifest might miss, said before the rehearsal's timeline. Knows the sizing
//! rules through the planner's own arithmetic.

use super::rehearsal::Rehearsal;
use crate::api::IntOrString;
use crate::planner::lower;
use crate::planner::replicas::{fenceposts, weighted_counts};
use crate::planner::spec::{Canary, Spec, Step};

/// How far the weight reached may be from the weight asked before it is worth a word, in percent.
const OFF: f64 = 5.0;

/// Warnings for one Rollout.
pub(super) fn of(rehearsal: &Rehearsal) -> Vec<String> {
    let mut warnings = Vec::new();
    let Ok(spec) = lower::lower(&rehearsal.rollout) else {
        return warnings;
    };
    if let Some(canary) = spec.canary() {
        coarse_weights(&spec, canary, &mut warnings);
        endless_pauses(canary, &mut warnings);
    }
    bare_percents(rehearsal, &mut warnings);
    if !spec.is_judged() {
        warnings.push(
            "no gates: nothing but readiness and people stops a bad version; add slos or analysis"
                .into(),
        );
    }
    if !rehearsal.manifests.others.is_empty() {
        warnings.push(format!(
            "takes no part: {}",
            rehearsal.manifests.others.join(", ")
        ));
    }
    warnings
}

fn coarse_weights(spec: &Spec, canary: &Canary, warnings: &mut Vec<String>) {
    let fence = fenceposts(spec.replicas, canary.max_surge, canary.max_unavailable);
    let mut told = Vec::new();
    for step in &canary.steps {
        let Step::SetWeight(weight) = step else {
            continue;
        };
        let pair = weighted_counts(spec.replicas, *weight, fence.surge);
        let total = pair.canary.saturating_add(pair.stable);
        if total == 0 || told.contains(weight) {
            continue;
        }
        let real = f64::from(pair.canary) * 100.0 / f64::from(total);
        if (real - f64::from(*weight)).abs() < OFF {
            continue;
        }
        told.push(*weight);
        warnings.push(format!(
            "with {} replicas, setWeight: {weight} means {} of {total} pods, which is {real:.0}%",
            spec.replicas, pair.canary
        ));
    }
}

fn bare_percents(rehearsal: &Rehearsal, warnings: &mut Vec<String>) {
    let strategy = rehearsal.rollout.spec.strategy.as_ref();
    let Some(canary) = strategy.and_then(|strategy| strategy.canary.as_ref()) else {
        return;
    };
    for (name, bound) in [
        ("maxSurge", &canary.max_surge),
        ("maxUnavailable", &canary.max_unavailable),
    ] {
        if let Some(IntOrString::String(text)) = bound
            && !text.contains('%')
        {
            warnings.push(format!(
                "{name}: {text:?} is a text, so it means {text}%, not {text} pods; write {text} without quotes for pods, or {text}%"
            ));
        }
    }
}

fn endless_pauses(canary: &Canary, warnings: &mut Vec<String>) {
    for (i, step) in canary.steps.iter().enumerate() {
        if let Step::Pause(pause) = step
            && pause.seconds.is_none()
        {
            warnings.push(format!("step {} pauses until a person promotes", i + 1));
        }
    }
}
