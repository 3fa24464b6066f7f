//! Metric providers: a question out, a value back. Each is split into a pure half that says what to
//! send and reads the reply, and an async half that sends it. Knows no Kubernetes, no conditions,
//! no clock of its own and no schedule.

pub mod address;
pub mod auth;
pub mod aws;
pub mod azure_monitor;
pub mod cloud_watch;
pub mod compare;
pub mod datadog;
pub mod dynatrace;
pub mod google;
pub mod google_cloud;
pub mod graphite;
pub mod history;
pub mod http;
pub mod influxdb;
pub mod kayenta;
pub mod kubernetes;
mod net;
pub mod new_relic;
pub mod plugin;
mod pool;
pub mod prometheus;
pub mod sky_walking;
pub mod splunk;
pub mod wavefront;
pub mod web;

pub use net::{Cluster, Net, PoolConfig, Trust};
pub use pool::Pool;

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use self::http::{Reply, Request};
use crate::api::providers::{MetricProvider, SecretRef};
use crate::planner::analysis::MetricValue;
use crate::planner::duration;

/// Longest error text that goes into a status, in bytes. It is ours: never a part of a reply.
pub const MAX_ERROR: usize = 256;
/// Longest reply that is read, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// One measurement that is to be made.
#[derive(Clone)]
pub struct Question {
    /// The provider, with arguments filled in.
    pub provider: MetricProvider,
    /// Keys of the provider's Secret, with their values.
    pub credentials: BTreeMap<String, String>,
    /// Namespace of the run.
    pub namespace: String,
    /// When it is asked.
    pub at: Timestamp,
    /// When the last question of this metric that had an answer was asked.
    pub since_last: Option<Timestamp>,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("namespace", &self.namespace)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Question {
    /// A key of the provider's Secret; `None` where it is absent or empty.
    fn credential(&self, key: &str) -> Option<&str> {
        self.credentials
            .get(key)
            .map(|v| v.trim())
            .filter(|v| !v.is_empty())
    }

    /// A key that must be there.
    fn needed(&self, key: &str) -> Result<&str, String> {
        self.credential(key)
            .ok_or_else(|| format!("the provider's Secret has no key {key}"))
    }

    /// The time `interval` before the question; five minutes where nothing else is said.
    fn since(&self, interval: Option<&str>) -> Result<Timestamp, String> {
        let text = interval.filter(|i| !i.is_empty()).unwrap_or("5m");
        let millis = duration::parse(text).ok().filter(|ms| *ms > 0);
        let millis = millis.ok_or("interval must be a duration such as 5m")?;
        self.at
            .checked_sub(SignedDuration::from_millis(millis))
            .map_err(|_| "interval is too long".to_owned())
    }
}

/// Who names an address that stands in a Secret: whoever may write that Secret.
fn trust_of(secret: Option<&SecretRef>) -> Trust {
    match secret.and_then(|s| s.namespaced) {
        Some(true) => Trust::Object,
        Some(false) | None => Trust::Operator,
    }
}

/// A text that must be there.
fn given<'a>(text: &'a Option<String>, field: &str) -> Result<&'a str, String> {
    text.as_deref()
        .filter(|t| !t.trim().is_empty())
        .ok_or_else(|| format!("{field} is empty"))
}

/// One kind of metric provider.
pub trait Provider: Send + Sync {
    /// Whether a metric asks this provider.
    fn is_asked(&self, provider: &MetricProvider) -> bool;
    /// Text that is equal for two questions which may share one answer.
    ///
    /// # Errors
    /// What is wrong with the question.
    fn identity(&self, net: &Net, asked: &Question) -> Result<String, String>;
    /// Asks. The caller holds the time limit.
    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>>;
}

/// A provider that is one request and one reply: both halves are pure.
pub trait Service: Send + Sync {
    /// Whether a metric asks this service.
    fn is_asked(&self, provider: &MetricProvider) -> bool;
    /// What is sent.
    ///
    /// # Errors
    /// What is missing in the metric or has no meaning.
    fn request(&self, asked: &Question) -> Result<Request, String>;
    /// Reads the reply.
    ///
    /// # Errors
    /// One sentence of ours, without a word of the reply.
    fn parse(&self, asked: &Question, reply: &Reply) -> Result<MetricValue, String>;
}

/// A [`Service`] as a [`Provider`].
pub(crate) struct Exchange<S>(S);

impl<S: Service> Provider for Exchange<S> {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        self.0.is_asked(provider)
    }

    fn identity(&self, _: &Net, asked: &Question) -> Result<String, String> {
        // The way a reply is read is part of the question.
        let request = self.0.request(asked)?.identity();
        let provider = serde_json::to_string(&asked.provider).unwrap_or_default();
        Ok(format!("{request}\n{provider}"))
    }

    fn measure<'a>(
        &'a self,
        net: &'a Net,
        asked: &'a Question,
    ) -> BoxFuture<'a, Result<MetricValue, String>> {
        async move {
            let request = self.0.request(asked)?;
            let reply = http::send(net, &request).await?;
            self.0.parse(asked, &reply)
        }
        .boxed()
    }
}

/// Every provider of this release; Jobs are objects, not questions (`planner/analysis/job.rs`).
pub(crate) static PROVIDERS: [&dyn Provider; 17] = [
    &prometheus::Prometheus,
    &Exchange(web::Web),
    &Exchange(datadog::Datadog),
    &Exchange(new_relic::NewRelic),
    &Exchange(wavefront::Wavefront),
    &Exchange(graphite::Graphite),
    &Exchange(influxdb::Influxdb),
    &Exchange(sky_walking::SkyWalking),
    &cloud_watch::CloudWatch,
    &kayenta::Kayenta,
    &Exchange(google_cloud::GoogleCloud),
    &Exchange(dynatrace::Dynatrace),
    &Exchange(azure_monitor::AzureMonitor),
    &Exchange(splunk::Splunk),
    &kubernetes::Kubernetes,
    &compare::Compare,
    &plugin::Plugin,
];

/// A sentence of at most [`MAX_ERROR`] bytes.
pub(crate) fn short(text: &str) -> String {
    if text.len() <= MAX_ERROR {
        return text.to_owned();
    }
    let mut end = MAX_ERROR.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
