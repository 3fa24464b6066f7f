//! `serin controller`: flags and environment in, a running controller out. Every flag has its
//! environment name `SERIN_…`, and the name that existing manifests use where there is one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::process::{Logging, address, env, watch_signals};
use super::{cluster, flags};
use crate::live;
use crate::live::lease::Election;
use crate::live::settings::Settings;
use crate::providers::address::AllowList;
use crate::providers::aws::Environment;
use crate::providers::{Pool, PoolConfig};

/// Namespace of the Lease where nothing names another.
const DEFAULT_NAMESPACE: &str = "serin-system";

/// Run the controller.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)] // the last one wins, as manifests are patched by appending
pub struct Args {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, env = "SERIN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Look at one namespace only: --namespace, or the namespace of the kubeconfig or the pod.
    #[arg(long, env = "SERIN_NAMESPACED")]
    pub namespaced: bool,
    /// The namespace to look at; implies --namespaced.
    #[arg(long, short = 'n', env = "SERIN_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Look only at objects whose label argo-rollouts.argoproj.io/controller-instance-id has this
    /// value; without it, at those that do not have the label.
    #[arg(long, env = "SERIN_INSTANCE_ID", value_name = "ID")]
    pub instance_id: Option<String>,
    /// Elect one leader among several controllers by a Lease.
    #[arg(
        long, env = "SERIN_LEADER_ELECT", value_name = "BOOL", default_value_t = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub leader_elect: bool,
    /// Divide the namespaces among all controllers: into so many shards, each under a Lease of its own.
    /// The same number for all of them, and for good; 1: one leader does everything.
    #[arg(long, env = "SERIN_SHARDS", default_value_t = 1, value_name = "NUMBER")]
    pub shards: u32,
    /// Namespace of the Lease; default: POD_NAMESPACE, else serin-system.
    #[arg(long, env = "SERIN_LEADER_ELECTION_NAMESPACE", value_name = "NAME")]
    pub leader_election_namespace: Option<String>,
    /// How long others wait for a silent leader.
    #[arg(long, env = "SERIN_LEADER_ELECTION_LEASE_DURATION", default_value = "15s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub leader_election_lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    #[arg(long, env = "SERIN_LEADER_ELECTION_RENEW_DEADLINE", default_value = "10s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub leader_election_renew_deadline: Duration,
    /// Time between two tries of the Lease.
    #[arg(long, env = "SERIN_LEADER_ELECTION_RETRY_PERIOD", default_value = "2s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub leader_election_retry_period: Duration,
    /// Address of the Prometheus that `slos` ask when they name none; also
    /// ARGO_ROLLOUTS_PROMETHEUS_ADDRESS.
    #[arg(long, env = "SERIN_PROMETHEUS", value_name = "URL")]
    pub prometheus: Option<String>,
    /// Address and port of /metrics.
    #[arg(long, env = "SERIN_METRICS_BIND_ADDRESS", default_value = "0.0.0.0:8090", value_parser = address, value_name = "ADDRESS")]
    pub metrics_bind_address: SocketAddr,
    /// Address and port of /healthz and /readyz.
    #[arg(long, env = "SERIN_HEALTH_BIND_ADDRESS", default_value = "0.0.0.0:8080", value_parser = address, value_name = "ADDRESS")]
    pub health_bind_address: SocketAddr,
    /// Logging.
    #[command(flatten)]
    pub logging: Logging,
    /// Rollouts and runs that are worked on at the same time.
    #[arg(
        long,
        env = "SERIN_CONCURRENCY",
        default_value_t = 32,
        value_name = "NUMBER"
    )]
    pub concurrency: usize,
    /// Addresses (host, address or CIDR) that metrics named in manifests may be asked at although
    /// they are loopback, link-local or otherwise refused; may be given several times.
    #[arg(
        long,
        env = "SERIN_ALLOW_ADDRESS",
        value_delimiter = ',',
        value_name = "ADDRESS"
    )]
    pub allow_address: Vec<String>,
    /// Let manifests switch off the verification of certificates of metric providers.
    #[arg(long, env = "SERIN_ALLOW_INSECURE_PROVIDERS")]
    pub allow_insecure_providers: bool,
    /// PEM file with authorities that metric providers' certificates may come from, besides the
    /// system's; read again when it changes.
    #[arg(long, env = "SERIN_PROVIDER_CA_FILE", value_name = "FILE")]
    pub provider_ca_file: Option<PathBuf>,
    /// YAML file that says where metric plugins are (docs/providers.md); read at every question.
    #[arg(long, env = "SERIN_PLUGINS", value_name = "FILE")]
    pub plugins: Option<PathBuf>,
    /// Last lines of a Job's log that its measurement keeps, at most 1 KiB; 0: logs are not read.
    #[arg(
        long,
        env = "SERIN_JOB_LOG_LINES",
        default_value_t = 10,
        value_name = "NUMBER"
    )]
    pub job_log_lines: u16,
}

