//! A real Prometheus server that finds pods through the API server. Knows its configuration and its query API;
//! knows nothing of what is asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::control_plane::ControlPlane;
use super::http;
use super::ports::free_port;
use super::process::Process;
use super::programs;

const START_LIMIT: Duration = Duration::from_secs(60);

/// What labels the series of a pod carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodLabels {
    /// `namespace`, `pod`, and every label of the pod (`rollouts_pod_template_hash`, `pod_template_hash`, `app`, …).
    All,
    /// `namespace` and `pod` only, as most installations have it.
    NameOnly,
}

/// A Prometheus on a loopback port that scrapes every second. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Prometheus {
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Prometheus {
    /// Starts a Prometheus that keeps everything in `dir` and scrapes the pods of all nodes of `plane` that have an
    /// address in `serin.dev/process-address`. A new pod is found within 6 s: Prometheus looks at discovered targets
    /// every 5 s.
    ///
    /// # Errors
    /// When there is no Prometheus (the message says what to run) or it does not start (with the end of its log).
    pub(crate) fn start(dir: &Path, plane: &ControlPlane, labels: PodLabels) -> io::Result<Self> {
        Self::start_with_config(dir, &config(plane, labels))
    }

    /// Starts a Prometheus with a configuration of one's own (YAML).
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub(crate) fn start_with_config(dir: &Path, config: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        fs::write(dir.join("prometheus.yaml"), config)?;
        let mut this = Self {
            dir,
            port: free_port(),
            process: None,
        };
        this.restart()?;
        Ok(this)
    }

    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it: queries are refused until [`Prometheus::restart`].
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port and with the data it had.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.process = None;
        let mut command = Command::new(programs::prometheus()?);
        command.arg(format!(
            "--config.file={}",
            self.dir.join("prometheus.yaml").display()
        ));
        command.arg(format!(
            "--storage.tsdb.path={}",
            self.dir.join("data").display()
        ));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        // Hidden flag: act on found targets soon, not after 5 more seconds.
        command.arg("--scrape.discovery-reload-interval=100ms");
        command.arg("--log.level=warn");
        let mut process = Process::start("prometheus", &command, &self.dir.join("prometheus.log"))?;
        let port = self.port;
        process.wait_until(START_LIMIT, || {
            http::get(port, "/-/ready").is_ok_and(|answer| answer.0 == 200)
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// The instant vector that a query gives now: label sets with their values. Blocks.
    ///
    /// # Errors
    /// When Prometheus is down or refuses the query.
    pub(crate) fn query(&self, promql: &str) -> io::Result<Vec<Sample>> {
        let path = format!("/api/v1/query?query={}", http::escape(promql));
        let (code, body) = http::get(self.port, &path)?;
        if code != 200 {
            return Err(io::Error::other(format!("{promql}: {code} {body}")));
        }
        let answer: Value = serde_json::from_str(&body)?;
        let samples = answer.pointer("/data/result").and_then(Value::as_array);
        Ok(samples
            .into_iter()
            .flatten()
            .filter_map(Sample::read)
            .collect())
    }
}

/// One series of a query's answer.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    labels: Value,
    /// The newest value; NaN and infinities as they are.
    pub(crate) value: f64,
}

impl Sample {
    fn read(raw: &Value) -> Option<Self> {
        let value = raw.pointer("/value/1")?.as_str()?.parse().ok()?;
        Some(Self {
            labels: raw.get("metric")?.clone(),
            value,
        })
    }

    /// A label's value, if the series has that label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name)?.as_str()
    }
}

/// The nodes write the targets, with the labels that Prometheus' own Kubernetes discovery gives: Debian's Prometheus
/// is built without it. From there on all is as in a cluster, but that the addresses in a pod's status are invented:
/// the one in the annotation is scraped in place of them.
fn config(plane: &ControlPlane, labels: PodLabels) -> String {
    let copy_labels = match labels {
        PodLabels::All => "  - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}\n",
        PodLabels::NameOnly => "",
    };
    let address = "__meta_kubernetes_pod_annotation_serin_dev_process_address";
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
- job_name: pods
  file_sd_configs:
  - files: [\"{targets}/*.json\"]
  relabel_configs:
  - {{action: keep, source_labels: [{address}], regex: .+}}
  - {{action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: Succeeded|Failed}}
  - {{target_label: __address__, source_labels: [{address}]}}
{copy_labels}  - {{target_label: namespace, source_labels: [__meta_kubernetes_namespace]}}
  - {{target_label: pod, source_labels: [__meta_kubernetes_pod_name]}}
",
        targets = plane.targets_dir().display(),
    )
}
