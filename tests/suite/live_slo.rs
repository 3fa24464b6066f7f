//! Gates against a real Prometheus that scrapes real agents: what is slow, what fails its tools, what
//! nobody can judge.

use serde_json::{Value, json};
use serin::api::{AnalysisRun, Rollout, RolloutStatus};

use crate::bench::prometheus::{PodLabels, Prometheus};
use crate::cluster::{self, Space};
use crate::controller::{History, Serin, at, phase, space};

/// An agent whose gate looks every 2 s at the last 20 s; more settings of the gate in `more`.
pub(crate) fn agent(tag: &str, more: Value, steps: Value) -> String {
    let mut slos = json!({
        "interval": "2s", "window": "20s", "scrapeInterval": "1s", "minSamples": 10,
        "startingStep": 1, "failureLimit": 1,
        "objectives": [
            {"latency": {"histogram": "agent_task_duration_seconds", "p95": "800ms"}},
            {"success": {"good": "agent_tool_calls_total{outcome=\"success\"}",
                "total": "agent_tool_calls_total", "atLeast": "99%"}},
            {"cost": {"spent": "agent_task_cost_dollars_sum", "per": "agent_tasks_total", "atMost": 0.05}},
            {"violations": {"counter": "agent_governance_violations_total", "atMost": 0}},
        ],
    });
    for (key, value) in more.as_object().unwrap() {
        slos[key] = value.clone();
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "agent"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "app", "image": format!("example/agent:{tag}"),
                    "env": [{"name": "AGENT_SELF_LOAD", "value": "5"}],
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
                }]},
            },
            "strategy": {"canary": {"slos": slos, "steps": steps}},
        },
    })
    .to_string()
}

/// One pause that outlives any bad version.
fn long() -> Value {
    json!([{"setWeight": 50}, {"pause": {"duration": "10m"}}, {"setWeight": 100}])
}

/// One pause that is over before the gate has judged.
fn short() -> Value {
    json!([{"setWeight": 50}, {"pause": {"duration": "1s"}}, {"setWeight": 100}])
}

/// A controller in this namespace that asks this Prometheus.
fn gated(space: &Space, prometheus: &str) -> Serin {
    Serin::start(space, &["--prometheus", prometheus])
}

async fn first_version(space: &Space, more: Value) {
    space.apply(&agent("1.0.0", more, long()));
    space
        .reaches("agent", "the first version is there", phase("Healthy"))
        .await;
}

/// The version with this tag is rolled back; gives the status.
async fn rolled_back(space: &Space, tag: &str, more: Value) -> RolloutStatus {
    space.apply(&agent(tag, more, long()));
    let status = space
        .reaches("agent", "it is rolled back", phase("Degraded"))
        .await;
    assert_eq!(status.abort, Some(true));
    let stable_again = |r: Option<&Rollout>| {
        let s = r.unwrap().status.as_ref().unwrap();
        s.available_replicas == Some(2) && s.updated_replicas == Some(0)
    };
    space
        .reaches(
            "agent",
            "the stable version is back at full size",
            stable_again,
        )
        .await;
    let tags = space.sizes().await;
    assert_eq!(tags, [("1.0.0".to_owned(), 2), (tag.to_owned(), 0)]);
    status
}

