//! Which pods a Service selects while sizes change: it never loses the pods that answer it.

use super::blue_green::{blue_green, service};
use super::*;
use crate::api::{ABORT, RETRY};
use crate::planner::services::{faults, named, release};
use crate::planner::spec::{PingPong, Strategy};

impl World {
    /// Pods that can answer behind a Service: of the version it selects, or of all.
    fn answering(&self, name: &str) -> u32 {
        let service = self.services.iter().find(|s| s.name == name).unwrap();
        let is_behind = |rs: &&ReplicaSetSeen| service.hash().is_none_or(|hash| rs.hash == hash);
        let sets = self.sets.iter().filter(is_behind);
        sets.map(|rs| rs.available.min(rs.replicas)).sum()
    }

    /// So many turns, with a look after each of them.
    fn turns(&mut self, count: u32, look: impl Fn(&Self)) {
        for _ in 0..count {
            self.pods();
            self.turn();
            look(self);
        }
    }

    /// What the look at every managed Service does, at a time of its own.
    fn let_go(&mut self) {
        let manager = RolloutSeen::of(&self.rollout);
        for service in &mut self.services {
            if release(service, Some(&manager)).is_some() {
                service.selector.remove(POD_HASH_LABEL);
                service.manager = None;
                service.version.push('0');
            }
        }
    }

    /// Revision of the stable version.
    fn stable_revision(&self) -> u64 {
        let stable = self.status().stable_rs;
        let set = self
            .sets
            .iter()
            .find(|rs| Some(&rs.hash) == stable.as_ref());
        set.map_or(0, |rs| rs.revision)
    }
}

/// Clients have web:2, and web:1 is the stable version still.
fn switched() -> World {
    let mut w = blue_green(json!({}));
    w.image("web:2");
    while w.behind("live") != 2 {
        w.pods();
        w.turn();
    }
    assert_eq!(w.stable_revision(), 1);
    w
}

/// A canary of four pods behind `old` and `new`.
fn canary(more: Value) -> World {
    let mut strategy = json!({"stableService": "old", "canaryService": "new"});
    crate::api::patch::apply_merge_patch(&mut strategy, &more);
    let mut w = world(4, json!([]));
    w.set_strategy(json!({ "canary": strategy }));
    w.services = vec![service("old"), service("new")];
    w.settle();
    assert_eq!(w.behind("old"), 1);
    w
}

#[test]
fn a_change_of_strategy_loses_no_pod() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    assert_eq!(w.sizes(), [3, 3]);
    w.set_strategy(
        json!({"blueGreen": null, "canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}),
    );
    w.turns(40, |w| assert!(w.answering("live") >= 3, "{:?}", w.sizes()));
    w.let_go();
    w.turns(40, |w| assert!(w.answering("live") >= 3, "{:?}", w.sizes()));
    assert_eq!(w.phase(), pair("Paused", "CanaryPauseStep"));
    assert_eq!((w.sizes(), w.status().blue_green), (vec![2, 2], None));
    w.set_strategy(json!({"canary": null, "blueGreen": {"activeService": "live", "autoPromotionEnabled": false}}));
    w.services = vec![service("live")];
    w.turns(40, |w| assert!(w.answering("live") >= 3, "{:?}", w.sizes()));
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    assert_eq!((w.sizes(), w.behind("live")), (vec![3, 3], 1));
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!((w.phase(), w.behind("live")), (pair("Healthy", ""), 2));
    assert_eq!(w.status().canary, None);
}

#[test]
fn a_version_stays_whole_while_a_service_that_is_named_no_longer_selects_it() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    // Of the canary every pod is to be web:2.
    w.set_strategy(
        json!({"blueGreen": null, "canary": {"steps": [{"setWeight": 100}, {"pause": {}}]}}),
    );
    w.turns(40, |w| {
        assert_eq!(
            (w.behind("live"), w.answering("live")),
            (1, 3),
            "{:?}",
            w.sizes()
        );
    });
    w.let_go();
    w.turns(40, |w| assert!(w.answering("live") >= 3, "{:?}", w.sizes()));
    assert_eq!(
        (w.sizes(), w.phase()),
        (vec![0, 3], pair("Paused", "CanaryPauseStep"))
    );
}

