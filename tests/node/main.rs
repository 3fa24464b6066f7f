//! A small node for tests: it takes every pod, runs the example agent as a real process, and plays all other pods.
//!
//! There is no container runtime here. A pod whose image is an agent's (`example/agent:TAG`, or any `support-agent`)
//! becomes a local process on a loopback port, with the environment, arguments and probes of its container; its real
//! address is in the annotation `serin.dev/process-address`. Any other pod only looks as if it ran: see `script.rs`
//! for the annotations that say how.
//!
//! It prints `node ready: NAME` when pods are taken. An agent's behaviour comes from the environment of its
//! container, and where that says nothing from its image's tag (`program.rs`).

// The bans are the controller's: a node has a clock of its own.
#![allow(clippy::disallowed_methods)]

mod cluster;
mod life;
mod logs;
mod played;
#[allow(dead_code)] // The bench starts other things than a node does.
#[path = "../bench/ports.rs"]
mod ports;
mod probe;
#[allow(dead_code)] // As above.
#[path = "../bench/process.rs"]
mod process;
mod program;
mod script;
mod status;
mod targets;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_pods};
use kube::{Api, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;
use crate::life::Life;
use crate::targets::Targets;

/// What the node is told.
#[derive(Parser)]
#[command(
    name = "node",
    about = "A small Kubernetes node for tests: pods as local processes, or played"
)]
pub(crate) struct Flags {
    /// Kubeconfig of somebody who may bind, change and delete pods.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Name of the Node object; it is created when it is not there.
    #[arg(long, default_value = "node-1")]
    node_name: String,
    /// The program that agents' pods run.
    #[arg(long)]
    agent_binary: PathBuf,
    /// Longest time between two probes, whatever the pod says, so that tests need not wait.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    max_period: Duration,
    /// NAME=VALUE for every agent, where its pod says nothing else.
    #[arg(long = "agent-env")]
    agent_env: Vec<String>,
    /// Where the output of the agents goes, one file a pod.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("serin-node"))]
    log_dir: PathBuf,
    /// A file that tells Prometheus (`file_sd_configs`) which processes there are to scrape.
    #[arg(long)]
    targets: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    // Fails only when a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("node: {trouble:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::connect(flags).await?);
    cluster.register().await?;
    let targets = Targets::new(cluster.flags().targets.as_deref()).context("--targets")?;
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        () = serve(cluster, targets) => Ok(()),
        _ = term.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Follows all pods by one watch, and gives each of ours a life of its own.
async fn serve(cluster: Arc<Cluster>, targets: Targets) {
    let pods: Api<Pod> = Api::all(cluster.client().clone());
    let events = watch_pods(pods, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut lives = Lives {
        cluster,
        by_uid: HashMap::new(),
        round: 0,
        targets,
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => lives.take(event),
            Err(trouble) => eprintln!("node: watch: {trouble}"),
        }
    }
}

/// The pods that live here, by uid.
struct Lives {
    cluster: Arc<Cluster>,
    by_uid: HashMap<String, Life>,
    /// Counts lists, to tell which pods a new list no longer has.
    round: u64,
    targets: Targets,
}

impl Lives {
    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.round += 1,
            Event::InitApply(pod) | Event::Apply(pod) => self.see(pod),
            Event::Delete(pod) => self.forget(&pod.uid().unwrap_or_default()),
            Event::InitDone => {
                let is_old = |life: &Life| life.round != self.round;
                let gone = self.by_uid.iter().filter(|(_, life)| is_old(life));
                let gone: Vec<String> = gone.map(|(uid, _)| uid.clone()).collect();
                gone.iter().for_each(|uid| self.forget(uid));
                if self.round == 1 {
                    println!("node ready: {}", self.cluster.node_name());
                }
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
        self.targets.forget(uid);
    }

    fn see(&mut self, pod: Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if node.is_some_and(|node| node != self.cluster.node_name()) {
            return;
        }
        self.targets.see(&pod);
        let is_leaving = pod.metadata.deletion_timestamp.is_some();
        let uid = pod.uid().unwrap_or_default();
        let life = self
            .by_uid
            .entry(uid)
            .or_insert_with(|| Life::begin(&self.cluster, pod));
        life.round = self.round;
        if is_leaving {
            life.end();
        }
    }
}
