//! What pods get for their role: ephemeral labels and annotations (X1) and anti-affinity (X2, L26), of
//! either strategy.

use std::collections::BTreeMap;

use super::{Selector, pod};
use crate::api::POD_HASH_LABEL;
use crate::api::rollout::{AntiAffinity, PodTemplateMetadata};
use crate::planner::fault::Fault;
use crate::planner::spec::{Apart, Meta, Roles};

/// One role's metadata: its field and what is written there.
pub(super) type Field<'a> = (&'a str, Option<&'a PodTemplateMetadata>);

/// Lowers the metadata of both roles, and the anti-affinity, below `base`.
pub(super) fn lower_roles(
    base: &str,
    stable: Field<'_>,
    canary: Field<'_>,
    anti_affinity: Option<&AntiAffinity>,
    faults: &mut Vec<Fault>,
) -> Roles {
    Roles {
        stable: meta(&format!("{base}.{}", stable.0), stable.1, faults),
        canary: meta(&format!("{base}.{}", canary.0), canary.1, faults),
        apart: anti_affinity.and_then(|a| apart(&format!("{base}.antiAffinity"), a, faults)),
    }
}

fn meta(path: &str, wire: Option<&PodTemplateMetadata>, faults: &mut Vec<Fault>) -> Meta {
    let Some(PodTemplateMetadata {
        labels,
        annotations,
    }) = wire
    else {
        return Meta::default();
    };
    let given = || labels.iter().flatten();
    if given().any(|(key, _)| key == POD_HASH_LABEL) {
        faults.push(Fault::invalid(
            &format!("{path}.labels"),
            format!("{POD_HASH_LABEL:?}"),
            "is the label by which a ReplicaSet knows its pods: leave it out",
        ));
    }
    pod::labels(&format!("{path}.labels"), given(), faults);
    let keys = annotations.iter().flatten().map(|(key, _)| key);
    pod::annotations(&format!("{path}.annotations"), keys, faults);
    Meta {
        labels: labels.clone().unwrap_or_default(),
        annotations: annotations.clone().unwrap_or_default(),
    }
}

/// A label of the selector decides whose a pod is: no role may change it.
pub(super) fn check(
    strategy: &str,
    roles: &Roles,
    selector: Option<&Selector>,
    faults: &mut Vec<Fault>,
) {
    let labels = selector.iter().filter_map(|s| s.match_labels.as_ref());
    let rules = selector
        .iter()
        .filter_map(|s| s.match_expressions.as_ref())
        .flatten();
    let keys: Vec<&String> = labels
        .flat_map(BTreeMap::keys)
        .chain(rules.map(|r| &r.key))
        .collect();
    for meta in [&roles.stable, &roles.canary] {
        for key in meta.labels.keys().filter(|key| keys.contains(key)) {
            faults.push(Fault::invalid(
                strategy,
                format!("{key:?}"),
                "is a label of spec.selector: metadata of a role must not change whose a pod is, use another label",
            ));
        }
    }
}

fn apart(path: &str, wire: &AntiAffinity, faults: &mut Vec<Fault>) -> Option<Apart> {
    let AntiAffinity {
        preferred_during_scheduling_ignored_during_execution: preferred,
        required_during_scheduling_ignored_during_execution: required,
    } = wire;
    match (preferred, required) {
        (Some(preferred), None) => {
            let weight = preferred.weight.unwrap_or(0);
            match u32::try_from(weight) {
                Ok(weight @ 1..=100) => Some(Apart::Preferred(weight)),
                Ok(_) | Err(_) => {
                    let message = "AntiAffinity weight must be between 1-100";
                    let path =
                        format!("{path}.preferredDuringSchedulingIgnoredDuringExecution.weight");
                    faults.push(Fault::invalid(&path, weight, message));
                    None
                }
            }
        }
        (None, Some(_)) => Some(Apart::Required),
        (None, None) | (Some(_), Some(_)) => {
            let message = "AntiAffinity must have exactly one strategy listed";
            faults.push(Fault::invalid(path, "{…}", message));
            None
        }
    }
}
