//! `workloadRef`: which workload, when it gives its pods up, and what its template must be like
//! (contract W1, L3, L33).

use serde_json::Value;

use super::{Selector, roles, selector, template};
use crate::api::rollout::WorkloadRef;
use crate::planner::fault::Fault;
use crate::planner::observed::Outline;
use crate::planner::spec::Spec;
use crate::planner::workload::{
    ScaleDown, Workload, WorkloadKey, WorkloadKind, WorkloadSeen, spec_with,
};

const PATH: &str = "spec.workloadRef";

/// What counts of a spec that may be wrong in other places.
pub fn outline(replicas: Option<i64>, wire: Option<&WorkloadRef>) -> Outline {
    let workload = wire.and_then(|wire| lower_workload(wire, &mut vec![]));
    let replicas = replicas.unwrap_or(1);
    Outline {
        replicas: u32::try_from(replicas)
            .ok()
            .filter(|_| replicas <= super::MOST),
        workload: workload.map(|w| w.key).filter(|key| !key.name.is_empty()),
    }
}

/// Lowers the reference; faults are added to `faults`.
pub(super) fn lower_workload(wire: &WorkloadRef, faults: &mut Vec<Fault>) -> Option<Workload> {
    let WorkloadRef {
        api_version,
        kind,
        name,
        scale_down,
    } = wire;
    let api = api_version.as_deref().unwrap_or_default();
    let kind = kind.as_deref().unwrap_or_default();
    let known = WorkloadKind::ALL
        .into_iter()
        .find(|k| k.name() == kind && k.api_version() == api);
    if known.is_none() {
        faults.push(Fault::invalid(
            &format!("{PATH}.kind"),
            format!("{kind:?}"),
            format!(
                "workload of type {api}/{kind} is not supported: refer to a Deployment or ReplicaSet of apps/v1, or a PodTemplate of v1"
            ),
        ));
    }
    let name = name.clone().unwrap_or_default();
    if name.is_empty() {
        faults.push(Fault::required(
            &format!("{PATH}.name"),
            "name the workload whose pod template is to be used",
        ));
    }
    let scale_down = match scale_down.as_deref().unwrap_or_default() {
        "" | "never" => ScaleDown::Never,
        "onsuccess" => ScaleDown::OnSuccess,
        "progressively" => ScaleDown::Progressively,
        other => {
            faults.push(Fault::invalid(
                &format!("{PATH}.scaleDown"),
                format!("{other:?}"),
                "must be never, onsuccess or progressively",
            ));
            ScaleDown::Never
        }
    };
    Some(Workload {
        key: WorkloadKey { kind: known?, name },
        scale_down,
    })
}

/// The spec with the template and, where it has none, the selector of its workload.
///
/// # Errors
/// Every fault of that template.
pub(crate) fn with_workload(
    spec: &Spec,
    key: &WorkloadKey,
    seen: &WorkloadSeen,
) -> Result<Spec, Vec<Fault>> {
    let mut faults = Vec::new();
    let own = spec.selector.value();
    let (own_json, own): (_, Option<Selector>) = (own.clone(), parsed(&own));
    let theirs: Option<Selector> = seen.selector.as_ref().and_then(parsed);
    let (json, selector) = match own {
        Some(own) => (own_json, Some(own)),
        None => (seen.selector.clone().unwrap_or_default(), theirs),
    };
    let text = selector::check(selector.as_ref(), &mut faults);
    let labels = template::check(Some(&seen.template), false, &mut faults);
    if let (Some(selector), Some(labels)) = (&selector, &labels)
        && !selector::is_empty(selector)
        && !selector::matches(selector, labels)
    {
        faults.push(Fault::invalid(
            "spec.template.metadata.labels",
            serde_json::to_string(labels).unwrap_or_default(),
            "`selector` does not match template `labels`: give the template every label that spec.selector asks for",
        ));
    }
    roles::check(
        spec.strategy_path(),
        spec.roles(),
        selector.as_ref(),
        &mut faults,
    );
    if faults.is_empty() {
        return Ok(spec_with(spec, (json, text), &seen.template));
    }
    // The template is not the Rollout's own: say whose it is.
    let whose = format!("{PATH} ({key}) template");
    for fault in &mut faults {
        if let Some(rest) = fault.path.strip_prefix("spec.template") {
            fault.path = format!("{whose}{rest}");
        }
    }
    Err(faults)
}

/// A selector that says something.
fn parsed(json: &Value) -> Option<Selector> {
    let selector: Selector = serde_json::from_value(json.clone()).ok()?;
    (!selector::is_empty(&selector)).then_some(selector)
}
