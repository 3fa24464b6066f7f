//! Canary against stable without a fixed bound: what is asked, and what the evidence says. The
//! evidence grows from measurement to measurement and lives in their metadata, so that a crash loses
//! none that was written. The tests themselves are in `stats`.

use std::collections::BTreeMap;

use super::assess::Phase;
use super::stats::{DEFAULT_FALSE_ALARMS, Events, Evidence, Ranks, Verdict, shares};
use super::value::MetricValue;
use crate::api::providers::CompareMetric;
use crate::planner::slo::promql::{self, Matcher, Selector};

/// A difference of one event in a hundred matters.
const DEFAULT_SUCCESS_EFFECT: f64 = 0.01;
/// A canary that is slower in 55 of 100 pairs matters.
const DEFAULT_LATENCY_EFFECT: f64 = 0.05;

/// What is compared, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    kind: Kind,
    canary: Vec<Matcher>,
    stable: Vec<Matcher>,
    effect: f64,
    false_alarms: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Success { good: Selector, total: Selector },
    Latency { histogram: Selector },
}

/// The two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The new version.
    Canary,
    /// The old one.
    Stable,
}

/// Reads the metric, with every fault.
pub fn lower(metric: &CompareMetric) -> Result<Comparison, Vec<String>> {
    let mut faults = Vec::new();
    let mut selector = |text: Option<&String>, field: &str| {
        let text = text.map(String::as_str).unwrap_or_default();
        promql::parse(text)
            .map_err(|why| faults.push(format!("compare.{field}: {why}")))
            .ok()
    };
    let versions = [&metric.canary, &metric.stable].map(|text| {
        let matchers = text.as_deref().unwrap_or_default();
        let inner = matchers
            .trim()
            .trim_start_matches('{')
            .trim_end_matches('}');
        let whole = format!("x{{{inner}}}");
        selector(Some(&whole), "canary and compare.stable").map(|s| s.matchers)
    });
    let kind = match (&metric.success, &metric.latency) {
        (Some(s), None) => {
            let good = selector(s.good.as_ref(), "success.good");
            let total = selector(s.total.as_ref(), "success.total");
            good.zip(total)
                .map(|(good, total)| Kind::Success { good, total })
        }
        (None, Some(l)) => selector(l.histogram.as_ref(), "latency.histogram")
            .map(|histogram| Kind::Latency { histogram }),
        _ => {
            faults.push("compare needs success or latency: one of them".to_owned());
            None
        }
    };
    let default = match &kind {
        Some(Kind::Success { .. }) => DEFAULT_SUCCESS_EFFECT,
        _ => DEFAULT_LATENCY_EFFECT,
    };
    let mut share = |text: &Option<String>, field: &str, default: f64| match text.as_deref() {
        None | Some("") => default,
        // An argument that is not filled in yet: the run judges it.
        Some(text) if text.contains("{{") => default,
        Some(text) => fraction(text).unwrap_or_else(|| {
            faults.push(format!(
                "compare.{field} must be a share such as 1%, between 0 and 50%"
            ));
            default
        }),
    };
    let effect = share(&metric.effect, "effect", default);
    let false_alarms = share(&metric.false_alarms, "falseAlarms", DEFAULT_FALSE_ALARMS);
    let [canary, stable] = versions;
    let is_open = |side: &Option<Vec<Matcher>>| side.as_ref().is_some_and(Vec::is_empty);
    if is_open(&canary) || is_open(&stable) {
        faults.push("compare.canary and compare.stable must tell the versions apart, such as rollouts_pod_template_hash=\"{{args.canary}}\"".to_owned());
    }
    match (kind, canary, stable) {
        (Some(kind), Some(canary), Some(stable)) if faults.is_empty() => Ok(Comparison {
            kind,
            canary,
            stable,
            effect,
            false_alarms,
        }),
        _ => Err(faults),
    }
}

/// `1%` or `0.01`, more than 0 and less than a half.
fn fraction(text: &str) -> Option<f64> {
    let text = text.trim();
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (value > 0.0 && value < 0.5).then_some(value)
}

