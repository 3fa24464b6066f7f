//! Manifests in, faults or spec out.

use serde_json::{Value, json};

use super::*;
use crate::planner::spec::{Bound, Step};

fn rollout(spec: Value) -> Rollout {
    serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web"}, "spec": spec,
    }))
    .unwrap()
}

fn good() -> Value {
    json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "web:1"}]},
        },
        "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {"duration": 120}}]}},
    })
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut spec = good();
    change(&mut spec);
    match lower(&rollout(spec)) {
        Ok(_) => vec![],
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_plain_canary_gets_the_published_defaults() {
    let spec = lower(&rollout(good())).unwrap();
    assert_eq!((spec.replicas, spec.replicas_unset), (1, true));
    assert_eq!(spec.progress_deadline_seconds, 600);
    assert_eq!(spec.revision_history_limit, 10);
    assert_eq!(spec.selector_text, "app=web");
    let canary = spec.canary().unwrap();
    assert_eq!(
        (canary.max_surge, canary.max_unavailable),
        (Bound::Percent(25), Bound::Percent(25))
    );
    let texts: Vec<String> = canary.steps.iter().map(Step::text).collect();
    assert_eq!(texts, ["setWeight: 20", "pause: 120"]);
}

#[test]
fn a_string_bound_is_a_percent_as_clients_expect() {
    let mut spec = good();
    spec["strategy"]["canary"]["maxSurge"] = json!("5");
    spec["strategy"]["canary"]["maxUnavailable"] = json!(3);
    let canary_spec = lower(&rollout(spec)).unwrap();
    let canary = canary_spec.canary().unwrap();
    assert_eq!(
        (canary.max_surge, canary.max_unavailable),
        (Bound::Percent(5), Bound::Pods(3))
    );
}

#[test]
fn all_faults_come_at_once_with_their_paths() {
    let found = faults(|s| {
        s["replicas"] = json!(-1);
        s["selector"] = json!({"matchLabels": {"app": "other"}});
        s["template"]["spec"]["containers"][0] =
            json!({"name": "app", "resources": {"limits": {"memory": "invalid"}}});
        s["progressDeadlineSeconds"] = json!(5);
        s["minReadySeconds"] = json!(10);
        s["strategy"]["canary"]["maxSurge"] = json!(0);
        s["strategy"]["canary"]["maxUnavailable"] = json!("0%");
        s["strategy"]["canary"]["steps"] = json!([{"setWeight": 120}, {"pause": {"duration": "soon"}}, {}, {"setWeight": 1, "pause": {}}]);
    });
    let wanted = [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "spec.template.spec.containers[0].image: Required value: name the container's image",
        "spec.template.spec.containers[0].resources.limits.memory: Invalid value: \"invalid\": is not a quantity: write it like 250m, 0.5, 256Mi or 1Gi",
        "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`: give the template every label that spec.selector asks for",
        "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        "spec.strategy.canary.maxSurge: Invalid value: 0: MaxSurge and MaxUnavailable both can not be zero",
        "spec.strategy.canary.steps[0].setWeight: Invalid value: 120: SetWeight needs to be between 0 and 100",
        "spec.strategy.canary.steps[1].pause.duration: Invalid value: \"soon\": Duration needs to be greater than 0: write seconds (120) or a duration (30s, 5m, 1h30m)",
        "spec.strategy.canary.steps[2]: Invalid value: \"null\": Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause",
        "spec.strategy.canary.steps[3]: Invalid value: \"setWeight, pause\": Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause",
    ];
    assert_eq!(found, wanted);
}

/// Two strategies are one fault more, not the end of the search.
#[test]
fn faults_of_both_strategies_are_told() {
    let found = faults(|s| {
        s["replicas"] = json!(-1);
        s["revisionHistoryLimit"] = json!(1);
        s["strategy"]["canary"]["steps"] = json!([{"setWeight": 120}]);
        s["strategy"]["canary"]["canaryMetadata"] = json!({"labels": {"app": "x"}});
        s["strategy"]["canary"]["slos"] =
            json!({"startingStep": 7, "objectives": [{"metric": "m"}]});
        s["strategy"]["blueGreen"] = json!({
            "autoPromotionSeconds": -1, "scaleDownDelayRevisionLimit": 2,
            "previewMetadata": {"labels": {"app": "x"}},
            "prePromotionAnalysis": {"templates": []},
        });
    });
    for wanted in [
        "spec.replicas: Invalid value: -1",
        "spec.strategy.strategy: Invalid value: \"blueGreen, canary\": Multiple Strategies can not be listed",
        "spec.strategy.blueGreen.activeService: Required value",
        "spec.strategy.blueGreen.autoPromotionSeconds: Invalid value: -1",
        "spec.strategy.blueGreen.prePromotionAnalysis.templates: Required value",
        "spec.strategy.blueGreen.scaleDownDelayRevisionLimit: Invalid value: 2",
        "spec.strategy.blueGreen: Invalid value: \"app\": is a label of spec.selector",
        "spec.strategy.canary.steps[0].setWeight: Invalid value: 120",
        "spec.strategy.canary: Invalid value: \"app\": is a label of spec.selector",
        "spec.strategy.canary.slos",
    ] {
        assert!(
            found.iter().any(|f| f.starts_with(wanted)),
            "{wanted}: {found:#?}"
        );
    }
    let found = faults(|s| s["strategy"] = json!({}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("Rollout has missing field"));
}

/// A fault without one value to show has no empty place for it.
#[test]
fn no_fault_shows_an_empty_value() {
    let fault = Fault::invalid("spec.x", "", "args.a was not resolved");
    assert_eq!(
        fault.to_string(),
        "spec.x: Invalid value: args.a was not resolved"
    );
}

#[test]
fn arguments_name_fields_that_are_there() {
    let ask = |path: &str| {
        let args = json!([{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
        let analysis = json!({"templates": [{"templateName": "t"}], "args": args});
        faults(|s| {
            s["minReadySeconds"] = json!(5);
            s["strategy"]["canary"]["steps"] = json!([{"analysis": analysis}]);
        })
    };
    for good in [
        "metadata.name",
        "metadata.generation",
        "metadata.creationTimestamp",
        "metadata.labels['tier']",
        "spec.replicas",
        "spec.minReadySeconds",
        "spec.selector.matchLabels.app",
        "spec.template.spec.containers[0].image",
        "spec.strategy.canary.steps[0].analysis.templates[0].templateName",
        "status.canary.weights.canary.weight",
    ] {
        assert_eq!(ask(good), [""; 0], "{good}");
    }
    let at = "spec.strategy.canary.steps[0].analysis.args[0].valueFrom.fieldRef.fieldPath: Invalid value:";
    for (bad, why) in [
        ("spec.paused", "this Rollout has no such field"),
        (
            "spec.template.spec.containers[1].image",
            "this Rollout has no such field",
        ),
        ("spec.strategy", "this Rollout has no such field"),
        ("kind", "must refer to valid object metadata"),
        ("spec.", "must refer to valid object metadata"),
    ] {
        let found = ask(bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(
            found[0].starts_with(at) && found[0].contains(why),
            "{found:?}"
        );
    }
}

#[test]
fn what_roles_may_not_change_is_told() {
    let found = faults(|s| {
        s["strategy"]["canary"]["canaryMetadata"] = json!({"labels": {"app": "x", "rollouts-pod-template-hash": "x", "role": "a b",
                "Up.example/role": "x", "example.org/a/b": "x"}, "annotations": {"two words": "fine"}});
        s["strategy"]["canary"]["antiAffinity"] =
            json!({"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 101}});
    });
    for wanted in [
        "is a label of spec.selector",
        "is the label by which a ReplicaSet knows its pods",
        "canaryMetadata.labels.role: Invalid value: \"a b\": the value of a label is",
        "canaryMetadata.labels.Up.example/role: Invalid value",
        "canaryMetadata.labels.example.org/a/b: Invalid value",
        "canaryMetadata.annotations.two words: Invalid value",
        "AntiAffinity weight must be between 1-100",
    ] {
        assert!(
            found.iter().any(|f| f.contains(wanted)),
            "{wanted}: {found:?}"
        );
    }
    let found = faults(|s| s["strategy"]["canary"]["antiAffinity"] = json!({}));
    assert!(found[0].contains("AntiAffinity must have exactly one strategy listed"));
}

#[test]
fn keys_and_values_of_labels_are_what_kubernetes_takes() {
    let with = |key: &str, value: &str| {
        let labels = json!({"labels": {key: value}});
        faults(|s| s["strategy"]["canary"]["canaryMetadata"] = labels)
    };
    let long = "x".repeat(63);
    for good in ["", "a", "canary", "1.2-3_x", &long] {
        assert_eq!(with("role", good), [""; 0], "{good}");
    }
    for bad in ["-a", "a-", "a b", "é", &"x".repeat(64)] {
        assert_eq!(with("role", bad).len(), 1, "{bad}");
    }
    for good in ["a", "A_b.c", "example.org/Role", &format!("a-1.b/{long}")] {
        assert_eq!(with(good, "x"), [""; 0], "{good}");
    }
    for bad in [
        "",
        "-",
        "/a",
        "a/",
        "Example.org/a",
        "a_b/c",
        "a/b/c",
        &"x".repeat(64),
    ] {
        assert_eq!(with(bad, "x").len(), 1, "{bad}");
    }
    // Of annotations only the key is checked, and in small letters, as Kubernetes does it.
    let notes = |key: &str| {
        let notes = json!({"annotations": {key: "any thing"}});
        faults(|s| s["strategy"]["canary"]["canaryMetadata"] = notes)
    };
    assert_eq!(notes("Example.org/Note"), [""; 0]);
    assert_eq!(notes("two words").len(), 1);
}

#[test]
fn a_restart_is_wanted_at_a_whole_second() {
    let mut spec = good();
    spec["restartAt"] = json!("2026-01-02T03:04:05.678Z");
    let at = lower(&rollout(spec)).unwrap().restart_at.unwrap();
    assert_eq!(
        at.to_string(),
        "2026-01-02T03:04:05Z",
        "what the status can hold"
    );
}

#[test]
fn what_is_not_built_is_refused_and_never_ignored() {
    {
        let (field, value) = ("trafficRouting", json!({"nginx": {"stableIngress": "x"}}));
        let found = faults(|s| s["strategy"]["canary"][field] = value);
        let wanted = format!("spec.strategy.canary.{field}: Invalid value: is not supported yet");
        assert!(
            found.iter().any(|f| f.starts_with(&wanted)),
            "{field}: {found:?}"
        );
    }
    for step in [
        json!({"setHeaderRoute": {"name": "a"}}),
        json!({"setMirrorRoute": {"name": "a"}}),
        json!({"plugin": {"name": "a"}}),
    ] {
        let found = faults(|s| s["strategy"]["canary"]["steps"] = json!([step]));
        assert!(
            found.iter().any(|f| f.contains("is not supported yet")),
            "{step}: {found:?}"
        );
    }
}

#[test]
fn blue_green_gets_the_published_defaults() {
    let mut spec = good();
    spec["strategy"] = json!({"blueGreen": {"activeService": "a"}});
    let spec = lower(&rollout(spec)).unwrap();
    let it = spec.blue_green().unwrap();
    assert!(it.auto_promotion_enabled);
    assert_eq!(
        (
            it.auto_promotion_seconds,
            it.scale_down_delay_seconds,
            it.abort_scale_down_delay_seconds
        ),
        (0, 30, 30)
    );
    assert_eq!(it.max_unavailable, Bound::Percent(25));
    assert_eq!((spec.steps().len(), spec.step_hash()), (0, None));
}

#[test]
fn faults_of_blue_green_and_of_services_come_at_once() {
    let found = faults(|s| {
        s["revisionHistoryLimit"] = json!(1);
        s["strategy"] = json!({"blueGreen": {
            "activeService": "a", "previewService": "a", "scaleDownDelayRevisionLimit": 2,
            "autoPromotionSeconds": -1, "slos": {"startingStep": 1, "objectives": []},
        }});
    });
    for part in [
        "blueGreen.activeService: Invalid value: \"a\": This rollout uses the same service",
        "scaleDownDelayRevisionLimit: Invalid value: 2: This rollout's revision history limit",
        "blueGreen.autoPromotionSeconds: Invalid value: -1",
        "blueGreen.slos.startingStep",
        "blueGreen.slos.objectives",
    ] {
        assert!(found.iter().any(|f| f.contains(part)), "{part}: {found:#?}");
    }
    let found = faults(|s| s["strategy"] = json!({"blueGreen": {}}));
    assert!(
        found
            .iter()
            .any(|f| f.contains("blueGreen.activeService: Required value")),
        "{found:?}"
    );
    let found = faults(|s| {
        s["strategy"]["canary"]["canaryService"] = json!("a");
        s["strategy"]["canary"]["stableService"] = json!("a");
        s["strategy"]["canary"]["pingPong"] = json!({"pingService": "a", "pongService": "b"});
    });
    for part in [
        "same service for the stable and canary services",
        "Ping-pong feature works with",
    ] {
        assert!(found.iter().any(|f| f.contains(part)), "{part}: {found:#?}");
    }
}

#[test]
fn what_is_ours_is_checked_as_strictly() {
    let found = faults(|s| {
        s["rollbackWindow"] = json!({"revisions": -1});
        s["strategy"]["canary"] = json!({
            "constantReplicas": true, "maxUnavailable": 1, "maxSurge": 0,
            "gradualRollback": {"by": 0}, "answerWithin": "soon", "keepCanaryFor": "0s",
            "replicaProgressThreshold": {"type": "Half", "value": 3},
            "analysis": {"templates": [{"templateName": "t"}], "onFailure": "Shrug"},
            "slos": {"onFailure": "Shrug", "objectives": []},
            "minPodsPerReplicaSet": -2,
            "steps": [
                {"pause": {"duration": "1m", "timeout": "1h"}},
                {"pause": {"timeout": "never"}},
                {"ramp": {"every": "1m"}},
                {"ramp": {"from": 50, "to": 20, "by": 10, "every": "1m"}},
                {"ramp": {"by": 10, "curve": "cubic"}},
            ],
        });
    });
    for wanted in [
        "spec.rollbackWindow.revisions: Invalid value: -1",
        "constantReplicas: Invalid value: true: takes the place of maxUnavailable",
        "constantReplicas: Invalid value: true: a new pod must be available",
        "gradualRollback.by: Invalid value: 0",
        "gradualRollback.every: Required value",
        "canary.answerWithin: Invalid value: \"soon\": must be a duration",
        "keepCanaryFor: Invalid value: \"0s\": must be a duration",
        "keepCanaryFor: Invalid value: \"0s\": the pods that stay must answer no client",
        "keepCanaryFor: Invalid value: \"0s\": pods stay only as far as maxSurge",
        "replicaProgressThreshold.type: Invalid value: \"Half\"",
        "canary.analysis.onFailure: Invalid value: \"Shrug\"",
        "canary.slos.onFailure: Invalid value: \"Shrug\"",
        "minPodsPerReplicaSet: Invalid value: -2",
        "steps[0].pause.timeout: Invalid value: \"1h\"",
        "steps[1].pause.timeout: Invalid value: \"never\"",
        "steps[2].ramp.by: Required value",
        "steps[3].ramp.to: Invalid value: 20: must be above from, which is 50",
        "steps[4].ramp.curve: Invalid value: \"cubic\"",
        "steps[4].ramp.every: Required value",
    ] {
        assert!(
            found.iter().any(|f| f.contains(wanted)),
            "{wanted} is not in {found:#?}"
        );
    }
}

#[test]
fn what_means_nothing_without_a_router_is_taken_as_it_is() {
    let found = faults(|s| {
        s["strategy"]["canary"]["minPodsPerReplicaSet"] = json!(2);
        s["strategy"]["canary"]["abortScaleDownDelaySeconds"] = json!(30);
        s["strategy"]["canary"]["scaleDownDelayRevisionLimit"] = json!(1);
    });
    assert_eq!(found, [""; 0]);
}
