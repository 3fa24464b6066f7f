//! Every family of the contract (§1.12) with its labels, over a small cluster; and what a scraper asks
//! of the text as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::api::RolloutStatus;
use crate::live::stores::ObjectKey;
use crate::live::watch::Change;

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn rollout(name: &str, strategy: Value, status: Value) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": name, "uid": format!("u-{name}"), "resourceVersion": "5"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "a", "image": "i:1"}]}},
            "strategy": strategy,
        },
        "status": status,
    })
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason})
}

/// A canary that pauses, a blueGreen that is done, one that is aborted and one that is invalid; a run
/// with two metrics; two templates; turns, events, calls.
fn scrape() -> String {
    let sources = Sources {
        feeds: vec![("rollouts", Arc::default())],
        started: 1_700_000_000.0,
        ..Sources::default()
    };
    let canary = json!({"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}});
    let blue_green = json!({"blueGreen": {"activeService": "a"}});
    for object in [
        rollout(
            "walks",
            canary.clone(),
            json!({"phase": "Paused", "replicas": 5, "availableReplicas": 4, "updatedReplicas": 1,
                "currentStepIndex": 1, "serin": {"weight": 20}}),
        ),
        rollout("switches", blue_green, json!({"phase": "Healthy"})),
        rollout(
            "aborted",
            canary.clone(),
            json!({"phase": "Degraded", "conditions": [condition("Progressing", "False", "RolloutAborted")]}),
        ),
        rollout(
            "wrong",
            json!({}),
            json!({"phase": "Degraded", "blueGreen": {"activeSelector": "h"},
                "conditions": [condition("InvalidSpec", "True", "InvalidSpec")]}),
        ),
    ] {
        sources.index.rollout(Change::Upsert(read(object)));
    }
    sources.index.analysis_run(Change::Upsert(read(json!({
        "metadata": {"namespace": "ns", "name": "run", "uid": "u-run", "resourceVersion": "7",
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "walks",
                "uid": "u-walks", "controller": true}]},
        "spec": {"metrics": [
            {"name": "rate", "provider": {"prometheus": {"query": "up"}}},
            {"name": "job", "provider": {"job": {"spec": {"template": {"spec": {"containers": []}}}}}},
        ]},
        "status": {"phase": "Running", "metricResults": [
            {"name": "rate", "phase": "Running", "measurements": [{"phase": "Successful", "value": "[0.97]"}]},
            {"name": "job", "phase": "Successful", "dryRun": true},
        ]},
    }))));
    sources.index.experiment_change(Change::Upsert(read(json!({
        "metadata": {"namespace": "ns", "name": "try", "uid": "u-try", "resourceVersion": "8"},
        "spec": {"templates": []}, "status": {"phase": "Failed"},
    }))));
    for (place, namespace) in [(0, Some("ns")), (1, None)] {
        let template = json!({
            "metadata": {"namespace": namespace, "name": "t", "resourceVersion": "3"},
            "spec": {"metrics": [{"name": "rate", "provider": {"web": {"url": "http://x"}}}]},
        });
        sources.templates[place].change(Change::Upsert(read(template)));
    }
    let key = Key::Rollout(ObjectKey::new("ns", "walks"));
    sources.stats.turn(&key, Duration::from_millis(5), true);
    sources.stats.event(&key, "Normal", "RolloutPaused");
    let run = Key::Run(ObjectKey::new("ns", "run"));
    sources.stats.turn(&run, Duration::from_millis(5), true);
    let experiment = Key::Experiment(ObjectKey::new("ns", "try"));
    sources
        .stats
        .turn(&experiment, Duration::from_millis(5), true);
    let status = |finished: Option<&str>, outcome: &str| -> RolloutStatus {
        read(json!({"duration": {
            "rolloutStartedAt": "2026-01-01T00:00:00Z", "finishedAt": finished, "completionStatus": outcome,
        }}))
    };
    for outcome in ["Promoted", "Aborted"] {
        let ended = status(Some("2026-01-01T00:01:00Z"), outcome);
        sources.stats.status_written(&status(None, ""), &ended);
    }
    sources
        .calls
        .count(("rollouts".to_owned(), "Patch"), Some(200));
    sources.queue.wake(&key);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry(sources)).unwrap();
    text
}

