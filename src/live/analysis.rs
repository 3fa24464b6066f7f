//! Turns of AnalysisRuns, and the tasks that ask providers. A turn never waits for a provider: tasks
//! run beside the turns, keyed by run and measurement, with a limit of their own, and their end
//! wakes the run. What is lost in a crash is asked again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::AbortHandle;

use super::client::{CallError, Kind, Target};
use super::clock;
use super::controller::Controller;
use super::events::Regarding;
use super::perform::outcome;
use super::queue::Rest;
use super::stores::{Key, ObjectKey};
use super::turn::instant_of;
use crate::api::AnalysisRun;
use crate::api::analysis::{AnalysisRunStatus, Measurement, MetricResult};
use crate::planner::analysis::run::{
    Answer, KeyNeed, ResolvedArgs, RunObserved, RunPlan, Source, Task, TaskKey, plan_analysis,
};
use crate::planner::plan::Outcome;
use crate::providers::{Cluster, Pool};

/// Longest turn of a run.
const TURN_LIMIT: Duration = Duration::from_secs(30);
/// Most times that a turn is planned anew because more must be known.
const MOST_PLANS: usize = 6;
/// A measurement that changes no verdict is written at least this long after it was made, with others;
/// a step that waits for it waits no longer.
const QUIET_WRITE: Duration = Duration::from_secs(1);
/// The longest that it is kept: a crash makes what was not written again.
const QUIETEST_WRITE: Duration = Duration::from_secs(10);
/// Busy runs for which quiet writes come after a second: about fifty writes a second.
const RUNS_A_SECOND: usize = 50;

/// How long a measurement that changes no verdict may wait for others while so many runs are busy.
fn quiet_write(runs: usize) -> Duration {
    let seconds = u64::try_from(runs.div_ceil(RUNS_A_SECOND)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).clamp(QUIET_WRITE, QUIETEST_WRITE)
}

/// Tasks and answers of all runs.
#[derive(Debug)]
pub(super) struct Tasks {
    pool: Pool,
    runs: Mutex<HashMap<ObjectKey, RunTasks>>,
}

/// Tasks and answers of one run.
#[derive(Debug, Default)]
struct RunTasks {
    uid: String,
    in_flight: BTreeMap<TaskKey, AbortHandle>,
    answers: Vec<Answer>,
    /// When the status that is held back shall be written.
    status_due: Option<Instant>,
}

impl Drop for RunTasks {
    fn drop(&mut self) {
        self.in_flight.values().for_each(AbortHandle::abort);
    }
}

impl Tasks {
    /// A runner that asks through `pool`.
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            runs: Mutex::default(),
        }
    }

    /// Hands the API server to providers that ask it.
    pub(super) fn connect(&self, cluster: Arc<dyn Cluster>) {
        self.pool.connect(cluster);
    }

    /// Ends every task of a run and drops its answers.
    pub(super) fn cancel(&self, run: &ObjectKey) {
        self.runs().remove(run);
    }

    /// Ends every task: another controller is in office.
    pub(super) fn cancel_all(&self) {
        self.runs().clear();
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<ObjectKey, RunTasks>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers and keys in flight of a run; those of a namesake are dropped.
    fn look(&self, key: &ObjectKey, uid: &str) -> (Vec<Answer>, BTreeSet<TaskKey>) {
        let mut runs = self.runs();
        if runs.get(key).is_some_and(|r| r.uid != uid) {
            runs.remove(key);
        }
        let Some(tasks) = runs.get(key) else {
            return Default::default();
        };
        (
            tasks.answers.clone(),
            tasks.in_flight.keys().cloned().collect(),
        )
    }

    fn settle(&self, key: &ObjectKey, settled: &[TaskKey]) {
        let mut runs = self.runs();
        if let Some(tasks) = runs.get_mut(key) {
            tasks.answers.retain(|a| !settled.contains(&a.key));
            tasks.status_due = None;
            if tasks.answers.is_empty() && tasks.in_flight.is_empty() {
                runs.remove(key);
            }
        }
    }

    /// When a status that changes no verdict is due: the same time for all changes until then.
    fn status_due(&self, key: &ObjectKey, uid: &str) -> Instant {
        let mut runs = self.runs();
        // Those that wait for an answer or to be written: runs that rest cost nothing now.
        let busy = runs.len();
        let tasks = runs.entry(key.clone()).or_default();
        uid.clone_into(&mut tasks.uid);
        *tasks
            .status_due
            .get_or_insert_with(|| clock::instant() + quiet_write(busy))
    }

    /// A task answered. Nobody waits for it when the run is gone or was told to end.
    fn answered(&self, key: &ObjectKey, uid: &str, answer: Answer) -> bool {
        let mut runs = self.runs();
        let Some(tasks) = runs.get_mut(key).filter(|r| r.uid == uid) else {
            return false;
        };
        if tasks.in_flight.remove(&answer.key).is_none() {
            return false;
        }
        tasks.answers.push(answer);
        true
    }
}

