//! The objectives as ClusterAnalysisTemplates, for people who keep to the plain API: the very
//! queries that `slos` render, with arguments where a canary's values stand. Knows nothing of its own.

use serde_json::{Value, json};

use super::bound::{Limit, Unit};
use super::promql::Selector;
use super::query::{self, Versions};
use super::{Kind, Objective, SelectBy, SloSpec, Window};
use crate::api;

/// Numbers that stand for an argument while a query is rendered; they occur nowhere else.
const WINDOW_MILLIS: i64 = 77_777_000;
const SAMPLES: u64 = 123_454_321;
const BOUND: f64 = 987_656_789.0;

/// All presets, in the order of their names.
pub fn presets() -> Vec<Value> {
    let series = |arg: &str| Selector {
        name: format!("{{{{args.{arg}}}}}"),
        matchers: Vec::new(),
    };
    let latency = |quantile: &'static str| Kind::Latency {
        histogram: series("histogram"),
        quantile,
        unit: Unit::Seconds,
    };
    let most = Limit::AtMost(BOUND);
    vec![
        preset(
            "serin-cost",
            "cost",
            &["spent", "per"],
            most,
            Kind::Cost {
                spent: series("spent"),
                per: series("per"),
            },
        ),
        preset(
            "serin-p95-latency",
            "p95-latency",
            &["histogram"],
            most,
            latency("0.95"),
        ),
        preset(
            "serin-p99-latency",
            "p99-latency",
            &["histogram"],
            most,
            latency("0.99"),
        ),
        preset(
            "serin-success-rate",
            "success-rate",
            &["total", "good-matchers"],
            Limit::AtLeast(BOUND),
            Kind::Success {
                good: series("good"),
                total: series("total"),
            },
        ),
        preset(
            "serin-violations",
            "violations",
            &["counter"],
            most,
            Kind::Violations {
                counter: series("counter"),
            },
        ),
    ]
}

fn preset(name: &str, metric: &str, series: &[&str], limit: Limit, kind: Kind) -> Value {
    let spec = SloSpec {
        prometheus: None,
        interval_ms: 30_000,
        starting_step: 0,
        failure_limit: 0,
        window: Window {
            millis: WINDOW_MILLIS,
        },
        min_samples: SAMPLES,
        hold_for_ms: 0,
        namespace_label: "namespace".to_owned(),
        hash_label: "rollouts_pod_template_hash".to_owned(),
        select_by: SelectBy::Hash,
        pauses_on_failure: false,
        objectives: Vec::new(),
    };
    let versions = Versions {
        spec: &spec,
        namespace: "{{args.namespace}}",
        rollout: "",
        canary: "{{args.canary-hash}}",
        stable: "",
        own: &[],
    };
    let objective = Objective {
        name: metric.to_owned(),
        kind,
        limit,
    };
    let fill = |text: String| {
        text.replace(&spec.window.to_string(), "{{args.window}}")
            .replace(&SAMPLES.to_string(), "{{args.min-samples}}")
            .replace("987656789", "{{args.bound}}")
            // Good events are events of the same counter with one matcher more.
            .replace("{{args.good}}{", "{{args.total}}{ {{args.good-matchers}},")
    };
    let (success, failure) = query::conditions(&objective).unzip();
    let mut args: Vec<Value> = ["prometheus", "namespace", "canary-hash", "bound"]
        .iter()
        .chain(series)
        .map(|name| json!({ "name": name }))
        .collect();
    args.push(json!({"name": "window", "value": "5m"}));
    if query::samples(&objective.kind, &versions, "").is_some() {
        args.push(json!({"name": "min-samples", "value": "20"}));
    }
    args.push(json!({"name": "interval", "value": "30s"}));
    args.push(json!({"name": "count", "value": "1"}));
    json!({
        "apiVersion": api::API_VERSION,
        "kind": "ClusterAnalysisTemplate",
        "metadata": {"name": name},
        "spec": {
            "args": args,
            "metrics": [{
                "name": metric,
                "interval": "{{args.interval}}",
                "count": "{{args.count}}",
                "successCondition": success.map(&fill),
                "failureCondition": failure.map(&fill),
                "provider": {"prometheus": {
                    "address": "{{args.prometheus}}",
                    "timeout": 10,
                    "query": fill(query::render(&objective, &versions)),
                }},
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ClusterAnalysisTemplate;

    #[test]
    fn every_argument_is_declared_and_used_and_no_stand_in_is_left() {
        for preset in presets() {
            let template: ClusterAnalysisTemplate = serde_json::from_value(preset).unwrap();
            let text = serde_json::to_string(&template.spec.metrics).unwrap();
            assert!(
                !text.contains("77777") && !text.contains("123454321"),
                "{text}"
            );
            let declared: Vec<_> = template
                .spec
                .args
                .unwrap()
                .into_iter()
                .map(|a| a.name)
                .collect();
            for arg in &declared {
                assert!(
                    text.contains(&format!("{{{{args.{arg}}}}}")),
                    "{arg} is not used in {text}"
                );
            }
            for used in text
                .split("{{args.")
                .skip(1)
                .filter_map(|t| t.split("}}").next())
            {
                assert!(declared.iter().any(|d| d == used), "{used} is not declared");
            }
        }
    }
}
