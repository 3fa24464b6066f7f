//! Analyses from templates as objectives: metrics of Prometheus whose condition is a bound. What cannot
//! be judged over the past is named, with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::api::analysis::{AnalysisTemplateSpec, Argument, Metric};
use crate::api::canary::{AnalysisRunArgument, RolloutAnalysis};
use crate::planner::analysis::args::{self, Values};
use crate::planner::analysis::template::{self, Found, RunRequest, absent_message};
use crate::planner::analysis::{field, metric};
use crate::planner::observed::TemplateRef;
use crate::planner::slo::bound::Limit;
use crate::planner::slo::query::{CANARY_HASH, STABLE_HASH};
use crate::planner::slo::{Kind, Objective};
use crate::planner::spec::{Spec, Step, Strategy};
use crate::view::gates::simple_bound;

/// Templates by name.
pub type Templates = BTreeMap<TemplateRef, AnalysisTemplateSpec>;

/// What the analyses of a Rollout come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Analyses {
    /// Objectives, each with the failures that it allows.
    pub(super) objectives: Vec<(Objective, i64)>,
    /// What is not judged, and why.
    pub(super) left_out: Vec<String>,
    /// Address of Prometheus that a metric names.
    pub(super) address: Option<String>,
    /// The first step that is judged.
    pub(super) from_step: Option<usize>,
}

/// Reads every analysis of a Rollout.
///
/// # Errors
/// Templates that are not given, and arguments without a value.
pub(super) fn read(
    spec: &Spec,
    rollout: &Value,
    templates: &Templates,
) -> Result<Analyses, Vec<String>> {
    let (mut all, mut faults) = (Analyses::default(), vec![]);
    for (step, analysis) in of_spec(spec) {
        all.from_step = Some(all.from_step.map_or(step, |known| known.min(step)));
        match metrics(analysis, rollout, templates) {
            Ok(metrics) => metrics.into_iter().for_each(|m| take(&mut all, m)),
            Err(more) => faults.extend(more),
        }
    }
    faults.sort();
    faults.dedup();
    if faults.is_empty() {
        Ok(all)
    } else {
        Err(faults)
    }
}

/// All analyses, and the step from which each judges.
fn of_spec(spec: &Spec) -> Vec<(usize, &RolloutAnalysis)> {
    let mut all = vec![];
    match &spec.strategy {
        Strategy::Canary(canary) => {
            if let Some(background) = &canary.background {
                all.push((background.starting_step, &background.analysis));
            }
            for (n, step) in canary.steps.iter().enumerate() {
                match step {
                    Step::Analysis(analysis) => all.push((n, analysis.as_ref())),
                    Step::SetWeight(_) | Step::Pause(_) | Step::Ramp(_) | Step::Experiment(_) => {}
                }
            }
        }
        Strategy::BlueGreen(blue_green) => {
            let both = [&blue_green.pre_promotion, &blue_green.post_promotion];
            all.extend(both.into_iter().flatten().map(|analysis| (0, analysis)));
        }
    }
    all
}

/// The metrics of an analysis with their arguments filled in; hashes of versions stay open.
fn metrics(
    analysis: &RolloutAnalysis,
    rollout: &Value,
    templates: &Templates,
) -> Result<Vec<Metric>, Vec<String>> {
    let roots: Vec<template::Name> = analysis
        .templates
        .iter()
        .flatten()
        .map(|t| {
            let name = t.template_name.clone().unwrap_or_default();
            (name, t.cluster_scope == Some(true))
        })
        .collect();
    let closure = template::closure(&roots, |(name, is_cluster)| {
        let reference = TemplateRef {
            name: name.clone(),
            is_cluster: *is_cluster,
        };
        let spec = templates.get(&reference).cloned();
        spec.map_or(Found::Absent, |spec| Found::There(Arc::new(spec)))
    });
    if !closure.absent.is_empty() {
        let absent = closure.absent.iter();
        let told =
            absent.map(|name| format!("{}: give its file with -f too", absent_message(name)));
        return Err(told.collect());
    }
    let request = RunRequest {
        // Whose fields arguments name; nothing is created.
        owner_uid: "past".to_owned(),
        templates: closure.templates.into_iter().map(|(_, t)| t).collect(),
        args: analysis
            .args
            .iter()
            .flatten()
            .map(|arg| argument(arg, rollout))
            .collect(),
        owner: rollout.clone(),
        ..RunRequest::default()
    };
    let run = template::build_run(&request)?.spec;
    let mut values = Values::new();
    for arg in run.args.iter().flatten() {
        // A Secret or a ConfigMap is not read here: metrics that need it are left out.
        if let Some(value) = &arg.value {
            values.insert(arg.name.clone(), value.clone());
        }
    }
    let metrics = run.metrics.into_iter().flatten();
    let is_dry = |m: &Metric| {
        let rules = run.dry_run.iter().chain(analysis.dry_run.iter()).flatten();
        let names: Vec<&str> = rules.map(|r| r.metric_name.as_str()).collect();
        names
            .iter()
            .any(|name| regex::Regex::new(name).is_ok_and(|r| r.is_match(&m.name)))
    };
    Ok(metrics
        .filter(|m| !is_dry(m))
        .map(|metric| filled(metric, &values))
        .collect())
}

