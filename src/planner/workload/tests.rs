//! What a referenced workload gives and gives up, one situation each.

// A test looks for one kind of write; the others are not its business.
#![allow(clippy::wildcard_enum_match_arm)]

use serde_json::{Value, json};

use super::*;
use crate::api::{FINALIZER, LAST_COMMAND, RESTORE_ON_DELETE, Rollout, UNDO};
use crate::planner::observed::{Answers, ReplicaSetSeen};
use crate::planner::plan::Write;
use crate::planner::{needs, plan_rollout};

/// A Rollout of 4 that refers to a Deployment `web`, and has `available` pods of its own.
struct Case {
    spec: Value,
    metadata: Value,
    status: Value,
    found: Option<Found>,
    size: u32,
    available: u32,
    revision: u64,
}

fn deployment(replicas: u32, more: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "resourceVersion": "77", "generation": 5},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "web:1"}]}},
        },
        "status": {"observedGeneration": 5, "availableReplicas": replicas},
    });
    crate::api::patch::apply_merge_patch(&mut object, &more);
    object
}

fn found(object: &Value) -> Option<Found> {
    let seen = WorkloadSeen::of(WorkloadKind::Deployment, object);
    Some(Found::There(Arc::new(seen)))
}

fn case(scale_down: &str, deployment_size: u32, available: u32) -> Case {
    Case {
        spec: json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment",
            "name": "web", "scaleDown": scale_down}}),
        metadata: json!({}),
        status: json!({}),
        found: found(&deployment(deployment_size, json!({}))),
        size: 4,
        available,
        revision: 1,
    }
}

fn observed_rollout(case: &Case) -> Rollout {
    let mut object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": 4, "strategy": {"canary": {}}},
        "status": {"stableRS": "h", "currentPodHash": "h",
            "currentStepHash": crate::planner::revision::step_hash(None),
            "serin": {"hash": "h", "step": 0}},
    });
    let patch = json!({"spec": case.spec, "metadata": case.metadata, "status": case.status});
    crate::api::patch::apply_merge_patch(&mut object, &patch);
    serde_json::from_value(object).unwrap()
}

fn observed(case: &Case) -> Observed {
    let rollout = observed_rollout(case);
    let seen = resolved(RolloutSeen::of(&rollout), &[], case.found.as_ref());
    let set = ReplicaSetSeen {
        name: "web-h".into(),
        uid: "rs".into(),
        version: "2".into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        hash: "h".into(),
        revision: case.revision,
        revision_history: None,
        desired_replicas: Some(4),
        scale_down_deadline: None,
        template_digest: Some(seen.template_digest.clone()),
        ephemeral: None,
        injected: None,
        copied: None,
        config: None,
        was_stable: None,
        is_deleting: false,
        replicas: case.size,
        min_ready_seconds: 0,
        current: case.size,
        ready: case.available,
        available: case.available,
        is_observed: true,
        failure: None,
    };
    Observed {
        now: jiff::Timestamp::from_second(1_000).unwrap(),
        rollout: seen,
        replica_sets: vec![set],
        runs: vec![],
        services: vec![],
        freezes: std::sync::Arc::default(),
        answers: Answers {
            workload: case.found.clone(),
            ..Answers::default()
        },
        is_fresh: true,
        evidence: None,
        experiments: vec![],
        default_prometheus: None,
        epoch: String::new(),
    }
}

/// The new size of the Deployment, if it gets one, and its recorded old one.
fn scaled(case: &Case) -> Option<(u32, Option<u32>)> {
    let plan = plan_rollout(&observed(case));
    plan.effects.iter().find_map(|effect| match &effect.write {
        Write::ScaleWorkload(scale) => {
            assert_eq!(effect.disruptive, scale.replicas < scale.from);
            assert_eq!(scale.version, "77");
            Some((scale.replicas, scale.before))
        }
        _ => None,
    })
}

