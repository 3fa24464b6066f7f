//! An update in a freeze: what waits, what goes on, and what a person may do about it.

use super::*;
use crate::api::{ABORT, OVERRIDE_FREEZE};

/// A freeze for everything, from the start of time until this second, or until it is deleted.
pub(super) fn freeze(until: Option<i64>) -> Arc<Vec<Arc<Window>>> {
    let to = until.map(|t| Timestamp::from_second(t).unwrap().to_string());
    let spec = json!({"reason": "nobody is on call", "owner": "platform", "to": to});
    let window = Window::of(
        Some("ns"),
        "holidays",
        serde_json::from_value(spec).unwrap(),
    );
    assert_eq!(window.faults(), []);
    Arc::new(vec![Arc::new(window)])
}

/// Revision 1 at full size, then a new image in a freeze.
fn frozen(replicas: u32, steps: Value, until: Option<i64>) -> World {
    let mut w = world(replicas, steps);
    w.settle();
    w.events.clear();
    w.freezes = freeze(until);
    w.image("web:2");
    w.settle();
    w
}

const TEXT: &str =
    "FreezeWindow ns/holidays until 1970-01-01 01:00 UTC: nobody is on call (owner: platform)";

#[test]
fn an_update_that_begins_in_a_freeze_starts_nothing_and_goes_on_when_it_ends() {
    let mut w = frozen(4, json!([{"setWeight": 50}, {"setWeight": 75}]), Some(3600));
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.phase(), pair("Paused", &format!("frozen by {TEXT}")));
    assert_eq!(w.condition("Progressing"), pair("Unknown", "RolloutPaused"));
    let told: Vec<&String> = w.events.iter().filter(|e| e.contains("Frozen")).collect();
    assert_eq!(
        told,
        [&format!("UpdateFrozen The update is frozen by {TEXT}")]
    );
    let plan = plan_rollout(&w.observed());
    assert_eq!(plan.wake.time(), Timestamp::from_second(3600).ok());
    // Nothing is written again and again, and the deadline does not run.
    w.writes.clear();
    w.now = 3599;
    w.settle();
    assert_eq!(w.writes, Vec::<String>::new());
    w.now = 3600;
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert!(
        w.events.iter().any(|e| e.starts_with("FreezeEnded")),
        "{:?}",
        w.events
    );
    assert!(w.status().serin.unwrap().freeze.is_none());
}

#[test]
fn a_freeze_that_begins_in_an_update_holds_the_step_and_sizes_follow() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {"duration": 60}}]));
    assert_eq!(w.sizes(), [2, 2]);
    w.freezes = freeze(None);
    w.now += 1_000;
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    let (phase, message) = w.phase();
    assert_eq!(phase, "Paused");
    assert!(
        message.contains("until it is deleted: nobody is on call"),
        "{message}"
    );
    w.rollout.spec.replicas = Some(8);
    w.generation();
    w.settle();
    assert_eq!(w.sizes(), [4, 4]);
    w.freezes = Arc::default();
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
}

#[test]
fn nothing_is_promoted_in_a_freeze() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    // Without steps, too: what is not begun is not begun, what is half done stays so.
    let mut w = frozen(4, json!([]), None);
    assert_eq!(w.sizes(), [4, 0]);
    w.freezes = Arc::default();
    w.broken = vec!["web:2".to_owned()];
    w.settle();
    let half = w.sizes();
    assert!(half[1] > 0 && half[0] > 0, "{half:?}");
    w.freezes = freeze(None);
    w.broken.clear();
    w.settle();
    assert_eq!(w.sizes().iter().sum::<u32>(), 4);
    assert_ne!(w.status().stable_rs, w.status().current_pod_hash);
}

#[test]
fn aborts_and_rollbacks_go_on() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.freezes = freeze(None);
    w.settle();
    w.annotate(ABORT, "too slow");
    w.settle();
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.phase().0, "Degraded");
    assert!(w.status().serin.unwrap().freeze.is_none());
    w.image("web:1");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    // Back to a version before the stable one.
    let mut w = world(2, json!([{"setWeight": 50}]));
    w.settle();
    w.now += 100;
    w.image("web:2");
    w.settle();
    w.freezes = freeze(None);
    w.image("web:1");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!(w.sizes(), [2, 0]);
}

#[test]
fn a_person_overrides_a_freeze_with_a_reason_and_that_is_recorded() {
    let mut w = frozen(4, json!([{"setWeight": 50}]), None);
    w.annotate(PROMOTE, "true");
    w.settle();
    assert!(
        w.events
            .iter()
            .any(|e| e
                .starts_with("CommandRefused Refused command promote: the update is frozen by")),
        "{:?}",
        w.events
    );
    w.annotate(OVERRIDE_FREEZE, "true");
    w.settle();
    assert_eq!(w.sizes(), [4, 0], "without a reason nothing happens");
    w.annotate(OVERRIDE_FREEZE, "CVE-2026-1, approved by the on-call");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    let over = w.status().serin.unwrap().freeze_override.unwrap();
    assert_eq!(over.reason, "CVE-2026-1, approved by the on-call");
    assert!(over.freeze.unwrap().contains("ns/holidays"));
    let told = w
        .events
        .iter()
        .filter(|e| e.starts_with("FreezeOverridden"));
    assert_eq!(told.count(), 1, "{:?}", w.events);
    // It was for that update alone.
    w.image("web:3");
    w.settle();
    assert_eq!(w.phase().0, "Paused");
    assert!(w.status().serin.unwrap().freeze_override.is_none());
}

#[test]
fn an_override_may_be_there_before_its_update() {
    let mut w = world(2, json!([{"setWeight": 50}]));
    w.settle();
    w.freezes = freeze(None);
    w.annotate(OVERRIDE_FREEZE, "security fix");
    w.settle();
    assert!(
        w.rollout
            .metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key(OVERRIDE_FREEZE)
    );
    w.image("web:2");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert!(
        !w.rollout
            .metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key(OVERRIDE_FREEZE)
    );
}

#[test]
fn promoting_in_full_overrides_a_freeze_and_is_recorded_as_that() {
    for by_patch in [false, true] {
        let mut w = frozen(4, json!([{"setWeight": 50}, {"pause": {}}]), None);
        if by_patch {
            w.patch_status(json!({"promoteFull": true}));
        } else {
            w.annotate(PROMOTE, "full");
        }
        w.settle();
        assert_eq!(w.phase(), pair("Healthy", ""));
        let over = w.status().serin.unwrap().freeze_override.unwrap();
        assert_eq!(over.reason, "promote=full");
        let told = w
            .events
            .iter()
            .filter(|e| e.starts_with("FreezeOverridden"));
        assert_eq!(told.count(), 1, "{:?}", w.events);
    }
}

#[test]
fn a_client_that_clears_a_pause_or_moves_the_step_waits_for_the_end_too() {
    let mut w = updating(
        4,
        json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {}}]),
    );
    w.freezes = freeze(None);
    w.settle();
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    w.patch_status(json!({"currentStepIndex": 2}));
    w.settle();
    assert_eq!(w.status().current_step_index, Some(1));
    w.freezes = Arc::default();
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3));
}
