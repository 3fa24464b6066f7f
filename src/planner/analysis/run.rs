//! One turn of an AnalysisRun: fold the answers that came in, judge, and say what to measure next.
//! Pure and total. Knows when to measure; what an answer means is in `assess`.
//!
//! The contract with a shell: hand in every answer that is not yet part of the stored status; start
//! `tasks`, each at most once while its key is in flight; write `status` when there is one (at once
//! if `urgent`); after the write, drop the answers that `settled` names. A crash loses what was not
//! written and repeats exactly that, because a slot is a number in the stored status.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::args;
use super::assess::{self, Phase};
use super::compare;
use super::job::{JobCall, JobSeen};
use super::limits;
use super::metric::{ERROR_RETRY_MILLIS, MetricSpec};
use super::value::MetricValue;
use crate::api::AnalysisRun;
use crate::api::analysis::{AnalysisRunStatus, Measurement, MetricResult, RunSummary};
use crate::api::providers::MetricProvider;
use crate::planner::plan::Event;
use crate::planner::slo::diagnosis::{self, Diagnosis};

mod jobs;
mod prepare;

/// Everything one turn of a run may look at.
#[derive(Clone, Debug)]
pub struct RunObserved {
    /// The turn's one reading of the clock.
    pub now: Timestamp,
    /// The run as it is stored.
    pub run: Arc<AnalysisRun>,
    /// Answers that are not part of the stored status yet, in any order.
    pub answers: Vec<Answer>,
    /// Tasks that were started and have not answered.
    pub in_flight: BTreeSet<TaskKey>,
    /// What became of the keys that an earlier turn asked for.
    pub args: ResolvedArgs,
    /// What was seen of Jobs in this turn, by name.
    pub jobs: BTreeMap<String, JobSeen>,
    /// Logs of Jobs that have ended, by name, as far as they could be read.
    pub job_logs: BTreeMap<String, String>,
}

/// One measurement of one metric. The slot is `count + errors + 1` of the stored status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    /// Name of the metric.
    pub metric: String,
    /// Number of the measurement, from 1.
    pub slot: u64,
    /// True for the second question that asks why the first had no answer.
    pub is_diagnosis: bool,
}

/// What a task came back with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Which task.
    pub key: TaskKey,
    /// When it was asked.
    pub started: Timestamp,
    /// When the answer was there.
    pub finished: Timestamp,
    /// The value, or one sentence about why there is none.
    pub result: Result<MetricValue, String>,
    /// What the provider tells about the answer.
    pub metadata: BTreeMap<String, String>,
}

/// Where a key is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A Secret in the run's namespace.
    Secret,
    /// A Secret in the controller's namespace.
    ControllerSecret,
    /// A ConfigMap in the run's namespace.
    ConfigMap,
}

/// A key of a Secret or a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyNeed {
    /// Where.
    pub source: Source,
    /// Name of the Secret or ConfigMap.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl KeyNeed {
    /// A key of a Secret in the run's namespace.
    pub fn secret(name: &str, key: &str) -> Self {
        Self {
            source: Source::Secret,
            name: name.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The sentence for a key that is not there, as clients know it.
    pub fn missing(&self) -> String {
        let Self { source, name, key } = self;
        match source {
            Source::Secret => format!("key '{key}' does not exist in secret '{name}'"),
            Source::ControllerSecret => format!(
                "key '{key}' does not exist in secret '{name}' of the controller's namespace"
            ),
            Source::ConfigMap => format!("key '{key}' does not exist in configmap '{name}'"),
        }
    }
}

/// Keys that the shell has looked up. A failure that may pass (API server busy) is left out: the
/// turn asks again.
#[derive(Clone, Default)]
pub struct ResolvedArgs {
    /// The value, or why there is none and will be none ([`KeyNeed::missing`]).
    pub keys: BTreeMap<KeyNeed, Result<String, String>>,
}

impl fmt::Debug for ResolvedArgs {
    /// Names only: values must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// Something for the task runner.
#[derive(Clone, PartialEq)]
pub enum Task {
    /// Ask a provider once.
    Measure {
        /// What it is for.
        key: TaskKey,
        /// The provider with all arguments and secrets filled in.
        provider: Box<MetricProvider>,
        /// Keys of the provider's own Secret, with their values.
        credentials: BTreeMap<String, String>,
        /// Namespace of the run.
        namespace: String,
        /// When the last measurement that had an answer was asked.
        since_last: Option<Timestamp>,
        /// Time after which there is no answer.
        timeout: SignedDuration,
    },
}

impl Task {
    /// What the task is for.
    pub fn key(&self) -> &TaskKey {
        match self {
            Self::Measure { key, .. } => key,
        }
    }
}

impl fmt::Debug for Task {
    /// The key only: the provider may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measure { key, timeout, .. } => f
                .debug_struct("Measure")
                .field("key", key)
                .field("timeout", timeout)
                .finish_non_exhaustive(),
        }
    }
}