fn says(status: &RolloutStatus, words: &[&str]) {
    let message = status.message.as_deref().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[tokio::test]
async fn a_slow_version_is_rolled_back_by_its_p95() {
    let Some(space) = space("slow").await else {
        return;
    };
    let _serin = gated(&space, &cluster::prometheus(PodLabels::All).url());
    first_version(&space, json!({})).await;
    let status = rolled_back(&space, "1.0.1-slow", json!({})).await;
    says(&status, &["SLO gate failed", "p95-latency", "800ms", "20s"]);
}

#[tokio::test]
async fn a_version_whose_every_tool_call_fails_is_rolled_back() {
    let Some(space) = space("failing").await else {
        return;
    };
    let _serin = gated(&space, &cluster::prometheus(PodLabels::All).url());
    first_version(&space, json!({})).await;
    let status = rolled_back(&space, "1.0.1-failing", json!({})).await;
    says(&status, &["success-rate", "99%"]);
}

#[tokio::test]
async fn a_version_whose_tool_calls_fail_now_and_then_is_rolled_back() {
    let Some(space) = space("flaky").await else {
        return;
    };
    let _serin = gated(&space, &cluster::prometheus(PodLabels::All).url());
    first_version(&space, json!({})).await;
    let status = rolled_back(&space, "1.0.1-flaky", json!({})).await;
    says(&status, &["SLO gate failed", "success-rate", "99%", "20s"]);
    let message = status.message.unwrap_or_default();
    assert!(!message.contains("p95"), "only its tools fail: {message}");
}

/// One template, so one pod hash, in two namespaces; its pods are slow in one of them. Only the
/// namespace in the queries tells the two apart.
#[tokio::test]
async fn the_same_template_in_two_namespaces_is_judged_apart() {
    let Some(good) = space("apart-good").await else {
        return;
    };
    let bad = space("apart-bad").await.unwrap();
    let prometheus = cluster::prometheus(PodLabels::All).url();
    let (_one, _two) = (gated(&good, &prometheus), gated(&bad, &prometheus));
    let second = |steps: Value| {
        let text = agent("1.0.1", json!({}), steps);
        let mut rollout: Value = serde_json::from_str(&text).unwrap();
        let container = &mut rollout["spec"]["template"]["spec"]["containers"][0];
        let slow = json!({"name": "AGENT_SLOW_IN", "value": bad.namespace});
        container["env"].as_array_mut().unwrap().push(slow);
        rollout.to_string()
    };
    first_version(&good, json!({})).await;
    first_version(&bad, json!({})).await;
    let history = History::of(&good, "agent").await;
    // The good one waits at its gated step for as long as the bad one is measured.
    good.apply(&second(
        json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]),
    ));
    bad.apply(&second(long()));
    let rolled_back = bad
        .reaches("agent", "the bad one is rolled back", phase("Degraded"))
        .await;
    says(&rolled_back, &["SLO gate failed", "p95-latency", "800ms"]);
    let waiting = good
        .reaches("agent", "the good one waits for a person", at(1, "Paused"))
        .await;
    assert_eq!(waiting.current_pod_hash, rolled_back.current_pod_hash);
    assert_ne!(waiting.abort, Some(true), "{:?}", waiting.message);
    good.command("agent", "promote", "true");
    let done = |r: Option<&Rollout>| {
        let s = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && s.stable_rs == waiting.current_pod_hash
    };
    let promoted = good
        .reaches("agent", "the good one is promoted", done)
        .await;
    assert_eq!(
        history.steps(&promoted.current_pod_hash.unwrap()),
        [0, 1, 2, 3]
    );
}

#[tokio::test]
async fn without_pod_labels_in_prometheus_pods_are_found_by_name_or_the_gate_says_why_not() {
    let Some(space) = space("names").await else {
        return;
    };
    let _serin = gated(&space, &cluster::prometheus(PodLabels::NameOnly).url());
    let by_pod = json!({"selectBy": "pod"});
    first_version(&space, by_pod.clone()).await;
    rolled_back(&space, "1.0.1-slow", by_pod).await;

    // By labels that are not there, nothing can be judged: the step is held, and the reason told.
    space.apply(&agent("1.0.2", json!({}), short()));
    let told = |r: Option<&Rollout>| {
        let serin = r.and_then(|r| r.status.as_ref()?.serin.as_ref());
        serin
            .and_then(|s| s.hold.as_ref())
            .is_some_and(|h| h.reason.contains("label"))
    };
    let held = space
        .reaches("agent", "the gate says that labels are missing", told)
        .await;
    assert_eq!(
        held.current_step_index,
        Some(1),
        "it holds at the step that it is to judge"
    );
    assert_ne!(held.abort, Some(true), "lack of data aborts nothing");
}

