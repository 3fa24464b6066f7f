//! What a reader of a rehearsal might miss, said before its timeline: the advice on its Rollout, and
//! which manifests take no part.

use super::rehearsal::Rehearsal;
use crate::planner::services::named;
use crate::planner::{advice, lower};

/// Warnings for one Rollout.
pub(super) fn of(rehearsal: &Rehearsal) -> Vec<String> {
    let Ok(spec) = lower::lower(&rehearsal.rollout) else {
        return Vec::new();
    };
    let advice = advice::of(&rehearsal.rollout.spec, &spec);
    let mut warnings: Vec<String> = advice.into_iter().map(|a| a.fault.message).collect();
    let given = &rehearsal.manifests.services;
    for (_, name) in named(&spec) {
        if given.iter().all(|service| service.name != name) {
            warnings.push(format!(
                "Service {name} is not among the manifests: taken to select what the Rollout selects"
            ));
        }
    }
    if !rehearsal.manifests.others.is_empty() {
        warnings.push(format!(
            "takes no part: {}",
            rehearsal.manifests.others.join(", ")
        ));
    }
    warnings
}
