//! Objectives to PromQL. One expression per objective, which yields one number for one version and
//! nothing where there is nothing to judge. Knows PromQL; the reasons are with each expression.

use super::bound::{Limit, Unit};
use super::promql::{Matcher, Selector, join};
use super::{Kind, Objective, SelectBy, SloSpec, Window};
use crate::planner::analysis::value::number_text;

/// In place of a pod hash: every version. No hash has a star in it.
pub const EVERY: &str = "*";
/// The new version's hash in the query of an analysis that is judged over the past.
pub const CANARY_HASH: &str = "{{canary-hash}}";
/// Stable's hash there.
pub const STABLE_HASH: &str = "{{stable-hash}}";

/// Whose series to ask for.
#[derive(Clone, Debug)]
pub struct Versions<'a> {
    /// The objectives' labels, window and guard.
    pub spec: &'a SloSpec,
    /// Namespace of the Rollout.
    pub namespace: &'a str,
    /// Name of the Rollout.
    pub rollout: &'a str,
    /// Pod hash of the canary.
    pub canary: &'a str,
    /// Pod hash of stable.
    pub stable: &'a str,
    /// Which series are the Rollout's, for those who ask for [`EVERY`] version. A gate asks for one.
    pub own: &'a [Matcher],
}

impl Versions<'_> {
    /// Matchers of one version's series. The namespace is among them because a hash covers the pod
    /// template alone: the same agent in dev and in prod has the same one.
    pub fn matchers(&self, hash: &str) -> Vec<Matcher> {
        let mut all = self.namespace_only();
        if hash == EVERY {
            all.extend(self.own.iter().cloned());
            return all;
        }
        all.push(match self.spec.select_by {
            SelectBy::Hash => Matcher::equal(&self.spec.hash_label, hash),
            SelectBy::Pod => self.pods(hash),
        });
        all
    }

    /// The matcher of the namespace.
    pub fn namespace_only(&self) -> Vec<Matcher> {
        vec![Matcher::equal(&self.spec.namespace_label, self.namespace)]
    }

    /// The matcher of a version's pods by name. Matchers are anchored, so that `web-1` does not
    /// find the pods of `my-web-1`.
    pub fn pods(&self, hash: &str) -> Matcher {
        let name = self.rollout.replace('.', "\\.");
        Matcher::matches("pod", format!("{name}-{hash}-.+"))
    }

    fn window(&self) -> Window {
        self.spec.window
    }
}

/// The expression of an objective.
pub fn render(objective: &Objective, versions: &Versions<'_>) -> String {
    let limit = objective.limit;
    let value = |hash: &str| value(objective, versions, hash);
    let guard = |hash: &str| {
        let minimum = versions.spec.min_samples;
        samples(&objective.kind, versions, hash)
            .map_or_else(String::new, |n| format!(" and on() ({n} >= {minimum})"))
    };
    if limit.is_relative() {
        // Both sides over the same window, each with enough samples. Nothing is worse than nothing:
        // 0 divided by 0 is NaN and no verdict.
        let (canary, stable) = (versions.canary, versions.stable);
        return format!(
            "(({}) / on() ({})){}{}",
            value(canary),
            value(stable),
            guard(canary),
            guard(stable)
        );
    }
    let own = value(versions.canary);
    let guard = guard(versions.canary);
    if guard.is_empty() {
        own
    } else {
        format!("({own}){guard}")
    }
}