/// Killed in the middle of a step that was measured as good already, and again in the last step.
#[tokio::test]
async fn a_gate_holds_while_prometheus_is_down_and_goes_on_when_it_is_back() {
    let Some(space) = space("outage").await else {
        return;
    };
    let plane = &cluster::shared().unwrap().plane;
    let dir = cluster::dir().join("prometheus-outage");
    let mut prometheus = Prometheus::start(&dir, plane, PodLabels::All).unwrap();
    let _serin = gated(&space, &prometheus.url());
    first_version(&space, json!({})).await;
    let history = History::of(&space, "agent").await;
    // Long enough for a measurement, and over while Prometheus is away.
    let steps = json!([{"setWeight": 50}, {"pause": {"duration": "25s"}}, {"setWeight": 100}]);
    space.apply(&agent("1.0.1", json!({}), steps));
    let begun = space.reaches("agent", "it pauses", at(1, "Paused")).await;
    let hash = begun.current_pod_hash.unwrap();
    let is_good = |run: Option<&AnalysisRun>| {
        let status = run.and_then(|run| run.status.as_ref());
        let results = status.and_then(|s| s.metric_results.as_ref());
        let mut results = results.into_iter().flatten();
        results.any(|r| r.successful.unwrap_or(0) > 0)
    };
    let run = format!("agent-{hash}-2-slo");
    space.wait("a first good measurement", &run, is_good).await;
    prometheus.kill();
    let held = held_at(&space, 1).await;
    assert_ne!(held.abort, Some(true));
    prometheus.restart().unwrap();
    let last_step = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.current_step_index == Some(2))
    };
    space
        .reaches("agent", "it goes on to its last step", last_step)
        .await;
    // Before its last pods are there, so nothing that was measured counts for the promotion.
    prometheus.kill();
    let held = held_at(&space, 3).await;
    assert_ne!(held.abort, Some(true));
    assert_ne!(
        held.stable_rs.as_ref(),
        Some(&hash),
        "nothing is promoted unseen"
    );
    prometheus.restart().unwrap();
    let done = |r: Option<&Rollout>| {
        let s = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && s.stable_rs.as_ref() == Some(&hash)
    };
    space
        .reaches("agent", "it is promoted once there are data", done)
        .await;
    assert_eq!(history.steps(&hash), [0, 1, 2, 3]);
}

/// The gate holds the update at this step.
async fn held_at(space: &Space, step: i64) -> RolloutStatus {
    let held = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| {
            let hold = s.serin.as_ref().and_then(|s| s.hold.as_ref());
            hold.is_some() && s.current_step_index == Some(step)
        })
    };
    space.reaches("agent", "the gate holds", held).await
}

