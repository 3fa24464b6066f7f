//! Gates as people see them: names, bounds and units of objectives and metrics, and the measurements
//! that a run has newly made. Knows the wire of analysis runs.

use super::timeline::{Gate, Unit};
use crate::api::AnalysisRun;
use crate::api::analysis::{Measurement, Metric};
use crate::planner::slo::bound::Limit;
use crate::planner::slo::{Kind, Objective, query};
use crate::planner::spec::Spec;

/// The objectives of a Rollout.
pub(super) fn of_spec(spec: &Spec) -> Vec<Gate> {
    spec.slos()
        .into_iter()
        .flat_map(|slos| slos.objectives.iter())
        .map(of_objective)
        .collect()
}

/// One objective.
pub(crate) fn of_objective(objective: &Objective) -> Gate {
    let (unit, scale) = match (&objective.kind, objective.limit.is_relative()) {
        (_, true) => (Unit::Plain, 1.0),
        (Kind::Latency { unit, .. }, false) => (Unit::Seconds, unit.per_second()),
        (Kind::Success { .. }, false) => (Unit::Share, 1.0),
        (Kind::Cost { .. } | Kind::Violations { .. }, false)
        | (Kind::Query { .. } | Kind::Compare { .. }, false) => (Unit::Plain, 1.0),
    };
    let text = |value: f64| unit.text(value / scale);
    let (bound, limit, is_upper) = match objective.limit {
        Limit::AtMost(most) => (format!("at most {}", text(most)), Some(most), true),
        Limit::AtLeast(least) => (format!("at least {}", text(least)), Some(least), false),
        Limit::Between(least, most) => (
            format!("from {} to {}", text(least), text(most)),
            Some(most),
            true,
        ),
        Limit::RatioAtMost(ratio) => (
            format!(
                "no more than {} above stable",
                Unit::Share.text(ratio - 1.0)
            ),
            Some(ratio),
            true,
        ),
        Limit::RatioAtLeast(ratio) => (
            format!(
                "no more than {} below stable",
                Unit::Share.text(1.0 - ratio)
            ),
            Some(ratio),
            false,
        ),
        // Evidence has no value, and no line in a chart.
        Limit::NotWorseBy(_) => (query::limit_text(objective), None, true),
    };
    // Values are shown as they are measured; only a histogram in another unit is converted.
    let unit = if scale == 1.0 { unit } else { Unit::Plain };
    Gate {
        name: objective.name.clone(),
        bound,
        limit,
        is_upper,
        unit,
    }
}

/// A metric of a plain analysis: its condition is its bound.
pub(super) fn of_metric(metric: &Metric) -> Gate {
    let success = metric
        .success_condition
        .as_deref()
        .filter(|text| !text.is_empty());
    let failure = metric
        .failure_condition
        .as_deref()
        .filter(|text| !text.is_empty());
    let bound = match (success, failure) {
        (Some(success), _) => success.to_owned(),
        (None, Some(failure)) => format!("not {failure}"),
        (None, None) if metric.provider.job.is_some() => "a Job that ends well".to_owned(),
        (None, None) if metric.provider.compare.is_some() => "no worse than stable".to_owned(),
        (None, None) => "any answer".to_owned(),
    };
    let read = success.and_then(simple_bound);
    let read = read.or_else(|| {
        failure
            .and_then(simple_bound)
            .map(|(limit, is_upper)| (limit, !is_upper))
    });
    Gate {
        name: metric.name.clone(),
        bound,
        limit: read.map(|(limit, _)| limit),
        is_upper: read.is_none_or(|(_, is_upper)| is_upper),
        unit: Unit::Plain,
    }
}

/// Reads `result[0] <= 0.8` as (0.8, upper bound); anything longer has no line in a chart.
pub(crate) fn simple_bound(condition: &str) -> Option<(f64, bool)> {
    let mut words = condition.split_whitespace();
    let (left, operator, right) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !left.starts_with("result") {
        return None;
    }
    let is_upper = match operator {
        "<" | "<=" => true,
        ">" | ">=" => false,
        _ => return None,
    };
    right.parse().ok().map(|limit| (limit, is_upper))
}

/// Measurements that `after` has and `before` had not, with the names of their metrics.
pub(super) fn new_measurements<'a>(
    before: &AnalysisRun,
    after: &'a AnalysisRun,
) -> Vec<(&'a str, &'a Measurement)> {
    let mut found = Vec::new();
    let results = after
        .status
        .iter()
        .flat_map(|status| status.metric_results.iter().flatten());
    for result in results {
        let old = before
            .status
            .iter()
            .flat_map(|status| status.metric_results.iter().flatten());
        let old: Vec<&Measurement> = old
            .filter(|old| old.name == result.name)
            .flat_map(|old| old.measurements.iter().flatten())
            .collect();
        let new = result.measurements.iter().flatten();
        let new = new.filter(|new| new.finished_at.is_some() && !old.contains(new));
        found.extend(new.map(|new| (result.name.as_str(), new)));
    }
    found
}

/// The number in a measurement's value: `[0.42]`, `0.42`.
pub(super) fn number_in(value: &str) -> Option<f64> {
    let inner = value.trim().trim_start_matches('[').trim_end_matches(']');
    let first = inner.split(',').next()?.trim();
    match first {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => first.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_conditions_have_a_line() {
        assert_eq!(simple_bound("result[0] <= 0.8"), Some((0.8, true)));
        assert_eq!(simple_bound("result >= 95"), Some((95.0, false)));
        assert_eq!(simple_bound("len(result) > 0 && result[0] < 1"), None);
    }

    #[test]
    fn ratios_read_as_people_wrote_them() {
        let slos = serde_json::json!({"objectives": [
            {"latency": {"histogram": "a_seconds", "p95": {"noWorseThanStable": "20%"}}},
            {"success": {"good": "ok", "total": "all", "atLeast": {"noWorseThanStable": "1%"}}},
            {"compare": {"latency": {"histogram": "a_seconds"}}},
        ]});
        let slos = serde_json::from_value(slos).unwrap();
        let spec = crate::planner::slo::lower(&slos, "slos").unwrap();
        let gates = spec.objectives.iter().map(of_objective);
        let read: Vec<_> = gates.map(|g| (g.bound, g.limit)).collect();
        let pair = |bound: &str, limit| (bound.to_owned(), limit);
        assert_eq!(
            read,
            [
                pair("no more than 20% above stable", Some(1.2)),
                pair("no more than 1% below stable", Some(0.99)),
                pair("not worse than stable by more than 5%", None),
            ]
        );
    }

    #[test]
    fn numbers_are_found_in_values() {
        assert_eq!(number_in("[0.42]"), Some(0.42));
        assert_eq!(number_in("7"), Some(7.0));
        assert!(number_in("[NaN]").is_some_and(f64::is_nan));
        assert_eq!(number_in("[]"), None);
    }
}
