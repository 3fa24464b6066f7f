//! The run of a canary's objectives.

use serde_json::{Value, json};

use super::*;
use crate::planner::analysis::metric;
use crate::planner::slo::{lower, promql};

fn run(slos: Value, context: &SloContext) -> AnalysisRun {
    let spec = lower(&serde_json::from_value(slos).unwrap(), "slos").unwrap();
    build_run(&spec, context)
}

fn context() -> SloContext {
    SloContext {
        namespace: "shop".to_owned(),
        rollout: "support-agent".to_owned(),
        uid: "u".to_owned(),
        hash: "5f8d9c".to_owned(),
        stable_hash: "77c4f9".to_owned(),
        revision: 4,
        ..SloContext::default()
    }
}

fn query(run: &AnalysisRun) -> String {
    run.spec.metrics.as_ref().unwrap()[0]
        .provider
        .prometheus
        .as_ref()
        .unwrap()
        .query
        .clone()
        .unwrap()
}

#[test]
fn a_run_says_everything_in_plain_api() {
    let run = run(
        json!({"prometheus": "http://p:9090", "interval": "90s", "failureLimit": 2, "objectives": [
            {"success": {"good": "calls{outcome=\"ok\"}", "total": "calls", "atLeast": "99%"}}]}),
        &context(),
    );
    assert_eq!(
        run.metadata.name.as_deref(),
        Some("support-agent-5f8d9c-4-slo")
    );
    let labels = run.metadata.labels.clone().unwrap();
    assert_eq!(
        (
            labels["rollout-type"].as_str(),
            labels["rollouts-pod-template-hash"].as_str()
        ),
        ("Background", "5f8d9c")
    );
    let m = &run.spec.metrics.as_ref().unwrap()[0];
    assert_eq!(
        (m.name.as_str(), m.interval.as_deref()),
        ("success-rate", Some("1m30s"))
    );
    assert_eq!(
        m.provider.prometheus.as_ref().unwrap().address.as_deref(),
        Some("http://p:9090")
    );
    assert_eq!(
        query(&run),
        "((sum(rate(calls{outcome=\"ok\",namespace=\"shop\",rollouts_pod_template_hash=\"5f8d9c\"}[5m])) \
         or 0 * sum(rate(calls{namespace=\"shop\",rollouts_pod_template_hash=\"5f8d9c\"}[5m]))) \
         / sum(rate(calls{namespace=\"shop\",rollouts_pod_template_hash=\"5f8d9c\"}[5m]))) \
         and on() (sum(increase(calls{namespace=\"shop\",rollouts_pod_template_hash=\"5f8d9c\"}[5m])) >= 20)"
    );
    assert_eq!(
        m.success_condition.as_deref(),
        Some("len(result) > 0 && !isNaN(result[0]) && !isInf(result[0]) && result[0] >= 0.99")
    );
    assert_eq!(
        m.failure_condition.as_deref(),
        Some("len(result) > 0 && !isNaN(result[0]) && !isInf(result[0]) && result[0] < 0.99")
    );
    // It is a valid run that ends neither for lack of data nor for a Prometheus that is down.
    let lowered = metric::lower_all(run.spec.metrics.as_ref().unwrap(), &[], &[], false).unwrap();
    assert_eq!(
        (lowered[0].failure_limit, lowered[0].count),
        (Some(2), None)
    );
    assert_eq!(
        (
            lowered[0].inconclusive_limit,
            lowered[0].consecutive_error_limit
        ),
        (NEVER, NEVER)
    );
}

#[test]
fn a_retry_has_a_run_of_its_own() {
    assert_eq!(
        run_name(&SloContext {
            attempt: 2,
            ..context()
        }),
        "support-agent-5f8d9c-4-slo.2"
    );
}

#[test]
fn pods_are_selected_by_name_where_asked() {
    let run = run(
        json!({"selectBy": "pod", "namespaceLabel": "ns", "objectives": [{"violations": {"counter": "v"}}]}),
        &SloContext {
            rollout: "a.b".to_owned(),
            ..context()
        },
    );
    assert_eq!(
        query(&run),
        "sum(max_over_time(v{ns=\"shop\",pod=~\"a\\\\.b-5f8d9c-.+\"}[5m])) or 0 * count(up{ns=\"shop\",pod=~\"a\\\\.b-5f8d9c-.+\"} == 1)"
    );
}

#[test]
fn placeholders_become_matchers() {
    let run = run(
        json!({"objectives": [{"query": {"promql": "max(d{{{canary}}}) - max(d{a=\"b\",{{ stable }}})", "atMost": 1}}]}),
        &context(),
    );
    assert_eq!(
        query(&run),
        "max(d{namespace=\"shop\",rollouts_pod_template_hash=\"5f8d9c\"}) - max(d{a=\"b\",namespace=\"shop\",rollouts_pod_template_hash=\"77c4f9\"})"
    );
}

proptest::proptest! {
    /// Whatever a matcher's value is, every selector of the query still has the namespace and the
    /// hash: nobody can look at another's series.
    #[test]
    fn values_cannot_remove_a_matcher(value in "\\PC{0,20}|[\"'\\\\{},=\\[\\]]{0,10}") {
        let text = promql::Selector { name: "c".to_owned(), matchers: vec![promql::Matcher::equal("a", &value)] }.render("", &[]);
        let run = run(json!({"objectives": [{"violations": {"counter": text}}]}), &context());
        let query = query(&run);
        let rest = query.strip_prefix("sum(max_over_time(").unwrap();
        let (selector, _) = rest.rsplit_once("[5m])) or 0 * count(up").unwrap();
        let read = promql::parse(selector).unwrap();
        let labels: Vec<_> = read.matchers.iter().map(|m| m.label.as_str()).collect();
        proptest::prop_assert_eq!(labels, ["a", "namespace", "rollouts_pod_template_hash"]);
        proptest::prop_assert_eq!(&read.matchers[0].value, &value);
    }
}
