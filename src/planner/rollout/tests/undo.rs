//! Ways back: undo, the rollback window, a retry at the failed step, and what the record of an
//! update's duration says of each.

use super::*;
use crate::api::{ABORT, RETRY, UNDO};

/// Revision 1 and 2 promoted, ten seconds apart.
fn two_versions(steps: Value) -> World {
    let mut w = world(4, steps);
    w.settle();
    w.promoted("web:2");
    w.events.clear();
    w.writes.clear();
    w
}

impl World {
    /// Another version, promoted in full.
    fn promoted(&mut self, image: &str) {
        self.now += 10;
        self.image(image);
        self.settle();
        if self.phase().0 != "Healthy" {
            self.annotate(PROMOTE, "full");
            self.settle();
        }
        assert_eq!(self.phase(), pair("Healthy", ""), "{image}");
    }

    fn shown_image(&self) -> String {
        let template = self.rollout.spec.template.clone().unwrap();
        let image = template.value()["spec"]["containers"][0]["image"].clone();
        image.as_str().unwrap().to_owned()
    }

    fn says(&self, words: &str) -> bool {
        self.events.iter().any(|event| event.contains(words))
    }

    fn ended(&self) -> String {
        let duration = self.status().duration.unwrap();
        assert!(duration.finished_at.is_some(), "{duration:?}");
        duration.completion_status.unwrap()
    }
}

#[test]
fn undo_takes_the_old_replica_set_and_makes_none() {
    let mut w = two_versions(json!(null));
    w.annotate(UNDO, "true");
    w.settle();
    assert_eq!(w.shown_image(), "web:1");
    assert_eq!(w.sizes(), [4, 0], "{:?}", w.events);
    assert_eq!(w.sets[0].revision, 3);
    assert_eq!(w.phase(), pair("Healthy", ""));
    let last = command::last(w.rollout.metadata.annotations.as_ref().unwrap()).unwrap();
    assert_eq!(
        (last.verb.as_str(), last.outcome.as_str()),
        ("undo", "done")
    );
    // Earlier builds find it by the digest of the template as it reads now, and by no other.
    let is_found_by_one_digest = |w: &World| {
        let wanted = revision::template_digest(w.rollout.spec.template.as_ref().unwrap());
        let recorded = w.sets[0].template_digest.as_deref().unwrap();
        assert_eq!(revision::present(recorded), wanted, "{recorded}");
    };
    is_found_by_one_digest(&w);
    // The template as the API server gave it back belongs to the same ReplicaSet as the manifest.
    w.image("web:1");
    w.settle();
    is_found_by_one_digest(&w);
    w.rollout.spec.template = Some(PodTemplate::new(json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "web:1"}]},
    })));
    w.generation();
    w.settle();
    is_found_by_one_digest(&w);
    assert_eq!(w.sets.len(), 2, "neither way makes a third");
}

/// `kubectl apply` replaces lists as a whole and leaves alone what neither manifest names: after an undo
/// the Pod has the API server's defaults, and its containers have not.
#[test]
fn the_manifest_of_the_version_that_came_back_is_that_version() {
    for dropped in [None, Some("securityContext")] {
        let mut w = two_versions(json!([{"setWeight": 50}, {"pause": {}}]));
        w.annotate(UNDO, "fast");
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""));
        let mut applied = |image: &str| {
            let mut template = w.rollout.spec.template.clone().unwrap().value().clone();
            let pod = template["spec"].as_object_mut().unwrap();
            assert!(pod.contains_key("schedulerName"), "{pod:?}");
            pod.insert(
                "containers".into(),
                json!([{"name": "app", "image": image}]),
            );
            dropped.map(|field| pod.remove(field));
            w.rollout.spec.template = Some(PodTemplate::new(template));
            w.generation();
            w.settle();
            (w.sets.len(), w.phase().0)
        };
        let healthy = |n: usize| (n, "Healthy".to_owned());
        assert_eq!(applied("web:1"), healthy(2), "{dropped:?}");
        assert_eq!(applied("web:2").0, 2, "nor does the other's make another");
        assert_eq!(applied("web:1"), healthy(2), "{dropped:?}");
        assert_eq!(applied("web:3").0, 3, "a new one is a new one");
    }
}

#[test]
fn undo_of_an_update_under_way_goes_back_to_stable() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.annotate(UNDO, "1");
    w.settle();
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert!(w.says("SkipSteps Rollback to stable ReplicaSets"));
    assert_eq!(w.ended(), "FastRolledBack");
    w.annotate(UNDO, "3");
    w.settle();
    assert!(
        w.says("revision 3 is the current one already"),
        "{:?}",
        w.events
    );
}

