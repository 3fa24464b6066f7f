//! Ways back and steps of our own against a real control plane, whose defaults the templates get;
//! and a canary that another controller of this API left in the middle.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::api::canary::CanaryStep;
use serin::planner::revision::step_hash;

use crate::bench::http;
use crate::cluster::{Space, dir};
use crate::controller::{History, Serin, at, phase, set_uids, space, web};

const WAITING: &str = "{steps: [{setWeight: 40}, {pause: {}}, {setWeight: 80}, {pause: {}}]}";

fn sizes(all: &[(&str, i32)]) -> Vec<(String, i32)> {
    let own = |(tag, n): &(&str, i32)| ((*tag).to_owned(), *n);
    all.iter().map(own).collect()
}

/// Healthy on the version of another hash than `not`.
fn healthy_on_another(not: Option<String>) -> impl Fn(Option<&Rollout>) -> bool {
    move |r| phase("Healthy")(r) && r.unwrap().status.as_ref().unwrap().stable_rs != not
}

#[tokio::test]
async fn undo_takes_the_old_replica_set_whoever_does_it() {
    let Some(space) = space("undo").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{steps: [{setWeight: 50}]}";
    space.apply(&web("1", 2, steps));
    let first = space.reaches("web", "v1 is there", phase("Healthy")).await;
    space.apply(&web("2", 2, steps));
    let other = healthy_on_another(first.stable_rs.clone());
    let second = space.reaches("web", "v2 is promoted", other).await;
    let sets = set_uids(&space).await;

    space.command("web", "undo", "true");
    let other = healthy_on_another(second.stable_rs.clone());
    let back = space.reaches("web", "v1 is back", other).await;
    assert_eq!(back.stable_rs, first.stable_rs, "the very ReplicaSet");
    let how = back.duration.and_then(|d| d.completion_status);
    assert_eq!(how.as_deref(), Some("RolledBack"), "by the steps");
    assert_eq!(set_uids(&space).await, sets);

    // Applied again, its manifest leaves a template of which only some parts have the API server's
    // defaults; as it was written, it has none. Both are this version.
    space.apply(&web("1", 2, steps));
    let settled =
        |r: Option<&Rollout>| phase("Healthy")(r) && r.unwrap().metadata.generation > Some(3);
    let same = space.reaches("web", "it is applied again", settled).await;
    assert_eq!(same.stable_rs, first.stable_rs);
    assert_eq!(set_uids(&space).await, sets);
    let file = dir().join(format!("{}-again.yaml", space.namespace));
    std::fs::write(&file, web("1", 2, steps)).unwrap();
    space.kubectl(&["replace", "-f", &file.display().to_string()]);
    let settled =
        |r: Option<&Rollout>| phase("Healthy")(r) && r.unwrap().metadata.generation > Some(4);
    let same = space
        .reaches("web", "it is the same version", settled)
        .await;
    assert_eq!(same.stable_rs, first.stable_rs);
    assert_eq!(set_uids(&space).await, sets);

    // The kubectl plugin writes back what the ReplicaSet holds, without the hash label.
    let name = format!("web-{}", second.stable_rs.unwrap());
    let set = space.api::<ReplicaSet>().get(&name).await.unwrap();
    let mut template = serde_json::to_value(set.spec.unwrap().template).unwrap();
    let labels = template.pointer_mut("/metadata/labels").unwrap();
    labels
        .as_object_mut()
        .unwrap()
        .remove("rollouts-pod-template-hash");
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    space.kubectl(&[
        "patch",
        "rollout",
        "web",
        "--type=json",
        "-p",
        &patch.to_string(),
    ]);
    let other = healthy_on_another(first.stable_rs);
    space.reaches("web", "v2 is back", other).await;
    assert_eq!(set_uids(&space).await, sets, "no third ReplicaSet");
    assert_eq!(space.sizes().await, sizes(&[("1", 0), ("2", 2)]));
}

#[tokio::test]
async fn a_fast_undo_skips_what_the_steps_ask_for() {
    let Some(space) = space("undo-fast").await else {
        return;
    };
    let serin = Serin::start(&space, &[]);
    space.apply(&web("1", 3, WAITING));
    let first = space.reaches("web", "v1 is there", phase("Healthy")).await;
    space.apply(&web("2", 3, WAITING));
    space.reaches("web", "v2 waits", at(1, "Paused")).await;
    space.command("web", "promote", "full");
    let other = healthy_on_another(first.stable_rs.clone());
    let second = space.reaches("web", "v2 is promoted", other).await;
    assert_eq!(
        second.duration.unwrap().completion_status.as_deref(),
        Some("FastPromoted")
    );

    let history = History::of(&space, "web").await;
    space.command("web", "undo", "1,fast");
    let other = healthy_on_another(second.stable_rs);
    let how = |r: &Rollout| {
        let duration = r.status.as_ref()?.duration.clone()?;
        duration.completion_status
    };
    let is_back =
        |r: Option<&Rollout>| other(r) && r.and_then(how).as_deref() == Some("FastRolledBack");
    let back = space.reaches("web", "v1 is back", is_back).await;
    assert_eq!(back.stable_rs, first.stable_rs);
    let pauses = history.of_what(|s| s.pause_conditions.clone());
    assert!(pauses.is_empty(), "a pause was taken: {pauses:?}");
    let completed = space.noted("web", "RolloutCompleted", 3).await;
    assert!(completed[2].ends_with(": Fast rollback"), "{completed:?}");
    serin.ready().await;
    let (_, metrics) = http::get(serin.metrics, "/metrics").unwrap();
    let line = "rollout_duration_seconds_count{status=\"FastRolledBack\"} 1";
    assert!(metrics.contains(line), "{line} is not in\n{metrics}");
}

