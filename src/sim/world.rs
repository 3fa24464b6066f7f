//! The rehearsal's world: one clock, one queue, a cluster, a controller, a script. Pops the earliest
//! event, sets the clock, lets it happen. Decides nothing about rollouts.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::actions::Script;
use super::clock::{Ms, Queue, epoch, plus};
use super::cluster::Cluster;
use super::controller::Controller;
use super::event::{Happen, Kind};
use super::faults::Faults;
use super::recorder::Recorder;
use super::rehearsal::Rehearsal;
use crate::planner::lower;
use crate::planner::observed::{Observed, ServiceSeen};
use crate::planner::plan::{Event, Outcome, Plan, Write};
use crate::planner::services::named;

/// Looks on, for tests: every plan, and every write that was carried out.
pub trait Watcher {
    /// A plan was made.
    fn planned(&mut self, _seen: &Observed, _plan: &Plan) {}

    /// A write was carried out; `before` is what was true until then.
    fn wrote(
        &mut self,
        _world: &World<'_>,
        _write: &Write,
        _outcome: &Outcome,
        _seen: &Observed,
        _before: &Census,
    ) {
    }
}

/// Sizes of all ReplicaSets, and what is really available.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By name: `spec.replicas`, available by status, available in truth.
    pub sets: BTreeMap<String, (u32, u32, u32)>,
    /// `spec.replicas` of the Rollout.
    pub desired: u32,
}

/// Everything that happens.
pub struct World<'a> {
    /// The time it is.
    pub now: Timestamp,
    /// When the story begins.
    pub start: Timestamp,
    /// What is to come.
    pub queue: Queue<Happen>,
    /// The API server and the pods.
    pub cluster: Cluster,
    /// The controller's memory.
    pub controller: Controller,
    /// Faults to come.
    pub faults: Faults,
    /// What is rehearsed.
    pub rehearsal: &'a Rehearsal,
    /// Writes the story down; absent where nobody reads it.
    pub recorder: Option<Recorder>,
    /// Looks on, for tests.
    pub watcher: Option<Box<dyn Watcher + 'a>>,
    /// Until when the metric provider does not answer.
    pub(super) prometheus_back: Timestamp,
    /// How old the list is that the next start of the controller gets.
    pub(super) old_list: Option<Ms>,
    pub(super) script: Script,
    /// When a Rollout or a ReplicaSet changed last.
    pub(super) changed: Timestamp,
    /// When an entry of the script happened last.
    pub(super) acted: Timestamp,
    seen_version: u64,
}

/// Why a story ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is left to do.
    Settled,
    /// Only a person could go on.
    Waiting,
    /// The time was up.
    TimeUp,
}

/// How long nothing must change before a settled story ends.
const QUIET: Ms = 10_000;
/// How long nothing must change before a story ends that only a person could continue.
const PATIENCE: Ms = 120_000;
/// How long the first version may take to become Healthy before the story begins.
const WARM_UP: Ms = 3_600_000;

impl<'a> World<'a> {
    /// A world in which nothing has happened yet.
    pub fn new(rehearsal: &'a Rehearsal) -> Self {
        let mut cluster = Cluster::new(rehearsal.lag);
        for version in &rehearsal.versions {
            cluster
                .workloads
                .set_behaviour(&version.image, version.how.clone());
        }
        let templates = rehearsal.manifests.templates.iter();
        cluster.templates = templates
            .map(|(name, spec)| (name.clone(), Arc::new(spec.clone())))
            .collect();
        cluster.freezes = Arc::new(rehearsal.manifests.freezes.clone());
        cluster.configs.clone_from(&rehearsal.manifests.configs);
        let workload = rehearsal.manifests.workload_of(&rehearsal.rollout);
        if let Some(workload) = workload {
            cluster.workload = Some(workload.clone());
            cluster.patch_workload(&serde_json::json!({}));
        }
        Self {
            now: epoch(),
            start: epoch(),
            queue: Queue::new(),
            cluster,
            controller: Controller::default(),
            faults: Faults::default(),
            rehearsal,
            recorder: None,
            watcher: None,
            prometheus_back: epoch(),
            old_list: None,
            script: Script::new(&rehearsal.script),
            changed: epoch(),
            acted: epoch(),
            seen_version: 0,
        }
    }

