//! ReplicaSets that somebody deletes, and what a ReplicaSet remembers of its version: the update stands
//! where it stood, and what failed is never taken for what was good.

use super::*;
use crate::api::{ABORT, UNDO};

const TWO_PAUSES: &str = r#"[{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]"#;

fn two_pauses() -> Value {
    serde_json::from_str(TWO_PAUSES).unwrap()
}

impl World {
    /// Somebody deletes the ReplicaSet of an image, a minute later.
    fn lose(&mut self, image: &str) {
        self.now += 60;
        let mut names = self.templates.iter().filter(|(_, of)| of == image);
        let name = names.next().unwrap().0.clone();
        self.sets.retain(|rs| rs.name != name);
    }

    fn size_of(&self, image: &str) -> u32 {
        let mut names = self.templates.iter().filter(|(_, of)| of == image);
        let name = &names.next().unwrap().0;
        let set = self.sets.iter().find(|rs| rs.name == *name);
        set.map_or(0, |set| set.replicas)
    }

    fn told(&self, words: &str) -> bool {
        self.events.iter().any(|event| event.contains(words))
    }

    fn image_now(&self) -> String {
        let template = self.rollout.spec.template.clone().unwrap();
        let image = template.value()["spec"]["containers"][0]["image"].clone();
        image.as_str().unwrap().to_owned()
    }

    /// Aborted by a person, and back at stable.
    fn aborted(&mut self) {
        self.annotate(ABORT, "no good");
        self.settle();
        assert_eq!(self.phase().0, "Degraded");
    }

    fn full(&mut self, image: &str) {
        self.now += 60;
        self.image(image);
        self.settle();
        self.annotate(PROMOTE, "full");
        self.settle();
        assert_eq!(self.phase(), pair("Healthy", ""), "{image}");
    }
}

#[test]
fn a_stable_set_that_is_made_again_is_as_old_as_it_was() {
    let mut w = updating(4, two_pauses());
    w.rollout.spec.rollback_window = serde_json::from_value(json!({"revisions": 2})).unwrap();
    w.generation();
    w.settle();
    w.lose("web:1");
    w.settle();
    assert!(w.told("StableRestored"), "{:?}", w.events);
    assert_eq!(
        w.status().current_step_index,
        Some(1),
        "no rollback, no jump"
    );
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (3, 1));
}

#[test]
fn a_lost_set_of_an_aborted_version_takes_no_abort_back() {
    let mut w = updating(4, two_pauses());
    w.aborted();
    let before = w.status();
    w.lose("web:2");
    w.settle();
    assert_eq!(w.status().abort, Some(true));
    assert_eq!(w.status().aborted_at, before.aborted_at);
    assert_eq!(w.phase().0, "Degraded");
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (4, 0));
    assert!(w.told("CanaryRestored"), "{:?}", w.events);
    // A retry at the step finds what it needs.
    w.annotate(crate::api::RETRY, "step");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.status().current_step_index, Some(1));
}

#[test]
fn an_update_goes_on_at_its_step_when_its_set_is_made_again() {
    let mut w = updating(4, two_pauses());
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
    w.lose("web:2");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (2, 2));
    assert!(w.told("the update goes on at step 4/4"), "{:?}", w.events);
    assert_eq!(w.status().serin.unwrap().attempt, Some(1), "measured anew");
}

#[test]
fn clients_have_what_is_known_good_while_the_version_they_had_is_made_again() {
    let after = json!({"templates": [{"templateName": "t"}]});
    let mut w = super::blue_green::blue_green(json!({"postPromotionAnalysis": after}));
    w.update("web:2");
    assert_eq!((w.behind("live"), w.runs.len()), (2, 1));
    w.lose("web:2");
    // Its pods come up, and the version that is complete serves meanwhile.
    for _ in 0..6 {
        w.turn();
    }
    assert_eq!((w.behind("live"), w.size_of("web:2")), (1, 3));
    // It is judged anew after the next switch.
    w.settle();
    assert_eq!((w.behind("live"), w.runs.len()), (2, 2));
}

#[test]
fn a_full_promotion_survives_the_loss_of_its_set() {
    let mut w = world(4, two_pauses());
    w.broken.push("web:2".into());
    w.settle();
    w.image("web:2");
    w.settle();
    w.annotate(PROMOTE, "full");
    w.settle();
    w.lose("web:2");
    w.broken.clear();
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (0, 4));
}