#[test]
fn a_deployment_gives_its_pods_up_as_it_is_told() {
    let table = [
        // how, its size, our available pods, its new size
        ("never", 4, 4, None),
        ("onsuccess", 4, 3, None),
        ("onsuccess", 4, 4, Some(0)),
        ("onsuccess", 0, 4, None),
        ("progressively", 4, 0, None),
        ("progressively", 4, 1, Some(3)),
        ("progressively", 3, 3, Some(1)),
        ("progressively", 1, 4, Some(0)),
        // The Rollout is not meant to have as many.
        ("progressively", 9, 1, None),
        ("onsuccess", 6, 4, None),
    ];
    for (how, size, available, expect) in table {
        let new = scaled(&case(how, size, available)).map(|(size, _)| size);
        assert_eq!(new, expect, "{how}: {size} against {available}");
    }
    assert_eq!(
        scaled(&case("onsuccess", 4, 4)),
        Some((0, Some(4))),
        "its size is on record"
    );
    // It has taken over once, and is smaller now: what a manifest brings back is taken again.
    let mut again = case("onsuccess", 6, 4);
    again.status = json!({"serin": {"settled": true}});
    again.found = found(&deployment(
        6,
        json!({"metadata": {"annotations": {REPLICAS_BEFORE: "6"}}}),
    ));
    assert_eq!(scaled(&again), Some((0, Some(6))));
    again.status = json!({});
    assert_eq!(scaled(&again), None, "in the middle of taking over");
    // A Rollout at 0 takes nothing from anybody: people go back that way.
    let mut none = case("onsuccess", 4, 0);
    none.spec["replicas"] = json!(0);
    none.size = 0;
    assert_eq!(scaled(&none), None);
}

#[test]
fn a_deployment_that_is_larger_keeps_its_pods_and_that_is_told() {
    let told = |case: &Case| {
        let plan = plan_rollout(&observed(case));
        let mut events = plan.events.into_iter();
        let event = events.find(|e| e.reason == reasons::WORKLOAD_KEPT);
        let noted = plan
            .notes
            .iter()
            .any(|n| n.0.contains("nothing is taken from it"));
        (event.map(|e| e.note).unwrap_or_default(), noted)
    };
    let (text, noted) = told(&case("onsuccess", 6, 4));
    assert_eq!(
        text,
        "Deployment web has 6 pods and spec.replicas is 4: nothing is taken from it; set spec.replicas to 6, or scale Deployment web down to 4 first"
    );
    assert!(noted);
    assert_eq!(
        told(&case("progressively", 6, 2)),
        (String::new(), true),
        "not every turn"
    );
    let mut unset = case("progressively", 2, 1);
    unset.spec["replicas"] = json!(null);
    assert_eq!(scaled(&unset), None, "nobody said how many");
}

#[test]
fn it_is_so_at_every_revision_and_pods_come_back_on_the_way_in_only() {
    let mut later = case("onsuccess", 4, 4);
    later.revision = 7;
    assert_eq!(
        scaled(&later),
        Some((0, Some(4))),
        "somebody applied the manifest again"
    );
    // Two of ours went away again while it moves in: theirs come back.
    let mut back = case("progressively", 1, 2);
    back.found = found(&deployment(
        1,
        json!({"metadata": {"annotations": {REPLICAS_BEFORE: "4"}}}),
    ));
    assert_eq!(scaled(&back), Some((2, Some(4))));
    back.revision = 2;
    assert_eq!(
        scaled(&back),
        None,
        "later its pods would be an ungated version"
    );
    back.revision = 1;
    back.status = json!({"serin": {"settled": true}});
    assert_eq!(scaled(&back), None);
}

