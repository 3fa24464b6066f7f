//! What somebody deletes, takes the name of, or refuses: the stable ReplicaSet, its kept template,
//! copies of configuration.

// A test looks for one kind of write; the others are not its business.
#![allow(clippy::wildcard_enum_match_arm)]

use super::*;
use crate::api::TRACK_CONFIG;
use crate::planner::config::{self, ConfigKey, ConfigKind, Contents, CopySeen};
use crate::planner::observed::Named;
use crate::planner::plan::Owned;

/// An update at its pause whose stable ReplicaSet is gone, with what was kept of it by `owner`.
fn without_stable(owner: &str) -> (Observed, ReplicaSetSeen) {
    let w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    let mut seen = w.observed();
    let stable = seen.replica_sets.remove(0);
    let template = w.stored[&stable.name].clone();
    seen.answers.kept = Some(Some(Arc::new(json!({
        "metadata": {"ownerReferences": [{"uid": owner}]},
        "revision": 1, "data": {"template": *template},
    }))));
    (seen, stable)
}

fn made(seen: &Observed) -> (Vec<String>, String) {
    let plan = plan_rollout(seen);
    let made = plan.effects.iter().filter_map(|e| match &e.write {
        Write::CreateReplicaSet(set) => Some(set.name.clone()),
        _ => None,
    });
    let notes: Vec<String> = plan.notes.iter().map(|n| n.0.clone()).collect();
    (made.collect(), notes.join("; "))
}

#[test]
fn a_stable_version_is_made_again_from_what_is_ours_under_a_name_that_is_free() {
    let (seen, stable) = without_stable("u");
    assert_eq!(made(&seen).0.join(" "), stable.name);
    assert_eq!(
        made(&without_stable("other").0).0,
        [""; 0],
        "not our record"
    );
    // It is still on its way out: a foreground deletion waits for its pods.
    let mut going = seen.clone();
    going.replica_sets.push(ReplicaSetSeen {
        is_deleting: true,
        ..stable.clone()
    });
    let (sets, notes) = made(&going);
    assert_eq!(sets, [""; 0]);
    assert!(
        notes.contains("to be gone before it is made again"),
        "{notes}"
    );
    for (owner, wanted) in [("u", "exists already"), ("other", "not this Rollout's")] {
        let mut taken = seen.clone();
        let named = Named {
            owner: Some(owner.into()),
            template_digest: None,
        };
        taken.answers.named.insert(stable.name.clone(), Some(named));
        let (sets, notes) = made(&taken);
        assert_eq!(sets, [""; 0], "{owner}");
        assert!(notes.contains(wanted), "{notes}");
    }
}

#[test]
fn a_template_is_kept_under_a_name_that_is_free_and_let_go_only_where_it_is_ours() {
    let mut w = world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    w.image("web:2");
    let kept = |seen: &Observed| {
        let plan = plan_rollout(seen);
        let mut effects = plan.effects.iter();
        let has = effects.any(|e| matches!(e.write, Write::KeepTemplate(_)));
        let mut events = plan.events.iter().map(|e| e.note.clone());
        (has, events.find(|e| e.contains("ControllerRevision")))
    };
    let mut seen = w.observed();
    assert_eq!(kept(&seen), (true, None));
    let there = |owner: &str| {
        let object = json!({"metadata": {"ownerReferences": [{"uid": owner}]}});
        Some(Some(Arc::new(object)))
    };
    seen.answers.kept = there("u");
    assert_eq!(kept(&seen), (false, None), "it is kept already");
    seen.answers.kept = there("a StatefulSet");
    let (has, told) = kept(&seen);
    assert!(!has && told.unwrap().contains("belongs to somebody else"));
    seen.answers.kept = None;
    let asked = crate::planner::needs(&seen);
    assert!(matches!(asked[..], [Need::Kept(_)]), "{asked:?}");
}

fn key(name: &str) -> ConfigKey {
    ConfigKey {
        kind: ConfigKind::ConfigMap,
        name: name.into(),
    }
}

#[test]
fn copies_stay_with_a_replica_set_that_could_not_be_deleted() {
    let w = world(1, json!([]));
    let seen = w.observed();
    let set = |name: &str| Write::DeleteReplicaSet {
        name: name.into(),
        uid: String::new(),
        version: String::new(),
    };
    let copy = |name: &str| {
        Write::DeleteConfig(Owned {
            what: key(name),
            owner: "u".into(),
        })
    };
    let writes = [set("a"), copy("a1"), copy("a2"), set("b"), copy("b1")];
    let played = |first: Outcome| {
        let effects = writes.iter().map(|write| Effect {
            write: write.clone(),
            disruptive: true,
        });
        let plan = Plan {
            effects: effects.collect(),
            ..Plan::default()
        };
        let mut turn = Turn::new(&seen, plan);
        let (mut seen, mut first) = (vec![], Some(first));
        while let Some(effect) = turn.next_effect() {
            seen.push(match &effect.write {
                Write::DeleteReplicaSet { name, .. } => name.clone(),
                Write::DeleteConfig(copy) => copy.what.name.clone(),
                _ => unreachable!(),
            });
            let done = Outcome::Done {
                version: String::new(),
            };
            turn.record(first.take().unwrap_or(done));
        }
        seen
    };
    let done = Outcome::Done {
        version: String::new(),
    };
    assert_eq!(played(done), ["a", "a1", "a2", "b", "b1"]);
    assert_eq!(played(Outcome::Conflict), ["a", "b", "b1"]);
    assert_eq!(played(Outcome::Refused("no".into())), ["a", "b", "b1"]);
    assert_eq!(played(Outcome::Failed("500".into())), ["a", "b", "b1"]);
    assert_eq!(played(Outcome::Unknown("504".into())), ["a"]);
}

