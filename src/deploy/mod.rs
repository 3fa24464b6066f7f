//! serin's own manifests as text: what `serin deploy` prints and `deploy/` holds. Pure: an [`Install`] in,
//! YAML out. Whoever gives the controller a new right adds it to the table in `rights`.

mod dashboard;
pub mod install;
mod monitoring;
mod network;
pub mod rights;
pub mod webhook;
mod workload;

pub use dashboard::dashboard;
pub use install::Install;
pub use monitoring::alerts;

/// A part of the manifests; each is one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Namespace, whose pods must meet the restricted Pod Security Standard.
    Namespace,
    /// ServiceAccount, roles and bindings of the controller.
    Rbac,
    /// Roles of the people who use Rollouts, added to view, edit and admin.
    Roles,
    /// NetworkPolicies: nothing in or out but what is needed.
    Network,
    /// Deployment, PodDisruptionBudget and the Service of the metrics.
    Deployments,
    /// The admission webhook: everything of it, and the configuration that leads to it.
    Webhook,
    /// ServiceMonitor, PrometheusRule and the dashboard: for the Prometheus operator and Grafana.
    Monitoring,
}

impl Part {
    /// What every installation has, in the order in which it is applied.
    pub const USUAL: [Self; 5] = [
        Self::Namespace,
        Self::Rbac,
        Self::Roles,
        Self::Network,
        Self::Deployments,
    ];

    /// Name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Namespace => "namespace.yaml",
            Self::Rbac => "rbac.yaml",
            Self::Roles => "roles.yaml",
            Self::Network => "network.yaml",
            Self::Deployments => "deployment.yaml",
            Self::Webhook => "webhook.yaml",
            Self::Monitoring => "monitoring.yaml",
        }
    }

    /// Its manifests: YAML documents separated by `---`.
    pub fn render(self, install: &Install) -> String {
        let documents = match self {
            Self::Namespace => vec![workload::namespace(install)],
            Self::Rbac => rights::of_the_controller(install),
            Self::Roles => rights::of_people(install),
            Self::Network => network::policies(install),
            Self::Deployments => workload::documents(install),
            Self::Webhook => webhook::documents(install),
            Self::Monitoring => monitoring::documents(install),
        };
        documents.join("---\n")
    }

    /// Whether an installation has it: a namespaced one adds nothing to the whole cluster.
    pub fn is_part_of(self, install: &Install) -> bool {
        match self {
            Self::Namespace | Self::Roles | Self::Webhook => !install.is_namespaced,
            Self::Rbac | Self::Network | Self::Deployments | Self::Monitoring => true,
        }
    }
}

/// A text as a YAML scalar, whatever is in it: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Every line indented by `by` spaces; ends with a line break unless it is empty.
fn indented(by: usize, text: &str) -> String {
    let pad = " ".repeat(by);
    text.lines().map(|line| format!("{pad}{line}\n")).collect()
}

#[cfg(test)]
mod tests;
