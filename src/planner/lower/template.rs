//! What can be known to be wrong with a pod template before any pod is made. The API server judges
//! the rest when the ReplicaSet is created. Never rewrites the template.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::PodTemplate;
use crate::planner::fault::Fault;

/// Faults of the pod template; its labels where it has any.
pub(super) fn check(
    template: Option<&PodTemplate>,
    has_workload: bool,
    faults: &mut Vec<Fault>,
) -> Option<BTreeMap<String, String>> {
    let Some(template) = template else {
        if !has_workload {
            faults.push(Fault::required(
                "spec.template",
                "give the pods of this Rollout: metadata.labels and spec.containers",
            ));
        }
        return None;
    };
    if has_workload {
        faults.push(Fault::invalid(
            "spec.template",
            "{…}",
            "template must be empty for workload reference rollout",
        ));
        return None;
    }
    let spec = template.value().get("spec");
    match spec
        .and_then(|s| s.get("containers"))
        .and_then(Value::as_array)
    {
        Some(list) if !list.is_empty() => {
            containers("spec.template.spec.containers", list, faults);
        }
        Some(_) | None => faults.push(Fault::required(
            "spec.template.spec.containers",
            "name at least one container with its image",
        )),
    }
    if let Some(list) = spec
        .and_then(|s| s.get("initContainers"))
        .and_then(Value::as_array)
    {
        containers("spec.template.spec.initContainers", list, faults);
    }
    if let Some(policy) = spec
        .and_then(|s| s.get("restartPolicy"))
        .and_then(Value::as_str)
        && policy != "Always"
    {
        faults.push(Fault::invalid(
            "spec.template.spec.restartPolicy",
            format!("{policy:?}"),
            "Unsupported value: restartPolicy must be Always: pods of a ReplicaSet are kept running",
        ));
    }
    Some(template.labels())
}

fn containers(path: &str, list: &[Value], faults: &mut Vec<Fault>) {
    let mut names = BTreeSet::new();
    for (i, container) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let name = container
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if name.is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the container"));
        } else if !names.insert(name.to_owned()) {
            faults.push(Fault::invalid(
                &format!("{at}.name"),
                format!("{name:?}"),
                "Duplicate value: every container needs a name of its own",
            ));
        }
        if container
            .get("image")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            faults.push(Fault::required(
                &format!("{at}.image"),
                "name the container's image",
            ));
        }
        quantities(&at, container, faults);
    }
}

fn quantities(path: &str, container: &Value, faults: &mut Vec<Fault>) {
    for kind in ["requests", "limits"] {
        let Some(map) = container
            .get("resources")
            .and_then(|r| r.get(kind))
            .and_then(Value::as_object)
        else {
            continue;
        };
        for (resource, value) in map {
            let is_fine = match value {
                Value::Number(n) => n.as_f64().is_some_and(|n| n >= 0.0),
                Value::String(text) => is_quantity(text),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
            };
            if !is_fine {
                faults.push(Fault::invalid(
                    &format!("{path}.resources.{kind}.{resource}"),
                    value,
                    "is not a quantity: write it like 250m, 0.5, 256Mi or 1Gi",
                ));
            }
        }
    }
}

/// Kubernetes quantities: a decimal number with a binary (`Ki` … `Ei`), decimal (`n` … `E`) or
/// exponent (`e3`) suffix; not negative here.
fn is_quantity(text: &str) -> bool {
    let digits = text.trim_start_matches('+');
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let is_number = number.parse::<f64>().is_ok() && number.chars().any(|c| c.is_ascii_digit());
    let is_exponent = suffix
        .strip_prefix(['e', 'E'])
        .is_some_and(|e| !e.is_empty() && e.parse::<i32>().is_ok());
    let known = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    is_number && (is_exponent || known.contains(&suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_kubernetes_reads_them() {
        for good in ["250m", "0.5", "256Mi", "1Gi", "1e3", "2E", ".5", "100"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "invalid", "1 Gi", "Mi", "-1", "1.2.3", "1mi"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
