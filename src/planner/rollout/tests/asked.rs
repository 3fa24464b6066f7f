//! What users asked for and had from none: ramps, pauses that end by themselves, constant replicas,
//! gradual rollback, thresholds, a broken stable version that holds nothing.

// A test looks for one kind of write; the others are not its business.
#![allow(clippy::wildcard_enum_match_arm)]

use super::*;
use crate::api::{ABORT, RETRY};

impl World {
    fn canary(&mut self) -> &mut crate::api::canary::CanaryStrategy {
        let strategy = self.rollout.spec.strategy.as_mut().unwrap();
        strategy.canary.as_mut().unwrap()
    }

    /// Sets fields of the canary strategy.
    fn with(&mut self, fields: Value) {
        let mut all = serde_json::to_value(self.canary().clone()).unwrap();
        crate::api::patch::apply_merge_patch(&mut all, &fields);
        *self.canary() = serde_json::from_value(all).unwrap();
        self.generation();
    }

    fn ramp_weight(&self) -> Option<i64> {
        self.status().serin.unwrap().ramp.map(|level| level.weight)
    }
}

/// Version 1 at full size, the fields set, then version 2.
fn updating_with(replicas: u32, steps: Value, fields: Value) -> World {
    let mut w = world(replicas, steps);
    w.with(fields);
    updated(w)
}

#[test]
fn a_ramp_raises_the_weight_by_itself_and_is_one_step() {
    let ramp = json!({"from": 10, "to": 40, "by": 10, "every": "30s"});
    let mut w = updating(10, json!([{"ramp": ramp}, {"pause": {}}]));
    for (weight, sizes) in [(10, [9, 1]), (20, [8, 2]), (30, [7, 3])] {
        assert_eq!(w.ramp_weight(), Some(weight));
        assert_eq!(w.sizes(), sizes);
        assert_eq!(
            w.status().current_step_index,
            Some(0),
            "clients see one step"
        );
        w.now += 29;
        w.settle();
        assert_eq!(w.sizes(), sizes, "never short");
        w.now += 1;
        w.settle();
    }
    assert_eq!(w.sizes(), [6, 4]);
    assert_eq!(
        w.status().current_step_index,
        Some(1),
        "the last weight ends it"
    );
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    let event = "RolloutStepCompleted Rollout step 1/2 completed (ramp: 10 to 40 by 10 every 30s)";
    assert!(w.events.iter().any(|e| e == event), "{:?}", w.events);
}

#[test]
fn a_ramp_waits_for_pods_and_the_deadline_counts_only_that() {
    let ramp = json!({"by": 2, "every": "20m", "curve": "exponential", "from": 10});
    let mut w = updating(10, json!([{"ramp": ramp}]));
    assert_eq!(w.ramp_weight(), Some(10));
    w.now += 1200;
    w.broken.push("web:2".into());
    w.settle();
    assert_eq!(w.ramp_weight(), Some(20));
    assert_eq!(
        w.phase().0,
        "Progressing",
        "keeping a weight is no lack of progress"
    );
    w.now += 601;
    w.settle();
    assert!(
        w.phase().1.starts_with("ProgressDeadlineExceeded"),
        "{:?}",
        w.phase()
    );
    w.broken.clear();
    w.settle();
    assert!(w.status().serin.unwrap().ramp.unwrap().since.is_some());
}

#[test]
fn a_promote_skips_the_rest_of_a_ramp_and_a_retry_goes_on_within_it() {
    let ramp = json!({"by": 20, "every": "1m"});
    let mut w = updating(
        10,
        json!([{"ramp": ramp}, {"setWeight": 90}, {"pause": {}}]),
    );
    w.now += 60;
    w.settle();
    assert_eq!(w.sizes(), [6, 4]);
    w.annotate(ABORT, "hm");
    w.settle();
    assert_eq!(w.sizes(), [10, 0]);
    w.annotate(RETRY, "step");
    w.settle();
    assert_eq!(w.sizes(), [6, 4], "at the weight that it had");
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(2));
    assert_eq!(w.sizes(), [1, 9]);
}

#[test]
fn a_pause_that_nobody_answers_aborts() {
    let mut w = updating(4, json!([{"setWeight": 50}, {"pause": {"timeout": "1h"}}]));
    w.now += 3599;
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    w.now += 1;
    w.settle();
    let wanted = "RolloutAborted: Rollout aborted update to revision 2: nobody promoted it at the pause of step 2 within 1h";
    assert_eq!(w.phase(), pair("Degraded", wanted));
    assert_eq!(w.sizes(), [4, 0]);
}

#[test]
fn constant_replicas_are_neither_more_nor_fewer_at_rest() {
    let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut w = updating_with(4, steps, json!({"constantReplicas": true}));
    assert_eq!(
        w.sizes(),
        [3, 1],
        "not four beside one, which would be nearer to 10 %"
    );
    let mut most = 0;
    w.annotate(PROMOTE, "true");
    for _ in 0..40 {
        w.turn();
        most = most.max(w.sizes().iter().sum());
        let available: u32 = w.sets.iter().map(|rs| rs.available.min(rs.replicas)).sum();
        assert!(available >= 4, "an old pod went before a new one was there");
        w.pods();
    }
    assert_eq!(w.sizes(), [2, 2]);
    assert_eq!(most, 5, "one extra pod on the way");
}