fn value(objective: &Objective, versions: &Versions<'_>, hash: &str) -> String {
    let window = versions.window();
    let own = versions.matchers(hash);
    let rate = |s: &Selector, suffix: &str| format!("rate({}[{window}])", s.render(suffix, &own));
    match &objective.kind {
        Kind::Latency {
            histogram,
            quantile,
            ..
        } => {
            let classic = format!(
                "histogram_quantile({quantile}, sum by (le) ({}))",
                rate(histogram, "_bucket")
            );
            let native = format!(
                "histogram_quantile({quantile}, sum({}))",
                rate(histogram, "")
            );
            let limit = match objective.limit {
                Limit::AtMost(limit) => Some(limit),
                Limit::AtLeast(_)
                | Limit::Between(..)
                | Limit::RatioAtMost(_)
                | Limit::RatioAtLeast(_)
                | Limit::NotWorseBy(_) => None,
            };
            // A quantile above the highest finite bucket comes out as that bucket's bound: with
            // buckets up to 1 s, no p99 is ever over 2 s. So where more than 1 - q of the events
            // lie above the highest bucket and that bucket is within the limit, the value becomes
            // infinite: no verdict, and a reason to add buckets.
            let above = limit.map_or_else(String::new, |limit| {
                let all = histogram.render("_bucket", &own);
                let bounded = {
                    let mut more = own.clone();
                    more.push(Matcher { label: "le".to_owned(), op: super::promql::Op::NotEqual, value: "+Inf".to_owned() });
                    histogram.render("_bucket", &more)
                };
                format!(
                    " / on() (1 - on() ((max(sum by (le) (rate({bounded}[{window}]))) < bool on() ({quantile} * max(sum by (le) (rate({all}[{window}]))))) * on() ({classic} <= bool {})))",
                    number_text(limit)
                )
            });
            format!("({classic}{above}) or {native}")
        }
        // A version whose every call fails exports no series of good events: that is a share of 0.
        Kind::Success { good, total } => {
            let (good, total) = (rate(good, ""), rate(total, ""));
            format!("(sum({good}) or 0 * sum({total})) / sum({total})")
        }
        Kind::Cost { spent, per } => format!("sum({}) / sum({})", rate(spent, ""), rate(per, "")),
        // A counter of violations often appears with its first one, which `increase` does not see:
        // the counters' own values are summed. Where there is no counter there is no violation, as
        // long as the pods are scraped.
        Kind::Violations { counter } => {
            let counter = counter.render("", &own);
            format!(
                "sum(max_over_time({counter}[{window}])) or 0 * count(up{{{}}} == 1)",
                join(&own)
            )
        }
        Kind::Query { promql } => fill(promql, versions, hash),
        // The test asks for itself, once for each version (`analysis::compare`).
        Kind::Compare { .. } => String::new(),
    }
}

/// How many events the window holds; `None` where an objective counts none.
pub fn samples(kind: &Kind, versions: &Versions<'_>, hash: &str) -> Option<String> {
    let window = versions.window();
    let own = versions.matchers(hash);
    let increase =
        |s: &Selector, suffix: &str| format!("sum(increase({}[{window}]))", s.render(suffix, &own));
    match kind {
        Kind::Latency { histogram, .. } => Some(format!(
            "({} or histogram_count({}))",
            increase(histogram, "_count"),
            increase(histogram, "")
        )),
        Kind::Success { total, .. } => Some(increase(total, "")),
        Kind::Cost { per, .. } => Some(increase(per, "")),
        Kind::Violations { .. } | Kind::Query { .. } | Kind::Compare { .. } => None,
    }
}

/// The series that shows whether there was traffic at all.
pub fn traffic_series(kind: &Kind) -> Option<(Selector, &'static str)> {
    match kind {
        Kind::Latency { histogram, .. } => Some((histogram.clone(), "_count")),
        Kind::Success { total, .. } => Some((total.clone(), "")),
        Kind::Cost { per, .. } => Some((per.clone(), "")),
        Kind::Compare { traffic, .. } => Some(traffic.clone()),
        Kind::Violations { .. } | Kind::Query { .. } => None,
    }
}

/// Refuses placeholders that are not known, so that a typing error is not sent to Prometheus.
pub fn check(promql: &str) -> Result<(), String> {
    if promql.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let rest = promql
        .replace("{{canary}}", "")
        .replace("{{stable}}", "")
        .replace("{{ canary }}", "")
        .replace("{{ stable }}", "");
    if rest.contains("{{") {
        return Err(
            "has a placeholder that is not known: there are {{canary}} and {{stable}}".to_owned(),
        );
    }
    Ok(())
}