#[test]
fn a_plain_undo_takes_the_steps() {
    let mut w = two_versions(json!([{"setWeight": 50}, {"pause": {}}]));
    w.annotate(UNDO, "1");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.sizes(), [2, 2]);
}

#[test]
fn a_fast_undo_skips_steps_and_pauses_and_is_recorded_as_that() {
    for value in ["fast", "1,fast"] {
        let mut w = two_versions(
            json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]),
        );
        w.annotate(UNDO, value);
        w.settle();
        assert_eq!(w.sizes(), [4, 0], "{value}: {:?}", w.events);
        assert!(w.says("GateOverridden serin.dev/undo asked for fast"));
        assert!(w.says("Rollout completed update to revision 3"));
        assert!(w.says(": Fast rollback"));
        assert!(!w.says("RolloutPaused"));
        assert_eq!(w.ended(), "FastRolledBack");
    }
}

#[test]
fn a_fast_undo_never_leaves_pods_that_work_for_pods_that_do_not() {
    let mut w = two_versions(json!([{"setWeight": 25}, {"pause": {}}]));
    w.broken.push("web:1".into());
    w.annotate(UNDO, "fast");
    w.settle();
    assert_eq!(
        w.sizes()[1],
        3,
        "as many as maxUnavailable lets go, no more"
    );
    assert_eq!(w.phase().0, "Progressing");
}

#[test]
fn a_fast_undo_of_which_the_template_was_replaced_is_refused() {
    let mut w = two_versions(json!([{"setWeight": 25}, {"pause": {}}]));
    w.annotate(UNDO, "fast");
    assert!(w.turn(), "the take brings the template back");
    assert_eq!(w.shown_image(), "web:1");
    w.image("web:9");
    w.settle();
    assert!(w.says("CommandRefused"), "{:?}", w.events);
    assert_eq!(
        w.phase(),
        pair("Paused", "CanaryPauseStep"),
        "the steps are taken"
    );
}

/// R42: with a window of two, back to the second: from the fourth there is one in between, from the
/// fifth there are two.
#[test]
fn going_back_within_the_window_skips_the_steps() {
    for (newest, is_fast) in [(4, true), (5, false)] {
        let mut w = two_versions(json!([{"setWeight": 50}, {"pause": {}}]));
        w.rollout.spec.rollback_window = serde_json::from_value(json!({"revisions": 2})).unwrap();
        for n in 3..=newest {
            w.promoted(&format!("web:{n}"));
        }
        w.events.clear();
        w.image("web:2");
        w.settle();
        if is_fast {
            assert_eq!(w.phase(), pair("Healthy", ""));
            assert!(w.says(": Rollback within window"), "{:?}", w.events);
            assert!(!w.says("RolloutPaused"));
            assert_eq!(w.ended(), "FastRolledBack");
        } else {
            assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
        }
    }
}

/// A creation time is told in whole seconds: of two versions made in one, the revision decides, also
/// after the older one has come back under a new number.
#[test]
fn what_was_made_in_the_same_second_is_older_by_its_first_revision() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.rollout.spec.rollback_window = serde_json::from_value(json!({"revisions": 2})).unwrap();
    w.settle();
    for _ in 0..2 {
        w.image("web:2");
        w.settle();
        w.annotate(PROMOTE, "full");
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""));
        w.freezes = super::freeze::freeze(None);
        w.image("web:1");
        w.settle();
        assert_eq!(
            w.phase(),
            pair("Healthy", ""),
            "older: neither frozen nor in steps"
        );
        w.freezes = Arc::default();
        w.events.clear();
    }
    w.image("web:2");
    w.settle();
    assert_eq!(
        w.phase(),
        pair("Paused", "CanaryPauseStep"),
        "no way back to it"
    );
}

#[test]
fn a_rollback_within_the_window_takes_stable_down_only_as_its_pods_come() {
    let mut w = two_versions(json!([{"setWeight": 50}, {"pause": {}}]));
    w.rollout.spec.rollback_window = serde_json::from_value(json!({"revisions": 3})).unwrap();
    w.broken.push("web:1".into());
    w.image("web:1");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(2), "no step is left");
    assert_eq!(w.sizes()[1], 3, "stable serves until the canary is up");
    w.annotate(ABORT, "it does not come up");
    w.settle();
    assert_eq!(w.sizes(), [0, 4], "a person's abort stands");
    assert_eq!(w.phase().0, "Degraded");
}

