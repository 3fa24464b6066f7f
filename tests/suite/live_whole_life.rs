//! What a canary meets in its life, on a real control plane: ways back, pauses of people, sizes that
//! change, deadlines, history, freezes of a whole cluster, and ReplicaSets that somebody deletes.

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::ListParams;
use serin::api::{CREATED, Rollout, RolloutStatus, WAS_STABLE};

use crate::cluster::Space;
use crate::controller::{History, Serin, at, phase, space, web};

const TWO_PAUSES: &str = "{steps: [{setWeight: 25}, {pause: {}}, {setWeight: 50}, {pause: {}}]}";

/// A manifest with one more line in its spec.
pub(crate) fn with(manifest: &str, line: &str) -> String {
    manifest.replacen("spec:\n", &format!("spec:\n  {line}\n"), 1)
}

/// A manifest whose pods behave as the node's annotations say.
fn played(manifest: &str, annotation: &str) -> String {
    let labels = "metadata: {labels: {app: web}}";
    let both = format!("metadata: {{labels: {{app: web}}, annotations: {{{annotation}}}}}");
    manifest.replacen(labels, &both, 1)
}

fn status(rollout: Option<&Rollout>) -> Option<&RolloutStatus> {
    rollout?.status.as_ref()
}

pub(crate) fn is_aborted(rollout: Option<&Rollout>) -> bool {
    phase("Degraded")(rollout) && status(rollout).is_some_and(|s| s.abort == Some(true))
}

/// Healthy, with the version of another hash than these.
fn healthy_beside<'a>(not: &'a RolloutStatus) -> impl Fn(Option<&Rollout>) -> bool + 'a {
    move |r| phase("Healthy")(r) && status(r).is_some_and(|s| s.stable_rs != not.stable_rs)
}

async fn set_of(space: &Space, hash: &str) -> ReplicaSet {
    let name = format!("web-{hash}");
    space.api::<ReplicaSet>().get(&name).await.unwrap()
}

fn note(set: &ReplicaSet, key: &str) -> Option<String> {
    set.annotations().get(key).cloned()
}

pub(crate) async fn sizes_are(space: &Space, what: &str, wanted: &[(&str, i32)]) {
    let wanted: Vec<(String, i32)> = wanted
        .iter()
        .map(|(tag, n)| ((*tag).to_owned(), *n))
        .collect();
    for _ in 0..300 {
        if space.sizes().await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{what}: {:?}, wanted {wanted:?}", space.sizes().await);
}

/// The canary's ReplicaSet is deleted twice: in the middle of the steps, and after an abort.
#[tokio::test]
async fn a_deleted_canary_goes_on_at_its_step_and_an_abort_stands() {
    let Some(space) = space("lost-canary").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 4, TWO_PAUSES));
    space.reaches("web", "v1 is there", phase("Healthy")).await;
    space.apply(&web("2", 4, TWO_PAUSES));
    space.reaches("web", "it waits", at(1, "Paused")).await;
    space.command("web", "promote", "true");
    let waits = space
        .reaches("web", "it waits again", at(3, "Paused"))
        .await;
    let hash = waits.current_pod_hash.clone().unwrap();
    let before = set_of(&space, &hash).await;

    let history = History::of(&space, "web").await;
    space.kubectl(&["delete", "rs", &before.name_any()]);
    let again = |set: Option<&ReplicaSet>| {
        let available = set.and_then(|s| s.status.as_ref()?.available_replicas);
        set.is_some_and(|s| s.uid() != before.uid()) && available == Some(2)
    };
    space
        .wait("it is there again", &before.name_any(), again)
        .await;
    let told = space.noted("web", "CanaryRestored", 1).await;
    assert!(told[0].contains("goes on at step 4/4"), "{told:?}");
    space
        .reaches("web", "it waits where it stood", at(3, "Paused"))
        .await;
    assert_eq!(history.steps(&hash), [3], "no step was taken again");

    space.command("web", "abort", "no good");
    space.reaches("web", "it is aborted", is_aborted).await;
    sizes_are(&space, "back at v1", &[("1", 4), ("2", 0)]).await;
    space.kubectl(&["delete", "rs", &before.name_any()]);
    let told = space.noted("web", "CanaryRestored", 2).await;
    assert!(told[1].contains("stays aborted"), "{told:?}");
    let last = space.reaches("web", "it stays aborted", is_aborted).await;
    assert!(last.aborted_at.is_some());
    sizes_are(&space, "nothing moved", &[("1", 4), ("2", 0)]).await;
}

