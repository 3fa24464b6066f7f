//! `serin backtest`: asks a Prometheus what the objectives of a manifest would have said of the past.
//! Reads files and asks; what is asked and what it means is in `backtest`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::rehearse;
use crate::api::Rollout;
use crate::backtest::{self, Ask, Asked, Plan, Range, Templates, Values};
use crate::live::clock;
use crate::planner::lower;
use crate::planner::slo::bound;
use crate::providers::history::Series;
use crate::providers::{Pool, PoolConfig};

/// Most values of one objective that are asked for.
const MOST_VALUES: i64 = 200_000;

/// Judge the past with a Rollout's objectives: how many rollouts would they have stopped?
///
/// Every objective of `slos`, and every metric of an analysis that asks Prometheus and has one bound,
/// is evaluated over the history in Prometheus, as if a rollout had begun at
/// each moment of it, and for each version that really came. Only reads.
///
/// Exits 0 when every objective had values and none would have stopped more rollouts than are
/// tolerated, 1 when not, 2 when the input is wrong or Prometheus gives no answer.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Two weeks, with a page to look at:\n  serin backtest -f rollout.yaml --prometheus http://localhost:9090 --since 14d --report out.html"
)]
pub struct Args {
    /// The Rollout's manifest, and those of the analysis templates that it names
    #[arg(short, long, required = true, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Address of the Prometheus that holds the history; default: the one that slos name
    #[arg(long, env = "SERIN_PROMETHEUS", value_name = "URL")]
    pub prometheus: Option<String>,
    /// File with a bearer token for Prometheus
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with authorities to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How far back to look: 14d, 36h
    #[arg(long, default_value = "14d", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub since: Duration,
    /// The last moment, such as 2026-11-21T16:00:00Z; default: now
    #[arg(long, value_name = "TIME")]
    pub until: Option<jiff::Timestamp>,
    /// Time between two measurements; default: the gate's interval
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub every: Option<Duration>,
    /// How long a rollout is gated; default: what its steps take, 30m when one waits for a person
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub length: Option<Duration>,
    /// Matchers that tell the Rollout's series, such as app="agent"; default: pods that are named
    /// like its own
    #[arg(long = "match", value_name = "MATCHERS")]
    pub matching: Option<String>,
    /// Namespace of the Rollout, where the manifest names none
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Share of rollouts that a gate may stop without being called too strict
    #[arg(long, default_value = "1%", value_parser = bound::share, value_name = "PERCENT")]
    pub tolerate: f64,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = rehearse::Output::Text)]
    pub output: rehearse::Output,
    /// Also write the result as a page with charts to this file
    #[arg(long, value_name = "OUT.html")]
    pub report: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// Input that is wrong, and a Prometheus that gives no answer.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let plan = plan(&args)?;
    let address = args.prometheus.clone().or(plan.spec.prometheus.clone());
    let address = address.ok_or_else(|| {
        anyhow!("no address of Prometheus: give --prometheus, or name one in the manifest")
    })?;
    let bearer = match &args.token_file {
        None => None,
        Some(path) => Some(read(path, "--token-file")?.trim().to_owned()),
    };
    let config = PoolConfig {
        ca_file: args.ca_file.clone(),
        ..PoolConfig::default()
    };
    let pool = Pool::new(config, clock::now).context("cannot make connections")?;
    let past = Past {
        pool,
        address,
        bearer,
        shows_progress: std::io::stderr().is_terminal(),
    };
    let report = past.judged(&plan).await?;
    if let Some(path) = &args.report {
        std::fs::write(path, backtest::page(&report, &plan.spec)).with_context(|| {
            let path = path.display();
            format!("--report: cannot write {path}: name a file in a folder that exists")
        })?;
    }
    let printed = match args.output {
        rehearse::Output::Json => serde_json::to_string_pretty(&report)? + "\n",
        rehearse::Output::Text => backtest::text(&report),
    };
    match std::io::stdout().write_all(printed.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        done => done.context("cannot print the result")?,
    }
    Ok(match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn read(path: &Path, what: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("{what}: cannot read {}: check the path", path.display()))
}

