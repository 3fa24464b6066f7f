//! ReplicaSets by name and number: a name that is taken, how many old ones stay and which, their
//! revisions, and one that cannot be made.

use super::*;

/// The name that the ReplicaSet of the current template gets.
fn name_of(w: &World, collisions: i64) -> String {
    let digest = revision::template_digest(w.rollout.spec.template.as_ref().unwrap());
    format!("web-{}", revision::pod_hash(&digest, collisions))
}

fn named(owner: Option<&str>, digest: Option<&str>) -> Named {
    Named {
        owner: owner.map(str::to_owned),
        template_digest: digest.map(str::to_owned),
    }
}

#[test]
fn a_name_that_another_object_has_gives_the_next_hash() {
    let ours = "u";
    let digest = |w: &World| revision::template_digest(w.rollout.spec.template.as_ref().unwrap());
    // Who has the name, and whether the next hash is tried.
    for (owner, same_template) in [
        (None, true),
        (Some("somebody"), true),
        (Some("somebody"), false),
        (Some(ours), false),
    ] {
        let mut w = world(3, json!(null));
        w.settle();
        w.image("web:2");
        let (taken, next) = (name_of(&w, 0), name_of(&w, 1));
        assert_ne!(taken, next);
        let of = same_template.then(|| digest(&w));
        w.foreign.insert(taken.clone(), named(owner, of.as_deref()));
        w.settle();
        let case = format!("{owner:?} {same_template}");
        assert_eq!(w.status().collision_count, Some(1), "{case}");
        assert_eq!(w.phase(), pair("Healthy", ""), "{case}");
        let names: Vec<&str> = w.sets.iter().map(|rs| rs.name.as_str()).collect();
        assert!(names.contains(&next.as_str()), "{case}: {names:?}");
        assert!(!names.contains(&taken.as_str()), "{case}: {names:?}");
        assert_eq!(
            w.status().stable_rs.unwrap(),
            next.trim_start_matches("web-"),
            "{case}"
        );
    }
}

/// Ours with this very template, which no view shows yet: it is waited for, and no second one made.
#[test]
fn our_own_replica_set_that_is_not_seen_yet_is_no_collision() {
    let mut w = world(3, json!(null));
    w.settle();
    w.image("web:2");
    let digest = revision::template_digest(w.rollout.spec.template.as_ref().unwrap());
    w.foreign
        .insert(name_of(&w, 0), named(Some("u"), Some(&digest)));
    w.settle();
    assert_eq!(w.status().collision_count, None);
    assert_eq!(w.sizes(), [3]);
    let one_more = name_of(&w, 1);
    assert!(w.sets.iter().all(|rs| rs.name != one_more));
}

/// A name that is taken twice in a row.
#[test]
fn collisions_are_counted_for_as_long_as_there_are_any() {
    let mut w = world(3, json!(null));
    w.settle();
    w.image("web:2");
    for collisions in [0, 1] {
        let name = name_of(&w, collisions);
        w.foreign.insert(name, named(Some("somebody"), None));
    }
    w.settle();
    assert_eq!(w.status().collision_count, Some(2));
    assert_eq!(w.sets.last().unwrap().name, name_of(&w, 2));
    // Asked again, it is the same one.
    w.settle();
    assert_eq!(w.sets.len(), 2);
}

#[test]
fn old_replica_sets_go_oldest_first_beyond_the_limit() {
    for (limit, kept) in [
        (None, vec!["web:1", "web:2", "web:3", "web:4", "web:5"]),
        (Some(2), vec!["web:3", "web:4", "web:5"]),
        (Some(1), vec!["web:4", "web:5"]),
        (Some(0), vec!["web:5"]),
    ] {
        let mut w = world(2, json!(null));
        w.rollout.spec.revision_history_limit = limit;
        w.settle();
        for image in ["web:2", "web:3", "web:4", "web:5"] {
            w.now += 10;
            w.image(image);
            w.settle();
            assert_eq!(w.phase(), pair("Healthy", ""), "{image}");
        }
        let image_of = |rs: &ReplicaSetSeen| {
            let all = w.templates.iter();
            let of = all.rev().find(|(name, _)| *name == rs.name);
            of.unwrap().1.clone()
        };
        let images: Vec<String> = w.sets.iter().map(image_of).collect();
        assert_eq!(images, kept, "limit {limit:?}");
    }
}

/// What still has pods, or is not observed, is not deleted; it counts all the same.
#[test]
fn only_empty_ones_are_deleted() {
    let mut w = world(2, json!(null));
    w.rollout.spec.revision_history_limit = Some(1);
    w.settle();
    for image in ["web:2", "web:3"] {
        w.now += 10;
        w.image(image);
        w.settle();
    }
    assert_eq!(w.sets.len(), 2, "web:2 and web:3");
    w.rollout.spec.revision_history_limit = Some(0);
    w.generation();
    w.sets[0].is_observed = false;
    w.writes.clear();
    w.settle();
    assert!(!w.writes.iter().any(|x| x.starts_with("delete")));
    w.sets[0].is_observed = true;
    w.settle();
    assert_eq!(w.sets.len(), 1);
}

/// S5: the number is the newest, and those that it had before stay beside it.
#[test]
fn revisions_that_come_back_keep_a_history() {
    let mut w = world(2, json!(null));
    w.settle();
    for (image, revisions) in [
        ("web:2", [1, 2]),
        ("web:1", [3, 2]),
        ("web:2", [3, 4]),
        ("web:1", [5, 4]),
    ] {
        w.now += 10;
        w.image(image);
        w.settle();
        let now: Vec<u64> = w.sets.iter().map(|rs| rs.revision).collect();
        assert_eq!(now, revisions, "{image}");
    }
    let history: Vec<_> = w
        .sets
        .iter()
        .map(|rs| rs.revision_history.as_deref())
        .collect();
    assert_eq!(history, [Some("1,3"), Some("2")]);
    let shown = &w.rollout.metadata.annotations.as_ref().unwrap()[REVISION];
    assert_eq!(shown, "5");
}

