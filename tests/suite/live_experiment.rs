//! Experiments on a real control plane: alone and as a step, over a crash, ended by hand.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use serin::api::{AnalysisRun, Experiment, Rollout};

use crate::cluster::{self, Space};
use crate::controller::{Serin, at, phase, space, web};
use crate::live_analysis::service;

/// An analysis that passes or fails.
fn template(name: &str, port: u16, condition: &str, more: Value) -> String {
    let url = format!("http://127.0.0.1:{port}/hush-hush");
    let mut metric = json!({"name": "m", "successCondition": condition,
        "provider": {"web": {"url": url, "jsonPath": "{$.v}"}}});
    serin::api::patch::apply_merge_patch(&mut metric, &more);
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": name}, "spec": {"args": [{"name": "hash"}], "metrics": [metric]}})
    .to_string()
}

fn one(name: &str, replicas: u32) -> Value {
    let labels = json!({"app": "tried", "of": name});
    json!({"name": name, "replicas": replicas, "selector": {"matchLabels": labels}, "service": {},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [
            {"name": "app", "image": "example/web:1", "ports": [{"containerPort": 8080}]}]}}})
}

fn experiment(name: &str, more: Value) -> String {
    let mut spec = json!({"templates": [one("a", 1), one("b", 2)], "scaleDownDelaySeconds": 1});
    serin::api::patch::apply_merge_patch(&mut spec, &more);
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
        "metadata": {"name": name}, "spec": spec})
    .to_string()
}

fn analysis(template: &str) -> Value {
    json!({"analyses": [{"name": "m", "templateName": template, "args": [
        {"name": "hash", "value": "{{templates.b.podTemplateHash}}"}]}]})
}

fn in_phase(phase: &'static str) -> impl Fn(Option<&Experiment>) -> bool {
    move |it| {
        let status = it.and_then(|it| it.status.as_ref());
        status.and_then(|s| s.phase.as_deref()) == Some(phase)
    }
}

async fn sets(space: &Space) -> Vec<ReplicaSet> {
    let all = space.api::<ReplicaSet>().list(&ListParams::default()).await;
    let mut sets = all.unwrap().items;
    sets.retain(|set| {
        set.owner_references()
            .iter()
            .any(|o| o.kind == "Experiment")
    });
    sets
}

#[tokio::test]
async fn an_experiment_runs_over_a_crash_and_leaves_nothing_behind() {
    let Some(space) = space("experiment").await else {
        return;
    };
    let (port, _) = service().await;
    let mut serin = Serin::start(&space, &["--allow-address=127.0.0.1"]);
    let every = json!({"interval": "1s", "count": 8});
    space.apply(&template("good", port, "result == 0.5", every));
    space.apply(&experiment("try", analysis("good")));
    space.wait("it runs", "try", in_phase("Running")).await;
    let begun = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.metric_results.is_some())
    };
    let run = space.wait("it is judged", "try-m", begun).await.unwrap();
    let before = sets(&space).await;
    serin.kill_and_restart();
    space.api::<Service>().get("try-b").await.unwrap();
    let ended = space
        .wait("it ends well", "try", in_phase("Successful"))
        .await
        .unwrap();
    let status = ended.status.unwrap();
    let hash = status.template_statuses.unwrap()[1]
        .pod_template_hash
        .clone();
    assert_eq!(run.spec.args.unwrap()[0].value, hash);
    let runs = space
        .api::<AnalysisRun>()
        .list(&ListParams::default())
        .await;
    assert_eq!(runs.unwrap().items.len(), 1, "no run was made twice");
    let gone = |service: Option<&Service>| service.is_none();
    space.wait("its Service is deleted", "try-b", gone).await;
    let after = sets(&space).await;
    let uids =
        |sets: &[ReplicaSet]| -> Vec<String> { sets.iter().filter_map(|s| s.uid()).collect() };
    assert_eq!(uids(&before), uids(&after), "no ReplicaSet was made twice");
    let sizes = after.iter().map(|s| s.spec.as_ref().unwrap().replicas);
    assert!(
        sizes.clone().all(|n| n == Some(0)),
        "{:?}",
        sizes.collect::<Vec<_>>()
    );
    // Names and fields that clients of the kind read.
    let shown = space.kubectl(&["get", "experiment", "try"]);
    assert!(shown.contains("Successful"), "{shown}");
    space.kubectl(&["delete", "experiment", "try"]);
    let none = |set: Option<&ReplicaSet>| set.is_none();
    space
        .wait("its ReplicaSets go with it", "try-a", none)
        .await;
}