fn plan(args: &Args) -> anyhow::Result<Plan> {
    let (rollout, templates) = manifests(&args.file)?;
    let spec = lower::lower(&rollout).map_err(|faults| {
        let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow!("{}:\n  {}", names(&args.file), all.join("\n  "))
    })?;
    let namespace = args.namespace.clone();
    let namespace = namespace.or(rollout.metadata.namespace.clone());
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    let until = args.until.unwrap_or_else(clock::now).as_second();
    let interval = spec.slos().map_or(30, |slos| slos.interval_ms / 1000);
    let range = Range {
        from: until.saturating_sub(seconds(args.since)),
        until,
        step: args.every.map_or(interval, seconds).max(1),
    };
    if i64::try_from(range.len()).unwrap_or(i64::MAX) > MOST_VALUES {
        return Err(anyhow!(
            "--since, --every: {} values of each objective are more than {MOST_VALUES}: look less far back, or raise --every",
            range.len()
        ));
    }
    let asked = Asked {
        namespace: namespace.as_deref().unwrap_or("default"),
        rollout: &serde_json::to_value(&rollout)?,
        templates: &templates,
        range,
        matching: args.matching.as_deref(),
        length: args.length.map(seconds),
        tolerated: args.tolerate,
    };
    backtest::of_history(&spec, &asked).map_err(|message| anyhow!(message))
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}

/// The one Rollout of the files, and the templates beside it.
fn manifests(files: &[PathBuf]) -> anyhow::Result<(Rollout, Templates)> {
    let name = names(files);
    let rehearsals = rehearse::load(files).map_err(|faults| anyhow!("{}", faults.join("\n")))?;
    let mut rehearsals = rehearsals.into_iter();
    match (rehearsals.next(), rehearsals.next()) {
        (Some(one), None) => Ok((one.rollout, one.manifests.templates)),
        (Some(_), Some(_)) => Err(anyhow!(
            "{name}: holds several Rollouts: give files with one"
        )),
        (None, _) => Err(anyhow!("{name}: holds no Rollout: give a file with one")),
    }
}

/// A Prometheus and its past.
struct Past {
    pool: Pool,
    address: String,
    bearer: Option<String>,
    shows_progress: bool,
}

impl Past {
    async fn judged(&self, plan: &Plan) -> anyhow::Result<backtest::Report> {
        let mut every = vec![];
        for objective in &plan.spec.objectives {
            let asks = plan.of_every(objective);
            every.push(self.values(plan.range, &objective.name, "", asks).await?);
        }
        self.progress("versions");
        let seen = self.ask(&plan.which_versions(), "the versions").await?;
        let seen = seen.iter();
        let seen = seen.filter_map(|series| plan.version_in(&series.labels, &series.points));
        let mut each = vec![];
        for (new, old) in plan.rollouts(seen.collect()) {
            let mut all = vec![];
            for objective in &plan.spec.objectives {
                let asks = plan.of_version(objective, &new, &old.hash);
                let range = plan.gated(&new);
                all.push(self.values(range, &objective.name, &new.hash, asks).await?);
            }
            each.push((new, old, all));
        }
        self.progress("");
        Ok(backtest::judge(plan, &every, &each))
    }

    /// The values of an objective, of one version or (with an empty hash) of every one.
    async fn values(
        &self,
        range: Range,
        objective: &str,
        hash: &str,
        asks: Vec<Ask>,
    ) -> anyhow::Result<Values> {
        let mut values = Values::none(range);
        for (n, ask) in asks.iter().enumerate() {
            self.progress(&format!("{objective} {hash}: {} of {}", n + 1, asks.len()));
            let what = format!("objective {objective}");
            for series in self.ask(ask, &what).await? {
                values.add(&series.points);
            }
        }
        Ok(values)
    }

    async fn ask(&self, ask: &Ask, what: &str) -> anyhow::Result<Vec<Series>> {
        let range = (ask.range.from, ask.range.until, ask.range.step);
        let answer = self
            .pool
            .history(&self.address, &ask.query, range, self.bearer.as_deref());
        answer.await.map_err(|message| {
            self.progress("");
            anyhow!(
                "{what}: {message}: is {} the Prometheus with the history?",
                self.address
            )
        })
    }

    /// One line on a terminal that the next one replaces.
    fn progress(&self, text: &str) {
        if self.shows_progress {
            eprint!("\r\x1b[2K{text}");
        }
    }
}
