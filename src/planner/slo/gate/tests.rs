//! What a run says about a step.

use serde_json::{Value, json};

use super::*;
use crate::planner::slo::{SloContext, build_run, lower};

fn spec() -> SloSpec {
    let slos = json!({"failureLimit": 1, "objectives": [
        {"latency": {"histogram": "h", "p95": "800ms"}},
        {"success": {"good": "g", "total": "t", "atLeast": "99%"}},
    ]});
    lower(&serde_json::from_value(slos).unwrap(), "slos").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A run whose two objectives have these newest measurements: phase, value, message, second.
fn run(phase: &str, latency: Value, success: Value) -> AnalysisRun {
    let mut run = build_run(&spec(), &SloContext::default());
    let result = |name: &str, m: Value| json!({"name": name, "phase": m["of"].as_str().unwrap_or("Running"), "failed": m["failed"], "measurements": [m]});
    let status = json!({"phase": phase, "message": "why", "metricResults": [result("p95-latency", latency), result("success-rate", success)]});
    run.status = serde_json::from_value(status).unwrap();
    run
}

fn measured(phase: &str, value: &str, second: i64) -> Value {
    json!({"phase": phase, "value": value, "startedAt": at(second).to_string()})
}

fn why(gate: &Gate) -> &str {
    match gate {
        Gate::Pass => "pass",
        Gate::Fail { message, .. } => message,
        Gate::Hold { why } => why,
    }
}

#[test]
fn a_step_passes_only_on_fresh_success_of_all() {
    let good = |second| measured("Successful", "[0.5]", second);
    let spec = spec();
    let gate = |run: &AnalysisRun| gate(&spec, Some(run), at(10));
    assert_eq!(gate(&run("Running", good(10), good(12))), Gate::Pass);
    assert_eq!(
        why(&gate(&run("Running", good(9), good(12)))),
        "p95-latency: not measured yet since this step was reached"
    );
    assert_eq!(
        why(&gate(&run(
            "Running",
            measured("Failed", "[1.25]", 11),
            good(12)
        ))),
        "p95-latency: 1.25s over 5m, must be at most 800ms (1 of 1 failures allowed)"
    );
    assert_eq!(
        why(&gate(&run(
            "Running",
            json!({"phase": "Inconclusive", "value": "[]", "message": "only 7 of 20 samples in 5m", "startedAt": at(11).to_string()}),
            good(12)
        ))),
        "p95-latency: only 7 of 20 samples in 5m"
    );
    assert_eq!(
        why(&gate(&run(
            "Running",
            good(11),
            json!({"phase": "Error", "message": "cannot connect to p:9090", "startedAt": at(11).to_string()})
        ))),
        "success-rate: Prometheus gives no answer: cannot connect to p:9090"
    );
    assert_eq!(
        why(&gate(&run(
            "Running",
            measured("Inconclusive", "[+Inf]", 11),
            good(12)
        ))),
        "p95-latency: the value lies above the highest bucket of h: add a bucket above the bound"
    );
    assert_eq!(
        why(&super::gate(&spec, None, at(10))),
        "the objectives are not measured yet"
    );
    let fresh = build_run(&spec, &SloContext::default());
    assert_eq!(
        why(&gate(&fresh)),
        "p95-latency, success-rate: not measured yet"
    );
}

#[test]
fn a_failed_run_names_objective_value_bound_and_window() {
    let mut bad = measured("Failed", "[0.9]", 11);
    bad["of"] = "Failed".into();
    bad["failed"] = 2.into();
    let gate = gate(
        &spec(),
        Some(&run("Failed", measured("Successful", "[0.5]", 11), bad)),
        at(10),
    );
    assert_eq!(
        gate,
        Gate::Fail {
            objective: "success-rate".to_owned(),
            message:
                "objective success-rate broken: 90% over 5m, must be at least 99%, measured 2 times"
                    .to_owned(),
        }
    );
}

#[test]
fn a_run_that_ended_without_a_verdict_holds() {
    let good = || measured("Successful", "[0.5]", 11);
    for phase in ["Successful", "Error", "Inconclusive"] {
        let gate = gate(&spec(), Some(&run(phase, good(), good())), at(10));
        assert!(
            why(&gate).contains(&format!("ended as {phase} (why)")),
            "{gate:?}"
        );
        assert!(matches!(gate, Gate::Hold { .. }));
    }
}

#[test]
fn readings_are_in_base_units() {
    let run = run(
        "Running",
        measured("Successful", "[0.5]", 11),
        measured("Inconclusive", "[]", 11),
    );
    let all = readings(&spec(), &run);
    assert_eq!(
        (all[0].value, all[0].text.as_deref(), all[0].limit.as_str()),
        (Some(0.5), Some("500ms"), "at most 800ms")
    );
    assert_eq!((all[1].value, all[1].phase), (None, Phase::Inconclusive));
}

/// The evidence of a comparison is what is told; a good one must be seen again at every step.
#[test]
fn a_comparison_holds_until_it_is_decided() {
    let slos = json!({"objectives": [{"compare": {"latency": {"histogram": "h"}}}]});
    let spec = lower(&serde_json::from_value(slos).unwrap(), "slos").unwrap();
    let context = SloContext {
        hash: "new".to_owned(),
        stable_hash: "old".to_owned(),
        namespace: "ns".to_owned(),
        ..SloContext::default()
    };
    let mut run = build_run(&spec, &context);
    let metric = run.spec.metrics.clone().unwrap().remove(0);
    let compare = metric.provider.compare.clone().unwrap();
    assert_eq!(
        compare.canary.as_deref(),
        Some(r#"namespace="ns",rollouts_pod_template_hash="new""#)
    );
    assert_eq!(
        compare.stable.as_deref(),
        Some(r#"namespace="ns",rollouts_pod_template_hash="old""#)
    );
    // It is a metric that the engine takes, and one that a good look does not end.
    let lowered = crate::planner::analysis::metric::lower(&metric).unwrap();
    assert_eq!((lowered.failure_limit, lowered.count), (Some(0), None));
    assert!(lowered.consecutive_success_limit > Some(1_000_000));
    let mut seen = |run_phase: &str, phase: &str, message: &str, second: i64| {
        let m = json!({"phase": phase, "message": message, "startedAt": at(second).to_string()});
        let of = if phase == "Failed" { phase } else { "Running" };
        run.status = serde_json::from_value(json!({"phase": run_phase, "metricResults": [
            {"name": "compare-latency", "phase": of, "failed": 1, "measurements": [m]}]}))
        .unwrap();
        gate(&spec, Some(&run), at(10))
    };
    assert_eq!(
        why(&seen(
            "Running",
            "Inconclusive",
            "not decided yet, for 5.00 %: …",
            12
        )),
        "compare-latency: not decided yet, for 5.00 %: …"
    );
    assert_eq!(seen("Running", "Successful", "fine", 12), Gate::Pass);
    assert_eq!(
        why(&seen("Running", "Successful", "fine", 9)),
        "compare-latency: not measured yet since this step was reached"
    );
    let failed = seen(
        "Failed",
        "Failed",
        "worse than stable by more than 5.00 %: …",
        12,
    );
    assert_eq!(
        why(&failed),
        "objective compare-latency broken: worse than stable by more than 5.00 %: …"
    );
}
