//! Which pods a restart takes, as tables of one situation each.

// A test looks for one kind of write; the others are not its business.
#![allow(clippy::wildcard_enum_match_arm)]

use serde_json::{Value, json};

use crate::api::Rollout;
use crate::planner::observed::{Answers, Observed, PodSeen, ReplicaSetSeen, RolloutSeen};
use crate::planner::plan::{Plan, Write};
use crate::planner::{Need, needs, plan_rollout};

/// Seconds at which pods were made, the restart is wanted, and it is.
const OLD: i64 = 100;
const AT: i64 = 500;
const NOW: i64 = 1_000;

fn time(at: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at).unwrap()
}

/// A settled Rollout of `replicas`, asked to restart, with these pods: when made, since when ready.
struct Case {
    replicas: u32,
    canary: Value,
    size: u32,
    pods: Vec<(i64, Option<i64>)>,
    spec: Value,
}

fn case(replicas: u32, surge: u32, unavailable: u32) -> Case {
    Case {
        replicas,
        canary: json!({"maxSurge": surge, "maxUnavailable": unavailable}),
        size: replicas,
        pods: vec![(OLD, Some(OLD)); replicas as usize],
        spec: json!({}),
    }
}

fn observed(case: &Case) -> Observed {
    let mut spec = json!({
        "replicas": case.replicas,
        "restartAt": time(AT).to_string(),
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "web:1"}]}},
        "strategy": {"canary": case.canary},
    });
    crate::api::patch::apply_merge_patch(&mut spec, &case.spec);
    let mut rollout: Rollout = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 1,
            "resourceVersion": "1", "annotations": {"rollout.argoproj.io/revision": "1"}},
        "spec": spec,
    }))
    .unwrap();
    let seen = RolloutSeen::of(&rollout);
    let lowered = seen.spec.as_ref().unwrap();
    rollout.status = Some(
        serde_json::from_value(json!({
            "stableRS": "h", "currentPodHash": "h", "currentStepHash": lowered.step_hash(),
            "serin": {"hash": "h", "step": 0, "settled": true},
        }))
        .unwrap(),
    );
    let pods = case
        .pods
        .iter()
        .enumerate()
        .map(|(i, (made, ready))| PodSeen {
            name: format!("p{i}"),
            uid: format!("uid-p{i}"),
            owner: "rs".into(),
            created: time(*made),
            is_active: true,
            ready_since: ready.map(time),
            labels: Default::default(),
            annotations: Default::default(),
        });
    let ready = case.pods.iter().filter(|(_, ready)| ready.is_some());
    let ready = u32::try_from(ready.count()).unwrap();
    let set = ReplicaSetSeen {
        name: "web-h".into(),
        uid: "rs".into(),
        version: "2".into(),
        created: time(OLD),
        hash: "h".into(),
        revision: 1,
        revision_history: None,
        desired_replicas: Some(case.replicas),
        scale_down_deadline: None,
        template_digest: Some(seen.template_digest.clone()),
        ephemeral: None,
        injected: None,
        copied: None,
        config: None,
        was_stable: None,
        is_deleting: false,
        replicas: case.size,
        min_ready_seconds: lowered.min_ready_seconds,
        current: case.size,
        ready,
        available: ready,
        is_observed: true,
        failure: None,
    };
    Observed {
        now: time(NOW),
        rollout: RolloutSeen::of(&rollout),
        replica_sets: vec![set],
        runs: vec![],
        services: vec![],
        freezes: std::sync::Arc::default(),
        answers: Answers {
            pods: Some(pods.collect()),
            ..Answers::default()
        },
        is_fresh: true,
        evidence: None,
        experiments: vec![],
        default_prometheus: None,
        epoch: String::new(),
    }
}

/// Evicted pods by name, new sizes, and whether the restart is put down as done.
fn done(case: &Case) -> (Vec<String>, Vec<u32>, bool) {
    done_on(&observed(case))
}

fn done_on(seen: &Observed) -> (Vec<String>, Vec<u32>, bool) {
    let plan = plan_rollout(seen);
    let (mut evicted, mut sizes) = (vec![], vec![]);
    for effect in &plan.effects {
        match &effect.write {
            Write::EvictPod { name, .. } => {
                assert!(effect.disruptive, "an eviction rests on a live read");
                evicted.push(name.clone());
            }
            Write::PatchReplicaSet(patch) => sizes.extend(patch.replicas),
            _ => {}
        }
    }
    (evicted, sizes, is_done(&plan))
}

fn is_done(plan: &Plan) -> bool {
    plan.status.restarted_at.is_some()
}

