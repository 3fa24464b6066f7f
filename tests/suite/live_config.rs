//! ConfigMaps and Secrets as part of a revision, against a real control plane.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::ListParams;
use serin::api::Rollout;

use crate::cluster::{Space, until};
use crate::controller::{Serin, at, phase, set_uids, space, web};

const STEPS: &str = "{steps: [{setWeight: 50}, {pause: {}}]}";

fn tracked() -> String {
    web("1", 2, STEPS)
        .replace(
            "metadata: {name: web}",
            "metadata: {name: web, annotations: {serin.dev/track-config: 'true'}}",
        )
        .replace(
            "containers: [{name: app, ",
            "volumes: [{name: s, secret: {secretName: key}}]\n      containers: [{envFrom: [{configMapRef: {name: app}}], name: app, ",
        )
}

fn config_map(greeting: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: app}}, data: {{greeting: {greeting}}}}}"
    )
}

/// The greeting that each pod's ConfigMap has, in order.
async fn greetings(space: &Space) -> Vec<String> {
    let pods = space
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut all = vec![];
    for pod in pods
        .into_iter()
        .filter(|p| p.metadata.deletion_timestamp.is_none())
    {
        let from = pod.spec.unwrap().containers[0].env_from.clone().unwrap();
        let name = from[0].config_map_ref.as_ref().unwrap().name.clone();
        let map = space.api::<ConfigMap>().get(&name).await.unwrap();
        assert_eq!(map.immutable, Some(true), "{name}");
        all.push(map.data.unwrap()["greeting"].clone());
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_changed_config_map_is_an_update_and_goes_back_with_its_pods() {
    let Some(space) = space("config").await else {
        return;
    };
    let _serin = Serin::start(&space, &[]);
    space.apply(&config_map("hello"));
    // The Secret is not there yet: that is told, and it goes on when it is.
    space.apply(&tracked());
    let lost = space
        .reaches("web", "the Secret is missed", phase("Degraded"))
        .await;
    assert!(lost.message.unwrap().contains("Secret key is not found"));
    space.kubectl(&["create", "secret", "generic", "key", "--from-literal=a=b"]);
    let first = space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    assert_eq!(greetings(&space).await, ["hello", "hello"]);
    let hash = first.stable_rs.clone().unwrap();
    let secret = space
        .api::<Secret>()
        .get(&format!("key-{hash}"))
        .await
        .unwrap();
    assert_eq!(secret.immutable, Some(true));

    space.apply(&config_map("hi"));
    // Nobody tells of a change; an annotation makes the controller look at once.
    space.kubectl(&["annotate", "rollout", "web", "look=1"]);
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    assert_eq!(paused.stable_rs, first.stable_rs);
    assert_eq!(greetings(&space).await, ["hello", "hi"]);

    // Back: the ReplicaSet of before, with the contents of before.
    let before = set_uids(&space).await;
    space.apply(&config_map("hello"));
    space.kubectl(&["annotate", "--overwrite", "rollout", "web", "look=2"]);
    let back = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && status.current_pod_hash == first.stable_rs
    };
    space.reaches("web", "all is as it was", back).await;
    assert_eq!(set_uids(&space).await, before);
    let second = paused.current_pod_hash.clone().unwrap();
    let label = format!("rollouts-pod-template-hash={second}");
    let gone = || {
        let names = space.kubectl(&["get", "pods", "-l", &label, "-o", "name"]);
        names.is_empty().then_some(())
    };
    until("the other version's pods are gone", gone).await;
    assert_eq!(greetings(&space).await, ["hello", "hello"]);

    // An old ReplicaSet takes its copies with it.
    space.kubectl(&[
        "patch",
        "rollout",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec":{"revisionHistoryLimit":0}}"#,
    ]);
    let copies = || {
        let names = space.kubectl(&["get", "configmaps", "-l", "serin.dev/copy-of", "-o", "name"]);
        (names.lines().count() == 1).then_some(())
    };
    until("copies of the deleted ReplicaSet are gone", copies).await;
    assert!(
        space
            .api::<ConfigMap>()
            .get("app")
            .await
            .unwrap()
            .name_any()
            == "app"
    );
}
