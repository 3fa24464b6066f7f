//! `/metrics`: the names of contract §1.12, and our own (`serin_…`). Gauges are read from the
//! objects at the moment of the scrape, so that they cannot go stale and vanish with their object.

use std::fmt::{Debug, Error};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::events::Events;
use super::stats::{Histogram, Stats};
use super::stores::{Index, Key};
use super::watch::Health;
use crate::api::providers::MetricProvider;
use crate::api::{AnalysisRun, RolloutStatus};
use crate::planner::analysis::metric::provider_names;
use crate::planner::observed::RolloutSeen;
use crate::planner::reasons;

/// Everything that metrics are read from.
#[derive(Debug)]
pub struct Sources {
    /// Objects.
    pub index: Arc<Index>,
    /// Numbers of turns.
    pub stats: Arc<Stats>,
    /// Streams, by name.
    pub feeds: Vec<(&'static str, Arc<Health>)>,
    /// The event writer.
    pub events: Arc<Events>,
}

/// The registry that `/metrics` shows.
pub fn registry(sources: Sources) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(sources)));
    registry
}

#[derive(Debug)]
struct Metrics(Sources);

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        let rollouts = self.0.index.rollouts();
        encode_rollouts(encoder, &rollouts)?;
        encode_runs(encoder, &self.0.index.runs())?;
        self.encode_turns(encoder)?;
        self.encode_controller(encoder)
    }
}

fn of(seen: &RolloutSeen) -> Labels<'_> {
    vec![("namespace", &seen.namespace), ("name", &seen.name)]
}

/// One gauge per object.
fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = (Labels<'a>, f64)>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        write_gauge(&mut metric, &labels, value)?;
    }
    Ok(())
}

/// Whole numbers are written as such, as other exporters do.
fn write_gauge(metric: &mut MetricEncoder<'_>, labels: &Labels<'_>, v: f64) -> Result<(), Error> {
    let mut metric = metric.encode_family(labels)?;
    if v.fract() == 0.0 && v.abs() < 9e15 {
        #[allow(clippy::cast_possible_truncation)]
        metric.encode_gauge(&(v as i64))
    } else {
        metric.encode_gauge(&v)
    }
}

fn encode_rollouts(e: &mut DescriptorEncoder<'_>, all: &[RolloutSeen]) -> Result<(), Error> {
    let info = all.iter().map(|r| {
        let mut labels = of(r);
        labels.push(("strategy", "canary"));
        labels.push(("traffic_router", ""));
        labels.push(("phase", phase(&r.status)));
        (labels, 1.0)
    });
    gauges(e, ("rollout_info", "Information about rollouts."), info)?;
    let phases = all.iter().map(|r| {
        let mut labels = of(r);
        labels.push(("strategy", "canary"));
        labels.push(("phase", phase(&r.status)));
        (labels, 1.0)
    });
    gauges(
        e,
        (
            "rollout_phase",
            "Phase of rollouts (deprecated: use rollout_info).",
        ),
        phases,
    )?;
    type Count = fn(&RolloutSeen) -> Option<f64>;
    let counts: [(&str, &str, Count); 7] = [
        ("rollout_info_replicas_available", "Available pods.", |r| {
            number(r.status.available_replicas)
        }),
        (
            "rollout_info_replicas_unavailable",
            "Pods that are not available.",
            |r| {
                let available = r.status.available_replicas.unwrap_or(0);
                number(Some(
                    r.status
                        .replicas
                        .unwrap_or(0)
                        .saturating_sub(available)
                        .max(0),
                ))
            },
        ),
        ("rollout_info_replicas_desired", "Pods wanted.", |r| {
            r.spec.as_ref().ok().map(|s| f64::from(s.replicas))
        }),
        (
            "rollout_info_replicas_updated",
            "Pods of the version in spec.",
            |r| number(r.status.updated_replicas),
        ),
        (
            "serin_rollout_weight",
            "Percent of the pods that is the new version.",
            |r| number(r.status.serin.as_ref().and_then(|s| s.weight)),
        ),
        (
            "serin_rollout_step",
            "Index of the current step; the number of steps when done.",
            |r| number(r.status.current_step_index),
        ),
        ("serin_rollout_steps", "Number of steps.", |r| {
            let steps = r.spec.as_ref().ok()?.steps().len();
            u32::try_from(steps).ok().map(f64::from)
        }),
    ];
    for (name, help, count) in counts {
        let values = all.iter().filter_map(|r| Some((of(r), count(r)?)));
        gauges(e, (name, help), values)?;
    }
    Ok(())
}

fn number(value: Option<i64>) -> Option<f64> {
    value.and_then(|v| i32::try_from(v).ok()).map(f64::from)
}

/// The phase as metrics tell it (contract M3).
fn phase(status: &RolloutStatus) -> &'static str {
    let is = |kind: &str, reason: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.reason.as_deref() == Some(reason))
    };
    let has = |kind: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.status == "True")
    };
    if has(reasons::INVALID_SPEC) {
        "InvalidSpec"
    } else if is(reasons::PROGRESSING, reasons::ROLLOUT_ABORTED) {
        "Abort"
    } else if is(reasons::PROGRESSING, reasons::DEADLINE_EXCEEDED) {
        "Timeout"
    } else if is(reasons::PROGRESSING, reasons::RS_CREATE_ERROR) || has(reasons::REPLICA_FAILURE) {
        "Error"
    } else {
        match status.phase.as_deref() {
            Some("Paused") => "Paused",
            Some("Healthy") => "Completed",
            Some(_) | None => "Progressing",
        }
    }
}

