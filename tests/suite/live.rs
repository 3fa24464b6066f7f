//! The controller against a real control plane: updates from the first step to the last, and what
//! people do meanwhile.

use k8s_openapi::api::apps::v1::ReplicaSet;
use serin::api::Rollout;

use crate::bench::http;
use crate::controller::{History, Serin, at, phase, set_uids, space, web};

const STEPS: &str = "{steps: [{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 60}, {pause: {duration: 1}}, {setWeight: 100}]}";
const WAITING: &str = "{steps: [{setWeight: 40}, {pause: {}}, {setWeight: 80}, {pause: {}}]}";

#[tokio::test]
async fn a_good_version_is_promoted_through_all_steps() {
    let Some(space) = space("good").await else {
        return;
    };
    let serin = Serin::start(&space, &[]);
    space.apply(&web("1", 5, STEPS));
    let first = space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    assert_eq!(
        first.current_step_index,
        Some(5),
        "a first version skips the steps"
    );

    let history = History::of(&space, "web").await;
    space.apply(&web("2", 5, STEPS));
    let done = |r: Option<&Rollout>| {
        phase("Healthy")(r) && r.unwrap().status.as_ref().unwrap().stable_rs != first.stable_rs
    };
    let last = space
        .reaches("web", "the second version is promoted", done)
        .await;
    let hash = last.current_pod_hash.clone().unwrap();
    assert_eq!(
        history.steps(&hash),
        [0, 1, 2, 3, 4, 5],
        "each step once, in order"
    );
    assert_eq!(last.stable_rs, last.current_pod_hash);
    assert_eq!(last.available_replicas, Some(5));
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 0), ("2".to_owned(), 5)]
    );
    let steps = space.noted("web", "RolloutStepCompleted", 5).await;
    assert_eq!(
        steps,
        [
            "Rollout step 1/5 completed (setWeight: 20)",
            "Rollout step 2/5 completed (pause: 1s)",
            "Rollout step 3/5 completed (setWeight: 60)",
            "Rollout step 4/5 completed (pause: 1)",
            "Rollout step 5/5 completed (setWeight: 100)",
        ]
    );
    assert_eq!(space.notes("web", "ReplicaSetAdopted").await, [""; 0]);

    serin.ready().await;
    let (_, metrics) = http::get(serin.metrics, "/metrics").unwrap();
    let here = format!("namespace=\"{}\",name=\"web\"", space.namespace);
    for line in [
        format!(
            "rollout_info{{{here},strategy=\"canary\",traffic_router=\"\",phase=\"Completed\"}} 1"
        ),
        format!("rollout_info_replicas_available{{{here}}} 5"),
        format!("serin_rollout_weight{{{here}}} 100"),
        format!("rollout_events_total{{{here},type=\"Normal\",reason=\"RolloutStepCompleted\"}} 5"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    space.kubectl(&["delete", "rollout", "web"]);
    let gone = || {
        let (_, metrics) = http::get(serin.metrics, "/metrics").ok()?;
        (!metrics.contains(&here)).then_some(())
    };
    crate::cluster::until("a deleted rollout leaves no series", gone).await;
}

#[tokio::test]
async fn promote_abort_and_retry_by_annotation() {
    let Some(space) = space("commands").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 5, WAITING));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 5, WAITING));
    space
        .reaches("web", "it waits at the first pause", at(1, "Paused"))
        .await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 3), ("2".to_owned(), 2)]
    );

    space.command("web", "promote", "true");
    space
        .reaches("web", "it waits at the second pause", at(3, "Paused"))
        .await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 1), ("2".to_owned(), 4)]
    );
    let rollout = space.rollout("web").await;
    let last = &rollout.metadata.annotations.as_ref().unwrap()["serin.dev/last-command"];
    assert!(
        last.contains("\"verb\":\"promote\"") && last.contains("accepted"),
        "{last}"
    );

    space.command("web", "abort", "it is slow");
    let aborted = space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    assert_eq!(aborted.abort, Some(true));
    let message = aborted.message.unwrap();
    assert!(
        message.contains("aborted update to revision 2"),
        "{message}"
    );
    let back = |set: Option<&ReplicaSet>| {
        set.and_then(|s| s.status.as_ref())
            .is_some_and(|s| s.replicas == 0)
    };
    let canary = format!("web-{}", aborted.current_pod_hash.unwrap());
    space.wait("the canary is gone", &canary, back).await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 5), ("2".to_owned(), 0)]
    );

    space.command("web", "retry", "true");
    space
        .reaches("web", "it starts again", at(1, "Paused"))
        .await;
    space.command("web", "promote", "full");
    space
        .reaches("web", "it is promoted at once", phase("Healthy"))
        .await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 0), ("2".to_owned(), 5)]
    );
}