#[test]
fn pods_beyond_the_size_stay_too_while_a_service_that_was_left_selects_them() {
    let mut w = canary(json!({"steps": [{"pause": {}}]}));
    w.update("web:2");
    assert_eq!(w.sizes(), [4, 0]);
    // As a restart leaves it that made room, when the strategy is changed in its middle.
    (w.sets[0].replicas, w.sets[0].current) = (6, 6);
    w.services.push(service("live"));
    let blue_green = json!({"activeService": "live", "autoPromotionEnabled": false});
    w.set_strategy(json!({"canary": null, "blueGreen": blue_green}));
    w.turns(10, |w| assert_eq!(w.sizes()[0], 6));
    w.let_go();
    w.settle();
    assert_eq!(w.sizes(), [4, 4]);
}

#[test]
fn nothing_goes_while_a_service_without_a_hash_selects_every_version() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.services = vec![service("live")];
    w.settle();
    w.update("web:2");
    assert_eq!(w.sizes(), [2, 2]);
    // A third version, and another strategy, in one edit.
    let strategy =
        json!({"activeService": "live", "autoPromotionEnabled": false, "scaleDownDelaySeconds": 0});
    w.set_strategy(json!({"canary": null, "blueGreen": strategy}));
    w.image("web:3");
    w.turns(40, |w| assert!(w.answering("live") >= 4, "{:?}", w.sizes()));
    assert_eq!((w.sizes(), w.behind("live")), (vec![4, 0, 4], 1));
}

#[test]
fn a_threshold_for_steps_does_not_make_the_way_back_complete() {
    let steps = json!([{"setWeight": 100}, {"pause": {}}]);
    let threshold = json!({"type": "Percent", "value": 50});
    let more = json!({"steps": steps, "maxSurge": "100%", "replicaProgressThreshold": threshold});
    let mut w = canary(more);
    w.update("web:2");
    assert_eq!((w.behind("old"), w.sizes()), (2, vec![0, 4]));
    w.most.push(("web:1".into(), 3));
    w.annotate(ABORT, "errors");
    w.settle();
    w.wait(10);
    let met = "three of four pods meet the threshold, and four have the clients";
    assert_eq!((w.behind("old"), w.sizes()), (2, vec![4, 4]), "{met}");
    w.wait(60);
    assert_eq!(w.behind("old"), 1, "after a minute any pod is better");
}

#[test]
fn a_service_without_a_hash_is_taken_over_onto_a_full_version_only() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.services = vec![service("live")];
    w.settle();
    w.update("web:2");
    w.most.push(("web:1".into(), 2));
    let strategy = json!({"activeService": "live", "autoPromotionEnabled": false});
    w.set_strategy(json!({"canary": null, "blueGreen": strategy}));
    w.settle();
    w.annotate(ABORT, "errors");
    w.turns(30, |w| assert!(w.answering("live") >= 4, "{:?}", w.sizes()));
    w.most.clear();
    w.turns(30, |w| assert!(w.answering("live") >= 4, "{:?}", w.sizes()));
    assert_eq!(w.behind("live"), 1);
    // Of a canary that goes back the few pods that the weight had left are not enough either.
    let mut w = world(4, json!([{"setWeight": 75}, {"pause": {}}]));
    w.services = vec![service("old")];
    w.settle();
    w.update("web:2");
    w.annotate(ABORT, "errors");
    while w.status().abort != Some(true) {
        w.pods();
        w.turn();
    }
    let steps = json!([{"setWeight": 75}, {"pause": {}}]);
    w.set_strategy(json!({"canary": {"steps": steps, "stableService": "old"}}));
    w.turns(40, |w| assert!(w.answering("old") >= 3, "{:?}", w.sizes()));
    assert_eq!((w.behind("old"), w.sizes()), (1, vec![4, 0]));
}

