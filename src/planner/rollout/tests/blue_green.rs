//! Rules of blueGreen and of Services, one situation each.

use super::*;
use crate::api::{ABORT, MANAGED_BY, RETRY};
use crate::planner::services::release;

pub(super) fn service(name: &str) -> ServiceSeen {
    ServiceSeen {
        name: name.into(),
        uid: format!("uid-{name}"),
        version: "1".into(),
        selector: [("app".to_owned(), "web".to_owned())].into(),
        manager: None,
    }
}

/// Three pods of web:1, Healthy, behind the Services `live` and `next`.
pub(super) fn blue_green(more: Value) -> World {
    let mut strategy = json!({"activeService": "live", "previewService": "next"});
    crate::api::patch::apply_merge_patch(&mut strategy, &more);
    let mut w = world(3, json!([]));
    w.services = vec![service("live"), service("next")];
    w.analyses.insert("t".into(), measured_once(json!([])));
    w.set_strategy(json!({"blueGreen": strategy, "canary": null}));
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""), "{:?}", w.events);
    w.events.clear();
    w.writes.clear();
    w
}

impl World {
    pub(super) fn set_strategy(&mut self, strategy: Value) {
        self.patch_spec(json!({ "strategy": strategy }));
    }

    pub(super) fn patch_spec(&mut self, patch: Value) {
        let mut object = serde_json::to_value(&self.rollout).unwrap();
        crate::api::patch::apply_merge_patch(&mut object, &json!({ "spec": patch }));
        self.rollout = serde_json::from_value(object).unwrap();
        self.generation();
    }

    pub(super) fn update(&mut self, image: &str) {
        self.image(image);
        self.settle();
    }

    /// Revision behind a Service, 0 for none.
    pub(super) fn behind(&self, name: &str) -> u64 {
        let service = self.services.iter().find(|s| s.name == name).unwrap();
        let set = self
            .sets
            .iter()
            .find(|rs| Some(rs.hash.as_str()) == service.hash());
        set.map_or(0, |rs| rs.revision)
    }

    pub(super) fn shown(&self) -> (u64, u64) {
        (self.behind("live"), self.behind("next"))
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.events
            .iter()
            .map(|e| e.split(' ').next().unwrap())
            .collect()
    }

    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += seconds;
        self.settle();
    }
}

#[test]
fn the_first_version_is_shown_once_it_is_complete() {
    let w = blue_green(json!({}));
    assert_eq!(w.shown(), (1, 1));
    let status = w.status();
    let shown = status.blue_green.unwrap();
    assert_eq!(shown.active_selector, status.stable_rs);
    assert_eq!(shown.preview_selector, status.stable_rs);
    assert_eq!(status.current_step_index, None);
    let hash = status.stable_rs.unwrap();
    assert_eq!(
        status.selector.unwrap(),
        format!("app=web,rollouts-pod-template-hash={hash}")
    );
    assert!(
        w.services
            .iter()
            .all(|s| s.manager.as_deref() == Some("web"))
    );
}

#[test]
fn a_manual_promotion_goes_as_clients_know_it() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    assert_eq!((w.shown(), w.sizes()), ((1, 2), vec![3, 3]));
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.phase(), pair("Healthy", ""));
    assert_eq!((w.shown(), w.sizes()), ((2, 2), vec![3, 3]));
    assert_eq!(
        w.reasons(),
        [
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "SwitchService",
            "ScalingReplicaSet",
            "RolloutPaused",
            "SwitchService",
            "RolloutCompleted"
        ]
    );
    let last = w.events.last().unwrap();
    assert!(last.ends_with("Completed blue-green update"), "{last}");
    w.wait(29);
    assert_eq!(w.sizes(), [3, 3], "old pods stay for scaleDownDelaySeconds");
    w.wait(1);
    assert_eq!(w.sizes(), [0, 3]);
    assert_eq!(w.phase(), pair("Healthy", ""));
}

#[test]
fn no_pod_of_clients_goes_before_the_switch_and_none_that_is_missing_is_switched_to() {
    let mut w = blue_green(json!({}));
    w.broken.push("web:2".into());
    w.update("web:2");
    assert_eq!((w.shown(), w.sizes()), ((1, 2), vec![3, 3]));
    assert_eq!(
        w.phase(),
        pair("Progressing", "active service cutover pending")
    );
}

