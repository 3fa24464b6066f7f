//! Analyses on a real control plane: Jobs as measurements, providers with arguments and Secrets, runs
//! that stand alone.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::{Value, json};
use serin::api::{AnalysisRun, Rollout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{self, Space};
use crate::controller::{Serin, at, phase, space, web};

/// A metric that is a Job whose pod behaves as the annotations say.
fn job_metric(annotations: Value) -> Value {
    json!({"name": "smoke", "provider": {"job": {
        "metadata": {"labels": {"team": "red"}},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "example/smoke:1"}]}}}}}})
}

fn run(name: &str, metric: Value, args: Value) -> String {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": name},
        "spec": {"metrics": [metric], "args": args}})
    .to_string()
}

async fn ends(space: &Space, name: &str) -> (String, AnalysisRun) {
    let is_over = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.completed_at.is_some())
    };
    let run = space.wait("the run ends", name, is_over).await.unwrap();
    let phase = run.status.as_ref().and_then(|s| s.phase.clone());
    (phase.unwrap_or_default(), run)
}

fn measurement(run: &AnalysisRun) -> Value {
    let status = serde_json::to_value(run.status.as_ref().unwrap()).unwrap();
    status["metricResults"][0]["measurements"][0].clone()
}

#[tokio::test]
async fn a_job_that_succeeds_fails_or_lacks_its_image_is_the_measurement() {
    let Some(space) = space("jobs").await else {
        return;
    };
    let serin = Serin::start(&space, &["--job-log-lines=2"]);
    let said = "starts\n7 checks\nnone failed";
    for (name, annotations, expected) in [
        ("good", json!({"test.serin.dev/log": said}), "Successful"),
        ("bad", json!({"test.serin.dev/exit-code": "1"}), "Failed"),
        (
            "no-image",
            json!({"test.serin.dev/waiting": "ErrImagePull"}),
            "Inconclusive",
        ),
    ] {
        space.apply(&run(name, job_metric(annotations), json!([])));
        let (phase, run) = ends(&space, name).await;
        assert_eq!(phase, expected, "{:#?}", run.status);
        let measured = measurement(&run);
        let job = measured["metadata"]["job-name"].as_str().unwrap();
        let uid = run.metadata.uid.clone().unwrap();
        assert_eq!(job, format!("{uid}.smoke.1"));
        if name == "no-image" {
            let gone = |job: Option<&Job>| job.is_none();
            space.wait::<Job>("the job is deleted", job, gone).await;
            continue;
        }
        let stored = space.api::<Job>().get(job).await.unwrap();
        let labels = stored.metadata.labels.unwrap();
        if name == "good" {
            assert_eq!(measured["metadata"]["job-log"], "7 checks\nnone failed");
        }
        assert_eq!(labels["team"], "red");
        assert_eq!(labels["analysisrun.argoproj.io/uid"], uid);
    }
    let log = serin.log();
    let line = log
        .lines()
        .find(|l| l.contains("measured") && l.contains("no-image"));
    let line = line.expect("a line for the measurement");
    assert!(line.contains("ErrImagePull"), "{line}");
    // Jobs go with their run.
    let before = space
        .api::<Job>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(before.items.len(), 2);
    space.kubectl(&["delete", "analysisrun", "good", "bad"]);
    for job in before {
        let name = job.metadata.name.unwrap();
        let gone = |job: Option<&Job>| job.is_none();
        space
            .wait::<Job>("the job goes with its run", &name, gone)
            .await;
    }
}

#[tokio::test]
async fn a_job_outlives_a_killed_controller_and_dies_with_an_ended_run() {
    let Some(space) = space("job-crash").await else {
        return;
    };
    let mut serin = Serin::start(&space, &[]);
    space.apply(&run(
        "long",
        job_metric(json!({"test.serin.dev/exit-after": "1h"})),
        json!([]),
    ));
    let begun = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.metric_results.is_some())
    };
    let begun = space
        .wait("the job is written down", "long", begun)
        .await
        .unwrap();
    let job = measurement(&begun)["metadata"]["job-name"]
        .as_str()
        .unwrap()
        .to_owned();
    serin.kill_and_restart();
    serin.ready().await;
    let patch = r#"{"spec":{"terminate":true}}"#;
    space.kubectl(&["patch", "analysisrun", "long", "--type=merge", "-p", patch]);
    let (phase, run) = ends(&space, "long").await;
    assert_eq!(phase, "Inconclusive", "{:#?}", run.status);
    assert_eq!(measurement(&run)["message"], "Metric Terminated");
    let gone = |job: Option<&Job>| job.is_none();
    space.wait::<Job>("the job is deleted", &job, gone).await;
    let left = space
        .api::<Job>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(left.items.is_empty(), "no second job was made");
}

/// A server that answers 0.5 to who says the password, and writes down what it was asked.
pub(crate) async fn service() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 16_384];
            let n = stream.read(&mut bytes).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            let is_known = text.contains("hush-hush");
            into.lock().unwrap().push(text);
            let (code, body) = if is_known {
                (200, r#"{"series": [{"pointlist": [[1, 0.5]]}], "v": 0.5}"#)
            } else {
                (401, "SEEN")
            };
            let length = body.len();
            let reply = format!(
                "HTTP/1.1 {code} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            drop(stream.write_all(reply.as_bytes()).await);
        }
    });
    (port, asked)
}

