//! `/metrics`: the names of contract §1.12, and our own (`serin_…`). Gauges are read from the
//! objects at the moment of the scrape, so that they cannot go stale and vanish with their object.

use std::fmt::{Debug, Error};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::calls::Calls;
use super::queue::Queue;
use super::stats::{Histogram, Stats};
use super::stores::{Index, Key};
use super::templates::Templates;
use super::watch::Health;

mod controller;
mod experiments;
mod process;
mod rollouts;
mod runs;

/// Everything that metrics are read from.
#[derive(Debug, Default)]
pub struct Sources {
    /// Objects.
    pub index: Arc<Index>,
    /// Templates of namespaces and of the cluster.
    pub templates: [Arc<Templates>; 2],
    /// Numbers of turns.
    pub stats: Arc<Stats>,
    /// Who waits for a turn.
    pub queue: Arc<Queue<Key>>,
    /// Calls of the API server.
    pub calls: Arc<Calls>,
    /// Streams, by name.
    pub feeds: Vec<(&'static str, Arc<Health>)>,
    /// Events that were not written.
    pub dropped: Arc<AtomicU64>,
    /// When the process began, in seconds since 1970.
    pub started: f64,
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
        let (e, sources) = (&mut encoder, &self.0);
        rollouts::encode_rollouts(e, &sources.index.rollouts(rollouts::Row::of))?;
        runs::encode_runs(e, &sources.index.runs())?;
        experiments::encode_experiments(e, &sources.index.experiments())?;
        let templates: Vec<_> = sources.templates.iter().flat_map(|t| t.all()).collect();
        runs::encode_templates(e, &templates)?;
        controller::encode_turns(e, &sources.stats)?;
        controller::encode_controller(e, sources)
    }
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

#[cfg(test)]
mod tests;
