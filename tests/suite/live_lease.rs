//! Two controllers, one Lease: one works, the other waits, and a deposed one writes nothing more.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use crate::bench::http;
use crate::cluster::{self, Space, until};
use crate::controller::{Serin, phase, space, web};

const STEPS: &str = "{steps: [{setWeight: 50}, {pause: {duration: 1s}}]}";
/// Shorter than usual, and still with room for a call of 5 s.
const TIMES: [&str; 3] = [
    "--leader-election-lease-duration=9s",
    "--leader-election-renew-deadline=8s",
    "--leader-election-retry-period=500ms",
];

fn candidate(space: &Space) -> Serin {
    space.is_home();
    let plane = &cluster::shared().unwrap().plane;
    let ns = space.namespace.as_str();
    let own = ["--leader-election-namespace", ns, "--namespace", ns];
    Serin::start_on(plane, &plane.serin, ns, &[&own[..], &TIMES[..]].concat())
}

async fn leads(serin: &Serin, what: &str) {
    until(what, || serin.log().contains(" leading ").then_some(())).await;
}

async fn holder(space: &Space) -> (String, i32) {
    let lease = space
        .api::<Lease>()
        .get("serin-controller")
        .await
        .unwrap()
        .spec
        .unwrap();
    (
        lease.holder_identity.unwrap_or_default(),
        lease.lease_transitions.unwrap_or(0),
    )
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    let Some(space) = space("handover").await else {
        return;
    };
    let mut first = candidate(&space);
    leads(&first, "the first leads").await;
    let second = candidate(&space);
    second.ready().await;
    assert!(
        !second.log().contains(" leading "),
        "a standby is ready and waits"
    );
    space.apply(&web("1", 2, STEPS));
    space
        .reaches("web", "the first works", phase("Healthy"))
        .await;
    first.process.ask_to_stop();
    until("the first ends", || first.process.ended()).await;
    assert!(first.log().contains("lease given back"));
    leads(&second, "the second leads").await;
    assert_eq!(holder(&space).await.1, 1);
    space.apply(&web("2", 2, STEPS));
    let epoch = |r: Option<&serin::api::Rollout>| {
        let serin = r.and_then(|r| r.status.as_ref()?.serin.as_ref());
        phase("Healthy")(r) && serin.is_some_and(|s| s.epoch.as_deref() == Some("1"))
    };
    space.reaches("web", "the second works", epoch).await;
}

fn version(rollout: &serin::api::Rollout) -> u64 {
    let version = rollout.metadata.resource_version.as_ref();
    version.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_leader_that_hangs_is_replaced_and_writes_nothing_when_it_wakes() {
    let Some(space) = space("hangs").await else {
        return;
    };
    let first = candidate(&space);
    leads(&first, "the first leads").await;
    let second = candidate(&space);
    second.ready().await;
    space.apply(&web("1", 2, STEPS));
    space
        .reaches("web", "the first works", phase("Healthy"))
        .await;
    first.process.freeze();
    let before = first.log().len();
    leads(&second, "the second takes over").await;
    // What it had sent before it was frozen may be answered when it wakes.
    let frozen = version(&space.rollout("web").await);
    // Work that both see when the first wakes.
    space.apply(&web("2", 2, STEPS));
    first.process.thaw();
    let deposed = || first.log().contains("no longer leading").then_some(());
    until("the first knows that it is deposed", deposed).await;
    let done = |r: Option<&serin::api::Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        phase("Healthy")(r) && status.is_some_and(|s| s.stable_rs == s.current_pod_hash)
    };
    space
        .reaches("web", "the second ends the update", done)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = first.log().split_off(before);
    let answers = log.split("Done { version: \"").skip(1);
    let written = answers.filter_map(|text| text.split('"').next()?.parse::<u64>().ok());
    let late: Vec<u64> = written.filter(|version| *version > frozen).collect();
    assert!(
        late.is_empty(),
        "the first wrote after it was deposed: {late:?} after {frozen}\n{log}"
    );
    let (code, _) = http::get(first.health, "/readyz").unwrap();
    assert_eq!(code, 200, "it is a standby now");
}