    /// The first version is applied and becomes Healthy; the story begins at the next whole second.
    /// False when it did not become Healthy.
    pub fn warm_up(&mut self) -> bool {
        self.create_services();
        self.cluster
            .create_rollout(self.now, &self.rehearsal.rollout, &mut self.queue);
        self.start_controller(None);
        let limit = plus(self.now, WARM_UP);
        while self.step(limit) {
            if self.phase() == "Healthy" && self.is_quiet(QUIET) {
                break;
            }
        }
        self.begin();
        self.phase() == "Healthy"
    }

    /// The story begins with an empty cluster.
    pub fn begin_empty(&mut self) {
        self.begin();
        self.create_services();
        self.cluster
            .create_rollout(self.now, &self.rehearsal.rollout, &mut self.queue);
        self.start_controller(None);
    }

    /// The Services of the rehearsal, and those that its Rollout names and nobody gave: they are
    /// taken to select what the Rollout selects.
    fn create_services(&mut self) {
        let given = &self.rehearsal.manifests.services;
        let spec = lower::lower(&self.rehearsal.rollout);
        let names = spec.as_ref().map_or_else(|_| vec![], named);
        let selector = self.rehearsal.rollout.spec.selector.as_ref();
        let labels = selector
            .and_then(|s| s.match_labels.clone())
            .unwrap_or_default();
        let assumed = names
            .iter()
            .filter(|(_, name)| given.iter().all(|service| service.name != *name))
            .map(|(_, name)| ServiceSeen {
                name: (*name).to_owned(),
                selector: labels.clone(),
                ..ServiceSeen::default()
            });
        for service in given.iter().cloned().chain(assumed) {
            self.cluster
                .store_service(self.now, service, &mut self.queue);
        }
    }

    fn begin(&mut self) {
        let whole = self.now.as_second() + 1;
        let whole = Timestamp::from_second(whole).unwrap_or(self.now);
        let starts = self.rehearsal.starts.unwrap_or(whole);
        self.start = starts.max(whole);
        while self.queue.next_at().is_some_and(|at| at < self.start) {
            self.step(self.start);
        }
        self.now = self.start;
        self.changed = self.start;
        for experiment in &self.rehearsal.manifests.experiments {
            self.cluster
                .create_experiment(self.now, experiment, &mut self.queue);
        }
        for (index, delay) in self.script.timed() {
            self.queue.push(plus(self.start, delay), Happen::Act(index));
        }
    }

    /// Plays until the story ends by itself, or until `until` after its start.
    pub fn play(&mut self, until: Ms) -> Ending {
        let limit = plus(self.start, until);
        self.sample();
        loop {
            self.look_for_triggers();
            if let Some(ending) = self.ending() {
                return ending;
            }
            if !self.step(limit) {
                let is_over = self.queue.next_at().is_none();
                return if is_over {
                    Ending::Settled
                } else {
                    Ending::TimeUp
                };
            }
        }
    }

    /// Lets the next event happen, unless it lies beyond `limit`.
    pub fn step(&mut self, limit: Timestamp) -> bool {
        if self.queue.next_at().is_none_or(|at| at > limit) {
            return false;
        }
        let Some((at, event)) = self.queue.pop() else {
            return false;
        };
        self.now = at;
        self.happen(event);
        let version = self.cluster.last_version();
        if version != self.seen_version {
            self.seen_version = version;
            self.changed = self.now;
            self.sample();
        }
        true
    }