/// A new Rollout whose pods take their environment from two ConfigMaps, as it is observed.
fn tracked() -> Observed {
    let mut w = world(2, json!([]));
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "app", "image": "web:1", "envFrom": [
            {"configMapRef": {"name": "one"}}, {"configMapRef": {"name": "two"}}]},
    ]}});
    w.rollout.spec.template = Some(PodTemplate::new(template));
    w.annotate(TRACK_CONFIG, "true");
    let mut seen = w.observed();
    for name in ["one", "two"] {
        let contents = Contents::of(&json!({"data": {"a": name}}));
        let found = config::Found::There(Arc::new(contents));
        seen.answers.configs.insert(key(name), found);
    }
    seen.rollout = config::resolved(seen.rollout, &[], &seen.answers);
    seen
}

fn copies(plan: &Plan) -> Vec<(ConfigKey, Arc<Value>)> {
    let copies = plan.effects.iter().filter_map(|e| match &e.write {
        Write::CreateConfig(copy) => Some((copy.key.clone(), Arc::clone(&copy.object))),
        _ => None,
    });
    copies.collect()
}

#[test]
fn a_copy_that_is_there_is_believed_only_where_it_is_ours_and_the_same() {
    let mut seen = tracked();
    let plan = plan_rollout(&seen);
    let made_now = copies(&plan);
    assert_eq!(made_now.len(), 2);
    // Both are looked at at once.
    let mut turn = Turn::new(&seen, plan);
    while let Some(effect) = turn.next_effect() {
        if matches!(effect.write, Write::CreateConfig(_)) {
            turn.record(Outcome::Exists);
        } else {
            turn.record(Outcome::Done {
                version: "9".into(),
            });
        }
    }
    let end = turn.finish();
    assert!(end.replan);
    let asked: Vec<Need> = made_now
        .iter()
        .map(|(k, _)| Need::Copy(k.clone()))
        .collect();
    assert_eq!(end.needs, asked);

    let mut put = |i: usize, change: Value| {
        let (key, object) = &made_now[i];
        let mut object = Value::clone(object);
        crate::api::patch::apply_merge_patch(&mut object, &change);
        let copy = Arc::new(CopySeen::of(&object));
        seen.answers.copies.insert(key.clone(), Some(copy));
        let plan = plan_rollout(&seen);
        let message = plan.status.message.clone().unwrap_or_default();
        let has_set = plan
            .effects
            .iter()
            .any(|e| matches!(e.write, Write::CreateReplicaSet(_)));
        (copies(&plan).len(), has_set, message)
    };
    let (left, has_set, _) = put(0, json!({}));
    assert_eq!((left, has_set), (1, true), "made before a crash");
    for wrong in [
        json!({"metadata": {"ownerReferences": null}}),
        json!({"metadata": {"labels": null}}),
        json!({"immutable": false}),
        json!({"data": {"a": "something else"}}),
    ] {
        let (left, has_set, message) = put(0, wrong);
        assert_eq!((left, has_set), (0, false), "{message}");
        assert!(
            message.contains("is not this Rollout's copy of ConfigMap one"),
            "{message}"
        );
    }
}

#[test]
fn the_oldest_go_and_one_that_still_has_pods_keeps_its_place() {
    let mut w = world(1, json!(null));
    w.settle();
    for image in ["web:2", "web:3", "web:4"] {
        w.now += 10;
        w.image(image);
        w.settle();
    }
    w.rollout.spec.revision_history_limit = Some(1);
    w.generation();
    let mut seen = w.observed();
    let names: Vec<String> = w.sets.iter().map(|set| set.name.clone()).collect();
    let gone = |seen: &Observed| -> Vec<String> {
        let plan = plan_rollout(seen);
        let deleted = plan.effects.iter().filter_map(|e| match &e.write {
            Write::DeleteReplicaSet { name, .. } => Some(name.clone()),
            _ => None,
        });
        deleted.collect()
    };
    assert_eq!(gone(&seen), names[..2]);
    seen.replica_sets[0].current = 1;
    assert_eq!(gone(&seen), names[1..2]);
}