fn encode_runs(e: &mut DescriptorEncoder<'_>, runs: &[Arc<AnalysisRun>]) -> Result<(), Error> {
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
        let owners = run.metadata.owner_references.iter().flatten();
        let rollout = owners
            .filter(|o| o.controller == Some(true))
            .map(|o| o.name.as_str())
            .next();
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

impl Metrics {
    fn encode_turns(&self, e: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let objects = self.0.stats.objects();
        let rollouts = || {
            objects.iter().filter_map(|(key, stats)| match key {
                Key::Rollout(key) => Some((key, stats)),
                Key::Run(_) | Key::Service(_) | Key::Experiment(_) => None,
            })
        };
        let runs = || {
            objects.iter().filter_map(|(key, stats)| match key {
                Key::Run(key) => Some((key, stats)),
                Key::Rollout(_) | Key::Service(_) | Key::Experiment(_) => None,
            })
        };
        fn label(key: &super::stores::ObjectKey) -> Labels<'_> {
            vec![("namespace", &*key.namespace), ("name", &*key.name)]
        }
        let help = "Duration of turns, in seconds.";
        histograms(
            e,
            ("rollout_reconcile", help),
            rollouts().map(|(k, s)| (label(k), &s.reconcile)),
        )?;
        histograms(
            e,
            ("analysis_run_reconcile", help),
            runs().map(|(k, s)| (label(k), &s.reconcile)),
        )?;
        // The contract's names of these two counters have no `_total`, which the encoder would add.
        let mut errors = e.encode_descriptor(
            "rollout_reconcile_error",
            "Turns of rollouts that failed.",
            None,
            MetricType::Unknown,
        )?;
        for (key, stats) in rollouts().filter(|(_, s)| s.errors > 0) {
            errors
                .encode_family(&label(key))?
                .encode_gauge(&stats.errors)?;
        }
        let mut errors = e.encode_descriptor(
            "analysis_run_reconcile_error",
            "Turns of analysis runs that failed.",
            None,
            MetricType::Unknown,
        )?;
        for (key, stats) in runs().filter(|(_, s)| s.errors > 0) {
            errors
                .encode_family(&label(key))?
                .encode_gauge(&stats.errors)?;
        }
        let mut events = e.encode_descriptor(
            "rollout_events",
            "Events of rollouts.",
            None,
            MetricType::Counter,
        )?;
        for (key, stats) in rollouts() {
            for ((kind, reason), count) in &stats.events {
                let mut labels = label(key);
                labels.push(("type", kind));
                labels.push(("reason", reason));
                write_counter(&mut events, &labels, *count)?;
            }
        }
        for ((name, outcome), histogram) in &self.0.stats.durations() {
            let labels = vec![("status", outcome.as_str())];
            histograms(
                e,
                (name, "Duration of updates by outcome."),
                [(labels, histogram)].into_iter(),
            )?;
        }
        Ok(())
    }

    fn encode_controller(&self, e: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        let one = |labels| [(labels, 1.0)].into_iter();
        gauges(
            e,
            (
                "argo_rollouts_controller_info",
                "Version of the controller.",
            ),
            one(vec![("version", version)]),
        )?;
        let build = vec![
            ("version", version),
            ("goversion", ""),
            ("goarch", std::env::consts::ARCH),
            ("commit", ""),
        ];
        gauges(e, ("build_info", "How this program was built."), one(build))?;
        let ages = self
            .0
            .feeds
            .iter()
            .map(|(n, h)| (vec![("kind", *n)], h.age().as_secs_f64()));
        gauges(
            e,
            (
                "serin_watch_age_seconds",
                "Time since a watch was last heard.",
            ),
            ages,
        )?;
        let mut errors = e.encode_descriptor(
            "serin_watch_errors",
            "Errors of watches.",
            None,
            MetricType::Counter,
        )?;
        for (name, health) in &self.0.feeds {
            write_counter(&mut errors, &vec![("kind", *name)], health.errors())?;
        }
        let mut dropped = e.encode_descriptor(
            "serin_events_dropped",
            "Events that were not written.",
            None,
            MetricType::Counter,
        )?;
        write_counter(&mut dropped, &Vec::new(), self.0.events.dropped())?;
        encode_process(e)
    }
}

fn write_counter(m: &mut MetricEncoder<'_>, labels: &Labels<'_>, count: u64) -> Result<(), Error> {
    if labels.is_empty() {
        m.encode_counter::<NoLabelSet, _, f64>(&count, None::<&Exemplar<NoLabelSet, f64>>)
    } else {
        m.encode_family(labels)?
            .encode_counter::<NoLabelSet, _, f64>(&count, None::<&Exemplar<NoLabelSet, f64>>)
    }
}

fn histograms<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    all: impl Iterator<Item = (Labels<'a>, &'a Histogram)>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in all {
        let (sum, count, buckets) = histogram.parts();
        metric
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

/// Memory and processor time of this process, where the system tells them (Linux).
fn encode_process(e: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    if let Some(bytes) = resident_bytes() {
        let values = [(Vec::new(), bytes)].into_iter();
        let mut metric = e.encode_descriptor(
            "process_resident_memory_bytes",
            "Resident memory.",
            None,
            MetricType::Gauge,
        )?;
        for (_, value) in values as std::array::IntoIter<(Labels<'_>, f64), 1> {
            metric.encode_gauge(&value)?;
        }
    }
    if let Some(seconds) = cpu_seconds() {
        let mut metric = e.encode_descriptor(
            "process_cpu_seconds",
            "Processor time, user and system.",
            None,
            MetricType::Counter,
        )?;
        metric.encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
    }
    Ok(())
}

fn resident_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces; the fields after it do not.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    // Linux counts these in hundredths of a second for every program.
    Some((user + system) / 100.0)
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

    #[test]
    fn the_process_tells_its_memory() {
        assert!(resident_bytes().is_some_and(|b| b > 1e5));
        assert!(cpu_seconds().is_some());
    }
}