impl Comparison {
    /// The difference that matters, as a share.
    pub fn effect(&self) -> f64 {
        self.effect
    }

    /// True where the answer is a histogram.
    pub fn is_latency(&self) -> bool {
        matches!(self.kind, Kind::Latency { .. })
    }

    /// What to ask about one version, over the seconds since the last look: looks must not overlap,
    /// or the same events would count twice. Good and all events, or one histogram.
    pub fn queries(&self, side: Side, seconds: i64) -> Vec<String> {
        let own = match side {
            Side::Canary => &self.canary,
            Side::Stable => &self.stable,
        };
        let increase =
            |s: &Selector, suffix: &str| format!("increase({}[{seconds}s])", s.render(suffix, own));
        match &self.kind {
            Kind::Success { good, total } => vec![
                format!("sum({})", increase(good, "")),
                format!("sum({})", increase(total, "")),
            ],
            Kind::Latency { histogram } => {
                vec![format!("sum by (le) ({})", increase(histogram, "_bucket"))]
            }
        }
    }
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The verdict as a measurement has it.
    pub phase: Phase,
    /// The evidence in a sentence.
    pub message: String,
    /// Everything that was seen so far, for the next look.
    pub metadata: BTreeMap<String, String>,
}

/// Adds an answer to what was seen before, and judges. `of` comparisons in this run share the
/// allowed false alarms.
pub fn judge(
    comparison: &Comparison,
    answer: &MetricValue,
    before: Option<&BTreeMap<String, String>>,
    of: usize,
) -> Look {
    let side = |name: &str| -> Vec<f64> {
        let MetricValue::Map(map) = answer else {
            return vec![];
        };
        match map.get(name) {
            Some(MetricValue::List(items)) => {
                let numbers = items.iter().filter_map(MetricValue::as_f64);
                numbers
                    .map(|n| if n.is_finite() { n.max(0.0) } else { 0.0 })
                    .collect()
            }
            _ => vec![],
        }
    };
    let (canary, stable) = (side("canary"), side("stable"));
    let known = |key: &str| -> f64 {
        let text = before.and_then(|b| b.get(key));
        text.and_then(|t| t.parse().ok()).unwrap_or(0.0)
    };
    let (seen, evidence, told) = match &comparison.kind {
        Kind::Success { .. } => {
            let add = |name: &str, new: &[f64]| Events {
                bad: known(&format!("{name}-bad")) + new.first().copied().unwrap_or(0.0),
                all: known(&format!("{name}-all")) + new.get(1).copied().unwrap_or(0.0),
            };
            let (canary, stable) = (add("canary", &canary), add("stable", &stable));
            let seen = vec![
                ("canary-bad", canary.bad),
                ("canary-all", canary.all),
                ("stable-bad", stable.bad),
                ("stable-all", stable.all),
            ];
            let told = format!(
                "bad events: {} of canary, {} of stable",
                share(canary),
                share(stable)
            );
            (seen, shares(canary, stable, comparison.effect), told)
        }
        Kind::Latency { .. } => {
            let ranks = Ranks {
                excess: known("excess"),
                pairs: known("pairs"),
            };
            let ranks = ranks.with(&canary, &stable);
            let seen = vec![("excess", ranks.excess), ("pairs", ranks.pairs)];
            let told = format!(
                "canary is slower in {:.1} % of {:.0} pairs",
                ranks.share() * 100.0,
                ranks.pairs
            );
            (seen, ranks.evidence(comparison.effect), told)
        }
    };
    let verdict = evidence.verdict(comparison.false_alarms, of);
    let (phase, said) = match verdict {
        Verdict::Fail => (Phase::Failed, "worse than stable by more than"),
        Verdict::Pass => (Phase::Successful, "not worse than stable by more than"),
        Verdict::Inconclusive => (Phase::Inconclusive, "not decided yet, for"),
    };
    let mut metadata: BTreeMap<String, String> = seen
        .into_iter()
        .map(|(key, value)| (key.to_owned(), format!("{value}")))
        .collect();
    metadata.insert(
        "evidence".to_owned(),
        odds(evidence, comparison.false_alarms, of),
    );
    let effect = comparison.effect * 100.0;
    Look {
        phase,
        message: format!("{said} {effect:.2} %: {told}"),
        metadata,
    }
}