/// The decision of one turn of a run.
#[derive(Clone, Debug, Default)]
pub struct RunPlan {
    /// Tasks to start now.
    pub tasks: Vec<Task>,
    /// Cancel every task of this run that is in flight.
    pub cancel: bool,
    /// The next status, when it differs from the stored one.
    pub status: Option<AnalysisRunStatus>,
    /// A verdict or a change of phase; other writes may wait up to 10 s.
    pub urgent: bool,
    /// Answers that need not be handed in again once `status` is stored (at once if it is `None`).
    pub settled: Vec<TaskKey>,
    /// Events about the run, to report after the write.
    pub events: Vec<Event>,
    /// Keys without which nothing can be measured.
    pub needs: Vec<KeyNeed>,
    /// Jobs to create or look at before the turn can be decided: the shell does, and plans again.
    pub jobs: Vec<JobCall>,
    /// Names of Jobs to delete, with their pods, before the status is written.
    pub delete_jobs: Vec<String>,
    /// When to look again although nothing was seen to change.
    pub wake: Option<Timestamp>,
    /// The run has outlived its TTL: delete it.
    pub delete: bool,
}

/// One turn.
pub fn plan_analysis(seen: &RunObserved) -> RunPlan {
    let before = seen.run.status.clone().unwrap_or_default();
    if phase_of(&before).is_completed() {
        return after_the_end(seen, &before);
    }
    let mut turn = Turn::new(seen, before.clone());
    turn.plan.needs = prepare::missing_keys(seen);
    if !turn.plan.needs.is_empty() {
        if is_told_to_end(seen) {
            turn.plan.needs.clear();
            turn.end(Phase::Successful, Some("Run Terminated".to_owned()));
        }
        return turn.finish(&before);
    }
    match prepare::metrics(seen) {
        Ok(prepared) => turn.measure(&prepared),
        Err(message) => turn.end(Phase::Error, Some(message)),
    }
    turn.finish(&before)
}

fn phase_of(status: &AnalysisRunStatus) -> Phase {
    Phase::read(status.phase.as_deref().unwrap_or_default())
}

fn is_told_to_end(seen: &RunObserved) -> bool {
    seen.run.spec.terminate == Some(true)
}

/// A finished run: nothing is measured, and it goes when its TTL is over (N25).
fn after_the_end(seen: &RunObserved, status: &AnalysisRunStatus) -> RunPlan {
    let mut plan = RunPlan {
        cancel: !seen.in_flight.is_empty(),
        settled: seen.answers.iter().map(|a| a.key.clone()).collect(),
        ..RunPlan::default()
    };
    let Some(ttl) = &seen.run.spec.ttl_strategy else {
        return plan;
    };
    // Unlike the peer's, seconds after a failure count after an Error too: nobody wants to keep
    // broken runs longer than failed ones by accident (asks and pains 3.2, 20).
    let seconds = match phase_of(status) {
        Phase::Successful => ttl.seconds_after_success,
        Phase::Failed | Phase::Error => ttl.seconds_after_failure,
        Phase::Inconclusive | Phase::Pending | Phase::Running => None,
    };
    let ended = status.completed_at.as_ref().or(status.started_at.as_ref());
    if let (Some(seconds), Some(ended)) = (seconds.or(ttl.seconds_after_completion), ended) {
        let end = later(ended.0, seconds.max(0).saturating_mul(1000));
        plan.delete = seen.now >= end;
        plan.wake = (!plan.delete).then_some(end);
    }
    plan
}

/// A time `millis` later; the end of time when there is no such time.
fn later(time: Timestamp, millis: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_millis(millis))
        .unwrap_or(Timestamp::MAX)
}

