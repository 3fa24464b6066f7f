//! Whether a step may end: reads a run of objectives, decides nothing about the Rollout.

use jiff::Timestamp;

use super::bound::Limit;
use super::{Objective, SloSpec, query};
use crate::api::AnalysisRun;
use crate::api::analysis::{Measurement, MetricResult};
use crate::planner::analysis::assess::Phase;

/// What the objectives say about a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Every objective holds, measured after the step was reached.
    Pass,
    /// An objective is broken for good.
    Fail {
        /// Name of the objective.
        objective: String,
        /// The objective, the value seen, the bound and the window.
        message: String,
    },
    /// No verdict yet.
    Hold {
        /// Which objective and why.
        why: String,
    },
}

/// What one objective last measured, for gauges, `why` and the rehearsal's chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Name of the objective.
    pub objective: String,
    /// The value: seconds for latency, a share for success, canary through stable where compared.
    pub value: Option<f64>,
    /// The value as people read it.
    pub text: Option<String>,
    /// The limit as people read it.
    pub limit: String,
    /// Verdict of the measurement; Pending before the first.
    pub phase: Phase,
    /// What was missing or went wrong.
    pub message: Option<String>,
    /// When it was asked.
    pub at: Option<Timestamp>,
}

/// Judges a step that was reached at `reached`. It passes only when the newest measurement of every
/// objective was begun since then and is Successful.
pub fn gate(spec: &SloSpec, run: Option<&AnalysisRun>, reached: Timestamp) -> Gate {
    let Some(run) = run else {
        return Gate::Hold {
            why: "the objectives are not measured yet".to_owned(),
        };
    };
    let phase = run_phase(run);
    if phase == Phase::Failed
        && let Some(objective) = spec.objectives.iter().find(|o| has_failed(run, o))
    {
        return Gate::Fail {
            objective: objective.name.clone(),
            message: failure(spec, run, objective),
        };
    }
    let holds = named_together(
        spec.objectives
            .iter()
            .filter_map(|o| Some((o.name.as_str(), hold(spec, run, o, reached)?))),
    );
    match (phase, holds.is_empty()) {
        (Phase::Failed, _) => {
            let why = message(run).unwrap_or("failed");
            Gate::Fail {
                objective: "slo".to_owned(),
                message: format!("the run of the objectives {why}"),
            }
        }
        (Phase::Pending | Phase::Running, true) => Gate::Pass,
        (Phase::Pending | Phase::Running, false) => Gate::Hold {
            why: holds.join("; "),
        },
        // The run was ended by someone, or could not begin: there is no verdict and will be none.
        (Phase::Error | Phase::Inconclusive | Phase::Successful, _) => {
            let why = message(run).unwrap_or("no message");
            Gate::Hold {
                why: format!(
                    "the run of the objectives ended as {} ({why}) and measures no more: promote to go on without it, or abort",
                    phase.as_str()
                ),
            }
        }
    }
}

/// The newest reading of every objective.
pub fn readings(spec: &SloSpec, run: &AnalysisRun) -> Vec<Reading> {
    spec.objectives
        .iter()
        .map(|objective| {
            let last = newest(run, objective);
            let value = last.and_then(value_of);
            Reading {
                objective: objective.name.clone(),
                value: value.map(|v| query::base_value(objective, v)),
                text: value.map(|v| query::value_text(objective, v)),
                limit: query::limit_text(objective),
                phase: last.map_or(Phase::Pending, |m| Phase::read(&m.phase)),
                message: last.and_then(|m| m.message.clone()),
                at: last.and_then(|m| m.started_at.as_ref()).map(|t| t.0),
            }
        })
        .collect()
}

fn run_phase(run: &AnalysisRun) -> Phase {
    Phase::read(
        run.status
            .as_ref()
            .and_then(|s| s.phase.as_deref())
            .unwrap_or_default(),
    )
}

fn message(run: &AnalysisRun) -> Option<&str> {
    run.status.as_ref()?.message.as_deref()
}

fn result<'r>(run: &'r AnalysisRun, objective: &Objective) -> Option<&'r MetricResult> {
    run.status
        .as_ref()?
        .metric_results
        .as_ref()?
        .iter()
        .find(|r| r.name == objective.name)
}

