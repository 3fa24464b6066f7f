//! Runs a pod that is an agent as a local process, as a kubelet would: probes, restarts, grace. Knows which images
//! are agents and what their tags mean.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::ResourceExt;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Gone};
use crate::life::{Stop, grace};
use crate::ports::free_port;
use crate::probe::{Probe, Verdict};
use crate::process::Process;
use crate::status::{self, Containers, Report};

/// What an image's tag, or the end of it after a dash (`1.0.2-slow`), says of the agent in it.
const TAGS: [(&str, &str, &str); 7] = [
    ("slow", "AGENT_LATENCY", "1200ms"),
    ("failing", "AGENT_TOOL_FAILURE", "1"),
    ("flaky", "AGENT_TOOL_FAILURE", "0.3"),
    ("costly", "AGENT_COST", "0.5"),
    ("violating", "AGENT_VIOLATIONS", "0.2"),
    ("crashing", "AGENT_CRASH_AFTER", "500ms"),
    ("late", "AGENT_START_DELAY", "5s"),
];

/// A variable that names the namespace in which the agent is slow.
const SLOW_IN: &str = "AGENT_SLOW_IN";

/// How often a process is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// The longest wait before a crashed process is started again; a kubelet's is 5 minutes.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// A pod's process: how it is started and probed.
pub(crate) struct Program {
    container: Container,
    environment: BTreeMap<String, String>,
    binary: PathBuf,
    log: PathBuf,
    port: u16,
    max_period: Duration,
    grace: Duration,
    restart: Restart,
    report: Report,
}

/// When a process that has ended is started again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restart {
    Always,
    OnFailure,
    Never,
}

/// Why a process was left.
enum Left {
    ToldToEnd,
    Ended { exit_code: i32 },
}

/// The program that a pod is, if it is one that we have.
pub(crate) fn of(cluster: &Cluster, pod: &Pod) -> Option<Program> {
    let spec = pod.spec.as_ref()?;
    let container = spec
        .containers
        .iter()
        .find(|container| tag(container).is_some())?;
    let port = free_port();
    let flags = cluster.flags();
    let log = format!(
        "{}_{}.log",
        pod.namespace().unwrap_or_default(),
        pod.name_any()
    );
    Some(Program {
        environment: environment(&flags.agent_env, container, pod, port),
        container: container.clone(),
        binary: flags.agent_binary.clone(),
        log: flags.log_dir.join(log),
        port,
        max_period: flags.max_period,
        grace: grace(pod),
        restart: match spec.restart_policy.as_deref() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        },
        report: Report {
            containers: Containers::Running {
                since: status::now(),
                is_ready: false,
            },
            restarts: 0,
            pod_ip: cluster.new_pod_ip(),
            started: status::now(),
            address: Some(format!("127.0.0.1:{port}")),
        },
    })
}