#[test]
fn what_is_stable_is_kept_on_a_way_back_too() {
    let mut w = updating(4, two_pauses());
    w.annotate(PROMOTE, "full");
    w.settle();
    w.now += 60;
    w.image("web:1");
    w.settle();
    assert_eq!(
        w.phase(),
        pair("Paused", "CanaryPauseStep"),
        "a way back by steps"
    );
    w.lose("web:2");
    w.settle();
    assert!(w.told("StableRestored"), "{:?}", w.events);
    assert_eq!((w.size_of("web:2"), w.size_of("web:1")), (3, 1));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
}

#[test]
fn what_is_stable_is_kept_of_an_update_that_the_peer_began() {
    let mut w = updating(4, two_pauses());
    w.kept.clear();
    for (rs, hash) in w.sets.iter_mut().zip(["peer1", "peer2"]) {
        rs.template_digest = None;
        rs.was_stable = None;
        rs.hash = hash.into();
    }
    let mut status = w.status();
    status.serin = None;
    status.current_pod_hash = Some("peer2".into());
    status.stable_rs = Some("peer1".into());
    w.rollout.status = Some(status);
    w.settle();
    assert_eq!(w.kept.keys().collect::<Vec<_>>(), ["web-peer1"]);
}

#[test]
fn undo_goes_to_what_was_stable_and_never_to_what_was_aborted() {
    for value in ["true", "fast"] {
        let mut w = updating(4, two_pauses());
        w.aborted();
        w.full("web:3");
        w.now += 60;
        w.annotate(UNDO, value);
        w.settle();
        assert_eq!(w.image_now(), "web:1", "{value}: {:?}", w.events);
    }
    // Named, it is what a person wants.
    let mut w = updating(4, two_pauses());
    w.aborted();
    w.full("web:3");
    w.annotate(UNDO, "2");
    w.settle();
    assert_eq!(w.image_now(), "web:2");
    // Nothing good is left.
    let mut w = updating(4, two_pauses());
    w.aborted();
    w.full("web:3");
    w.lose("web:1");
    w.events.clear();
    w.annotate(UNDO, "true");
    w.settle();
    assert_eq!(w.image_now(), "web:3");
    assert!(
        w.told("CommandRefused Refused command undo: no other revision was ever stable"),
        "{:?}",
        w.events
    );
    assert!(w.told("serin.dev/undo=2"));
}

#[test]
fn the_rollback_window_lets_nothing_in_that_was_aborted() {
    let mut w = updating(4, two_pauses());
    w.rollout.spec.rollback_window = serde_json::from_value(json!({"revisions": 5})).unwrap();
    w.aborted();
    w.full("web:3");
    w.now += 60;
    w.image("web:2");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    w.now += 60;
    w.image("web:1");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""), "that one was stable");
}

#[test]
fn a_pause_with_a_timeout_does_not_count_the_time_in_which_nobody_may_answer() {
    let steps = json!([{"setWeight": 25}, {"pause": {"timeout": "10m"}}, {"setWeight": 50}]);
    let mut w = updating(4, steps);
    for _ in 0..2 {
        w.now += 120;
        w.rollout.spec.paused = Some(true);
        w.generation();
        w.settle();
        w.now += 86_400;
        w.rollout.spec.paused = Some(false);
        w.generation();
        w.settle();
        assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    }
    w.now += 359;
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    w.now += 2;
    w.settle();
    assert!(
        w.phase().1.contains("nobody promoted it"),
        "{:?}",
        w.phase()
    );
}

#[test]
fn an_abort_by_command_is_not_held_by_an_earlier_pause() {
    let mut w = updating(4, two_pauses());
    w.rollout.spec.paused = Some(true);
    w.generation();
    w.settle();
    w.aborted();
    assert_eq!(w.rollout.spec.paused, Some(false));
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (4, 0));
}

#[test]
fn an_abort_that_is_held_says_what_holds_it() {
    // A client that patches the status leaves spec.paused as it is: sizes are frozen (A9).
    let mut w = updating(4, two_pauses());
    w.rollout.spec.paused = Some(true);
    w.generation();
    w.settle();
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (3, 1));
    let (phase, message) = w.phase();
    assert_eq!(phase, "Degraded");
    assert!(
        message.contains("spec.paused holds every size"),
        "{message}"
    );
    assert!(w.told("RolloutPaused The update is aborted, and spec.paused"));
    // A spec that cannot be read: the command waits, and that is told.
    let mut w = updating(4, two_pauses());
    w.rollout.spec.min_ready_seconds = Some(7000);
    w.generation();
    w.settle();
    w.annotate(ABORT, "no good");
    w.settle();
    let (_, message) = w.phase();
    let words = "serin.dev/abort waits until the spec is valid";
    assert!(
        message.starts_with("InvalidSpec") && message.contains(words),
        "{message}"
    );
}