#[tokio::test]
async fn an_experiment_fails_by_its_analysis_ends_by_patch_and_starts_again() {
    let Some(space) = space("experiment-ends").await else {
        return;
    };
    let (port, _) = service().await;
    let _serin = Serin::start(&space, &["--allow-address=127.0.0.1"]);
    // Applied before its template, it waits and says for what.
    space.apply(&experiment("bad", analysis("bad")));
    let told = |it: Option<&Experiment>| {
        let message = it.and_then(|it| it.status.as_ref()?.message.clone());
        message.is_some_and(|m| m.contains("AnalysisTemplate 'bad' not found"))
    };
    space.wait("it says what is missing", "bad", told).await;
    assert!(sets(&space).await.is_empty());
    space.apply(&template("bad", port, "result > 0.9", json!({})));
    let failed = space.wait("it fails", "bad", in_phase("Failed")).await;
    let message = failed.unwrap().status.unwrap().message.unwrap();
    assert!(message.contains("assessed Failed"), "{message}");
    // Without an end of its own, a person ends it.
    space.apply(&experiment("open", json!({})));
    space.wait("it runs", "open", in_phase("Running")).await;
    let end = ["--type=merge", "-p", r#"{"spec":{"terminate":true}}"#];
    space.kubectl(&[&["patch", "experiment", "open"], &end[..]].concat());
    space
        .wait("it is ended", "open", in_phase("Successful"))
        .await;
    let again = ["--type=merge", "-p", r#"{"status":null}"#];
    space.kubectl(&[&["patch", "experiment", "bad"], &again[..]].concat());
    let second = |run: Option<&AnalysisRun>| run.is_some();
    space
        .wait("it has a run of its own", "bad-m.1", second)
        .await;
    space
        .wait("it fails again", "bad", in_phase("Failed"))
        .await;
}

fn step(template: &str, labels: &str) -> String {
    format!(
        "{{steps: [{{experiment: {{duration: 3s, templates: [{{name: base, specRef: stable}}, {{name: new, specRef: canary, metadata: {{labels: {{trial: {labels}}}}}}}], \
         analyses: [{{name: m, templateName: {template}, args: [{{name: hash, valueFrom: {{podTemplateHashValue: Latest}}}}]}}]}}}}, {{pause: {{}}}}]}}"
    )
}

#[tokio::test]
async fn a_step_makes_an_experiment_and_its_verdict_decides() {
    let Some(space) = space("experiment-step").await else {
        return;
    };
    let (port, _) = service().await;
    let _serin = Serin::start(&space, &["--allow-address=127.0.0.1"]);
    space.apply(&template("good", port, "result == 0.5", json!({})));
    space.apply(&template("bad", port, "result > 0.9", json!({})));
    space.apply(&web("1", 2, &step("good", "one")));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 2, &step("good", "one")));
    let passed = space
        .reaches("web", "the step passes", at(1, "Paused"))
        .await;
    let name = format!("web-{}-2-0", passed.current_pod_hash.unwrap());
    let it = space.api::<Experiment>().get(&name).await.unwrap();
    assert_eq!(it.status.unwrap().phase.as_deref(), Some("Successful"));
    let templates = it.spec.templates.unwrap();
    let labels = templates[1].template.as_ref().unwrap().labels();
    assert_eq!(labels["trial"], "one");
    assert!(!labels.contains_key(serin::api::POD_HASH_LABEL));
    space.noted("web", "ExperimentCreated", 1).await;
    space.command("web", "promote", "full");
    space
        .reaches("web", "it is promoted", phase("Healthy"))
        .await;
    // One that fails takes the update back.
    space.apply(&web("3", 2, &step("bad", "two")));
    let is_aborted = |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|r| r.status.as_ref());
        let message = status
            .and_then(|s| s.message.as_deref())
            .unwrap_or_default();
        message.contains("Experiment analysis phase is error/failed")
    };
    space
        .reaches("web", "the update is aborted", is_aborted)
        .await;
    let ended = || {
        let all = space.kubectl(&["get", "experiments", "-o", "name"]);
        (all.lines().count() == 2).then_some(())
    };
    cluster::until("both experiments are kept", ended).await;
}
