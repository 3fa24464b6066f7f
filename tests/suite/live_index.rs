//! What the index costs: 2,000 Rollouts with 11 ReplicaSets each and 3 KB templates, read through
//! the very types that the watches use, in a process of their own so that nothing else is measured.

use std::fmt::Write;
use std::process::Command;

use serde_json::{Value, json};
use serin::live::client::Page;
use serin::live::slim::{SlimReplicaSet, SlimRollout};
use serin::live::stores::Index;
use serin::live::watch::Change;

const ROLLOUTS: usize = 2000;
const SETS: usize = 11;
const PAGE: usize = 100;
/// Set in the process that is measured.
const CHILD: &str = "SERIN_TEST_INDEX_CHILD";

#[test]
fn two_thousand_rollouts_with_their_history_fit_in_40_mib() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let name = "live_index::two_thousand_rollouts_with_their_history_fit_in_40_mib";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let number = |key: &str| -> f64 {
        let line = said.split_once(key).unwrap().1;
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (after, peak) = (number("after_mib="), number("peak_mib="));
    println!("{said}");
    assert!(after <= 40.0, "{after} MiB after the lists");
    assert!(peak <= 60.0, "{peak} MiB while listing");
}

fn measure() {
    let before = memory("VmRSS:");
    let index = Index::default();
    index.rollout(Change::ListBegins);
    for page in (0..ROLLOUTS).collect::<Vec<_>>().chunks(PAGE) {
        let body = list(page.iter().map(|i| rollout(*i)));
        let page: Page<SlimRollout> = serde_json::from_str(&body).unwrap();
        page.items
            .into_iter()
            .for_each(|r| drop(index.rollout(Change::Listed(r))));
    }
    index.rollout(Change::ListEnds(1_000_000));
    let rollouts = memory("VmRSS:");
    index.replica_set(Change::ListBegins);
    for page in (0..ROLLOUTS * SETS).collect::<Vec<_>>().chunks(PAGE) {
        let body = list(page.iter().map(|i| replica_set(*i / SETS, *i % SETS)));
        let page: Page<SlimReplicaSet> = serde_json::from_str(&body).unwrap();
        page.items
            .into_iter()
            .for_each(|s| drop(index.replica_set(Change::Listed(s))));
    }
    index.replica_set(Change::ListEnds(1_000_000));
    assert_eq!(index.sizes(), (ROLLOUTS, ROLLOUTS * SETS, 0));
    println!(
        "before_mib={before:.1} rollouts_mib={rollouts:.1} after_mib={:.1} peak_mib={:.1} ",
        memory("VmRSS:"),
        memory("VmHWM:")
    );
}

fn memory(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap();
    let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kib / 1024.0
}

/// A page as the API server sends it. Written item by item, so that the test leaves no more garbage
/// behind than the client does.
fn list(items: impl Iterator<Item = Value>) -> String {
    let mut text = String::from("{\"metadata\":{\"resourceVersion\":\"900000\"},\"items\":[");
    for (n, item) in items.enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(text, "{comma}{item}").unwrap();
    }
    text + "]}"
}

/// A pod template of about 3 KB.
fn template(i: usize) -> Value {
    let env: Vec<Value> = (0..28)
        .map(|n| json!({"name": format!("SETTING_NUMBER_{n}"), "value": format!("a value of some length, {i}-{n}, as people write them")}))
        .collect();
    json!({
        "metadata": {"labels": {"app": format!("agent-{i}"), "team": "platform"}},
        "spec": {"containers": [{"name": "agent", "image": format!("registry.example/agent:{i}"), "env": env,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]},
    })
}

fn managed_fields() -> Value {
    let mut fields = String::new();
    for n in 0..40 {
        write!(fields, "f:field-{n} ").unwrap();
    }
    json!([{"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:spec": fields}}])
}

fn uid(a: usize, b: usize) -> String {
    format!("{a:08x}-0000-4000-8000-{b:012x}")
}

fn rollout(i: usize) -> Value {
    let manifest = template(i).to_string();
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": format!("{kind}Reason"),
        "message": "ReplicaSet \"agent\" has successfully progressed.",
        "lastUpdateTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z"})
    };
    let conditions = ["Available", "Progressing", "Completed", "Healthy", "Ready"].map(condition);
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": format!("agent-{i}"), "namespace": format!("team-{}", i % 20), "uid": uid(i, 0),
            "resourceVersion": (100_000 + i).to_string(), "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": manifest,
                "rollout.argoproj.io/revision": "11"},
            "managedFields": managed_fields()},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": format!("agent-{i}")}}, "template": template(i),
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {"duration": "120s"}},
                {"setWeight": 50}, {"pause": {"duration": "300s"}}, {"setWeight": 100}]}}},
        "status": {"phase": "Healthy", "currentPodHash": hash(i, 10), "stableRS": hash(i, 10), "replicas": 2,
            "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "HPAReplicas": 2,
            "observedGeneration": "3", "currentStepIndex": 5, "currentStepHash": "6d8f9c",
            "selector": format!("app=agent-{i}"),
            "serin": {"step": 5, "weight": 100, "stepText": "5/5", "readyText": "2/2", "epoch": "4"},
            "conditions": conditions},
    })
}

fn hash(i: usize, n: usize) -> String {
    format!("{:08x}", i * 31 + n)
}

fn replica_set(i: usize, n: usize) -> Value {
    let size = if n == SETS - 1 { 2 } else { 0 };
    json!({
        "metadata": {"name": format!("agent-{i}-{}", hash(i, n)), "namespace": format!("team-{}", i % 20),
            "uid": uid(i, n + 1), "resourceVersion": (200_000 + i * SETS + n).to_string(), "generation": 2,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": format!("agent-{i}"), "rollouts-pod-template-hash": hash(i, n)},
            "annotations": {"rollout.argoproj.io/revision": (n + 1).to_string(),
                "rollout.argoproj.io/desired-replicas": "2",
                "serin.dev/template": format!("v1:{:064x}", i * 31 + n)},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "name": format!("agent-{i}"), "uid": uid(i, 0), "controller": true}],
            "managedFields": managed_fields()},
        "spec": {"replicas": size, "template": template(i)},
        "status": {"replicas": size, "readyReplicas": size, "availableReplicas": size, "observedGeneration": 2},
    })
}
