//! Why a gate's query had no answer: a second query that is asked only then, and what its answer
//! means. Knows how pods come to be missing from a Prometheus.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::promql::{Matcher, Selector, join};
use super::query::{Versions, samples, traffic_series};
use super::{Objective, SelectBy};
use crate::planner::analysis::value::MetricValue;

/// Annotation on a lowered run: JSON of [`Diagnosis`] by metric name.
pub const ANNOTATION: &str = "serin.dev/diagnosis";

/// The second question about one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// One expression; a count of samples from 0 up, or one of the negative codes of [`explain`](Self::explain).
    pub query: String,
    /// Events that the window must hold.
    pub min_samples: u64,
    /// How far back, as text.
    pub window: String,
    /// The series whose samples are counted; absent where none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Label that should tell the version.
    pub hash_label: String,
    /// Label that should tell the namespace.
    pub namespace_label: String,
    /// True where the value is compared with stable, whose samples may be what is missing.
    #[serde(default)]
    pub is_relative: bool,
}

/// Reads the annotation; what cannot be read explains nothing and harms nothing.
pub fn read(text: &str) -> BTreeMap<String, Diagnosis> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The annotation's text.
pub fn write(all: &BTreeMap<String, Diagnosis>) -> String {
    serde_json::to_string(all).unwrap_or_default()
}

/// The second question about an objective. Each line answers only where those above do not.
pub fn of(objective: &Objective, versions: &Versions<'_>) -> Diagnosis {
    let spec = versions.spec;
    let own = versions.matchers(versions.canary);
    let namespace = versions.namespace_only();
    let mut by_pod = namespace.clone();
    by_pod.push(versions.pods(versions.canary));
    let traffic = traffic_series(&objective.kind);
    let series = |more: &[Matcher]| {
        traffic
            .as_ref()
            .map(|(s, suffix): &(Selector, _)| s.render(suffix, more))
    };

    let mut lines: Vec<String> = Vec::new();
    let mut line = |code: i64, counted: Option<String>| {
        if let Some(counted) = counted {
            lines.push(format!("{code} + 0 * count({counted})"));
        }
    };
    // Samples of this version; a series that has just begun has none yet.
    let first = samples(&objective.kind, versions, versions.canary);
    line(0, series(&own));
    if spec.select_by == SelectBy::Hash {
        line(-1, series(&by_pod));
    }
    line(
        if traffic.is_some() { -2 } else { -7 },
        Some(format!("up{{{}}} == 1", join(&own))),
    );
    line(-6, Some(format!("up{{{}}} == 0", join(&own))));
    if spec.select_by == SelectBy::Hash {
        line(-1, Some(format!("up{{{}}}", join(&by_pod))));
    }
    line(
        -3,
        series(&namespace).or_else(|| Some(format!("up{{{}}}", join(&namespace)))),
    );
    line(-4, series(&[]).or_else(|| Some("up".to_owned())));
    lines.push("vector(-5)".to_owned());
    let query = first
        .into_iter()
        .chain(lines)
        .collect::<Vec<_>>()
        .join(" or ");
    Diagnosis {
        query,
        min_samples: spec.min_samples,
        window: spec.window.to_string(),
        series: traffic.map(|(s, suffix)| format!("{}{suffix}", s.name)),
        hash_label: spec.hash_label.clone(),
        namespace_label: spec.namespace_label.clone(),
        is_relative: objective.limit.is_relative(),
    }
}

impl Diagnosis {
    /// What the answer means; `None` where the second question had no answer either.
    pub fn explain(&self, answer: Option<&MetricValue>) -> String {
        let series = self.series.as_deref().unwrap_or("series");
        let (window, hash) = (&self.window, &self.hash_label);
        let Some(code) = answer.and_then(MetricValue::first_number) else {
            return "no data".to_owned();
        };
        if code >= 0.0 {
            let seen = code.floor().max(0.0) as u64;
            let wanted = self.min_samples;
            return if seen == 0 {
                format!("no traffic: 0 of {wanted} samples in {window}")
            } else if seen < wanted {
                format!("only {seen} of {wanted} samples in {window}")
            } else if self.is_relative {
                format!("stable has fewer than {wanted} samples in {window} to compare with")
            } else {
                format!("no data: {seen} samples in {window}, but no value yet")
            };
        }
        match code as i64 {
            -1 => format!(
                "no data: label {hash} missing on the series; set slos.selectBy: pod, or let Prometheus keep pod labels"
            ),
            -2 => format!("no traffic: the pods are scraped and have no {series} yet"),
            -3 => format!(
                "no data: target not scraped: Prometheus has {series} of other pods in this namespace, none of this version"
            ),
            -4 => format!(
                "no data: Prometheus has {series}, but none with this namespace in label {}",
                self.namespace_label
            ),
            -6 => "no data: target not scraped: Prometheus finds the pods and cannot reach them"
                .to_owned(),
            -7 => "no data: the pods are scraped, but the query finds nothing".to_owned(),
            _ => format!("no data: target not scraped: Prometheus has no {series} at all"),
        }
    }
}