#[tokio::test]
async fn a_retry_goes_on_at_the_pause_that_was_aborted() {
    let Some(space) = space("retry-step").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 5, WAITING));
    space.reaches("web", "v1 is there", phase("Healthy")).await;
    space.apply(&web("2", 5, WAITING));
    space.reaches("web", "v2 waits", at(1, "Paused")).await;
    space.command("web", "promote", "true");
    let waits = space
        .reaches("web", "it waits again", at(3, "Paused"))
        .await;
    space.command("web", "abort", "a mistake");
    space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    let history = History::of(&space, "web").await;
    space.command("web", "retry", "step");
    space
        .reaches("web", "it waits there again", at(3, "Paused"))
        .await;
    assert_eq!(space.sizes().await, sizes(&[("1", 1), ("2", 4)]));
    let steps = history.steps(&waits.current_pod_hash.unwrap());
    assert_eq!(steps, [0, 3], "the steps before are not taken again");
}

#[tokio::test]
async fn a_ramp_goes_up_by_itself_and_a_pause_ends_by_itself() {
    let Some(space) = space("ramp").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{steps: [{ramp: {from: 20, to: 60, by: 20, every: 1s}}, {pause: {timeout: 2s}}]}";
    space.apply(&web("1", 5, steps));
    space.reaches("web", "v1 is there", phase("Healthy")).await;
    let history = History::of(&space, "web").await;
    space.apply(&web("2", 5, steps));
    let aborted = space
        .reaches("web", "nobody answers", phase("Degraded"))
        .await;
    let message = aborted.message.unwrap();
    assert!(
        message.contains("nobody promoted it at the pause of step 2 within 2s"),
        "{message}"
    );
    let weights = history.of_what(|s| {
        let is_up = s.abort != Some(true);
        s.serin
            .as_ref()?
            .ramp
            .as_ref()
            .filter(|_| is_up)
            .map(|level| level.weight)
    });
    assert_eq!(weights, [20, 40, 60]);
    let told = space.noted("web", "RolloutStepCompleted", 1).await;
    assert_eq!(
        told,
        ["Rollout step 1/2 completed (ramp: 20 to 60 by 20 every 1s)"]
    );
}

/// Uids of the pods that are not on their way out.
pub(crate) async fn pods(space: &Space) -> Vec<String> {
    let all = space
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let lasting = all
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let mut uids: Vec<String> = lasting.filter_map(ResourceExt::uid).collect();
    uids.sort();
    uids
}

/// A ReplicaSet as the peer makes it: its own hash, no digest of ours.
pub(crate) fn set_of_the_peer(
    rollout: &Rollout,
    hash: &str,
    image: &str,
    replicas: i32,
    revision: u32,
) -> Value {
    let mut template = rollout.spec.template.clone().unwrap().value().clone();
    template["spec"]["containers"][0]["image"] = json!(image);
    template["metadata"]["labels"]["rollouts-pod-template-hash"] = json!(hash);
    let labels = template["metadata"]["labels"].clone();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("web-{hash}"), "labels": labels,
            "annotations": {"rollout.argoproj.io/revision": revision.to_string(),
                "rollout.argoproj.io/desired-replicas": rollout.spec.replicas.unwrap().to_string()},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web",
                "uid": rollout.metadata.uid, "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    })
}

/// What the peer reads to go on: nothing of it may be lost on us.
fn cursor(rollout: &Rollout) -> Value {
    let status = serde_json::to_value(rollout.status.as_ref().unwrap()).unwrap();
    let fields = [
        "currentPodHash",
        "stableRS",
        "currentStepHash",
        "currentStepIndex",
        "controllerPause",
    ];
    let mut read: serde_json::Map<String, Value> = fields
        .iter()
        .map(|field| ((*field).to_owned(), status[*field].clone()))
        .collect();
    read.insert(
        "reasons".into(),
        status["pauseConditions"][0]["reason"].clone(),
    );
    Value::Object(read)
}