/// Runs until SIGTERM or SIGINT, then drains. The process must have its TLS provider by now.
///
/// # Errors
/// When the flags contradict each other, the configuration cannot be read, or an address is taken.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.logging.start()?;
    let stop = watch_signals()?;
    let config = cluster::config(args.kubeconfig.as_deref(), None).await?;
    let settings = settings(&args, &config)?;
    let pool = pool(&args, settings.prometheus.clone())?;
    live::run(settings, &config, pool, stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn pool(args: &Args, prometheus: Option<String>) -> anyhow::Result<Pool> {
    let allow = AllowList::parse(args.allow_address.iter().map(String::as_str))
        .map_err(|fault| anyhow::anyhow!("--allow-address: {fault}"))?;
    let config = PoolConfig {
        prometheus,
        allow,
        allow_insecure: args.allow_insecure_providers,
        ca_file: args.provider_ca_file.clone(),
        plugins: args.plugins.clone(),
        aws: aws(),
    };
    Pool::new(config, live::clock::now).context("no client for metric providers")
}

/// The variables that AWS sets in pods.
fn aws() -> Environment {
    Environment {
        access_key_id: env("AWS_ACCESS_KEY_ID"),
        secret_access_key: env("AWS_SECRET_ACCESS_KEY"),
        session_token: env("AWS_SESSION_TOKEN"),
        region: env("AWS_REGION").or_else(|| env("AWS_DEFAULT_REGION")),
        role_arn: env("AWS_ROLE_ARN"),
        web_identity_token_file: env("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from),
        container_credentials: env("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        container_token_file: env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
        sts_endpoint: env("AWS_ENDPOINT_URL_STS"),
        cloud_watch_endpoint: env("AWS_ENDPOINT_URL_CLOUDWATCH"),
    }
}

fn settings(args: &Args, config: &kube::Config) -> anyhow::Result<Settings> {
    let namespace = match &args.namespace {
        Some(namespace) => Some(namespace.clone()),
        None if args.namespaced => Some(config.default_namespace.clone()),
        None => None,
    };
    let instance_id = args.instance_id.clone().filter(|id| !id.is_empty());
    let identity = identity();
    check(args)?;
    let election = args
        .leader_elect
        .then(|| election(args, instance_id.as_deref(), &identity));
    if let Some(election) = &election {
        let faults = election.faults();
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    }
    Ok(Settings {
        namespace,
        instance_id,
        election,
        shards: args.shards,
        prometheus: prometheus(args),
        metrics_address: args.metrics_bind_address,
        health_address: args.health_bind_address,
        concurrency: args.concurrency,
        own_namespace: own_namespace(args),
        job_log_lines: args.job_log_lines,
        instance: identity,
    })
}

/// The operator's Prometheus, by flag or by the name that existing manifests use.
fn prometheus(args: &Args) -> Option<String> {
    let given = args.prometheus.clone();
    given
        .or_else(|| env("ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"))
        .filter(|p| !p.is_empty())
}

/// Looks at every flag before anything is started.
fn check(args: &Args) -> anyhow::Result<()> {
    let aws = aws();
    let prometheus = prometheus(args);
    let lease = args.leader_election_namespace.as_deref();
    let faults = flags::faults(&flags::Given {
        urls: vec![
            ("--prometheus", prometheus.as_deref()),
            ("AWS_ENDPOINT_URL_STS", aws.sts_endpoint.as_deref()),
            (
                "AWS_ENDPOINT_URL_CLOUDWATCH",
                aws.cloud_watch_endpoint.as_deref(),
            ),
        ],
        namespaces: vec![
            ("--namespace", args.namespace.as_deref()),
            ("--leader-election-namespace", lease),
        ],
        instance_id: args.instance_id.as_deref().filter(|id| !id.is_empty()),
        metrics: args.metrics_bind_address,
        health: args.health_bind_address,
        concurrency: args.concurrency,
        shards: args.shards,
        is_elected: args.leader_elect,
    });
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(())
}

/// Where the controller itself lives.
fn own_namespace(args: &Args) -> String {
    env("POD_NAMESPACE")
        .or_else(|| args.leader_election_namespace.clone())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

fn election(args: &Args, instance_id: Option<&str>, identity: &str) -> Election {
    let namespace = args
        .leader_election_namespace
        .clone()
        .or_else(|| env("POD_NAMESPACE"));
    Election {
        namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: match instance_id {
            Some(id) => format!("serin-controller-{id}"),
            None => "serin-controller".to_owned(),
        },
        identity: identity.to_owned(),
        lease_duration: args.leader_election_lease_duration,
        renew_deadline: args.leader_election_renew_deadline,
        retry_period: args.leader_election_retry_period,
    }
}

/// Who this process is: the pod or host, the process, and when it started, so that no two are alike.
fn identity() -> String {
    let host = env("POD_NAME")
        .or_else(|| env("HOSTNAME"))
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_else(|| "serin".to_owned());
    let started = live::clock::now().as_millisecond();
    format!("{}_{}_{started:x}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &[&str]) -> Args {
        Cli::parse_from([&["serin"], flags].concat()).args
    }

    #[test]
    fn flags_have_the_usual_defaults() {
        let args = args(&[]);
        assert!(args.leader_elect);
        assert_eq!(args.metrics_bind_address.port(), 8090);
        assert_eq!(args.health_bind_address.port(), 8080);
        assert_eq!(args.leader_election_lease_duration, Duration::from_secs(15));
    }

    #[test]
    fn leader_election_can_be_switched_off_and_addresses_need_no_host() {
        let args = args(&["--leader-elect=false", "--health-bind-address", ":9"]);
        assert!(!args.leader_elect);
        assert_eq!(args.health_bind_address, "0.0.0.0:9".parse().unwrap());
    }

    #[test]
    fn of_a_flag_given_twice_the_last_one_counts() {
        assert_eq!(
            args(&["--log-level=info", "--log-level=debug"])
                .logging
                .log_level,
            "debug"
        );
    }

    #[test]
    fn a_wrong_address_ends_it_at_the_start() {
        let config = kube::Config::new("https://localhost".parse().unwrap());
        let given = args(&["--prometheus", "foo bar", "--concurrency", "0"]);
        let error = settings(&given, &config).unwrap_err().to_string();
        assert!(error.contains("--prometheus \"foo bar\""), "{error}");
        assert!(error.contains("--concurrency"), "{error}");
    }

    #[test]
    fn the_lease_is_named_for_the_instance() {
        let config = kube::Config::new("https://localhost".parse().unwrap());
        let settings = settings(&args(&["--instance-id", "blue"]), &config).unwrap();
        assert_eq!(settings.election.unwrap().name, "serin-controller-blue");
        assert!(settings.namespace.is_none());
    }
}
