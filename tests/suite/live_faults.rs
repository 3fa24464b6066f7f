//! The controller when things go wrong between it and the API server: a crash before and after every
//! write, lost answers, views that grow old, definitions of another controller.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;
use serin::api::published::ADDITIONS;
use serin::api::{AnalysisRun, Rollout};

use crate::bench::control_plane::{ControlPlane, User};
use crate::bench::fault_proxy::{Fault, FaultProxy};
use crate::bench::http;
use crate::bench::request::Match;
use crate::cluster::{self, Space, until};
use crate::controller::{History, Serin, at, phase, set_uids, space, web};
use crate::stub;

const STEPS: &str = "{steps: [{setWeight: 50}, {pause: {duration: 1s}}, {setWeight: 100}]}";
const JUDGED: &str = "{steps: [{setWeight: 50}, {analysis: {templates: [{templateName: judge}]}}, {pause: {}}, {setWeight: 100}]}";
const WAITING: &str = "{steps: [{setWeight: 40}, {pause: {}}, {setWeight: 80}, {pause: {}}]}";

/// A controller that speaks to the API server through a proxy of its own.
fn behind_a_proxy(space: &Space, more: &[&str]) -> (FaultProxy, Serin) {
    let plane = &cluster::shared().unwrap().plane;
    let proxy = FaultProxy::start(plane, &plane.serin).unwrap();
    let user = User {
        kubeconfig: proxy.kubeconfig.clone(),
        ..plane.serin.clone()
    };
    let flags = ["--leader-elect=false", "--namespace", &space.namespace];
    let flags = [&flags, more].concat();
    let serin = Serin::start_on(plane, &user, &space.namespace, &flags);
    (proxy, serin)
}

/// An update, and what a person does in it.
struct Story {
    canary: &'static str,
    /// The number of its steps.
    steps: i64,
    /// The step at which it is promoted by hand.
    promoted_at: Option<i64>,
    flags: Vec<String>,
}

impl Story {
    /// Timed, without a person or a gate.
    fn plain() -> Self {
        Self {
            canary: STEPS,
            steps: 3,
            promoted_at: None,
            flags: vec![],
        }
    }

    /// With a step that is judged and a pause that a person ends.
    async fn judged(space: &Space) -> Self {
        space.apply(stub::TEMPLATE);
        Self {
            canary: JUDGED,
            steps: 4,
            promoted_at: Some(2),
            flags: vec!["--prometheus".to_owned(), stub::prometheus("0.99").await],
        }
    }
}

/// One update from the first version to the second, with a fault set before it; the controller is
/// started again when it dies. Gives the writes of the update.
async fn update(space: &Space, story: &Story, fault: impl FnOnce(&FaultProxy, u32)) -> Vec<String> {
    let flags: Vec<&str> = story.flags.iter().map(String::as_str).collect();
    let (proxy, mut serin) = behind_a_proxy(space, &flags);
    space.apply(&web("1", 3, story.canary));
    let first = space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    let history = History::of(space, "web").await;
    let before = proxy.writes().len();
    fault(&proxy, serin.process.pid());
    space.apply(&web("2", 3, story.canary));
    let mut patience = 400;
    let mut promote_at = story.promoted_at;
    let last = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if serin.process.ended().is_some() {
            proxy.all_well();
            serin.kill_and_restart();
        }
        let status = space.rollout("web").await.status.unwrap();
        let waits = status
            .pause_conditions
            .as_ref()
            .is_some_and(|p| !p.is_empty());
        if waits && status.current_step_index == promote_at {
            space.command("web", "promote", "true");
            promote_at = None;
        }
        if status.stable_rs != first.stable_rs && status.phase.as_deref() == Some("Healthy") {
            break status;
        }
        patience -= 1;
        assert!(patience > 0, "it never ends: {status:#?}\n{}", serin.log());
    };
    let hash = last.current_pod_hash.unwrap();
    assert_eq!(
        history.steps(&hash),
        (0..=story.steps).collect::<Vec<_>>(),
        "each step once, in order"
    );
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 0), ("2".to_owned(), 3)]
    );
    let mut told = space.notes("web", "RolloutStepCompleted").await;
    let count = told.len();
    told.dedup();
    assert_eq!(told.len(), count, "no event twice: {told:?}");
    let writes = proxy.writes().split_off(before);
    writes
        .into_iter()
        .map(|w| w.asked.resource)
        .filter(|r| r != "events")
        .collect()
}