fn argument(arg: &AnalysisRunArgument, rollout: &Value) -> Argument {
    let from = arg.value_from.as_ref();
    let hash = from.and_then(|f| f.pod_template_hash_value.as_deref());
    let hash = hash.map(|which| match which {
        "Stable" => STABLE_HASH,
        _ => CANARY_HASH,
    });
    let path = from.and_then(|f| f.field_ref.as_ref());
    let field = path.and_then(|f| field::field(rollout, &f.field_path));
    Argument {
        name: arg.name.clone(),
        value: arg.value.clone().or(hash.map(str::to_owned)).or(field),
        value_from: None,
    }
}

/// A metric with its arguments; as it was where one has no value, which `take` tells.
fn filled(metric: Metric, values: &Values) -> Metric {
    let read = || -> Option<Metric> {
        let mut json = serde_json::to_value(&metric).ok()?;
        args::substitute(&mut json, values).ok()?;
        serde_json::from_value(json).ok()
    };
    read().unwrap_or(metric)
}

fn take(all: &mut Analyses, metric: Metric) {
    let name = metric.name.clone();
    match objective(metric) {
        Ok((mut objective, allowed, address)) => {
            if all.objectives.iter().any(|(o, _)| *o == objective) {
                // The same metric in the background and in a step is judged once.
                return;
            }
            let mut n = 2_u64;
            while all.objectives.iter().any(|(o, _)| o.name == objective.name) {
                objective.name = format!("{name}-{n}");
                n = n.saturating_add(1);
            }
            all.objectives.push((objective, allowed));
            all.address = all.address.take().or(address);
        }
        Err(why) => {
            let told = format!("{name}: {why}");
            if !all.left_out.contains(&told) {
                all.left_out.push(told);
            }
        }
    }
}

/// A metric as an objective, the failures it allows, and where it asks.
fn objective(metric: Metric) -> Result<(Objective, i64, Option<String>), String> {
    let lowered = metric::lower(&metric).map_err(|faults| faults.join("; "))?;
    let Some(prometheus) = &metric.provider.prometheus else {
        let names = metric::provider_names(&metric.provider).join(", ");
        return Err(format!("asks {names}: only Prometheus has a past to ask"));
    };
    if prometheus.range_query.is_some() {
        return Err("asks for a range at each look".to_owned());
    }
    let promql = prometheus.query.clone().unwrap_or_default();
    let open = promql.replace(CANARY_HASH, "").replace(STABLE_HASH, "");
    if open.contains("{{") {
        return Err("an argument has its value from a Secret or a ConfigMap".to_owned());
    }
    let limit = match (&lowered.success, &lowered.failure) {
        (Some(success), _) => bound(success.text(), false),
        (None, Some(failure)) => bound(failure.text(), true),
        (None, None) => return Err("has no condition".to_owned()),
    };
    let limit = limit.ok_or("its condition is not one bound, such as result[0] <= 0.8")?;
    let allowed = lowered
        .failure_limit
        .ok_or("no number of failures stops it (failureLimit: -1)")?;
    let objective = Objective {
        name: metric.name.clone(),
        kind: Kind::Query { promql },
        limit,
    };
    Ok((objective, allowed, prometheus.address.clone()))
}

/// The one bound in a condition, beside questions whether there is a value at all. `is_failure` turns
/// it: what must not be.
fn bound(condition: &str, is_failure: bool) -> Option<Limit> {
    let is_guard = |part: &&str| {
        let part = part.trim_start_matches(['!', '(']).trim_start();
        ["len(", "isNaN(", "isInf(", "isNil("]
            .iter()
            .any(|start| part.starts_with(start))
    };
    let parts = condition.split("&&").flat_map(|part| part.split("||"));
    let parts: Vec<&str> = parts
        .map(str::trim)
        .filter(|part| !is_guard(part))
        .collect();
    let [one] = parts.as_slice() else {
        return None;
    };
    let (value, is_upper) = simple_bound(one)?;
    let is_strict = !one.contains('=');
    Some(match (is_upper, is_failure) {
        // What is below the bound is kept, and the bound itself unless it says `<`.
        (true, false) if is_strict => Limit::AtMost(value.next_down()),
        (true, false) => Limit::AtMost(value),
        (false, false) if is_strict => Limit::AtLeast(value.next_up()),
        (false, false) => Limit::AtLeast(value),
        (false, true) if is_strict => Limit::AtMost(value),
        (false, true) => Limit::AtMost(value.next_down()),
        (true, true) if is_strict => Limit::AtLeast(value),
        (true, true) => Limit::AtLeast(value.next_up()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_with_one_bound_is_a_limit() {
        let up = |v: f64| v.next_up();
        for (condition, is_failure, expected) in [
            ("result[0] <= 0.8", false, Some(Limit::AtMost(0.8))),
            (
                "result[0] < 5",
                false,
                Some(Limit::AtMost(5_f64.next_down())),
            ),
            ("result >= 95", false, Some(Limit::AtLeast(95.0))),
            ("result[0] > 5", true, Some(Limit::AtMost(5.0))),
            ("result[0] < 0.9", true, Some(Limit::AtLeast(0.9))),
            ("result[0] <= 0.9", true, Some(Limit::AtLeast(up(0.9)))),
            (
                "len(result) == 0 || result[0] >= 0.95",
                false,
                Some(Limit::AtLeast(0.95)),
            ),
            (
                "len(result) > 0 && !isNaN(result[0]) && result[0] <= 2",
                false,
                Some(Limit::AtMost(2.0)),
            ),
            ("result[0] > 1 && result[0] < 2", false, None),
            ("all(result, # < 5)", false, None),
            ("result[0] == 0", false, None),
        ] {
            assert_eq!(bound(condition, is_failure), expected, "{condition}");
        }
    }
}