#[tokio::test]
async fn an_analysis_step_and_a_secret_of_its_namespace() {
    let Some(space) = space("analysis").await else {
        return;
    };
    space.grant(&[("--secret", "/prometheus")]);
    let prometheus = cluster::prometheus(PodLabels::All).url();
    let serin = Serin::start(
        &space,
        &["--prometheus", &prometheus, "--log-level=trace,hyper=off"],
    );
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "up"},
        "spec": {
            "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "prometheus", "key": "token"}}}, {"name": "hash"}],
            "metrics": [{"name": "up", "interval": "1s", "count": 2, "successCondition": "result[0] >= 1",
                "provider": {"prometheus": {"query": "sum(up{rollouts_pod_template_hash=\"{{args.hash}}\"})",
                    "headers": [{"key": "X-Token", "value": "{{args.token}}"}]}}}],
        },
    });
    space.apply(&template.to_string());
    space.kubectl(&[
        "create",
        "secret",
        "generic",
        "prometheus",
        "--from-literal=token=very-secret-9f2",
    ]);
    let steps = json!([{"setWeight": 50}, {"pause": {"duration": "8s"}}, {"analysis": {"templates": [{"templateName": "up"}],
        "args": [{"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}}]}}, {"setWeight": 100}]);
    let plain = |tag: &str| {
        let mut rollout: Value =
            serde_json::from_str(&agent(tag, json!({}), steps.clone())).unwrap();
        rollout["spec"]["strategy"]["canary"]
            .as_object_mut()
            .unwrap()
            .remove("slos");
        rollout.to_string()
    };
    space.apply(&plain("1.0.0"));
    let first = space
        .reaches("agent", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&plain("1.0.1"));
    let done = |r: Option<&Rollout>| {
        let s = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && s.stable_rs != first.stable_rs
    };
    let last = space
        .reaches("agent", "the second version is promoted", done)
        .await;
    let run = format!("agent-{}-2-2", last.current_pod_hash.unwrap());
    let run = space.api::<AnalysisRun>().get(&run).await.unwrap();
    let result = &run
        .status
        .as_ref()
        .unwrap()
        .metric_results
        .as_ref()
        .unwrap()[0];
    assert_eq!(
        (result.phase.as_str(), result.successful),
        ("Successful", Some(2))
    );
    let everything = format!(
        "{}{}",
        serin.log(),
        space.kubectl(&["get", "ar,ro,events", "-o", "yaml"])
    );
    assert!(!everything.contains("very-secret-9f2"), "a secret came out");
    assert!(at(4, "Healthy")(Some(&space.rollout("agent").await)));
}

/// The manifest that the project was asked with, word for word but for the length of its pauses.
#[tokio::test]
async fn the_manifest_of_the_seeds_goes_through() {
    let Some(space) = space("seeds").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let manifest = include_str!("../../examples/rollouts/support-agent.yaml")
        .replace("  namespace: astra-agents\n", "")
        .replace("duration: 120", "duration: 1")
        .replace("duration: 300", "duration: 2");
    space.apply(&manifest);
    let first = space
        .reaches(
            "support-agent",
            "the first version is there",
            phase("Healthy"),
        )
        .await;
    let history = History::of(&space, "support-agent").await;
    space.apply(&manifest.replace("1.0.1", "1.0.2"));
    let done = |r: Option<&Rollout>| {
        let s = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && s.stable_rs != first.stable_rs
    };
    let last = space
        .reaches("support-agent", "the second version is promoted", done)
        .await;
    assert_eq!(
        history.steps(&last.current_pod_hash.unwrap()),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(
        space.sizes().await,
        [("1.0.1".to_owned(), 0), ("1.0.2".to_owned(), 2)]
    );
}

/// The gate of a blueGreen judges what clients get: after the switch, and then it switches back.
#[tokio::test]
async fn a_slow_version_behind_the_active_service_is_switched_back() {
    let Some(space) = space("slowblue").await else {
        return;
    };
    let _serin = gated(&space, &cluster::prometheus(PodLabels::All).url());
    space.apply("{apiVersion: v1, kind: Service, metadata: {name: live}, spec: {selector: {app: agent}, ports: [{port: 80}]}}");
    let version = |tag: &str| {
        let text = agent(tag, json!({"startingStep": 0}), json!([]));
        let mut rollout: Value = serde_json::from_str(&text).unwrap();
        let slos = rollout["spec"]["strategy"]["canary"]["slos"].take();
        rollout["spec"]["strategy"] = json!({"blueGreen": {"activeService": "live", "scaleDownDelaySeconds": 600, "slos": slos}});
        rollout.to_string()
    };
    space.apply(&version("1.0.0"));
    let first = space
        .reaches("agent", "the first version is there", phase("Healthy"))
        .await;
    let history = History::of(&space, "agent").await;
    space.apply(&version("1.0.1-slow"));
    let status = space
        .reaches("agent", "it is switched back", phase("Degraded"))
        .await;
    says(&status, &["p95-latency", "800ms"]);
    assert_eq!(status.abort, Some(true));
    crate::live_blue_green::selects(&space, "live", first.stable_rs.as_deref()).await;
    let active = history.of_what(|s| s.blue_green.as_ref()?.active_selector.clone());
    let (old, new) = (first.stable_rs.unwrap(), status.current_pod_hash.unwrap());
    assert!(active.contains(&new), "clients had it: {active:?}");
    let back = |r: Option<&Rollout>| {
        let s = r.unwrap().status.as_ref().unwrap();
        let active = s
            .blue_green
            .as_ref()
            .and_then(|b| b.active_selector.as_ref());
        active == Some(&old) && s.available_replicas == Some(2)
    };
    space
        .reaches("agent", "clients have the old one", back)
        .await;
}