#[test]
fn an_abort_goes_back_although_another_service_cannot_be_used() {
    let mut w = switched();
    w.most.push(("web:2".into(), 2));
    w.services[1].manager = Some("shop".into());
    w.annotate(ABORT, "errors");
    w.settle();
    assert_eq!((w.behind("live"), w.phase().0.as_str()), (1, "Degraded"));
    // And where it cannot itself be used, its pods stay.
    let mut w = switched();
    w.most.push(("web:2".into(), 2));
    w.services[0].manager = Some("shop".into());
    w.annotate(ABORT, "errors");
    w.settle();
    w.wait(1000);
    assert_eq!((w.behind("live"), w.sizes()), (2, vec![3, 3]));
}

#[test]
fn an_aborted_canary_gives_its_services_back_although_one_cannot_be_used() {
    let mut w = canary(json!({"steps": [{"setWeight": 50}, {"pause": {}}]}));
    w.update("web:2");
    assert_eq!(w.behind("new"), 2);
    w.services[0].manager = Some("shop".into());
    w.annotate(ABORT, "errors");
    w.turns(30, |w| assert!(w.answering("new") > 0, "{:?}", w.sizes()));
    assert_eq!(w.behind("new"), 1);
}

#[test]
fn counts_from_before_a_scale_down_are_not_believed() {
    let mut w = switched();
    w.most.push(("web:2".into(), 2));
    w.annotate(ABORT, "errors");
    while w.status().abort != Some(true) {
        w.pods();
        w.turn();
    }
    // Somebody scaled stable down; its counts do not tell yet.
    w.sets[0].replicas = 0;
    w.sets[0].is_observed = false;
    w.turn();
    assert_eq!((w.behind("live"), w.sizes()), (2, vec![3, 3]));
}

#[test]
fn clients_go_back_to_as_many_pods_as_they_have() {
    let mut w = switched();
    w.most = vec![("web:2".into(), 2), ("web:1".into(), 1)];
    w.annotate(ABORT, "errors");
    w.settle();
    w.wait(10);
    assert_eq!(w.behind("live"), 2, "one pod would get what two have now");
    w.most[1].1 = 2;
    w.settle();
    assert_eq!(w.behind("live"), 1);
    // Where the new version is dead, one pod is better than none.
    let mut w = switched();
    w.most = vec![("web:2".into(), 0), ("web:1".into(), 1)];
    w.annotate(ABORT, "errors");
    w.settle();
    assert_eq!(w.behind("live"), 1);
    // After a minute any pod is better than a version that was aborted.
    let mut w = switched();
    w.most = vec![("web:2".into(), 2), ("web:1".into(), 1)];
    w.annotate(ABORT, "errors");
    w.settle();
    w.wait(60);
    assert_eq!(w.behind("live"), 1);
}

#[test]
fn what_clients_have_follows_the_wanted_size_while_a_third_version_comes() {
    let mut w = switched();
    w.most = vec![("web:2".into(), 2)];
    w.broken.push("web:3".into());
    w.update("web:3");
    assert_eq!((w.behind("live"), w.sizes()), (2, vec![3, 3, 3]));
    w.patch_spec(json!({"replicas": 5}));
    w.settle();
    assert_eq!((w.behind("live"), w.sizes()), (2, vec![5, 5, 5]));
    w.annotate(ABORT, "true");
    w.most = vec![];
    w.settle();
    assert_eq!(w.behind("live"), 1);
    w.wait(30);
    assert_eq!(w.sizes(), [5, 0, 0]);
}

#[test]
fn a_version_that_was_never_promoted_is_no_fast_way_back() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false, "scaleDownDelaySeconds": 300}));
    w.wait(5);
    w.update("web:2");
    w.wait(5);
    w.update("web:3");
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!((w.behind("live"), w.sizes()), (3, vec![3, 3, 3]));
    w.wait(5);
    w.update("web:2");
    assert_eq!(w.phase(), pair("Paused", "BlueGreenPause"));
    w.update("web:1");
    assert_eq!((w.phase(), w.behind("live")), (pair("Healthy", ""), 5));
}

#[test]
fn an_analysis_that_nobody_waits_for_does_not_stop_the_deadline() {
    let mut w = blue_green(json!({}));
    w.broken.push("web:2".into());
    w.update("web:2");
    let run = json!({"name": "web-old-2-pre", "status": "Running"});
    w.patch_status(json!({"blueGreen": {"prePromotionAnalysisRunStatus": run}}));
    w.settle();
    w.wait(601);
    assert_eq!(w.condition("Progressing").1, "ProgressDeadlineExceeded");
    w.annotate(ABORT, "true");
    w.settle();
    w.annotate(RETRY, "true");
    w.settle();
    let shown = w.status().blue_green.unwrap();
    assert_eq!(shown.pre_promotion_analysis_run_status, None);
}

