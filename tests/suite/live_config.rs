//! ConfigMaps and Secrets as part of a revision, against a real control plane.

use std::process::Command;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::ListParams;
use serin::api::Rollout;

use crate::cluster::{self, Space, dir, until};
use crate::controller::{Serin, at, phase, set_uids, space, web};
use crate::live_rights::with_rights;

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
    space.grant(&[("--track-config", "")]);
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

/// What the Secret holds that each pod mounts.
async fn keys(space: &Space) -> Vec<String> {
    let pods = space.api::<Pod>().list(&ListParams::default()).await;
    let mut all = vec![];
    for pod in pods.unwrap() {
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let volumes = pod.spec.unwrap().volumes.unwrap();
        let name = volumes
            .iter()
            .find_map(|v| v.secret.as_ref()?.secret_name.clone());
        let secret = space.api::<Secret>().get(&name.unwrap()).await.unwrap();
        assert_eq!(secret.immutable, Some(true));
        let key = secret.data.unwrap().remove("key").unwrap();
        all.push(String::from_utf8(key.0).unwrap());
    }
    all.sort();
    all
}

async fn keys_are(space: &Space, wanted: &[&str]) {
    for _ in 0..300 {
        if keys(space).await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the pods have {:?}, wanted {wanted:?}", keys(space).await);
}

/// With no more rights than those of rbac.yaml: the Role of the namespace is missed and told with the
/// command that makes it; then a changed Secret is an update, and goes back with its copy.
#[tokio::test]
async fn a_tracked_secret_needs_the_generated_role_and_goes_back_with_its_copy() {
    let Some(space) = space("secrets").await else {
        return;
    };
    let _serin = with_rights("secrets");
    let secret = |key: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: key}}, stringData: {{key: {key}}}}}"
        );
        space.apply(&text);
    };
    // Nobody tells of a change; an annotation makes the controller look at once.
    let look = |n: u32| {
        let note = format!("look={n}");
        space.kubectl(&["annotate", "--overwrite", "rollout", "web", &note]);
    };
    let label = "metadata: {name: web, labels: {argo-rollouts.argoproj.io/controller-instance-id: secrets}, ";
    space.apply(&config_map("hello"));
    secret("one");
    space.apply(&tracked().replacen("metadata: {name: web, ", label, 1));
    let refused = space
        .reaches("web", "it may not read them", phase("Degraded"))
        .await;
    let message = refused.message.unwrap();
    let command = format!(
        "serin deploy generate-rbac --track-config {}",
        space.namespace
    );
    for words in [
        "ConfigMap app cannot be read",
        "Secret key cannot be read",
        &command,
    ] {
        assert!(message.contains(words), "{words} is not in {message}");
    }
    assert_eq!(set_uids(&space).await, [""; 0]);

    let flag = format!("--track-config={}", space.namespace);
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["deploy", "generate-rbac", &flag])
        .output()
        .unwrap();
    let file = dir().join(format!("{}-rbac.yaml", space.namespace));
    std::fs::write(&file, output.stdout).unwrap();
    let mut kubectl = cluster::shared().unwrap().plane.kubectl();
    let applied = kubectl.args(["apply", "-f"]).arg(&file).output().unwrap();
    assert!(applied.status.success(), "{applied:?}");
    let mut looks = 10;
    until("it may read them", || {
        looks += 1;
        look(looks);
        let phase = space.kubectl(&["get", "rollout", "web", "-o", "jsonpath={.status.phase}"]);
        (phase != "Degraded").then_some(())
    })
    .await;
    let first = space.reaches("web", "it goes on", phase("Healthy")).await;
    keys_are(&space, &["one", "one"]).await;

    let sets = set_uids(&space).await;
    secret("two");
    look(2);
    let waits = space.reaches("web", "it waits", at(1, "Paused")).await;
    keys_are(&space, &["one", "two"]).await;
    space.command("web", "promote", "full");
    let promoted = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        phase("Healthy")(r) && status.stable_rs == waits.current_pod_hash
    };
    space.reaches("web", "it is promoted", promoted).await;
    keys_are(&space, &["two", "two"]).await;

    secret("one");
    look(3);
    let back = |r: Option<&Rollout>| {
        let status = r.unwrap().status.as_ref().unwrap();
        at(1, "Paused")(r) && status.current_pod_hash == first.stable_rs
    };
    space
        .reaches("web", "it goes back by the steps", back)
        .await;
    keys_are(&space, &["one", "two"]).await;
    let now = set_uids(&space).await;
    assert!(
        now.len() == 2 && now.contains(&sets[0]),
        "{sets:?}, {now:?}"
    );
}
