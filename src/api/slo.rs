//! `slos`: objectives in a short form of our own; `planner/slo.rs` lowers them to an AnalysisRun.

use super::providers::{CompareLatency, CompareSuccess};
use super::value::Bound;

wire! {
    /// Objectives for the new version. serin asks Prometheus about the new version's pods alone; a
    /// breach aborts the update, lack of data holds it.
    #[schemars(extend("required" = ["objectives"]))]
    pub struct Slos {
        /// Address of Prometheus, such as http://prometheus.monitoring:9090; default: the
        /// controller's --prometheus.
        #[schemars(schema_with = "super::schema::http_address")]
        pub prometheus: Option<String>,
        /// Time between two measurements of an objective, such as 30s; default 30s.
        #[schemars(schema_with = "super::schema::duration")]
        pub interval: Option<String>,
        /// Index of the step from which the objectives are watched; default 0.
        #[schemars(schema_with = "super::schema::natural")]
        pub starting_step: Option<i64>,
        /// How many measurements of one objective may fail before the update is aborted; default 0.
        #[schemars(schema_with = "super::schema::natural")]
        pub failure_limit: Option<i64>,
        /// How far back a measurement looks, such as 5m, which is the default; at least four scrapes.
        #[schemars(schema_with = "super::schema::duration")]
        pub window: Option<String>,
        /// How many events the window must hold before a measurement counts; default 20.
        #[schemars(schema_with = "super::schema::natural")]
        pub min_samples: Option<i64>,
        /// How long to hold a step without a verdict before pausing for a person; default 30m.
        #[schemars(schema_with = "super::schema::duration")]
        pub hold_for: Option<String>,
        /// How often Prometheus scrapes the pods, such as 15s; the window must hold four of these.
        #[schemars(schema_with = "super::schema::duration")]
        pub scrape_interval: Option<String>,
        /// Label that holds the namespace in Prometheus; default namespace.
        #[schemars(schema_with = "super::schema::label_name")]
        pub namespace_label: Option<String>,
        /// Label that holds the pod hash in Prometheus; default rollouts_pod_template_hash.
        #[schemars(schema_with = "super::schema::label_name")]
        pub hash_label: Option<String>,
        /// How to find a version's series: hash (default) by hashLabel, or pod by the pods' names,
        /// for a Prometheus that keeps no pod labels.
        #[schemars(extend("enum" = ["hash", "pod"]))]
        pub select_by: Option<String>,
        /// What a breach does: Abort (default) goes back, Pause waits for a person.
        #[schemars(extend("enum" = ["Abort", "Pause"]))]
        pub on_failure: Option<String>,
        /// What must hold; each entry sets exactly one of latency, success, cost, violations, query and compare.
        #[schemars(extend(
            "minItems" = 1,
            "maxItems" = 16,
            "x-kubernetes-validations" = [{
                "rule": "self.all(o, !has(o.name) || self.exists_one(p, has(p.name) && p.name == o.name))",
                "message": "give each objective a name of its own",
            }]
        ))]
        pub objectives: Vec<Objective>,
    }

    /// One objective: set exactly one of latency, success, cost, violations, query and compare.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "[has(self.latency), has(self.success), has(self.cost), has(self.violations), has(self.query), has(self.compare)].filter(set, set).size() == 1",
        "message": "set exactly one of latency, success, cost, violations, query and compare; write one entry per objective",
    }]))]
    pub struct Objective {
        /// Name of the objective in messages and in the AnalysisRun; made from its kind when absent.
        #[schemars(schema_with = "super::schema::objective_name")]
        pub name: Option<String>,
        /// Quantiles of a histogram must stay below bounds.
        pub latency: Option<Latency>,
        /// The share of good events must stay above a bound.
        pub success: Option<Success>,
        /// What one unit of work costs must stay below a bound.
        pub cost: Option<Cost>,
        /// A counter of things that must not happen.
        pub violations: Option<Violations>,
        /// Any PromQL expression.
        pub query: Option<Query>,
        /// The new version must be no worse than stable, by a sequential test and without a bound.
        pub compare: Option<Compare>,
    }

    /// Canary against stable by a sequential test; sets exactly one of success and latency.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "has(self.success) != has(self.latency)",
        "message": "set exactly one of success and latency",
    }]))]
    pub struct Compare {
        /// Shares of good events are compared.
        pub success: Option<CompareSuccess>,
        /// Ranks of a histogram's values are compared.
        pub latency: Option<CompareLatency>,
        /// The difference that matters: more bad events (default 1%), or being slower in more than
        /// half of all pairs (default 5%).
        pub effect: Option<String>,
        /// How often a good version may fail, over all comparisons of the update; default 1%.
        pub false_alarms: Option<String>,
    }

    /// Quantiles of a histogram, each with a bound: a duration such as 800ms, a number in unit, or
    /// {noWorseThanStable: 20%}.
    #[schemars(extend("anyOf" = [
        {"required": ["p50"]}, {"required": ["p90"]}, {"required": ["p95"]}, {"required": ["p99"]}
    ]))]
    pub struct Latency {
        /// Name of the histogram without _bucket, with matchers if need be: `task_seconds{kind="chat"}`.
        #[schemars(schema_with = "super::schema::selector_text")]
        pub histogram: String,
        /// Unit of the histogram's values: s (default), ms, us or ns.
        #[schemars(extend("enum" = ["s", "ms", "us", "ns"]))]
        pub unit: Option<String>,
        /// Bound for half of the events.
        pub p50: Option<Bound>,
        /// Bound for 90 of 100 events.
        pub p90: Option<Bound>,
        /// Bound for 95 of 100 events.
        pub p95: Option<Bound>,
        /// Bound for 99 of 100 events.
        pub p99: Option<Bound>,
    }

    /// The share of good events among all.
    #[schemars(extend("required" = ["atLeast"]))]
    pub struct Success {
        /// Counter of the good events, with matchers: `tool_calls_total{outcome="success"}`.
        #[schemars(schema_with = "super::schema::selector_text")]
        pub good: String,
        /// Counter of all events.
        #[schemars(schema_with = "super::schema::selector_text")]
        pub total: String,
        /// Least share: 99%, 0.99, or {noWorseThanStable: 1%}.
        pub at_least: Option<Bound>,
    }

    /// What is spent for each unit of work.
    #[schemars(extend("required" = ["atMost"]))]
    pub struct Cost {
        /// Counter of what is spent; for a histogram or summary its _sum.
        #[schemars(schema_with = "super::schema::selector_text")]
        pub spent: String,
        /// Counter of the units of work.
        #[schemars(schema_with = "super::schema::selector_text")]
        pub per: String,
        /// Most that one unit may cost: 0.05, or {noWorseThanStable: 10%}.
        pub at_most: Option<Bound>,
    }

    /// Things that must not happen, or not often. Counted since each pod of the version started, so
    /// that the first one is not missed: a counter often appears with it.
    pub struct Violations {
        /// The counter, with matchers if need be.
        #[schemars(schema_with = "super::schema::selector_text")]
        pub counter: String,
        /// Most of them, over all pods of the version since they started; default 0.
        pub at_most: Option<Bound>,
    }

    /// Any PromQL expression with one value; one of atMost and atLeast, or both.
    #[schemars(extend("anyOf" = [{"required": ["atMost"]}, {"required": ["atLeast"]}]))]
    pub struct Query {
        /// Name of the objective in messages.
        #[schemars(schema_with = "super::schema::objective_name")]
        pub name: Option<String>,
        /// The expression; {{canary}} and {{stable}} become the matchers of a version's series.
        #[schemars(schema_with = "super::schema::promql")]
        pub promql: String,
        /// The value must not be above this.
        pub at_most: Option<Bound>,
        /// The value must not be below this.
        pub at_least: Option<Bound>,
    }
}