#[test]
fn the_timer_promotes_and_so_does_a_person_before_it() {
    let mut w = blue_green(json!({"autoPromotionSeconds": 60}));
    w.update("web:2");
    w.wait(59);
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    w.wait(1);
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (2, 2)));
    assert!(w.reasons().contains(&"RolloutResumed"));
    // The peer adds the pause again.
    w.update("web:3");
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (3, 3)));
}

#[test]
fn a_small_preview_grows_before_the_switch_whatever_an_autoscaler_does() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false, "previewReplicaCount": 1}));
    w.update("web:2");
    assert_eq!(w.sizes(), [3, 1]);
    w.patch_spec(json!({"replicas": 5}));
    w.settle();
    assert_eq!(w.sizes(), [5, 1]);
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!((w.sizes(), w.shown()), (vec![5, 5], (2, 2)));
    let shown = w.status().blue_green.unwrap();
    assert_eq!(shown.scale_up_preview_check_point, None);
    assert_eq!(w.phase(), pair("Healthy", ""));
}

#[test]
fn an_abort_leaves_clients_alone_and_the_preview_goes_after_its_delay() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    w.annotate(ABORT, "looks wrong");
    w.settle();
    let phase = pair(
        "Degraded",
        "RolloutAborted: Rollout aborted update to revision 2: looks wrong",
    );
    assert_eq!(
        (w.phase(), w.shown(), w.sizes()),
        (phase, (1, 2), vec![3, 3])
    );
    w.wait(30);
    assert_eq!(w.sizes(), [3, 0]);
    // Retry: the preview comes back, and a second abort has its delay again.
    w.annotate(RETRY, "true");
    w.settle();
    assert_eq!(
        (w.phase(), w.sizes()),
        (pair("Paused", "BlueGreenPause"), vec![3, 3])
    );
    w.annotate(ABORT, "true");
    w.settle();
    w.wait(29);
    assert_eq!(w.sizes(), [3, 3]);
    w.wait(1);
    assert_eq!(w.sizes(), [3, 0]);
}

#[test]
fn a_delay_of_0_after_an_abort_keeps_the_preview_up() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false, "abortScaleDownDelaySeconds": 0}));
    w.update("web:2");
    w.patch_status(json!({"abort": true}));
    w.wait(3600);
    assert_eq!(w.sizes(), [3, 3]);
}

#[test]
fn going_back_while_the_old_pods_are_up_needs_no_pause() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.wait(5);
    w.update("web:2");
    w.annotate(PROMOTE, "true");
    w.settle();
    w.wait(10);
    w.events.clear();
    w.update("web:1");
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (3, 3)));
    let last = w.events.last().unwrap();
    assert!(last.ends_with("Fast rollback"), "{:?}", w.events);
    w.wait(30);
    assert_eq!(w.sizes(), [3, 0]);
    // After the delay it is an update like any other.
    w.wait(60);
    w.update("web:2");
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
}

#[test]
fn the_old_template_in_the_middle_of_an_update_ends_it() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    w.update("web:1");
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (3, 3)));
    w.wait(30);
    assert_eq!(w.sizes(), [3, 0], "asks-and-pains §3, 39");
}

#[test]
fn more_old_versions_than_the_limit_go_at_once() {
    let mut w = blue_green(json!({"scaleDownDelayRevisionLimit": 1, "scaleDownDelaySeconds": 600}));
    w.update("web:2");
    assert_eq!(w.sizes(), [3, 3]);
    w.update("web:3");
    assert_eq!(w.sizes(), [0, 3, 3], "R43");
    w.patch_spec(json!({"replicas": 4}));
    w.settle();
    assert_eq!(w.sizes(), [0, 4, 4], "old ones follow spec.replicas");
    w.wait(600);
    assert_eq!(w.sizes(), [0, 0, 4]);
}

#[test]
fn without_a_delay_old_pods_go_when_the_switch_is_on_record() {
    let mut w = blue_green(json!({"scaleDownDelaySeconds": 0}));
    w.update("web:2");
    assert_eq!((w.sizes(), w.shown()), (vec![0, 3], (2, 2)));
}