#[tokio::test]
async fn a_canary_left_by_the_peer_goes_on_and_is_handed_back() {
    let Some(space) = space("takeover").await else {
        return;
    };
    // As the peer leaves it at the first of two pauses.
    space.apply(&web("2", 5, WAITING));
    let rollout = space.rollout("web").await;
    let v1 = set_of_the_peer(&rollout, "6f7b8c9d4", "example/web:1", 3, 1);
    let v2 = set_of_the_peer(&rollout, "5d4c9b2f6", "example/web:2", 2, 2);
    space.apply(&v1.to_string());
    space.apply(&v2.to_string());
    for hash in ["6f7b8c9d4", "5d4c9b2f6"] {
        let ready = |set: Option<&ReplicaSet>| {
            set.and_then(|s| s.status.as_ref())
                .is_some_and(|s| s.available_replicas == Some(s.replicas) && s.replicas > 0)
        };
        space
            .wait("its pods are there", &format!("web-{hash}"), ready)
            .await;
    }
    let steps: Vec<CanaryStep> = serde_json::from_value(
        json!([{"setWeight": 40}, {"pause": {}}, {"setWeight": 80}, {"pause": {}}]),
    )
    .unwrap();
    let began = "2026-01-01T00:00:00Z";
    let left = json!({"status": {
        "HPAReplicas": 5, "availableReplicas": 5, "readyReplicas": 5, "replicas": 5, "updatedReplicas": 2,
        "canary": {}, "blueGreen": {}, "collisionCount": 0,
        "controllerPause": true, "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": began}],
        "currentPodHash": "5d4c9b2f6", "stableRS": "6f7b8c9d4", "selector": "app=web",
        "currentStepHash": step_hash(Some(&steps)), "currentStepIndex": 1,
        "observedGeneration": rollout.metadata.generation.unwrap().to_string(),
        "phase": "Paused", "message": "CanaryPauseStep",
        "conditions": [
            {"type": "Available", "status": "True", "reason": "AvailableReason", "message": "Rollout has minimum availability",
                "lastUpdateTime": began, "lastTransitionTime": began},
            {"type": "Completed", "status": "False", "reason": "RolloutCompleted", "message": "RolloutCompleted",
                "lastUpdateTime": began, "lastTransitionTime": began},
            {"type": "Paused", "status": "True", "reason": "RolloutPaused", "message": "Rollout is paused",
                "lastUpdateTime": began, "lastTransitionTime": began},
            {"type": "Progressing", "status": "Unknown", "reason": "RolloutPaused", "message": "Rollout is paused",
                "lastUpdateTime": began, "lastTransitionTime": began},
        ],
    }});
    let patch = |patch: &Value| {
        let text = patch.to_string();
        space.kubectl(&[
            "patch",
            "rollout",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            &text,
        ]);
    };
    patch(&left);
    space.kubectl(&[
        "annotate",
        "rollout",
        "web",
        "rollout.argoproj.io/revision=2",
    ]);
    let before = cursor(&space.rollout("web").await);
    let (sets, running) = (set_uids(&space).await, pods(&space).await);
    assert_eq!(running.len(), 5);

    let serin = Serin::start(&space, &[]);
    let ours = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.serin.as_ref().is_some_and(|s| s.step == Some(1)))
    };
    space.reaches("web", "serin has taken it over", ours).await;
    let taken = space.rollout("web").await;
    assert_eq!(cursor(&taken), before, "the same step, the same pause");
    let pauses = taken.status.unwrap().pause_conditions.unwrap();
    assert_eq!(pauses[0].start_time.as_ref().unwrap().0.to_string(), began);
    assert_eq!(set_uids(&space).await, sets);
    assert_eq!(pods(&space).await, running, "no pod was restarted");

    patch(&json!({"status": {"pauseConditions": null}}));
    space.reaches("web", "it goes on", at(3, "Paused")).await;
    assert_eq!(space.sizes().await, sizes(&[("1", 1), ("2", 4)]));
    assert_eq!(set_uids(&space).await, sets);

    // Handed back: what the peer looks at says step 4 of 4, paused.
    drop(serin);
    let back = space.rollout("web").await;
    let mut wanted = before.clone();
    wanted["currentStepIndex"] = json!(3);
    assert_eq!(cursor(&back), wanted);
    let status = back.status.unwrap();
    assert_eq!(
        status.observed_generation,
        back.metadata.generation.map(|g| g.to_string())
    );
    for (hash, revision) in [("6f7b8c9d4", "1"), ("5d4c9b2f6", "2")] {
        let set = space
            .api::<ReplicaSet>()
            .get(&format!("web-{hash}"))
            .await
            .unwrap();
        assert_eq!(set.annotations()["rollout.argoproj.io/revision"], revision);
        let spec = set.spec.unwrap();
        let labels = spec.template.unwrap().metadata.unwrap().labels.unwrap();
        assert_eq!(labels["rollouts-pod-template-hash"], hash);
        assert_eq!(
            spec.selector.match_labels.unwrap()["rollouts-pod-template-hash"],
            hash
        );
    }
}