    fn happen(&mut self, event: Happen) {
        let now = self.now;
        match event {
            Happen::Deliver(kind) => self.delivered(kind),
            Happen::Sync(set) => self.cluster.sync(now, &set, &mut self.queue),
            Happen::Pod { set, pod, serial } => {
                self.cluster
                    .pod_happens(now, (&set, pod, serial), &mut self.queue);
            }
            Happen::Gone { set, pod } => self.cluster.pod_gone(&set, pod),
            Happen::Turn => self.turn(),
            Happen::LetGo => self.let_services_go(),
            Happen::RunTurn(run) => self.run_turn(&run),
            Happen::ExperimentTurn(name) => self.experiment_turn(&name),
            Happen::Answer(task) => self.answered(task),
            Happen::Act(index) => self.act(index),
            Happen::Start => {
                let old_list = self.old_list.take();
                self.tell_fault("controller starts again");
                self.start_controller(old_list);
            }
            Happen::Thaw(kind) => {
                let cluster = &mut self.cluster;
                let (thawed, dues) = match kind {
                    Kind::Rollouts => (cluster.rollouts.thaw(), cluster.rollouts.dues()),
                    Kind::ReplicaSets => (cluster.replica_sets.thaw(), cluster.replica_sets.dues()),
                    Kind::Runs => (cluster.runs.thaw(), cluster.runs.dues()),
                    Kind::Services => (cluster.services.thaw(), cluster.services.dues()),
                    Kind::Experiments => (cluster.experiments.thaw(), cluster.experiments.dues()),
                };
                for due in dues {
                    self.queue.push(due.max(now), Happen::Deliver(kind));
                }
                if thawed {
                    self.delivered(kind);
                }
            }
            Happen::Tick => {}
        }
    }

    /// Phase of the Rollout, empty before it has one.
    pub fn phase(&self) -> &str {
        let rollout = self.cluster.rollout();
        rollout
            .and_then(|rollout| rollout.seen.status.phase.as_deref())
            .unwrap_or_default()
    }

    /// True when nothing has changed for so long, and nothing will within that time.
    fn is_quiet(&self, quiet: Ms) -> bool {
        let until = plus(self.changed, quiet).max(self.now);
        self.queue.next_at().is_none_or(|at| at > until)
    }

    /// Why the story ends now, if it does.
    fn ending(&self) -> Option<Ending> {
        let cluster = &self.cluster;
        let sees_all = cluster.rollouts.is_caught_up()
            && cluster.replica_sets.is_caught_up()
            && cluster.runs.is_caught_up()
            && cluster.services.is_caught_up()
            && cluster.experiments.is_caught_up();
        let is_idle = self.controller.is_up && !self.controller.is_retrying();
        // Old pods that stay for a while are part of the story.
        let stays = |set: &super::cluster::ReplicaSet| {
            let end = set.seen.scale_down_deadline;
            set.seen.replicas > 0 && end.is_some_and(|end| end > self.now)
        };
        let is_leaving = cluster.replica_sets.truth().values().any(|set| stays(set));
        let runs_on =
            |e: &crate::api::Experiment| !crate::planner::experiment::phase(e).is_completed();
        let is_trying = cluster.experiments.truth().values().any(|e| runs_on(e));
        if self.script.is_pending() || !is_idle || !sees_all || is_leaving || is_trying {
            return None;
        }
        if self.is_restarting() && self.now < plus(self.acted, PATIENCE) {
            return None;
        }
        let status = &self.cluster.rollout()?.seen.status;
        let serin = status.serin.as_ref();
        // A gradual rollback has not come down yet.
        let is_descending = serin.is_some_and(|serin| serin.descent.is_some());
        let is_aborted = status.abort == Some(true) && !is_descending;
        match self.phase() {
            "Healthy" if self.is_quiet(QUIET) => Some(Ending::Settled),
            "Degraded" if is_aborted && self.is_quiet(QUIET) => Some(Ending::Settled),
            "Degraded" if !is_descending && self.is_quiet(PATIENCE) => Some(Ending::Waiting),
            "Paused" if self.waits_for_a_person() && self.is_quiet(QUIET) => Some(Ending::Waiting),
            _ => None,
        }
    }

