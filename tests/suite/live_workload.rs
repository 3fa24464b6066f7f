//! Rollouts that refer to a workload, against a real control plane with real agents: templates from
//! elsewhere, and the way from a Deployment to a Rollout and back under constant requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::{reflector, watcher};
use serin::api::{Rollout, RolloutStatus};

use crate::cluster::{Space, until};
use crate::controller::{Serin, at, phase, set_uids, space, web};

/// A Deployment of agents, real processes that answer requests.
pub(crate) fn deployment(tag: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
{}",
        template(tag)
    )
}

fn template(tag: &str) -> String {
    format!(
        "  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: \"example/agent:{tag}\"
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}
"
    )
}

/// A Rollout that takes its pods from the Deployment `web`.
pub(crate) fn referring(replicas: u32, scale_down: &str, canary: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: {replicas}
  workloadRef: {{apiVersion: apps/v1, kind: Deployment, name: web, scaleDown: {scale_down}}}
  strategy: {{canary: {canary}}}
"
    )
}

fn size(deployment: Option<&Deployment>) -> Option<i32> {
    deployment?.spec.as_ref()?.replicas
}

fn available(wanted: i32) -> impl Fn(Option<&Deployment>) -> bool {
    move |d| {
        let status = d.and_then(|d| d.status.as_ref());
        size(d) == Some(wanted)
            && status.is_some_and(|s| s.available_replicas.unwrap_or(0) == wanted)
    }
}

#[tokio::test]
async fn the_template_of_a_deployment_goes_out_step_by_step() {
    let Some(space) = space("refers").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{steps: [{setWeight: 50}, {pause: {}}]}";
    // First the reference leads nowhere.
    space.apply(&referring(2, "onsuccess", steps));
    let lost = space
        .reaches("web", "it is refused", phase("Degraded"))
        .await;
    assert!(
        lost.message
            .unwrap()
            .contains("Deployment web is not found")
    );
    space.apply(&deployment("1", 2));
    let first = space
        .reaches("web", "it goes on when it is there", phase("Healthy"))
        .await;
    space
        .wait(
            "the Deployment is empty",
            "web",
            |d: Option<&Deployment>| size(d) == Some(0),
        )
        .await;
    let rollout = space.rollout("web").await;
    assert!(
        rollout.spec.template.is_none() && rollout.spec.selector.is_none(),
        "nothing is written back"
    );

    // Another version, applied as people do it, with its size: the steps are taken, and the
    // Deployment gives its pods up again.
    space.apply(&deployment("2", 2));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    assert_eq!(paused.stable_rs, first.stable_rs);
    space
        .wait(
            "the Deployment is empty again",
            "web",
            |d: Option<&Deployment>| size(d) == Some(0),
        )
        .await;
    let rollout = space.rollout("web").await;
    let generation = &rollout.annotations()["rollout.argoproj.io/workload-generation"];
    let status = rollout.status.clone().unwrap();
    let observed = status.workload_observed_generation;
    assert_eq!(Some(generation), observed.as_ref());
    space.command("web", "promote", "full");
    let done = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && status.stable_rs == paused.current_pod_hash
    };
    space.reaches("web", "it is promoted", done).await;
    // A change that is none of the template's makes no revision.
    let before = set_uids(&space).await;
    space.kubectl(&["annotate", "deployment", "web", "note=x"]);
    space.kubectl(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"minReadySeconds":1}}"#,
    ]);
    let seen = |r: Option<&Rollout>| {
        let r = r.unwrap();
        let generation = r
            .annotations()
            .get("rollout.argoproj.io/workload-generation");
        generation != Some(&observed.clone().unwrap()) && phase("Healthy")(Some(r))
    };
    space
        .reaches("web", "the other generation is seen", seen)
        .await;
    assert_eq!(set_uids(&space).await, before);
    // Back, with one command: the Deployment has the former template, and no ReplicaSet is made.
    space.command("web", "undo", "fast");
    let back = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && status.stable_rs == first.stable_rs
    };
    space.reaches("web", "it is back", back).await;
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let image = space.kubectl(&["get", "deployment", "web", "-o", image]);
    assert_eq!(image, "example/agent:1");
    assert_eq!(set_uids(&space).await, before);
}

/// The Deployment gets another image, and that version goes out to the end.
async fn next_version(space: &Space, first: &RolloutStatus) {
    space.kubectl(&["set", "image", "deployment/web", "app=example/agent:2"]);
    let done = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && status.stable_rs != first.stable_rs
    };
    space
        .reaches("web", "the next version is there", done)
        .await;
}

#[tokio::test]
async fn a_deployment_that_only_gives_its_template_keeps_its_pods() {
    let Some(space) = space("never").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&deployment("1", 2));
    space.apply(&referring(2, "never", "{}"));
    let first = space
        .reaches("web", "the Rollout is there", phase("Healthy"))
        .await;
    next_version(&space, &first).await;
    space
        .wait("both have their pods", "web", available(2))
        .await;
}

