//! What can be known to be wrong with a pod template before any pod is made. The API server judges
//! the rest when the ReplicaSet is created. Never rewrites the template.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pod;
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
    // The template of a workload: what is written here besides labels and annotations counts for
    // nothing, as existing clients have it (A6).
    if has_workload && template.labels().is_empty() && template.annotations().is_empty() {
        return None;
    }
    if has_workload {
        faults.push(Fault::invalid(
            "spec.template",
            "{…}",
            "template must be empty for workload reference rollout: give the pods in the workload, or remove spec.workloadRef",
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
    if let Some(spec) = spec {
        pod::check(spec, faults);
    }
    let labels = template.labels();
    pod::labels("spec.template.metadata.labels", labels.iter(), faults);
    let annotations = template.annotations();
    let at = "spec.template.metadata.annotations";
    pod::annotations(at, annotations.keys(), faults);
    Some(labels)
}

fn containers(path: &str, list: &[Value], faults: &mut Vec<Fault>) {
    for (i, container) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let name = container
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if name.is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the container"));
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
            let is_fine = quantity(value).is_some_and(|n| n >= 0.0);
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

/// What a quantity says: a decimal number with a binary (`Ki` … `Ei`), decimal (`n` … `E`) or exponent
/// (`e3`) suffix; not negative as a text. `None` for what is none.
pub(super) fn quantity(value: &Value) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 16] = [
        ("", 1.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
    ];
    let text = match value {
        Value::Number(n) => return n.as_f64(),
        Value::String(text) => text.trim_start_matches('+'),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    if !number.chars().any(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    if let Some((_, times)) = SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some(number * times);
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some(number * 10_f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare() {
        let of = |text: &str| quantity(&Value::from(text)).unwrap();
        assert!(of("1Gi") > of("1G") && of("250m") < of("0.5") && of("1e3") == of("1k"));
    }

    #[test]
    fn quantities_as_kubernetes_reads_them() {
        for good in ["250m", "0.5", "256Mi", "1Gi", "1e3", "2E", ".5", "100"] {
            assert!(quantity(&Value::from(good)).is_some(), "{good}");
        }
        for bad in ["", "invalid", "1 Gi", "Mi", "-1", "1.2.3", "1mi"] {
            assert!(quantity(&Value::from(bad)).is_none(), "{bad}");
        }
    }
}
