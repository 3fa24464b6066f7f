//! Metric providers: a question out, a value back. Each is split into a pure half that says what to
//! send and reads the reply, and an async half that sends it. Knows no Kubernetes, no conditions,
//! no clock of its own and no schedule.

pub mod address;
mod pool;
pub mod prometheus;

pub use pool::{Pool, PoolConfig};

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// Longest error text that goes into a status, in bytes. It is ours: never a part of a reply.
pub const MAX_ERROR: usize = 256;
/// Longest reply that is read, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// One kind of metric provider.
pub trait Provider: Send + Sync {
    /// Whether a metric asks this provider.
    fn is_asked(&self, provider: &MetricProvider) -> bool;
    /// Text that is equal for two questions which may share one answer.
    ///
    /// # Errors
    /// What is wrong with the question.
    fn identity(&self, provider: &MetricProvider, at: Timestamp) -> Result<String, String>;
    /// Asks. The caller holds the time limit.
    fn measure<'a>(
        &'a self,
        net: &'a pool::Net,
        provider: &'a MetricProvider,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<MetricValue, String>>;
}

/// Every provider of this release.
pub(crate) static PROVIDERS: [&dyn Provider; 1] = [&prometheus::Prometheus];

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