/// Every write of these resources in `reference`, by its number, before and after.
fn cells(resources: &[&'static str], reference: &[String]) -> Vec<(&'static str, u32, bool)> {
    let mut cells = Vec::new();
    for resource in resources {
        let count = reference.iter().filter(|r| *r == resource).count();
        assert!(count > 0, "no write of {resource} in {reference:?}");
        for nth in 1..=u32::try_from(count).unwrap() {
            cells.extend([(*resource, nth, false), (*resource, nth, true)]);
        }
    }
    cells
}

/// The fault of a cell.
fn kill((resource, nth, after): (&'static str, u32, bool)) -> impl FnOnce(&FaultProxy, u32) {
    move |proxy, pid| {
        let fault = if after {
            Fault::KillAfter { pid }
        } else {
            Fault::KillBefore { pid }
        };
        proxy.when(Match::write(resource).nth(nth), fault);
    }
}

#[tokio::test]
async fn a_crash_before_or_after_any_write_ends_as_if_there_was_none() {
    let Some(first) = space("sweep").await else {
        return;
    };
    let reference = update(&first, &Story::plain(), |_, _| {}).await;
    let cells = cells(&["rollouts", "rollouts/status", "replicasets"], &reference);
    let runs = cells.into_iter().map(|cell| async move {
        let space = space("sweep").await.unwrap();
        let writes = update(&space, &Story::plain(), kill(cell)).await;
        (cell, writes.len())
    });
    let runs: Vec<_> = futures::stream::iter(runs)
        .buffer_unordered(4)
        .collect()
        .await;
    few_more(&runs, reference.len());
}

/// The same around a command and around the writes of an analysis: taken once, measured once.
#[tokio::test]
async fn a_crash_around_a_command_or_a_measurement_ends_as_if_there_was_none() {
    let Some(first) = space("sweep-judged").await else {
        return;
    };
    let story = Story::judged(&first).await;
    let reference = update(&first, &story, |_, _| {}).await;
    let cells = cells(&["rollouts", "analysisruns"], &reference);
    let runs = cells.into_iter().map(|cell| async move {
        let space = space("sweep-judged").await.unwrap();
        let story = Story::judged(&space).await;
        let writes = update(&space, &story, kill(cell)).await;
        let all = space.api::<AnalysisRun>();
        let all = all.list(&ListParams::default()).await.unwrap();
        let names: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names.len(), 1, "one run: {names:?}");
        (cell, writes.len())
    });
    let runs: Vec<_> = futures::stream::iter(runs)
        .buffer_unordered(4)
        .collect()
        .await;
    few_more(&runs, reference.len());
}

fn few_more(runs: &[((&str, u32, bool), usize)], reference: usize) {
    for ((resource, nth, after), writes) in runs {
        let side = if *after { "after" } else { "before" };
        // On a busy machine fewer changes fall together in one write, crash or no crash.
        let most = reference + reference / 3;
        assert!(
            *writes <= most,
            "{side} write {nth} of {resource}: {writes} writes, {most} at most"
        );
    }
}

/// Told to end in the middle of a turn, it ends the turn first: what it began to write is written.
#[tokio::test]
async fn a_turn_under_way_is_finished_before_the_process_ends() {
    let Some(space) = space("drain").await else {
        return;
    };
    let (proxy, mut serin) = behind_a_proxy(&space, &[]);
    space.apply(&web("1", 2, WAITING));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    let before = proxy.writes().len();
    let slow = Fault::Delay(Duration::from_secs(2));
    proxy.when(Match::verb("create").on("replicasets"), slow);
    space.apply(&web("2", 2, WAITING));
    let begun = || (proxy.writes().len() > before).then_some(());
    until("the turn writes", begun).await;
    serin.process.ask_to_stop();
    let ended = until("the process ends", || serin.process.ended()).await;
    assert!(ended.success(), "{ended:?}\n{}", serin.log());
    let rollout = space.rollout("web").await;
    let hash = rollout.status.unwrap().current_pod_hash.unwrap();
    assert_eq!(set_uids(&space).await.len(), 2);
    let set = space.api::<ReplicaSet>().get(&format!("web-{hash}")).await;
    assert!(
        set.is_ok(),
        "the status speaks of the set that was made last"
    );
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_reading() {
    let Some(space) = space("lost").await else {
        return;
    };
    let writes = update(&space, &Story::plain(), |proxy, _| {
        let lost = Fault::ApplyThenRefuse { code: 504 };
        proxy.when(Match::verb("create").on("replicasets"), lost.clone());
        proxy.when(Match::write("rollouts/status").nth(2), lost.clone());
        proxy.when(Match::write("replicasets").nth(2), lost);
    })
    .await;
    assert!(writes.len() < 40, "{writes:?}");
    assert_eq!(set_uids(&space).await.len(), 2);
}

#[tokio::test]
async fn a_call_without_answer_holds_up_its_own_rollout_only_and_not_for_long() {
    let Some(space) = space("hang").await else {
        return;
    };
    let (proxy, _serin) = behind_a_proxy(&space, &[]);
    space.apply(&web("1", 2, WAITING));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    proxy.when(
        Match::write("rollouts/status").named("web").nth(1),
        Fault::Hang,
    );
    space.apply(&web("2", 2, WAITING));
    let other = web("1", 2, WAITING).replace("web", "other");
    space.apply(&other);
    space
        .reaches("other", "the other one goes on", phase("Healthy"))
        .await;
    space
        .reaches(
            "web",
            "it goes on when the call is given up",
            at(1, "Paused"),
        )
        .await;
}

#[tokio::test]
async fn an_old_view_of_the_replicasets_lowers_no_capacity() {
    let Some(space) = space("frozen").await else {
        return;
    };
    let (proxy, _serin) = behind_a_proxy(&space, &[]);
    space.apply(&web("1", 4, WAITING));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;
    // The second version is ready at first and dies where the frozen view shows it available.
    let labels = "metadata: {labels: {app: web}}";
    let dying = "metadata: {labels: {app: web}, annotations: {test.serin.dev/crash-after: 3s}}";
    space.apply(&web("2", 4, WAITING).replace(labels, dying));
    let paused = space.reaches("web", "it waits", at(1, "Paused")).await;
    proxy.freeze_watches("replicasets");
    let canary = format!("web-{}", paused.current_pod_hash.unwrap());
    let stable = format!("web-{}", paused.stable_rs.unwrap());
    let dead = |set: Option<&ReplicaSet>| {
        set.and_then(|s| s.status.as_ref())
            .is_some_and(|s| s.replicas == 2 && s.available_replicas.unwrap_or(0) == 0)
    };
    space.wait("the canary is dead", &canary, dead).await;
    space.command("web", "promote", "full");
    let taken = |r: Option<&Rollout>| {
        let notes = r.and_then(|r| r.metadata.annotations.as_ref());
        notes.is_some_and(|n| n.contains_key("serin.dev/last-command"))
    };
    space.wait("the command is taken", "web", taken).await;
    // What a hasty controller would do, it would do now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stable = space.api::<ReplicaSet>().get(&stable).await.unwrap();
    let size = stable.spec.and_then(|s| s.replicas).unwrap();
    assert!(
        size >= 3,
        "4 pods are wanted, 1 may be missing, and only {size} can serve"
    );
}

#[tokio::test]
async fn definitions_of_another_controller_are_reported_and_nothing_is_acted_on() {
    if !cluster::is_wanted() {
        return;
    }
    let plane = ControlPlane::start(&cluster::dir().join("foreign-plane")).unwrap();
    plane.give_serin_its_rights().unwrap();
    let kubectl = |args: &[&str]| {
        let output = plane.kubectl().args(args).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let crds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let ours = kubectl(&[
        "create",
        "--dry-run=client",
        "-o",
        "json",
        "-f",
        &crds.display().to_string(),
    ]);
    let mut list: Value = serde_json::from_str(&as_list(&ours)).unwrap();
    forget(&mut list, ADDITIONS);
    plane.apply(&list.to_string()).unwrap();
    kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    plane.apply(&web("1", 2, STEPS)).unwrap();
    let serin = Serin::start_on(&plane, &plane.serin, "foreign", &["--leader-elect=false"]);
    let not_ready = || {
        let (code, text) = http::get(serin.health, "/readyz").ok()?;
        (code == 503 && text.contains("kubectl apply -f crds/")).then_some(())
    };
    until("it says what to do", not_ready).await;
    assert!(
        !kubectl(&["get", "rs", "-o", "name"]).contains("web"),
        "nothing is acted on"
    );
    kubectl(&["apply", "-f", &crds.display().to_string()]);
    serin.ready().await;
    let acted = || {
        kubectl(&["get", "rs", "-o", "name"])
            .contains("web")
            .then_some(())
    };
    until("it goes to work", acted).await;
}

/// `kubectl -o json` of several files is one document after the other, or a List.
fn as_list(text: &str) -> String {
    let items: Vec<Value> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    match items.as_slice() {
        [list] if list["kind"] == "List" => list.to_string(),
        _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
    }
}

/// Removes properties of these names, and what is required of them.
fn forget(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !names.contains(&key.as_str()));
            map.values_mut().for_each(|v| forget(v, names));
        }
        Value::Array(items) => {
            items.retain(|i| {
                // Columns and rules that speak of what is taken away.
                let texts = ["jsonPath", "rule"].map(|key| i[key].as_str().unwrap_or_default());
                !names
                    .iter()
                    .any(|n| texts.iter().any(|text| text.contains(n)))
            });
            items.iter_mut().for_each(|v| forget(v, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