#[test]
fn template_and_selector_come_from_the_workload_and_are_never_written() {
    let mut asks = observed(&case("never", 4, 4));
    asks.answers.workload = None;
    let key = WorkloadKey {
        kind: WorkloadKind::Deployment,
        name: "web".into(),
    };
    assert_eq!(needs(&asks), [Need::Workload(key)]);
    let seen = observed(&case("never", 4, 4));
    let spec = seen.rollout.spec.as_ref().unwrap();
    assert_eq!(spec.selector_text, "app=web");
    assert_eq!(spec.template_labels.map()["app"], "web");
    let plan = plan_rollout(&seen);
    let patch = plan.effects.iter().find_map(|effect| match &effect.write {
        Write::PatchRollout { patch, .. } => Some(patch.clone()),
        _ => None,
    });
    let patch = patch.unwrap();
    assert_eq!(patch["metadata"]["annotations"][WORKLOAD_GENERATION], "5");
    assert_eq!(patch.get("spec"), None);
    assert_eq!(
        plan.status.workload_observed_generation.as_deref(),
        Some("5")
    );
}

#[test]
fn what_cannot_be_used_is_told_and_looked_for_again() {
    let faults = |case: &Case| {
        let plan = plan_rollout(&observed(case));
        (
            plan.status.message.unwrap_or_default(),
            plan.wake.time().is_some(),
        )
    };
    let mut gone = case("never", 4, 4);
    gone.found = Some(Found::Absent);
    let (message, again) = faults(&gone);
    assert!(message.contains("Deployment web is not found"), "{message}");
    assert!(again);
    gone.found = Some(Found::Refused("forbidden".into()));
    assert!(faults(&gone).0.contains("cannot be read: forbidden"));
    let mut other = case("never", 4, 4);
    other.spec["selector"] = json!({"matchLabels": {"app": "other"}});
    let (message, _) = faults(&other);
    assert!(
        message.contains("spec.workloadRef (Deployment web) template.metadata.labels"),
        "{message}"
    );
    let mut wrong = case("sometimes", 4, 4);
    wrong.spec["workloadRef"]["kind"] = json!("DaemonSet");
    let (message, _) = faults(&wrong);
    assert!(
        message.contains("workload of type apps/v1/DaemonSet is not supported"),
        "{message}"
    );
    assert!(
        message.contains("must be never, onsuccess or progressively"),
        "{message}"
    );
}

#[test]
fn an_empty_template_beside_a_reference_is_fine() {
    let mut both = case("never", 4, 4);
    both.spec["template"] = json!({"metadata": {}, "spec": {"containers": []}});
    assert!(observed(&both).rollout.spec.is_ok());
    both.spec["template"] = json!({"metadata": {"labels": {"app": "web"}}});
    assert!(observed(&both).rollout.spec.is_err());
}

