//! BlueGreen and Services against a real control plane: what clients get at every moment, and what
//! is left behind when the Rollout goes.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use serin::api::{MANAGED_BY, POD_HASH_LABEL, Rollout, RolloutStatus};

use crate::cluster::{Space, until};
use crate::controller::{Serin, phase, space, web};

const MANUAL: &str = "{activeService: live, previewService: next, autoPromotionEnabled: false, scaleDownDelaySeconds: 1, abortScaleDownDelaySeconds: 1}";

pub(crate) fn pair(tag: &str, strategy: &str) -> String {
    web(tag, 3, "{}").replace("{canary: {}}", &format!("{{blueGreen: {strategy}}}"))
}

pub(crate) fn service(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}"
    )
}

/// Services, and the first version behind them.
pub(crate) async fn first(space: &Space, strategy: &str) -> RolloutStatus {
    space.apply(&service("live"));
    space.apply(&service("next"));
    space.apply(&pair("1", strategy));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await
}

/// Waits until a Service selects this hash, `None` for none.
pub(crate) async fn selects(space: &Space, name: &str, hash: Option<&str>) -> Service {
    let condition = |service: Option<&Service>| {
        let spec = service.and_then(|s| s.spec.as_ref());
        let selector = spec.and_then(|s| s.selector.as_ref());
        let selected = selector.and_then(|s| s.get(POD_HASH_LABEL));
        service.is_some() && selected.map(String::as_str) == hash
    };
    let what = format!("{name} selects {hash:?}");
    space.wait(&what, name, condition).await.unwrap()
}

fn paused(rollout: Option<&Rollout>) -> bool {
    phase("Paused")(rollout)
}

#[tokio::test]
async fn a_person_promotes_the_preview_and_deleting_gives_the_services_back() {
    let Some(space) = space("bluegreen").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let old = first(&space, MANUAL).await.stable_rs.unwrap();
    let live = selects(&space, "live", Some(&old)).await;
    assert_eq!(live.metadata.annotations.unwrap()[MANAGED_BY], "web");

    space.apply(&pair("2", MANUAL));
    let status = space.reaches("web", "it waits", paused).await;
    assert_eq!(status.message.as_deref(), Some("BlueGreenPause"));
    let new = status.current_pod_hash.clone().unwrap();
    selects(&space, "live", Some(&old)).await;
    selects(&space, "next", Some(&new)).await;
    let both = [("1".to_owned(), 3), ("2".to_owned(), 3)];
    assert_eq!(space.sizes().await, both);
    // An autoscaler counts what clients get.
    assert_eq!(status.hpa_replicas, Some(3));
    assert!(status.selector.unwrap().contains(&old));

    space.command("web", "promote", "true");
    let done = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        phase("Healthy")(r) && status.is_some_and(|s| s.stable_rs.as_ref() == Some(&new))
    };
    space.reaches("web", "it is promoted", done).await;
    selects(&space, "live", Some(&new)).await;
    let switched = space.noted("web", "SwitchService", 4).await;
    let last = format!("Switched selector for service 'live' from '{old}' to '{new}'");
    assert_eq!(switched.last(), Some(&last));
    let is_down = |set: Option<&ReplicaSet>| {
        let spec = set.and_then(|s| s.spec.as_ref());
        spec.is_some_and(|s| s.replicas == Some(0))
    };
    let name = format!("web-{old}");
    space
        .wait("the old pods go after their delay", &name, is_down)
        .await;

    space.kubectl(&["delete", "rollout", "web"]);
    for name in ["live", "next"] {
        let service = selects(&space, name, None).await;
        let notes = service.metadata.annotations.unwrap_or_default();
        assert!(!notes.contains_key(MANAGED_BY), "{notes:?}");
        assert_eq!(service.spec.unwrap().selector.unwrap()["app"], "web");
    }
}