#[test]
fn a_service_of_a_superseded_version_is_never_without_pods() {
    let mut w = canary(json!({"maxSurge": 4, "steps": [{"setWeight": 50}, {"pause": {}}]}));
    w.update("web:2");
    assert_eq!((w.behind("old"), w.behind("new")), (1, 2));
    w.broken.push("web:3".into());
    w.image("web:3");
    w.turns(60, |w| {
        assert!(w.answering("new") > 0, "{:?}", w.sizes());
        assert!(w.answering("old") > 0, "{:?}", w.sizes());
    });
    assert_eq!((w.behind("old"), w.behind("new")), (1, 1));
}

#[test]
fn a_weight_of_nothing_takes_the_canarys_service_along() {
    let steps = json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 0}, {"pause": {}}]);
    let mut w = canary(json!({ "steps": steps }));
    w.update("web:2");
    assert_eq!(w.behind("new"), 2);
    w.annotate(PROMOTE, "true");
    w.turns(40, |w| assert!(w.answering("new") > 0, "{:?}", w.sizes()));
    assert_eq!((w.behind("new"), w.sizes()), (1, vec![4, 0]));
    w.annotate(PROMOTE, "true");
    w.settle();
    assert_eq!(
        (w.phase(), w.behind("new"), w.behind("old")),
        (pair("Healthy", ""), 2, 2)
    );
}

#[test]
fn the_only_pod_may_go_first_where_no_other_may_be_made() {
    let mut w = world(1, json!([]));
    w.set_strategy(json!({"canary": {"stableService": "old", "maxSurge": 0, "maxUnavailable": 1}}));
    w.services = vec![service("old")];
    w.settle();
    w.update("web:2");
    assert_eq!((w.phase(), w.behind("old")), (pair("Healthy", ""), 2));
}

#[test]
fn the_stable_service_leaves_before_the_last_old_pod() {
    let steadily = |w: &World| assert!(w.answering("old") > 0, "{:?}", w.sizes());
    let steps = json!([{"setWeight": 100}, {"pause": {}}]);
    let mut w = canary(json!({"canaryService": null, "steps": steps}));
    w.image("web:2");
    w.turns(60, steadily);
    assert_eq!((w.sizes(), w.behind("old")), (vec![0, 4], 2));
    w.annotate(PROMOTE, "true");
    w.turns(60, steadily);
    assert_eq!((w.phase(), w.behind("old")), (pair("Healthy", ""), 2));
    // Aborted on the last stretch, it goes back to where it was, and not onto one pod.
    w.image("web:3");
    w.turns(60, steadily);
    assert_eq!((w.behind("old"), w.stable_revision()), (3, 2));
    w.annotate(ABORT, "errors");
    let mut turns = 0;
    while w.behind("old") != 2 {
        w.turns(1, steadily);
        turns += 1;
        assert!(turns < 60, "{:?} {:?}", w.sizes(), w.phase());
    }
    assert!(w.answering("old") >= 2, "{:?}", w.sizes());
    w.turns(60, steadily);
    assert_eq!((w.behind("old"), w.sizes()), (2, vec![0, 4, 0]));
}

#[test]
fn a_version_that_a_service_is_switched_to_does_not_go_in_the_same_turn() {
    let mut w = blue_green(json!({"autoPromotionEnabled": false}));
    w.update("web:2");
    // Both versions are complete, and the new strategy wants none of the stable one.
    w.set_strategy(json!({"blueGreen": null, "canary": {"stableService": "old"}}));
    w.services.push(service("old"));
    w.let_go();
    w.turns(40, |w| assert!(w.answering("old") >= 1, "{:?}", w.sizes()));
    assert_eq!((w.phase(), w.behind("old")), (pair("Healthy", ""), 2));
}

