//! `serin deploy`: prints serin's own manifests, or writes them to files. What they say is in `deploy`.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::crds;
use crate::deploy::{Install, Part, dashboard};

/// Print serin's own manifests for `kubectl apply -f -`, or write them to a folder.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to print
    #[arg(value_enum, value_name = "PART")]
    pub what: What,
    /// Namespace of the controller
    #[arg(long, short = 'n', default_value = "serin-system", value_name = "NAME")]
    pub namespace: String,
    /// The controller looks at its own namespace only, and gets no right beyond it
    #[arg(long)]
    pub namespaced: bool,
    /// Number of controllers; one leads, the others stand by, unless --shards lets all of them work
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    pub replicas: u32,
    /// Divide the namespaces among all controllers, into so many shards, each under a Lease of its own
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub shards: u32,
    /// Image of the controller; best by digest
    #[arg(long, default_value_t = Install::default().image, value_name = "IMAGE")]
    pub image: String,
    /// The Prometheus that `slos` ask when they name none
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// Look only at Rollouts with this instance id
    #[arg(long, value_name = "ID")]
    pub instance_id: Option<String>,
    /// PriorityClass of the pods, such as system-cluster-critical
    #[arg(long, value_name = "NAME")]
    pub priority_class: Option<String>,
    /// Namespace of Prometheus: it may scrape the controller, and be asked by it
    #[arg(long, default_value = "monitoring", value_name = "NAME")]
    pub monitoring_namespace: String,
    /// Address of the API server for the NetworkPolicy; may be given several times; default: anywhere, ports 443, 6443
    #[arg(long = "api-server", value_name = "CIDR")]
    pub api_servers: Vec<String>,
    /// A Secret that analyses take credentials from, and that the controller may read; may be given several times
    #[arg(long = "secret", value_name = "NAMESPACE/NAME")]
    pub secrets: Vec<String>,
    /// A ConfigMap that analyses take arguments from, and that the controller may read; may be given several times
    #[arg(long = "config-map", value_name = "NAMESPACE/NAME")]
    pub config_maps: Vec<String>,
    /// A namespace whose Rollouts may track ConfigMaps and Secrets (serin.dev/track-config): the controller may
    /// read and copy them there; may be given several times
    #[arg(long = "track-config", value_name = "NAMESPACE")]
    pub track_config: Vec<String>,
    /// generate-all: with the admission webhook
    #[arg(long)]
    pub webhook: bool,
    /// What the API server cannot ask the webhook about is refused, not let in
    #[arg(long)]
    pub webhook_fail_closed: bool,
    /// generate-all: with the ServiceMonitor, alerts and dashboard, which need the Prometheus operator
    #[arg(long)]
    pub monitoring: bool,
    /// Write files into this folder instead of printing
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

/// Parts of the manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum What {
    /// Everything but the monitoring, in the order in which it is applied
    GenerateAll,
    /// The Namespace
    GenerateNamespace,
    /// The CustomResourceDefinitions
    GenerateCrds,
    /// ServiceAccount, roles and bindings of the controller, and the roles of people
    GenerateRbac,
    /// Only the roles of people, which are added to view, edit and admin
    GenerateRoles,
    /// NetworkPolicies
    GenerateNetwork,
    /// Deployment, PodDisruptionBudget, Service
    GenerateDeployments,
    /// The admission webhook: Deployment, Service, rights, and the configuration that leads to it
    GenerateWebhook,
    /// ServiceMonitor, PrometheusRule and dashboard for the Prometheus operator and Grafana
    GenerateMonitoring,
    /// The Grafana dashboard alone, as JSON to import
    GenerateDashboard,
}

/// Prints the manifests as one stream, or writes one file for each part.
///
/// # Errors
/// When a flag makes no sense (all of them are told), or the files or standard output cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let install = install(args);
    let faults = install.faults();
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n       "));
    let is_webhook = args.webhook || args.what == What::GenerateWebhook;
    anyhow::ensure!(
        !(is_webhook && args.namespaced),
        "a webhook belongs to the whole cluster: leave out --namespaced, or the webhook"
    );
    let mut more = Vec::new();
    if args.webhook {
        more.push(Part::Webhook);
    }
    if args.monitoring {
        more.push(Part::Monitoring);
    }
    let files = files(args.what, &more, &install)?;
    if let Some(dir) = &args.output_dir {
        return files
            .iter()
            .try_for_each(|(name, text)| write(dir, name, text));
    }
    let texts: Vec<String> = files.into_iter().map(|(_, text)| text).collect();
    match io::stdout().write_all(texts.join("---\n").as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("cannot print the manifests"),
    }
}

fn install(args: &Args) -> Install {
    let Args {
        what: _,
        namespace,
        namespaced,
        replicas,
        shards,
        image,
        prometheus,
        instance_id,
        priority_class,
        monitoring_namespace,
        api_servers,
        secrets,
        config_maps,
        track_config,
        webhook: _,
        webhook_fail_closed,
        monitoring: _,
        output_dir: _,
    } = args.clone();
    Install {
        namespace,
        is_namespaced: namespaced,
        replicas,
        shards,
        image,
        prometheus,
        instance_id,
        priority_class,
        monitoring_namespace,
        api_servers,
        secrets,
        config_maps,
        track_config,
        webhook_fails_closed: webhook_fail_closed,
    }
}

/// The files of what was asked for, by name.
fn files(what: What, more: &[Part], install: &Install) -> anyhow::Result<Vec<(String, String)>> {
    let rendered = |parts: &[Part]| -> Vec<(String, String)> {
        let parts = parts.iter().filter(|part| part.is_part_of(install));
        parts
            .map(|part| (part.file().to_owned(), part.render(install)))
            .collect()
    };
    let definitions = || -> anyhow::Result<Vec<(String, String)>> {
        Ok(crds::files()?
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text))
            .collect())
    };
    Ok(match what {
        What::GenerateAll => {
            let mut all = definitions()?;
            all.extend(rendered(&Part::USUAL));
            all.extend(rendered(more));
            all
        }
        What::GenerateCrds => definitions()?,
        What::GenerateNamespace => rendered(&[Part::Namespace]),
        What::GenerateRbac => rendered(&[Part::Rbac, Part::Roles]),
        What::GenerateRoles => rendered(&[Part::Roles]),
        What::GenerateNetwork => rendered(&[Part::Network]),
        What::GenerateDeployments => rendered(&[Part::Deployments]),
        What::GenerateWebhook => rendered(&[Part::Webhook]),
        What::GenerateMonitoring => rendered(&[Part::Monitoring]),
        What::GenerateDashboard => {
            vec![("dashboard.json".to_owned(), format!("{:#}\n", dashboard()))]
        }
    })
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
