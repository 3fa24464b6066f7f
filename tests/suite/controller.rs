//! The controller under test: the real binary as a process, and what it writes as a history. Needs
//! `SERIN_APISERVER`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use serin::api::{Rollout, RolloutStatus};

use crate::bench::control_plane::{ControlPlane, User};
use crate::bench::http;
use crate::bench::ports::free_port;
use crate::bench::process::Process;
use crate::cluster::{self, Space, until};
use crate::crds_live;

/// A namespace on the shared cluster with the definitions in place. None where real tests are off.
pub(crate) async fn space(name: &str) -> Option<Space> {
    let cluster = cluster::shared()?;
    crds_live::install(cluster).await;
    Some(cluster.space(name).await)
}

/// The program under test.
const OURS: &str = env!("CARGO_BIN_EXE_serin");

/// A running controller. Dropping it kills it.
pub(crate) struct Serin {
    pub(crate) process: Process,
    pub(crate) health: u16,
    pub(crate) metrics: u16,
    program: PathBuf,
    command: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
}

impl Serin {
    /// Starts a controller for one namespace, alone in it.
    pub(crate) fn start(space: &Space, flags: &[&str]) -> Self {
        Self::start_with(space, flags, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_with(space: &Space, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let plane = &cluster::shared().unwrap().plane;
        let alone = ["--leader-elect=false", "--namespace", &space.namespace];
        let flags = [&alone, flags].concat();
        let ours = Path::new(OURS);
        Self::start_process((ours, plane), &plane.serin, &space.namespace, &flags, env)
    }

    /// Starts a controller with just these flags.
    pub(crate) fn start_on(plane: &ControlPlane, user: &User, name: &str, flags: &[&str]) -> Self {
        Self::start_program(Path::new(OURS), plane, user, name, flags)
    }

    /// Another build of it, with just these flags.
    pub(crate) fn start_program(
        program: &Path,
        plane: &ControlPlane,
        user: &User,
        name: &str,
        flags: &[&str],
    ) -> Self {
        Self::start_process((program, plane), user, name, flags, &[])
    }

    fn start_process(
        (program, plane): (&Path, &ControlPlane),
        user: &User,
        name: &str,
        flags: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let (health, metrics) = (free_port(), free_port());
        let mut command = vec![
            "controller".to_owned(),
            "--kubeconfig".to_owned(),
            user.kubeconfig.display().to_string(),
            format!("--health-bind-address=127.0.0.1:{health}"),
            format!("--metrics-bind-address=127.0.0.1:{metrics}"),
            "--log-level=info,serin=debug".to_owned(),
        ];
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let log = plane.dir.join(format!("serin-{name}-{health}.log"));
        let pairs = env.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env: Vec<(String, String)> = pairs.collect();
        let process = spawn(program, &command, &env, &log);
        Self {
            process,
            health,
            metrics,
            program: program.to_owned(),
            command,
            env,
            log,
        }
    }

    /// SIGKILL, and the same again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.program, &self.command, &self.env, &self.log);
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) {
        let ask = || {
            http::get(self.health, "/readyz")
                .ok()
                .filter(|(code, _)| *code == 200)
        };
        until("the controller is ready", ask).await;
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

fn spawn(program: &Path, command: &[String], env: &[(String, String)], log: &Path) -> Process {
    let mut serin = Command::new(program);
    serin.args(command).env_remove("KUBECONFIG");
    serin.envs(env.iter().cloned());
    Process::start("serin", &serin, log).unwrap()
}

/// Every status of a Rollout, in order.
pub(crate) struct History {
    seen: Arc<Mutex<Vec<RolloutStatus>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl History {
    /// Records from now on: it returns when the status of this moment is seen.
    pub(crate) async fn of(space: &Space, name: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let stream = watcher(space.api::<Rollout>(), config).touched_objects();
        let into = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(rollout) = stream.next().await {
                let status = rollout.unwrap().status.unwrap_or_default();
                into.lock().unwrap().push(status);
            }
        });
        let begun = || (!seen.lock().unwrap().is_empty()).then_some(());
        until("the history begins", begun).await;
        Self { seen, task }
    }

    /// Values of something over time, without repetitions.
    pub(crate) fn of_what<T: PartialEq>(
        &self,
        what: impl Fn(&RolloutStatus) -> Option<T>,
    ) -> Vec<T> {
        let mut all: Vec<T> = self.seen.lock().unwrap().iter().filter_map(what).collect();
        all.dedup();
        all
    }

    /// The steps that the version with this hash has been at, in order.
    pub(crate) fn steps(&self, hash: &str) -> Vec<i64> {
        self.of_what(|s| {
            let is_it = s.current_pod_hash.as_deref() == Some(hash);
            s.current_step_index.filter(|_| is_it)
        })
    }
}

/// What the status says, as conditions for waiting.
pub(crate) fn phase(phase: &'static str) -> impl Fn(Option<&Rollout>) -> bool {
    move |rollout| {
        let generation = rollout.and_then(|r| r.metadata.generation);
        status(rollout).is_some_and(|s| {
            let observed = s
                .observed_generation
                .as_deref()
                .and_then(|g| g.parse().ok());
            s.phase.as_deref() == Some(phase) && observed == generation
        })
    }
}

/// At this step and in this phase.
pub(crate) fn at(step: i64, phase_: &'static str) -> impl Fn(Option<&Rollout>) -> bool {
    move |rollout| {
        phase(phase_)(rollout)
            && status(rollout).is_some_and(|s| s.current_step_index == Some(step))
    }
}

fn status(rollout: Option<&Rollout>) -> Option<&RolloutStatus> {
    rollout?.status.as_ref()
}

impl Space {
    /// The Rollout as it is now.
    pub(crate) async fn rollout(&self, name: &str) -> Rollout {
        self.api::<Rollout>().get(name).await.unwrap()
    }

    /// Waits for a phase of this generation and gives the status.
    pub(crate) async fn reaches(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(Option<&Rollout>) -> bool,
    ) -> RolloutStatus {
        let rollout = self.wait(what, name, condition).await;
        rollout.unwrap().status.unwrap()
    }

    /// Sizes of the ReplicaSets, by the tag of their image.
    pub(crate) async fn sizes(&self) -> Vec<(String, i32)> {
        let sets = self
            .api::<ReplicaSet>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let mut sizes: Vec<_> = sets
            .iter()
            .map(|set| {
                let spec = set.spec.as_ref().unwrap();
                let template = spec.template.as_ref().unwrap().spec.as_ref().unwrap();
                let image = template.containers[0].image.clone().unwrap();
                let tag = image.rsplit(':').next().unwrap().to_owned();
                (tag, spec.replicas.unwrap())
            })
            .collect();
        sizes.sort();
        sizes
    }

    /// Notes of events about the Rollout with this reason, in order, once for each time.
    pub(crate) async fn notes(&self, name: &str, reason: &str) -> Vec<String> {
        let all = self
            .api::<Event>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let mut events: Vec<Event> = all
            .into_iter()
            .filter(|e| {
                let about = e.regarding.as_ref().and_then(|r| r.name.as_deref());
                about == Some(name) && e.reason.as_deref() == Some(reason)
            })
            .collect();
        events.sort_by_key(|e| e.event_time.clone().map(|t| t.0));
        let times = |e: &Event| e.series.as_ref().map_or(1, |s| s.count);
        let repeat = |e: Event| {
            vec![e.note.clone().unwrap_or_default(); usize::try_from(times(&e)).unwrap()]
        };
        events.into_iter().flat_map(repeat).collect()
    }

    /// Waits until there are so many events with this reason, and gives their notes.
    pub(crate) async fn noted(&self, name: &str, reason: &str, count: usize) -> Vec<String> {
        for _ in 0..300 {
            let notes = self.notes(name, reason).await;
            if notes.len() >= count {
                return notes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!(
            "never saw {count} events {reason}: {:?}",
            self.notes(name, reason).await
        );
    }

    /// `serin.dev/VERB=VALUE` by `kubectl annotate`, as a person does it.
    pub(crate) fn command(&self, name: &str, verb: &str, value: &str) {
        self.kubectl(&[
            "annotate",
            "rollout",
            name,
            &format!("serin.dev/{verb}={value}"),
        ]);
    }
}

/// A Rollout of pods that the node plays, with these canary settings in YAML flow.
pub(crate) fn web(tag: &str, replicas: u32, canary: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: app, image: \"example/web:{tag}\"}}]
  strategy: {{canary: {canary}}}
"
    )
}

/// Uids of the ReplicaSets, to tell whether any was made anew.
pub(crate) async fn set_uids(space: &Space) -> Vec<String> {
    let sets = space
        .api::<ReplicaSet>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut uids: Vec<_> = sets.iter().filter_map(ResourceExt::uid).collect();
    uids.sort();
    uids
}
