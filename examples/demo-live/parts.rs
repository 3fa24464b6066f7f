//! Starts the parts one by one and says so. Knows the order and the flags; knows nothing of rollouts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::bench::control_plane::{ControlPlane, Options};
use crate::bench::node::Node;
use crate::bench::ports::free_port;
use crate::bench::process::Process;
use crate::bench::prometheus::{PodLabels, Prometheus};
use crate::bench::{http, scratch};
use crate::follow::Follower;
use crate::story::is_healthy;

/// Everything that runs, in the order in which it is dropped.
pub(crate) struct Parts {
    /// Where logs and data are.
    pub(crate) dir: PathBuf,
    _serin: Process,
    prometheus: Prometheus,
    _node: Node,
    plane: ControlPlane,
    metrics: u16,
}

/// Starts all parts; the first version is not there yet.
pub(crate) fn start(parent: &Path) -> anyhow::Result<Parts> {
    let dir = scratch(parent, "demo")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    println!("Logs and data: {}", dir.display());
    let plane = said(
        "control plane: etcd, kube-apiserver, kube-controller-manager, and crds/",
        || {
            let options = Options {
                crds: Some(root.join("crds")),
                ..Options::default()
            };
            let plane = ControlPlane::start_with(&dir.join("plane"), options)?;
            plane.give_serin_its_rights()?;
            Ok(plane)
        },
    )?;
    let node = said("node: runs agents as processes", || {
        Ok(Node::start(&dir, &plane, "node-1", &[])?)
    })?;
    let prometheus = said("Prometheus: scrapes them every second", || {
        Ok(Prometheus::start(
            &dir.join("prometheus"),
            &plane,
            PodLabels::All,
        )?)
    })?;
    let (metrics, health) = (free_port(), free_port());
    let serin = said("serin controller", || {
        start_serin(&dir, &plane, &prometheus, metrics, health)
    })?;
    Ok(Parts {
        dir,
        _serin: serin,
        prometheus,
        _node: node,
        plane,
        metrics,
    })
}

fn start_serin(
    dir: &Path,
    plane: &ControlPlane,
    prometheus: &Prometheus,
    metrics: u16,
    health: u16,
) -> anyhow::Result<Process> {
    let mut command = Command::new(serin()?);
    command
        .args(["controller", "--leader-elect=false", "--kubeconfig"])
        .arg(&plane.serin.kubeconfig)
        .arg(format!("--prometheus={}", prometheus.url()))
        .arg(format!("--metrics-bind-address=127.0.0.1:{metrics}"))
        .arg(format!("--health-bind-address=127.0.0.1:{health}"));
    let mut process = Process::start("serin", &command, &dir.join("serin.log"))?;
    process.wait_until(Duration::from_secs(30), || {
        http::get(health, "/readyz").is_ok_and(|(code, _)| code == 200)
    })?;
    Ok(process)
}

/// The controller's binary, beside the folder of the examples.
fn serin() -> anyhow::Result<PathBuf> {
    let running = std::env::current_exe()?;
    let dirs = running.ancestors().skip(1).take(2);
    let found = dirs
        .map(|dir| dir.join("serin"))
        .find(|path| path.is_file());
    found.context("the binary serin is not built: run cargo build --bin serin")
}

/// Says what is being started, and how long it took.
fn said<T>(what: &str, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    println!("starting {what}");
    let begun = Instant::now();
    let part = start()?;
    println!("         {:.1} s", begun.elapsed().as_secs_f64());
    Ok(part)
}

/// Applies the first version and waits until it is Healthy and Prometheus scrapes it.
pub(crate) async fn first_version(parts: &Parts, follower: &mut Follower) -> anyhow::Result<()> {
    println!("starting the first version: examples/live/1-first.yaml");
    parts.apply("examples/live/namespace.yaml")?;
    parts.apply("examples/live/1-first.yaml")?;
    let limit = Instant::now() + Duration::from_secs(60);
    while !follower.scene().is_some_and(|scene| is_healthy(&scene)) {
        anyhow::ensure!(
            Instant::now() < limit,
            "the first version is not Healthy after 60 s; logs are in {}",
            parts.dir.display()
        );
        follower.burst().await;
    }
    while parts
        .prometheus
        .query("agent_tasks_total")
        .is_ok_and(|series| series.len() < 4)
    {
        anyhow::ensure!(
            Instant::now() < limit,
            "Prometheus does not scrape the agents after 60 s; logs are in {}",
            parts.dir.display()
        );
        follower.burst().await;
    }
    Ok(())
}

impl Parts {
    /// A client with all rights.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        // Fails only when it is installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let kubeconfig = Kubeconfig::read_from(&self.plane.admin.kubeconfig)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Client::try_from(config)?)
    }

    /// `kubectl apply -f FILE`; `file` from the top of the repository.
    pub(crate) fn apply(&self, file: &str) -> anyhow::Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(self.plane.apply(&text)?)
    }

    /// Where everything is, and what to try.
    pub(crate) fn how_to_play(&self) -> String {
        let kubectl = self.plane.kubectl();
        let bin = Path::new(kubectl.get_program());
        let bin = bin.parent().unwrap_or(Path::new("")).display();
        format!(
            "It stays up until Ctrl-C. In another terminal, from the top of the repository:

  export KUBECONFIG={kubeconfig}
  export PATH={bin}:$PATH
  kubectl config set-context --current --namespace astra-agents

  kubectl get ro -w                                          what the rollout does
  kubectl apply -f examples/live/2-good.yaml                 back to the good version, at once
  kubectl apply -f examples/live/3-failing.yaml              the failing one once more
  kubectl annotate ro support-agent serin.dev/promote=true   skip the pause; =full skips everything
  kubectl annotate ro support-agent serin.dev/abort='why'    roll back; serin.dev/retry=true tries again
  kubectl get ar -o yaml                                     what the gate measured
  kubectl events --for ro/support-agent                      what serin says

Prometheus             {prometheus}
metrics of serin       http://127.0.0.1:{metrics}/metrics
log of serin           {dir}/serin.log
logs of agents         {dir}/pods/
",
            kubeconfig = self.plane.admin.kubeconfig.display(),
            prometheus = self.prometheus.url(),
            metrics = self.metrics,
            dir = self.dir.display(),
        )
    }
}
