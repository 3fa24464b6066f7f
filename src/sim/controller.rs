//! The rehearsal's shell: observes views that lag, asks the same planner as the live controller, and
//! performs with live reads, own-write tracking, re-planning and back-off as `live` does. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::clock::{Ms, plus};
use super::event::{Happen, Kind};
use super::faults::{Crash, Fate};
use super::world::World;
use crate::api::{AnalysisRun, controller_of};
use crate::planner::analysis::job::{JobCall, JobSeen};
use crate::planner::analysis::{
    Answer, ResolvedArgs, RunObserved, RunPlan, Task, TaskKey, plan_analysis,
};
use crate::planner::config::CopySeen;
use crate::planner::observed::{Answers, Named, Need, Observed, ServiceSeen};
use crate::planner::plan::{Event, Outcome, Plan, ServicePatch, Write};
use crate::planner::services::{named, release};
use crate::planner::turn::{End, Turn};
use crate::planner::{config, needs, plan_rollout, workload};

/// What the controller keeps in memory; a crash loses all of it.
#[derive(Debug, Default)]
pub struct Controller {
    /// It runs.
    pub is_up: bool,
    /// Terms in office so far.
    pub terms: u32,
    /// Versions of what it wrote last, by object: a turn waits until the view has them.
    own: BTreeMap<(Kind, String), u64>,
    /// A write's answer was lost: read live before the next turn.
    is_uncertain: bool,
    /// What the last turn said must be looked at.
    asked: Vec<Need>,
    /// A turn is already in the queue for this time or earlier.
    turn_at: Option<Timestamp>,
    /// Since when turns wait for the view.
    waits_since: Option<Timestamp>,
    failures: u32,
    runs: BTreeMap<String, RunMemory>,
    tasks: BTreeMap<u64, (String, Task, Timestamp)>,
    next_task: u64,
}

#[derive(Debug, Default)]
struct RunMemory {
    in_flight: BTreeSet<TaskKey>,
    answers: Vec<Answer>,
    args: ResolvedArgs,
}

/// Time after which a turn no longer waits for the view to bring its own writes, but reads live.
const PATIENCE: Ms = 5_000;
/// Every kind that is watched.
const KINDS: [Kind; 5] = [
    Kind::Rollouts,
    Kind::ReplicaSets,
    Kind::Runs,
    Kind::Services,
    Kind::Experiments,
];
/// Time until a Service that is to be let go is looked at: the Rollout's own turn often comes first.
const LET_GO: Ms = 700;
/// Time a measurement takes.
const MEASURE: Ms = 300;
/// Address of Prometheus where the manifest names none.
pub const PROMETHEUS: &str = "http://prometheus.rehearsal:9090";

impl Controller {
    /// The last turn went wrong, and another will come.
    pub fn is_retrying(&self) -> bool {
        self.failures > 0 || self.waits_since.is_some()
    }

    /// Forgets everything, as a process that ended.
    fn stop(&mut self) {
        let terms = self.terms;
        *self = Self {
            terms,
            ..Self::default()
        };
    }
}

/// How the writes of a turn went.
enum Performed {
    Ended(End),
    Crashed,
}