    /// Pods are still to be replaced. Where a budget refuses that, it is tried again every half minute,
    /// with a write each time: the story waits for it only so long after the script's last word.
    fn is_restarting(&self) -> bool {
        self.cluster.rollout().is_some_and(|rollout| {
            let wanted = rollout.seen.spec.as_ref().ok();
            let wanted = wanted.and_then(|spec| spec.restart_at);
            let done = rollout.seen.status.restarted_at.as_ref().map(|at| at.0);
            wanted.is_some_and(|at| at <= self.now && done != Some(at))
        })
    }

    /// A pause without an end, or a frozen update.
    fn waits_for_a_person(&self) -> bool {
        use crate::planner::reasons;
        use crate::planner::spec::Step;
        let Some(rollout) = self.cluster.rollout() else {
            return false;
        };
        let Ok(spec) = &rollout.seen.spec else {
            return true;
        };
        // A freeze ends by itself, where its end is known.
        let serin = rollout.seen.status.serin.as_ref();
        if let Some(freeze) = serin.and_then(|s| s.freeze.as_ref()) {
            return freeze.until.is_none();
        }
        let index = rollout.seen.status.current_step_index.unwrap_or(0);
        let step = usize::try_from(index)
            .ok()
            .and_then(|index| spec.steps().get(index));
        let is_timed = matches!(step, Some(Step::Pause(pause)) if pause.seconds.is_some() || pause.timeout.is_some());
        let pauses = rollout.seen.status.pause_conditions.iter().flatten();
        let is_hold = pauses
            .into_iter()
            .all(|pause| pause.reason == reasons::HELD_BY_GATE);
        let is_switch_timed = spec
            .blue_green()
            .is_some_and(|b| b.auto_promotion_enabled && b.auto_promotion_seconds > 0);
        let is_timed = is_timed || spec.answer_within().is_some();
        spec.paused || !(is_timed || is_hold || is_switch_timed)
    }

    /// Sizes of everything, for those who look on.
    pub fn census(&self) -> Census {
        // Pods of Experiments are no part of the Rollout's sizes.
        let uid = self.cluster.rollout().map(|r| r.seen.uid.clone());
        let sets = self.cluster.replica_sets.truth().iter();
        let sets = sets.filter(|(_, set)| set.owner == uid).map(|(name, set)| {
            let truly = self.cluster.workloads.available(set, self.now);
            (name.clone(), (set.seen.replicas, set.seen.available, truly))
        });
        let rollout = self.cluster.rollout();
        let desired = rollout.and_then(|r| r.seen.spec.as_ref().ok().map(|spec| spec.replicas));
        Census {
            sets: sets.collect(),
            desired: desired.unwrap_or(0),
        }
    }

    /// Writes down the state as it is.
    pub(super) fn sample(&mut self) {
        let Some(mut recorder) = self.recorder.take() else {
            return;
        };
        recorder.sample(self);
        self.recorder = Some(recorder);
    }

    pub(super) fn report(&mut self, event: &Event) {
        let Some(mut recorder) = self.recorder.take() else {
            return;
        };
        recorder.event(self, event);
        self.recorder = Some(recorder);
    }

    pub(super) fn tell_fault(&mut self, text: &str) {
        if let Some(recorder) = &mut self.recorder {
            recorder.fault(self.now, text);
        }
    }

    pub(super) fn record_run(
        &mut self,
        before: &crate::api::AnalysisRun,
        after: &crate::api::AnalysisRun,
    ) {
        let Some(mut recorder) = self.recorder.take() else {
            return;
        };
        recorder.run(self, before, after);
        self.recorder = Some(recorder);
    }
}
