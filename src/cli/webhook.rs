//! `serin webhook`: flags in, a running admission webhook out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::cluster;
use super::process::{Logging, address, env, watch_signals};
use crate::live::client::Clients;
use crate::webhook::keeper::{Own, Source};
use crate::webhook::known::Reader;
use crate::webhook::{self, Settings};

/// Shortest life of a certificate: renewing takes some seconds.
const SHORTEST: Duration = Duration::from_secs(30);

/// Run the admission webhook.
///
/// It says to the API server what lint says to people: Rollouts, analysis templates, runs, experiments
/// and freeze windows with a fault are refused, with all their faults. What it cannot look up is a
/// warning. `serin deploy generate-webhook` has everything it needs in a cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)]
pub struct Args {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, env = "SERIN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Address and port of the webhook.
    #[arg(long, env = "SERIN_WEBHOOK_BIND_ADDRESS", default_value = "0.0.0.0:8443", value_parser = address, value_name = "ADDRESS")]
    pub bind_address: SocketAddr,
    /// Address and port of /metrics.
    #[arg(long, env = "SERIN_METRICS_BIND_ADDRESS", default_value = "0.0.0.0:8090", value_parser = address, value_name = "ADDRESS")]
    pub metrics_bind_address: SocketAddr,
    /// Address and port of /healthz and /readyz.
    #[arg(long, env = "SERIN_HEALTH_BIND_ADDRESS", default_value = "0.0.0.0:8080", value_parser = address, value_name = "ADDRESS")]
    pub health_bind_address: SocketAddr,
    /// Certificate chain (PEM) that somebody else renews; read again when it changes. Without it
    /// the webhook makes its own, and writes it into the caBundle of its configuration.
    #[arg(
        long,
        env = "SERIN_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "tls_key_file"
    )]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(
        long,
        env = "SERIN_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file"
    )]
    pub tls_key_file: Option<PathBuf>,
    /// The ValidatingWebhookConfiguration that leads here.
    #[arg(
        long,
        env = "SERIN_WEBHOOK_CONFIGURATION",
        default_value = "serin-webhook",
        value_name = "NAME"
    )]
    pub configuration: String,
    /// Names and addresses that its own certificate is for; default: serin-webhook.NAMESPACE.svc,
    /// with the namespace of the pod.
    #[arg(
        long,
        env = "SERIN_WEBHOOK_HOST",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub host: Vec<String>,
    /// How long its own certificate is valid; it is renewed when a third is left.
    #[arg(long, env = "SERIN_CERTIFICATE_LIFETIME", default_value = "30days", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub certificate_lifetime: Duration,
    /// Questions that are answered at once; more get 429, and the API server decides by its
    /// failurePolicy.
    #[arg(
        long,
        env = "SERIN_MAX_IN_FLIGHT",
        default_value_t = 32,
        value_name = "NUMBER"
    )]
    pub max_in_flight: usize,
    /// Longest time for an answer; must be shorter than the configuration's timeoutSeconds.
    #[arg(long, env = "SERIN_TIME_LIMIT", default_value = "4s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub time_limit: Duration,
    /// Look at no other object: no Services, templates or freeze windows.
    #[arg(long, env = "SERIN_WITHOUT_REFERENCES")]
    pub without_references: bool,
    /// Logging.
    #[command(flatten)]
    pub logging: Logging,
}

/// Runs until SIGTERM or SIGINT. The process must have its TLS provider by now.
///
/// # Errors
/// When a flag makes no sense (all of them are told), there is no cluster, or an address is taken.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let faults = faults(&args);
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    args.logging.start()?;
    let stop = watch_signals()?;
    let config = cluster::config(args.kubeconfig.as_deref(), None).await?;
    let rest = Clients::new(&config)
        .context("the cluster cannot be used")?
        .work;
    let reader = Reader {
        rest: rest.clone(),
        // So that the judgement is told in time even when nothing is answered.
        limit: args.time_limit / 2,
    };
    let certificate = match (&args.tls_cert_file, &args.tls_key_file) {
        (Some(certificate), Some(key)) => Source::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        _ => Source::Own(Own {
            rest,
            configuration: args.configuration.clone(),
            names: hosts(&args),
            lifetime: args.certificate_lifetime,
        }),
    };
    let settings = Settings {
        address: args.bind_address,
        health_address: args.health_bind_address,
        metrics_address: args.metrics_bind_address,
        certificate,
        reader: (!args.without_references).then_some(reader),
        places: args.max_in_flight,
        limit: args.time_limit,
    };
    webhook::run(settings, stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn hosts(args: &Args) -> Vec<String> {
    if !args.host.is_empty() {
        return args.host.clone();
    }
    let namespace = env("POD_NAMESPACE").unwrap_or_else(|| "serin-system".to_owned());
    vec![format!("serin-webhook.{namespace}.svc")]
}

fn faults(args: &Args) -> Vec<String> {
    let mut faults = Vec::new();
    if args.max_in_flight == 0 {
        faults.push("--max-in-flight must be at least 1".to_owned());
    }
    if args.certificate_lifetime < SHORTEST {
        faults.push("--certificate-lifetime must be at least 30s".to_owned());
    }
    let limit = args.time_limit.as_secs_f64();
    if !(0.1..=29.0).contains(&limit) {
        faults.push(
            "--time-limit must be between 100ms and 29s: API servers wait for 30 s at most"
                .to_owned(),
        );
    }
    faults
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

    fn args(flags: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from([&["serin"], flags].concat()).map(|cli| cli.args)
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(args(&["--tls-cert-file", "a"]).is_err());
        assert!(args(&["--tls-cert-file", "a", "--tls-key-file", "b"]).is_ok());
    }

    #[test]
    fn every_wrong_flag_is_told_at_once() {
        let wrong = [
            "--max-in-flight=0",
            "--certificate-lifetime=1s",
            "--time-limit=40s",
        ];
        assert_eq!(faults(&args(&wrong).unwrap()).len(), 3);
        assert_eq!(faults(&args(&[]).unwrap()), [""; 0]);
    }
}