/// A time as it is stored: whole seconds, rounded down.
fn floor(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// A time as it is stored: whole seconds, rounded up, so that what is counted from it is never short.
fn ceil(time: Timestamp) -> Time {
    let down = floor(time);
    if down.0 == time {
        down
    } else {
        Time(later(down.0, 1000))
    }
}

/// A time as it is stored: the nearest whole second. The next measurement counts from it: rounded up,
/// every interval would be a second longer than it was written.
fn nearest(time: Timestamp) -> Time {
    floor(later(time, 500))
}

/// The run's metrics, ready to be asked.
struct Prepared {
    metrics: Vec<MetricSpec>,
    /// Secret values, to be hidden in everything that is written.
    secrets: Vec<String>,
    /// Queries as sent, where arguments made them differ from what the run says.
    resolved: BTreeMap<String, String>,
    /// Keys of providers' own Secrets, by metric.
    credentials: BTreeMap<String, BTreeMap<String, String>>,
    /// The run, for its second questions.
    run: Arc<AnalysisRun>,
    /// Second questions by metric, read when the first one has no answer.
    diagnoses: OnceCell<BTreeMap<String, Diagnosis>>,
}

impl Prepared {
    fn diagnosis(&self, metric: &str) -> Option<&Diagnosis> {
        let all = self.diagnoses.get_or_init(|| {
            let annotations = self.run.metadata.annotations.as_ref();
            let text = annotations.and_then(|a| a.get(diagnosis::ANNOTATION));
            text.map(|text| diagnosis::read(text)).unwrap_or_default()
        });
        all.get(metric)
    }
}

/// A turn under way: the status grows, the plan with it.
struct Turn<'a> {
    seen: &'a RunObserved,
    status: AnalysisRunStatus,
    plan: RunPlan,
}

impl<'a> Turn<'a> {
    fn new(seen: &'a RunObserved, mut status: AnalysisRunStatus) -> Self {
        if status.started_at.is_none() {
            status.started_at = Some(ceil(seen.now));
        }
        status.phase = Some(Phase::Running.as_str().to_owned());
        Self {
            seen,
            status,
            plan: RunPlan::default(),
        }
    }

    fn measure(&mut self, run: &Prepared) {
        for metric in &run.metrics {
            self.fold(metric, run);
            self.fold_job(metric, run);
        }
        let told = is_told_to_end(self.seen);
        if told {
            self.end_jobs(run);
        }
        self.judge(run, told);
        let is_ending = told
            || run
                .metrics
                .iter()
                .any(|m| !m.is_dry_run && self.phase(m).is_bad());
        if is_ending {
            self.end_jobs(run);
            self.judge(run, true);
        }
        if run.metrics.iter().all(|m| self.phase(m).is_completed()) {
            self.conclude(run, told);
            return;
        }
        self.summarise(run);
        for metric in &run.metrics {
            self.next_task(metric, run);
        }
        self.settle_strays(run);
    }

    /// Answers to slots that are stored already, or to metrics that are not there, are of no use.
    fn settle_strays(&mut self, run: &Prepared) {
        for answer in &self.seen.answers {
            let metric = run.metrics.iter().find(|m| m.name == answer.key.metric);
            let is_stray = metric
                .is_none_or(|m| answer.key.slot < self.slot(m) || self.phase(m).is_completed());
            if is_stray && !self.plan.settled.contains(&answer.key) {
                self.plan.settled.push(answer.key.clone());
            }
        }
    }

    fn result(&self, name: &str) -> Option<&MetricResult> {
        self.status
            .metric_results
            .as_ref()?
            .iter()
            .find(|r| r.name == name)
    }

    fn phase(&self, metric: &MetricSpec) -> Phase {
        self.result(&metric.name)
            .map_or(Phase::Pending, |r| Phase::read(&r.phase))
    }

    fn slot(&self, metric: &MetricSpec) -> u64 {
        let made = self.result(&metric.name).map_or(0, |r| {
            r.count.unwrap_or(0).saturating_add(r.error.unwrap_or(0))
        });
        u64::try_from(made).unwrap_or(0).saturating_add(1)
    }

