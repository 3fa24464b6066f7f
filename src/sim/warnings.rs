//! What a reader of a rehearsal might miss, said before its timeline: the advice on its Rollout, and
//! which manifests take no part.

use super::rehearsal::Rehearsal;
use crate::planner::{advice, lower};

/// Warnings for one Rollout.
pub(super) fn of(rehearsal: &Rehearsal) -> Vec<String> {
    let Ok(spec) = lower::lower(&rehearsal.rollout) else {
        return Vec::new();
    };
    let advice = advice::of(&rehearsal.rollout.spec, &spec);
    let mut warnings: Vec<String> = advice.into_iter().map(|a| a.fault.message).collect();
    if !rehearsal.manifests.others.is_empty() {
        warnings.push(format!(
            "takes no part: {}",
            rehearsal.manifests.others.join(", ")
        ));
    }
    warnings
}
