//! The events of whole updates, one after the other, as the contract lists them (J1 to J9). Where the
//! order is ours, docs/differences.md says so: what is written comes after what is decided.

use super::*;

/// Reasons, with the sizes of a scaling and the words that tell two events of a reason apart.
fn told(w: &mut World) -> Vec<String> {
    let short = |event: String| {
        let (reason, note) = event.split_once(' ').unwrap();
        match reason {
            "ScalingReplicaSet" => {
                let words: Vec<&str> = note.split(' ').collect();
                let n = words.len();
                format!("{} {}→{}", words[1], words[n - 3], words[n - 1])
            }
            "RolloutStepCompleted" | "RolloutPaused" | "SkipSteps" => event,
            "RolloutCompleted" => format!("{reason} {}", note.rsplit(": ").next().unwrap()),
            _ => reason.to_owned(),
        }
    };
    std::mem::take(&mut w.events)
        .into_iter()
        .map(short)
        .collect()
}

fn steps() -> Value {
    json!([{"setWeight": 50}, {"pause": {}}])
}

/// At the pause of revision 2, with nothing told yet.
fn paused() -> World {
    let mut w = updating(4, steps());
    w.events.clear();
    w
}

#[test]
fn j1_a_first_deployment() {
    let mut w = world(4, steps());
    w.settle();
    assert_eq!(
        told(&mut w),
        [
            "RolloutAddedToInformer",
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "RolloutCompleted Initial deploy",
            "up 0→4",
        ]
    );
}

#[test]
fn j3_a_canary_that_is_promoted() {
    let mut w = updating(4, steps());
    assert_eq!(
        told(&mut w),
        [
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "down 4→3",
            "up 0→2",
            "down 3→2",
            "RolloutStepCompleted Rollout step 1/2 completed (setWeight: 50)",
            "RolloutPaused Rollout is paused (CanaryPauseStep)",
        ]
    );
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(
        told(&mut w),
        [
            "RolloutStepCompleted Rollout step 2/2 completed (pause)",
            "down 2→1",
            "up 2→4",
            "down 1→0",
            "RolloutCompleted Completed all 2 canary steps",
        ]
    );
}

#[test]
fn j4_a_pause_that_ends_by_itself() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {"duration": 3}}]));
    w.events.clear();
    w.now += 3;
    w.settle();
    assert_eq!(
        told(&mut w)[..2],
        [
            "RolloutStepCompleted Rollout step 2/2 completed (pause: 3)",
            "RolloutResumed",
        ]
    );
}

#[test]
fn j5_and_j6_an_abort_and_a_retry() {
    let mut w = paused();
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert_eq!(
        told(&mut w),
        ["RolloutAborted", "up 2→3", "down 2→0", "up 3→4"]
    );
    w.patch_status(json!({"abort": false}));
    w.settle();
    assert_eq!(
        told(&mut w),
        [
            "down 4→3",
            "up 0→2",
            "down 3→2",
            "RolloutStepCompleted Rollout step 1/2 completed (setWeight: 50)",
            "RolloutPaused Rollout is paused (CanaryPauseStep)",
        ]
    );
}

#[test]
fn j7_promoted_in_full() {
    let mut w = paused();
    w.patch_status(json!({"promoteFull": true}));
    w.settle();
    assert_eq!(
        told(&mut w),
        [
            "down 2→1",
            "up 2→4",
            "down 1→0",
            "RolloutResumed",
            "RolloutCompleted Full promotion requested",
        ]
    );
}

#[test]
fn j8_back_to_stable() {
    let mut w = paused();
    w.image("web:1");
    w.settle();
    assert_eq!(
        told(&mut w),
        [
            "RolloutUpdated",
            "SkipSteps Rollback to stable ReplicaSets",
            "RolloutResumed",
            "up 2→3",
            "down 2→0",
            "up 3→4",
        ]
    );
}

#[test]
fn j9_a_third_version() {
    let mut w = paused();
    w.image("web:3");
    w.settle();
    assert_eq!(
        told(&mut w),
        [
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutResumed",
            "up 0→1",
            "down 2→0",
            "up 1→2",
            "RolloutStepCompleted Rollout step 1/2 completed (setWeight: 50)",
            "RolloutPaused Rollout is paused (CanaryPauseStep)",
        ]
    );
}

/// Said with its first status, and never again.
#[test]
fn a_rollout_is_added_once() {
    let mut w = updating(2, steps());
    assert!(
        !w.events
            .iter()
            .any(|e| e.starts_with("RolloutAddedToInformer"))
    );
    w.events.clear();
    let mut wrong = world(2, json!([{"setWeight": 500}]));
    wrong.settle();
    let first = wrong.events.first().unwrap();
    assert_eq!(
        first,
        "RolloutAddedToInformer Rollout resource added to informer: ns/web"
    );
    assert_eq!(
        wrong.events.len(),
        2,
        "and what is wrong: {:?}",
        wrong.events
    );
}