/// Families with their types, and samples with their labels.
struct Scraped {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, BTreeSet<String>>,
}

/// Reads the text as strictly as a scraper does: each family has one head, and each series one sample.
fn parsed(text: &str) -> Scraped {
    let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::<_, BTreeSet<_>>::new());
    let mut helped = BTreeSet::new();
    let mut family = String::new();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            assert!(helped.insert(name.clone()), "two heads of {name}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(
                types.insert(name.to_owned(), kind.to_owned()),
                None,
                "{name}"
            );
            name.clone_into(&mut family);
        } else if !line.starts_with('#') {
            let end = line.rfind(' ').unwrap();
            let series = &line[..end];
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            assert!(name.starts_with(&family), "{line} is not of {family}");
            let labels = labels.trim_end_matches('}').to_owned();
            let is_new = samples.entry(name.to_owned()).or_default().insert(labels);
            assert!(is_new, "two samples of {series}");
        }
    }
    Scraped { types, samples }
}

fn names_of(labels: &str) -> Vec<String> {
    let parts = labels.split("\",").filter(|part| !part.is_empty());
    let mut names: Vec<String> = parts
        .map(|part| part.split('=').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_family_has_the_name_labels_and_type_that_dashboards_know() {
    let text = scrape();
    let Scraped { types, samples } = parsed(&text);
    let table = [
        ("rollout_reconcile", "histogram", "_count", "namespace,name"),
        ("rollout_reconcile_error", "unknown", "", "namespace,name"),
        (
            "rollout_info",
            "gauge",
            "",
            "namespace,name,strategy,traffic_router,phase",
        ),
        (
            "rollout_info_replicas_available",
            "gauge",
            "",
            "namespace,name",
        ),
        (
            "rollout_info_replicas_unavailable",
            "gauge",
            "",
            "namespace,name",
        ),
        (
            "rollout_info_replicas_desired",
            "gauge",
            "",
            "namespace,name",
        ),
        (
            "rollout_info_replicas_updated",
            "gauge",
            "",
            "namespace,name",
        ),
        (
            "rollout_events",
            "counter",
            "_total",
            "namespace,name,type,reason",
        ),
        (
            "rollout_phase",
            "gauge",
            "",
            "namespace,name,strategy,phase",
        ),
        ("rollout_duration_seconds", "histogram", "_count", "status"),
        (
            "rollout_progression_duration_seconds",
            "histogram",
            "_count",
            "status",
        ),
        (
            "rollout_manual_pause_duration_seconds",
            "histogram",
            "_count",
            "status",
        ),
        (
            "analysis_run_reconcile",
            "histogram",
            "_count",
            "namespace,name",
        ),
        (
            "analysis_run_reconcile_error",
            "unknown",
            "",
            "namespace,name",
        ),
        ("analysis_run_info", "gauge", "", "namespace,name,phase"),
        ("analysis_run_phase", "gauge", "", "namespace,name,phase"),
        (
            "analysis_run_metric_type",
            "gauge",
            "",
            "namespace,name,metric,type",
        ),
        (
            "analysis_run_metric_phase",
            "gauge",
            "",
            "namespace,name,metric,type,dry_run,phase",
        ),
        (
            "experiment_reconcile",
            "histogram",
            "_count",
            "namespace,name",
        ),
        (
            "experiment_reconcile_error",
            "unknown",
            "",
            "namespace,name",
        ),
        ("experiment_info", "gauge", "", "namespace,name,phase"),
        ("experiment_phase", "gauge", "", "namespace,name,phase"),
        ("analysis_template_info", "gauge", "", "namespace,name"),
        (
            "analysis_template_metric_info",
            "gauge",
            "",
            "namespace,name,type,metric",
        ),
        (
            "controller_clientset_k8s_request",
            "counter",
            "_total",
            "kind,verb,status_code",
        ),
        ("argo_rollouts_controller_info", "gauge", "", "version"),
        ("build_info", "gauge", "", "version,goversion,goarch,commit"),
        ("workqueue_depth", "gauge", "", "name"),
        ("workqueue_adds", "counter", "_total", "name"),
        ("workqueue_retries", "counter", "_total", "name"),
        ("process_resident_memory_bytes", "gauge", "", ""),
        ("process_virtual_memory_bytes", "gauge", "", ""),
        ("process_open_fds", "gauge", "", ""),
        ("process_start_time_seconds", "gauge", "", ""),
        ("process_cpu_seconds", "counter", "_total", ""),
        ("serin_rollout_weight", "gauge", "", "namespace,name"),
        ("serin_rollout_step", "gauge", "", "namespace,name"),
        ("serin_rollout_steps", "gauge", "", "namespace,name"),
        (
            "serin_slo_value",
            "gauge",
            "",
            "namespace,name,rollout,objective",
        ),
        ("serin_watch_age_seconds", "gauge", "", "kind"),
        ("serin_watch_errors", "counter", "_total", "kind"),
        ("serin_events_dropped", "counter", "_total", ""),
    ];
    for (family, kind, suffix, labels) in table {
        assert_eq!(
            types.get(family).map(String::as_str),
            Some(kind),
            "{family}\n{text}"
        );
        let all = samples.get(&format!("{family}{suffix}"));
        let one = all.and_then(|all| all.first());
        let one = one.unwrap_or_else(|| panic!("{family} has no sample\n{text}"));
        let mut wanted: Vec<&str> = labels.split(',').filter(|l| !l.is_empty()).collect();
        wanted.sort_unstable();
        assert_eq!(names_of(one), wanted, "{family}");
    }
}

#[test]
fn phase_and_strategy_are_those_of_each_rollout() {
    let text = scrape();
    for line in [
        r#"rollout_info{namespace="ns",name="walks",strategy="canary",traffic_router="",phase="Paused"} 1"#,
        r#"rollout_info{namespace="ns",name="switches",strategy="blueGreen",traffic_router="",phase="Completed"} 1"#,
        r#"rollout_info{namespace="ns",name="aborted",strategy="canary",traffic_router="",phase="Abort"} 1"#,
        r#"rollout_info{namespace="ns",name="wrong",strategy="blueGreen",traffic_router="",phase="InvalidSpec"} 1"#,
        r#"rollout_phase{namespace="ns",name="walks",strategy="canary",phase="Paused"} 1"#,
        r#"rollout_phase{namespace="ns",name="walks",strategy="canary",phase="Progressing"} 0"#,
        r#"rollout_phase{namespace="ns",name="switches",strategy="blueGreen",phase="Completed"} 1"#,
        r#"rollout_phase{namespace="ns",name="wrong",strategy="blueGreen",phase="Error"} 0"#,
        r#"rollout_info_replicas_unavailable{namespace="ns",name="walks"} 1"#,
        r#"rollout_info_replicas_desired{namespace="ns",name="walks"} 4"#,
        r#"analysis_run_phase{namespace="ns",name="run",phase="Running"} 1"#,
        r#"analysis_run_phase{namespace="ns",name="run",phase="Failed"} 0"#,
        r#"analysis_run_metric_phase{namespace="ns",name="run",metric="job",type="Job",dry_run="true",phase="Successful"} 1"#,
        r#"experiment_info{namespace="ns",name="try",phase="Failed"} 1"#,
        r#"experiment_phase{namespace="ns",name="try",phase="Failed"} 1"#,
        r#"experiment_phase{namespace="ns",name="try",phase="Running"} 0"#,
        r#"experiment_reconcile_count{namespace="ns",name="try"} 1"#,
        r#"analysis_template_info{namespace="",name="t"} 1"#,
        r#"analysis_template_metric_info{namespace="ns",name="t",type="Web",metric="rate"} 1"#,
        r#"rollout_duration_seconds_count{status="Aborted"} 1"#,
        r#"rollout_duration_seconds_count{status="Promoted"} 1"#,
        r#"controller_clientset_k8s_request_total{kind="rollouts",verb="Patch",status_code="200"} 1"#,
        r#"workqueue_depth{name="Rollouts"} 1"#,
        r#"serin_slo_value{namespace="ns",name="run",rollout="walks",objective="rate"} 0.97"#,
    ] {
        assert!(
            text.contains(&format!("{line}\n")),
            "{line} is not in\n{text}"
        );
    }
    let invalid =
        r#"rollout_phase{namespace="ns",name="wrong",strategy="blueGreen",phase="InvalidSpec"}"#;
    assert!(!text.contains(invalid), "{text}");
}
