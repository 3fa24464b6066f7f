//! SLO gates: objectives in a short form, lowered to an ordinary AnalysisRun, and the question
//! whether a step may end. Knows Prometheus' query language and the labels of pods; asks nothing.
//!
//! [`lower`] reads what a person wrote, [`build_run`] renders the queries for one canary, [`gate`]
//! reads the run, [`diagnosis`] explains why a query had no answer.

pub mod bound;
pub mod diagnosis;
pub mod gate;
mod lower;
pub mod presets;
pub mod promql;
pub mod query;
mod run;

pub use gate::{Gate, Reading, gate, readings};
pub use lower::{check, lower};
pub use run::{SloContext, build_run, metrics, run_name};

use bound::{Limit, Unit};
use promql::Selector;

use crate::api::providers::CompareMetric;

/// Validated objectives, with every default applied.
#[derive(Clone, Debug, PartialEq)]
pub struct SloSpec {
    /// Address of Prometheus; `None` for the operator's.
    pub prometheus: Option<String>,
    /// Milliseconds between measurements of one objective.
    pub interval_ms: i64,
    /// Index of the first step that is gated.
    pub starting_step: usize,
    /// Failed measurements of one objective that are allowed.
    pub failure_limit: i64,
    /// How far back a measurement looks.
    pub window: Window,
    /// Events that the window must hold.
    pub min_samples: u64,
    /// Milliseconds a step is held without a verdict before a person is asked.
    pub hold_for_ms: i64,
    /// Label that holds the namespace.
    pub namespace_label: String,
    /// Label that holds the pod hash.
    pub hash_label: String,
    /// How a version's series are told apart.
    pub select_by: SelectBy,
    /// A breach asks a person in place of going back.
    pub pauses_on_failure: bool,
    /// What must hold; names are unique.
    pub objectives: Vec<Objective>,
}

/// A length of time in PromQL's own spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its length in milliseconds.
    pub millis: i64,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if self.millis.checked_rem(unit) == Some(0) {
                return write!(f, "{}{name}", self.millis.checked_div(unit).unwrap_or(0));
            }
        }
        write!(f, "{}ms", self.millis)
    }
}

/// How a version's series are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectBy {
    /// By the pod hash label.
    Hash,
    /// By the names of the pods, for a Prometheus that keeps no pod labels.
    Pod,
}

/// One objective: one metric of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Name of the metric.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// What it may be.
    pub limit: Limit,
}

/// What an objective measures.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A quantile of a histogram.
    Latency {
        /// The histogram without `_bucket`.
        histogram: Selector,
        /// The quantile as PromQL writes it: `0.95`.
        quantile: &'static str,
        /// Unit of the histogram's values.
        unit: Unit,
    },
    /// The share of good events.
    Success {
        /// Good events.
        good: Selector,
        /// All events.
        total: Selector,
    },
    /// What one unit of work costs.
    Cost {
        /// What is spent.
        spent: Selector,
        /// Units of work.
        per: Selector,
    },
    /// Things that must not happen.
    Violations {
        /// Their counter.
        counter: Selector,
    },
    /// Any expression.
    Query {
        /// PromQL with `{{canary}}` and `{{stable}}`.
        promql: String,
    },
    /// Canary against stable, by a test.
    Compare {
        /// What is compared; the versions are filled in for each run.
        what: Box<CompareMetric>,
        /// The series that shows whether there was traffic, and the end of its name.
        traffic: (Selector, &'static str),
    },
}