#[test]
fn full_promotion_skips_the_pause_but_not_the_pods() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false, "previewReplicaCount": 1}));
    w.broken.push("web:2".into());
    w.update("web:2");
    w.patch_status(json!({"promoteFull": true}));
    w.settle();
    assert_eq!((w.shown(), w.sizes()), ((1, 2), vec![3, 3]));
    w.broken.clear();
    w.settle();
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (2, 2)));
    assert!(
        w.events
            .last()
            .unwrap()
            .ends_with("Full promotion requested")
    );
}

#[test]
fn spec_paused_freezes_the_services_and_not_the_sizes() {
    let mut w = blue_green(json!({}));
    w.patch_spec(json!({"paused": true}));
    w.settle();
    w.update("web:2");
    assert_eq!((w.shown(), w.sizes()), ((1, 1), vec![3, 3]));
    assert_eq!(w.phase(), pair("Paused", "manually paused"));
    w.patch_spec(json!({"paused": false}));
    w.settle();
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (2, 2)));
}

#[test]
fn a_service_that_lost_its_hash_is_given_what_is_known_good() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    w.services[0] = service("live");
    w.settle();
    assert_eq!(
        (w.shown(), w.phase()),
        ((1, 2), pair("Paused", "BlueGreenPause"))
    );
}

#[test]
fn at_zero_replicas_services_are_let_go_and_taken_again() {
    let mut w = blue_green(json!({}));
    w.patch_spec(json!({"replicas": 0}));
    w.settle();
    assert_eq!(w.services, {
        let mut plain = vec![service("live"), service("next")];
        for (a, b) in plain.iter_mut().zip(&w.services) {
            a.version.clone_from(&b.version);
        }
        plain
    });
    assert_eq!(w.phase(), pair("Healthy", ""));
    w.writes.clear();
    w.wait(1000);
    assert_eq!(w.writes, Vec::<String>::new());
    w.patch_spec(json!({"replicas": 2}));
    w.settle();
    assert_eq!((w.shown(), w.phase()), ((1, 1), pair("Healthy", "")));
}

#[test]
fn at_zero_replicas_in_the_middle_of_an_update_nothing_is_let_go() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    w.patch_spec(json!({"replicas": 0}));
    w.settle();
    assert_eq!(w.shown(), (1, 2));
}

#[test]
fn faults_of_services_stop_a_first_deployment() {
    let mut w = world(3, json!([]));
    w.set_strategy(json!({"blueGreen": {"activeService": "live"}, "canary": null}));
    let mut other = service("live");
    other.manager = Some("shop".into());
    other.selector.insert("tier".into(), "front".into());
    w.services = vec![other];
    w.settle();
    let (phase, message) = w.phase();
    assert_eq!((phase.as_str(), w.sizes()), ("Degraded", vec![]));
    for part in [
        "spec.strategy.blueGreen.activeService: Invalid value: \"live\"",
        "Service \"live\" is managed by another Rollout: shop",
        "Service \"live\" has unmatch label \"tier\" in rollout",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    w.services = vec![service("live")];
    w.settle();
    assert_eq!((w.phase(), w.behind("live")), (pair("Healthy", ""), 1));
}

#[test]
fn a_service_that_is_gone_stops_an_update_before_it_begins() {
    let mut w = blue_green(json!({}));
    w.update("web:2");
    w.wait(30);
    let next = w.services.pop().unwrap();
    w.image("web:3");
    let seen = w.observed();
    assert_eq!(
        crate::planner::needs(&seen),
        [Need::Service("next".into())],
        "absence from a cache proves nothing"
    );
    w.services.push(next);
    w.settle();
    assert_eq!(w.shown(), (3, 3));
}

#[test]
fn a_service_is_let_go_when_its_rollout_goes_or_names_it_no_longer() {
    let mut w = blue_green(json!({}));
    let live = w.services[0].clone();
    let seen = |w: &World| RolloutSeen::of(&w.rollout);
    assert_eq!(release(&live, Some(&seen(&w))), None);
    let patch = release(&live, None).unwrap().to_json();
    assert_eq!(patch["spec"]["selector"][POD_HASH_LABEL], Value::Null);
    assert_eq!(patch["metadata"]["annotations"][MANAGED_BY], Value::Null);
    let mut going = seen(&w);
    going.is_deleting = true;
    assert!(release(&live, Some(&going)).is_some());
    w.set_strategy(json!({"blueGreen": {"activeService": "other"}}));
    assert!(release(&live, Some(&seen(&w))).is_some());
    // Of a spec that cannot be used nothing is concluded; without the annotation it is nobody's.
    w.patch_spec(json!({"selector": null}));
    assert_eq!(release(&live, Some(&seen(&w))), None);
    assert_eq!(release(&service("live"), None), None);
}

#[test]
fn a_pause_of_the_peer_is_carried_on() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    // As the peer leaves it: nothing of ours on Rollout, ReplicaSets and status.
    let mut status = serde_json::to_value(w.status()).unwrap();
    status["serin"] = Value::Null;
    status["currentStepHash"] = json!("");
    status["conditions"]
        .as_array_mut()
        .unwrap()
        .retain(|c| !["Ready", "Reconciling", "Stalled"].contains(&c["type"].as_str().unwrap()));
    w.rollout.status = Some(serde_json::from_value(status).unwrap());
    for rs in &mut w.sets {
        rs.template_digest = None;
    }
    w.writes.clear();
    w.events.clear();
    w.settle();
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    assert!(
        !w.writes.iter().any(|x| x.contains("->") || x == "create"),
        "{:?}",
        w.writes
    );
    assert_eq!((w.sizes(), w.shown()), (vec![3, 3], (1, 2)));
    w.patch_status(json!({"pauseConditions": null}));
    w.settle();
    assert_eq!((w.phase(), w.shown()), (pair("Healthy", ""), (2, 2)));
}

