//! What the controller does to pods themselves, against a real control plane: restarts.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use serin::api::Rollout;

use crate::cluster::{Space, until};
use crate::controller::{Serin, at, phase, set_uids, space, web};

/// Names of the pods that are not on their way out.
pub(crate) async fn pods(space: &Space) -> Vec<String> {
    let all = space.api::<Pod>().list(&ListParams::default()).await;
    let mut names: Vec<_> = all
        .unwrap()
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .map(|pod| pod.name_any())
        .collect();
    names.sort();
    names
}

/// The restart that was asked for is on record as done.
pub(crate) fn restarted(rollout: Option<&Rollout>) -> bool {
    rollout.is_some_and(|r| {
        let done = r.status.as_ref().and_then(|s| s.restarted_at.clone());
        r.spec.restart_at.is_some() && done == r.spec.restart_at
    })
}

const BUDGET: &str = "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: MIN, selector: {matchLabels: {app: web}}}
";

#[tokio::test]
async fn a_restart_replaces_every_pod_and_honours_the_budget() {
    let Some(space) = space("restart").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 4, "{maxSurge: 1, maxUnavailable: 2}"));
    space.reaches("web", "it is there", phase("Healthy")).await;
    let before = pods(&space).await;
    // The budget lets none go: all of them stay, and a Warning says so.
    space.apply(&BUDGET.replace("MIN", "4"));
    let known = || {
        let budget = space.kubectl(&[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.currentHealthy}",
        ]);
        (budget == "4").then_some(())
    };
    until("the budget is known", known).await;
    space.command("web", "restart", "true");
    let told = space.noted("web", "EvictionRefused", 1).await;
    assert!(told[0].contains("disruption budget"), "{told:?}");
    assert_eq!(pods(&space).await, before);
    let status = space.rollout("web").await.status.unwrap();
    assert_eq!(status.message.as_deref(), Some("rollout is restarting"));

    // One at a time may go now: tried again without anybody's word.
    let least = least_available(&space);
    space.apply(&BUDGET.replace("MIN", "3"));
    space
        .reaches("web", "every pod is another", |r| {
            restarted(r) && phase("Healthy")(r)
        })
        .await;
    let after = pods(&space).await;
    assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
    assert_eq!(after.len(), 4);
    assert_eq!(
        least.stop(),
        3,
        "the budget and the floor, and one at a time"
    );
    assert_eq!(set_uids(&space).await.len(), 1, "no new revision");
}

#[tokio::test]
async fn the_only_pod_is_restarted_without_a_gap() {
    let Some(space) = space("restart-one").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 1, "{}"));
    space.reaches("web", "it is there", phase("Healthy")).await;
    let before = pods(&space).await;
    let least = least_available(&space);
    space.command("web", "restart", "true");
    space
        .reaches("web", "the pod is another", |r| {
            restarted(r) && phase("Healthy")(r)
        })
        .await;
    let after = pods(&space).await;
    assert!(after.len() == 1 && after != before, "{after:?}");
    assert_eq!(least.stop(), 1, "somebody was always there");
}

const ROLES: &str = "{canaryMetadata: {labels: {role: canary}, annotations: {note: new}}, stableMetadata: {labels: {role: stable}},
  antiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: {weight: 10}}, steps: [{setWeight: 50}, {pause: {}}]}";

/// Pods by name and the label of their role.
async fn roles(space: &Space) -> Vec<(String, String, String)> {
    let all = space.api::<Pod>().list(&ListParams::default()).await;
    let mut roles: Vec<_> = all
        .unwrap()
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .map(|pod| {
            let role = pod.labels().get("role").cloned().unwrap_or_default();
            let note = pod.annotations().get("note").cloned().unwrap_or_default();
            (pod.name_any(), role, note)
        })
        .collect();
    roles.sort();
    roles
}

