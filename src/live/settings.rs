//! What the operator told the controller, with defaults applied.

use std::net::SocketAddr;

use super::lease::Election;
use crate::api::{INSTANCE_ID, POD_HASH_LABEL};

/// Settings of one controller process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Only this namespace is looked at; all of them when `None`.
    pub namespace: Option<String>,
    /// Only objects that carry this instance id; those that carry none when `None`.
    pub instance_id: Option<String>,
    /// Leader election, unless this process runs alone.
    pub election: Option<Election>,
    /// Shards that replicas divide among them; 1 when one leader does everything.
    pub shards: u32,
    /// Address of Prometheus for `slos` that name none.
    pub prometheus: Option<String>,
    /// Where metrics are served.
    pub metrics_address: SocketAddr,
    /// Where health is served.
    pub health_address: SocketAddr,
    /// Turns at the same time.
    pub concurrency: usize,
    /// Namespace of the controller: where the Secrets of metric providers are.
    pub own_namespace: String,
    /// Lines of a Job's log that its measurement keeps; 0 for none.
    pub job_log_lines: u16,
    /// Name of this process in events.
    pub instance: String,
}

impl Settings {
    /// Label selector for Rollouts and AnalysisRuns (contract H2).
    pub fn instance_selector(&self) -> String {
        match &self.instance_id {
            Some(id) => format!("{INSTANCE_ID}={id}"),
            None => format!("!{INSTANCE_ID}"),
        }
    }

    /// Label selector for ReplicaSets: only those of Rollouts.
    pub fn set_selector(&self) -> String {
        POD_HASH_LABEL.to_owned()
    }
}
