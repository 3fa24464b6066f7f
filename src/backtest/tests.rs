//! Rule tables of the backtest: values in, verdicts and suggestions out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::api::Rollout;
use crate::planner::analysis::{MetricValue, expr};
use crate::planner::lower;
use crate::planner::slo::bound::Limit;

fn plan_with(slos: Value, steps: Value, range: Range) -> Result<Plan, String> {
    let rollout: Rollout = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "agent", "namespace": "prod"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "a", "image": "a:1"}]},
            },
            "strategy": {"canary": {"steps": steps, "slos": slos}},
        },
    }))
    .unwrap();
    plan_of(&rollout, &Templates::new(), range)
}

fn plan_of(rollout: &Rollout, templates: &Templates, range: Range) -> Result<Plan, String> {
    let spec = lower::lower(rollout).unwrap();
    let asked = Asked {
        namespace: "prod",
        rollout: &serde_json::to_value(rollout).unwrap(),
        templates,
        range,
        matching: None,
        length: None,
        tolerated: 0.01,
    };
    of_history(&spec, &asked)
}

fn latency() -> Value {
    json!({"objectives": [{"latency": {"histogram": "task_seconds", "p95": "800ms"}}]})
}

/// Ten minutes gated, a value a minute.
fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {"duration": "10m"}}])
}

fn range(minutes: i64) -> Range {
    Range {
        from: 0,
        until: minutes * 60 - 60,
        step: 60,
    }
}

fn values(range: Range, at: impl Fn(usize) -> Option<f64>) -> Values {
    Values {
        range,
        at: (0..range.len()).map(at).collect(),
    }
}

fn judged(slos: Value, minutes: i64, at: impl Fn(usize) -> Option<f64>) -> Found {
    let plan = plan_with(slos, steps(), range(minutes)).unwrap();
    let report = judge(&plan, &[values(plan.range, at)], &[]);
    report.objectives.into_iter().next().unwrap()
}

#[test]
fn a_rollout_is_stopped_by_every_window_that_holds_a_miss() {
    // One bad minute of 1,000: ten windows of ten minutes see it, of the 991 that there are.
    let found = judged(latency(), 1_000, |minute| {
        Some(if minute == 500 { 2.0 } else { 0.5 })
    });
    assert_eq!((found.begun, found.stopped, found.times), (991, 10, 1));
    let episode = found.episodes.first().unwrap();
    assert_eq!(
        (episode.from, episode.until, episode.worst.as_str()),
        (30_000, 30_000, "2s")
    );
    assert!(found.share > 0.01, "{}", found.share);
}

#[test]
fn failures_that_are_allowed_stop_nothing() {
    let mut slos = latency();
    slos["failureLimit"] = json!(1);
    let found = judged(slos, 1_000, |minute| {
        Some(if minute == 500 { 2.0 } else { 0.5 })
    });
    assert_eq!((found.stopped, found.times), (0, 1));
}

#[test]
fn what_has_no_value_is_neither_good_nor_bad() {
    let found = judged(latency(), 100, |_| None);
    assert_eq!((found.values, found.begun, found.stopped), (0, 0, 0));
    let plan = plan_with(latency(), steps(), range(100)).unwrap();
    let report = judge(&plan, &[Values::none(plan.range)], &[]);
    assert!(!report.is_good());
    assert!(text(&report).contains("no value in all that time"));
    // A gap within a bad time does not make it two.
    let found = judged(latency(), 100, |minute| match minute {
        40 | 42 => Some(2.0),
        41 => None,
        _ => Some(0.5),
    });
    assert_eq!(found.times, 1);
}

#[test]
fn the_suggested_bound_would_have_stopped_no_more_than_are_tolerated() {
    // Values from 0.5 s to 1.0 s: the bound of 800 ms stops nearly all.
    let at = |minute: usize| Some(0.5 + 0.5 * ((minute * 7_919) % 1_000) as f64 / 1_000.0);
    let strict = judged(latency(), 1_000, at);
    let suggestion = strict.suggestion.unwrap();
    assert!(suggestion.is_too_strict);
    let with = |bound: f64| {
        let slos =
            json!({"objectives": [{"latency": {"histogram": "task_seconds", "p95": bound}}]});
        judged(slos, 1_000, at)
    };
    assert!(with(suggestion.value).share <= 0.01);
    assert!(with(suggestion.value).suggestion.is_none(), "it fits");
    let loose = with(10.0).suggestion.unwrap();
    assert_eq!(
        (loose.is_too_strict, loose.value),
        (false, suggestion.value)
    );
}

#[test]
fn shares_are_suggested_by_what_is_missing_to_all() {
    let slos = json!({"objectives": [{"success": {"good": "ok_total", "total": "all_total", "atLeast": "99.9%"}}]});
    let found = judged(slos, 1_000, |minute| {
        Some(1.0 - 0.01 * ((minute % 7) as f64 / 6.0))
    });
    let suggestion = found.suggestion.unwrap();
    assert_eq!(
        (suggestion.is_too_strict, suggestion.bound.as_str()),
        (true, "99%")
    );
}