#[tokio::test]
async fn pods_carry_their_role_and_take_the_next_one_without_a_restart() {
    let Some(space) = space("roles").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 2, ROLES));
    space.reaches("web", "it is there", phase("Healthy")).await;
    let first = roles(&space).await;
    assert!(
        first
            .iter()
            .all(|(_, role, note)| role == "stable" && note.is_empty()),
        "{first:?}"
    );
    space.apply(&web("2", 2, ROLES));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    let both = roles(&space).await;
    let count = |wanted: &str| both.iter().filter(|(_, role, _)| role == wanted).count();
    assert_eq!((count("stable"), count("canary")), (1, 1), "{both:?}");
    let canary = both.iter().find(|(_, role, _)| role == "canary").unwrap();
    assert_eq!(canary.2, "new");
    let rule = "jsonpath={.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector.matchExpressions[0].values[0]}";
    let avoided = space.kubectl(&["get", "pod", &canary.0, "-o", rule]);
    assert_eq!(Some(avoided), paused.stable_rs);

    space.command("web", "promote", "full");
    let done = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && status.stable_rs == paused.current_pod_hash
    };
    space.reaches("web", "it is promoted", done).await;
    let settled = || {
        let set = format!("web-{}", paused.current_pod_hash.clone().unwrap());
        let record = space.kubectl(&["get", "rs", &set, "-o", "jsonpath={.metadata.annotations}"]);
        let affinity = space.kubectl(&[
            "get",
            "rs",
            &set,
            "-o",
            "jsonpath={.spec.template.spec.affinity}",
        ]);
        (record.contains(r#"\"pods\":true"#) && affinity.is_empty()).then_some(())
    };
    until("the role's records are settled", settled).await;
    let last = roles(&space).await;
    assert!(
        last.iter()
            .all(|(_, role, note)| role == "stable" && note.is_empty()),
        "{last:?}"
    );
    assert!(
        last.iter().any(|(name, ..)| *name == canary.0),
        "the canary's pod lives on"
    );
    assert_eq!(
        set_uids(&space).await.len(),
        2,
        "no revision was made of it"
    );
}

#[tokio::test]
async fn annotations_of_the_rollout_reach_its_replica_set_later_too() {
    let Some(space) = space("copies").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 1, "{}"));
    let status = space.reaches("web", "it is there", phase("Healthy")).await;
    let set = format!("web-{}", status.stable_rs.unwrap());
    let has = |wanted: &str| {
        let wanted = wanted.to_owned();
        move |set: Option<&ReplicaSet>| {
            set.is_some_and(|s| s.annotations().get("team") == Some(&wanted))
        }
    };
    for team in ["red", "blue"] {
        space.kubectl(&[
            "annotate",
            "--overwrite",
            "rollout",
            "web",
            &format!("team={team}"),
        ]);
        space.wait("it is copied", &set, has(team)).await;
    }
    space.kubectl(&["annotate", "rollout", "web", "team-"]);
    space.kubectl(&["annotate", "rollout", "web", "more=x"]);
    let both = |set: Option<&ReplicaSet>| {
        set.is_some_and(|s| {
            s.annotations().contains_key("more") && s.annotations().contains_key("team")
        })
    };
    space.wait("a removal is not passed on", &set, both).await;
}

/// Watches the available pods of the Rollout's ReplicaSets.
pub(crate) struct Least {
    seen: Arc<Mutex<i32>>,
    task: tokio::task::JoinHandle<()>,
}

impl Least {
    /// The fewest that there ever were.
    pub(crate) fn stop(self) -> i32 {
        self.task.abort();
        *self.seen.lock().unwrap()
    }
}

/// Begins to count the pods that are ready and stay.
pub(crate) fn least_available(space: &Space) -> Least {
    let seen = Arc::new(Mutex::new(i32::MAX));
    let (into, api) = (Arc::clone(&seen), space.api::<Pod>());
    let task = tokio::spawn(async move {
        let (store, writer) = reflector::store::<Pod>();
        let stream = reflector(writer, watcher(api, watcher::Config::default()));
        let mut stream = std::pin::pin!(stream.touched_objects());
        let mut has_listed = false;
        while stream.next().await.is_some() {
            let is_up = |pod: &Pod| {
                let ready = pod
                    .status
                    .iter()
                    .flat_map(|s| s.conditions.iter().flatten());
                let mut ready = ready.filter(|c| c.type_ == "Ready" && c.status == "True");
                pod.metadata.deletion_timestamp.is_none() && ready.next().is_some()
            };
            // The store is empty until the first list is complete.
            let all = store.state();
            has_listed |= !all.is_empty();
            if has_listed {
                let now = i32::try_from(all.iter().filter(|pod| is_up(pod)).count()).unwrap();
                let mut least = into.lock().unwrap();
                *least = now.min(*least);
            }
        }
    });
    Least { seen, task }
}
