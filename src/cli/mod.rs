//! The command line: one file per verb, one place for exit codes. Verbs that act on a Rollout only
//! patch intent; they never scale or route.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod backtest;
pub mod check;
mod cluster;
pub mod controller;
pub mod crds;
pub mod create;
pub mod deploy;
mod flags;
pub mod lint;
pub mod process;
pub mod rehearse;
pub mod status;
pub mod webhook;

/// Progressive delivery for Kubernetes: canary rollouts gated by SLOs, rehearsed before they ship.
#[derive(Debug, Parser)]
#[command(
    name = "serin",
    version,
    max_term_width = 100,
    after_help = "Start with a rehearsal; it needs no cluster:\n  serin rehearse examples/rollouts/support-agent.yaml"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Judge the past with a Rollout's objectives: how many rollouts would they have stopped?
    Backtest(Box<backtest::Args>),
    /// The release checklist: pods, network, rights, images, policies, monitoring, plan, rollback
    Check(check::Args),
    /// Run the controller: in a pod, or against the cluster of a kubeconfig
    Controller(Box<controller::Args>),
    /// Print the CustomResourceDefinitions, or write them to a folder
    Crds(crds::Args),
    /// Create an AnalysisRun of a template, by itself: no Rollout is needed
    Create(create::Args),
    /// Print serin's own manifests: rights, deployment, network policies, monitoring
    Deploy(deploy::Args),
    /// Check manifests: every fault at once, with its file, line, field and what to do
    Lint(lint::Args),
    /// Play a rollout without a cluster and see what it will do
    Rehearse(rehearse::Args),
    /// Show how a Rollout stands, or wait until it is out: the gate of a pipeline
    Status(status::Args),
    /// Run the admission webhook: what lint says, said before an object is stored
    Webhook(Box<webhook::Args>),
}

/// Parses the arguments, runs the verb, and turns its end into an exit code: 0 done, 1 a negative
/// answer (rolled back, expectation not met, faults found), 2 wrong input; `status` has more.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Backtest(args) => serve(backtest::run(*args)),
        Verb::Check(args) => serve(check::run(args)),
        Verb::Controller(args) => serve(controller::run(*args)),
        Verb::Crds(args) => crds::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Create(args) => serve(create::run(args)),
        Verb::Deploy(args) => deploy::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Lint(args) => lint::run(&args),
        Verb::Rehearse(args) => rehearse::run(args),
        Verb::Status(args) => serve(status::run(args)),
        Verb::Webhook(args) => serve(webhook::run(*args)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("serin: {error:#}");
        ExitCode::from(2)
    })
}

/// Runs what talks to a cluster or a Prometheus. Two threads: turns are short, and nothing in them computes long.
fn serve(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}
