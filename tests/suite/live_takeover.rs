//! A blueGreen update as the peer leaves it at its pause, written from the contract: serin carries it on
//! without touching a pod, and what it leaves in turn is what the peer goes on from.

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use serde_json::{Value, json};
use serin::api::{POD_HASH_LABEL, Rollout};

use crate::cluster::{Space, until};
use crate::controller::{Serin, phase, set_uids, space};
use crate::live_blue_green::{pair, selects};
use crate::live_canary_more::{pods, set_of_the_peer};

const MANUAL: &str = "{activeService: live, previewService: next, autoPromotionEnabled: false, scaleDownDelaySeconds: 600, activeMetadata: {labels: {role: active}}, previewMetadata: {labels: {role: preview}}}";

const OLD: &str = "7c6d5f4b9";
const ACTIVE: &str = "6f7b8c9d4";
const NEW: &str = "5d4c9b2f6";
const BEGAN: &str = "2026-01-01T00:00:00Z";

/// A Service that the peer manages.
fn managed(name: &str, hash: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "web"}},
        "spec": {"selector": {"app": "web", POD_HASH_LABEL: hash}, "ports": [{"port": 80}]},
    })
    .to_string()
}

/// A ReplicaSet of the peer whose pods carry a role.
fn in_role(mut set: Value, role: &str) -> Value {
    set["metadata"]["annotations"]["rollout.argoproj.io/ephemeral-metadata"] =
        json!(json!({"labels": {"role": role}}).to_string());
    set["spec"]["template"]["metadata"]["labels"]["role"] = json!(role);
    set
}

/// The status that the peer writes at the pause before the switch (contract A15, A39, A41, B2).
fn at_the_pause(rollout: &Rollout) -> Value {
    let condition = |kind: &str, state: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": state, "reason": reason, "message": message,
            "lastUpdateTime": BEGAN, "lastTransitionTime": BEGAN})
    };
    json!({"status": {
        "HPAReplicas": 3, "availableReplicas": 3, "readyReplicas": 3, "replicas": 9, "updatedReplicas": 3,
        "blueGreen": {"activeSelector": ACTIVE, "previewSelector": NEW}, "canary": {},
        "controllerPause": true, "pauseConditions": [{"reason": "BlueGreenPause", "startTime": BEGAN}],
        "currentPodHash": NEW, "stableRS": ACTIVE, "currentStepHash": "",
        "selector": format!("app=web,{POD_HASH_LABEL}={ACTIVE}"),
        "observedGeneration": rollout.metadata.generation.unwrap().to_string(),
        "phase": "Paused", "message": "BlueGreenPause",
        "conditions": [
            condition("Available", "True", "AvailableReason", "Rollout has minimum availability"),
            condition("Completed", "False", "RolloutCompleted", "RolloutCompleted"),
            condition("Healthy", "False", "RolloutHealthy", "Rollout is not healthy"),
            condition("Paused", "True", "RolloutPaused", "Rollout is paused"),
            condition("Progressing", "Unknown", "RolloutPaused", "Rollout is paused"),
        ],
    }})
}

/// What the peer reads of a status to go on.
fn cursor(rollout: &Rollout) -> Value {
    let status = serde_json::to_value(rollout.status.as_ref().unwrap()).unwrap();
    let fields = [
        "blueGreen",
        "controllerPause",
        "currentPodHash",
        "pauseConditions",
        "selector",
        "stableRS",
        "HPAReplicas",
        "replicas",
        "updatedReplicas",
    ];
    let read = fields.iter().map(|field| (*field, status[field].clone()));
    read.collect()
}

async fn set(space: &Space, hash: &str) -> ReplicaSet {
    let name = format!("web-{hash}");
    space.api::<ReplicaSet>().get(&name).await.unwrap()
}

