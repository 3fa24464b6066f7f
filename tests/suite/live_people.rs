//! What people leave open, on a real control plane: a question that nobody answers, pods that are kept
//! for a second look, `spec.paused` as a field, and what somebody deletes meanwhile.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serin::api::{POD_HASH_LABEL, Rollout, RolloutStatus, SCALE_DOWN_DEADLINE};

use crate::cluster::{Space, until};
use crate::controller::{Serin, at, phase, space, web};
use crate::live_blue_green::{first, pair, selects, service};
use crate::live_canary_life::check;
use crate::live_whole_life::{is_aborted, sizes_are, with};

fn status(rollout: Option<&Rollout>) -> Option<&RolloutStatus> {
    rollout?.status.as_ref()
}

/// Living pods of one version.
async fn pods_of(space: &Space, hash: &str) -> Vec<Pod> {
    let label = format!("{POD_HASH_LABEL}={hash}");
    let all = space.api::<Pod>();
    let all = all.list(&ListParams::default().labels(&label)).await;
    let mut living: Vec<Pod> = all.unwrap().into_iter().collect();
    living.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    living.sort_by_key(ResourceExt::name_any);
    living
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(ResourceExt::name_any).collect()
}

fn patch(space: &Space, spec: &str) {
    let patch = format!("{{\"spec\": {spec}}}");
    space.kubectl(&["patch", "rollout", "web", "--type=merge", "-p", &patch]);
}