    fn answer(&self, key: &TaskKey) -> Option<&'a Answer> {
        self.seen.answers.iter().find(|a| a.key == *key)
    }

    /// The key of the next measurement, or of the second question about it.
    fn key(&self, metric: &MetricSpec, is_diagnosis: bool) -> TaskKey {
        TaskKey {
            metric: metric.name.clone(),
            slot: self.slot(metric),
            is_diagnosis,
        }
    }

    /// Takes the answers for a metric in the order of their slots.
    fn fold(&mut self, metric: &MetricSpec, run: &Prepared) {
        while !self.phase(metric).is_completed() {
            let key = self.key(metric, false);
            let Some(answer) = self.answer(&key) else {
                return;
            };
            let second = self.key(metric, true);
            let explanation = match (needs_diagnosis(metric, run, answer), self.answer(&second)) {
                (None, _) => None,
                (Some(_), None) => return, // `next_task` asks; the slot stays open until then.
                (Some(diagnosis), Some(why)) => Some(diagnosis.explain(why.result.as_ref().ok())),
            };
            let measurement = self.measurement(metric, run, answer, explanation);
            self.add(metric, run, measurement);
            self.plan.settled.extend([key, second]);
            let done = |r: &MetricResult| assess::metric(metric, r, false).0.is_completed();
            if self.result(&metric.name).is_none_or(done) {
                return;
            }
        }
    }

    /// The last measurement of a metric that had an answer.
    fn last_answered(&self, name: &str) -> Option<&Measurement> {
        let kept = self.result(name)?.measurements.as_ref()?;
        let has_answer = |m: &&Measurement| {
            let phase = Phase::read(&m.phase);
            phase.is_completed() && phase != Phase::Error
        };
        kept.iter().rev().find(has_answer)
    }

    /// A comparison's measurement: what was seen before is part of it, also where there is no answer.
    fn comparison(
        &self,
        metric: &MetricSpec,
        run: &Prepared,
        answer: &Answer,
    ) -> Option<compare::Look> {
        let comparison = compare::lower(metric.provider.compare.as_ref()?).ok()?;
        let last = self
            .result(&metric.name)
            .and_then(|r| r.measurements.as_ref()?.last());
        let before = last.and_then(|m| m.metadata.as_ref());
        Some(match &answer.result {
            Ok(value) => {
                let comparisons = run.metrics.iter().filter(|m| m.provider.compare.is_some());
                compare::judge(&comparison, value, before, comparisons.count())
            }
            Err(message) => compare::Look {
                phase: Phase::Error,
                message: message.clone(),
                metadata: before.cloned().unwrap_or_default(),
            },
        })
    }

    fn measurement(
        &self,
        metric: &MetricSpec,
        run: &Prepared,
        answer: &Answer,
        explanation: Option<String>,
    ) -> Measurement {
        let look = self.comparison(metric, run, answer);
        let (phase, message) = match (&look, &answer.result) {
            (Some(look), _) => (look.phase, Some(look.message.clone())),
            (None, Ok(value)) => assess::measurement(metric, value),
            (None, Err(message)) => (Phase::Error, Some(message.clone())),
        };
        let told = look.map_or_else(|| answer.metadata.clone(), |look| look.metadata);
        let hide = |text: String| args::redact(&text, &run.secrets);
        let metadata: BTreeMap<String, String> = told
            .iter()
            .map(|(k, v)| (k.clone(), args::redact(v, &run.secrets)))
            .collect();
        Measurement {
            phase: phase.as_str().to_owned(),
            message: explanation.or(message).map(|m| shorten(&hide(m))),
            started_at: Some(floor(answer.started)),
            finished_at: Some(nearest(answer.finished)),
            value: answer
                .result
                .as_ref()
                .ok()
                .map(|v| shorten(&hide(v.to_string()))),
            metadata: (!metadata.is_empty()).then_some(metadata),
            resume_at: None,
        }
    }

    /// Adds a measurement to the metric's result and keeps the counts of N6-N10.
    fn add(&mut self, metric: &MetricSpec, run: &Prepared, measurement: Measurement) {
        let is_news = {
            let last = self
                .result(&metric.name)
                .and_then(|r| r.measurements.as_ref()?.last());
            last.is_none_or(|last| last.phase != measurement.phase)
        };
        self.plan.urgent |= is_news;
        let phase = Phase::read(&measurement.phase);
        let Some(result) = self.result_or_new(metric, run) else {
            return;
        };
        let raise = |count: &mut Option<i64>| *count = Some(count.unwrap_or(0).saturating_add(1));
        match phase {
            Phase::Successful => {
                raise(&mut result.count);
                raise(&mut result.successful);
                raise(&mut result.consecutive_success);
            }
            Phase::Failed => {
                raise(&mut result.count);
                raise(&mut result.failed);
            }
            Phase::Inconclusive | Phase::Pending | Phase::Running => {
                raise(&mut result.count);
                raise(&mut result.inconclusive);
            }
            Phase::Error => {
                raise(&mut result.error);
                raise(&mut result.consecutive_error);
            }
        }
        if phase != Phase::Error {
            result.consecutive_error = None;
        }
        if phase != Phase::Successful {
            result.consecutive_success = None;
        }
        let kept = result.measurements.get_or_insert_default();
        // A measurement that another controller left unfinished is replaced by this one.
        kept.retain(|m| Phase::read(&m.phase).is_completed());
        kept.push(measurement);
        let surplus = kept.len().saturating_sub(metric.retention);
        let gone: Vec<Measurement> = kept.drain(..surplus).collect();
        self.plan
            .delete_jobs
            .extend(gone.iter().filter_map(jobs::name_of));
    }

    fn result_or_new(&mut self, metric: &MetricSpec, run: &Prepared) -> Option<&mut MetricResult> {
        let results = self.status.metric_results.get_or_insert_default();
        if !results.iter().any(|r| r.name == metric.name) {
            results.push(MetricResult {
                name: metric.name.clone(),
                phase: Phase::Running.as_str().to_owned(),
                dry_run: metric.is_dry_run.then_some(true),
                metadata: run.resolved.get(&metric.name).map(|query| {
                    let query = args::redact(query, &run.secrets);
                    BTreeMap::from([("ResolvedPrometheusQuery".to_owned(), query)])
                }),
                ..MetricResult::default()
            });
        }
        results.iter_mut().find(|r| r.name == metric.name)
    }

    /// Gives each metric its verdict, and says so when it gets one.
    fn judge(&mut self, run: &Prepared, is_terminating: bool) {
        for metric in &run.metrics {
            if self.phase(metric).is_completed()
                || (!is_terminating && self.result(&metric.name).is_none())
            {
                continue;
            }
            let Some(result) = self.result_or_new(metric, run) else {
                continue;
            };
            let (phase, why) = assess::metric(metric, result, is_terminating);
            let last = result
                .measurements
                .as_ref()
                .and_then(|m| m.last()?.message.clone());
            result.phase = phase.as_str().to_owned();
            if let Some(why) = why {
                result.message = Some(assess::sentence(metric, phase, &why, last.as_deref()));
            }
            if phase.is_completed() {
                self.plan.urgent = true;
                self.plan.events.push(metric_event(&metric.name, phase));
            }
        }
    }

    /// Every metric has its verdict: so has the run (N12).
    fn conclude(&mut self, run: &Prepared, told: bool) {
        self.summarise(run);
        let mut worst = Phase::Successful;
        let mut message = None;
        for metric in run.metrics.iter().filter(|m| !m.is_dry_run) {
            let phase = self.phase(metric);
            if phase.badness() > worst.badness() {
                worst = phase;
                message = self.result(&metric.name).and_then(|r| r.message.clone());
            }
        }
        if message.is_none() && told {
            message = Some("Run Terminated".to_owned());
        }
        self.end(worst, message);
    }

    fn end(&mut self, phase: Phase, message: Option<String>) {
        self.status.phase = Some(phase.as_str().to_owned());
        self.status.message = message;
        self.status.completed_at = Some(ceil(self.seen.now));
        self.plan.urgent = true;
        self.plan.cancel = !self.seen.in_flight.is_empty();
        self.plan.settled = self.seen.answers.iter().map(|a| a.key.clone()).collect();
        self.plan.events.push(run_event(phase));
    }

    fn summarise(&mut self, run: &Prepared) {
        let summary = |dry: bool| {
            let mut sum = RunSummary::default();
            for metric in run.metrics.iter().filter(|m| m.is_dry_run == dry) {
                let raise = |n: &mut Option<i64>| *n = Some(n.unwrap_or(0).saturating_add(1));
                raise(&mut sum.count);
                match self.phase(metric) {
                    Phase::Successful => raise(&mut sum.successful),
                    Phase::Failed => raise(&mut sum.failed),
                    Phase::Inconclusive => raise(&mut sum.inconclusive),
                    Phase::Error => raise(&mut sum.error),
                    Phase::Pending | Phase::Running => {}
                }
            }
            sum
        };
        let (counting, dry) = (summary(false), summary(true));
        self.status.run_summary = Some(counting);
        self.status.dry_run_summary = dry.count.is_some().then_some(dry);
    }

    /// When a metric is due, measures it; when it is not, wakes in time.
    fn next_task(&mut self, metric: &MetricSpec, run: &Prepared) {
        if self.phase(metric).is_completed() {
            return;
        }
        if metric.provider.job.is_some() {
            self.next_job(metric);
            return;
        }
        let key = self.key(metric, false);
        if let Some(answer) = self.answer(&key) {
            self.ask_why(metric, run, answer);
            return;
        }
        if self.seen.in_flight.contains(&key) {
            return;
        }
        match self.due(metric) {
            Some(due) if due > self.seen.now => self.wake(due),
            _ => self.ask(key, metric.provider.clone(), run),
        }
    }

    fn ask_why(&mut self, metric: &MetricSpec, run: &Prepared, answer: &Answer) {
        let Some(diagnosis) = needs_diagnosis(metric, run, answer) else {
            return;
        };
        let key = self.key(metric, true);
        if self.seen.in_flight.contains(&key) {
            return;
        }
        let mut provider = metric.provider.clone();
        if let Some(prometheus) = provider.prometheus.as_mut() {
            prometheus.query = Some(diagnosis.query.clone());
            prometheus.range_query = None;
        }
        self.ask(key, provider, run);
    }

    fn ask(&mut self, key: TaskKey, provider: MetricProvider, run: &Prepared) {
        let credentials = run.credentials.get(&key.metric).cloned();
        let since_last = self
            .last_answered(&key.metric)
            .and_then(|m| m.started_at.as_ref());
        let since_last = since_last.map(|t| t.0);
        self.plan.tasks.push(Task::Measure {
            key,
            credentials: credentials.unwrap_or_default(),
            since_last,
            namespace: self.seen.run.metadata.namespace.clone().unwrap_or_default(),
            timeout: limits::of(&provider),
            provider: Box::new(provider),
        });
    }

    /// When the next measurement is due; `None` at once (N4).
    fn due(&self, metric: &MetricSpec) -> Option<Timestamp> {
        let last = self
            .result(&metric.name)
            .and_then(|r| r.measurements.as_ref()?.last());
        let Some(last) = last else {
            let started = self
                .status
                .started_at
                .as_ref()
                .filter(|_| metric.initial_delay_ms > 0)?;
            return Some(later(started.0, metric.initial_delay_ms));
        };
        let from = last.finished_at.as_ref().or(last.started_at.as_ref())?.0;
        match (Phase::read(&last.phase), metric.interval_ms) {
            (Phase::Error, _) | (_, None) => Some(later(from, ERROR_RETRY_MILLIS)),
            (_, Some(interval)) => Some(later(from, interval)),
        }
    }

    fn wake(&mut self, at: Timestamp) {
        self.plan.wake = Some(self.plan.wake.map_or(at, |old| old.min(at)));
    }

    fn finish(mut self, before: &AnalysisRunStatus) -> RunPlan {
        if self.status.phase != before.phase {
            self.plan.urgent = true;
        }
        if self.status == *before {
            self.plan.urgent = false;
        } else {
            self.plan.status = Some(self.status);
        }
        self.plan
    }
}

