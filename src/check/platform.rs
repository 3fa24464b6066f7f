//! Lines about what stands around the pods: network, rights, policies, budgets, monitoring, bill of materials.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Found, Given, kind, list, namespace, of_kind, selects, services, text_at, title, workloads,
};

fn policy_types(policy: &Value) -> BTreeSet<&str> {
    list(policy, "/spec/policyTypes")
        .filter_map(Value::as_str)
        .collect()
}

fn denies_all(policy: &Value) -> bool {
    let selector = policy
        .pointer("/spec/podSelector")
        .and_then(Value::as_object);
    let is_bare = |way: &str| list(policy, way).next().is_none();
    selector.is_some_and(serde_json::Map::is_empty)
        && policy_types(policy).len() == 2
        && is_bare("/spec/ingress")
        && is_bare("/spec/egress")
}

pub(super) fn network(given: Given<'_>) -> Found {
    let mut found = Found::default();
    let mut spaces = BTreeSet::new();
    for (object, template) in workloads(given) {
        found.look(object);
        let here = || {
            of_kind(given, "NetworkPolicy").filter(|policy| namespace(policy) == namespace(object))
        };
        if !here().any(denies_all) && spaces.insert(namespace(object)) {
            found.faults.push(format!(
                "namespace {}: nothing is denied by default",
                namespace(object)
            ));
        }
        let allows = |policy: &Value| {
            !denies_all(policy) && selects(policy.pointer("/spec/podSelector"), template)
        };
        if !here().any(allows) {
            found.fault(object, "no NetworkPolicy allows it anything");
        }
    }
    found
}

pub(super) fn rights(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for object in given.objects {
        match kind(object) {
            "Role" | "ClusterRole" => {
                found.look(object);
                for rule in list(object, "/rules") {
                    judge(object, rule, &mut found);
                }
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                found.look(object);
                if text_at(object, "/roleRef/name") == "cluster-admin" {
                    found.fault(object, "gives everything (cluster-admin)");
                }
            }
            _ => {}
        }
    }
    for (object, template) in workloads(given) {
        found.look(object);
        if matches!(
            text_at(template, "/spec/serviceAccountName"),
            "" | "default"
        ) {
            found.fault(
                object,
                "runs as the account `default`, which others have too",
            );
        }
    }
    found
}

fn judge(object: &Value, rule: &Value, found: &mut Found) {
    let has = |field: &str, word: &str| list(rule, field).any(|value| value == word);
    for field in ["/verbs", "/resources", "/apiGroups"] {
        if has(field, "*") {
            found.fault(
                object,
                format!("a rule has * as {}", field.trim_start_matches('/')),
            );
        }
    }
    for verb in ["escalate", "bind", "impersonate"] {
        if has("/verbs", verb) {
            found.fault(object, format!("a rule has the verb {verb}"));
        }
    }
    if has("/resources", "secrets") && list(rule, "/resourceNames").next().is_none() {
        found.fault(
            object,
            "a rule gives all Secrets: name them in resourceNames",
        );
    }
}

pub(super) fn sbom(given: Given<'_>) -> Found {
    let mut found = Found::default();
    let Some(sbom) = given.sbom else {
        return found;
    };
    let (form, parts) = if text_at(sbom, "/bomFormat") == "CycloneDX" {
        ("CycloneDX", list(sbom, "/components").count())
    } else if text_at(sbom, "/spdxVersion").starts_with("SPDX-") {
        ("SPDX", list(sbom, "/packages").count())
    } else {
        let what = "the bill of materials is neither CycloneDX nor SPDX in JSON";
        found.faults.push(what.to_owned());
        return found;
    };
    found.looked_at.push(format!("{form} with {parts} parts"));
    if parts == 0 {
        found.faults.push(format!("{form}: names no part"));
    }
    found
}

pub(super) fn policies(given: Given<'_>) -> Found {
    let mut found = Found::default();
    let spaces: BTreeSet<&str> = workloads(given)
        .map(|(object, _)| namespace(object))
        .collect();
    for space in spaces {
        let Some(object) =
            of_kind(given, "Namespace").find(|o| text_at(o, "/metadata/name") == space)
        else {
            found.faults.push(format!(
                "namespace {space}: is not among the manifests, so its labels are not known"
            ));
            continue;
        };
        found.look(object);
        let label = |name: &str| {
            text_at(
                object,
                &format!("/metadata/labels/{}", name.replace('/', "~1")),
            )
            .to_owned()
        };
        if label("pod-security.kubernetes.io/enforce") != "restricted" {
            found.fault(
                object,
                "does not enforce the restricted Pod Security Standard",
            );
        }
        if label("serin.dev/policies") != "enforced" {
            found.fault(object, "is not labelled serin.dev/policies=enforced");
        }
    }
    found
}

pub(super) fn budgets(given: Given<'_>) -> Found {
    let mut found = Found::default();
    for (object, template) in services(given).filter(|(object, _)| kind(object) != "DaemonSet") {
        found.look(object);
        let mut here = of_kind(given, "PodDisruptionBudget")
            .filter(|budget| namespace(budget) == namespace(object));
        if !here.any(|budget| selects(budget.pointer("/spec/selector"), template)) {
            found.fault(object, "no PodDisruptionBudget selects its pods");
        }
    }
    found
}

pub(super) fn watched(given: Given<'_>) -> Found {
    let mut found = Found::default();
    if services(given).next().is_none() {
        return found;
    }
    let is_dashboard = |o: &&Value| {
        kind(o) == "ConfigMap" && o.pointer("/metadata/labels/grafana_dashboard").is_some()
    };
    let wanted: [(&str, Vec<&Value>); 3] = [
        ("PrometheusRule", of_kind(given, "PrometheusRule").collect()),
        (
            "ServiceMonitor or PodMonitor",
            of_kind(given, "ServiceMonitor")
                .chain(of_kind(given, "PodMonitor"))
                .collect(),
        ),
        (
            "dashboard ConfigMap (label grafana_dashboard)",
            given.objects.iter().filter(is_dashboard).collect(),
        ),
    ];
    for (what, objects) in wanted {
        if objects.is_empty() {
            found.faults.push(format!("there is no {what}"));
        }
        found.looked_at.extend(objects.into_iter().map(title));
    }
    found
}
