//! What the controller tells of itself: turns, queues, calls, watches, and how it was built.

use std::collections::BTreeSet;
use std::fmt::Error;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::process::encode_process;
use super::{Labels, Sources, gauges, histograms, write_counter};
use crate::live::queue::QueueCounts;
use crate::live::stats::Stats;
use crate::live::stores::{Key, ObjectKey};

/// The kinds whose turns are told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Rollout,
    Run,
    Experiment,
}

impl Of {
    /// The object, where it is one of this kind.
    fn key(self, key: &Key) -> Option<&ObjectKey> {
        let (of, key) = match key {
            Key::Rollout(key) => (Self::Rollout, key),
            Key::Run(key) => (Self::Run, key),
            Key::Experiment(key) => (Self::Experiment, key),
            Key::Service(_) => return None,
        };
        (of == self).then_some(key)
    }
}

pub(super) fn encode_turns(e: &mut DescriptorEncoder<'_>, stats: &Stats) -> Result<(), Error> {
    let objects = stats.objects();
    fn label(key: &ObjectKey) -> Labels<'_> {
        vec![("namespace", &*key.namespace), ("name", &*key.name)]
    }
    // The contract's names of the errors have no `_total`, which the encoder would add to a counter.
    let kinds = [
        ("rollout_reconcile", "rollout_reconcile_error", Of::Rollout),
        (
            "analysis_run_reconcile",
            "analysis_run_reconcile_error",
            Of::Run,
        ),
        (
            "experiment_reconcile",
            "experiment_reconcile_error",
            Of::Experiment,
        ),
    ];
    for (durations, errors, of) in kinds {
        let all = || {
            objects
                .iter()
                .filter_map(move |(key, s)| Some((of.key(key)?, s)))
        };
        let help = "Duration of turns, in seconds.";
        histograms(
            e,
            (durations, help),
            all().map(|(k, s)| (label(k), &s.reconcile)),
        )?;
        let help = "Turns that failed.";
        let mut errors = e.encode_descriptor(errors, help, None, MetricType::Unknown)?;
        for (key, stats) in all().filter(|(_, s)| s.errors > 0) {
            errors
                .encode_family(&label(key))?
                .encode_gauge(&stats.errors)?;
        }
    }
    let rollouts = || {
        let all = objects.iter();
        all.filter_map(|(key, s)| Some((Of::Rollout.key(key)?, s)))
    };
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
    // One family has one head, however many outcomes there were.
    let durations = stats.durations();
    let names: BTreeSet<&str> = durations.keys().map(|(name, _)| *name).collect();
    for name in names {
        let of_name = durations.iter().filter(|((of, _), _)| *of == name);
        let all = of_name.map(|((_, outcome), h)| (vec![("status", outcome.as_str())], h));
        histograms(e, (name, "Duration of updates by outcome."), all)?;
    }
    Ok(())
}

pub(super) fn encode_controller(
    e: &mut DescriptorEncoder<'_>,
    sources: &Sources,
) -> Result<(), Error> {
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
        ("commit", option_env!("SERIN_COMMIT").unwrap_or_default()),
    ];
    gauges(e, ("build_info", "How this program was built."), one(build))?;
    let ages = sources
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
    for (name, health) in &sources.feeds {
        write_counter(&mut errors, &vec![("kind", *name)], health.errors())?;
    }
    let (rollouts, sets, runs) = sources.index.sizes();
    let kinds = [
        ("rollouts", rollouts),
        ("replicasets", sets),
        ("analysisruns", runs),
    ];
    let known = kinds.into_iter().map(|(kind, count)| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        (vec![("kind", kind)], f64::from(count))
    });
    gauges(
        e,
        (
            "serin_objects",
            "Objects in memory: with shards, those of the shards held.",
        ),
        known,
    )?;
    let mut dropped = e.encode_descriptor(
        "serin_events_dropped",
        "Events that were not written.",
        None,
        MetricType::Counter,
    )?;
    write_counter(
        &mut dropped,
        &Vec::new(),
        sources.dropped.load(Ordering::Relaxed),
    )?;
    encode_calls(e, sources)?;
    encode_queues(e, sources)?;
    encode_process(e, sources.started)
}

/// Calls of the API server by kind, verb and answer; namespace and name, which the contract has too,
/// would make a series for every object.
fn encode_calls(e: &mut DescriptorEncoder<'_>, sources: &Sources) -> Result<(), Error> {
    let mut metric = e.encode_descriptor(
        "controller_clientset_k8s_request",
        "Calls of the API server.",
        None,
        MetricType::Counter,
    )?;
    for ((kind, verb, status), count) in &sources.calls.all() {
        let status = status.to_string();
        let labels = vec![
            ("kind", kind.as_str()),
            ("verb", verb),
            ("status_code", status.as_str()),
        ];
        write_counter(&mut metric, &labels, *count)?;
    }
    Ok(())
}

/// Queues by the names that dashboards know.
fn encode_queues(e: &mut DescriptorEncoder<'_>, sources: &Sources) -> Result<(), Error> {
    let queues = sources.queue.counts();
    let depth = queues.iter().map(|(name, counts)| {
        let depth = u32::try_from(counts.depth).unwrap_or(u32::MAX);
        (vec![("name", *name)], f64::from(depth))
    });
    gauges(
        e,
        ("workqueue_depth", "Objects that wait for a turn."),
        depth,
    )?;
    type Count = fn(&QueueCounts) -> u64;
    let totals: [(&str, &str, Count); 2] = [
        ("workqueue_adds", "Objects put in the queue.", |c| c.adds),
        (
            "workqueue_retries",
            "Objects put back after a failure.",
            |c| c.retries,
        ),
    ];
    for (name, help, count) in totals {
        let mut metric = e.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (queue, counts) in &queues {
            write_counter(&mut metric, &vec![("name", *queue)], count(counts))?;
        }
    }
    Ok(())
}
