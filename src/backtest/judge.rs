//! What values of the past say about a gate: how many rollouts it would have stopped, when, and which
//! bound would have stopped no more than are tolerated.

use super::plan::{Plan, Range, VersionSeen};
use super::report::{Episode, Found, Report, Suggestion, Verdict, Version};
use crate::planner::slo::bound::Limit;
use crate::planner::slo::{Objective, query};
use crate::view::chart::Point;

/// Episodes that are kept of each objective, the longest.
const EPISODES: usize = 5;
/// Rollouts that must have been possible before a bound is suggested: a share of fewer says little.
const ENOUGH: usize = 100;

/// Values of one objective at the moments of a range; `None` where there was nothing to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The moments.
    pub range: Range,
    /// One value for each moment.
    pub at: Vec<Option<f64>>,
}

impl Values {
    /// No values yet.
    pub fn none(range: Range) -> Self {
        Self {
            range,
            at: vec![None; range.len()],
        }
    }

    /// Takes in points of a reply: Unix seconds and value. NaN and infinities are no values.
    pub fn add(&mut self, points: &[(f64, f64)]) {
        for (at, value) in points {
            let place = self.range.place(*at);
            if let Some(slot) = place.and_then(|place| self.at.get_mut(place)) {
                *slot = value.is_finite().then_some(*value);
            }
        }
    }
}

/// Puts the answers together. `every` holds values of each objective in their order over the whole
/// range, `each` the versions with theirs.
pub fn judge(
    plan: &Plan,
    every: &[Values],
    each: &[(VersionSeen, VersionSeen, Vec<Values>)],
) -> Report {
    let objectives = plan.spec.objectives.iter().zip(every);
    let rollouts = each
        .iter()
        .map(|(new, old, values)| of_version(plan, new, old, values));
    Report {
        rollout: plan.rollout.clone(),
        namespace: plan.namespace.clone(),
        from: plan.range.from,
        until: plan.range.until,
        every: plan.range.step,
        length: plan.length,
        measurements: plan.measurements(),
        failure_limit: plan.spec.failure_limit,
        left_out: plan.left_out.clone(),
        tolerated: plan.tolerated,
        objectives: objectives.map(|(o, v)| of_objective(plan, o, v)).collect(),
        versions: rollouts.collect(),
    }
}

/// Larger is worse.
fn badness(limit: Limit, value: f64) -> f64 {
    match limit {
        Limit::AtMost(_) | Limit::RatioAtMost(_) | Limit::NotWorseBy(_) => value,
        Limit::AtLeast(_) | Limit::RatioAtLeast(_) => -value,
        Limit::Between(low, high) => (value - high).max(low - value),
    }
}

fn of_objective(plan: &Plan, objective: &Objective, values: &Values) -> Found {
    let limit = objective.limit;
    let mut sorted: Vec<f64> = values.at.iter().flatten().copied().collect();
    sorted.sort_by(|a, b| badness(limit, *a).total_cmp(&badness(limit, *b)));
    let text = |value: f64| query::value_text(objective, value);
    let failures = plan.allowed(objective);
    let allowed = usize::try_from(failures).unwrap_or(0);
    // A rollout may have begun at any moment: it is stopped when more measurements fail than may,
    // which is when its (allowed + 1)-th worst value misses the bound.
    let worst = nth_worst(limit, &values.at, plan.measurements(), allowed);
    let begun = worst.len();
    let stopped = worst
        .iter()
        .filter(|value| value.is_some_and(|v| limit.is_kept_by(v) == Some(false)))
        .count();
    let share = if begun == 0 {
        0.0
    } else {
        stopped as f64 / begun as f64
    };
    let (episodes, times) = episodes(objective, values);
    Found {
        name: objective.name.clone(),
        bound: query::limit_text(objective),
        failure_limit: failures,
        is_compared: plan.is_compared(objective),
        is_upper: direction(limit) != Some(-1.0),
        moments: values.at.len(),
        values: sorted.len(),
        median: quantile(&sorted, 0.5).map(text),
        p95: quantile(&sorted, 0.95).map(text),
        worst: sorted.last().copied().map(text),
        begun,
        stopped,
        share,
        times,
        episodes,
        suggestion: suggestion(plan, objective, &worst, share),
        series: thinned(limit, values),
    }
}

/// For each moment at which a rollout may have begun and had at least one value: its (allowed + 1)-th
/// worst value, `None` where it had fewer.
fn nth_worst(
    limit: Limit,
    values: &[Option<f64>],
    measurements: usize,
    allowed: usize,
) -> Vec<Option<f64>> {
    let mut all = vec![];
    for window in values.windows(measurements.min(values.len()).max(1)) {
        let mut seen: Vec<f64> = window.iter().flatten().copied().collect();
        if seen.is_empty() {
            continue;
        }
        seen.sort_by(|a, b| badness(limit, *b).total_cmp(&badness(limit, *a)));
        all.push(seen.get(allowed).copied());
    }
    all
}

