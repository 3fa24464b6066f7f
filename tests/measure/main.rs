//! What `make bench` runs: measures the release binary of the controller on a real control plane, part by part,
//! and prints a table and one line of JSON. docs/performance.md keeps what it printed.
//!
//! ```sh
//! make bench                                    # everything but the parts that take minutes to set up
//! target/debug/examples/measure --part updates --count 50 --runs 1
//! target/debug/examples/measure --part index    # 2,000 Rollouts with 11 ReplicaSets each
//! ```
//! It fails when a value is over the limit that the project has set for it (docs/performance.md).
//! Each part has a control plane of its own and ends by itself. Pods are played by the node of the tests and are
//! ready as soon as they are bound, so what is measured is the control plane and the controller.

// The bans are the controller's: this program measures time.
#![allow(clippy::disallowed_methods)]

#[path = "../bench/mod.rs"]
mod bench;

mod analysis;
mod audit;
mod load;
mod parts;
mod report;
mod stage;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::report::Report;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Size of the binary; time from its start to `/healthz` and `/readyz`.
    Start,
    /// Memory, CPU and writes while nothing happens, with 0, 100 and 1,000 Rollouts.
    Idle,
    /// A new image for all Rollouts at once, in two weight steps.
    Updates,
    /// The same with Deployments, which Kubernetes updates itself.
    Deployments,
    /// As `updates`, with four times as many Rollouts of one replica.
    Many,
    /// Memory with 2,000 Rollouts and 11 ReplicaSets each, 3 KB a template.
    Index,
    /// 1,000 AnalysisRuns that ask one Prometheus every 5 s, twice each query.
    Analysis,
}

#[derive(Parser)]
#[command(name = "measure", about = "Measures serin on a real control plane")]
pub(crate) struct Flags {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [Part::Start, Part::Idle, Part::Updates, Part::Deployments])]
    part: Vec<Part>,
    /// The program to measure.
    #[arg(long, default_value = "target/release/serin")]
    binary: PathBuf,
    /// Rollouts (or Deployments) that are updated at once.
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Times that an update is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Numbers of Rollouts to be idle with.
    #[arg(long, value_delimiter = ',', default_value = "0,100,1000")]
    idle: Vec<usize>,
    /// How long each idle controller is watched.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    idle_for: Duration,
    /// Longest time that any one thing is waited for.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    limit: Duration,
    /// Where logs and data go; a directory of this run is made in it.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("serin-measure"))]
    dir: PathBuf,
    /// Also write the JSON here.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |v| v.get_name()))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    // Fails only when a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(&flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("measure: {trouble:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> anyhow::Result<()> {
    let dir = bench::scratch(&flags.dir, "measure")?;
    let mut report = Report::new();
    for (number, part) in flags.part.iter().enumerate() {
        report.begin(&part.to_string());
        let dir = dir.join(format!("{number}-{part}"));
        match part {
            Part::Start => parts::start(flags, &dir, &mut report).await?,
            Part::Idle => parts::idle(flags, &dir, &mut report).await?,
            Part::Updates => parts::updates(flags, &dir, &mut report, flags.count, 2).await?,
            Part::Deployments => parts::deployments(flags, &dir, &mut report).await?,
            Part::Many => {
                parts::updates(flags, &dir, &mut report, flags.count * 4, 1).await?;
            }
            Part::Index => parts::index(flags, &dir, &mut report).await?,
            Part::Analysis => analysis::measure(flags, &dir, &mut report).await?,
        }
    }
    let json = report.json();
    println!("{json}");
    if let Some(file) = &flags.json {
        std::fs::write(file, format!("{json:#}\n"))?;
    }
    let over = report.over();
    anyhow::ensure!(over.is_empty(), "over the limit:\n  {}", over.join("\n  "));
    Ok(())
}