#[test]
fn a_gradual_rollback_goes_down_in_steps() {
    let fields = json!({"gradualRollback": {"by": 25, "every": "1m"}});
    let mut w = updating_with(8, json!([{"setWeight": 75}, {"pause": {}}]), fields);
    assert_eq!(w.sizes(), [2, 6]);
    // The kubectl plugin's way to say it.
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert_eq!(w.sizes(), [4, 4]);
    assert_eq!(w.phase().0, "Degraded", "it is aborted all the while");
    w.now += 60;
    w.settle();
    assert_eq!(w.sizes(), [6, 2]);
    w.now += 60;
    w.settle();
    assert_eq!(w.sizes(), [8, 0]);
    w.now += 600;
    w.settle();
    assert_eq!(w.status().serin.unwrap().descent, None);
}

#[test]
fn pods_of_an_aborted_update_stay_for_a_while_as_far_as_the_surge_has_room() {
    let mut w = world(4, json!([{"setWeight": 75}, {"pause": {}}]));
    w.services = vec![super::blue_green::service("old")];
    w.with(json!({"maxSurge": 2, "stableService": "old", "keepCanaryFor": "10m"}));
    let mut w = updated(w);
    assert_eq!(w.sizes(), [1, 3]);
    w.annotate(ABORT, "hm");
    for _ in 0..30 {
        w.turn();
        assert!(w.sizes().iter().sum::<u32>() <= 6, "{:?}", w.sizes());
        w.pods();
    }
    assert_eq!((w.sizes(), w.phase().0), (vec![4, 2], "Degraded".into()));
    w.now += 599;
    w.settle();
    assert_eq!(w.sizes(), [4, 2]);
    w.annotate(RETRY, "step");
    w.settle();
    assert_eq!(w.sizes(), [1, 3], "from the pods that were there");
    w.annotate(ABORT, "hm");
    w.settle();
    assert_eq!(w.sizes(), [4, 2], "their time begins anew");
    w.now += 600;
    w.settle();
    assert_eq!(w.sizes(), [4, 0]);
    assert_eq!(w.sets[1].scale_down_deadline, None);
}

#[test]
fn a_restart_needs_the_room_of_pods_that_are_kept() {
    let mut w = world(2, json!([{"setWeight": 50}, {"pause": {}}]));
    w.services = vec![super::blue_green::service("old")];
    w.with(json!({"maxSurge": 1, "stableService": "old", "keepCanaryFor": "10m"}));
    let mut w = updated(w);
    w.annotate(ABORT, "hm");
    w.settle();
    assert_eq!(w.sizes(), [2, 1]);
    w.patch_spec(json!({"restartAt": Timestamp::from_second(w.now).unwrap().to_string()}));
    let mut seen = w.observed();
    let pods = w
        .sets
        .iter()
        .flat_map(|rs| (0..rs.replicas).map(move |i| (rs, i)));
    let pods = pods.map(|(rs, i)| crate::planner::observed::PodSeen {
        name: format!("{}-{i}", rs.name),
        uid: format!("{}-{i}", rs.uid),
        owner: rs.uid.clone(),
        created: rs.created,
        is_active: true,
        ready_since: Some(rs.created),
        labels: Default::default(),
        annotations: Default::default(),
    });
    seen.answers.pods = Some(pods.collect());
    let sizes = plan_rollout(&seen)
        .effects
        .into_iter()
        .filter_map(|effect| match effect.write {
            Write::PatchReplicaSet(patch) => patch.replicas,
            _ => None,
        });
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [0],
        "an aborted canary never grows"
    );
}

/// R40, and A32: promoted with as many as the threshold asks for.
#[test]
fn a_threshold_lets_a_step_and_a_promotion_pass() {
    for threshold in [
        json!({"type": "Percent", "value": 80}),
        json!({"type": "Pods", "value": 4}),
    ] {
        let fields = json!({"replicaProgressThreshold": threshold, "maxSurge": "100%"});
        let mut w = world(5, json!([{"setWeight": 100}, {"pause": {}}]));
        w.with(fields);
        w.settle();
        w.most.push(("web:2".into(), 3));
        w.image("web:2");
        w.settle();
        assert_eq!(
            w.status().current_step_index,
            Some(0),
            "three of five are too few"
        );
        w.most[0].1 = 4;
        w.settle();
        w.annotate(PROMOTE, "full");
        w.settle();
        let status = w.status();
        assert_eq!(status.stable_rs, status.current_pod_hash, "{:?}", w.phase());
    }
}

#[test]
fn a_stable_version_that_cannot_make_its_pods_holds_no_step() {
    let mut w = updating(
        10,
        json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]),
    );
    assert_eq!(w.sizes(), [8, 2]);
    // Six of the eight die and cannot be made again: a quota, an admission webhook.
    w.sets[0].failure = Some(("FailedCreate".into(), "exceeded quota".into()));
    w.sets[0].current = 2;
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.status().current_step_index, Some(3), "{:?}", w.phase());
    assert_eq!(w.sizes(), [5, 5]);
}

#[test]
fn a_third_version_goes_out_although_the_first_is_broken() {
    let steps = json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {}}]);
    let mut w = updating(4, steps);
    w.broken.push("web:1".into());
    w.image("web:3");
    w.settle();
    let some_time = |w: &mut World| {
        for _ in 0..5 {
            w.now += 61;
            w.settle();
        }
    };
    some_time(&mut w);
    let (phase, sizes) = (w.phase(), w.sizes());
    assert_eq!(phase, pair("Paused", "CanaryPauseStep"), "{sizes:?}");
    for _ in 0..2 {
        w.annotate(PROMOTE, "true");
        w.settle();
        some_time(&mut w);
    }
    assert_eq!(w.sizes(), [0, 0, 4]);
    assert_eq!(w.phase(), pair("Healthy", ""));
}
