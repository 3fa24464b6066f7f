//! Three controllers that share sixteen shards on a real control plane: everything is worked on, by
//! one of them at a time, whichever is stopped or killed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use serin::api::Rollout;
use serin::live::shards::shard_of;

use crate::bench::http;
use crate::cluster::{self, Space, until};
use crate::controller::{Serin, phase, space, web};

const TIMES: [&str; 4] = [
    "--leader-election-lease-duration=9s",
    "--leader-election-renew-deadline=8s",
    "--leader-election-retry-period=1s",
    "--shards=16",
];
const LABEL: &str = "argo-rollouts.argoproj.io/controller-instance-id";

fn replica(home: &Space, name: &str, id: &str) -> Serin {
    home.is_home();
    let plane = &cluster::shared().unwrap().plane;
    let id = format!("--instance-id={id}");
    let flags = ["--leader-election-namespace", &home.namespace, &id];
    let flags = [&flags[..], &TIMES[..]].concat();
    Serin::start_on(plane, &plane.serin, name, &flags)
}

/// Holders of the shards' Leases, and how many each has.
async fn holders(home: &Space) -> BTreeMap<u32, String> {
    let leases = home.api::<Lease>().list(&ListParams::default()).await;
    let shard = |lease: &Lease| {
        let name = lease.metadata.name.as_deref()?;
        let shard = name.rsplit_once("-shard-")?.1.split('-').next()?;
        let holder = lease.spec.as_ref()?.holder_identity.clone()?;
        Some((shard.parse().ok()?, holder)).filter(|(_, holder)| !holder.is_empty())
    };
    leases.unwrap().iter().filter_map(shard).collect()
}

fn shares(holders: &BTreeMap<u32, String>) -> Vec<usize> {
    let names: BTreeSet<&String> = holders.values().collect();
    let count = |name: &&String| holders.values().filter(|h| h == name).count();
    let mut all: Vec<usize> = names.iter().map(count).collect();
    all.sort_unstable();
    all
}

