//! Every provider through a step of a Rollout on a real control plane: servers play the services, by the
//! table that the unit tests have too. And what a verdict does to the Rollout.

#[allow(dead_code)] // The unit tests have it misbehave as well.
#[path = "../../src/providers/tests/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use serin::api::{AnalysisRun, Rollout};

use self::server::{Authority, Server, Way};
use crate::cluster::{self, Space};
use crate::controller::{Serin, at, phase, space, web};

const SERVICES: &str = include_str!("../../src/providers/tests/services.json");
const GOOGLE_KEY: &str = include_str!("../../src/providers/tests/google-key.json");

/// A service of the table.
#[derive(Deserialize)]
struct Service {
    provider: Value,
    credentials: serde_json::Map<String, Value>,
    bodies: Vec<(String, String)>,
    sent: Vec<String>,
    value: String,
}

/// An authority that the controller of a test trusts, and the file that says so.
fn authority(space: &Space) -> (Authority, PathBuf) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let authority = Authority::new("serin live tests");
    let file = cluster::dir().join(format!("{}-ca.pem", space.namespace));
    std::fs::write(&file, authority.pem()).unwrap();
    (authority, file)
}

/// The Secret that a provider looks for, where it needs one.
fn secret_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "datadog" => "datadog",
        "newRelic" => "newrelic",
        "wavefront" => "wavefront-api-tokens",
        "influxdb" => "influxdb",
        "googleCloudMonitoring" => "google-cloud-monitoring",
        "dynatrace" => "dynatrace",
        "azureMonitor" => "azure-monitor",
        "splunk" => "splunk",
        _ => return None,
    })
}

/// What is asked does not depend on the time and place of the unit tests.
fn is_of_everywhere(part: &str) -> bool {
    ["17952", "2026", "namespace"]
        .iter()
        .all(|own| !part.contains(own))
}

#[tokio::test]
async fn every_provider_is_asked_through_a_step() {
    let Some(space) = space("services").await else {
        return;
    };
    let (authority, ca) = authority(&space);
    let services: Vec<Service> = serde_json::from_str(SERVICES).unwrap();
    let (mut servers, mut secrets) = (vec![], vec![]);
    let (mut metrics, mut taken) = (vec![], BTreeSet::new());
    let mut flags = vec![
        "--allow-address=127.0.0.1".to_owned(),
        format!("--provider-ca-file={}", ca.display()),
        // The Secrets of providers are in the controller's namespace: this one.
        format!("--leader-election-namespace={}", space.namespace),
    ];
    let mut env = vec![
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hush-hush".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
    ];
    for (n, service) in services.iter().enumerate() {
        let server = Server::start(authority.server("127.0.0.1", |_| {})).await;
        server.does(Way::Well(service.bodies.clone()));
        let address = server.address.to_string();
        let here = |text: &str| {
            text.replace("$GOOGLE_KEY", GOOGLE_KEY)
                .replace("$URL", &server.url())
                .replace("$HOST", &address)
                .replace("$KIND", "PRIVATE KEY")
        };
        let text = here(&service.provider.to_string());
        let mut provider: Value = serde_json::from_str(&text).unwrap();
        let kind = service.provider.as_object().unwrap().keys().next().unwrap();
        if let Some(secret) = secret_of(kind) {
            let is_first = taken.insert(secret);
            let name = if is_first {
                secret.to_owned()
            } else {
                format!("{secret}-{n}")
            };
            if !is_first {
                provider[kind]["secretRef"] = json!({"name": name, "namespaced": true});
            }
            let data: serde_json::Map<String, Value> = service
                .credentials
                .iter()
                .map(|(key, value)| match kind.as_str() {
                    "wavefront" => (address.replace(':', "_"), value.clone()),
                    _ => (key.clone(), here(value.as_str().unwrap()).into()),
                })
                .collect();
            secrets.push(format!("/{name}"));
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
            space.apply(&secret.to_string());
        }
        if kind == "plugin" {
            let file = cluster::dir().join(format!("{}-plugins.yaml", space.namespace));
            let url = format!("{}/measure", server.url());
            let text = json!({"plugins": {"acme/latency": {"url": url}}}).to_string();
            std::fs::write(&file, text).unwrap();
            flags.push(format!("--plugins={}", file.display()));
        }
        if kind == "cloudWatch" {
            env.push(("AWS_ENDPOINT_URL_CLOUDWATCH", server.url()));
        }
        let name = format!("{}-{n}", kind.to_lowercase());
        metrics.push(json!({"name": name, "interval": "1s", "count": 1, "provider": provider}));
        servers.push(server);
    }
    let granted: Vec<_> = secrets.iter().map(|it| ("--secret", it.as_str())).collect();
    space.grant(&granted);
    space.is_home();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let serin = Serin::start_with(&space, &flags, &env);
    // One look is not enough for a comparison to be decided: it does not count here.
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "t"},
        "spec": {"metrics": metrics, "dryRun": [{"metricName": "^compare"}]}});
    space.apply(&template.to_string());
    let canary =
        "{steps: [{setWeight: 50}, {analysis: {templates: [{templateName: t}]}}, {pause: {}}]}";
    space.apply(&web("1", 2, canary));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 2, canary));
    let status = space
        .reaches("web", "the step passes", |rollout: Option<&Rollout>| {
            at(2, "Paused")(rollout) || phase("Degraded")(rollout)
        })
        .await;
    let run = format!("web-{}-2-1", status.current_pod_hash.clone().unwrap());
    let run = space.api::<AnalysisRun>().get(&run).await.unwrap();
    let measured = serde_json::to_value(&run.status).unwrap();
    assert_eq!(status.phase.as_deref(), Some("Paused"), "{measured:#}");
    for (n, (service, server)) in services.iter().zip(&servers).enumerate() {
        let results = measured["metricResults"].as_array().unwrap();
        let name = format!("-{n}");
        let is_of = |r: &&Value| r["name"].as_str().unwrap().ends_with(&name);
        let result = results.iter().find(is_of).unwrap();
        let value = result["measurements"][0]["value"].as_str();
        assert!(
            value.is_some_and(|v| v.contains(&service.value)),
            "{result:#}"
        );
        let requests = server.requests();
        let last = requests.last().unwrap();
        for part in service.sent.iter().filter(|part| is_of_everywhere(part)) {
            assert!(last.contains(part), "{last}\nlacks {part}");
        }
    }
    let runs = space.kubectl(&["get", "analysisrun", "-o", "yaml"]);
    let log = serin.log();
    for hidden in ["hush-secret", "hush-token", "t-0123"] {
        assert!(!runs.contains(hidden) && !log.contains(hidden), "{hidden}");
    }
}

