//! `make demo-live`: the rollouts of `make demo` for real. Starts a control plane, a node that runs the example
//! agents as processes, a Prometheus that scrapes them and the controller; rolls out a good version and a failing one;
//! prints what the live objects show as `serin rehearse` prints a rehearsal.
//!
//! Exits 0 only when the good version was promoted and the failing one rolled back. `KEEP=1` keeps all of it up
//! afterwards, to play with. Whatever ends it, nothing stays running.

// The bans are the controller's: this program waits for others by the clock.
#![allow(clippy::disallowed_methods)]

#[path = "../../tests/bench/mod.rs"]
mod bench;
mod follow;
mod parts;
mod story;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serin::view::text::Colour;
use tokio::signal::unix::{SignalKind, signal};

use crate::follow::Follower;
use crate::parts::Parts;
use crate::story::{Act, play};

#[derive(Parser)]
#[command(
    name = "demo_live",
    about = "Two real rollouts on a real control plane, gated by a real Prometheus"
)]
struct Flags {
    /// Stay up afterwards, and say how to play with it.
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    keep: bool,
    /// No colours, also on a terminal.
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    no_color: bool,
    /// Where logs and data go; a directory of this run is made in it.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("serin-demo-live"))]
    dir: PathBuf,
}

/// The rollouts, in order.
const ACTS: [Act; 2] = [
    Act {
        name: "support-agent-good",
        about: "v2 is as good as v1: it is promoted through all steps.",
        manifest: "examples/live/2-good.yaml",
        stable: "v1",
        new: "v2",
        expect: &["Healthy on v2", "never below 4 pods"],
    },
    Act {
        name: "support-agent-failing",
        about: "v3 is slow and fails one tool call in ten: the gate takes it back.",
        manifest: "examples/live/3-failing.yaml",
        stable: "v2",
        new: "v3",
        expect: &["rolled back before 100%", "never below 4 pods"],
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("demo-live: {trouble:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when all went as expected.
async fn run(flags: &Flags) -> anyhow::Result<bool> {
    end_when_told()?;
    let colour = if flags.no_color || !std::io::stdout().is_terminal() {
        Colour::Off
    } else {
        Colour::On
    };
    let begun = Instant::now();
    let parts = parts::start(&flags.dir)?;
    let mut follower = Follower::start(parts.client().await?);
    parts::first_version(&parts, &mut follower).await?;
    println!("up in {} s\n", begun.elapsed().as_secs());
    let mut as_expected = true;
    for act in &ACTS {
        as_expected &= play(act, &parts, &mut follower, colour).await?;
    }
    if flags.keep {
        println!("{}", parts.how_to_play());
        std::future::pending::<()>().await;
    }
    end(parts, as_expected);
    Ok(as_expected)
}

/// Logs are for whoever looks for a cause.
fn end(parts: Parts, as_expected: bool) {
    let dir = parts.dir.clone();
    drop(parts);
    if as_expected {
        // Only logs and data of processes that have ended.
        drop(std::fs::remove_dir_all(dir));
    } else {
        println!("not as expected; logs are in {}", dir.display());
    }
}

/// Ctrl-C and SIGTERM, at any moment, also while something starts: the kernel ends what we have started when we go.
fn end_when_told() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("\ndemo-live: told to end");
        std::process::exit(130);
    });
    Ok(())
}

/// How long one rollout may take: both and the start are to be done in 3 minutes.
const LIMIT: Duration = Duration::from_secs(75);