#[test]
fn a_restart_takes_what_may_be_missing_and_no_more() {
    // R41: of 4 available pods with 3 that may be missing, 3 go.
    let (evicted, sizes, _) = done(&case(4, 0, 3));
    assert_eq!((evicted.len(), sizes.len()), (3, 0));
    // R41: sizes add up to 5, one may be missing. They come first where they may be changed.
    let mut five = case(4, 1, 1);
    five.size = 5;
    five.pods.push((OLD, Some(OLD)));
    assert_eq!(done(&five), (vec![], vec![4], false));
    five.spec = json!({"paused": true});
    assert_eq!(done(&five).0, ["p0"]);
    // One is missing already.
    let mut short = case(4, 1, 1);
    short.pods[3] = (AT, None);
    assert_eq!(done(&short), (vec![], vec![], false));
    // Both bounds come out as 0: one may be missing, or nothing could ever move.
    assert_eq!(done(&case(3, 0, 1)).0, ["p0"]);
}

#[test]
fn where_no_pod_may_be_missing_another_is_made_first() {
    assert_eq!(done(&case(1, 1, 0)), (vec![], vec![2], false));
    assert_eq!(
        done(&case(1, 1, 1)),
        (vec![], vec![2], false),
        "a single one"
    );
    assert_eq!(done(&case(4, 2, 0)), (vec![], vec![6], false));
    // Without surge the only pod has to go.
    assert_eq!(done(&case(1, 0, 1)).0, ["p0"]);
    let mut two = case(1, 1, 0);
    two.size = 2;
    two.pods.push((AT, None));
    assert_eq!(
        done(&two),
        (vec![], vec![], false),
        "not before it is there"
    );
    two.pods[1] = (AT, Some(AT + 1));
    assert_eq!(done(&two), (vec!["p0".to_owned()], vec![], false));
    // The last old one is gone: it is on record, and the room is given back.
    two.pods[0] = (AT, Some(AT + 1));
    assert_eq!(done(&two), (vec![], vec![1], true));
}

#[test]
fn pods_of_an_experiment_stand_in_for_nothing() {
    let mut seen = observed(&case(2, 1, 1));
    let mut pods = seen.answers.pods.clone().unwrap();
    let others = pods.clone().into_iter().map(|pod| PodSeen {
        name: format!("trial-{}", pod.name),
        uid: format!("trial-{}", pod.uid),
        owner: "of an Experiment".into(),
        ..pod
    });
    pods.extend(others.collect::<Vec<_>>());
    seen.answers.pods = Some(pods);
    assert_eq!(done_on(&seen).0, ["p0"]);
}

#[test]
fn a_pod_of_which_nobody_knows_whether_it_is_available_is_not_free() {
    // Ten seconds after it was ready, by a clock that tells whole seconds.
    let evicted = |ready: i64| {
        let mut one_by_one = case(2, 1, 1);
        one_by_one.spec = json!({"minReadySeconds": 10});
        one_by_one.pods[1] = (OLD, Some(ready));
        done(&one_by_one).0
    };
    assert_eq!(evicted(NOW - 11), ["p0"], "both are available");
    assert_eq!(evicted(NOW - 10), Vec::<String>::new());
    assert_eq!(evicted(NOW - 9), ["p1"], "it certainly is not");
}

#[test]
fn a_pod_of_which_nobody_can_tell_is_none_that_is_gone() {
    let available = |ready: i64| {
        let mut two = case(2, 1, 1);
        two.spec = json!({"minReadySeconds": 10});
        two.pods[1] = (OLD, Some(ready));
        let seen = observed(&two);
        let late = crate::planner::restart::without_late_counts(&seen);
        late.map_or(2, |(seen, _)| seen.replica_sets[0].available)
    };
    assert_eq!(available(NOW - 10), 2, "as its ReplicaSet counts it");
    assert_eq!(available(NOW - 9), 1);
    // And that is looked at again in the second in which nobody can tell any more.
    let mut two = case(2, 1, 1);
    two.spec = json!({"minReadySeconds": 10});
    two.pods[1] = (OLD, Some(NOW - 9));
    let late = crate::planner::restart::without_late_counts(&observed(&two));
    assert_eq!(late.unwrap().1, Some(time(NOW + 1)));
}

#[test]
fn pods_that_serve_nobody_go_first_and_cost_nothing() {
    let mut broken = case(4, 1, 1);
    broken.pods[2] = (OLD, None);
    assert_eq!(done(&broken).0, ["p2"], "the floor allows no other");
    let mut young = case(2, 1, 1);
    young.spec = json!({"minReadySeconds": 30, "progressDeadlineSeconds": 600});
    young.pods = vec![(OLD, Some(OLD)), (NOW - 5, Some(NOW - 5))];
    let seen = observed(&young);
    let plan = plan_rollout(&seen);
    assert_eq!(plan.effects.iter().filter(|e| e.disruptive).count(), 0);
    assert_eq!(
        plan.wake.time(),
        Some(time(NOW + 25)),
        "when it may be available"
    );
}