impl Controller {
    /// One turn of an AnalysisRun.
    pub(super) async fn run_turn(self: &Arc<Self>, key: &ObjectKey) -> Rest {
        let started = clock::instant();
        let run = match self.index.run(key) {
            Some(Ok(run)) => run,
            Some(Err(error)) => {
                tracing::warn!(run = %key, error, "the AnalysisRun cannot be decoded: it is left alone");
                return Rest::Quiet;
            }
            None => {
                self.forget(&Key::Run(key.clone()));
                return Rest::Quiet;
            }
        };
        if run.metadata.deletion_timestamp.is_some() {
            self.tasks.cancel(key);
            return Rest::Quiet;
        }
        let result = tokio::time::timeout(TURN_LIMIT, self.try_run(key, run)).await;
        let (rest, failure) = match result {
            Ok(Ok(rest)) => (rest, None),
            Ok(Err(error)) => {
                let earliest = error.retry_after().map(|d| clock::instant() + d);
                (Rest::Failed(earliest), Some(error.to_string()))
            }
            Err(_) => (
                Rest::Failed(None),
                Some("the turn took too long".to_owned()),
            ),
        };
        if let Some(error) = &failure {
            tracing::warn!(run = %key, error, "turn failed");
        }
        self.stats
            .turn(&Key::Run(key.clone()), started.elapsed(), failure.is_some());
        rest
    }

    async fn try_run(
        self: &Arc<Self>,
        key: &ObjectKey,
        mut run: Arc<AnalysisRun>,
    ) -> Result<Rest, CallError> {
        for _ in 0..3 {
            let (seen, plan) = self.decide_run(key, run).await?;
            if plan.cancel {
                self.tasks.cancel(key);
            }
            if plan.delete {
                return self.delete_run(key, &seen.run).await;
            }
            let uid = seen.run.metadata.uid.clone().unwrap_or_default();
            for task in &plan.tasks {
                self.start(key, &uid, task);
            }
            self.delete_jobs(&seen.run, &plan.delete_jobs).await?;
            let mut wake = plan.wake.map(instant_of);
            if let Some(status) = &plan.status {
                let due = self.tasks.status_due(key, &uid);
                if !plan.urgent && due > clock::instant() {
                    wake = Some(wake.map_or(due, |w| w.min(due)));
                    return Ok(wake.map_or(Rest::Quiet, Rest::At));
                }
                if !self.write_status(&seen.run, status).await? {
                    run = self.reread(key).await?;
                    continue;
                }
            }
            self.tasks.settle(key, &plan.settled);
            self.report_run(key, &seen.run, plan);
            return Ok(wake.map_or(Rest::Quiet, Rest::At));
        }
        Ok(Rest::Failed(None))
    }

    /// Plans a turn; keys are read when asked for, used once and dropped.
    async fn decide_run(
        &self,
        key: &ObjectKey,
        run: Arc<AnalysisRun>,
    ) -> Result<(RunObserved, RunPlan), CallError> {
        let uid = run.metadata.uid.as_deref().unwrap_or_default();
        let (answers, in_flight) = self.tasks.look(key, uid);
        let args = ResolvedArgs::default();
        let mut seen = RunObserved {
            now: clock::now(),
            run,
            answers,
            in_flight,
            args,
            jobs: BTreeMap::new(),
            job_logs: BTreeMap::new(),
        };
        // Arguments first, then the Secrets whose names they may be part of, then Jobs.
        for _ in 0..MOST_PLANS {
            let mut plan = plan_analysis(&seen);
            if plan.needs.is_empty() && plan.jobs.is_empty() {
                return Ok((seen, plan));
            }
            let needs = std::mem::take(&mut plan.needs);
            if needs.is_empty() {
                self.call_jobs(&plan.jobs, &mut seen).await?;
            } else {
                self.look_up(&key.namespace, needs, &mut seen.args).await?;
            }
        }
        let plan = plan_analysis(&seen);
        Ok((seen, plan))
    }

