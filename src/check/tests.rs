//! Each line is met by manifests that are right, and not met by one change of them.

use serde_json::{Value, json};

use super::{Given, Line, Outcome, check, ids, json as as_json, sarif, text};

/// Manifests that meet every line.
fn right() -> Vec<Value> {
    let labels = json!({"app": "agent", "tier": "3", "cost-center": "support", "team": "support"});
    let probe = json!({"httpGet": {"path": "/ready", "port": 8080}});
    let container = json!({"name": "app", "image": format!("registry.example/agent@sha256:{}", "a".repeat(64)),
        "ports": [{"containerPort": 8080}], "readinessProbe": probe, "livenessProbe": probe,
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}});
    let pod = json!({"serviceAccountName": "agent", "containers": [container],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}});
    let slos = json!({"prometheus": "http://prometheus.monitoring:9090", "window": "2m", "interval": "30s",
        "objectives": [{"latency": {"histogram": "agent_task_duration_seconds", "p95": "800ms"}},
            {"success": {"good": "agent_tool_calls_total{outcome=\"success\"}", "total": "agent_tool_calls_total", "atLeast": "99%"}}]});
    let selector = json!({"matchLabels": {"app": "agent"}});
    let meta = |name: &str| json!({"name": name, "namespace": "agents"});
    vec![
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "agent", "namespace": "agents", "labels": labels},
            "spec": {"replicas": 2, "selector": selector, "template": {"metadata": {"labels": labels}, "spec": pod},
                "strategy": {"canary": {"slos": slos, "steps": [{"setWeight": 50}, {"pause": {"duration": "5m"}}]}}}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "agents",
            "labels": {"serin.dev/policies": "enforced", "pod-security.kubernetes.io/enforce": "restricted"}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("default-deny"),
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("agent"),
            "spec": {"podSelector": selector, "ingress": [{}]}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("agent"),
            "spec": {"maxUnavailable": 1, "selector": selector}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("agent"),
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}),
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": meta("agent")}),
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": meta("agent")}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "board", "namespace": "agents", "labels": {"grafana_dashboard": "1"}}}),
    ]
}

fn checked(objects: &[Value]) -> Vec<Line> {
    let sbom = json!({"bomFormat": "CycloneDX", "components": [{}]});
    check(
        Given {
            objects,
            sbom: Some(&sbom),
        },
        &[],
    )
}

fn not_met(lines: &[Line]) -> Vec<&'static str> {
    lines
        .iter()
        .filter(|line| line.outcome != Outcome::Met)
        .map(|line| line.id)
        .collect()
}

#[test]
fn manifests_that_are_right_meet_every_line() {
    let lines = checked(&right());
    assert!(not_met(&lines).is_empty(), "{}", text(&lines));
}

#[test]
fn each_line_is_broken_by_what_it_is_about() {
    let change = |index: usize, pointer: &str, value: Value| {
        let mut objects = right();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = objects[index]
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        parent.insert(key.to_owned(), value);
        objects
    };
    let container = "/spec/template/spec/containers/0";
    let at = |rest: &str| format!("{container}/{rest}");
    let canary = "/spec/strategy/canary";
    for (id, objects) in [
        (
            "pods-hardened",
            change(0, "/spec/template/spec/securityContext", json!({})),
        ),
        (
            "pods-bounded",
            change(0, &at("livenessProbe"), Value::Null).tap_remove(0, &at("livenessProbe")),
        ),
        (
            "images-pinned",
            change(0, &at("image"), json!("agent:latest")),
        ),
        (
            "labels",
            change(0, "/metadata/labels", json!({"app": "agent"})),
        ),
        ("network-denied", change(2, "/spec/ingress", json!([{}]))),
        (
            "rbac-minimal",
            change(
                5,
                "/rules",
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
            ),
        ),
        ("policies-active", change(1, "/metadata/labels", json!({}))),
        (
            "available",
            change(
                4,
                "/spec/selector",
                json!({"matchLabels": {"app": "other"}}),
            ),
        ),
        ("watched", change(8, "/metadata/labels", json!({}))),
        (
            "plan-rehearsed",
            change(0, &format!("{canary}/steps"), json!([])),
        ),
        (
            "rollback-tested",
            change(0, "/spec/revisionHistoryLimit", json!(0)),
        ),
    ] {
        assert!(
            not_met(&checked(&objects)).contains(&id),
            "{id}: {}",
            text(&checked(&objects))
        );
    }
}

#[test]
fn a_rollout_without_objectives_has_neither_contract_nor_tested_rollback() {
    let mut objects = right();
    objects[0]
        .pointer_mut("/spec/strategy/canary")
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove("slos");
    assert_eq!(
        not_met(&checked(&objects)),
        ["kpi-contract", "rollback-tested"]
    );
}

#[test]
fn a_cluster_tells_of_ways_back_that_were_gone_and_of_those_that_are_not_there() {
    let rollback = |objects: &[Value]| {
        let lines = checked(objects);
        let line = lines.into_iter().find(|line| line.id == "rollback-tested");
        line.unwrap()
    };
    let set = |name: &str, former: Option<&str>| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "agents",
            "annotations": {"rollout.argoproj.io/revision": "3", "rollout.argoproj.io/revision-history": former},
            "ownerReferences": [{"uid": "u", "controller": true}]}})
    };
    let mut objects = right();
    objects[0]["metadata"]["uid"] = json!("u");
    objects[0]["metadata"]["annotations"] = json!({"rollout.argoproj.io/revision": "3"});
    objects[0]["status"] = json!({"currentPodHash": "b"});
    objects.push(set("agent-b", None));
    let line = rollback(&objects);
    assert_eq!(line.outcome, Outcome::NotMet);
    assert!(line.faults[0].contains("nothing to go back to"), "{line:?}");
    objects.push(set("agent-a", Some("1")));
    let line = rollback(&objects);
    assert_eq!(line.outcome, Outcome::Met, "{line:?}");
    let told = line
        .looked_at
        .iter()
        .any(|o| o.contains("went back to agent-a (revisions 1, now 3)"));
    assert!(told, "{line:?}");
}

#[test]
fn what_nothing_shows_is_not_met() {
    let lines = check(
        Given {
            objects: &[],
            sbom: None,
        },
        &[],
    );
    assert!(lines.iter().all(|line| line.outcome == Outcome::NotShown));
    assert_eq!(as_json(&lines)["isMet"], false);
}

#[test]
fn lines_can_be_skipped_and_are_told_to_programs() {
    let skip: Vec<String> = ids()
        .filter(|id| *id != "labels")
        .map(str::to_owned)
        .collect();
    let lines = check(
        Given {
            objects: &right(),
            sbom: None,
        },
        &skip,
    );
    assert_eq!(lines.len(), 1);
    let mut objects = right();
    objects[0]["metadata"]["labels"] = json!({});
    let lines = checked(&objects);
    let scan = sarif(&lines, "out/prod.yaml");
    let results = scan["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["ruleId"], "labels");
}

trait TapRemove {
    fn tap_remove(self, index: usize, pointer: &str) -> Self;
}

impl TapRemove for Vec<Value> {
    fn tap_remove(mut self, index: usize, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self[index]
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        self
    }
}
