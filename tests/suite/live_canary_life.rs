//! More of a canary's life on a real control plane: a first deployment that is judged, a failure that
//! asks a person, a ramp, a stable version that breaks, and templates of other workloads.

use serde_json::json;
use serin::api::{Rollout, RolloutStatus};

use crate::cluster::Space;
use crate::controller::{History, Serin, at, phase, space, web};

fn status(rollout: Option<&Rollout>) -> Option<&RolloutStatus> {
    rollout?.status.as_ref()
}

/// A template whose one measurement is a Job that ends well, or not.
pub(crate) fn check(space: &Space, is_good: bool) {
    let code = if is_good { "0" } else { "1" };
    let pod = json!({
        "metadata": {"annotations": {"test.serin.dev/exit-code": code}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example/check:1"}]},
    });
    let job = json!({"spec": {"backoffLimit": 0, "template": pod}});
    space.apply(
        &json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "check"},
            "spec": {"metrics": [{"name": "check", "provider": {"job": job}}]},
        })
        .to_string(),
    );
}

/// The first deployment fails its analysis, and is measured anew; then an update fails, and a person
/// decides with the canary's pods still up.
#[tokio::test]
async fn failures_that_ask_a_person_keep_their_pods() {
    let Some(space) = space("asked").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps =
        "{analyzeFirstDeployment: true, analysis: {templates: [{templateName: check}]}, steps: [
        {ramp: {from: 25, to: 100, by: 2, every: 1s, curve: exponential}}, {setWeight: 50},
        {analysis: {templates: [{templateName: check}], onFailure: Pause}}, {setWeight: 75}]}";
    check(&space, false);
    space.apply(&web("1", 4, steps));
    let failed = space
        .reaches("web", "the first version fails", phase("Degraded"))
        .await;
    let message = failed.message.unwrap();
    assert!(message.contains("FirstDeploymentFailed"), "{message}");
    assert_eq!(space.sizes().await, [("1".to_owned(), 4)], "its pods stay");
    check(&space, true);
    space.command("web", "retry", "true");
    let v1 = space.reaches("web", "it holds now", phase("Healthy")).await;

    // Without the background analysis, which would abort.
    let steps = steps.replace(
        "analyzeFirstDeployment: true, analysis: {templates: [{templateName: check}]}, ",
        "",
    );
    check(&space, false);
    let history = History::of(&space, "web").await;
    space.apply(&web("2", 4, &steps));
    let waits = space
        .reaches("web", "a person is asked", at(2, "Paused"))
        .await;
    let pauses = waits.pause_conditions.clone().unwrap();
    assert_eq!(pauses[0].reason, "FailedAnalysisRun");
    let both = [("1".to_owned(), 2), ("2".to_owned(), 2)];
    assert_eq!(space.sizes().await, both);
    let weights = history.of_what(|s| Some(s.serin.as_ref()?.ramp.as_ref()?.weight));
    assert_eq!(weights, [25, 50, 100]);
    check(&space, true);
    space.command("web", "retry", "step");
    let done = |r: Option<&Rollout>| {
        phase("Healthy")(r) && status(r).is_some_and(|s| s.stable_rs != v1.stable_rs)
    };
    let v2 = space.reaches("web", "v2 is promoted", done).await;
    let duration = v2.duration.unwrap();
    assert_eq!(duration.completion_status.as_deref(), Some("Promoted"));
    assert!(duration.manual_pause_started_at.is_none(), "{duration:?}");
    assert!(
        duration.total_manual_pause_duration_seconds.is_some(),
        "{duration:?}"
    );
}

/// The stable version crashes while it serves: a good one goes out, steps and all.
#[tokio::test]
async fn a_stable_version_that_breaks_holds_no_good_one() {
    let Some(space) = space("broken").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let steps = "{maxSurge: 100%, steps: [{setWeight: 50}, {pause: {}}]}";
    let labels = "metadata: {labels: {app: web}}";
    let crashing = "metadata: {labels: {app: web}, annotations: {test.serin.dev/crash-after: 3s}}";
    space.apply(&web("1", 2, steps).replacen(labels, crashing, 1));
    let v1 = space.reaches("web", "v1 is there", phase("Healthy")).await;
    let broken =
        |r: Option<&Rollout>| status(r).is_some_and(|s| s.available_replicas.unwrap_or(0) == 0);
    space.reaches("web", "v1 breaks", broken).await;
    space.apply(&web("2", 2, steps));
    space
        .reaches("web", "v2 has its step", at(1, "Paused"))
        .await;
    space.command("web", "promote", "true");
    let done = |r: Option<&Rollout>| {
        phase("Healthy")(r) && status(r).is_some_and(|s| s.stable_rs != v1.stable_rs)
    };
    space.reaches("web", "v2 is promoted", done).await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 0), ("2".to_owned(), 2)]
    );
}

/// Templates come out of a ReplicaSet or a PodTemplate as they do out of a Deployment; an undo gives the
/// former one back to it.
#[tokio::test]
async fn a_replica_set_and_a_pod_template_give_their_pods() {
    let Some(space) = space("kinds").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    for (name, api, kind) in [
        ("set", "apps/v1", "ReplicaSet"),
        ("pod", "v1", "PodTemplate"),
    ] {
        let apply = |tag: &str| {
            let template = json!({
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "app", "image": format!("example/{name}:{tag}")}]},
            });
            let mut workload = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
            if kind == "PodTemplate" {
                workload["template"] = template;
            } else {
                let selector = json!({"matchLabels": {"app": name}});
                workload["spec"] =
                    json!({"replicas": 0, "selector": selector, "template": template});
            }
            space.apply(&workload.to_string());
        };
        apply("1");
        let mut rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
            "spec": {"replicas": 2, "workloadRef": {"apiVersion": api, "kind": kind, "name": name},
                "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}},
        });
        // A PodTemplate has no selector to take.
        if kind == "PodTemplate" {
            rollout["spec"]["selector"] = json!({"matchLabels": {"app": name}});
        }
        space.apply(&rollout.to_string());
        let v1 = space.reaches(name, "v1 is there", phase("Healthy")).await;
        apply("2");
        let waits = space.reaches(name, "v2 waits", at(1, "Paused")).await;
        assert_eq!(waits.stable_rs, v1.stable_rs, "{kind}");
        space.command(name, "promote", "true");
        let on = |hash: Option<String>| {
            move |r: Option<&Rollout>| {
                phase("Healthy")(r) && status(r).is_some_and(|s| s.stable_rs == hash)
            }
        };
        space
            .reaches(name, "v2 is promoted", on(waits.current_pod_hash))
            .await;
        let stored = space.rollout(name).await;
        assert!(stored.spec.template.is_none(), "nothing is written back");
        if kind == "PodTemplate" {
            space.command(name, "undo", "fast");
            space
                .reaches(name, "v1 is back", on(v1.stable_rs.clone()))
                .await;
            let path = "jsonpath={.template.spec.containers[0].image}";
            let image = space.kubectl(&["get", "podtemplate", name, "-o", path]);
            assert_eq!(image, "example/pod:1");
        }
    }
}