#[test]
fn only_the_oldest_revisions_beyond_the_limit_are_deleted() {
    let mut w = world(4, json!(null));
    w.settle();
    for image in ["web:2", "web:3", "web:4"] {
        w.now += 60;
        w.image(image);
        w.settle();
    }
    w.rollout.spec.revision_history_limit = Some(1);
    w.generation();
    // The oldest of three old ones still has a pod.
    w.sets[0].replicas = 1;
    w.sets[0].current = 1;
    let plan = plan_rollout(&w.observed());
    let deleted = plan.effects.iter().filter_map(|e| {
        if let Write::DeleteReplicaSet { name, .. } = &e.write {
            Some(name.clone())
        } else {
            None
        }
    });
    assert_eq!(deleted.collect::<Vec<_>>(), [w.sets[1].name.clone()]);
    w.settle();
    let left: Vec<&str> = w.sets.iter().map(|rs| rs.name.as_str()).collect();
    let of = |image: &str| {
        let mut names = w.templates.iter().filter(|(_, of)| of == image);
        names.next().unwrap().0.as_str()
    };
    assert_eq!(left, [of("web:3"), of("web:4")]);
}

/// A client's abort may come between: until it is on record that another version is stable, the former
/// one may be needed again, and so may its template.
#[test]
fn a_kept_template_goes_only_after_the_promotion_is_on_record() {
    let more = json!({"autoPromotionEnabled": true, "scaleDownDelaySeconds": 0});
    let canary = updating(4, two_pauses());
    for mut w in [canary, super::blue_green::blue_green(more)] {
        if w.sets.len() == 1 {
            w.image("web:2");
        } else {
            w.annotate(PROMOTE, "full");
        }
        let stable = w.status().stable_rs;
        let mut seen_one = false;
        for _ in 0..40 {
            w.pods();
            let plan = plan_rollout(&w.observed());
            let mut writes = plan.effects.iter().map(|e| &e.write);
            let Some(at) = writes.position(|it| matches!(it, Write::DropTemplate(_))) else {
                w.turn();
                continue;
            };
            seen_one = true;
            let before = plan.effects[..at].last().map(|e| &e.write);
            let Some(Write::Status(status)) = before else {
                panic!("{:#?}", plan.effects);
            };
            assert_ne!(status.after.stable_rs, stable);
            assert_eq!(plan.effects.len(), at + 1);
            // Somebody was quicker: nothing is let go.
            let seen = w.observed();
            let mut turn = Turn::new(&seen, plan);
            let mut names = vec![];
            while let Some(effect) = turn.next_effect() {
                let is_status = matches!(effect.write, Write::Status(_));
                names.push(is_status);
                turn.record(if is_status {
                    Outcome::Conflict
                } else {
                    w.perform(&effect)
                });
            }
            assert_eq!(names.last(), Some(&true));
            assert!(turn.finish().replan);
            assert_eq!(w.kept.len(), 1);
            break;
        }
        assert!(seen_one);
        w.settle();
        assert_eq!(w.kept.len(), 0, "{:?}", w.kept.keys());
    }
}

/// A server in trouble: the update begins when the stable version's template is kept, or cannot be.
#[test]
fn an_update_begins_when_what_is_stable_is_kept() {
    for (outcome, begins) in [
        (Outcome::Failed("500".into()), false),
        (Outcome::Unknown("504".into()), false),
        (Outcome::Refused("forbidden".into()), true),
        (Outcome::Exists, true),
    ] {
        let mut w = world(4, two_pauses());
        w.settle();
        w.image("web:2");
        let seen = w.observed();
        let mut turn = Turn::new(&seen, plan_rollout(&seen));
        let mut has_begun = false;
        while let Some(effect) = turn.next_effect() {
            if matches!(effect.write, Write::KeepTemplate(_)) {
                turn.record(outcome.clone());
                continue;
            }
            has_begun |= matches!(effect.write, Write::CreateReplicaSet(_));
            let done = w.perform(&effect);
            turn.record(done);
        }
        assert_eq!(has_begun, begins, "{outcome:?}");
        assert!(begins || turn.finish().failure.is_some());
    }
}