#[test]
fn a_version_is_judged_while_it_was_gated() {
    let plan = plan_with(latency(), steps(), range(100)).unwrap();
    let version = |hash: &str, first: i64, last: i64| VersionSeen {
        hash: hash.to_owned(),
        first,
        last,
    };
    let seen = vec![
        version("v2", 1_200, 2_400),
        version("v1", 0, 1_500),
        version("v3", 2_100, 6_000),
    ];
    let rollouts = plan.rollouts(seen);
    let names: Vec<(&str, &str)> = rollouts
        .iter()
        .map(|(new, old)| (new.hash.as_str(), old.hash.as_str()))
        .collect();
    assert_eq!(names, [("v2", "v1"), ("v3", "v2")]);
    let each: Vec<(VersionSeen, VersionSeen, Vec<Values>)> = rollouts
        .into_iter()
        .map(|(new, old)| {
            let is_bad = new.hash == "v3";
            let gated = plan.gated(&new);
            let values = values(gated, |place| {
                Some(if is_bad && place == 3 { 2.0 } else { 0.1 })
            });
            (new, old, vec![values])
        })
        .collect();
    let report = judge(&plan, &[Values::none(plan.range)], &each);
    let verdicts: Vec<&Verdict> = report.versions.iter().map(|v| &v.verdict).collect();
    assert_eq!(verdicts.first(), Some(&&Verdict::Passed));
    assert!(
        matches!(verdicts.get(1), Some(Verdict::Stopped { at, value, .. }) if *at == 2_100 + 4 * 60 && value == "2s"),
        "{verdicts:?}"
    );
    let printed = text(&report);
    assert!(
        printed.contains("v3 after v2: would have been stopped after 4m"),
        "{printed}"
    );
    assert!(
        printed.lines().all(|line| line.chars().count() <= 80),
        "{printed}"
    );
}

#[test]
fn ranges_come_in_pieces_that_a_prometheus_answers() {
    let plan = plan_with(latency(), steps(), range(12_000)).unwrap();
    let objective = plan.spec.objectives.first().unwrap();
    let asks = plan.of_every(objective);
    let moments: Vec<i64> = asks
        .iter()
        .flat_map(|ask| (0..ask.range.len()).map(|place| ask.range.at(place)))
        .collect();
    assert_eq!(asks.len(), 3);
    assert_eq!(moments.len(), plan.range.len());
    assert!(moments.windows(2).all(|two| {
        two.first()
            .zip(two.last())
            .is_some_and(|(a, b)| b - a == 60)
    }));
    let query = &asks.first().unwrap().query;
    assert!(
        query.contains(r#"namespace="prod",pod=~"agent-[a-z0-9]+-[a-z0-9]+""#),
        "{query}"
    );
    assert!(!query.contains("rollouts_pod_template_hash"), "{query}");
}

#[test]
fn versions_are_read_from_the_labels_of_series() {
    let plan = plan_with(latency(), steps(), range(100)).unwrap();
    let label = plan.spec.hash_label.clone();
    assert!(plan.which_versions().query.starts_with(&format!(
        "count by ({label}) (present_over_time(task_seconds_count{{"
    )));
    let labels = BTreeMap::from([(label, "abc".to_owned())]);
    let found = plan
        .version_in(&labels, &[(600.0, 1.0), (660.0, 1.0)])
        .unwrap();
    assert_eq!(
        (found.hash.as_str(), found.first, found.last),
        ("abc", 540, 660)
    );
    assert_eq!(plan.version_in(&BTreeMap::new(), &[(600.0, 1.0)]), None);
}

#[test]
fn without_objectives_there_is_nothing_to_test() {
    let rollout: Rollout = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "a", "image": "a:1"}]},
            },
            "strategy": {"canary": {}},
        },
    }))
    .unwrap();
    let told = plan_of(&rollout, &Templates::new(), range(10)).unwrap_err();
    assert!(
        told.contains("spec.strategy.canary: prod/agent has no objectives"),
        "{told}"
    );
    let plan = plan_with(latency(), steps(), range(10)).unwrap();
    assert_eq!(plan.length, 600);
    let waits = plan_with(
        latency(),
        json!([{"setWeight": 5}, {"pause": {}}]),
        range(10),
    )
    .unwrap();
    assert_eq!(waits.length, 1_800, "a person ends the pause");
}