#[tokio::test]
async fn a_blue_green_left_by_the_peer_goes_on_and_is_handed_back() {
    let Some(space) = space("bgtakeover").await else {
        return;
    };
    space.apply(&managed("live", ACTIVE));
    space.apply(&managed("next", NEW));
    space.apply(&pair("3", MANUAL));
    let rollout = space.rollout("web").await;
    // The version before the stable one is inside its delay still.
    let mut old = set_of_the_peer(&rollout, OLD, "example/web:1", 3, 1);
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(30);
    let deadline = deadline.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    old["metadata"]["annotations"]["scale-down-deadline"] = json!(deadline);
    let active = set_of_the_peer(&rollout, ACTIVE, "example/web:2", 3, 2);
    let new = set_of_the_peer(&rollout, NEW, "example/web:3", 3, 3);
    for set in [old, in_role(active, "active"), in_role(new, "preview")] {
        space.apply(&set.to_string());
        let ready = |set: Option<&ReplicaSet>| {
            let status = set.and_then(|s| s.status.as_ref());
            status.is_some_and(|s| s.available_replicas == Some(3))
        };
        let name = set["metadata"]["name"].as_str().unwrap();
        space.wait("its pods are there", name, ready).await;
    }
    let patch = |patch: &Value| {
        let text = patch.to_string();
        let args = [
            "patch",
            "rollout",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            &text,
        ];
        space.kubectl(&args);
    };
    let revision = "rollout.argoproj.io/revision=3";
    space.kubectl(&["annotate", "rollout", "web", revision]);
    patch(&at_the_pause(&rollout));
    let before = cursor(&space.rollout("web").await);
    let (sets, running) = (set_uids(&space).await, pods(&space).await);
    assert_eq!(running.len(), 9);

    let mut serin = Serin::start(&space, &[]);
    let ours = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        phase("Paused")(r) && status.is_some_and(|s| s.serin.is_some())
    };
    space.reaches("web", "serin has taken it over", ours).await;
    // Whatever it does after a look of its own is done now, too.
    serin.kill_and_restart();
    serin.ready().await;
    until("it has looked again", || {
        let log = serin.log();
        let last = log.rsplit("at work").next()?;
        last.contains("turn").then_some(())
    })
    .await;
    let taken = space.rollout("web").await;
    assert_eq!(
        cursor(&taken),
        before,
        "the same pause, as the peer left it"
    );
    assert_eq!(set_uids(&space).await, sets, "no ReplicaSet is made");
    assert_eq!(pods(&space).await, running, "no pod was restarted");
    let old = set(&space, OLD).await;
    assert_eq!(old.annotations()["scale-down-deadline"], deadline);

    // A client of the peer's promotes.
    patch(&json!({"status": {"pauseConditions": null}}));
    let promoted = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        phase("Healthy")(r) && status.is_some_and(|s| s.stable_rs.as_deref() == Some(NEW))
    };
    space.reaches("web", "it is promoted", promoted).await;
    selects(&space, "live", Some(NEW)).await;
    assert_eq!(set_uids(&space).await, sets);
    assert_eq!(pods(&space).await, running, "all within their delays");

    // Handed back: what the peer looks at.
    drop(serin);
    let back = cursor(&space.rollout("web").await);
    assert_eq!(back["blueGreen"]["activeSelector"], NEW);
    assert_eq!(back["blueGreen"]["previewSelector"], NEW);
    assert_eq!(back["stableRS"], NEW);
    assert_eq!(back["pauseConditions"], Value::Null);
    assert_eq!(back["selector"], format!("app=web,{POD_HASH_LABEL}={NEW}"));
    for (hash, revision, role) in [(ACTIVE, "2", None), (NEW, "3", Some("active"))] {
        let set = set(&space, hash).await;
        let notes = set.annotations();
        assert_eq!(notes["rollout.argoproj.io/revision"], revision);
        assert_eq!(
            notes.contains_key("scale-down-deadline"),
            hash == ACTIVE,
            "{notes:?}"
        );
        let labels = set
            .spec
            .unwrap()
            .template
            .unwrap()
            .metadata
            .unwrap()
            .labels
            .unwrap();
        assert_eq!(labels[POD_HASH_LABEL], hash);
        assert_eq!(labels.get("role").map(String::as_str), role, "{hash}");
    }
}