fn newest<'r>(run: &'r AnalysisRun, objective: &Objective) -> Option<&'r Measurement> {
    result(run, objective)?
        .measurements
        .as_ref()?
        .iter()
        .rev()
        .find(|m| Phase::read(&m.phase).is_completed())
}

fn has_failed(run: &AnalysisRun, objective: &Objective) -> bool {
    result(run, objective).is_some_and(|r| Phase::read(&r.phase) == Phase::Failed)
}

/// The one number of a measurement, as it was written into the status.
fn value_of(measurement: &Measurement) -> Option<f64> {
    let text = measurement.value.as_deref()?;
    let text = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    text.split(',').next()?.trim().parse().ok()
}

fn failure(spec: &SloSpec, run: &AnalysisRun, objective: &Objective) -> String {
    let bad = result(run, objective).and_then(|r| {
        r.measurements
            .as_ref()?
            .iter()
            .rev()
            .find(|m| Phase::read(&m.phase) == Phase::Failed)
    });
    if let (Limit::NotWorseBy(_), Some(said)) =
        (objective.limit, bad.and_then(|m| m.message.as_deref()))
    {
        return format!("objective {} broken: {said}", objective.name);
    }
    let seen = bad
        .and_then(value_of)
        .map_or_else(|| "unknown".to_owned(), |v| query::value_text(objective, v));
    let times = result(run, objective).and_then(|r| r.failed).unwrap_or(1);
    let times = if times == 1 {
        String::new()
    } else {
        format!(", measured {times} times")
    };
    format!(
        "objective {} broken: {seen} over {}, must be {}{times}",
        objective.name,
        spec.window,
        query::limit_text(objective)
    )
}

/// One sentence for each reason, with all objectives that wait for it: `a, b: not measured yet`.
fn named_together<'s>(holds: impl Iterator<Item = (&'s str, String)>) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<&str>)> = vec![];
    for (name, why) in holds {
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    reasons
        .into_iter()
        .map(|(why, names)| format!("{}: {why}", names.join(", ")))
        .collect()
}

/// Why an objective does not let the step end yet; `None` when it does.
fn hold(
    spec: &SloSpec,
    run: &AnalysisRun,
    objective: &Objective,
    reached: Timestamp,
) -> Option<String> {
    let Some(last) = newest(run, objective) else {
        return Some("not measured yet".to_owned());
    };
    let is_new = last.started_at.as_ref().is_some_and(|t| t.0 >= reached);
    let said = last.message.as_deref();
    let value = value_of(last).map(|v| query::value_text(objective, v));
    match Phase::read(&last.phase) {
        Phase::Successful if is_new => None,
        Phase::Successful => Some("not measured yet since this step was reached".to_owned()),
        Phase::Failed => {
            let seen = value.unwrap_or_else(|| "unknown".to_owned());
            let failed = result(run, objective).and_then(|r| r.failed).unwrap_or(1);
            Some(format!(
                "{seen} over {}, must be {} ({failed} of {} failures allowed)",
                spec.window,
                query::limit_text(objective),
                spec.failure_limit
            ))
        }
        Phase::Error => Some(format!(
            "Prometheus gives no answer: {}",
            said.unwrap_or("no message")
        )),
        Phase::Inconclusive | Phase::Pending | Phase::Running => {
            Some(said.map_or_else(|| no_verdict(objective, last), ToOwned::to_owned))
        }
    }
}

/// Why an answer that is there gives no verdict.
fn no_verdict(objective: &Objective, last: &Measurement) -> String {
    let text = last.value.as_deref().unwrap_or_default();
    match (value_of(last), &objective.kind) {
        (Some(v), super::Kind::Latency { histogram, .. }) if v.is_infinite() => format!(
            "the value lies above the highest bucket of {}: add a bucket above the bound",
            histogram.name
        ),
        (Some(v), _) if !v.is_finite() => format!("the value is {text}"),
        (Some(_), super::Kind::Query { .. }) if text.contains(',') => {
            "the query gives several series: aggregate them to one".to_owned()
        }
        _ => "no data".to_owned(),
    }
}

#[cfg(test)]
mod tests;
