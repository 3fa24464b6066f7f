//! What a blueGreen Rollout meets in its life, on a real control plane: a small preview, a timer, fast
//! ways back, roles of pods, an autoscaler, restarts, and another strategy and back.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;
use serin::api::{Rollout, RolloutStatus};

use crate::cluster::{Space, until};
use crate::controller::{History, Serin, phase, set_uids, space, web};
use crate::live_blue_green::{first, pair, selects};
use crate::live_pods::{least_available, pods, restarted};

fn status(rollout: Option<&Rollout>) -> Option<&RolloutStatus> {
    rollout?.status.as_ref()
}

/// Healthy, with the version of another hash than this one.
fn healthy_beside<'a>(not: &'a RolloutStatus) -> impl Fn(Option<&Rollout>) -> bool + 'a {
    move |r| phase("Healthy")(r) && status(r).is_some_and(|s| s.stable_rs != not.stable_rs)
}

/// Waits until exactly these sizes are there.
async fn sizes_are(space: &Space, what: &str, wanted: impl Fn(&[(String, i32)]) -> bool) {
    for _ in 0..300 {
        if wanted(&space.sizes().await) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{what}: {:?}", space.sizes().await);
}

fn of(all: &[(&str, i32)]) -> Vec<(String, i32)> {
    all.iter().map(|(tag, n)| ((*tag).to_owned(), *n)).collect()
}

/// Waits until so many living pods carry this label.
async fn labelled(space: &Space, label: &str, count: usize) -> Vec<Pod> {
    for _ in 0..300 {
        let all = space.api::<Pod>();
        let all = all
            .list(&ListParams::default().labels(label))
            .await
            .unwrap();
        let living = all.into_iter();
        let living = living.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let found: Vec<Pod> = living.collect();
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never saw {count} pods with {label}");
}

fn ended(status: &RolloutStatus) -> &str {
    let duration = status.duration.as_ref().unwrap();
    assert!(duration.finished_at.is_some(), "{duration:?}");
    duration.completion_status.as_deref().unwrap_or_default()
}

const TIMED: &str = "{activeService: live, previewService: next, previewReplicaCount: 1, autoPromotionSeconds: 2, scaleDownDelaySeconds: 600, scaleDownDelayRevisionLimit: 1}";

#[tokio::test]
async fn a_small_preview_goes_out_by_the_timer_and_back_at_once() {
    let Some(space) = space("bgtimer").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let v1 = first(&space, TIMED).await;
    let history = History::of(&space, "web").await;
    space.apply(&pair("2", TIMED));
    let v2 = space
        .reaches("web", "the timer promotes v2", healthy_beside(&v1))
        .await;
    // One pod was shown, all of them are there for clients, and the old ones wait.
    let shown = history.of_what(|s| {
        let waits = s.pause_conditions.as_ref().is_some_and(|p| !p.is_empty());
        s.updated_replicas.filter(|_| waits)
    });
    assert_eq!(shown, [1]);
    let checked = history.of_what(|s| s.blue_green.as_ref()?.scale_up_preview_check_point);
    assert!(checked.contains(&true), "{checked:?}");
    selects(&space, "live", v2.stable_rs.as_deref()).await;
    assert_eq!(space.sizes().await, of(&[("1", 3), ("2", 3)]));
    assert_eq!(ended(&v2), "Promoted");

    // Within its delay v1 needs no preview and no timer.
    let history = History::of(&space, "web").await;
    space.apply(&pair("1", TIMED));
    let back = space
        .reaches("web", "v1 is back", healthy_beside(&v2))
        .await;
    assert_eq!(back.stable_rs, v1.stable_rs);
    let pauses = history.of_what(|s| s.pause_conditions.clone());
    assert!(pauses.is_empty(), "{pauses:?}");
    selects(&space, "live", v1.stable_rs.as_deref()).await;
    assert_eq!(ended(&back), "FastRolledBack");

    // Of the old versions only one may wait.
    space.apply(&pair("3", TIMED));
    space
        .reaches("web", "v3 is promoted", healthy_beside(&back))
        .await;
    let one_waits = |sizes: &[(String, i32)]| {
        let old: i32 = sizes
            .iter()
            .filter(|(tag, _)| tag != "3")
            .map(|s| s.1)
            .sum();
        sizes.contains(&("3".to_owned(), 3)) && old == 3
    };
    sizes_are(&space, "one of the old versions goes", one_waits).await;
}

const SHOWN: &str = "{activeService: live, previewService: next, autoPromotionEnabled: false, abortScaleDownDelaySeconds: 0, scaleDownDelaySeconds: 1, activeMetadata: {labels: {role: active}}, previewMetadata: {labels: {role: preview}}}";

/// With a real HorizontalPodAutoscaler, which reads and writes the scale sub-resource.
#[tokio::test]
async fn an_autoscaler_counts_what_clients_have_and_both_versions_grow() {
    let Some(space) = space("bghpa").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let v1 = first(&space, SHOWN).await;
    space.apply(&pair("2", SHOWN));
    space.reaches("web", "v2 waits", phase("Paused")).await;
    space.apply(
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web}, spec: {
        scaleTargetRef: {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web}, minReplicas: 4, maxReplicas: 8,
        metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}}",
    );
    labelled(&space, "role=preview", 3).await;
    labelled(&space, "role=active", 3).await;
    let text = space.kubectl(&["get", "rollout", "web", "--subresource=scale", "-o", "json"]);
    let scale: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(scale["status"]["replicas"], 3, "not those of the preview");
    let selector = scale["status"]["selector"].as_str().unwrap();
    for pod in labelled(&space, selector, 3).await {
        assert_eq!(pod.labels()["role"], "active");
    }

    // Below its least size it asks no metrics.
    let scaled = |hpa: Option<&HorizontalPodAutoscaler>| {
        let status = hpa.and_then(|h| h.status.as_ref());
        status.is_some_and(|s| s.desired_replicas == 4 && s.current_replicas == Some(3))
    };
    space.wait("the autoscaler wants 4", "web", scaled).await;
    let both = of(&[("1", 4), ("2", 4)]);
    sizes_are(&space, "both grow", |sizes| sizes == both).await;
    let grown = |r: Option<&Rollout>| {
        phase("Paused")(r) && status(r).is_some_and(|s| s.hpa_replicas == Some(4))
    };
    space.reaches("web", "it waits still", grown).await;
    selects(&space, "live", v1.stable_rs.as_deref()).await;
}