#[test]
fn a_retry_goes_on_at_the_step_that_was_aborted() {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut w = updating(4, steps);
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
    w.annotate(ABORT, "a bad feeling");
    w.settle();
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.ended(), "Aborted");
    w.annotate(RETRY, "step");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.status().current_step_index, Some(3));
    assert_eq!(w.sizes(), [2, 2]);
    let serin = w.status().serin.unwrap();
    assert_eq!((serin.attempt, serin.resuming), (Some(1), None));
    assert!(
        w.status().duration.unwrap().finished_at.is_none(),
        "a record of its own"
    );
}

#[test]
fn a_retried_step_begins_only_when_its_pods_are_back() {
    let steps = json!([{"setWeight": 50}, {"pause": {"duration": "60s"}}, {"setWeight": 75}, {"pause": {}}]);
    let mut w = updating(4, steps);
    w.annotate(ABORT, "true");
    w.settle();
    w.broken.push("web:2".into());
    w.annotate(RETRY, "step");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(
        w.status().pause_conditions,
        None,
        "the pause does not run yet"
    );
    w.now += 300;
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    w.broken.clear();
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    w.now += 59;
    w.settle();
    assert_eq!(
        w.status().current_step_index,
        Some(1),
        "and then lasts as long as it is written"
    );
    w.now += 1;
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
}

/// The canary's pods are not gone yet: they are kept.
#[test]
fn a_retry_at_once_keeps_the_warm_pods() {
    let mut w = updating(8, json!([{"setWeight": 50}, {"pause": {}}]));
    assert_eq!(w.sizes(), [4, 4]);
    w.annotate(ABORT, "oh no");
    w.turn();
    w.turn();
    w.pods();
    w.turn();
    w.writes.clear();
    w.annotate(RETRY, "step");
    w.settle();
    assert_eq!(w.sizes(), [4, 4]);
    assert!(!w.writes.contains(&"scale 0".to_owned()), "{:?}", w.writes);
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
}

#[test]
fn the_record_of_an_update_tells_its_end_and_what_it_waited_for() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    assert_eq!(w.ended(), "Promoted", "a first deployment has a record too");
    w.now += 100;
    w.image("web:2");
    w.settle();
    let begun = w.status().duration.unwrap();
    assert_eq!(begun.finished_at, None);
    assert_eq!(begun.manual_pause_started_at, begun.rollout_started_at);
    w.now += 40;
    w.annotate(PROMOTE, "true");
    w.settle();
    let over = w.status().duration.unwrap();
    assert_eq!(over.total_manual_pause_duration_seconds, Some(40));
    assert_eq!(over.rollout_started_at, begun.rollout_started_at);
    assert_eq!(w.ended(), "Promoted");
    // Another size is no update.
    w.now += 10;
    w.rollout.spec.replicas = Some(6);
    w.generation();
    w.settle();
    assert_eq!(w.status().duration, Some(over));
    w.promoted("web:3");
    assert_eq!(w.ended(), "FastPromoted");
    w.image("web:4");
    w.settle();
    w.now += 5;
    w.image("web:5");
    w.settle();
    let newest = w.status().duration.unwrap();
    assert_eq!((newest.finished_at, newest.completion_status), (None, None));
    w.image("web:3");
    w.settle();
    assert_eq!(w.ended(), "FastRolledBack");
}

/// Aborted by the peer: where it was is on no record of ours.
#[test]
fn a_retry_at_the_step_needs_a_record_of_the_step() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    let mut status = w.status();
    status.serin = None;
    status.abort = Some(true);
    status.aborted_at = status.conditions[0].last_update_time.clone();
    status.pause_conditions = None;
    status.controller_pause = None;
    status.current_step_index = Some(0);
    w.rollout.status = Some(status);
    w.settle();
    w.annotate(RETRY, "step");
    w.settle();
    assert!(
        w.says("it is not on record at which step"),
        "{:?}",
        w.events
    );
    w.annotate(RETRY, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
}

/// What the plugin's promote sends at the end of all steps changes nothing: it must not be needed.
#[test]
fn the_plugin_has_nothing_to_patch_at_the_end() {
    let mut w = updating(4, json!([{"setWeight": 50}]));
    let before = w.status();
    w.patch_status(json!({"pauseConditions": null, "currentStepIndex": 1}));
    assert_eq!(
        w.status(),
        before,
        "no change, so no event: it cannot be seen"
    );
    assert_eq!(w.phase(), pair("Healthy", ""));
}