/// Waits until the shares are these. Longer than elsewhere: a crash costs the lease and more.
async fn shared_as(home: &Space, what: &str, wanted: &[usize]) {
    for _ in 0..600 {
        if shares(&holders(home).await) == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("never saw that {what}: {:?}", holders(home).await);
}

/// Rollouts whose turns a controller tells of.
fn worked_on(serin: &Serin, from: usize) -> BTreeSet<String> {
    let log = serin.log().split_off(from);
    let turns = log
        .lines()
        .filter(|l| l.contains(" turn ") || l.contains("Done {"));
    let names = turns.filter_map(|l| {
        l.split("rollout=")
            .nth(1)?
            .split([' ', '"'])
            .find(|w| !w.is_empty())
    });
    names.map(str::to_owned).collect()
}

/// A Rollout of this instance in each namespace.
fn apply(spaces: &[Space], id: &str, tag: &str) {
    let labels = format!("metadata: {{name: web, labels: {{{LABEL}: {id}}}}}");
    for space in spaces {
        space.apply(&web(tag, 1, "{}").replace("metadata: {name: web}", &labels));
    }
}

async fn rolled_out(spaces: &[Space], what: &str) {
    let done = |r: Option<&Rollout>| {
        let status = r.and_then(|r| r.status.as_ref());
        phase("Healthy")(r) && status.is_some_and(|s| s.stable_rs == s.current_pod_hash)
    };
    for space in spaces {
        space.reaches("web", what, done).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rollout_is_worked_on_by_one_of_three() {
    let Some(home) = space("shards").await else {
        return;
    };
    let mut spaces = vec![];
    for _ in 0..8 {
        spaces.push(space("sharded").await.unwrap());
    }
    let id = home.namespace.as_str();
    let one = replica(&home, "shards-one", id);
    shared_as(&home, "one alone has all", &[16]).await;
    let mut two = replica(&home, "shards-two", id);
    let three = replica(&home, "shards-three", id);
    shared_as(&home, "three have fair shares", &[5, 5, 6]).await;
    let from: Vec<usize> = [&one, &two, &three].map(|s| s.log().len()).into();
    apply(&spaces, id, "1");
    rolled_out(&spaces, "the first version is out").await;
    let mut told = BTreeMap::new();
    for (serin, from) in [&one, &two, &three].into_iter().zip(&from) {
        for rollout in worked_on(serin, *from) {
            let who = told.entry(rollout.clone()).or_insert(serin.health);
            assert_eq!(*who, serin.health, "{rollout} was handled twice");
        }
    }
    assert_eq!(told.len(), spaces.len(), "{told:?}");
    // Each by the holder of its shard.
    let held = holders(&home).await;
    for space in &spaces {
        assert!(held.contains_key(&shard_of(&space.namespace, 16)));
    }

    // One is killed and one stops where it is: the third does everything.
    two.process.kill();
    three.process.freeze();
    shared_as(&home, "the one that is left has all", &[16]).await;
    apply(&spaces, id, "2");
    rolled_out(&spaces, "the second version is out").await;

    // The one that wakes has lost its shards: it writes nothing until it has some again.
    let before = three.log().len();
    let epochs = async || {
        let mut all = vec![];
        for space in &spaces {
            all.push(space.rollout("web").await.metadata.resource_version);
        }
        all
    };
    let untouched = epochs().await;
    three.process.thaw();
    let lost = || {
        three.log()[before..]
            .contains("no longer leading")
            .then_some(())
    };
    until("it knows that it has lost them", lost).await;
    shared_as(&home, "two have fair shares", &[8, 8]).await;
    assert_eq!(epochs().await, untouched, "nothing was left to write");
    apply(&spaces, id, "3");
    rolled_out(&spaces, "the third version is out").await;
    for space in &spaces {
        let images: Vec<String> = space
            .sizes()
            .await
            .into_iter()
            .map(|(tag, _)| tag)
            .collect();
        assert_eq!(images, ["1", "2", "3"], "no version was made twice");
    }
}

/// Rollouts that a controller has in memory, as it tells.
fn known(serin: &Serin) -> Option<usize> {
    let (_, text) = http::get(serin.metrics, "/metrics").ok()?;
    let line = text.split_once("\nserin_objects{kind=\"rollouts\"} ")?.1;
    line.lines().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_keeps_in_memory_what_is_in_its_shards_and_no_more() {
    let Some(home) = space("shares").await else {
        return;
    };
    let mut spaces = vec![];
    for _ in 0..10 {
        spaces.push(space("shared").await.unwrap());
    }
    let id = home.namespace.as_str();
    let has = async |serin: &Serin, what: &str, wanted: usize| {
        until(what, || (known(serin) == Some(wanted)).then_some(())).await;
    };
    let one = replica(&home, "shares-one", id);
    shared_as(&home, "one alone has all", &[16]).await;
    apply(&spaces, id, "1");
    rolled_out(&spaces, "the first version is out").await;
    has(&one, "one knows all of them", spaces.len()).await;

    let mut two = replica(&home, "shares-two", id);
    shared_as(&home, "two have fair shares", &[8, 8]).await;
    let held = holders(&home).await;
    let share = |serin: &Serin| {
        let mark = format!("_{}_", serin.process.pid());
        let shards = spaces.iter().map(|s| shard_of(&s.namespace, 16));
        let mine = shards.filter(|shard| held.get(shard).is_some_and(|h| h.contains(&mark)));
        mine.count()
    };
    assert_eq!(share(&one) + share(&two), spaces.len(), "{held:?}");
    has(&one, "one has dropped what it gave back", share(&one)).await;
    has(&two, "two knows its share", share(&two)).await;
    apply(&spaces, id, "2");
    rolled_out(&spaces, "the second version is out").await;
    assert_eq!(known(&one), Some(share(&one)));
    assert_eq!(known(&two), Some(share(&two)));
    let turns = worked_on(&two, 0);
    assert_eq!(
        turns.len(),
        share(&two),
        "it was asked for no others: {turns:?}"
    );

    // What comes is listed anew, with what happened since.
    two.process.kill();
    apply(&spaces, id, "3");
    shared_as(&home, "one has all again", &[16]).await;
    rolled_out(&spaces, "the third version is out").await;
    has(&one, "one knows all of them again", spaces.len()).await;
    for space in &spaces {
        let tags: Vec<String> = space
            .sizes()
            .await
            .into_iter()
            .map(|(tag, _)| tag)
            .collect();
        assert_eq!(tags, ["1", "2", "3"], "no version was made twice");
    }
}
