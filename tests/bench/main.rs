//! Keeps a control plane, a node and a Prometheus up until it is told to stop (Ctrl-C, SIGTERM), for playing and
//! for scripts: prints one line of JSON that says where everything is.
//!
//! ```sh
//! tests/control-plane/install.sh && tests/control-plane/build.sh
//! cargo build --examples
//! target/debug/examples/bench --crds crds --agent-env AGENT_SELF_LOAD=10
//! ```

// The bans are the controller's: this program waits for others by the clock.
#![allow(clippy::disallowed_methods)]

#[path = "mod.rs"]
mod bench;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::control_plane::{ControlPlane, Options};
use crate::bench::node::Node;
use crate::bench::prometheus::{PodLabels, Prometheus};
use crate::bench::scratch;

#[derive(Parser)]
#[command(
    name = "bench",
    about = "Keeps a real control plane, a node and a Prometheus up"
)]
struct Flags {
    /// Where logs, data and kubeconfigs go; a directory of this run is made in it.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("serin-bench"))]
    dir: PathBuf,
    /// A directory of CustomResourceDefinitions to apply before anything else (`crds`).
    #[arg(long)]
    crds: Option<PathBuf>,
    /// Manifests to apply once all is up, as `kubectl apply -f` takes them.
    #[arg(long)]
    apply: Vec<PathBuf>,
    /// NAME=VALUE for every agent, where its pod says nothing else.
    #[arg(long)]
    agent_env: Vec<String>,
    /// A Prometheus that knows pods by name only, not by their labels.
    #[arg(long)]
    no_pod_labels: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("bench: {trouble:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> anyhow::Result<()> {
    // Before anything is started, so that a stop during the start ends all of it too.
    let mut term = signal(SignalKind::terminate())?;
    let dir = scratch(&flags.dir, "bench")?;
    let _all = start(flags, &dir)?;
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

/// In the order in which they are dropped.
type Parts = (Prometheus, Node, ControlPlane);

fn start(flags: &Flags, dir: &Path) -> anyhow::Result<Parts> {
    let begun = Instant::now();
    let options = Options {
        crds: flags.crds.clone(),
        ..Options::default()
    };
    let plane = ControlPlane::start_with(&dir.join("plane"), options)?;
    let plane_seconds = begun.elapsed().as_secs_f64();
    plane.let_serin_do_everything()?;
    let args = flags
        .agent_env
        .iter()
        .flat_map(|pair| ["--agent-env", pair]);
    let node = Node::start(dir, &plane, "node-1", &args.collect::<Vec<_>>())?;
    let labels = if flags.no_pod_labels {
        PodLabels::NameOnly
    } else {
        PodLabels::All
    };
    let prometheus = Prometheus::start(&dir.join("prometheus"), &plane, labels)?;
    for file in &flags.apply {
        plane.apply(&std::fs::read_to_string(file)?)?;
    }
    let places = json!({
        "dir": dir,
        "apiserver": plane.url,
        "kubeconfig": plane.admin.kubeconfig,
        "serinKubeconfig": plane.serin.kubeconfig,
        "auditLog": plane.audit_log(),
        "kubectl": plane.kubectl().get_program().display().to_string(),
        "prometheus": prometheus.url(),
        "planeSeconds": plane_seconds,
        "seconds": begun.elapsed().as_secs_f64(),
    });
    println!("{places}");
    Ok((prometheus, node, plane))
}