    /// Reads each Secret and ConfigMap once, and takes from it every key that is asked for.
    async fn look_up(
        &self,
        namespace: &str,
        needs: Vec<KeyNeed>,
        args: &mut ResolvedArgs,
    ) -> Result<(), CallError> {
        let mut objects: BTreeMap<(Source, String), Vec<KeyNeed>> = BTreeMap::new();
        for need in needs {
            let object = (need.source, need.name.clone());
            objects.entry(object).or_default().push(need);
        }
        for ((source, name), needs) in objects {
            let found = self.keys_of(namespace, source, &name).await?;
            for need in needs {
                let value = match &found {
                    Ok(keys) => keys.get(&need.key).cloned().ok_or_else(|| need.missing()),
                    Err(Some(why)) => Err(why.clone()),
                    Err(None) => Err(need.missing()),
                };
                args.keys.insert(need, value);
            }
        }
        Ok(())
    }

    /// All keys of a Secret or ConfigMap; or why they cannot be read, where it is there.
    async fn keys_of(
        &self,
        namespace: &str,
        source: Source,
        name: &str,
    ) -> Result<Result<BTreeMap<String, String>, Option<String>>, CallError> {
        #[derive(Deserialize)]
        struct Secret {
            #[serde(default)]
            data: BTreeMap<String, k8s_openapi::ByteString>,
        }
        #[derive(Deserialize)]
        struct ConfigMap {
            #[serde(default)]
            data: BTreeMap<String, String>,
        }
        let work = &self.clients.work;
        let target = |kind, namespace| Target {
            kind,
            namespace,
            name,
        };
        let secret = async |namespace| {
            let secret = work.get::<Secret>(target(Kind::Secret, namespace)).await?;
            let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).ok();
            let keys = secret.data.into_iter();
            Ok(keys.filter_map(|(k, v)| Some((k, text(v)?))).collect())
        };
        let read = match source {
            Source::Secret => secret(namespace).await,
            Source::ControllerSecret => secret(self.settings.own_namespace.as_str()).await,
            Source::ConfigMap => work
                .get::<ConfigMap>(target(Kind::ConfigMap, namespace))
                .await
                .map(|map| map.data),
        };
        match read {
            Ok(keys) => Ok(Ok(keys)),
            Err(CallError::NotFound(_)) => Ok(Err(None)),
            Err(CallError::Refused { message, .. }) => {
                let own = self.settings.own_namespace.as_str();
                let (kind, flag, at) = match source {
                    Source::Secret => ("secret", "--secret", namespace),
                    Source::ControllerSecret => ("secret", "--secret", own),
                    Source::ConfigMap => ("configmap", "--config-map", namespace),
                };
                Ok(Err(Some(format!(
                    "{kind} '{name}' cannot be read: {message}: let the controller do it: serin deploy generate-rbac {flag} {at}/{name} | kubectl apply -f -"
                ))))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a task unless it is under way.
    fn start(self: &Arc<Self>, key: &ObjectKey, uid: &str, task: &Task) {
        let mut runs = self.tasks.runs();
        let tasks = runs.entry(key.clone()).or_default();
        uid.clone_into(&mut tasks.uid);
        if tasks.in_flight.contains_key(task.key()) {
            return;
        }
        let (this, key, uid, job) = (Arc::clone(self), key.clone(), uid.to_owned(), task.clone());
        let handle = tokio::spawn(async move {
            let answer = this.tasks.pool.ask(job).await;
            if this.tasks.answered(&key, &uid, answer) {
                this.queue.wake(&Key::Run(key));
            }
        });
        tasks
            .in_flight
            .insert(task.key().clone(), handle.abort_handle());
    }

    /// Writes the status on the main resource: an AnalysisRun has no status sub-resource. False when
    /// the run has changed since.
    async fn write_status(
        &self,
        run: &AnalysisRun,
        status: &AnalysisRunStatus,
    ) -> Result<bool, CallError> {
        let before = run.status.clone().unwrap_or_default();
        let written = self.write_status_of(Kind::AnalysisRun, &run.metadata, &before, status);
        match written.await {
            Ok(None) => Ok(true),
            Ok(Some(answer)) => self.took_run(&answer).map(|_| true),
            Err(error @ (CallError::Conflict(_) | CallError::NotFound(_))) => {
                debug_assert_eq!(outcome(error, false), Outcome::Conflict);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn reread(&self, key: &ObjectKey) -> Result<Arc<AnalysisRun>, CallError> {
        let target = Target {
            kind: Kind::AnalysisRun,
            namespace: &key.namespace,
            name: &key.name,
        };
        let run: super::slim::SlimRun = match self.clients.work.get(target).await {
            Ok(run) => run,
            Err(error) => {
                if matches!(error, CallError::NotFound(_)) {
                    self.wake(self.index.gone_run(key));
                }
                return Err(error);
            }
        };
        self.wake(self.index.answered_run(run.clone()));
        run.run.map_err(CallError::Request)
    }

    async fn delete_run(&self, key: &ObjectKey, run: &AnalysisRun) -> Result<Rest, CallError> {
        if !self.offices.may_write(&key.namespace) {
            return Err(CallError::Request("the lease is not held".to_owned()));
        }
        let uid = run.metadata.uid.as_deref().unwrap_or_default();
        let version = run.metadata.resource_version.as_deref().unwrap_or_default();
        match self.clients.work.delete(target(run), uid, version).await {
            Ok(()) | Err(CallError::NotFound(_)) => {
                self.wake(self.index.gone_run(key));
                Ok(Rest::Quiet)
            }
            Err(error) => Err(error),
        }
    }

    fn report_run(&self, key: &ObjectKey, run: &AnalysisRun, plan: RunPlan) {
        if let Some(status) = &plan.status {
            log_measurements(key, run.status.as_ref(), status);
            let phase = status.phase.as_deref();
            let before = run.status.as_ref().and_then(|s| s.phase.as_deref());
            if phase != before {
                let message = status.message.as_deref();
                tracing::info!(run = %key, phase, message, "analysis");
            }
        }
        let regarding = Regarding {
            kind: Kind::AnalysisRun,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: run.metadata.uid.clone().unwrap_or_default(),
        };
        self.report(&Key::Run(key.clone()), &regarding, plan.events);
    }
}

/// One line for each measurement that is new, as it is written: secrets are hidden in it.
fn log_measurements(
    key: &ObjectKey,
    before: Option<&AnalysisRunStatus>,
    after: &AnalysisRunStatus,
) {
    fn made(result: &MetricResult) -> usize {
        let made = result.count.unwrap_or(0) + result.error.unwrap_or(0);
        usize::try_from(made).unwrap_or(0)
    }
    for result in after.metric_results.iter().flatten() {
        let known = before
            .iter()
            .flat_map(|s| s.metric_results.iter().flatten());
        let known = known.filter(|r| r.name == result.name).map(made).sum();
        let measurements = result.measurements.iter().flatten();
        let ended = measurements.rev().filter(|m| m.finished_at.is_some());
        let new: Vec<&Measurement> = ended.take(made(result).saturating_sub(known)).collect();
        for measurement in new.into_iter().rev() {
            let Measurement {
                phase,
                value,
                message,
                ..
            } = measurement;
            tracing::info!(run = %key, metric = result.name, phase, value, message, "measured");
        }
    }
}

fn target(run: &AnalysisRun) -> Target<'_> {
    Target {
        kind: Kind::AnalysisRun,
        namespace: run.metadata.namespace.as_deref().unwrap_or_default(),
        name: run.metadata.name.as_deref().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_writes_are_rarer_the_more_runs_are_busy() {
        let seconds = |runs| quiet_write(runs).as_secs();
        assert_eq!([0, 1, 50, 51].map(seconds), [1, 1, 1, 2]);
        assert_eq!([500, 1000, usize::MAX].map(seconds), [10, 10, 10]);
    }
}
