//! The bench's parts when they are killed: what is lost, what comes back, and that nothing is left behind.
//! Needs `SERIN_APISERVER`.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::bench::control_plane::ControlPlane;
use crate::bench::node::Node;
use crate::bench::programs::example;
use crate::bench::prometheus::{PodLabels, Prometheus};
use crate::bench_smoke::{address, pod, series};
use crate::cluster::{self, client, until, wait};

#[tokio::test]
async fn a_killed_prometheus_comes_back_with_its_data() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let space = cluster.space("outage").await;
    space.apply(&pod(
        "agent",
        "ghcr.io/org/astradesk/support-agent:1.0.1",
        json!({}),
    ));
    let dir = cluster::dir().join("prometheus-outage");
    let mut prometheus = Prometheus::start(&dir, &cluster.plane, PodLabels::All).unwrap();
    let here = format!("namespace=\"{}\"", space.namespace);
    series(&prometheus, &format!("agent_tasks_total{{{here}}}"), 1).await;
    // A label that a pod gets later is on its series from then on.
    space.kubectl(&["label", "pod/agent", "role=canary"]);
    let labelled = format!("up{{{here},role=\"canary\"}}");
    series(&prometheus, &labelled, 1).await;

    prometheus.kill();
    assert!(prometheus.query("up").is_err());
    prometheus.restart().unwrap();
    let before = prometheus.query(&format!("up{{{here}}}")).unwrap();
    assert!(
        !before.is_empty(),
        "what was scraped before the end is still there"
    );
    // `timestamp` gives the time of the scrape itself: one that was made after the restart.
    let restarted = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let again = format!("timestamp({labelled}) > {restarted}");
    series(&prometheus, &again, 1).await;
}

#[tokio::test]
async fn a_control_plane_knows_its_users_and_survives_its_api_server() {
    if !cluster::is_wanted() {
        return;
    }
    let mut plane = ControlPlane::start(&cluster::dir().join("own-plane")).unwrap();
    let serin = client(&plane.serin).await;
    let maps: Api<ConfigMap> = Api::namespaced(serin, "default");
    let refused = maps.list(&ListParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));

    plane.let_serin_do_everything().unwrap();
    let map = serde_json::from_value(json!({"metadata": {"name": "note"}})).unwrap();
    // A role that was just bound takes a moment to reach the authorizer.
    let mut created = Err(String::new());
    for _ in 0..50 {
        created = maps
            .create(&PostParams::default(), &map)
            .await
            .map_err(|refusal| refusal.to_string());
        if created.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    created.unwrap();
    let audit = std::fs::read_to_string(plane.audit_log()).unwrap();
    let events = audit
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let done =
        events.filter(|event| event["verb"] == "create" && event["responseStatus"]["code"] == 201);
    assert_eq!(
        done.count(),
        1,
        "the one write of the user serin is in the audit log"
    );

    plane.kill_apiserver();
    assert!(maps.get("note").await.is_err());
    plane.start_apiserver().unwrap();
    maps.get("note").await.unwrap();
}

#[tokio::test]
async fn a_node_that_dies_takes_its_agents_along_and_starts_them_again() {
    if !cluster::is_wanted() {
        return;
    }
    let dir = cluster::dir().join("dying-node");
    let plane = ControlPlane::start(&dir).unwrap();
    let pods: Api<Pod> = Api::namespaced(client(&plane.admin).await, "default");
    let mut node = Node::start(&dir, &plane, "node-1", &[]).unwrap();
    plane
        .apply(&pod("agent", "example/agent:1", json!({})))
        .unwrap();
    let listens = |address: &str| TcpStream::connect(address).is_ok().then_some(());
    let pod = wait(
        &pods,
        "an agent has an address",
        "agent",
        |pod: Option<&Pod>| address(pod).is_some(),
    )
    .await;
    let before = address(pod.as_ref()).unwrap();
    until("the agent listens", || listens(&before)).await;

    node.process().kill();
    until("the agent of a dead node dies", || {
        listens(&before).is_none().then_some(())
    })
    .await;
    drop(node);
    let _node = Node::start(&dir, &plane, "node-1", &[]).unwrap();
    let moved = |pod: Option<&Pod>| address(pod).is_some_and(|now| now != before);
    let pod = wait(&pods, "the agent has another address", "agent", moved).await;
    let after = address(pod.as_ref()).unwrap();
    until("the agent listens again", || listens(&after)).await;
}

#[tokio::test]
async fn what_the_bench_has_started_dies_with_it() {
    if !cluster::is_wanted() {
        return;
    }
    let mut bench = Command::new(example("bench").unwrap());
    bench
        .arg("--dir")
        .arg(cluster::dir().join("kept"))
        .stdout(Stdio::piped());
    let mut bench = bench.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(bench.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let places: Value = serde_json::from_str(&line).unwrap();
    let listens = |place: &str| {
        let address = places[place]
            .as_str()
            .and_then(|url| url.rsplit('/').next())
            .unwrap();
        TcpStream::connect(address).is_ok()
    };
    assert!(listens("apiserver") && listens("prometheus"));

    // As a crash of it would: nothing can be cleaned up.
    bench.kill().unwrap();
    bench.wait().unwrap();
    let gone = || (!listens("apiserver") && !listens("prometheus")).then_some(());
    until("all that was started has ended", gone).await;
}