fn analysed(more: Value) -> World {
    let mut strategy = json!({"prePromotionAnalysis": {"templates": [{"templateName": "t"}]}});
    crate::api::patch::apply_merge_patch(&mut strategy, &more);
    blue_green(strategy)
}

#[test]
fn a_deadline_is_written_as_existing_clients_read_it() {
    let mut w = blue_green(json!({}));
    w.update("web:2");
    let deadline = w.sets[0].scale_down_deadline.unwrap();
    assert_eq!(deadline.as_second(), w.now + 30);
    assert_eq!(SCALE_DOWN_DEADLINE, "scale-down-deadline");
}

#[test]
fn analyses_are_looked_for_before_the_preview_has_pods() {
    let mut w = analysed(json!({}));
    w.analyses.clear();
    w.image("web:2");
    w.pods();
    let asks = |w: &World| crate::planner::needs(&w.observed());
    let is_asked = |asks: &[Need]| matches!(asks, [Need::AnalysisTemplate(t)] if t.name == "t");
    assert!(is_asked(&asks(&w)), "{:?}", asks(&w));
    // And again while it has a ReplicaSet without pods.
    w.analyses.insert("t".into(), measured_once(json!([])));
    w.turn();
    assert_eq!(w.sizes(), [3, 0]);
    w.analyses.clear();
    assert!(is_asked(&asks(&w)), "{:?}", asks(&w));
}

#[test]
fn an_update_at_zero_replicas_ends() {
    let mut w = blue_green(json!({}));
    w.patch_spec(json!({"replicas": 0}));
    w.settle();
    w.update("web:2");
    assert_eq!((w.phase(), w.behind("live")), (pair("Healthy", ""), 0));
    assert_eq!(w.status().stable_rs, w.status().current_pod_hash);
}

#[test]
fn a_freeze_starts_no_preview_and_holds_the_switch() {
    let mut w = blue_green(json!({}));
    w.freezes = super::freeze::freeze(None);
    w.update("web:2");
    assert_eq!(w.sizes(), [3, 0]);
    assert_eq!(w.shown(), (1, 1));
    assert_eq!(w.phase().0, "Paused");
    w.annotate(crate::api::OVERRIDE_FREEZE, "security fix");
    w.settle();
    assert_eq!(w.shown(), (2, 2));
    // One that begins while the preview is up holds the switch, and the preview stays.
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    assert_eq!(w.shown(), (1, 2));
    w.freezes = super::freeze::freeze(None);
    w.settle();
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.shown(), (1, 2));
    w.freezes = Arc::default();
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(w.shown(), (2, 2));
}