#[tokio::test]
async fn status_patches_of_existing_clients_do_the_same() {
    let Some(space) = space("patches").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let patch = |patch: &str| {
        space.kubectl(&[
            "patch",
            "rollout",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ]);
    };
    space.apply(&web("1", 5, WAITING));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 5, WAITING));
    space
        .reaches("web", "it waits at the first pause", at(1, "Paused"))
        .await;
    patch(r#"{"status":{"pauseConditions":null}}"#);
    space
        .reaches("web", "it waits at the second pause", at(3, "Paused"))
        .await;
    patch(r#"{"status":{"abort":true}}"#);
    space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    patch(r#"{"status":{"abort":false}}"#);
    space
        .reaches("web", "it starts again", at(1, "Paused"))
        .await;
    patch(r#"{"status":{"promoteFull":true}}"#);
    space
        .reaches("web", "it is promoted at once", phase("Healthy"))
        .await;
}

#[tokio::test]
async fn a_bad_manifest_is_refused_with_all_its_faults() {
    let Some(space) = space("bad").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web(
        "1",
        2,
        "{maxSurge: 0, maxUnavailable: 0, steps: [{setWeight: 120}]}",
    ));
    let status = space
        .reaches("web", "it is refused", phase("Degraded"))
        .await;
    let invalid = status
        .conditions
        .iter()
        .find(|c| c.type_ == "InvalidSpec")
        .unwrap();
    let message = invalid.message.as_deref().unwrap();
    assert!(
        message.contains("setWeight") && message.contains("maxSurge"),
        "{message}"
    );
    assert!(status.message.unwrap().starts_with("InvalidSpec: "));
    assert_eq!(space.sizes().await, []);

    space.apply(&web("1", 2, STEPS));
    let status = space
        .reaches("web", "it goes on when it is right", phase("Healthy"))
        .await;
    assert!(status.conditions.iter().all(|c| c.type_ != "InvalidSpec"));
}

#[tokio::test]
async fn replicas_change_in_the_middle_of_a_pause() {
    let Some(space) = space("scale").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 5, WAITING));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 5, WAITING));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    space.kubectl(&["scale", "rollout", "web", "--replicas=10"]);
    let all = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        at(1, "Paused")(r) && status.available_replicas == Some(10)
    };
    let after = space.reaches("web", "both sides have grown", all).await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 6), ("2".to_owned(), 4)]
    );
    assert_eq!(
        after.pause_conditions, paused.pause_conditions,
        "the pause goes on as it was"
    );
}

#[tokio::test]
async fn a_third_version_takes_over_from_a_second_that_waits() {
    let Some(space) = space("third").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&web("1", 5, WAITING));
    let first = space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    space.apply(&web("2", 5, WAITING));
    space
        .reaches("web", "the second waits", at(1, "Paused"))
        .await;
    space.apply(&web("3", 5, WAITING));
    let third = space
        .reaches("web", "the third waits", at(1, "Paused"))
        .await;
    assert_eq!(third.stable_rs, first.stable_rs);
    let sizes = space.sizes().await;
    assert_eq!(
        sizes,
        [
            ("1".to_owned(), 3),
            ("2".to_owned(), 0),
            ("3".to_owned(), 2)
        ]
    );

    // Back to the first: nothing is to be tried, it is stable.
    space.apply(&web("1", 5, WAITING));
    let back = space
        .reaches("web", "all is as it was", phase("Healthy"))
        .await;
    assert_eq!(back.current_pod_hash, first.stable_rs);
    let sizes = space.sizes().await;
    assert_eq!(
        sizes,
        [
            ("1".to_owned(), 5),
            ("2".to_owned(), 0),
            ("3".to_owned(), 0)
        ]
    );

    // And to the second again: its old ReplicaSet is used, no new one is made.
    let before = set_uids(&space).await;
    space.apply(&web("2", 5, WAITING));
    space
        .reaches("web", "the second waits again", at(1, "Paused"))
        .await;
    assert_eq!(set_uids(&space).await, before);
    assert_eq!(space.notes("web", "ReplicaSetAdopted").await, [""; 0]);
}

#[tokio::test]
async fn a_controller_killed_at_any_moment_repeats_and_skips_nothing() {
    let Some(space) = space("killed").await else {
        return;
    };
    let mut serin = Serin::start(&space, &[]);
    space.apply(&web("1", 5, STEPS));
    let first = space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    let history = History::of(&space, "web").await;
    space.apply(&web("2", 5, STEPS));
    let mut kills = 0;
    let last = loop {
        tokio::time::sleep(std::time::Duration::from_millis(150 + 70 * kills)).await;
        let status = space.rollout("web").await.status.unwrap();
        if status.stable_rs != first.stable_rs && status.phase.as_deref() == Some("Healthy") {
            break status;
        }
        assert!(kills < 60, "it does not get on: {status:#?}");
        serin.kill_and_restart();
        kills += 1;
    };
    let hash = last.current_pod_hash.unwrap();
    assert_eq!(
        history.steps(&hash),
        [0, 1, 2, 3, 4, 5],
        "after {kills} kills"
    );
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 0), ("2".to_owned(), 5)]
    );
    let mut steps = space.notes("web", "RolloutStepCompleted").await;
    let told = steps.len();
    steps.dedup();
    assert_eq!(
        steps.len(),
        told,
        "an event may be lost in a crash, but never told twice: {steps:?}"
    );
    assert!(kills > 0);
}

#[tokio::test]
async fn a_finished_rollout_is_left_alone() {
    let Some(space) = space("idle").await else {
        return;
    };
    let mut serin = Serin::start(&space, &[]);
    space.apply(&web("1", 2, STEPS));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    let version = || async { space.rollout("web").await.metadata.resource_version };
    let before = version().await;
    serin.kill_and_restart();
    serin.ready().await;
    // A turn has run when it is in the log: the restart looks at every object.
    crate::cluster::until("a turn has run", || {
        serin
            .log()
            .rsplit("at work")
            .next()
            .filter(|log| log.contains("turn"))
            .map(|_| ())
    })
    .await;
    assert_eq!(version().await, before, "no write without a change");
}