/// To a Rollout, another version, and back to the Deployment: whoever asks is always answered.
#[tokio::test]
async fn a_live_deployment_migrates_and_comes_back_without_a_lost_request() {
    let Some(space) = space("migrate").await else {
        return;
    };
    space.apply(&deployment("1", 3));
    space
        .wait("the Deployment is there", "web", available(3))
        .await;
    let load = Load::start(&space).await;
    let _serin = Serin::start(&space, &[]);
    let steps = "{steps: [{setWeight: 34}, {pause: {duration: 1s}}]}";
    let rollout = referring(3, "progressively", steps);
    let held = "metadata: {name: web, annotations: {serin.dev/restore-on-delete: 'true'}}";
    space.apply(&rollout.replace("metadata: {name: web}", held));
    let first = space
        .reaches("web", "the Rollout is there", phase("Healthy"))
        .await;
    space
        .wait("the Deployment is empty", "web", available(0))
        .await;
    let there = load.asked();
    next_version(&space, &first).await;
    let updated = load.asked();
    space.kubectl(&["delete", "rollout", "web", "--timeout=60s"]);
    space
        .wait("the Deployment is as it was", "web", available(3))
        .await;
    let no_sets = || {
        let pods = space.kubectl(&[
            "get",
            "pods",
            "-l",
            "rollouts-pod-template-hash",
            "-o",
            "name",
        ]);
        pods.is_empty().then_some(())
    };
    until("the Rollout's pods are gone", no_sets).await;
    let (asked, lost) = load.stop();
    eprintln!(
        "requests: {there} until the Rollout had taken over, {} during its update, {} on the way back; {} lost of {asked}",
        updated - there,
        asked - updated,
        lost.len()
    );
    assert!(
        asked > 100 && there > 5 && asked > updated,
        "too few to tell"
    );
    assert!(lost.is_empty(), "{lost:#?}");
}

/// Constant requests to whatever pods a Service would send them to.
struct Load {
    asked: Arc<AtomicU32>,
    lost: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Asks every 10 ms. The pods that are ready and not on their way out are the endpoints of a
    /// Service; one that does not even accept is passed over for the next, as proxies do.
    async fn start(space: &Space) -> Self {
        let (asked, lost) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (store, writer) = reflector::store::<Pod>();
        let stream = reflector(
            writer,
            watcher(
                space.api::<Pod>(),
                watcher::Config::default().labels("app=web"),
            ),
        );
        let follows = tokio::spawn(async move { stream.for_each(|_| async {}).await });
        store.wait_until_ready().await.unwrap();
        let (count, into) = (Arc::clone(&asked), Arc::clone(&lost));
        let asks = tokio::spawn(async move {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_secs(5))
                .build()
                .unwrap();
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            loop {
                tick.tick().await;
                let number = count.fetch_add(1, Ordering::Relaxed);
                let pods: BTreeMap<String, String> = store
                    .state()
                    .iter()
                    .filter_map(|pod| endpoint(pod))
                    .collect();
                let (client, into) = (client.clone(), Arc::clone(&into));
                tokio::spawn(async move {
                    if let Err(why) = ask(&client, &pods, number).await {
                        into.lock()
                            .unwrap()
                            .push(format!("request {number}: {why}"));
                    }
                });
            }
        });
        Self {
            asked,
            lost,
            tasks: vec![follows, asks],
        }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn stop(self) -> (u32, Vec<String>) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        (self.asked(), self.lost.lock().unwrap().clone())
    }
}

/// A pod that a Service sends requests to, and where its process listens.
fn endpoint(pod: &Pod) -> Option<(String, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let address = pod.annotations().get("serin.dev/process-address")?;
    (ready && pod.metadata.deletion_timestamp.is_none()).then(|| (pod.name_any(), address.clone()))
}

async fn ask(
    client: &reqwest::Client,
    pods: &BTreeMap<String, String>,
    number: u32,
) -> Result<(), String> {
    if pods.is_empty() {
        return Err("no pod is ready".to_owned());
    }
    let first = number as usize % pods.len();
    let mut why = String::new();
    for (name, address) in pods.iter().cycle().skip(first).take(pods.len()) {
        match client.get(format!("http://{address}/task")).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => return Err(format!("{name}: {}", answer.status())),
            Err(error) if error.is_connect() => why = format!("{name}: {error}"),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Err(why)
}

#[tokio::test]
async fn a_stable_replica_set_that_somebody_deletes_is_made_again() {
    let Some(space) = space("lost").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{steps: [{setWeight: 50}, {pause: {}}]}";
    space.apply(&web("1", 2, steps));
    let first = space.reaches("web", "it is there", phase("Healthy")).await;
    space.apply(&web("2", 2, steps));
    space.reaches("web", "it waits", at(1, "Paused")).await;
    let stable = format!("web-{}", first.stable_rs.clone().unwrap());
    let before = space.api::<ReplicaSet>().get(&stable).await.unwrap();
    space.kubectl(&["delete", "rs", &stable]);
    let another = |set: Option<&ReplicaSet>| {
        let available = set.and_then(|s| s.status.as_ref()?.available_replicas);
        set.is_some_and(|s| s.uid() != before.uid()) && available == Some(1)
    };
    let after = space.wait("it is there again", &stable, another).await;
    let template = |set: &ReplicaSet| set.spec.clone().unwrap().template;
    assert_eq!(template(&after.unwrap()), template(&before));
    // It is as good as the old one: an abort goes back to it.
    space.command("web", "abort", "true");
    space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    let full = |set: Option<&ReplicaSet>| {
        set.and_then(|s| s.status.as_ref()?.available_replicas) == Some(2)
    };
    space.wait("all pods are stable again", &stable, full).await;
    // With the next promotion nothing is kept any more.
    space.command("web", "promote", "full");
    space
        .reaches("web", "it is promoted", phase("Healthy"))
        .await;
    let none = || {
        let names = space.kubectl(&["get", "controllerrevisions", "-o", "name"]);
        names.is_empty().then_some(())
    };
    until("nothing is kept", none).await;
}