/// What an analysis needs is missing: nothing is made, nothing is moved, and once it is there the version
/// goes out by its steps like any other, whatever else was in its way meanwhile.
#[test]
fn a_version_that_led_nowhere_begins_at_its_first_step_when_it_may() {
    let steps = || {
        json!([{"setWeight": 25}, {"pause": {}},
            {"analysis": {"templates": [{"templateName": "t"}]}}, {"pause": {}}])
    };
    let there = measured_once(json!([]));
    let waits = |w: &mut World| {
        w.now += 20;
        w.settle();
    };
    for (is_updating, is_refused) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = format!("updating: {is_updating}, refused: {is_refused}");
        let mut w = world(4, steps());
        w.analyses.insert("t".into(), there.clone());
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""));
        let mut sizes = vec![4];
        if is_updating {
            w.image("web:2");
            w.settle();
            sizes = vec![3, 1];
        }
        let before = w.status();
        w.analyses.insert("t".into(), Value::Null);
        w.image("web:3");
        w.settle();
        assert!(w.phase().1.contains("AnalysisTemplate 't' not found"));
        assert_eq!(w.sizes(), sizes, "{case}: nothing is made");
        assert_eq!(w.status().current_pod_hash, before.current_pod_hash);
        assert_eq!(w.status().pause_conditions, before.pause_conditions);
        w.analyses.insert("t".into(), there.clone());
        if is_refused {
            w.no_creates = Some("no".into());
            for _ in 0..4 {
                w.now += 20;
                w.turn();
            }
            assert!(w.phase().1.contains("Failed to create"), "{case}");
            w.no_creates = None;
        }
        waits(&mut w);
        assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"), "{case}");
        assert_eq!(w.status().current_step_index, Some(1), "{case}");
        assert_eq!(w.status().stable_rs, before.stable_rs, "{case}");
        assert_eq!((w.size_of("web:1"), w.size_of("web:3")), (3, 1), "{case}");
        assert!(!w.told("CanaryRestored"), "{case}: {:?}", w.events);
    }
}

/// A Service, a template that is missing is no reason to leave clients without the version they had.
#[test]
fn what_was_there_is_made_again_whatever_else_is_missing() {
    let steps = json!([{"setWeight": 25}, {"pause": {}},
        {"analysis": {"templates": [{"templateName": "t"}]}}]);
    let mut w = world(4, steps);
    w.analyses.insert("t".into(), measured_once(json!([])));
    w.settle();
    w.analyses.insert("t".into(), Value::Null);
    w.lose("web:1");
    w.settle();
    assert_eq!((w.size_of("web:1"), w.phase()), (4, pair("Healthy", "")));

    let mut w = super::blue_green::blue_green(json!({}));
    let app = ("app".to_owned(), "other".to_owned());
    w.services[1].selector.extend([app]);
    w.lose("web:1");
    w.settle();
    assert_eq!(w.size_of("web:1"), 3);
    assert!(w.phase().1.contains("InvalidSpec"), "{:?}", w.phase());
}

/// Answered in the moment in which the ReplicaSet is gone: the answer counts.
#[test]
fn a_person_answers_while_the_canary_is_made_again() {
    let mut w = updating(4, two_pauses());
    w.lose("web:2");
    w.annotate(PROMOTE, "true");
    w.settle();
    assert!(!w.told("CommandRefused"), "{:?}", w.events);
    assert_eq!(w.status().current_step_index, Some(3));
    assert_eq!((w.size_of("web:1"), w.size_of("web:2")), (2, 2));
    // With another template it is about nobody knows what.
    let mut w = updating(4, two_pauses());
    w.lose("web:2");
    w.image("web:3");
    w.annotate(PROMOTE, "true");
    w.settle();
    assert!(w.told("CommandRefused"), "{:?}", w.events);
    assert_eq!(w.status().current_step_index, Some(1));
}

/// Deleted before anything could be kept of it: a person is waited for, and told so whatever else happens.
#[test]
fn where_only_a_person_can_go_on_that_is_said_and_no_deadline_fires() {
    let mut w = updating(4, two_pauses());
    w.kept.clear();
    w.lose("web:1");
    w.settle();
    w.annotate(PROMOTE, "true");
    w.settle();
    let is_told = |w: &World| w.phase().1.contains("the stable ReplicaSet");
    assert!(w.phase().1.starts_with("StableGone") && is_told(&w));
    w.now += 7_200;
    w.settle();
    assert!(w.phase().1.starts_with("StableGone"), "{:?}", w.phase());
    w.annotate(ABORT, "no good");
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!(phase, "Degraded");
    assert!(
        message.starts_with("RolloutAborted") && is_told(&w),
        "{message}"
    );
    assert!(w.size_of("web:2") > 0, "there is nothing else");
    w.annotate(PROMOTE, "full");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}
