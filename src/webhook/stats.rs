//! What became of questions, for Prometheus.

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)]
enum Word {
    allowed,
    denied,
    shed,
    late,
    unreadable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    end: Word,
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Let in.
    Allowed,
    /// Refused, with faults.
    Denied,
    /// Not looked at: too many at once.
    Shed,
    /// No verdict in time.
    Late,
    /// It was no question, or too large.
    Unreadable,
}

/// Counters of one process.
#[derive(Debug)]
pub struct Stats {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    until: Gauge,
}

impl Default for Stats {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Labels, Counter>::default();
        let seconds = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let until = Gauge::default();
        registry.register(
            "serin_webhook_requests",
            "Questions of API servers, by how they ended",
            requests.clone(),
        );
        registry.register(
            "serin_webhook_request_duration_seconds",
            "How long questions took",
            seconds.clone(),
        );
        registry.register(
            "serin_webhook_certificate_not_after_timestamp_seconds",
            "When the certificate that serin made ends; 0 where it comes from files",
            until.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            until,
        }
    }
}

impl Stats {
    /// Counts one question and its milliseconds.
    pub fn ended(&self, end: End, millis: u64) {
        let end = match end {
            End::Allowed => Word::allowed,
            End::Denied => Word::denied,
            End::Shed => Word::shed,
            End::Late => Word::late,
            End::Unreadable => Word::unreadable,
        };
        self.requests.get_or_create(&Labels { end }).inc();
        let millis = u32::try_from(millis).unwrap_or(u32::MAX);
        self.seconds.observe(f64::from(millis) / 1000.0);
    }

    /// In OpenMetrics text.
    pub fn text(&self, until: Option<Timestamp>) -> String {
        self.until.set(until.map_or(0, Timestamp::as_second));
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be written");
        }
        text
    }
}
