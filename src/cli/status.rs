//! `serin status`: how a Rollout stands, and the gate of a pipeline: waits until it is out, taken
//! back, asks a person, or time is over. Reads only.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures::{Stream, StreamExt};

use super::cluster;
use crate::api::Rollout;
use crate::live::client::CallError;
use crate::live::look::Look;
use crate::planner::standing::{self, Wait};
use crate::view::status::{self, Seen};

/// Show how a Rollout stands, or wait until it is out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  serin status web -n shop                            how it stands now
  serin status web -n shop --watch --timeout 30m      the gate of a pipeline
  serin status web -n shop --output json              for programs

Exit code: 0 healthy; 1 degraded: it was taken back or cannot go on; 2 it could not be told (no
cluster, no such Rollout); 3 it waits for a person; 4 it is still going on, or --timeout is over.")]
pub struct Args {
    /// Name of the Rollout
    #[arg(value_name = "ROLLOUT")]
    pub name: String,
    /// Its namespace; default: the kubeconfig's
    #[arg(long, short = 'n', env = "SERIN_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, env = "SERIN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Wait until it is healthy, degraded or asks a person, and tell every change
    #[arg(long, short = 'w')]
    pub watch: bool,
    /// Wait on also where it asks a person
    #[arg(long, requires = "watch")]
    pub through_pauses: bool,
    /// Longest time to wait; default: for ever
    #[arg(long, requires = "watch", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub timeout: Option<Duration>,
    /// How it is printed
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Forms of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people, in 80 columns
    Text,
    /// For programs
    Json,
}

/// Reads, waits where it is asked to, prints.
///
/// # Errors
/// The cluster or the Rollout cannot be read, or the Rollout is deleted on the way.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = cluster::config(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let namespace = args.namespace.as_deref();
    let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
    let look = Look::new(&config, &namespace, &args.name).context("the cluster cannot be used")?;
    let place = Place {
        url: config.cluster_url.to_string(),
        namespace,
        name: args.name.clone(),
    };
    let first = look
        .rollout()
        .await
        .map_err(|error| place.explain(&error))?;
    let rollout = match args.watch {
        true => wait(&args, &place, first, look.changes()).await?,
        false => first,
    };
    let wait = standing::of(&rollout).wait;
    let sets = look.sets(&rollout).await.map_err(|e| e.to_string());
    let seen = Seen { rollout, sets };
    let text = match args.output {
        Output::Text => status::text(&seen),
        Output::Json => format!("{:#}\n", status::json(&seen)),
    };
    print(&text)?;
    Ok(ExitCode::from(code(wait)))
}

fn code(wait: Wait) -> u8 {
    match wait {
        Wait::Over => 0,
        Wait::Failed => 1,
        Wait::AsksPerson => 3,
        Wait::GoesOn => 4,
    }
}

/// The Rollout as it is when the wait ends, in whichever way.
async fn wait(
    args: &Args,
    place: &Place,
    first: Rollout,
    changes: impl Stream<Item = Result<Option<Box<Rollout>>, String>>,
) -> anyhow::Result<Rollout> {
    let mut told = Told::new(args);
    let mut rollout = first;
    let limit = args.timeout.unwrap_or(Duration::MAX);
    let waiting = async {
        let mut changes = pin!(changes);
        told.change(&rollout)?;
        while !is_enough(args, &rollout) {
            match changes.next().await {
                Some(Ok(Some(now))) => {
                    rollout = *now;
                    told.change(&rollout)?;
                }
                Some(Ok(None)) => anyhow::bail!("{place} was deleted"),
                Some(Err(trouble)) => told.trouble(&trouble),
                None => anyhow::bail!("{place}: the watch has ended"),
            }
        }
        Ok(())
    };
    // Bound apart, so that what was seen last can be shown when time is over.
    let ended = tokio::time::timeout(limit, waiting).await;
    match ended {
        Ok(done) => done?,
        Err(_) => {
            let limit = humantime::format_duration(limit);
            eprintln!("serin: {place}: not there after {limit}");
        }
    }
    Ok(rollout)
}

fn is_enough(args: &Args, rollout: &Rollout) -> bool {
    match standing::of(rollout).wait {
        Wait::Over | Wait::Failed => true,
        Wait::AsksPerson => !args.through_pauses,
        Wait::GoesOn => false,
    }
}

/// What was told of the wait so far, so that nothing is told twice.
struct Told {
    is_silent: bool,
    last: String,
    trouble: String,
}

impl Told {
    fn new(args: &Args) -> Self {
        Self {
            is_silent: args.output == Output::Json,
            last: String::new(),
            trouble: String::new(),
        }
    }

    fn change(&mut self, rollout: &Rollout) -> anyhow::Result<()> {
        self.trouble.clear();
        let line = status::line(rollout);
        if self.is_silent || line == self.last {
            return Ok(());
        }
        print(&status::folded(&line))?;
        self.last = line;
        Ok(())
    }

    fn trouble(&mut self, trouble: &str) {
        if trouble != self.trouble {
            eprintln!("serin: the cluster cannot be watched, trying again: {trouble}");
            trouble.clone_into(&mut self.trouble);
        }
    }
}

/// Where the Rollout is, for messages.
struct Place {
    url: String,
    namespace: String,
    name: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rollout {}/{}", self.namespace, self.name)
    }
}

impl Place {
    /// An error of the first read, with what to do about it.
    fn explain(&self, error: &CallError) -> anyhow::Error {
        let Self {
            url,
            namespace,
            name,
        } = self;
        match error {
            CallError::NotFound(message) if message.contains(&format!("{name:?} not found")) => {
                anyhow::anyhow!(
                    "there is no {self}: look with kubectl get rollouts -A, or name another namespace with --namespace"
                )
            }
            CallError::NotFound(_) => anyhow::anyhow!(
                "the cluster at {url} does not know Rollouts: serin crds | kubectl apply -f -"
            ),
            CallError::Refused { code: 401, message } => anyhow::anyhow!(
                "the cluster at {url} does not accept the credentials of the kubeconfig: {message}"
            ),
            CallError::Refused { code: 403, message } => anyhow::anyhow!(
                "not allowed to read Rollouts in namespace {namespace}; serin's ClusterRole for people who look is serin-aggregate-to-view: {message}"
            ),
            CallError::Unclear { message, .. } | CallError::Busy { message, .. } => {
                anyhow::anyhow!("no answer from the cluster at {url}: {message}")
            }
            CallError::Unreadable(cause) => {
                anyhow::anyhow!(
                    "{self} cannot be read; is it served by serin's definitions? {cause}"
                )
            }
            CallError::Conflict(_)
            | CallError::Exists(_)
            | CallError::Refused { .. }
            | CallError::Request(_) => anyhow::anyhow!("{self} cannot be read: {error}"),
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("cannot print"),
    }
}