/// Applied with `paused: true` nothing of v2 begins, and no clock runs. Then nobody answers: it is aborted,
/// and the pods that there is room for stay, are found warm by a retry, and go in the end.
#[tokio::test]
async fn a_canary_that_nobody_answers_keeps_its_pods_for_a_second_look() {
    let Some(space) = space("unanswered").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let canary = "{stableService: live, canaryService: next, maxSurge: 2, maxUnavailable: 0, answerWithin: 5s, \
                  keepCanaryFor: 10m, steps: [{setWeight: 50}, {pause: {}}]}";
    let of = |tag: &str| with(&web(tag, 4, canary), "revisionHistoryLimit: 1");
    space.apply(&service("live"));
    space.apply(&service("next"));
    space.apply(&of("1"));
    let v1 = space.reaches("web", "v1 is there", phase("Healthy")).await;

    space.apply(&with(&of("2"), "paused: true"));
    let held = |r: Option<&Rollout>| {
        phase("Paused")(r)
            && status(r).is_some_and(|s| {
                s.message.as_deref() == Some("manually paused")
                    && s.current_pod_hash != v1.stable_rs
            })
    };
    space
        .reaches("web", "it is paused by the field", held)
        .await;
    sizes_are(&space, "nothing begins", &[("1", 4), ("2", 0)]).await;
    patch(&space, r#"{"paused": false}"#);
    let waits = space.reaches("web", "it waits", at(1, "Paused")).await;
    let v2 = waits.current_pod_hash.unwrap();
    let warm = names(&pods_of(&space, &v2).await);
    assert_eq!(warm.len(), 2);

    let given_up = space.reaches("web", "nobody answers", is_aborted).await;
    let message = given_up.message.unwrap();
    let why = "nobody promoted it at the pause of step 2 within 5s";
    assert!(message.contains(why), "{message}");
    sizes_are(&space, "two stay beside all of v1", &[("1", 4), ("2", 2)]).await;
    selects(&space, "next", v1.stable_rs.as_deref()).await;
    let has_end = |set: Option<&ReplicaSet>| {
        set.is_some_and(|set| set.annotations().contains_key(SCALE_DOWN_DEADLINE))
    };
    let set = format!("web-{v2}");
    space.wait("they have an end", &set, has_end).await;

    patch(
        &space,
        r#"{"strategy": {"canary": {"answerWithin": null, "keepCanaryFor": "1s"}}}"#,
    );
    space.command("web", "retry", "step");
    space
        .reaches("web", "it waits again", at(1, "Paused"))
        .await;
    assert_eq!(names(&pods_of(&space, &v2).await), warm, "the same pods");
    space.command("web", "abort", "seen enough");
    sizes_are(&space, "they go in the end", &[("1", 4), ("2", 0)]).await;

    // Of the old versions one stays.
    let canary = "{stableService: live, canaryService: next}";
    space.apply(&with(&web("3", 4, canary), "revisionHistoryLimit: 1"));
    sizes_are(&space, "one old version stays", &[("2", 0), ("3", 4)]).await;
}

/// A first deployment that fails its analysis is told, and measured anew. Later the
/// preview's pods keep away from what is stable, and go when nobody answers. What clients have is
/// deleted by somebody during the next try: it is made again, and they never get anything else.
#[tokio::test]
async fn a_preview_that_nobody_answers_goes_and_what_clients_have_is_made_again() {
    let Some(space) = space("bgunanswered").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let strategy = "{activeService: live, previewService: next, autoPromotionEnabled: false, answerWithin: 5s, \
                    abortScaleDownDelaySeconds: 1, scaleDownDelaySeconds: 1, \
                    antiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: {weight: 10}}}";
    let judged = "{activeService: live, previewService: next, autoPromotionEnabled: false, \
                  analyzeFirstDeployment: true, prePromotionAnalysis: {templates: [{templateName: check}]}}";
    check(&space, false);
    space.apply(&service("live"));
    space.apply(&service("next"));
    space.apply(&pair("1", judged));
    let failed = space
        .reaches("web", "the first version fails", phase("Degraded"))
        .await;
    let message = failed.message.unwrap();
    assert!(message.contains("FirstDeploymentFailed"), "{message}");
    check(&space, true);
    space.command("web", "retry", "true");
    space.reaches("web", "it holds now", phase("Healthy")).await;
    let v1 = first(&space, strategy).await;
    let stable = v1.stable_rs.clone().unwrap();
    space.apply(&pair("2", strategy));
    let waits = space.reaches("web", "v2 waits", phase("Paused")).await;
    let v2 = waits.current_pod_hash.unwrap();
    let avoided = |set: &str| {
        let path = "jsonpath={.spec.template.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[*].podAffinityTerm.labelSelector.matchExpressions[*].values[*]}";
        space.kubectl(&["get", "rs", &format!("web-{set}"), "-o", path])
    };
    assert_eq!(avoided(&v2), stable);
    assert_eq!(avoided(&stable), "");
    let given_up = space.reaches("web", "nobody answers", is_aborted).await;
    let message = given_up.message.unwrap();
    let why = "nobody promoted it at the pause before the switch within 5s";
    assert!(message.contains(why), "{message}");
    selects(&space, "live", Some(&stable)).await;
    sizes_are(&space, "the preview goes", &[("1", 3), ("2", 0)]).await;

    patch(
        &space,
        r#"{"strategy": {"blueGreen": {"answerWithin": null}}}"#,
    );
    space.command("web", "retry", "true");
    space
        .reaches("web", "v2 waits again", phase("Paused"))
        .await;
    let name = format!("web-{stable}");
    let before = space.api::<ReplicaSet>().get(&name).await.unwrap();
    space.kubectl(&["delete", "rs", &name]);
    let again = |set: Option<&ReplicaSet>| {
        let available = set.and_then(|s| s.status.as_ref()?.available_replicas);
        set.is_some_and(|s| s.uid() != before.uid()) && available == Some(3)
    };
    space.wait("v1 is there again", &name, again).await;
    let told = space.noted("web", "StableRestored", 1).await;
    assert!(told[0].contains(&name), "{told:?}");
    selects(&space, "live", Some(&stable)).await;
    space
        .reaches("web", "v2 still waits", phase("Paused"))
        .await;

    space.command("web", "promote", "true");
    let done = |r: Option<&Rollout>| {
        phase("Healthy")(r) && status(r).is_some_and(|s| s.stable_rs.as_ref() == Some(&v2))
    };
    space.reaches("web", "v2 is promoted", done).await;
    selects(&space, "live", Some(&v2)).await;
    let is_settled = || avoided(&v2).is_empty().then_some(());
    until("what is stable avoids nobody", is_settled).await;
}
