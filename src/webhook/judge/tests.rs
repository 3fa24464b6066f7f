//! What is let in, what is refused with which words, and what is only told.

use serde_json::json;

use super::*;
use crate::api::freeze::FreezeWindowSpec;

fn rollout(image: &str, strategy: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
            "strategy": strategy,
        },
    })
}

fn canary(image: &str) -> Value {
    rollout(
        image,
        json!({"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}),
    )
}

fn asked(object: Value, old: Option<Value>) -> Asked {
    Asked {
        namespace: "shop".to_owned(),
        object,
        old,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn verdict(asked: &Asked, known: &Known) -> Verdict {
    judge(asked, known, at("2026-11-21T20:00:00Z"))
}

fn freeze(spec: Value) -> Known {
    let spec: FreezeWindowSpec = serde_json::from_value(spec).unwrap();
    let window = Window::of(Some("shop"), "launch", spec.into());
    Known {
        freezes: Some(Ok(vec![window])),
        ..Known::default()
    }
}

fn paths(verdict: &Verdict) -> Vec<&str> {
    verdict.faults.iter().map(|f| f.path.as_str()).collect()
}

#[test]
fn a_good_rollout_is_let_in_without_a_word() {
    let good = asked(canary("web:1"), None);
    assert_eq!(verdict(&good, &Known::default()), Verdict::default());
    let mut named_by_the_server = canary("web:1");
    named_by_the_server["metadata"] = json!({"generateName": "web-", "namespace": "shop"});
    assert_eq!(
        verdict(&asked(named_by_the_server, None), &Known::default()).faults,
        []
    );
}

#[test]
fn every_fault_is_told_at_once() {
    let steps = json!([{"setWeight": 500}, {"pause": {"duration": "soon"}}, {}]);
    let mut bad = rollout(
        "web:1",
        json!({"canary": {"steps": steps, "maxSurge": 0, "maxUnavailable": 0}}),
    );
    bad["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let said = verdict(&asked(bad, None), &Known::default());
    let paths = paths(&said);
    for path in [
        "steps[0]",
        "steps[1]",
        "steps[2]",
        "spec.template.metadata.labels",
    ] {
        assert!(paths.iter().any(|p| p.contains(path)), "{path}: {said:#?}");
    }
}

#[test]
fn a_pod_field_that_kubernetes_may_have_learned_is_only_told() {
    let mut new = canary("web:1");
    new["spec"]["template"]["spec"]["shineLevel"] = json!(3);
    let said = verdict(&asked(new, None), &Known::default());
    assert_eq!(said.faults, []);
    assert!(
        said.warnings[0].contains("spec.template.spec.shineLevel"),
        "{said:?}"
    );
}

#[test]
fn what_is_stored_may_be_labelled_finalized_and_deleted_however_wrong_it_is() {
    let bad = rollout("web:1", json!({"canary": {"steps": [{}]}}));
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"] = json!({"team": "shop"});
    assert_eq!(
        verdict(&asked(labelled, Some(bad.clone())), &Known::default()).faults,
        []
    );
    let mut leaving = rollout("web:2", json!({"canary": {"steps": [{}]}}));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-21T20:00:00Z");
    assert_eq!(
        verdict(&asked(leaving, Some(bad)), &Known::default()).faults,
        []
    );
}

#[test]
fn services_and_templates_are_looked_up_by_name_and_templates_lead_on() {
    let strategy = json!({"canary": {
        "stableService": "web", "canaryService": "web-canary",
        "steps": [{"analysis": {"templates": [{"templateName": "all"}]}}],
    }});
    let asked = asked(rollout("web:1", strategy), None);
    let mut known = Known::default();
    let first = wanted(&asked, &known);
    assert_eq!(first.services, ["web-canary", "web"]);
    assert!(!first.freezes, "nothing is held at the beginning");
    let name = |name: &str, is_cluster| TemplateRef {
        name: name.to_owned(),
        is_cluster,
    };
    assert_eq!(first.templates, [name("all", false)]);
    let all: AnalysisTemplateSpec = serde_json::from_value(json!({
        "templates": [{"templateName": "p95", "clusterScope": true}],
    }))
    .unwrap();
    known
        .templates
        .insert(name("all", false), Found::There(Arc::new(all)));
    assert_eq!(wanted(&asked, &known).templates, [name("p95", true)]);
    known.templates.insert(name("p95", true), Found::Absent);
    known
        .services
        .insert("web".to_owned(), Found::Unknown("no answer".to_owned()));
    let foreign = json!({"apiVersion": "v1", "kind": "Service", "metadata": {
        "name": "web-canary", "namespace": "shop",
        "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "other"},
    }, "spec": {"selector": {"app": "other"}}});
    known
        .services
        .insert("web-canary".to_owned(), Found::There(foreign));
    assert!(wanted(&asked, &known).is_empty());
    let said = verdict(&asked, &known);
    let faults: Vec<String> = said.faults.iter().map(ToString::to_string).collect();
    assert!(
        faults.iter().all(|f| f.contains("canaryService")) && faults.len() == 2,
        "{faults:?}"
    );
    let warnings = said.warnings.join("\n");
    assert!(
        warnings.contains("Service \"web\" could not be looked at: no answer"),
        "{warnings}"
    );
    assert!(
        warnings.contains("ClusterAnalysisTemplate \"p95\" is not there"),
        "{warnings}"
    );
}

#[test]
fn in_a_freeze_new_pods_are_let_in_with_a_warning() {
    let update = asked(canary("web:2"), Some(canary("web:1")));
    assert!(wanted(&update, &Known::default()).freezes);
    let frozen = freeze(json!({"reason": "launch day", "owner": "ann"}));
    assert!(!wanted(&update, &frozen).freezes);
    let said = verdict(&update, &frozen);
    assert_eq!(said.faults, []);
    assert!(
        said.warnings[0].contains("launch day (owner: ann): the update is stored"),
        "{said:?}"
    );
    // Not where somebody has let it through, where only the size changes, or where it is over.
    let mut through = update.clone();
    through.object["metadata"]["annotations"] = json!({OVERRIDE_FREEZE: "a fix"});
    assert_eq!(verdict(&through, &frozen).warnings, [""; 0]);
    let mut larger = canary("web:1");
    larger["spec"]["replicas"] = json!(3);
    assert_eq!(
        verdict(&asked(larger, Some(canary("web:1"))), &frozen).warnings,
        [""; 0]
    );
    let over = freeze(
        json!({"reason": "r", "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}),
    );
    assert_eq!(verdict(&update, &over).warnings, [""; 0]);
    let unknown = Known {
        freezes: Some(Err("no answer".to_owned())),
        ..Known::default()
    };
    assert!(verdict(&update, &unknown).warnings[0].contains("could not be looked at"));
}

#[test]
fn in_a_freeze_a_promotion_is_refused_with_the_controllers_words() {
    let mut old = canary("web:1");
    old["status"] = json!({"serin": {"freeze": {"message": "m"}}});
    let promoted = |value: &str| {
        let mut object = old.clone();
        object["metadata"]["annotations"] = json!({PROMOTE: value});
        asked(object, Some(old.clone()))
    };
    let frozen = freeze(json!({"reason": "launch day"}));
    assert!(wanted(&promoted("true"), &Known::default()).freezes);
    let said = verdict(&promoted("true"), &frozen);
    assert!(
        said.faults[0]
            .message
            .contains("Wait, or give a reason in serin.dev/override-freeze")
    );
    // A full promotion goes through, and is recorded.
    assert_eq!(verdict(&promoted("full"), &frozen), Verdict::default());
    let mut free = promoted("true");
    free.object["status"] = json!({});
    assert_eq!(verdict(&free, &frozen), Verdict::default());
}

#[test]
fn templates_runs_and_windows_are_judged_too() {
    for (kind, version, spec) in [
        (
            "AnalysisTemplate",
            "argoproj.io/v1alpha1",
            json!({"metrics": [{"name": ""}]}),
        ),
        (
            "ClusterAnalysisTemplate",
            "argoproj.io/v1alpha1",
            json!({"metrics": [{"name": "a", "interval": "often", "provider": {}}]}),
        ),
        (
            "AnalysisRun",
            "argoproj.io/v1alpha1",
            json!({"metrics": [{"name": "a", "successCondition": "result <", "provider": {"job": {}}}]}),
        ),
        (
            "Experiment",
            "argoproj.io/v1alpha1",
            json!({"templates": [], "duration": "long"}),
        ),
        (
            "FreezeWindow",
            "serin.dev/v1alpha1",
            json!({"reason": "r", "schedule": "61 * * * *", "duration": "1h"}),
        ),
    ] {
        let object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let said = verdict(&asked(object, None), &Known::default());
        assert!(!said.faults.is_empty(), "{kind}");
    }
}
