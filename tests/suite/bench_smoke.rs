//! The bench itself: what the other real tests stand on. Needs `SERIN_APISERVER`.

use std::net::TcpStream;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::bench::prometheus::{PodLabels, Prometheus, Sample};
use crate::cluster::{self, until};

#[tokio::test]
async fn a_deployments_pods_are_played_and_go_again() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let space = cluster.space("played").await;
    space.apply(&deployment("example/web:1", 3, json!({}), json!([])));
    space
        .wait("three pods are available", "web", available(3))
        .await;
    let pods = space
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut addresses: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.status.clone()?.pod_ip)
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(
        addresses.len(),
        3,
        "each pod has an address of its own: {addresses:?}"
    );

    space.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    for pod in pods {
        let name = pod.name_any();
        space
            .wait(
                "a pod that is no longer wanted goes",
                &name,
                |it: Option<&Pod>| it.is_none(),
            )
            .await;
    }
}

#[tokio::test]
async fn an_agents_pod_is_a_process_that_is_scraped_and_stopped() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let space = cluster.space("agent").await;
    let env = json!([{"name": "AGENT_SELF_LOAD", "value": "20"}, {"name": "AGENT_LATENCY", "value": "20ms"}]);
    space.apply(&deployment(
        "example/agent:1.0.0-failing",
        2,
        json!({}),
        env,
    ));
    space
        .wait("two agents are available", "web", available(2))
        .await;

    let prometheus = cluster::prometheus(PodLabels::All);
    let here = format!("namespace=\"{}\"", space.namespace);
    let up = series(prometheus, &format!("up{{{here}}} == 1"), 2).await;
    let query = format!("agent_tasks_total{{{here},pod_template_hash=~\".+\"}} > 0");
    let tasks = series(prometheus, &query, 2).await;
    for sample in up.iter().chain(&tasks) {
        let (pod, hash) = (
            sample.label("pod").unwrap(),
            sample.label("pod_template_hash").unwrap(),
        );
        assert!(
            pod.contains(hash),
            "{pod} carries the hash {hash} of its ReplicaSet"
        );
    }
    // The tag says that every tool call fails, and so the series of successes does not exist.
    series(
        prometheus,
        &format!("agent_tool_calls_total{{{here},outcome=\"failure\"}} > 0"),
        2,
    )
    .await;
    series(
        prometheus,
        &format!("agent_tool_calls_total{{{here},outcome=\"success\"}}"),
        0,
    )
    .await;
    series(
        prometheus,
        &format!("agent_governance_violations_total{{{here}}}"),
        0,
    )
    .await;
    series(
        prometheus,
        &format!("agent_task_duration_seconds_bucket{{{here},le=\"+Inf\"}} > 0"),
        2,
    )
    .await;

    let names = cluster::prometheus(PodLabels::NameOnly);
    for sample in series(names, &format!("agent_tasks_total{{{here}}} > 0"), 2).await {
        assert_eq!(sample.label("pod_template_hash"), None);
    }

    let pods = space
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    space.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    for pod in pods {
        let address = address(Some(&pod)).unwrap();
        space
            .wait("an agent goes", &pod.name_any(), |it: Option<&Pod>| {
                it.is_none()
            })
            .await;
        assert!(
            TcpStream::connect(&address).is_err(),
            "nobody listens on {address} any more"
        );
    }
}

#[tokio::test]
async fn pods_that_crash_or_never_get_ready_show_it() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let space = cluster.space("scripts").await;
    let waiting = |reason: &'static str| {
        move |pod: Option<&Pod>| {
            pod.and_then(waiting_reason)
                .is_some_and(|seen| seen == reason)
        }
    };
    space.apply(&pod(
        "crash",
        "example/web:1",
        json!({"test.serin.dev/crash": "true"}),
    ));
    space.apply(&pod(
        "pull",
        "example/web:1",
        json!({"test.serin.dev/waiting": "ImagePullBackOff"}),
    ));
    space.apply(&pod(
        "never",
        "example/web:1",
        json!({"test.serin.dev/ready-after": "never"}),
    ));
    space.apply(&pod(
        "soon",
        "example/web:1",
        json!({"test.serin.dev/ready-after": "300ms"}),
    ));
    space.apply(&pod(
        "flap",
        "example/web:1",
        json!({"test.serin.dev/flap": "300ms"}),
    ));
    space.apply(&pod("agent", "example/agent:crashing", json!({})));
    space
        .wait("a crashing pod waits", "crash", waiting("CrashLoopBackOff"))
        .await;
    space
        .wait(
            "a pod without image waits",
            "pull",
            waiting("ImagePullBackOff"),
        )
        .await;
    space
        .wait(
            "a crashing agent waits",
            "agent",
            waiting("CrashLoopBackOff"),
        )
        .await;
    space
        .wait("a slow pod gets ready", "soon", |pod: Option<&Pod>| {
            is_ready(pod)
        })
        .await;
    for _ in 0..2 {
        space
            .wait("a flapping pod is ready", "flap", |pod: Option<&Pod>| {
                is_ready(pod)
            })
            .await;
        space
            .wait("a flapping pod is not", "flap", |pod: Option<&Pod>| {
                !is_ready(pod)
            })
            .await;
    }
    let runs =
        |pod: Option<&Pod>| pod.and_then(|pod| pod.status.clone()?.phase) == Some("Running".into());
    let never = space
        .wait("a pod that never gets ready runs", "never", runs)
        .await;
    assert!(!is_ready(never.as_ref()));
}

#[tokio::test]
async fn a_jobs_pods_end_as_they_are_told() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let space = cluster.space("jobs").await;
    space.apply(&job("good", json!({})));
    space.apply(&job("bad", json!({"test.serin.dev/exit-code": "1"})));
    let ended = |kind: &'static str| {
        move |job: Option<&Job>| {
            let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == kind && c.status == "True"))
        }
    };
    space
        .wait("a Job completes", "good", ended("Complete"))
        .await;
    space.wait("a Job fails", "bad", ended("Failed")).await;
}

/// As many series as `count`, as soon as the query gives so many.
pub(crate) async fn series(prometheus: &Prometheus, query: &str, count: usize) -> Vec<Sample> {
    let ask = || {
        prometheus
            .query(query)
            .ok()
            .filter(|series| series.len() == count)
    };
    until(&format!("{query} has {count} series"), ask).await
}

/// Where a pod's process listens, once it is said.
pub(crate) fn address(pod: Option<&Pod>) -> Option<String> {
    pod?.annotations().get("serin.dev/process-address").cloned()
}

fn available(count: i32) -> impl Fn(Option<&Deployment>) -> bool {
    move |deployment| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.available_replicas) == Some(count)
    }
}

fn waiting_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn job(name: &str, annotations: Value) -> String {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "example/job:1"}]},
        }},
    })
    .to_string()
}

fn deployment(image: &str, replicas: u32, annotations: Value, env: Value) -> String {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {"terminationGracePeriodSeconds": 5, "containers": [{
                "name": "app", "image": image, "env": env, "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}},
            }]},
        }},
    })
    .to_string()
}

/// A pod of one container.
pub(crate) fn pod(name: &str, image: &str, annotations: Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": image}]},
    })
    .to_string()
}
