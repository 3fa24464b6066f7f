//! What other clients write into the status, and commands that arrive at an awkward moment.

use super::*;
use crate::api::{ABORT, OVERRIDE_FREEZE};

fn two_steps() -> Value {
    json!([{"setWeight": 50}, {"pause": {}}])
}

#[test]
fn a_clients_abort_wins_over_a_full_promotion() {
    let mut w = world(4, two_steps());
    w.broken.push("web:2".into());
    w.settle();
    w.image("web:2");
    w.settle();
    w.patch_status(json!({"promoteFull": true}));
    w.turn();
    w.patch_status(json!({"abort": true}));
    w.broken.clear();
    w.settle();
    assert_eq!(w.phase().0, "Degraded");
    assert_eq!(w.sizes(), [4, 0]);
    // The other way round it is a full promotion of an aborted update.
    w.patch_status(json!({"promoteFull": true}));
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}

#[test]
fn a_full_promotion_long_after_an_abort_is_not_aborted_by_the_deadline() {
    let mut w = world(4, two_steps());
    w.rollout.spec.progress_deadline_abort = Some(true);
    w.settle();
    w.image("web:2");
    w.settle();
    w.annotate(ABORT, "no good");
    w.settle();
    w.now += 601;
    w.annotate(PROMOTE, "full");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""), "{:?}", w.events);
    assert_eq!(w.sizes(), [0, 4]);
}

#[test]
fn an_abort_that_comes_with_a_new_version_is_about_that_one() {
    let mut w = world(4, two_steps());
    w.settle();
    // The controller was away: image and abort are found together.
    w.image("web:2");
    w.annotate(ABORT, "the wrong tag");
    w.settle();
    assert_eq!(w.phase().0, "Degraded", "{:?}", w.events);
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.status().abort, Some(true));
}

#[test]
fn an_override_that_comes_with_a_new_version_is_about_that_one() {
    let mut w = updating(
        4,
        json!([{"setWeight": 50}, {"setWeight": 75}, {"pause": {}}]),
    );
    w.freezes = super::freeze::freeze(None);
    w.settle();
    w.image("web:3");
    w.annotate(OVERRIDE_FREEZE, "a fix that cannot wait");
    w.settle();
    assert_eq!(
        w.phase(),
        pair("Paused", "CanaryPauseStep"),
        "{:?}",
        w.events
    );
    assert_eq!(w.status().current_step_index, Some(2));
}

#[test]
fn a_version_that_was_aborted_is_no_way_back_through_a_freeze() {
    let mut w = updating(4, two_steps());
    w.annotate(ABORT, "no good");
    w.settle();
    w.now += 60;
    w.image("web:3");
    w.settle();
    w.annotate(PROMOTE, "full");
    w.settle();
    w.freezes = super::freeze::freeze(None);
    w.now += 60;
    w.image("web:2");
    w.settle();
    assert!(w.phase().1.starts_with("frozen by"), "{:?}", w.phase());
    w.image("web:1");
    w.settle();
    assert_eq!(
        w.phase(),
        pair("Paused", "CanaryPauseStep"),
        "that is a rollback"
    );
}

#[test]
fn a_step_index_that_is_removed_is_put_back() {
    let mut w = updating(4, two_steps());
    w.patch_status(json!({"currentStepIndex": null}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!(w.sizes(), [2, 2]);
    assert!(w.events.iter().any(|e| e.starts_with("CommandRefused")));
}

#[test]
fn the_pause_of_a_hold_ends_when_pods_are_what_is_missing() {
    let mut w = world(4, json!([{"setWeight": 50}]));
    w.broken.push("web:2".into());
    w.settle();
    w.image("web:2");
    w.settle();
    w.patch_status(json!({"currentStepIndex": 1}));
    w.settle();
    let held = json!([{"reason": "HeldByGate", "startTime": "1970-01-01T00:16:40Z"}]);
    w.patch_status(json!({"pauseConditions": held, "controllerPause": true}));
    w.settle();
    assert_eq!(w.phase().0, "Progressing");
    w.now += 601;
    w.settle();
    assert!(
        w.phase().1.starts_with("ProgressDeadlineExceeded"),
        "{:?}",
        w.phase()
    );
}

#[test]
fn a_gradual_rollback_waits_for_no_service() {
    let mut w = world(8, json!([{"setWeight": 75}, {"pause": {}}]));
    w.rollout.spec.strategy = serde_json::from_value(json!({"canary": {
        "steps": [{"setWeight": 75}, {"pause": {}}], "canaryService": "new",
        "gradualRollback": {"by": 25, "every": "1m"},
    }}))
    .unwrap();
    let app = [("app".to_owned(), "web".to_owned())];
    w.services = vec![ServiceSeen {
        name: "new".into(),
        selector: app.into_iter().collect(),
        ..ServiceSeen::default()
    }];
    w.settle();
    w.image("web:2");
    w.settle();
    w.annotate(ABORT, "slow");
    w.settle();
    assert_eq!(w.sizes(), [4, 4]);
    // Somebody puts another selector into the Service: the spec is invalid from now on.
    w.services[0].selector.insert("app".into(), "other".into());
    w.settle();
    assert_eq!(w.phase().0, "Degraded");
    for (later, sizes) in [(60, [6, 2]), (60, [8, 0])] {
        w.now += later;
        w.settle();
        assert_eq!(w.sizes(), sizes);
    }
}

#[test]
fn other_steps_do_not_make_a_failed_first_deployment_good() {
    let mut w = world(4, two_steps());
    w.settle();
    w.patch_status(json!({"serin": {"first": "failed: too slow"}}));
    w.settle();
    assert_eq!(w.phase().0, "Degraded");
    let steps = json!({"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}});
    w.rollout.spec.strategy = serde_json::from_value(steps).unwrap();
    w.generation();
    w.turn();
    let serin = w.status().serin.unwrap();
    assert_eq!(serin.first.as_deref(), Some("pending"));
    assert_eq!(serin.attempt, Some(1), "measured anew");
}

#[test]
fn templates_and_arguments_are_looked_at_before_the_first_pod() {
    let asks = measured_once(json!([{"name": "limit"}]));
    for (name, template, why) in [
        ("absent", Value::Null, "AnalysisTemplate 'absent' not found"),
        ("asks", asks, "args.limit was not resolved"),
    ] {
        let steps =
            json!([{"setWeight": 50}, {"analysis": {"templates": [{"templateName": name}]}}]);
        // The very first version.
        let mut w = world(4, steps.clone());
        w.analyses.insert(name.into(), template.clone());
        w.settle();
        assert_eq!(w.sizes(), [0; 0], "{name}: nothing is made");
        let (phase, message) = w.phase();
        assert_eq!(phase, "Degraded", "{name}");
        assert!(
            message.starts_with("InvalidSpec") && message.contains(why),
            "{message}"
        );
        // An update.
        let mut w = world(4, json!([{"setWeight": 50}]));
        w.analyses.insert(name.into(), template);
        w.settle();
        let canary = json!({"canary": {"steps": steps}});
        w.rollout.spec.strategy = serde_json::from_value(canary).unwrap();
        w.image("web:2");
        w.settle();
        assert_eq!(w.sizes(), [4], "{name}: nothing is made");
        assert!(w.phase().1.contains(why), "{:?}", w.phase());
    }
}