/// A restored stable ReplicaSet is as old as it was, so a rollbackWindow opens for v1 and not for the
/// update; an aborted version gets no fast way back, by window or by undo.
#[tokio::test]
async fn the_rollback_window_and_undo_know_what_was_good() {
    let Some(space) = space("window").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{steps: [{setWeight: 50}, {pause: {}}]}";
    let of = |tag: &str| with(&web(tag, 2, steps), "rollbackWindow: {revisions: 5}");
    space.apply(&of("1"));
    let v1 = space.reaches("web", "v1 is there", phase("Healthy")).await;
    let first = set_of(&space, v1.stable_rs.as_ref().unwrap()).await;

    // Stable is deleted: what is made again is older than the update, which goes on waiting.
    space.apply(&of("2"));
    space.reaches("web", "v2 waits", at(1, "Paused")).await;
    space.kubectl(&["delete", "rs", &first.name_any()]);
    space.noted("web", "StableRestored", 1).await;
    let restored = |set: Option<&ReplicaSet>| {
        let available = set.and_then(|s| s.status.as_ref()?.available_replicas);
        set.is_some_and(|s| s.uid() != first.uid()) && available == Some(1)
    };
    let set = space
        .wait("v1 is there again", &first.name_any(), restored)
        .await
        .unwrap();
    let made = first.creation_timestamp().unwrap().0.to_string();
    assert_eq!(note(&set, CREATED), Some(made));
    assert_eq!(note(&set, WAS_STABLE).as_deref(), Some("true"));
    space
        .reaches("web", "v2 still waits", at(1, "Paused"))
        .await;

    // v2 is aborted, v3 promoted; v2 takes its steps again, v1 needs none.
    space.command("web", "abort", "no good");
    space.reaches("web", "v2 is aborted", is_aborted).await;
    space.apply(&of("3"));
    space.reaches("web", "v3 waits", at(1, "Paused")).await;
    space.command("web", "promote", "full");
    let v3 = space
        .reaches("web", "v3 is promoted", healthy_beside(&v1))
        .await;
    space.apply(&of("2"));
    let waits = space
        .reaches("web", "v2 takes its steps", at(1, "Paused"))
        .await;
    assert_ne!(waits.current_pod_hash, v3.stable_rs);
    let history = History::of(&space, "web").await;
    space.apply(&of("1"));
    let back = space
        .reaches("web", "v1 is back", healthy_beside(&v3))
        .await;
    assert_eq!(back.stable_rs, v1.stable_rs);
    let hash = v1.stable_rs.clone().unwrap();
    assert_eq!(history.steps(&hash), [2], "no step was taken");

    // From v1 an undo goes to v3, past v2.
    space.command("web", "undo", "fast");
    let undone = space
        .reaches("web", "v3 is back", healthy_beside(&v1))
        .await;
    assert_eq!(undone.stable_rs, v3.stable_rs);
}

/// pause and resume by command, an autoscaler's patch of the scale sub-resource, and an abort under
/// `spec.paused`.
#[tokio::test]
async fn people_and_an_autoscaler_change_an_update_under_way() {
    let Some(space) = space("under-way").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{maxSurge: 1, constantReplicas: true, replicaProgressThreshold: {type: Percent, value: 50}, \
                 steps: [{setWeight: 25}, {pause: {}}, {setWeight: 75}, {pause: {}}]}";
    space.apply(&web("1", 4, steps));
    space.reaches("web", "v1 is there", phase("Healthy")).await;
    space.apply(&web("2", 4, steps));
    space.reaches("web", "it waits", at(1, "Paused")).await;
    sizes_are(&space, "a quarter", &[("1", 3), ("2", 1)]).await;

    // As a HorizontalPodAutoscaler does it.
    space.kubectl(&["scale", "rollout", "web", "--replicas=8"]);
    sizes_are(&space, "sizes follow in the pause", &[("1", 6), ("2", 2)]).await;
    let follows = |r: Option<&Rollout>| {
        at(1, "Paused")(r) && status(r).is_some_and(|s| s.hpa_replicas == Some(8))
    };
    space
        .reaches(
            "web",
            "the pause goes on, and the autoscaler reads its pods",
            follows,
        )
        .await;

    space.command("web", "pause", "true");
    let manual = |r: Option<&Rollout>| {
        status(r).is_some_and(|s| s.message.as_deref() == Some("manually paused"))
    };
    space.reaches("web", "it is paused", manual).await;
    space.kubectl(&["scale", "rollout", "web", "--replicas=4"]);
    space
        .reaches("web", "it stays paused", |r| {
            manual(r) && phase("Paused")(r)
        })
        .await;
    sizes_are(&space, "nothing is scaled", &[("1", 6), ("2", 2)]).await;
    space.command("web", "resume", "true");
    sizes_are(&space, "sizes follow again", &[("1", 3), ("2", 1)]).await;
    space.reaches("web", "it waits", at(1, "Paused")).await;

    space.command("web", "pause", "true");
    space.reaches("web", "it is paused again", manual).await;
    space.command("web", "abort", "enough");
    space.reaches("web", "it is aborted", is_aborted).await;
    sizes_are(&space, "back at v1", &[("1", 4), ("2", 0)]).await;
    assert_ne!(space.rollout("web").await.spec.paused, Some(true));
}