/// Arguments from a Secret, a ConfigMap and a field; a provider's Secret of the run's namespace.
#[tokio::test]
async fn providers_are_asked_with_arguments_and_secrets_through_a_step() {
    let Some(space) = space("providers").await else {
        return;
    };
    space.grant(&[
        ("--secret", "/keys"),
        ("--secret", "/dd"),
        ("--config-map", "/bounds"),
    ]);
    let (port, asked) = service().await;
    let serin = Serin::start(&space, &["--allow-address=127.0.0.1"]);
    space.kubectl(&[
        "create",
        "secret",
        "generic",
        "keys",
        "--from-literal=password=hush-hush",
    ]);
    space.kubectl(&["create", "configmap", "bounds", "--from-literal=high=0.6"]);
    let address = format!("--from-literal=address=http://127.0.0.1:{port}");
    let key = "--from-literal=api-key=hush-hush";
    space.kubectl(&[
        "create",
        "secret",
        "generic",
        "dd",
        &address,
        key,
        "--from-literal=app-key=k-123",
    ]);
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "t"}, "spec": {
    "args": [
        {"name": "password", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "high", "valueFrom": {"configMapKeyRef": {"name": "bounds", "key": "high"}}},
        {"name": "who", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "metrics": [
        {"name": "web", "successCondition": "result < {{args.high}}", "provider": {"web": {
            "url": format!("http://127.0.0.1:{port}/of/{{{{args.who}}}}"), "jsonPath": "{$.v}",
            "headers": [{"key": "Authorization", "value": "Bearer {{args.password}}"}]}}},
        {"name": "dd", "successCondition": "result == 0.5", "provider": {"datadog": {
            "query": "avg:x{*}", "secretRef": {"name": "dd", "namespaced": true}}}},
    ]}});
    space.apply(&template.to_string());
    let canary =
        "{steps: [{setWeight: 50}, {analysis: {templates: [{templateName: t}]}}, {pause: {}}]}";
    space.apply(&web("1", 2, canary));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 2, canary));
    space
        .reaches("web", "the step passes", at(2, "Paused"))
        .await;
    let paths: Vec<String> = asked.lock().unwrap().clone();
    assert!(
        paths.iter().any(|r| r.starts_with("GET /of/web ")),
        "{paths:?}"
    );
    assert!(
        paths
            .iter()
            .any(|r| r.starts_with("GET /api/v1/query?query=avg")),
        "{paths:?}"
    );
    let runs = space.kubectl(&["get", "analysisrun", "-o", "yaml"]);
    assert!(!runs.contains("hush-hush") && !serin.log().contains("hush-hush"));
}

/// Issue 5: nothing is lost and nothing is doubled when the controller dies between measurements.
#[tokio::test]
async fn a_run_of_its_own_is_measured_to_its_end_over_crashes() {
    let Some(space) = space("alone").await else {
        return;
    };
    let (port, asked) = service().await;
    let mut serin = Serin::start(&space, &["--allow-address=127.0.0.1"]);
    let url = format!("http://127.0.0.1:{port}/hush-hush");
    let metric = json!({"name": "m", "count": 4, "interval": "1s", "successCondition": "result == 0.5",
        "provider": {"web": {"url": url, "jsonPath": "{$.v}"}}});
    space.apply(&run("alone", metric, json!([])));
    let asked_so_far = || (asked.lock().unwrap().len() >= 2).then_some(());
    cluster::until("it is under way", asked_so_far).await;
    serin.kill_and_restart();
    let (phase, run) = ends(&space, "alone").await;
    assert_eq!(phase, "Successful");
    let status = serde_json::to_value(run.status.unwrap()).unwrap();
    let result = &status["metricResults"][0];
    assert_eq!(result["count"], 4, "{result}");
    assert_eq!(result["measurements"].as_array().unwrap().len(), 4);
    let questions = asked.lock().unwrap().len();
    assert!(
        (4..=5).contains(&questions),
        "a crash repeats what was not written: {questions}"
    );
}

/// A run that somebody else made under the name that a step needs: the Rollout says so and waits, and
/// goes on when it is gone.
#[tokio::test]
async fn a_run_that_is_in_the_way_is_named() {
    let Some(space) = space("in-the-way").await else {
        return;
    };
    let (port, _) = service().await;
    let _serin = Serin::start(&space, &["--allow-address=127.0.0.1"]);
    let url = format!("http://127.0.0.1:{port}/hush-hush");
    let metric = json!({"name": "m", "successCondition": "result == 0.5",
        "provider": {"web": {"url": url, "jsonPath": "{$.v}"}}});
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "t"}, "spec": {"metrics": [metric]}});
    space.apply(&template.to_string());
    let canary = "{steps: [{setWeight: 50}, {pause: {}}, {analysis: {templates: [{templateName: t}]}}, {pause: {}}]}";
    space.apply(&web("1", 2, canary));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 2, canary));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    let name = format!("web-{}-2-2", paused.current_pod_hash.unwrap());
    space.apply(&run(&name, metric, json!([])));
    ends(&space, &name).await;
    space.command("web", "promote", "true");
    let is_told = |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|r| r.status.as_ref());
        let conditions = status.map(|s| &s.conditions);
        conditions.into_iter().flatten().any(|c| {
            let message = serde_json::to_string(c).unwrap();
            c.type_ == "InvalidSpec" && message.contains("delete it") && message.contains(&name)
        })
    };
    space
        .reaches("web", "what is in the way is named", is_told)
        .await;
    space.kubectl(&["delete", "analysisrun", &name]);
    space.reaches("web", "it goes on", at(3, "Paused")).await;
}