#[tokio::test]
async fn a_preview_that_stays_a_restart_and_another_strategy_lose_no_pod() {
    let Some(space) = space("bgstays").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let v1 = first(&space, SHOWN).await;
    space.apply(&pair("2", SHOWN));
    let waits = space.reaches("web", "v2 waits", phase("Paused")).await;
    let preview = pods(&space).await;
    assert_eq!(preview.len(), 6);

    // abortScaleDownDelaySeconds: 0 keeps the preview, and a retry finds its pods.
    space.command("web", "abort", "a question");
    let aborted = space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    assert_eq!(ended(&aborted), "Aborted");
    let manual = aborted.duration.unwrap();
    assert!(manual.total_manual_pause_duration_seconds.is_some());
    selects(&space, "live", v1.stable_rs.as_deref()).await;
    space.command("web", "retry", "true");
    space
        .reaches("web", "it waits again", phase("Paused"))
        .await;
    assert_eq!(pods(&space).await, preview, "the same pods");
    space.command("web", "promote", "true");
    let v2 = space
        .reaches("web", "v2 is promoted", healthy_beside(&v1))
        .await;
    assert_eq!(v2.stable_rs, waits.current_pod_hash);
    let only = of(&[("1", 0), ("2", 3)]);
    sizes_are(&space, "v1 goes after its delay", |sizes| sizes == only).await;
    labelled(&space, "role=active", 3).await;

    // A restart by the field.
    let (before, sets) = (pods(&space).await, set_uids(&space).await);
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let patch = format!(r#"{{"spec":{{"restartAt":"{now}"}}}}"#);
    space.kubectl(&["patch", "rollout", "web", "--type=merge", "-p", &patch]);
    let done = |r: Option<&Rollout>| phase("Healthy")(r) && restarted(r);
    space.reaches("web", "it is restarted", done).await;
    let after = pods(&space).await;
    assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
    assert_eq!(after.len(), 3);
    assert_eq!(set_uids(&space).await, sets);

    // To a canary of the same version, and back: nothing of it is a new pod.
    let least = least_available(&space);
    space.apply(&web("2", 3, "{steps: [{setWeight: 50}, {pause: {}}]}"));
    space.reaches("web", "a canary", phase("Healthy")).await;
    selects(&space, "live", None).await;
    selects(&space, "next", None).await;
    space.apply(&pair("2", SHOWN));
    selects(&space, "live", v2.stable_rs.as_deref()).await;
    let back = space.reaches("web", "blueGreen", phase("Healthy")).await;
    assert_eq!(back.stable_rs, v2.stable_rs);
    assert_eq!(pods(&space).await, after, "no pod was restarted");
    assert_eq!(least.stop(), 3, "no capacity was lost");

    // In the middle of an update: back to a canary, whose update begins at its first step.
    space.apply(&pair("3", SHOWN));
    space.reaches("web", "v3 waits", phase("Paused")).await;
    let least = least_available(&space);
    space.apply(&web("3", 3, "{steps: [{setWeight: 50}, {pause: {}}]}"));
    let canary = |r: Option<&Rollout>| {
        status(r).is_some_and(|s| s.message.as_deref() == Some("CanaryPauseStep"))
    };
    space.reaches("web", "the canary waits", canary).await;
    space.apply(&pair("3", SHOWN));
    let again = |r: Option<&Rollout>| {
        phase("Paused")(r)
            && status(r).is_some_and(|s| s.message.as_deref() == Some("BlueGreenPause"))
    };
    space.reaches("web", "blueGreen waits", again).await;
    selects(&space, "live", v2.stable_rs.as_deref()).await;
    assert!(
        least.stop() >= 2,
        "two of three is what maxUnavailable lets go"
    );
    let all = space.api::<ReplicaSet>();
    assert_eq!(
        all.list(&ListParams::default()).await.unwrap().items.len(),
        3
    );
    space.command("web", "promote", "true");
    space
        .reaches("web", "v3 is promoted", healthy_beside(&v2))
        .await;
    let empty = || {
        let sizes = space.kubectl(&["get", "rs", "-o", "jsonpath={.items[*].spec.replicas}"]);
        let up = sizes.split(' ').filter(|n| *n != "0").count();
        (up == 1).then_some(())
    };
    until("one version is left", empty).await;
}