impl World<'_> {
    /// The controller process starts: lists, then looks at everything.
    pub fn start_controller(&mut self, old_list: Option<Ms>) {
        self.controller.stop();
        self.controller.is_up = true;
        self.controller.terms += 1;
        let now = self.now;
        let cluster = &mut self.cluster;
        match old_list {
            None => {
                cluster.rollouts.relist();
                cluster.replica_sets.relist();
                cluster.runs.relist();
                cluster.services.relist();
                cluster.experiments.relist();
            }
            Some(age) => {
                let (as_of, catch_up) = (plus(now, -age), plus(now, age.min(10_000)));
                cluster.rollouts.relist_old(as_of, catch_up);
                cluster.replica_sets.relist_old(as_of, catch_up);
                cluster.runs.relist_old(as_of, catch_up);
                cluster.services.relist_old(as_of, catch_up);
                cluster.experiments.relist_old(as_of, catch_up);
                for kind in KINDS {
                    self.queue.push(catch_up, Happen::Deliver(kind));
                }
            }
        }
        self.look_at_services();
        self.look_soon(now);
        let runs: Vec<String> = self.cluster.runs.view().keys().cloned().collect();
        for run in runs {
            self.queue.push(now, Happen::RunTurn(Arc::from(run)));
        }
        self.look_at_experiments();
    }

    /// The controller process ends; `Happen::Start` must bring it back.
    pub fn stop_controller(&mut self, down: Ms, old_list: Option<Ms>) {
        self.controller.stop();
        self.old_list = old_list;
        self.queue.push(plus(self.now, down), Happen::Start);
    }

    /// A watch has brought something.
    pub fn delivered(&mut self, kind: Kind) {
        let now = self.now;
        let changed = match kind {
            Kind::Rollouts => self.cluster.rollouts.deliver(now),
            Kind::ReplicaSets => self.cluster.replica_sets.deliver(now),
            Kind::Runs => self.cluster.runs.deliver(now),
            Kind::Services => self.cluster.services.deliver(now),
            Kind::Experiments => self.cluster.experiments.deliver(now),
        };
        if !changed || !self.controller.is_up {
            return;
        }
        if kind == Kind::Runs {
            let runs: Vec<String> = self.cluster.runs.view().keys().cloned().collect();
            for run in runs {
                self.queue.push(now, Happen::RunTurn(Arc::from(run)));
            }
        }
        if matches!(kind, Kind::Rollouts | Kind::Services) {
            self.look_at_services();
        }
        self.look_at_experiments();
        self.look_soon(now);
    }

    /// Services that are to be let go are looked at in turns of their own, which come when they come.
    fn look_at_services(&mut self) {
        if !self.services_to_let_go().is_empty() {
            self.queue.push(plus(self.now, LET_GO), Happen::LetGo);
        }
    }

    /// What is to become of the Services that say a Rollout manages them, as the live shell asks: by
    /// a live read of that Rollout, and with the planner's own rule.
    fn services_to_let_go(&self) -> Vec<ServicePatch> {
        let cluster = &self.cluster;
        let manager = |service: &ServiceSeen| {
            let name = service.manager.as_deref()?;
            cluster.rollouts.get(name).map(|rollout| &rollout.seen)
        };
        let services = cluster.services.view().values();
        services
            .filter_map(|service| release(service, manager(service)))
            .collect()
    }

    /// The turns of the Services.
    pub fn let_services_go(&mut self) {
        if !self.controller.is_up {
            return;
        }
        for patch in self.services_to_let_go() {
            // A conflict means that the watch has news to bring: then it is looked at again.
            self.cluster
                .perform(self.now, &Write::PatchService(patch), &mut self.queue);
        }
    }

    /// A turn is wanted at `at`, unless one is on its way already.
    pub(super) fn look_soon(&mut self, at: Timestamp) {
        if self.controller.turn_at.is_some_and(|known| known <= at) {
            return;
        }
        self.controller.turn_at = Some(at);
        self.queue.push(at, Happen::Turn);
    }

    /// One turn of the Rollout: observe, plan, perform, report.
    pub fn turn(&mut self) {
        if !self.controller.is_up || self.controller.turn_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.controller.turn_at = None;
        let mut live = self.controller.is_uncertain;
        if !live && !self.sees_own_writes(Kind::Rollouts) {
            let since = *self.controller.waits_since.get_or_insert(self.now);
            if plus(since, PATIENCE) > self.now {
                self.look_soon(plus(since, PATIENCE));
                return;
            }
            live = true;
        }
        self.controller.waits_since = None;
        // A conflict, or a disruptive plan, is planned once more from a live read; a second conflict
        // in a row backs off.
        for _ in 0..3 {
            let Some(observed) = self.observe(live) else {
                return;
            };
            let plan = plan_rollout(&observed);
            if let Some(watcher) = &mut self.watcher {
                watcher.planned(&observed, &plan);
            }
            if plan.is_disruptive() && !observed.is_fresh {
                live = true;
                continue;
            }
            let Performed::Ended(end) = self.perform_plan(&observed, plan) else {
                return;
            };
            let replan = end.replan;
            self.after_turn(end);
            if !replan {
                return;
            }
            live = true;
        }
        self.back_off();
    }

    fn after_turn(&mut self, end: End) {
        for event in &end.events {
            self.report(event);
        }
        if let Some(at) = end.wake.time() {
            // A wake that is already past would spin: the live shell rounds up as well.
            self.look_soon(at.max(plus(self.now, 1)));
        }
        self.controller.asked = end.needs;
        self.controller.is_uncertain = end.is_uncertain;
        match end.failure {
            Some(_) => self.back_off(),
            None => self.controller.failures = 0,
        }
    }

    fn back_off(&mut self) {
        let failures = self.controller.failures.min(10);
        self.controller.failures += 1;
        let wait = (10_i64 << failures).min(10_000);
        self.look_soon(plus(self.now, wait));
    }

    /// The planner's view, with everything it asks for.
    fn observe(&mut self, live: bool) -> Option<Observed> {
        let mut seen = self.snapshot(live)?;
        let mut wanted = std::mem::take(&mut self.controller.asked);
        for _ in 0..8 {
            let rollout = workload::resolved(
                seen.rollout,
                &seen.replica_sets,
                seen.answers.workload.as_ref(),
            );
            seen.rollout = config::resolved(rollout, &seen.replica_sets, &seen.answers);
            wanted.extend(needs(&seen));
            if wanted.is_empty() {
                return Some(seen);
            }
            if wanted.contains(&Need::Fresh) && !seen.is_fresh {
                let answers = std::mem::take(&mut seen.answers);
                seen = self.snapshot(true)?;
                seen.answers = answers;
            }
            for need in wanted.drain(..) {
                if let Need::Service(name) = &need
                    && let Some(found) = self.cluster.services.get(name)
                {
                    seen.services.push(ServiceSeen::clone(found));
                    continue;
                }
                self.answer(&need, &mut seen.answers);
            }
        }
        Some(seen)
    }

    fn snapshot(&self, live: bool) -> Option<Observed> {
        let cluster = &self.cluster;
        let (rollouts, sets, runs, services, experiments) = match live {
            true => (
                cluster.rollouts.truth(),
                cluster.replica_sets.truth(),
                cluster.runs.truth(),
                cluster.services.truth(),
                cluster.experiments.truth(),
            ),
            false => (
                cluster.rollouts.view(),
                cluster.replica_sets.view(),
                cluster.runs.view(),
                cluster.services.view(),
                cluster.experiments.view(),
            ),
        };
        let rollout = rollouts.values().next()?.seen.clone();
        let owner = Some(rollout.uid.as_str());
        let replica_sets = sets.values().filter(|set| set.owner.as_deref() == owner);
        let is_of = |meta: &ObjectMeta| controller_of(meta).is_some_and(|o| o.uid == rollout.uid);
        let runs: Vec<_> = runs
            .values()
            .filter(|run| is_of(&run.metadata))
            .cloned()
            .collect();
        let experiments = experiments.values().filter(|e| is_of(&e.metadata));
        let experiments = experiments.cloned().collect();
        let names = rollout
            .spec
            .as_ref()
            .map_or_else(|_| vec![], |spec| named(spec));
        let is_named = |service: &ServiceSeen| names.iter().any(|(_, name)| *name == service.name);
        let is_managed = |service: &ServiceSeen| service.manager.as_ref() == Some(&rollout.name);
        let services = services
            .values()
            .filter(|service| is_named(service) || is_managed(service))
            .map(|service| ServiceSeen::clone(service))
            .collect();
        Some(Observed {
            services,
            now: self.now,
            replica_sets: replica_sets.map(|set| set.seen.clone()).collect(),
            runs,
            experiments,
            answers: Answers::default(),
            is_fresh: live,
            evidence: live.then(|| cluster.last_version().to_string()),
            default_prometheus: Some(PROMETHEUS.to_owned()),
            freezes: Arc::clone(&cluster.freezes),
            epoch: String::new(),
            rollout,
        })
    }

    fn answer(&self, need: &Need, answers: &mut Answers) {
        let cluster = &self.cluster;
        let owner = |metadata: &ObjectMeta| controller_of(metadata).map(|o| o.uid.clone());
        match need {
            Need::Fresh => {}
            Need::Kept(name) => {
                let kept = cluster.kept.get(name).cloned();
                answers.kept = Some(kept);
            }
            Need::Config(key) => {
                let found = cluster.config_seen(key);
                answers.configs.insert(key.clone(), found);
            }
            Need::Copy(key) => {
                let found = cluster.configs.get(key).map(|o| Arc::new(CopySeen::of(o)));
                answers.copies.insert(key.clone(), found);
            }
            Need::Workload(_) => answers.workload = Some(cluster.workload_seen()),
            Need::Template => {
                answers.template = cluster.rollout().map(|rollout| rollout.template());
            }
            Need::Object => {
                let wire = cluster.rollout().map(|rollout| rollout.to_wire());
                let object = wire.and_then(|wire| serde_json::to_value(wire).ok());
                answers.object = Some(Arc::new(object.unwrap_or_default()));
            }
            // The simulator's defaulter is the identity.
            Need::StoredTemplate => {
                let template = cluster.template();
                answers.stored_template =
                    template.map(|template| Ok(Arc::new(template.value().clone())));
            }
            Need::ReplicaSetTemplate(name) => {
                if let Some(set) = cluster.replica_sets.get(name) {
                    answers
                        .replica_set_templates
                        .insert(name.clone(), Arc::new(set.template()));
                }
            }
            Need::Named(name) => {
                let found = cluster.replica_sets.get(name).map(|set| Named {
                    owner: set.owner.clone(),
                    template_digest: set.seen.template_digest.clone(),
                });
                answers.named.insert(name.clone(), found);
            }
            Need::Pods => answers.pods = Some(cluster.pods_seen()),
            Need::Run(name) => {
                let owner = cluster.runs.get(name).map(|run| owner(&run.metadata));
                answers.runs.insert(name.clone(), owner);
            }
            Need::Experiment(name) => {
                let found = cluster.experiments.get(name);
                let owner = found.map(|experiment| owner(&experiment.metadata));
                answers.experiments.insert(name.clone(), owner);
            }
            Need::AnalysisTemplate(reference) => {
                let found = cluster.templates.get(reference).cloned();
                answers.analysis_templates.insert(reference.clone(), found);
            }
            Need::Service(name) => {
                answers.absent_services.insert(name.clone());
            }
        }
    }

    fn perform_plan(&mut self, observed: &Observed, plan: Plan) -> Performed {
        let mut turn = Turn::new(observed, plan);
        while let Some(effect) = turn.next_effect() {
            match self.perform(&effect.write, Some(observed)) {
                Some(outcome) => turn.record(outcome),
                None => return Performed::Crashed,
            }
        }
        Performed::Ended(turn.finish())
    }

    /// Carries out one write under the faults of the hour; `None` when the controller crashed.
    pub(super) fn perform(
        &mut self,
        write: &Write,
        observed: Option<&Observed>,
    ) -> Option<Outcome> {
        let fate = self.faults.decide();
        let outcome = match fate {
            Fate::Fine | Fate::Lost | Fate::CrashAfter(_) => {
                let before = self.watcher.is_some().then(|| self.census());
                let outcome = self.cluster.perform(self.now, write, &mut self.queue);
                if let (Some(before), Some(seen)) = (before, observed)
                    && let Some(mut watcher) = self.watcher.take()
                {
                    watcher.wrote(self, write, &outcome, seen, &before);
                    self.watcher = Some(watcher);
                }
                outcome
            }
            Fate::Conflict => Outcome::Conflict,
            Fate::Error => Outcome::Failed("the server answered 500 Internal Server Error".into()),
            Fate::CrashBefore(_) => Outcome::Unknown(String::new()),
        };
        if let Fate::CrashBefore(crash) | Fate::CrashAfter(crash) = fate {
            self.crash(crash);
            return None;
        }
        if let Outcome::Done { version } = &outcome
            && fate == Fate::Fine
        {
            self.remember(write, version);
        }
        match fate {
            Fate::Lost => Some(Outcome::Unknown("no answer within 5s".into())),
            _ => Some(outcome),
        }
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.tell_fault("controller crashes");
        self.stop_controller(crash.down, crash.old_list);
    }

    fn remember(&mut self, write: &Write, version: &str) {
        let rollout = || {
            self.cluster
                .rollout()
                .map(|r| r.seen.name.clone())
                .unwrap_or_default()
        };
        let key = match write {
            Write::PatchRollout { .. } | Write::Status(_) => (Kind::Rollouts, rollout()),
            Write::CreateReplicaSet(new) => (Kind::ReplicaSets, new.name.clone()),
            Write::PatchReplicaSet(patch) => (Kind::ReplicaSets, patch.name.clone()),
            Write::PatchService(patch) => (Kind::Services, patch.name.clone()),
            Write::CreateRun(run) => (Kind::Runs, run.metadata.name.clone().unwrap_or_default()),
            Write::TerminateRun { name, .. } => (Kind::Runs, name.clone()),
            Write::CreateExperiment(experiment) => {
                let name = experiment.metadata.name.clone();
                (Kind::Experiments, name.unwrap_or_default())
            }
            Write::TerminateExperiment { name, .. } => (Kind::Experiments, name.clone()),
            Write::KeepTemplate(_)
            | Write::DropTemplate(_)
            | Write::CreateConfig(_)
            | Write::DeleteConfig(_)
            | Write::ScaleWorkload(_)
            | Write::PatchWorkload(_)
            | Write::PatchPods(_)
            | Write::CreateService(_)
            | Write::DeleteService { .. }
            | Write::EvictPod { .. } => return,
            Write::DeleteExperiment { name, .. } => {
                let own = (Kind::Experiments, name.clone());
                self.controller.own.remove(&own);
                return;
            }
            Write::DeleteReplicaSet { name, .. } => {
                self.controller
                    .own
                    .remove(&(Kind::ReplicaSets, name.clone()));
                return;
            }
            Write::DeleteRun { name, .. } => {
                self.controller.own.remove(&(Kind::Runs, name.clone()));
                return;
            }
        };
        self.controller
            .own
            .insert(key, version.parse().unwrap_or(0));
    }

    /// This controller wrote that version.
    pub(super) fn wrote_own(&mut self, kind: Kind, name: &str, version: &str) {
        let version = version.parse().unwrap_or(0);
        self.controller.own.insert((kind, name.to_owned()), version);
    }

    /// True when the view is not older than anything this controller wrote. `Kind::Runs` asks for
    /// runs alone, anything else for all kinds.
    pub(super) fn sees_own_writes(&mut self, kind: Kind) -> bool {
        let cluster = &self.cluster;
        let version_of = |kind: Kind, name: &str| -> Option<u64> {
            let version = match kind {
                Kind::Rollouts => cluster
                    .rollouts
                    .view()
                    .get(name)
                    .map(|o| o.seen.version.clone()),
                Kind::ReplicaSets => cluster
                    .replica_sets
                    .view()
                    .get(name)
                    .map(|o| o.seen.version.clone()),
                Kind::Services => cluster.services.view().get(name).map(|o| o.version.clone()),
                Kind::Runs => {
                    let run = cluster.runs.view().get(name)?;
                    run.metadata.resource_version.clone()
                }
                Kind::Experiments => {
                    let experiment = cluster.experiments.view().get(name)?;
                    experiment.metadata.resource_version.clone()
                }
            };
            version?.parse().ok()
        };
        let exists = |kind: Kind, name: &str| match kind {
            Kind::Rollouts => cluster.rollouts.get(name).is_some(),
            Kind::ReplicaSets => cluster.replica_sets.get(name).is_some(),
            Kind::Runs => cluster.runs.get(name).is_some(),
            Kind::Services => cluster.services.get(name).is_some(),
            Kind::Experiments => cluster.experiments.get(name).is_some(),
        };
        let wanted = |of: Kind| kind != Kind::Runs || of == Kind::Runs;
        self.controller.own.retain(|(of, name), version| {
            if !wanted(*of) {
                return true;
            }
            let is_seen = version_of(*of, name).is_some_and(|seen| seen >= *version);
            !is_seen && exists(*of, name)
        });
        !self.controller.own.keys().any(|(of, _)| wanted(*of))
    }

    /// One turn of an AnalysisRun.
    pub fn run_turn(&mut self, name: &str) {
        if !self.controller.is_up || !self.sees_own_writes(Kind::Runs) {
            return;
        }
        let Some(run) = self.cluster.runs.view().get(name).cloned() else {
            self.controller.runs.remove(name);
            return;
        };
        let mut jobs = BTreeMap::new();
        for _ in 0..4 {
            let memory = self.controller.runs.entry(name.to_owned()).or_default();
            let seen = RunObserved {
                now: self.now,
                run: Arc::clone(&run),
                answers: memory.answers.clone(),
                in_flight: memory.in_flight.clone(),
                args: memory.args.clone(),
                jobs: jobs.clone(),
                job_logs: BTreeMap::new(),
            };
            let plan = plan_analysis(&seen);
            if plan.needs.is_empty() && !plan.jobs.is_empty() {
                for call in &plan.jobs {
                    jobs.insert(call.name().to_owned(), self.job_seen(name, call));
                }
                continue;
            }
            if plan.needs.is_empty() {
                self.perform_run(name, &run, plan);
                return;
            }
            // A rehearsal has no secrets: whatever is asked for has a stand-in.
            for need in plan.needs {
                memory.args.keys.insert(need, Ok("rehearsed".into()));
            }
        }
    }

    /// A Job of a rehearsal has begun when it is created, and has ended when it is looked at, as its
    /// metric is scripted: a number other than 0 and health are success.
    fn job_seen(&self, run: &str, call: &JobCall) -> JobSeen {
        let JobCall::Look { name } = call else {
            return JobSeen::Running;
        };
        match self.job_ended(run, name) {
            Ok(true) => JobSeen::Complete,
            Ok(false) => JobSeen::Failed("the rehearsal lets it fail".to_owned()),
            Err(_) => JobSeen::Running,
        }
    }

    fn perform_run(&mut self, name: &str, run: &Arc<AnalysisRun>, plan: RunPlan) {
        let Some(memory) = self.controller.runs.get_mut(name) else {
            return;
        };
        if plan.cancel {
            memory.in_flight.clear();
        }
        let is_written = plan.status.is_some();
        if !is_written {
            memory
                .answers
                .retain(|answer| !plan.settled.contains(&answer.key));
        }
        for task in plan.tasks {
            if memory.in_flight.insert(task.key().clone()) {
                let id = self.controller.next_task;
                self.controller.next_task += 1;
                self.controller
                    .tasks
                    .insert(id, (name.to_owned(), task, self.now));
                self.queue.push(plus(self.now, MEASURE), Happen::Answer(id));
            }
        }
        if let Some(at) = plan.wake {
            self.queue
                .push_once(at.max(plus(self.now, 1)), Happen::RunTurn(Arc::from(name)));
        }
        if plan.delete {
            if let Some(due) = self.cluster.runs.remove(self.now, name) {
                self.queue.push(due, Happen::Deliver(Kind::Runs));
            }
            return;
        }
        let Some(status) = plan.status else { return };
        let fate = self.faults.decide();
        if let Fate::CrashBefore(crash) = fate {
            self.crash(crash);
            return;
        }
        let is_current = self.cluster.runs.get(name).is_some_and(|current| {
            current.metadata.resource_version == run.metadata.resource_version
        });
        if !is_current || matches!(fate, Fate::Conflict | Fate::Error) {
            self.queue
                .push(plus(self.now, 1_000), Happen::RunTurn(Arc::from(name)));
            return;
        }
        let mut next = AnalysisRun::clone(run);
        next.status = Some(status);
        self.record_run(run, &next);
        let version = self.cluster.store_run(self.now, next, &mut self.queue);
        if let Fate::CrashAfter(crash) = fate {
            self.crash(crash);
            return;
        }
        self.controller
            .own
            .insert((Kind::Runs, name.to_owned()), version.parse().unwrap_or(0));
        if let Some(memory) = self.controller.runs.get_mut(name) {
            memory
                .answers
                .retain(|answer| !plan.settled.contains(&answer.key));
        }
        for event in &plan.events {
            self.report_of_run(name, event);
        }
    }

    /// A measurement comes back.
    pub fn answered(&mut self, id: u64) {
        let Some((name, task, started)) = self.controller.tasks.remove(&id) else {
            return;
        };
        let key = task.key().clone();
        let result = self.measured(&name, &key);
        let Some(memory) = self.controller.runs.get_mut(&name) else {
            return;
        };
        if !memory.in_flight.remove(&key) {
            return;
        }
        let finished = self.now;
        memory.answers.push(Answer {
            key,
            started,
            finished,
            result,
            metadata: BTreeMap::new(),
        });
        self.queue.push(self.now, Happen::RunTurn(Arc::from(name)));
    }

    fn report_of_run(&mut self, name: &str, event: &Event) {
        if let Some(recorder) = &mut self.recorder {
            recorder.run_event(self.now, name, event);
        }
    }
}