/// A service that says one number, which a test changes.
async fn judge(space: &Space, value: &str, metric: Value) -> (Server, Serin) {
    let (authority, ca) = authority(space);
    let server = Server::start(authority.server("127.0.0.1", |_| {})).await;
    says(&server, value);
    let ca = format!("--provider-ca-file={}", ca.display());
    let serin = Serin::start(space, &["--allow-address=127.0.0.1", &ca]);
    let mut all = json!({"name": "m", "provider": {"web": {"url": format!("{}/v", server.url())}}});
    all.as_object_mut()
        .unwrap()
        .extend(metric.as_object().unwrap().clone());
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "t"}, "spec": {"metrics": [all]}});
    space.apply(&template.to_string());
    (server, serin)
}

fn says(server: &Server, value: &str) {
    server.does(Way::Well(vec![("/".to_owned(), value.to_owned())]));
}

/// Item 7: the background analysis fails in the middle of a pause, and the update goes back.
#[tokio::test]
async fn a_background_analysis_that_fails_in_the_middle_of_a_step_aborts() {
    let Some(space) = space("background").await else {
        return;
    };
    let metric = json!({"interval": "1s", "successCondition": "result < 0.6"});
    let (server, _serin) = judge(&space, "0.5", metric).await;
    let canary = "{analysis: {templates: [{templateName: t}], startingStep: 1}, steps: [{setWeight: 50}, {pause: {}}, {setWeight: 100}]}";
    space.apply(&web("1", 2, canary));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 2, canary));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    let name = format!("web-{}-2", paused.current_pod_hash.unwrap());
    let measured = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|r| r.status.as_ref());
        let results = status.and_then(|s| s.metric_results.as_ref());
        results.is_some_and(|r| r[0].successful >= Some(2))
    };
    space.wait("it is measured", &name, measured).await;
    says(&server, "0.9");
    let back = space
        .reaches("web", "it goes back", phase("Degraded"))
        .await;
    assert_eq!(back.abort, Some(true));
    let message = back.message.unwrap_or_default();
    assert!(
        message.contains("Background analysis phase error/failed: Metric \"m\" assessed Failed"),
        "{message}"
    );
    space.noted("web", "AnalysisRunFailed", 1).await;
    let all_back = |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.updated_replicas == Some(0) && s.available_replicas == Some(2))
    };
    space
        .reaches("web", "the old version is whole", all_back)
        .await;
}

/// Item 7: no verdict pauses; whoever promotes goes on at the next step, without another run.
#[tokio::test]
async fn no_verdict_pauses_and_a_promote_goes_on() {
    let Some(space) = space("inconclusive").await else {
        return;
    };
    let metric = json!({"successCondition": "result < 0.3", "failureCondition": "result > 0.8"});
    let (_server, _serin) = judge(&space, "0.5", metric).await;
    let canary =
        "{steps: [{setWeight: 50}, {analysis: {templates: [{templateName: t}]}}, {pause: {}}]}";
    space.apply(&web("1", 2, canary));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 2, canary));
    let asked = space
        .reaches("web", "a person is asked", at(1, "Paused"))
        .await;
    assert_eq!(asked.message.as_deref(), Some("InconclusiveAnalysisRun"));
    space.noted("web", "AnalysisRunInconclusive", 1).await;
    space.command("web", "promote", "true");
    space.reaches("web", "it goes on", at(2, "Paused")).await;
    let runs = space.kubectl(&["get", "analysisrun", "-o", "name"]);
    assert_eq!(runs.lines().count(), 1, "{runs}");
}
