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