fn needs_diagnosis<'r>(
    metric: &MetricSpec,
    run: &'r Prepared,
    answer: &Answer,
) -> Option<&'r Diagnosis> {
    let is_empty = answer.result.as_ref().is_ok_and(MetricValue::is_empty);
    is_empty.then(|| run.diagnosis(&metric.name)).flatten()
}

/// Texts in a status are read by people: 1024 bytes are enough, and an answer can be a megabyte.
fn shorten(text: &str) -> String {
    const MAX: usize = 1024;
    if text.len() <= MAX {
        return text.to_owned();
    }
    let mut end = MAX;
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

fn metric_event(name: &str, phase: Phase) -> Event {
    let note = format!("Metric '{name}' Completed. Result: {}", phase.as_str());
    match phase {
        Phase::Failed => Event::warning("MetricFailed", note),
        Phase::Error => Event::warning("MetricError", note),
        Phase::Inconclusive => Event::normal("MetricInconclusive", note),
        Phase::Successful | Phase::Pending | Phase::Running => {
            Event::normal("MetricSuccessful", note)
        }
    }
}

fn run_event(phase: Phase) -> Event {
    let note = format!("Analysis Completed. Result: {}", phase.as_str());
    match phase {
        Phase::Failed => Event::warning("AnalysisRunFailed", note),
        Phase::Error => Event::warning("AnalysisRunError", note),
        Phase::Inconclusive => Event::normal("AnalysisRunInconclusive", note),
        Phase::Successful | Phase::Pending | Phase::Running => {
            Event::normal("AnalysisRunSuccessful", note)
        }
    }
}

#[cfg(test)]
mod tests;