impl Program {
    /// Runs it, again and again where the pod says so, until the pod is told to end and the process has ended.
    pub(crate) async fn run(
        mut self,
        cluster: &Cluster,
        pod: &Pod,
        stop: &mut Stop,
    ) -> Result<(), Gone> {
        let mut backoff = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let exit_code = match self.run_once(cluster, pod, stop).await? {
                Left::ToldToEnd => return Ok(()),
                Left::Ended { exit_code } => exit_code,
            };
            if self.restart == Restart::Never
                || self.restart == Restart::OnFailure && exit_code == 0
            {
                self.report.containers = Containers::Ended {
                    since: status::now(),
                    exit_code,
                };
                self.say(cluster, pod).await?;
                stop.told().await;
                return Ok(());
            }
            self.report.restarts += 1;
            // As a kubelet: forgotten after a good while, at once the first time, then longer and longer.
            if begun.elapsed() > LONGEST_BACKOFF {
                backoff = Duration::ZERO;
            }
            if backoff > Duration::ZERO {
                self.report.containers = crash_loop(exit_code, backoff);
                self.say(cluster, pod).await?;
                if stop.within(backoff).await {
                    return Ok(());
                }
            }
            backoff = (backoff * 2).clamp(Duration::from_secs(1), LONGEST_BACKOFF);
        }
    }

    async fn run_once(
        &mut self,
        cluster: &Cluster,
        pod: &Pod,
        stop: &mut Stop,
    ) -> Result<Left, Gone> {
        let mut process = match Process::start(&self.container.name, &self.command(), &self.log) {
            Ok(process) => process,
            Err(trouble) => {
                eprintln!("node: {}: {trouble}", pod.name_any());
                return Ok(Left::Ended { exit_code: 128 });
            }
        };
        // Without a readiness probe a container is ready when it runs.
        let is_ready = self.container.readiness_probe.is_none();
        self.report.containers = Containers::Running {
            since: status::now(),
            is_ready,
        };
        self.say(cluster, pod).await?;
        let probe = |probe: fn(&_, u16, Duration) -> Probe, of: &Option<_>| {
            of.as_ref().map(|of| probe(of, self.port, self.max_period))
        };
        let mut readiness = probe(Probe::readiness, &self.container.readiness_probe);
        let mut liveness = probe(Probe::liveness, &self.container.liveness_probe);
        loop {
            if stop.within(GLANCE).await {
                end(&mut process, self.grace).await;
                return Ok(Left::ToldToEnd);
            }
            if let Some(status) = process.ended() {
                return Ok(Left::Ended {
                    exit_code: status.code().unwrap_or(137),
                });
            }
            if let Some(probe) = &mut liveness
                && probe.ask_when_due().await == Verdict::Failed
            {
                eprintln!(
                    "node: {}: the liveness probe failed, restarting",
                    pod.name_any()
                );
                end(&mut process, self.grace).await;
                return Ok(Left::Ended { exit_code: 137 });
            }
            if let Some(probe) = &mut readiness {
                match probe.ask_when_due().await {
                    Verdict::Passed => self.set_ready(true, cluster, pod).await?,
                    Verdict::Failed => self.set_ready(false, cluster, pod).await?,
                    Verdict::Open => {}
                }
            }
        }
    }

    /// Reports readiness where it has changed.
    async fn set_ready(&mut self, ready: bool, cluster: &Cluster, pod: &Pod) -> Result<(), Gone> {
        match &mut self.report.containers {
            Containers::Running { is_ready, .. } if *is_ready != ready => *is_ready = ready,
            Containers::Running { .. } | Containers::Waiting { .. } | Containers::Ended { .. } => {
                return Ok(());
            }
        }
        self.say(cluster, pod).await
    }

    async fn say(&self, cluster: &Cluster, pod: &Pod) -> Result<(), Gone> {
        cluster.report(pod, status::patch(pod, &self.report)).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(self.container.args.iter().flatten())
            .envs(&self.environment);
        command
    }
}

fn crash_loop(exit_code: i32, backoff: Duration) -> Containers {
    let wait = humantime::format_duration(backoff);
    Containers::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: format!("back-off {wait} restarting failed container"),
        exit_code: Some(exit_code),
    }
}

/// Asks the process to end, and kills it when its grace is over.
async fn end(process: &mut Process, grace: Duration) {
    process.ask_to_stop();
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline {
        if process.ended().is_some() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    process.kill();
}

/// The tag of an agent's image; none when it is no agent's.
fn tag(container: &Container) -> Option<&str> {
    let image = container.image.as_deref()?;
    // A colon before the last slash belongs to a registry's port.
    let name = image.rsplit('/').next().unwrap_or(image);
    let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let is_ours = name == "support-agent" || name == "agent" && image.starts_with("example/agent");
    is_ours.then_some(tag)
}

/// What the process finds in its environment: the node's word, over it the tag's, over it the pod's.
fn environment(
    defaults: &[String],
    container: &Container,
    pod: &Pod,
    port: u16,
) -> BTreeMap<String, String> {
    let tag = tag(container).unwrap_or_default();
    let last = tag.rsplit('-').next().unwrap_or(tag);
    let defaults = defaults.iter().filter_map(|pair| pair.split_once('='));
    let of_tag = TAGS
        .iter()
        .filter(|(name, ..)| *name == last)
        .map(|(_, name, value)| (*name, *value));
    let mut all: BTreeMap<String, String> = defaults
        .chain(of_tag)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, pod) {
            all.insert(variable.name.clone(), value);
        }
    }
    // The same template may be good in one namespace and slow in another, as a bad neighbour makes it.
    if all.get(SLOW_IN) == pod.metadata.namespace.as_ref() {
        all.insert("AGENT_LATENCY".to_owned(), "1200ms".to_owned());
    }
    all.insert("AGENT_PORT".to_owned(), port.to_string());
    all
}

/// A variable's value; none where it comes from an object that a node would have to fetch.
fn value(variable: &EnvVar, pod: &Pod) -> Option<String> {
    if let Some(value) = &variable.value {
        return Some(value.clone());
    }
    let source = variable.value_from.as_ref()?.field_ref.as_ref()?;
    match source.field_path.as_str() {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        _ => None,
    }
}
