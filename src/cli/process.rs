//! What the verbs that run for long have in common: logging, signals, addresses.

use std::io::IsTerminal;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How and what is logged.
#[derive(Clone, Debug, clap::Args)]
pub struct Logging {
    /// How log lines look.
    #[arg(
        long,
        visible_alias = "logformat",
        env = "SERIN_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,serin=debug.
    #[arg(
        long,
        visible_alias = "loglevel",
        env = "SERIN_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Logging {
    /// Logs to standard error from now on.
    ///
    /// # Errors
    /// When the level is none.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        use tracing_subscriber::EnvFilter;
        let level = &self.log_level;
        // The client's own lines repeat what a turn's line says.
        let filter = format!("kube=error,kube_client=off,kube_runtime=off,tower=off,{level}");
        let filter = EnvFilter::try_new(&filter)
            .with_context(|| format!("--log-level {level:?} is not a level or a filter"))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        let started = match self.log_format {
            LogFormat::Json => builder
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr)
                .try_init(),
            LogFormat::Text => builder.with_writer(std::io::stderr).try_init(),
        };
        started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))
    }
}

/// SIGTERM and SIGINT ask for the end; a second one does not wait for the drain.
pub(super) fn watch_signals() -> anyhow::Result<watch::Receiver<bool>> {
    let (stopper, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        for times in 1.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if times > 1 {
                tracing::warn!("told twice to end: not waiting any longer");
                std::process::exit(130);
            }
            stopper.send_replace(true);
        }
    });
    Ok(stop)
}

/// `:8080` means every address, as in Go programs.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| "write it as 0.0.0.0:8080, [::]:8080 or :8080".to_owned())
}

/// Names that are not ours: POD_NAMESPACE and the like, which no flag has.
#[allow(clippy::disallowed_methods)]
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
