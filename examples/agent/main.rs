//! The front of an AI agent, as small as can be: it takes tasks, calls tools, spends money and says so in metrics.
//!
//! It stands in for a real agent wherever serin is shown or tested: every fault that a gate should catch is one flag.
//!
//! ```text
//! GET or POST /task   runs one task: 200, or 500 when every tool call of it failed
//! GET /ready          200 when it takes tasks, else 503          GET /health   200 as long as it lives
//! GET /metrics        agent_task_duration_seconds, agent_task_cost_dollars, agent_tasks_total,
//!                     agent_tool_calls_total{outcome}, agent_errors_total, agent_governance_violations_total
//! ```

// The bans are the controller's: an agent has a clock of its own.
#![allow(clippy::disallowed_methods)]

mod agent;
mod metrics;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, Behaviour};

#[derive(Parser)]
#[command(about = "A small HTTP service that behaves like an AI agent's front")]
struct Flags {
    /// Port to listen on.
    #[arg(long, env = "AGENT_PORT", default_value_t = default_port())]
    port: u16,
    /// Address to listen on.
    #[arg(long, env = "AGENT_ADDRESS", default_value = "127.0.0.1")]
    address: std::net::IpAddr,
    /// Tasks per second that the agent gives itself, so that no load generator is needed.
    #[arg(long, env = "AGENT_SELF_LOAD", default_value_t = 0.0)]
    self_load: f64,
    /// Not ready until this long after the start.
    #[arg(long, env = "AGENT_START_DELAY", default_value = "0s", value_parser = humantime::parse_duration)]
    start_delay: Duration,
    /// Takes tasks for so long after SIGTERM: whoever sends them learns a moment later that this pod goes.
    #[arg(long, env = "AGENT_DRAIN", default_value = "500ms", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// Exits with code 1 this long after the start.
    #[arg(long, env = "AGENT_CRASH_AFTER", value_parser = humantime::parse_duration)]
    crash_after: Option<Duration>,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// What a platform that gives the port says it with.
fn default_port() -> u16 {
    std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(8080)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("agent: {trouble:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    flags.behaviour.check()?;
    let agent = Arc::new(Agent::new(flags.behaviour));
    let mut term = signal(SignalKind::terminate())?;

    start_clockwork(
        &agent,
        flags.start_delay,
        flags.crash_after,
        flags.self_load,
    )?;

    let address = SocketAddr::new(flags.address, flags.port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}, give another AGENT_PORT"))?;
    eprintln!("agent: listening on {}", listener.local_addr()?);
    let draining = Arc::clone(&agent);
    let service = axum::Router::new()
        .route("/task", get(task).post(task))
        .route("/ready", get(ready))
        .route("/health", get(|| async { "alive\n" }))
        .route("/metrics", get(metrics))
        .with_state(agent);
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            term.recv().await;
            eprintln!("agent: told to stop, finishing the tasks in hand");
            draining.set_ready(false);
            tokio::time::sleep(flags.drain).await;
        })
        .await?;
    Ok(())
}

/// Starts what happens by time alone: becoming ready, crashing, giving itself tasks.
fn start_clockwork(
    agent: &Arc<Agent>,
    start_delay: Duration,
    crash_after: Option<Duration>,
    self_load: f64,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        (0.0..=10_000.0).contains(&self_load),
        "self-load {self_load}: give 0 to 10000 tasks per second"
    );
    let waking = Arc::clone(agent);
    tokio::spawn(async move {
        tokio::time::sleep(start_delay).await;
        waking.set_ready(true);
    });
    if let Some(after) = crash_after {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            eprintln!("agent: crashing, as told by AGENT_CRASH_AFTER");
            std::process::exit(1);
        });
    }
    if self_load > 0.0 {
        let agent = Arc::clone(agent);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / self_load));
            loop {
                tick.tick().await;
                if agent.is_ready() {
                    let agent = Arc::clone(&agent);
                    tokio::spawn(async move { agent.run_task().await });
                }
            }
        });
    }
    Ok(())
}

async fn task(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    let done = agent.run_task().await;
    let code = if done.succeeded {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (code, format!("{done}\n"))
}

async fn ready(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    if agent.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    let kind: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, agent.metrics.text())
}