/// A version that never gets ready is aborted by the deadline; one that cannot make its pods, while it
/// is stable, holds no good one.
#[tokio::test]
async fn a_deadline_aborts_and_a_gradual_rollback_goes_down_in_steps() {
    let Some(space) = space("deadline").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{gradualRollback: {by: 40, every: 2s}, steps: [{setWeight: 75}, {pause: {}}]}";
    let of = |tag: &str| {
        let lines = "progressDeadlineSeconds: 5\n  progressDeadlineAbort: true";
        with(&web(tag, 4, steps), lines)
    };
    space.apply(&of("1"));
    space.reaches("web", "v1 is there", phase("Healthy")).await;
    space.apply(&played(&of("2"), "test.serin.dev/ready-after: never"));
    let late = space.reaches("web", "it is aborted", is_aborted).await;
    let message = late.message.unwrap();
    assert!(message.contains("timed out progressing"), "{message}");
    let duration = late.duration.unwrap();
    assert_eq!(duration.completion_status.as_deref(), Some("Aborted"));
    sizes_are(&space, "back at v1", &[("1", 4), ("2", 0)]).await;

    // A good one goes to its pause, and back in steps.
    space.apply(&of("3"));
    space.reaches("web", "v3 waits", at(1, "Paused")).await;
    let history = History::of(&space, "web").await;
    space.command("web", "abort", "slow");
    space.reaches("web", "it is aborted", is_aborted).await;
    sizes_are(&space, "back at v1", &[("1", 4), ("2", 0), ("3", 0)]).await;
    let weights = history.of_what(|s| Some(s.serin.as_ref()?.descent.as_ref()?.weight));
    assert_eq!(weights, [35], "75, 35, 0");
    let sets = space.api::<ReplicaSet>();
    let sets = sets.list(&ListParams::default()).await.unwrap();
    let marks: Vec<_> = sets.iter().map(|s| note(s, WAS_STABLE)).collect();
    assert!(marks.contains(&Some("false".to_owned())), "{marks:?}");
}

/// A freeze of the whole cluster, for this namespace; `promote=full` goes through it and is recorded.
#[tokio::test]
async fn a_freeze_of_the_cluster_holds_until_a_full_promotion_goes_through() {
    let Some(space) = space("cluster-freeze").await else {
        return;
    };
    let serin = Serin::start(&space, &[]);
    serin.ready().await;
    let steps = "{steps: [{setWeight: 50}, {pause: {timeout: 1h}}]}";
    space.apply(&web("1", 2, steps));
    let v1 = space.reaches("web", "v1 is there", phase("Healthy")).await;
    let name = format!("{}-holidays", space.namespace);
    space.apply(&format!(
        "{{apiVersion: serin.dev/v1alpha1, kind: ClusterFreezeWindow, metadata: {{name: {name}}},
  spec: {{reason: holidays, namespaces: [{}]}}}}",
        space.namespace
    ));
    space.apply(&web("2", 2, steps));
    let frozen = |r: Option<&Rollout>| {
        let serin = status(r).and_then(|s| s.serin.as_ref());
        phase("Paused")(r) && serin.is_some_and(|s| s.freeze.is_some())
    };
    let held = space.reaches("web", "it is frozen", frozen).await;
    assert!(held.message.unwrap().contains("holidays"));
    sizes_are(&space, "nothing begins", &[("1", 2), ("2", 0)]).await;
    space.command("web", "promote", "full");
    let done = space
        .reaches("web", "it went through", healthy_beside(&v1))
        .await;
    let over = done.serin.unwrap().freeze_override.unwrap();
    assert_eq!(over.reason, "promote=full");
    // The way back to what was good is never frozen; what never was, is.
    let history = History::of(&space, "web").await;
    space.apply(&web("1", 2, steps));
    space
        .reaches("web", "v1 takes its steps", at(1, "Paused"))
        .await;
    space.command("web", "abort", "as it was");
    space.reaches("web", "it is aborted", is_aborted).await;
    let freezes = history.of_what(|s| s.serin.as_ref()?.freeze.clone());
    assert!(freezes.is_empty(), "{freezes:?}");
    space.kubectl(&["delete", "clusterfreezewindow", &name]);
}