#[test]
fn a_bound_as_a_function_is_the_gates_condition() {
    let slos = json!({"objectives": [
        {"latency": {"histogram": "a_seconds", "p95": "800ms"}},
        {"success": {"good": "ok_total", "total": "all_total", "atLeast": "99%"}},
        {"query": {"promql": "x{ {{canary}} }", "atLeast": 1, "atMost": 2}},
    ]});
    let plan = plan_with(slos, steps(), range(10)).unwrap();
    for objective in &plan.spec.objectives {
        let (good, bad) = crate::planner::slo::query::conditions(objective).unwrap();
        for value in [
            -1.0,
            0.0,
            0.5,
            0.8,
            0.800_1,
            0.99,
            1.0,
            1.5,
            2.0,
            2.5,
            f64::NAN,
            f64::INFINITY,
        ] {
            let holds =
                |condition: &str| expr::evaluate(condition, &MetricValue::floats([value])).unwrap();
            let said = match (holds(&good), holds(&bad)) {
                (true, false) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
                (true, true) => panic!("{value} is both"),
            };
            assert_eq!(objective.limit.is_kept_by(value), said, "{value} {good}");
        }
        assert!(!matches!(objective.limit, Limit::RatioAtMost(_)));
    }
}

/// Analyses from templates: each metric of Prometheus with one bound, by its own limit of failures.
#[test]
fn analyses_of_templates_are_judged_too() {
    let rollout = |analysis: Value| -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "agent", "labels": {"region": "eu"}},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": {
                    "metadata": {"labels": {"app": "agent"}},
                    "spec": {"containers": [{"name": "a", "image": "a:1"}]},
                },
                "strategy": {"canary": {"steps": [
                    {"setWeight": 20}, {"analysis": analysis}, {"pause": {"duration": "10m"}}]}},
            },
        }))
        .unwrap()
    };
    let analysis = json!({"templates": [{"templateName": "t"}], "args": [
        {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
        {"name": "old", "valueFrom": {"podTemplateHashValue": "Stable"}},
        {"name": "region", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['region']"}}},
    ]});
    let query = |query: &str| json!({"prometheus": {"address": "http://p", "query": query}});
    let template: crate::api::analysis::AnalysisTemplateSpec = serde_json::from_value(json!({
        "args": [{"name": "hash"}, {"name": "old"}, {"name": "region"}],
        "metrics": [
            {"name": "errors", "successCondition": "result[0] <= 0.02", "interval": "1m", "count": 5, "failureLimit": 2,
                "provider": query("sum(rate(errors{h=\"{{args.hash}}\",region=\"{{args.region}}\"}[2m]))")},
            {"name": "ratio", "failureCondition": "result[0] > 1.5",
                "provider": query("a{h=\"{{args.hash}}\"} / a{h=\"{{args.old}}\"}")},
            {"name": "several", "successCondition": "all(result, # < 1)", "provider": query("x")},
            {"name": "page", "successCondition": "result == 1", "provider": {"web": {"url": "http://w"}}},
        ],
    }))
    .unwrap();
    let name = crate::planner::observed::TemplateRef {
        name: "t".to_owned(),
        is_cluster: false,
    };
    let templates = Templates::from([(name, template)]);
    let plan = plan_of(&rollout(analysis.clone()), &templates, range(60)).unwrap();
    assert_eq!(plan.length, 600, "the steps from the analysis on");
    assert_eq!(plan.spec.prometheus.as_deref(), Some("http://p"));
    assert_eq!(
        plan.left_out,
        [
            "several: its condition is not one bound, such as result[0] <= 0.8",
            "page: asks Web: only Prometheus has a past to ask",
        ]
    );
    let [errors, ratio] = plan.spec.objectives.as_slice() else {
        panic!("{:?}", plan.spec.objectives);
    };
    let asked = plan.of_every(errors);
    assert_eq!(
        asked[0].query,
        "sum(rate(errors{h=~\".+\",region=\"eu\"}[2m]))"
    );
    assert!(plan.of_every(ratio).is_empty(), "it needs two versions");
    let new = VersionSeen {
        hash: "new".to_owned(),
        first: 600,
        last: 3000,
    };
    let asked = plan.of_version(ratio, &new, "old");
    assert_eq!(asked[0].query, "a{h=\"new\"} / a{h=\"old\"}");
    // Two failures are allowed: a window with three is stopped.
    let every = [
        values(plan.range, |n| {
            Some(if (20..23).contains(&n) { 0.5 } else { 0.0 })
        }),
        Values::none(plan.range),
    ];
    let report = judge(&plan, &every, &[]);
    let found = &report.objectives[0];
    assert_eq!((found.failure_limit, found.times), (2, 1));
    assert!(found.stopped > 0 && found.stopped <= 8, "{}", found.stopped);
    assert!(report.objectives[1].is_compared);
    let shown = text(&report);
    assert!(shown.contains("stops when more than 2 miss it"), "{shown}");
    assert!(shown.contains("Not judged over the past"), "{shown}");
    // What is not given is named.
    let told = plan_of(&rollout(analysis), &Templates::new(), range(60)).unwrap_err();
    assert_eq!(
        told,
        "AnalysisTemplate 't' not found: give its file with -f too"
    );
}
