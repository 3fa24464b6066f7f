//! Objectives as written, and their faults.

use serde_json::{Value, json};

use super::*;

fn read(slos: Value) -> Result<SloSpec, Vec<String>> {
    let slos: Slos = serde_json::from_value(slos).unwrap();
    lower(&slos, "slos").map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn the_short_form_is_enough() {
    let spec = read(json!({
        "prometheus": "http://prometheus.monitoring:9090",
        "interval": "30s",
        "startingStep": 1,
        "failureLimit": 1,
        "objectives": [
            {"latency": {"histogram": "agent_task_duration_seconds", "p95": "800ms", "p99": "2s"}},
            {"success": {"good": "agent_tool_calls_total{outcome=\"success\"}", "total": "agent_tool_calls_total", "atLeast": "99%"}},
            {"cost": {"spent": "agent_task_cost_dollars_sum", "per": "agent_tasks_total", "atMost": 0.05}},
            {"violations": {"counter": "agent_governance_violations_total", "atMost": 0}},
            {"query": {"name": "queue-depth", "promql": "max(agent_queue_depth{{{canary}}})", "atMost": 100, "atLeast": "-1"}},
            {"latency": {"histogram": "agent_task_duration_seconds", "p95": {"noWorseThanStable": "20%"}}},
            {"name": "reads", "latency": {"histogram": "read_ms", "unit": "ms", "p50": "0.1s"}},
        ]
    }))
    .unwrap();
    let told: Vec<_> = spec
        .objectives
        .iter()
        .map(|o| (o.name.as_str(), o.limit))
        .collect();
    assert_eq!(
        told,
        [
            ("p95-latency", Limit::AtMost(0.8)),
            ("p99-latency", Limit::AtMost(2.0)),
            ("success-rate", Limit::AtLeast(0.99)),
            ("cost", Limit::AtMost(0.05)),
            ("violations", Limit::AtMost(0.0)),
            ("queue-depth", Limit::Between(-1.0, 100.0)),
            ("p95-latency-2", Limit::RatioAtMost(1.2)),
            ("reads", Limit::AtMost(100.0)),
        ]
    );
    assert_eq!(
        (spec.starting_step, spec.failure_limit, spec.min_samples),
        (1, 1, 20)
    );
    assert_eq!(
        (
            spec.interval_ms,
            spec.hold_for_ms,
            spec.window.to_string().as_str()
        ),
        (30_000, 1_800_000, "5m")
    );
}

#[test]
fn every_fault_has_its_path_and_says_what_to_do() {
    let faults = read(json!({
        "prometheus": "prometheus:9090",
        "interval": "10ms",
        "window": "30s",
        "scrapeInterval": "15s",
        "minSamples": 0,
        "startingStep": -1,
        "selectBy": "name",
        "hashLabel": "a-b",
        "objectives": [
            {},
            {"latency": {"histogram": "rate(x[5m])", "p95": "1s"}},
            {"latency": {"histogram": "x_bucket", "p95": "1s"}},
            {"latency": {"histogram": "x"}},
            {"latency": {"histogram": "x{namespace=\"other\"}", "p95": "1s"}},
            {"latency": {"histogram": "x", "p95": "5 apples"}},
            {"success": {"good": "a", "total": "b", "atLeast": 99}},
            {"cost": {"spent": "a", "per": "b"}},
            {"violations": {"counter": "a", "atMost": {"noWorseThanStable": "10%"}}},
            {"query": {"promql": "x{{{cannary}}}", "atMost": 1}},
            {"query": {"promql": "x"}},
            {"query": {"promql": "x{{{stable}}}", "atMost": {"noWorseThanStable": "10%"}}},
            {"latency": {"histogram": "x", "p95": "1s"}, "cost": {"spent": "a", "per": "b", "atMost": 1}},
        ]
    }))
    .unwrap_err();
    for expected in [
        "slos.prometheus: Invalid value: \"prometheus:9090\": is not an address",
        "slos.interval: Invalid value: \"10ms\": must be at least 1000ms",
        "slos.window: Invalid value: \"30s\": is shorter than four scrapes",
        "slos.minSamples: Invalid value: 0: must be at least 1",
        "slos.startingStep: Invalid value: -1: must be at least 0",
        "slos.selectBy: Invalid value: \"name\": must be hash",
        "slos.hashLabel: Invalid value: \"a-b\": is not a name",
        "slos.objectives[0]: Required value: set exactly one of",
        "slos.objectives[1].latency.histogram: Invalid value: \"rate(x[5m])\": expected one metric name with optional matchers",
        "slos.objectives[2].latency.histogram: Invalid value: \"x_bucket\": is a part of a histogram",
        "slos.objectives[3].latency: Required value: set a bound for p50, p90, p95 or p99",
        "slos.objectives[4].latency.histogram: Invalid value: \"x{namespace=\\\"other\\\"}\": serin matches label namespace itself",
        "slos.objectives[5].latency.p95: Invalid value: \"5 apples\": \"5 apples\" is not a duration",
        "slos.objectives[6].success.atLeast: Invalid value: 99: 99 is more than everything",
        "slos.objectives[7].cost.atMost: Required value",
        "slos.objectives[8].violations.atMost: Invalid value: noWorseThanStable",
        "slos.objectives[9].query.promql: Invalid value: \"x{{{cannary}}}\": has a placeholder that is not known",
        "slos.objectives[10].query: Required value: set atMost, atLeast or both",
        "slos.objectives[11].query.promql: Invalid value: \"x{{{stable}}}\": to compare with stable",
        "slos.objectives[12]: Required value: set exactly one of",
    ] {
        assert!(
            faults.iter().any(|f| f.starts_with(expected)),
            "{expected}\nis not in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), 20, "{faults:#?}");
    assert!(
        read(json!({"objectives": []})).unwrap_err()[0]
            .starts_with("slos.objectives: Required value")
    );
}

#[test]
fn names_that_are_cut_and_steps_that_are_not_there_are_told() {
    let mut spec = read(json!({"selectBy": "pod", "startingStep": 2, "objectives": [{"violations": {"counter": "c"}}]})).unwrap();
    assert!(check(&spec, &"a".repeat(46), 3, "slos").is_empty());
    assert_eq!(
        check(&spec, &"a".repeat(47), 3, "slos")[0].path,
        "slos.selectBy"
    );
    assert_eq!(check(&spec, "a", 2, "slos")[0].path, "slos.startingStep");
    // Without steps, also in blueGreen, a gate that begins later would never begin.
    assert_eq!(check(&spec, "a", 0, "slos")[0].path, "slos.startingStep");
    spec.select_by = SelectBy::Hash;
    assert!(check(&spec, &"a".repeat(47), 3, "slos").is_empty());
}

#[test]
fn a_comparison_needs_no_bound() {
    let success = json!({"good": "ok_total", "total": "all_total"});
    let latency = json!({"histogram": "a_seconds"});
    let spec = read(json!({"objectives": [
        {"compare": {"success": success}},
        {"name": "slower", "compare": {"latency": latency, "effect": "10%", "falseAlarms": "5%"}},
    ]}))
    .unwrap();
    let told: Vec<_> = spec
        .objectives
        .iter()
        .map(|o| (o.name.as_str(), o.limit))
        .collect();
    let expected = [
        ("compare-success", Limit::NotWorseBy(0.01)),
        ("slower", Limit::NotWorseBy(0.1)),
    ];
    assert_eq!(told, expected);
    for (wrong, expected) in [
        (json!({}), "set exactly one of success and latency"),
        (
            json!({"success": success, "latency": latency}),
            "set exactly one of success and latency",
        ),
        (
            json!({"success": success, "effect": "60%"}),
            "compare.effect must be a share",
        ),
        (
            json!({"latency": {"histogram": "a{namespace=\"x\"}"}}),
            "serin matches label namespace itself",
        ),
        (
            json!({"latency": {"histogram": "rate(a[5m])"}}),
            "use query",
        ),
    ] {
        let faults = read(json!({"objectives": [{"compare": wrong}]})).unwrap_err();
        let told = faults.join("; ");
        assert!(
            told.contains("slos.objectives[0].compare") && told.contains(expected),
            "{told}"
        );
    }
}