#[tokio::test]
async fn an_abort_keeps_clients_and_takes_the_preview_down() {
    let Some(space) = space("bgabort").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let old = first(&space, MANUAL).await.stable_rs.unwrap();
    space.apply(&pair("2", MANUAL));
    space.reaches("web", "it waits", paused).await;
    space.command("web", "abort", "the logo is wrong");
    let status = space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    assert!(status.message.unwrap().contains("the logo is wrong"));
    let is_down = |set: Option<&ReplicaSet>| {
        let status = set.and_then(|s| s.status.as_ref());
        status.is_some_and(|s| s.replicas == 0)
    };
    let name = format!("web-{}", status.current_pod_hash.unwrap());
    space.wait("the preview goes", &name, is_down).await;
    selects(&space, "live", Some(&old)).await;
    // Retry: the preview comes back and waits again.
    space.command("web", "retry", "true");
    space.reaches("web", "it waits again", paused).await;
    let both = [("1".to_owned(), 3), ("2".to_owned(), 3)];
    assert_eq!(space.sizes().await, both);
}

const TEMPLATE: &str = r#"{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: bad}, spec: {metrics: [
    {name: bad, consecutiveErrorLimit: 0, provider: {prometheus: {address: "http://nowhere.invalid:9090", query: "vector(1)"}}}]}}"#;

#[tokio::test]
async fn a_failed_analysis_before_the_switch_is_never_seen_by_clients() {
    let Some(space) = space("bgpre").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(TEMPLATE);
    let strategy = "{activeService: live, previewService: next, prePromotionAnalysis: {templates: [{templateName: bad}]}}";
    let old = first(&space, strategy).await.stable_rs.unwrap();
    space.apply(&pair("2", strategy));
    let status = space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    let message = status.message.unwrap();
    assert!(
        message.contains("Blue/green pre-promotion analysis phase error/failed"),
        "{message}"
    );
    let run = status.blue_green.unwrap().pre_promotion_analysis_run_status;
    let new = status.current_pod_hash.unwrap();
    assert_eq!(run.unwrap().name, format!("web-{new}-2-pre"));
    selects(&space, "live", Some(&old)).await;
    let switched = space.notes("web", "SwitchService").await;
    assert!(
        !switched
            .iter()
            .any(|n| n.contains("'live'") && n.contains(&new)),
        "{switched:?}"
    );
}

#[tokio::test]
async fn a_failed_analysis_after_the_switch_gives_clients_the_old_version_back() {
    let Some(space) = space("bgpost").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(TEMPLATE);
    let strategy = "{activeService: live, postPromotionAnalysis: {templates: [{templateName: bad}]}, abortScaleDownDelaySeconds: 1}";
    let old = first(&space, strategy).await.stable_rs.unwrap();
    space.apply(&pair("2", strategy));
    let status = space
        .reaches("web", "it is aborted", phase("Degraded"))
        .await;
    assert!(status.message.unwrap().contains("post-promotion"));
    assert_eq!(status.stable_rs.as_deref(), Some(old.as_str()));
    selects(&space, "live", Some(&old)).await;
    let is_down = |set: Option<&ReplicaSet>| {
        let status = set.and_then(|s| s.status.as_ref());
        status.is_some_and(|s| s.replicas == 0)
    };
    let new = format!("web-{}", status.current_pod_hash.unwrap());
    space.wait("the bad version goes", &new, is_down).await;
    let switched = space.noted("web", "SwitchService", 3).await;
    assert_eq!(switched.iter().filter(|n| n.contains("'live'")).count(), 3);
}

#[tokio::test]
async fn a_service_belongs_to_one_rollout_until_it_goes() {
    let Some(space) = space("bgshared").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let strategy = "{activeService: live}";
    first(&space, strategy).await;
    let second = pair("1", strategy).replace("name: web}", "name: other}");
    space.apply(&second);
    let status = space
        .reaches("other", "it is refused", phase("Degraded"))
        .await;
    let message = status.message.unwrap();
    assert!(
        message.contains("Service \"live\" is managed by another Rollout: web"),
        "{message}"
    );
    space.kubectl(&["delete", "rollout", "web"]);
    let status = space
        .reaches("other", "it has the service", phase("Healthy"))
        .await;
    selects(&space, "live", status.stable_rs.as_deref()).await;
}