#[test]
fn a_rollout_that_is_to_restore_is_held_until_it_has() {
    let mut asked = case("onsuccess", 0, 4);
    asked.metadata = json!({"annotations": {RESTORE_ON_DELETE: "true"}});
    let patch = |case: &Case| {
        let plan = plan_rollout(&observed(case));
        plan.effects
            .into_iter()
            .find_map(|effect| match effect.write {
                Write::PatchRollout { patch, .. } => patch.pointer("/metadata/finalizers").cloned(),
                _ => None,
            })
    };
    assert_eq!(patch(&asked), Some(json!([FINALIZER])));
    asked.metadata = json!({"finalizers": ["other", FINALIZER]});
    assert_eq!(
        patch(&asked),
        Some(json!(["other"])),
        "not asked for any more"
    );

    let deleted = |deployment: Value| {
        let mut case = case("onsuccess", 0, 4);
        case.metadata = json!({"annotations": {RESTORE_ON_DELETE: "true"},
            "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        case.found = found(&deployment);
        case
    };
    let empty = plan_rollout(&observed(&deleted(deployment(0, json!({})))));
    assert!(matches!(&empty.effects[0].write, Write::ScaleWorkload(s) if s.replicas == 4));
    assert!(empty.status.message.unwrap().contains("to delete at once"));
    let slow = deployment(4, json!({"status": {"availableReplicas": 3}}));
    assert_eq!(patch(&deleted(slow)), None, "three of four");
    let back = deleted(deployment(4, json!({})));
    assert_eq!(patch(&back), Some(json!([])));
    let mut gone = deleted(deployment(0, json!({})));
    gone.found = Some(Found::Absent);
    assert_eq!(patch(&gone), Some(json!([])), "there is nothing to restore");
    // An invalid spec is no reason to leave the Deployment empty.
    let mut broken = deleted(deployment(0, json!({})));
    broken.spec["strategy"] = json!({"canary": {"steps": [{"setWeight": 500}]}});
    assert!(observed(&broken).rollout.spec.is_err());
    let plan = plan_rollout(&observed(&broken));
    assert!(matches!(&plan.effects[0].write, Write::ScaleWorkload(s) if s.replicas == 4));
    let mut asks = observed(&broken);
    asks.answers.workload = None;
    assert!(matches!(needs(&asks)[..], [Need::Workload(_)]));
    broken.found = found(&deployment(4, json!({})));
    assert_eq!(patch(&broken), Some(json!([])));
    broken.spec["replicas"] = json!(-1);
    broken.found = found(&deployment(0, json!({})));
    let plan = plan_rollout(&observed(&broken));
    assert!(matches!(&plan.effects[0].write, Write::ScaleWorkload(s) if s.replicas == 4));
    broken.spec["workloadRef"]["kind"] = json!("Deploymnt");
    let plan = plan_rollout(&observed(&broken));
    let message = plan.status.message.clone().unwrap();
    assert!(
        message.contains("spec.workloadRef cannot be read")
            && message.contains("to delete at once"),
        "{message}"
    );
    assert_eq!(plan.effects.len(), 1, "nothing but the status");
}

/// A Rollout at version 2 of its Deployment that is to go back to version 1.
fn undone(value: &str, kind: WorkloadKind) -> Observed {
    let mut case = case("never", 0, 4);
    case.revision = 2;
    case.metadata = json!({"annotations": {UNDO: value}});
    case.spec["selector"] = json!({"matchLabels": {"app": "web"}});
    if kind == WorkloadKind::PodTemplate {
        let mut object = deployment(0, json!({}));
        object["template"] = object["spec"]["template"].clone();
        let found = WorkloadSeen::of(kind, &object);
        case.found = Some(Found::There(Arc::new(found)));
        case.spec["workloadRef"] =
            json!({"apiVersion": "v1", "kind": "PodTemplate", "name": "web"});
    }
    let mut seen = observed(&case);
    let mut old = seen.replica_sets[0].clone();
    old.name = "web-old".into();
    old.uid = "old".into();
    old.hash = "old".into();
    old.revision = 1;
    old.template_digest = Some("v1:another".into());
    seen.replica_sets.push(old);
    let stored = json!({"metadata": {"labels": {"app": "web", "rollouts-pod-template-hash": "old"}},
        "spec": {"containers": [{"name": "app", "image": "web:0"}]}});
    let templates = &mut seen.answers.replica_set_templates;
    templates.insert("web-old".into(), Arc::new(stored));
    seen
}

/// What an undo writes, in order: patches of the workload and of the Rollout.
fn writes(seen: &Observed) -> Vec<Value> {
    let plan = plan_rollout(seen);
    let writes = plan.effects.iter().filter_map(|e| match &e.write {
        Write::PatchWorkload(patch) => Some(patch.to_json()),
        Write::PatchRollout { patch, .. } => Some(patch.clone()),
        _ => None,
    });
    writes.collect()
}

fn outcome_of(patch: &Value) -> String {
    let text = &patch["metadata"]["annotations"][LAST_COMMAND];
    let last: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    last["outcome"].as_str().unwrap().to_owned()
}

#[test]
fn undo_gives_the_former_template_to_the_workload_it_comes_from() {
    let image = json!({"spec": {"containers": [{"name": "app", "image": "web:0"}]}});
    let seen = undone("true", WorkloadKind::Deployment);
    let written = writes(&seen);
    assert_eq!(
        written[0],
        json!({"metadata": {"resourceVersion": "77"}, "spec": {"template": image}}),
        "first, and the hash label stays away"
    );
    assert_eq!(written[1]["metadata"]["annotations"][UNDO], Value::Null);
    assert_eq!(written[1].get("spec"), None, "the Rollout has no template");
    assert_eq!(outcome_of(&written[1]), "done");
    assert_eq!(
        writes(&undone("1", WorkloadKind::PodTemplate))[0]["template"],
        image
    );

    // It was done before a crash: what is left is to put it down.
    let mut again = seen.clone();
    let mut object = deployment(0, json!({}));
    object["spec"]["template"]["spec"] = image["spec"].clone();
    again.answers.workload = found(&object);
    let left = writes(&again);
    assert_eq!((left.len(), outcome_of(&left[0]).as_str()), (1, "done"));
}

#[test]
fn an_undo_that_the_workload_refuses_is_refused_and_nothing_is_held_by_it() {
    use crate::planner::plan::Outcome;
    use crate::planner::turn::Turn;

    let mut seen = undone("fast", WorkloadKind::Deployment);
    let mut spec = (**seen.rollout.spec.as_ref().unwrap()).clone();
    spec.paused = true;
    seen.rollout.spec = Ok(Arc::new(spec));
    let mut turn = Turn::new(&seen, plan_rollout(&seen));
    let mut taken = None;
    while let Some(effect) = turn.next_effect() {
        if let Write::PatchRollout { patch, .. } = &effect.write {
            taken = Some(patch.clone());
        }
        let is_workload = matches!(effect.write, Write::PatchWorkload(_));
        turn.record(match is_workload {
            true => Outcome::Refused("deployments.apps \"web\" is forbidden".into()),
            false => Outcome::Done {
                version: "2".into(),
            },
        });
    }
    let taken = taken.unwrap();
    assert_eq!(
        outcome_of(&taken),
        "refused: could not give Deployment web its former template: deployments.apps \"web\" is forbidden"
    );
    assert_eq!(taken.get("spec"), None, "it stays paused");
    let end = turn.finish();
    assert_eq!(end.failure, None);
    assert_eq!(end.events[0].reason, reasons::COMMAND_REFUSED);
}

#[test]
fn a_workload_that_is_lost_in_the_middle_holds_neither_sizes_nor_the_way_back() {
    let mut running = observed(&case("never", 4, 4));
    for lost in [Found::Absent, Found::Refused("forbidden".into())] {
        let mut case = case("never", 4, 4);
        case.spec["replicas"] = json!(6);
        case.metadata = json!({"annotations": {WORKLOAD_GENERATION: "5", UNDO: "1"}});
        case.status = json!({"selector": "app=web", "workloadObservedGeneration": "5"});
        case.found = Some(lost.clone());
        let mut seen = observed(&case);
        assert!(seen.rollout.spec.is_err(), "without a version of its own");
        std::mem::swap(&mut seen.replica_sets, &mut running.replica_sets);
        // As it is observed where its version runs.
        let object = observed_rollout(&case);
        seen.rollout = resolved(RolloutSeen::of(&object), &seen.replica_sets, Some(&lost));
        let spec = seen.rollout.spec.clone().unwrap();
        assert_eq!(spec.selector_text, "app=web");
        assert_eq!(needs(&seen), [], "nothing is asked for that cannot come");
        let taken = plan_rollout(&seen);
        let Write::PatchRollout { patch, .. } = &taken.effects[0].write else {
            panic!("{taken:?}");
        };
        assert!(outcome_of(patch).starts_with("refused"));
        let mut next = seen.clone();
        let annotations = Arc::make_mut(&mut next.rollout.annotations);
        annotations.remove(UNDO);
        let plan = plan_rollout(&next);
        let sizes = plan.effects.iter().filter_map(|e| match &e.write {
            Write::PatchReplicaSet(patch) => patch.replicas,
            _ => None,
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [6], "an autoscaler is followed");
        let message = plan.status.message.clone().unwrap();
        assert!(message.contains("spec.workloadRef"), "{message}");
        assert_eq!(plan.status.phase.as_deref(), Some("Degraded"));
        assert_eq!(plan.wake.time(), Some(after(next.now, AGAIN)));
        std::mem::swap(&mut seen.replica_sets, &mut running.replica_sets);
    }
}
