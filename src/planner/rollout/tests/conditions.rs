//! What other tools wait for, and how the status is written: conditions, and one write for what
//! belongs together.

use super::*;

/// Ready, Reconciling and Stalled in every state a Rollout can be in (decisions §9).
#[test]
fn ready_reconciling_and_stalled_tell_what_other_tools_wait_for() {
    let steps = || json!([{"setWeight": 50}, {"pause": {}}]);
    let flags = |w: &World| {
        let one = |kind: &str| w.condition(kind).0;
        (one("Ready"), one("Reconciling"), one("Stalled"))
    };
    let told = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    let mut w = world(4, steps());
    w.settle();
    assert_eq!(flags(&w), told("True", "False", "False"), "Healthy");
    w.image("web:2");
    w.settle();
    assert_eq!(flags(&w), told("False", "True", "False"), "Paused");
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert_eq!(flags(&w), told("False", "False", "True"), "aborted");
    assert_eq!(w.condition("Stalled").1, "Aborted");
    w.patch_status(json!({"abort": false}));
    w.broken.push("web:2".into());
    w.settle();
    assert_eq!(flags(&w), told("False", "True", "False"), "Progressing");
    w.now += 601;
    w.settle();
    assert_eq!(w.condition("Stalled").1, "DeadlineExceeded");
    assert_eq!(flags(&w), told("False", "False", "True"), "too late");
    let generation = w.rollout.metadata.generation;
    for c in &w.status().conditions {
        let is_ours = ["Ready", "Reconciling", "Stalled"].contains(&c.type_.as_str());
        assert_eq!(
            c.observed_generation,
            generation.filter(|_| is_ours),
            "{}",
            c.type_
        );
    }
    w.rollout.spec.strategy =
        serde_json::from_value(json!({"canary": {"steps": [{"setWeight": 500}]}})).unwrap();
    w.generation();
    w.settle();
    assert_eq!(flags(&w), told("False", "False", "True"), "invalid");
    assert_eq!(w.condition("Stalled").1, "InvalidSpec");
}

/// A message that changes is written; the time of the transition stays while the status does.
#[test]
fn messages_of_conditions_are_always_current() {
    let mut status = RolloutStatus::default();
    let at = |second: i64| Time(Timestamp::from_second(second).unwrap());
    for (second, value, reason, message, transition, update) in [
        (1, "True", "A", "one", 1, 1),
        (2, "True", "A", "two", 1, 1),
        (3, "True", "B", "three", 1, 3),
        (4, "False", "B", "four", 4, 4),
        (5, "False", "B", "five", 4, 4),
    ] {
        status::set_condition(&mut status, "X", value, reason, message, at(second));
        let c = status::condition(&status, "X").unwrap();
        assert_eq!(c.message.as_deref(), Some(message));
        assert_eq!(c.last_transition_time, Some(at(transition)), "{message}");
        assert_eq!(c.last_update_time, Some(at(update)), "{message}");
    }
}

/// The step's end and the pause that follows are one status write.
#[test]
fn a_pause_begins_in_the_write_that_ends_the_step_before_it() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.settle();
    w.image("web:2");
    for _ in 0..40 {
        w.pods();
        w.turn();
        let status = w.status();
        let waits = status.pause_conditions.is_some_and(|p| !p.is_empty());
        assert_eq!(status.current_step_index == Some(1), waits);
    }
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
}

/// No write carries more than what changed, and each the version that it was decided on.
#[test]
fn only_what_changed_is_sent_with_the_version_decided_on() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.annotate(PROMOTE, "true");
    let seen = w.observed();
    let plan = plan_rollout(&seen);
    let [
        Effect {
            write: Write::PatchRollout { patch, version },
            ..
        },
    ] = plan.effects.as_slice()
    else {
        panic!("{:?}", plan.effects);
    };
    assert_eq!(Some(version), w.rollout.metadata.resource_version.as_ref());
    let fields: Vec<&String> = patch.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["metadata"]);
    w.settle();
    assert!(
        plan_rollout(&w.observed()).effects.is_empty(),
        "nothing is sent for nothing"
    );
}