#[tokio::test]
async fn a_missing_service_is_told_and_looked_for() {
    let Some(space) = space("bgmissing").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&pair("1", "{activeService: live}"));
    let status = space
        .reaches("web", "it is refused", phase("Degraded"))
        .await;
    let message = status.message.unwrap();
    assert!(message.contains("service \"live\" not found"), "{message}");
    assert_eq!(space.sizes().await, []);
    space.apply(&service("live"));
    space.reaches("web", "it goes on", phase("Healthy")).await;
}

#[tokio::test]
async fn scaled_to_zero_the_services_are_let_go() {
    let Some(space) = space("bgzero").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let status = first(&space, MANUAL).await;
    space.kubectl(&["scale", "rollout", "web", "--replicas=0"]);
    selects(&space, "live", None).await;
    selects(&space, "next", None).await;
    space.kubectl(&["scale", "rollout", "web", "--replicas=2"]);
    selects(&space, "live", status.stable_rs.as_deref()).await;
    space.reaches("web", "it is back", phase("Healthy")).await;
}

#[tokio::test]
async fn services_of_a_canary_follow_its_versions() {
    let Some(space) = space("canaryservices").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let canary =
        "{stableService: live, canaryService: next, steps: [{setWeight: 50}, {pause: {}}]}";
    space.apply(&service("live"));
    space.apply(&service("next"));
    space.apply(&web("1", 4, canary));
    let old = space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await
        .stable_rs
        .unwrap();
    selects(&space, "next", Some(&old)).await;
    space.apply(&web("2", 4, canary));
    let status = space.reaches("web", "it waits", paused).await;
    let new = status.current_pod_hash.unwrap();
    selects(&space, "next", Some(&new)).await;
    selects(&space, "live", Some(&old)).await;
    space.command("web", "abort", "true");
    selects(&space, "next", Some(&old)).await;
    space.command("web", "retry", "true");
    space.reaches("web", "it waits again", paused).await;
    space.command("web", "promote", "full");
    selects(&space, "live", Some(&new)).await;
    selects(&space, "next", Some(&new)).await;
    // The strategy no longer names one of them: it is let go.
    space.apply(&web("2", 4, "{stableService: live}"));
    selects(&space, "next", None).await;
    let is_live = || {
        let said = space.kubectl(&["get", "service", "live", "-o", "jsonpath={.spec.selector}"]);
        said.contains(&new).then_some(())
    };
    until("the other one stays", is_live).await;
}

#[tokio::test]
async fn a_change_of_strategy_lets_a_service_go_before_its_pods() {
    let Some(space) = space("bgchange").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    let old = first(&space, MANUAL).await.stable_rs.unwrap();
    space.apply(&pair("2", MANUAL));
    space.reaches("web", "it waits", paused).await;
    selects(&space, "live", Some(&old)).await;
    // Of the canary every pod is to be new: what `live` selects goes, and only after it was let go.
    space.apply(&web("2", 3, "{steps: [{setWeight: 100}, {pause: {}}]}"));
    let is_down = |set: Option<&ReplicaSet>| {
        let spec = set.and_then(|s| s.spec.as_ref());
        spec.is_some_and(|s| s.replicas == Some(0))
    };
    let name = format!("web-{old}");
    let set = space.wait("the old pods go", &name, is_down).await.unwrap();
    let live = selects(&space, "live", None).await;
    assert_eq!(
        live.metadata
            .annotations
            .unwrap_or_default()
            .get(MANAGED_BY),
        None
    );
    // The decision rests on a live list that is newer than the Service as it was let go.
    let decision = &set.metadata.annotations.unwrap()["serin.dev/decision"];
    let evidence: u64 = decision.rsplit('/').next().unwrap().parse().unwrap();
    let released: u64 = live.metadata.resource_version.unwrap().parse().unwrap();
    assert!(evidence >= released, "{decision} {released}");
    let waits = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| s.message.as_deref() == Some("CanaryPauseStep"))
    };
    space.reaches("web", "the canary waits", waits).await;
}
