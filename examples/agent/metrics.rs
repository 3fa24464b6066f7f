//! The agent's metrics: exact series names, and which of them exist before the first event. Knows no task.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What `text` is written in.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const SECONDS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0,
    60.0,
];
const DOLLARS: [f64; 11] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
];

type Labels = Vec<(&'static str, &'static str)>;

/// The counters and histograms. A series with labels, and the violation counter, appear with their first event:
/// real exporters do so too, and a gate must cope with it.
pub(crate) struct Metrics {
    registry: Registry,
    duration: Histogram,
    cost: Histogram,
    tasks: Counter,
    errors: Counter,
    tool_calls: Family<Labels, Counter>,
    violations: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let duration = Histogram::new(SECONDS);
        let cost = Histogram::new(DOLLARS);
        let (tasks, errors) = (Counter::default(), Counter::default());
        let (tool_calls, violations) = (Family::default(), Family::default());
        let mut registry = Registry::with_prefix("agent");
        // The exposition adds `_total` to counters: agent_tasks_total and so on.
        registry.register(
            "task_duration_seconds",
            "Time a task took",
            duration.clone(),
        );
        registry.register("task_cost_dollars", "Money a task cost", cost.clone());
        registry.register("tasks", "Tasks run", tasks.clone());
        registry.register("errors", "Tasks that failed", errors.clone());
        registry.register(
            "tool_calls",
            "Tool calls by outcome",
            Family::clone(&tool_calls),
        );
        registry.register(
            "governance_violations",
            "Rules broken",
            Family::clone(&violations),
        );
        Self {
            registry,
            duration,
            cost,
            tasks,
            errors,
            tool_calls,
            violations,
        }
    }

    pub(crate) fn task(&self, took: Duration, dollars: f64, succeeded: bool) {
        self.tasks.inc();
        self.duration.observe(took.as_secs_f64());
        self.cost.observe(dollars);
        if !succeeded {
            self.errors.inc();
        }
    }

    pub(crate) fn tool_call(&self, succeeded: bool) {
        let outcome = if succeeded { "success" } else { "failure" };
        self.tool_calls
            .get_or_create(&vec![("outcome", outcome)])
            .inc();
    }

    pub(crate) fn violation(&self) {
        self.violations.get_or_create(&Vec::new()).inc();
    }

    /// All series as OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(fmt) => format!("# the metrics could not be written: {fmt}\n# EOF\n"),
        }
    }
}
