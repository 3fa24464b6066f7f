//! The bench's fault proxy: what it records, and that each fault is the one it is called. Needs `SERIN_APISERVER`.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use axum::http::Method;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::bench::control_plane::User;
use crate::bench::fault_proxy::{Fault, FaultProxy};
use crate::bench::request::{Asked, Match};
use crate::cluster::{self, Space, client, wait};

#[test]
fn a_request_is_told_by_its_line() {
    let check = |method: Method, uri: &str, expect: [&str; 4]| {
        let asked = Asked::read(&method, &uri.parse().unwrap());
        let seen = [asked.verb, &asked.resource, &asked.namespace, &asked.name];
        assert_eq!(seen, expect, "{method} {uri}");
    };
    check(
        Method::GET,
        "/api/v1/pods?watch=true",
        ["watch", "pods", "", ""],
    );
    check(
        Method::GET,
        "/api/v1/namespaces/x/pods",
        ["list", "pods", "x", ""],
    );
    check(
        Method::GET,
        "/api/v1/namespaces/x",
        ["get", "namespaces", "", "x"],
    );
    check(
        Method::PUT,
        "/api/v1/namespaces/x/status",
        ["update", "namespaces/status", "", "x"],
    );
    let rollout = "/apis/argoproj.io/v1alpha1/namespaces/x/rollouts/web";
    check(Method::DELETE, rollout, ["delete", "rollouts", "x", "web"]);
    let status = format!("{rollout}/status?fieldManager=serin");
    check(
        Method::PATCH,
        &status,
        ["patch", "rollouts/status", "x", "web"],
    );
    check(Method::GET, "/version", ["list", "", "", ""]);
}

#[tokio::test]
async fn what_passes_the_proxy_is_recorded_and_goes_wrong_as_told() {
    let Some((space, proxy, maps)) = start("proxy").await else {
        return;
    };
    let make = async |name: &str| {
        let map = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        maps.create(&PostParams::default(), &map)
            .await
            .map_err(code)
    };
    let there = async |name: &str| {
        space
            .api::<ConfigMap>()
            .get_opt(name)
            .await
            .unwrap()
            .is_some()
    };

    make("well").await.unwrap();
    proxy.when(
        Match::write("configmaps").nth(2),
        Fault::Refuse { code: 409 },
    );
    make("first").await.unwrap();
    assert_eq!(make("second").await.unwrap_err(), 409);
    assert!(!there("second").await);
    make("third").await.unwrap();

    proxy.all_well();
    proxy.when(Match::verb("create"), Fault::ApplyThenRefuse { code: 500 });
    assert_eq!(make("done").await.unwrap_err(), 500);
    assert!(
        there("done").await,
        "the client was refused, and the write done"
    );

    proxy.all_well();
    proxy.when(Match::verb("create"), Fault::Hang);
    let limit = Duration::from_millis(300);
    assert!(tokio::time::timeout(limit, make("never")).await.is_err());
    proxy.all_well();
    assert!(!there("never").await);

    let writes = proxy.writes();
    let codes: Vec<_> = writes
        .iter()
        .map(|write| (write.asked.verb, write.code))
        .collect();
    let made = ("create", Some(201));
    assert_eq!(
        codes,
        [made, made, ("create", None), made, made, ("create", None)]
    );
    assert_eq!(
        writes
            .first()
            .unwrap()
            .body
            .pointer("/metadata/name")
            .unwrap(),
        "well"
    );
}

#[tokio::test]
async fn a_frozen_watch_lets_nothing_through_until_it_thaws() {
    let Some((space, proxy, maps)) = start("freeze").await else {
        return;
    };
    space.kubectl(&["create", "configmap", "seen"]);
    let events = watcher(
        maps.clone(),
        watcher::Config::default().labels("side!=other"),
    );
    let events = events
        .applied_objects()
        .filter_map(async |map| map.ok().map(|map| map.name_any()));
    let events = events.filter(|name| futures::future::ready(name != "kube-root-ca.crt"));
    pin_mut!(events);
    assert_eq!(events.next().await.as_deref(), Some("seen"));

    proxy.freeze_watches("configmaps");
    space.kubectl(&["create", "configmap", "unseen"]);
    // Reads by list are true meanwhile, and that the API server has sent the event is known from its own watch.
    wait(
        &space.api::<ConfigMap>(),
        "it is there",
        "unseen",
        |it: Option<&ConfigMap>| it.is_some(),
    )
    .await;
    let listed = maps.list(&ListParams::default()).await.unwrap();
    assert!(listed.iter().any(|map| map.name_any() == "unseen"));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), events.next())
            .await
            .is_err()
    );

    proxy.thaw_watches("configmaps");
    assert_eq!(events.next().await.as_deref(), Some("unseen"));
}

#[tokio::test]
async fn a_client_is_killed_before_or_after_its_write() {
    let Some((space, proxy, maps)) = start("kill").await else {
        return;
    };
    for (name, is_done) in [("before", false), ("after", true)] {
        let mut kubectl = std::process::Command::new(space.kubectl_program());
        kubectl
            .arg("--kubeconfig")
            .arg(&proxy.kubeconfig)
            .args(["--namespace", &space.namespace]);
        kubectl
            .args(["create", "--validate=false", "-f", "-"])
            .stdin(Stdio::piped());
        let mut kubectl = kubectl.spawn().unwrap();
        let pid = kubectl.id();
        let fault = if is_done {
            Fault::KillAfter { pid }
        } else {
            Fault::KillBefore { pid }
        };
        proxy.all_well();
        proxy.when(Match::any_write().nth(1), fault);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        kubectl
            .stdin
            .take()
            .unwrap()
            .write_all(map.to_string().as_bytes())
            .unwrap();
        let ended = kubectl.wait().unwrap();
        assert_eq!(ended.code(), None, "kubectl died of a signal: {ended}");
        assert_eq!(
            space
                .api::<ConfigMap>()
                .get_opt(name)
                .await
                .unwrap()
                .is_some(),
            is_done
        );
    }
    proxy.all_well();
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps.patch("after", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// A namespace, a proxy, and the ConfigMaps of the namespace as seen through the proxy.
async fn start(name: &str) -> Option<(Space, FaultProxy, Api<ConfigMap>)> {
    let cluster = cluster::shared()?;
    let space = cluster.space(name).await;
    let proxy = FaultProxy::start(&cluster.plane, &cluster.plane.admin).unwrap();
    let through = User {
        kubeconfig: proxy.kubeconfig.clone(),
        ..cluster.plane.admin.clone()
    };
    let maps = Api::namespaced(client(&through).await, &space.namespace);
    Some((space, proxy, maps))
}

fn code(trouble: kube::Error) -> u16 {
    if let kube::Error::Api(status) = &trouble {
        return status.code;
    }
    panic!("no answer of the API server: {trouble}");
}
