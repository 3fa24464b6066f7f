//! Analysis: what to measure, when, and what the answers mean. Pure, like all of the planner.
//!
//! Read in this order: [`run`] (one turn of an AnalysisRun), [`assess`] (verdicts), [`metric`] (a
//! metric with its defaults), [`args`] (substitution and secrets), [`template`] (templates merged
//! into a run), [`field`] (values of the Rollout), [`check`] (a template or run by itself), [`expr`] (conditions), [`value`] (answers),
//! [`credentials`] and [`limits`] (how providers are asked), [`job`] (measurements that are Jobs),
//! [`compare`] and [`stats`] (canary against stable).

pub mod args;
pub mod asked;
pub mod assess;
pub mod check;
pub mod compare;
pub mod credentials;
pub mod expr;
pub mod field;
pub mod job;
pub mod limits;
pub mod metric;
pub mod run;
pub mod stats;
pub mod template;
pub mod value;

pub use run::{
    Answer, KeyNeed, ResolvedArgs, RunObserved, RunPlan, Source, Task, TaskKey, plan_analysis,
};
pub use template::{RunRequest, build_run};
pub use value::MetricValue;
