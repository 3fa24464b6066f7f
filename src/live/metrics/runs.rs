//! Analysis runs and templates: phases, what they measure, and the newest values.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Labels, gauges};
use crate::api::providers::MetricProvider;
use crate::api::{AnalysisRun, controller_of};
use crate::live::stores::ObjectKey;
use crate::live::templates::Measured;
use crate::planner::analysis::metric::provider_names;

/// The phases that `analysis_run_phase` tells of, each as 0 or 1 (contract M9).
const PHASES: [&str; 6] = [
    "Pending",
    "Running",
    "Successful",
    "Failed",
    "Error",
    "Inconclusive",
];

pub(super) fn encode_runs(
    e: &mut DescriptorEncoder<'_>,
    runs: &[Arc<AnalysisRun>],
) -> Result<(), Error> {
    let info = runs.iter().map(|r| {
        let mut labels = of_run(r);
        let phase = r.status.as_ref().and_then(|s| s.phase.as_deref());
        labels.push(("phase", phase.unwrap_or("Pending")));
        (labels, 1.0)
    });
    gauges(
        e,
        ("analysis_run_info", "Information about analysis runs."),
        info,
    )?;
    let phases = runs.iter().flat_map(|r| {
        let now = r.status.as_ref().and_then(|s| s.phase.as_deref());
        PHASES.into_iter().map(move |phase| {
            let mut labels = of_run(r);
            labels.push(("phase", phase));
            let is = phase == now.unwrap_or("Pending");
            (labels, f64::from(u8::from(is)))
        })
    });
    gauges(
        e,
        (
            "analysis_run_phase",
            "Whether a run is in a phase, 0 or 1 (deprecated: use analysis_run_info).",
        ),
        phases,
    )?;
    let types = runs.iter().flat_map(|r| {
        r.spec.metrics.iter().flatten().map(|m| {
            let mut labels = of_run(r);
            labels.push(("metric", &m.name));
            labels.push(("type", provider(&m.provider)));
            (labels, 1.0)
        })
    });
    gauges(
        e,
        ("analysis_run_metric_type", "Type of each metric of a run."),
        types,
    )?;
    let results = || {
        runs.iter().flat_map(|r| {
            let results = r.status.as_ref().and_then(|s| s.metric_results.as_ref());
            results.into_iter().flatten().map(move |m| (r, m))
        })
    };
    let phases = results().map(|(run, m)| {
        let mut labels = of_run(run);
        let kind = run
            .spec
            .metrics
            .iter()
            .flatten()
            .find(|spec| spec.name == m.name);
        labels.push(("metric", &m.name));
        labels.push(("type", kind.map_or("", |k| provider(&k.provider))));
        labels.push((
            "dry_run",
            if m.dry_run == Some(true) {
                "true"
            } else {
                "false"
            },
        ));
        labels.push(("phase", &m.phase));
        (labels, 1.0)
    });
    gauges(
        e,
        (
            "analysis_run_metric_phase",
            "Phase of each metric of a run.",
        ),
        phases,
    )?;
    let values = results().filter_map(|(run, m)| {
        // Only what is measured now: a finished run's last value says nothing about today.
        if run
            .status
            .as_ref()
            .is_some_and(|s| s.completed_at.is_some())
        {
            return None;
        }
        let value = m
            .measurements
            .iter()
            .flatten()
            .rev()
            .find_map(|x| first(x.value.as_deref()?))?;
        let rollout = controller_of(&run.metadata).map(|o| o.name.as_str());
        let mut labels = of_run(run);
        labels.push(("rollout", rollout.unwrap_or_default()));
        labels.push(("objective", &m.name));
        Some((labels, value))
    });
    gauges(
        e,
        (
            "serin_slo_value",
            "Newest measured value of each objective under way.",
        ),
        values,
    )
}

fn of_run(run: &AnalysisRun) -> Labels<'_> {
    let text = |t: &'_ Option<String>| t.as_deref().unwrap_or_default().to_owned();
    debug_assert!(!text(&run.metadata.name).is_empty());
    vec![
        (
            "namespace",
            run.metadata.namespace.as_deref().unwrap_or_default(),
        ),
        ("name", run.metadata.name.as_deref().unwrap_or_default()),
    ]
}

/// The first number of a measurement's value: `0.97`, `[0.97]`, `[0.97 0.5]`.
fn first(value: &str) -> Option<f64> {
    let inner = value.trim().trim_start_matches('[').trim_end_matches(']');
    inner
        .split([',', ' '])
        .find(|t| !t.is_empty())?
        .parse()
        .ok()
}

/// The type's name as metrics tell it (contract P16).
fn provider(provider: &MetricProvider) -> &'static str {
    provider_names(provider)
        .first()
        .copied()
        .unwrap_or_default()
}

/// Templates, those of the cluster without a namespace.
pub(super) fn encode_templates(
    e: &mut DescriptorEncoder<'_>,
    all: &[(ObjectKey, Measured)],
) -> Result<(), Error> {
    fn of(key: &ObjectKey) -> Labels<'_> {
        vec![("namespace", &*key.namespace), ("name", &*key.name)]
    }
    let info = all.iter().map(|(key, _)| (of(key), 1.0));
    gauges(
        e,
        (
            "analysis_template_info",
            "Information about analysis templates.",
        ),
        info,
    )?;
    let metrics = all.iter().flat_map(|(key, metrics)| {
        metrics.iter().map(move |(name, kind)| {
            let mut labels = of(key);
            labels.push(("type", kind));
            labels.push(("metric", name));
            (labels, 1.0)
        })
    });
    gauges(
        e,
        (
            "analysis_template_metric_info",
            "What each analysis template measures, and with what.",
        ),
        metrics,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_measurements_are_numbers_or_lists() {
        assert_eq!(first("0.97"), Some(0.97));
        assert_eq!(first("[0.97]"), Some(0.97));
        assert_eq!(first("[1,2]"), Some(1.0));
        assert_eq!(first("[]"), None);
        assert_eq!(first("null"), None);
    }
}