#[test]
fn a_restart_that_waits_is_tried_again_and_told() {
    let mut short = case(4, 1, 1);
    short.pods[3] = (AT, None);
    let plan = plan_rollout(&observed(&short));
    assert_eq!(plan.wake.time(), Some(time(NOW + 30)));
    assert_eq!(plan.status.phase.as_deref(), Some("Progressing"));
    assert_eq!(
        plan.status.message.as_deref(),
        Some("rollout is restarting")
    );
}

#[test]
fn pods_are_asked_for_only_while_a_restart_is_due() {
    let asked = |spec: Value| {
        let mut case = case(2, 1, 1);
        case.spec = spec;
        let mut seen = observed(&case);
        seen.answers.pods = None;
        (needs(&seen), plan_rollout(&seen).wake.time())
    };
    assert_eq!(asked(json!({})).0, [Need::Pods]);
    let later = time(NOW + 60);
    let (none, wake) = asked(json!({"restartAt": later.to_string()}));
    assert_eq!((none, wake), (vec![], Some(later)), "it is not time yet");
    let mut seen = observed(&case(2, 1, 1));
    let mut status = (*seen.rollout.status).clone();
    status.restarted_at = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time(
        AT,
    )));
    seen.rollout.status = status.into();
    seen.answers.pods = None;
    assert_eq!(needs(&seen), [], "it is done");
}

#[test]
fn a_frozen_rollout_is_not_made_bigger() {
    let mut frozen = case(1, 1, 0);
    frozen.spec = json!({"paused": true});
    assert_eq!(done(&frozen), (vec![], vec![], false));
    let mut frozen = case(4, 1, 1);
    frozen.spec = json!({"paused": true});
    assert_eq!(
        done(&frozen).0,
        ["p0"],
        "what may be missing goes all the same"
    );
}

/// The plan of a turn in which `tried` says how many were left when pods were evicted last, and when.
fn tried(case: &Case, left: i64, at: i64) -> Plan {
    let mut seen = observed(case);
    let mut status = (*seen.rollout.status).clone();
    let serin = status.serin.get_or_insert_default();
    serin.restart = Some(crate::api::status::RestartStatus {
        left,
        at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time(
            at,
        ))),
    });
    seen.rollout.status = status.into();
    plan_rollout(&seen)
}

#[test]
fn what_a_budget_refuses_is_tried_again_later_and_holds_nothing_else() {
    let four = case(4, 1, 1);
    let evicts = |plan: &Plan| {
        let mut effects = plan.effects.iter();
        effects.any(|e| matches!(e.write, Write::EvictPod { .. }))
    };
    let first = plan_rollout(&observed(&four));
    let put = first.status.serin.unwrap().restart.unwrap();
    assert_eq!((put.left, put.at.unwrap().0), (4, time(NOW)), "on record");
    let soon = tried(&four, 4, NOW - 10);
    assert!(!evicts(&soon), "the same pods a moment ago");
    assert_eq!(soon.wake.time(), Some(time(NOW + 20)));
    assert!(evicts(&tried(&four, 4, NOW - 30)), "it is time again");
    assert!(evicts(&tried(&four, 5, NOW - 1)), "one has gone since");
    // Somebody wants another size: a restart does not stand in the way.
    let mut larger = case(4, 1, 1);
    larger.spec = json!({"replicas": 6});
    assert_eq!(done(&larger), (vec![], vec![6], false));
    // Where room was made for it the room stays: no pods are made and removed in turn.
    let mut surged = case(4, 1, 0);
    surged.size = 5;
    surged.pods.push((AT, Some(AT)));
    let waits = tried(&surged, 4, NOW - 10);
    assert!(!evicts(&waits));
    assert_eq!(waits.effects.iter().filter(|e| e.disruptive).count(), 0);
}

#[test]
fn nothing_rests_on_counts_that_are_late() {
    // One was evicted a moment ago, and its ReplicaSet does not know yet: five are counted.
    let mut late = case(4, 1, 0);
    late.size = 5;
    late.pods = vec![(AT, Some(AT)); 4];
    let mut seen = observed(&late);
    seen.replica_sets[0].available = 5;
    let plan = plan_rollout(&seen);
    assert!(!is_done(&plan), "the counts come first");
    assert_eq!(plan.status.available_replicas, Some(4));
    // Nor are they where others asked for the pods, and no restart is due.
    seen.rollout.spec = {
        let mut spec = (**seen.rollout.spec.as_ref().unwrap()).clone();
        spec.restart_at = None;
        Ok(spec.into())
    };
    seen.answers.pods.as_mut().unwrap().pop();
    assert_eq!(plan_rollout(&seen).status.available_replicas, Some(3));
}