/// Puts matchers where the placeholders stand. For a comparison with stable, `hash` is stable's and
/// `{{canary}}` stands for it.
fn fill(promql: &str, versions: &Versions<'_>, hash: &str) -> String {
    let of = |hash: &str| join(&versions.matchers(hash));
    let (own, stable) = (of(hash), of(versions.stable));
    let filled = promql
        .replace("{{canary}}", &own)
        .replace("{{ canary }}", &own)
        .replace("{{stable}}", &stable)
        .replace("{{ stable }}", &stable);
    let filled = fill_hash(&filled, CANARY_HASH, hash);
    fill_hash(&filled, STABLE_HASH, versions.stable)
}

/// A hash as it stands in a matcher of somebody's own; of every version a pattern.
fn fill_hash(promql: &str, placeholder: &str, hash: &str) -> String {
    if hash != EVERY {
        return promql.replace(placeholder, hash);
    }
    promql
        .replace(&format!("=\"{placeholder}\""), "=~\".+\"")
        .replace(placeholder, "[a-z0-9]+")
}

/// The two conditions of an objective: success and failure. Neither is met by an answer that is
/// empty, NaN or infinite: that is Inconclusive, and holds the step. `None` for a comparison, which
/// its evidence judges.
pub fn conditions(objective: &Objective) -> Option<(String, String)> {
    let one = match objective.kind {
        // Any expression may come back as many series: the first is not the worst.
        Kind::Query { .. } => "len(result) == 1",
        Kind::Latency { .. }
        | Kind::Success { .. }
        | Kind::Cost { .. }
        | Kind::Violations { .. } => "len(result) > 0",
        Kind::Compare { .. } => return None,
    };
    let sane = format!("{one} && !isNaN(result[0]) && !isInf(result[0])");
    let n = number_text;
    let (good, bad) = match objective.limit {
        Limit::AtMost(v) | Limit::RatioAtMost(v) => (
            format!("result[0] <= {}", n(v)),
            format!("result[0] > {}", n(v)),
        ),
        Limit::AtLeast(v) | Limit::RatioAtLeast(v) => (
            format!("result[0] >= {}", n(v)),
            format!("result[0] < {}", n(v)),
        ),
        Limit::Between(low, high) => (
            format!("result[0] >= {} && result[0] <= {}", n(low), n(high)),
            format!("(result[0] < {} || result[0] > {})", n(low), n(high)),
        ),
        Limit::NotWorseBy(_) => return None,
    };
    Some((format!("{sane} && {good}"), format!("{sane} && {bad}")))
}

/// A value of an objective as people read it: `850ms`, `97.5%`, `1.3 × stable`.
pub fn value_text(objective: &Objective, value: f64) -> String {
    use super::bound::{seconds_text, short};
    if objective.limit.is_relative() {
        return format!("{} × stable", short(value));
    }
    match &objective.kind {
        Kind::Latency { unit, .. } => seconds_text(value / unit.per_second()),
        Kind::Success { .. } => format!("{}%", short(value * 100.0)),
        Kind::Cost { .. } | Kind::Violations { .. } | Kind::Query { .. } | Kind::Compare { .. } => {
            short(value)
        }
    }
}

/// A limit as people read it: `at most 800ms`.
pub fn limit_text(objective: &Objective) -> String {
    let text = |v| value_text(objective, v);
    match objective.limit {
        Limit::AtMost(v) | Limit::RatioAtMost(v) => format!("at most {}", text(v)),
        Limit::AtLeast(v) | Limit::RatioAtLeast(v) => format!("at least {}", text(v)),
        Limit::Between(low, high) => format!("from {} to {}", text(low), text(high)),
        Limit::NotWorseBy(effect) => {
            let percent = super::bound::short(effect * 100.0);
            format!("not worse than stable by more than {percent}%")
        }
    }
}

/// Unit of an objective's value, for gauges: seconds need the histogram's unit taken out.
pub fn base_value(objective: &Objective, value: f64) -> f64 {
    match (&objective.kind, objective.limit.is_relative()) {
        (Kind::Latency { unit, .. }, false) if *unit != Unit::Seconds => value / unit.per_second(),
        _ => value,
    }
}