/// A ReplicaSet that the API server refuses: what it says is told, and after a minute a person is
/// called; once it may be made, everything goes on.
#[test]
fn a_replica_set_that_cannot_be_made_is_told_and_stalls_after_a_minute() {
    let mut w = world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    w.events.clear();
    w.image("web:2");
    w.no_creates = Some("exceeded quota: count/replicasets.apps".into());
    let turn_once = |w: &mut World| {
        w.pods();
        w.turn();
        w.turn();
    };
    turn_once(&mut w);
    let name = name_of(&w, 0);
    let why = format!(
        "Failed to create new replica set {name:?}: exceeded quota: count/replicasets.apps"
    );
    let progressing = || pair("False", "ReplicaSetCreateError");
    assert_eq!(w.condition("Progressing"), progressing());
    let message = |w: &World| {
        let status = w.status();
        let c = status.conditions.iter().find(|c| c.type_ == "Progressing");
        c.unwrap().message.clone().unwrap()
    };
    assert_eq!(message(&w), why);
    assert_eq!(w.phase(), pair("Progressing", &why), "I-17: not Healthy");
    assert_eq!(w.condition("Ready").0, "False");
    assert!(
        w.events
            .iter()
            .any(|e| *e == format!("ReplicaSetCreateError {why}")),
        "{:?}",
        w.events
    );
    assert_eq!(w.condition("Stalled"), pair("False", "Unhindered"));
    w.now += 61;
    turn_once(&mut w);
    assert_eq!(w.condition("Progressing"), progressing());
    assert_eq!(
        w.condition("Stalled"),
        pair("True", "ReplicaSetCreateError")
    );
    assert_eq!(w.sizes(), [2], "nothing of the old version is taken away");
    w.no_creates = None;
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.condition("Stalled").0, "False");
}

/// Deleted at rest, and refused when it is made again: what is gone is not Healthy, however long that
/// lasts, and nothing is written for it more than once.
#[test]
fn a_version_at_rest_that_cannot_be_made_again_is_not_healthy() {
    let at_rest = || world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    let blue_green = || super::blue_green::blue_green(json!({}));
    for (mut w, strategy) in [(at_rest(), "canary"), (blue_green(), "blueGreen")] {
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""), "{strategy}");
        w.sets.clear();
        w.no_creates = Some("no".into());
        for _ in 0..3 {
            w.writes.clear();
            w.turn();
        }
        let (phase, message) = w.phase();
        assert_eq!(phase, "Progressing", "{strategy}");
        assert!(
            message.starts_with("Failed to create new replica set"),
            "{strategy}: {message}"
        );
        let status = w.status();
        assert_eq!(status.available_replicas, Some(0), "{strategy}");
        assert_eq!(status.updated_replicas, Some(0), "{strategy}");
        assert_eq!(w.condition("Healthy").0, "False", "{strategy}");
        assert_eq!(w.condition("Available").0, "False", "{strategy}");
        assert_eq!(w.condition("Ready").0, "False", "{strategy}");
        assert_eq!(w.writes, [""; 0], "{strategy}: said once");
        w.no_creates = None;
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""), "{strategy}");
    }
}

/// An aborted version that cannot be made again stays aborted, and what was in the way is forgotten
/// when it is not any more.
#[test]
fn an_abort_stands_while_its_replica_set_cannot_be_made_again() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.annotate(crate::api::ABORT, "no good");
    w.settle();
    let (_, before) = w.phase();
    w.sets.remove(1);
    w.no_creates = Some("no".into());
    w.turn();
    assert_eq!(w.phase().0, "Degraded");
    let failed = |w: &World| {
        let status = w.status();
        let c = status.conditions.iter().find(|c| c.type_ == "Progressing");
        c.unwrap().message.clone().unwrap().contains("; Failed to")
    };
    assert!(failed(&w));
    w.no_creates = None;
    w.settle();
    assert!(!failed(&w));
    assert_eq!(w.phase(), pair("Degraded", &before));
}

/// A ReplicaSet that cannot make its pods (quota, admission): condition ReplicaFailure in the words of
/// Kubernetes, a call for a person after a minute, and both gone when the pods come.
#[test]
fn pods_that_cannot_be_made_are_told_and_stall_after_a_minute() {
    let mut w = world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    w.image("web:2");
    let refusal = ("FailedCreate".to_owned(), "exceeded quota: pods".to_owned());
    for _ in 0..6 {
        if let Some(rs) = w.sets.get_mut(1) {
            rs.failure = Some(refusal.clone());
        }
        w.pods();
        w.turn();
    }
    assert_eq!(w.condition("ReplicaFailure"), pair("True", "FailedCreate"));
    assert_eq!(w.condition("Stalled"), pair("False", "Unhindered"));
    w.now += 61;
    w.turn();
    assert_eq!(w.condition("Stalled"), pair("True", "FailedCreate"));
    assert_eq!(w.phase().0, "Progressing", "the deadline is far away");
    w.sets[1].failure = None;
    w.settle();
    assert!(
        w.status()
            .conditions
            .iter()
            .all(|c| c.type_ != "ReplicaFailure")
    );
    assert_eq!(w.condition("Stalled").0, "False");
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
}