/// The value below which that share of the sorted values lies (nearest rank).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Stretches of time in which every value missed the bound: the longest, and how many in all.
fn episodes(objective: &Objective, values: &Values) -> (Vec<Episode>, usize) {
    let mut all: Vec<(usize, usize, f64)> = vec![];
    let mut is_open = false;
    for (place, value) in values.at.iter().enumerate() {
        let kept = value.and_then(|v| objective.limit.is_kept_by(v));
        match (value, kept, is_open) {
            (Some(v), Some(false), true) => {
                if let Some(last) = all.last_mut() {
                    last.1 = place;
                    if badness(objective.limit, *v) > badness(objective.limit, last.2) {
                        last.2 = *v;
                    }
                }
            }
            (Some(v), Some(false), false) => {
                all.push((place, place, *v));
                is_open = true;
            }
            (_, Some(true), _) => is_open = false,
            // A moment without a value neither ends a bad time nor begins one.
            (_, None, _) | (None, Some(false), _) => {}
        }
    }
    let times = all.len();
    all.sort_by_key(|(first, last, _)| (std::cmp::Reverse(last - first), *first));
    all.truncate(EPISODES);
    all.sort_by_key(|(first, ..)| *first);
    let episode = |(first, last, worst)| Episode {
        from: values.range.at(first),
        until: values.range.at(last),
        worst: query::value_text(objective, worst),
    };
    (all.into_iter().map(episode).collect(), times)
}

/// The strictest round bound that would have stopped no more rollouts than are tolerated.
fn suggestion(
    plan: &Plan,
    objective: &Objective,
    worst: &[Option<f64>],
    share: f64,
) -> Option<Suggestion> {
    let limit = objective.limit;
    if worst.len() < ENOUGH {
        return None;
    }
    // A rollout with fewer values than may fail is never stopped: better than any value.
    let best = f64::NEG_INFINITY * direction(limit)?;
    let mut sorted: Vec<f64> = worst.iter().map(|value| value.unwrap_or(best)).collect();
    sorted.sort_by(|a, b| badness(limit, *a).total_cmp(&badness(limit, *b)));
    let bound = rounded(objective, quantile(&sorted, 1.0 - plan.tolerated)?)?;
    let is_too_strict = share > plan.tolerated;
    let (own, other) = match limit {
        Limit::AtMost(own) => (own, bound),
        // For a share the way to 100 % counts: 99 % is twice as strict as 98 %.
        Limit::AtLeast(own) if own <= 1.0 => (1.0 - own, 1.0 - bound),
        Limit::AtLeast(own) => (bound, own),
        Limit::Between(..)
        | Limit::RatioAtMost(_)
        | Limit::RatioAtLeast(_)
        | Limit::NotWorseBy(_) => return None,
    };
    let is_loose = own > 2.0 * other;
    (is_too_strict || is_loose).then(|| Suggestion {
        is_too_strict,
        bound: query::value_text(objective, bound),
        value: bound,
    })
}

/// +1 where values may be too large, -1 where too small; `None` where both.
fn direction(limit: Limit) -> Option<f64> {
    match limit {
        Limit::AtMost(_) | Limit::RatioAtMost(_) => Some(1.0),
        Limit::AtLeast(_) | Limit::RatioAtLeast(_) => Some(-1.0),
        Limit::Between(..) | Limit::NotWorseBy(_) => None,
    }
}

/// Two significant digits, on the lenient side. A share keeps two digits of what is missing to 1.
fn rounded(objective: &Objective, value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    let up = |value: f64| {
        if value <= 0.0 {
            return 0.0;
        }
        let power = 10_f64.powf(value.log10().floor() - 1.0);
        // A hair's breadth, so that 0.25 stays 0.25.
        let text = format!("{:.12}", (value / power - 1e-9).ceil() * power);
        text.parse().unwrap_or(value)
    };
    match (direction(objective.limit)?, value) {
        (way, value) if way > 0.0 => Some(up(value)),
        (_, value) if value <= 1.0 => Some(1.0 - up(1.0 - value)),
        (_, value) => {
            let power = 10_f64.powf(value.log10().floor() - 1.0);
            Some((value / power + 1e-9).floor() * power)
        }
    }
}

/// What the gate would have said of a version.
fn of_version(plan: &Plan, new: &VersionSeen, old: &VersionSeen, values: &[Values]) -> Version {
    let mut verdict = Verdict::Passed;
    for (objective, values) in plan.spec.objectives.iter().zip(values) {
        let mut failed = 0_i64;
        let mut is_measured = false;
        for (place, value) in values.at.iter().enumerate() {
            let kept = value.and_then(|v| objective.limit.is_kept_by(v));
            is_measured |= kept.is_some();
            failed += i64::from(kept == Some(false));
            if failed > plan.allowed(objective) {
                let at = values.range.at(place);
                let is_first = match &verdict {
                    Verdict::Stopped { at: earlier, .. } => at < *earlier,
                    Verdict::Passed | Verdict::Held { .. } => true,
                };
                if is_first {
                    verdict = Verdict::Stopped {
                        at,
                        objective: objective.name.clone(),
                        value: query::value_text(objective, value.unwrap_or(f64::NAN)),
                        bound: query::limit_text(objective),
                    };
                }
                break;
            }
        }
        if !is_measured && verdict == Verdict::Passed {
            verdict = Verdict::Held {
                objective: objective.name.clone(),
            };
        }
    }
    Version {
        hash: new.hash.clone(),
        after: old.hash.clone(),
        at: new.first,
        verdict,
    }
}

/// At most this many points for a chart: of each stretch the worst value.
const POINTS: usize = 480;

fn thinned(limit: Limit, values: &Values) -> Vec<Point> {
    let each = values.at.len().div_ceil(POINTS).max(1);
    let stretches = values.at.chunks(each).enumerate();
    stretches
        .map(|(n, stretch)| {
            let worst = stretch
                .iter()
                .flatten()
                .copied()
                .max_by(|a, b| badness(limit, *a).total_cmp(&badness(limit, *b)));
            Point {
                at: (values.range.at(n * each) - values.range.from) * 1000,
                value: worst,
                is_bad: worst.and_then(|v| limit.is_kept_by(v)) == Some(false),
            }
        })
        .collect()
}