#[test]
fn a_service_is_not_switched_while_another_cannot_be_used() {
    let mut w = canary(json!({}));
    w.image("web:2");
    while w.sizes() != [1, 4] {
        w.turns(1, |_| {});
    }
    w.services[1].manager = Some("shop".into());
    w.writes.clear();
    w.turns(20, |w| assert!(w.answering("old") > 0, "{:?}", w.sizes()));
    let is_switch = |write: &&String| write.contains(" -> ");
    assert_eq!(w.writes.iter().find(is_switch), None);
    w.services[1].manager = Some("web".into());
    w.settle();
    assert_eq!((w.phase(), w.behind("old")), (pair("Healthy", ""), 2));
}

#[test]
fn a_canarys_services_follow_pods_that_can_answer() {
    let mut w = world(4, json!([{"setWeight": 50}, {"pause": {}}]));
    w.set_strategy(json!({"canary": {"stableService": "old", "canaryService": "new"}}));
    w.services = vec![service("old"), service("new")];
    w.settle();
    let shown = |w: &World| (w.behind("old"), w.behind("new"));
    assert_eq!(shown(&w), (1, 1), "at rest both select the stable version");
    w.update("web:2");
    assert_eq!((shown(&w), w.sizes()), ((1, 2), vec![2, 2]));
    w.patch_status(json!({"abort": true}));
    w.settle();
    assert_eq!(shown(&w), (1, 1), "asks-and-pains §3, 43");
    w.patch_status(json!({"abort": false}));
    w.settle();
    w.patch_status(json!({"promoteFull": true}));
    w.settle();
    assert_eq!((shown(&w), w.phase()), ((2, 2), pair("Healthy", "")));
    // A new version whose pods never come: the service stays where it can answer.
    w.broken.push("web:3".into());
    w.update("web:3");
    assert_eq!(shown(&w), (2, 2));
}

#[test]
fn a_service_that_has_left_stable_leaves_a_superseded_version_too() {
    let mut w = canary(json!({"steps": [{"setWeight": 100}, {"pause": {}}]}));
    w.update("web:2");
    assert_eq!((w.behind("old"), w.sizes()), (2, vec![0, 4]));
    w.update("web:3");
    assert_eq!((w.behind("old"), w.sizes()), (3, vec![0, 0, 4]));
}

/// Ping-pong is refused until there are routers for it. Its two Services are looked at as the others are:
/// missing, another Rollout's, of other labels, and let go when nobody names them (V2, V6, L28).
#[test]
fn the_services_of_ping_pong_are_named_like_the_others() {
    let w = world(1, json!(null));
    let mut rollout = RolloutSeen::of(&w.rollout);
    let mut spec = (**rollout.spec.as_ref().unwrap()).clone();
    let Strategy::Canary(canary) = &mut spec.strategy else {
        panic!("a canary");
    };
    canary.ping_pong = Some(PingPong {
        ping: "ping".to_owned(),
        pong: "pong".to_owned(),
    });
    let names: Vec<&str> = named(&spec).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["ping", "pong"]);

    let mut seen = w.observed();
    let mut other = service("pong");
    other.manager = Some("shop".to_owned());
    other.selector.insert("tier".to_owned(), "gold".to_owned());
    seen.services = vec![other];
    let told: Vec<String> = faults(&seen, &spec)
        .iter()
        .map(ToString::to_string)
        .collect();
    for (fault, words) in told.iter().zip([
        "spec.strategy.canary.pingPong.pingService: Invalid value: \"ping\": service \"ping\" not found",
        "pingPong.pongService: Invalid value: \"pong\": Service \"pong\" is managed by another Rollout: shop",
        "Service \"pong\" has unmatch label \"tier\" in rollout",
    ]) {
        assert!(fault.contains(words), "{words} is not in {fault}");
    }
    assert_eq!(told.len(), 3, "{told:?}");

    let mut mine = service("ping");
    mine.manager = Some("web".to_owned());
    assert!(release(&mine, Some(&rollout)).is_some(), "no longer named");
    rollout.spec = Ok(Arc::new(spec));
    assert!(release(&mine, Some(&rollout)).is_none(), "in use");
    assert!(release(&mine, None).is_some(), "the Rollout is gone");
}