fn share(events: Events) -> String {
    if events.all > 0.0 {
        format!(
            "{:.2} % of {:.0}",
            events.bad / events.all * 100.0,
            events.all
        )
    } else {
        "none of 0".to_owned()
    }
}

/// Odds against each answer, and those that decide.
fn odds(evidence: Evidence, false_alarms: f64, of: usize) -> String {
    let needed = of.max(1) as f64 / false_alarms;
    let show = |ln: f64| format!("{:.3e}", ln.min(200.0).exp());
    format!(
        "worse {}, fine {}, decided at {needed:.0}",
        show(evidence.worse),
        show(evidence.fine)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn comparison(more: Value) -> Result<Comparison, Vec<String>> {
        let mut all = json!({"canary": "hash=\"a\"", "stable": "hash=\"b\""});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        lower(&serde_json::from_value(all).unwrap())
    }

    fn answer(canary: [f64; 2], stable: [f64; 2]) -> MetricValue {
        MetricValue::from(&json!({"canary": canary, "stable": stable}))
    }

    #[test]
    fn looks_add_up_and_say_what_they_rest_on() {
        let success =
            comparison(json!({"success": {"good": "ok{a=\"b\"}", "total": "all"}})).unwrap();
        assert_eq!(
            success.queries(Side::Canary, 30),
            [
                "sum(increase(ok{a=\"b\",hash=\"a\"}[30s]))",
                "sum(increase(all{hash=\"a\"}[30s]))"
            ]
        );
        let first = judge(&success, &answer([1.0, 10.0], [0.0, 30.0]), None, 2);
        assert_eq!(first.phase, Phase::Inconclusive);
        assert!(first.metadata["evidence"].ends_with("decided at 200"));
        let mut look = first;
        for _ in 0..20 {
            look = judge(
                &success,
                &answer([1.0, 10.0], [0.0, 30.0]),
                Some(&look.metadata),
                2,
            );
        }
        assert_eq!(look.phase, Phase::Failed);
        assert_eq!(
            look.message,
            "worse than stable by more than 1.00 %: bad events: 10.00 % of 210 of canary, 0.00 % of 630 of stable"
        );
        let nothing = judge(&success, &MetricValue::Nil, Some(&look.metadata), 2);
        assert_eq!(nothing.metadata["canary-all"], "210");
        let latency =
            comparison(json!({"latency": {"histogram": "t_seconds"}, "effect": "10%"})).unwrap();
        let mut look = judge(&latency, &MetricValue::Nil, None, 1);
        for _ in 0..10 {
            let bins = MetricValue::from(&json!({"canary": [50, 50], "stable": [100, 100]}));
            look = judge(&latency, &bins, Some(&look.metadata), 1);
        }
        assert_eq!(look.phase, Phase::Successful);
        assert!(
            look.message
                .ends_with("canary is slower in 50.0 % of 1000 pairs"),
            "{}",
            look.message
        );
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        for (wrong, expected) in [
            (json!({}), "success or latency"),
            (
                json!({"latency": {"histogram": "1"}}),
                "compare.latency.histogram",
            ),
            (
                json!({"latency": {"histogram": "t"}, "effect": "60%"}),
                "compare.effect",
            ),
            (
                json!({"latency": {"histogram": "t"}, "falseAlarms": "x"}),
                "compare.falseAlarms",
            ),
            (
                json!({"latency": {"histogram": "t"}, "stable": ""}),
                "tell the versions apart",
            ),
            (
                json!({"latency": {"histogram": "t"}, "canary": "hash=a"}),
                "compare.canary",
            ),
        ] {
            let told = comparison(wrong.clone()).unwrap_err().join("; ");
            assert!(told.contains(expected), "{wrong}: {told}");
        }
    }
}
