//! Turns of Experiments in the rehearsal: the same planner and the same driver as live, views that lag
//! and writes that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::clock::{Queue, plus};
use super::cluster::{Cluster, announce, gone};
use super::event::{Happen, Kind};
use super::faults::Fate;
use super::world::World;
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{AnalysisRun, Experiment, ExperimentStatus, controller_of};
use crate::planner::experiment::turn::{ExperimentTurn, Step};
use crate::planner::experiment::{
    ExperimentObserved, ExperimentPlan, Place, needs, plan_experiment,
};
use crate::planner::observed::TemplateRef;
use crate::planner::plan::{EventKind, NewService, Outcome};

/// Most times that a turn is planned anew.
const MOST_PLANS: usize = 12;

/// What a turn has found out beyond its view.
#[derive(Debug, Default)]
struct Found {
    templates: BTreeMap<TemplateRef, Option<Arc<AnalysisTemplateSpec>>>,
    taken: BTreeSet<Place>,
    refused: BTreeMap<Place, String>,
    is_live: bool,
}

impl World<'_> {
    /// The controller will look at every Experiment it sees.
    pub(super) fn look_at_experiments(&mut self) {
        let names: Vec<String> = self.cluster.experiments.view().keys().cloned().collect();
        for name in names {
            let turn = Happen::ExperimentTurn(Arc::from(name));
            self.queue.push(self.now, turn);
        }
    }

    /// One turn of an Experiment.
    pub fn experiment_turn(&mut self, name: &str) {
        // What was written is awaited: the watch that brings it starts the next turn.
        if !self.controller.is_up || !self.sees_own_writes(Kind::Experiments) {
            return;
        }
        let mut found = Found::default();
        for _ in 0..MOST_PLANS {
            let Some(seen) = self.experiment_seen(name, &found) else {
                return;
            };
            for need in needs(&seen) {
                let template = self.cluster.templates.get(&need).cloned();
                found.templates.insert(need, template);
            }
            if found.templates.len() > seen.templates.len() {
                continue;
            }
            let plan = plan_experiment(&seen);
            if plan.is_disruptive() && !seen.is_fresh {
                found.is_live = true;
                continue;
            }
            let Some(step) = self.carry_out_experiment(&plan) else {
                return;
            };
            match step {
                Step::Done => {
                    if self.write_experiment(&seen.experiment, &plan) {
                        self.after_experiment(name, plan);
                    }
                    return;
                }
                Step::Look(place) => {
                    let uid = seen.experiment.metadata.uid.as_deref();
                    if self.cluster.is_owned(&place, uid) {
                        found.is_live = true;
                    } else {
                        found.taken.insert(place);
                    }
                }
                Step::Refused(place, why) => {
                    found.refused.insert(place, why);
                }
                Step::Reread(_) => found.is_live = true,
                Step::Failed(_) => break,
            }
        }
        let again = Happen::ExperimentTurn(Arc::from(name));
        self.queue.push(plus(self.now, 1_000), again);
    }

    fn experiment_seen(&self, name: &str, found: &Found) -> Option<ExperimentObserved> {
        let cluster = &self.cluster;
        let (experiments, sets, runs) = match found.is_live {
            true => (
                cluster.experiments.truth(),
                cluster.replica_sets.truth(),
                cluster.runs.truth(),
            ),
            false => (
                cluster.experiments.view(),
                cluster.replica_sets.view(),
                cluster.runs.view(),
            ),
        };
        let experiment = Arc::clone(experiments.get(name)?);
        let uid = experiment.metadata.uid.clone();
        let sets = sets.values().filter(|set| set.owner == uid);
        let runs = runs.values().filter(|run| owner_of(run) == uid.as_deref());
        Some(ExperimentObserved {
            now: self.now,
            replica_sets: sets.map(|set| set.seen.clone()).collect(),
            runs: runs.cloned().collect(),
            templates: found.templates.clone(),
            taken: found.taken.clone(),
            refused: found.refused.clone(),
            is_fresh: found.is_live,
            experiment,
        })
    }

    /// `None` when the controller crashed.
    fn carry_out_experiment(&mut self, plan: &ExperimentPlan) -> Option<Step> {
        let mut turn = ExperimentTurn::new(plan);
        while let Some(effect) = turn.next_effect() {
            let outcome = self.perform(&effect.write, None)?;
            turn.record(outcome);
        }
        Some(turn.finish())
    }

    /// Writes the status, if there is one to write. False when that was not possible now.
    fn write_experiment(&mut self, experiment: &Arc<Experiment>, plan: &ExperimentPlan) -> bool {
        let Some(status) = &plan.status else {
            return true;
        };
        let fate = self.faults.decide();
        if let Fate::CrashBefore(crash) = fate {
            self.crash(crash);
            return false;
        }
        let name = experiment.metadata.name.clone().unwrap_or_default();
        let current = self.cluster.experiments.get(&name);
        let is_current = current
            .is_some_and(|c| c.metadata.resource_version == experiment.metadata.resource_version);
        if !is_current || matches!(fate, Fate::Conflict | Fate::Error) {
            let again = Happen::ExperimentTurn(Arc::from(name));
            self.queue.push(plus(self.now, 1_000), again);
            return false;
        }
        let mut next = Experiment::clone(experiment);
        next.status = Some(ExperimentStatus::clone(status));
        let version = self
            .cluster
            .store_experiment(self.now, next, &mut self.queue);
        if let Fate::CrashAfter(crash) = fate {
            self.crash(crash);
            return false;
        }
        self.wrote_own(Kind::Experiments, &name, &version);
        true
    }

    fn after_experiment(&mut self, name: &str, plan: ExperimentPlan) {
        if let Some(at) = plan.wake.time() {
            let again = Happen::ExperimentTurn(Arc::from(name));
            self.queue.push(at.max(plus(self.now, 1)), again);
        }
        for event in &plan.events {
            if let Some(recorder) = &mut self.recorder {
                let is_warning = event.kind == EventKind::Warning;
                recorder.experiment(self.now, name, (event.reason, &event.note), is_warning);
            }
        }
    }
}

/// Uid of an AnalysisRun's controller.
fn owner_of(run: &AnalysisRun) -> Option<&str> {
    controller_of(&run.metadata).map(|o| o.uid.as_str())
}

impl Cluster {
    /// Stores a new version of an Experiment: its status lives in the main resource.
    pub fn store_experiment(
        &mut self,
        now: Timestamp,
        mut experiment: Experiment,
        queue: &mut Queue<Happen>,
    ) -> String {
        let version = self.next_version();
        let meta = &mut experiment.metadata;
        meta.resource_version = Some(version.clone());
        meta.generation = Some(meta.generation.unwrap_or(0) + 1);
        let name = meta.name.clone().unwrap_or_default();
        let due = self.experiments.put(now, &name, experiment);
        announce(queue, due, Kind::Experiments);
        version
    }

    /// A person, or the controller, makes an Experiment.
    pub fn create_experiment(
        &mut self,
        now: Timestamp,
        experiment: &Experiment,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let mut experiment = experiment.clone();
        let name = experiment.metadata.name.clone().unwrap_or_default();
        if self.experiments.get(&name).is_some() {
            return Outcome::Exists;
        }
        experiment.metadata.uid = Some(self.next_uid("experiment"));
        experiment.metadata.creation_timestamp = Some(Time(now));
        let namespace = &mut experiment.metadata.namespace;
        namespace.get_or_insert_with(|| "default".into());
        experiment.status = None;
        Outcome::Done {
            version: self.store_experiment(now, experiment, queue),
        }
    }

    pub(super) fn terminate_experiment(
        &mut self,
        now: Timestamp,
        (name, version): (&str, &str),
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let experiment = match self.experiments.get(name) {
            Some(e) if e.metadata.resource_version.as_deref() == Some(version) => e.clone(),
            Some(_) | None => return Outcome::Conflict,
        };
        let mut experiment = Experiment::clone(&experiment);
        experiment.spec.terminate = Some(true);
        Outcome::Done {
            version: self.store_experiment(now, experiment, queue),
        }
    }

    /// Deletes an Experiment; the garbage collector takes what it owns.
    pub(super) fn delete_experiment(
        &mut self,
        now: Timestamp,
        (name, uid, version): (&str, &str, &str),
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        match self.experiments.get(name) {
            Some(e)
                if e.metadata.uid.as_deref() == Some(uid)
                    && e.metadata.resource_version.as_deref() == Some(version) => {}
            Some(_) => return Outcome::Conflict,
            None => return gone(version),
        }
        announce(queue, self.experiments.remove(now, name), Kind::Experiments);
        let sets = self.replica_sets.truth().iter();
        let sets: Vec<String> = sets
            .filter(|(_, set)| set.owner.as_deref() == Some(uid))
            .map(|(name, _)| name.clone())
            .collect();
        for set in sets {
            self.remove_replica_set(now, &set, queue);
        }
        let runs = self.runs.truth().iter();
        let runs: Vec<String> = runs
            .filter(|(_, run)| owner_of(run) == Some(uid))
            .map(|(name, _)| name.clone())
            .collect();
        for run in runs {
            announce(queue, self.runs.remove(now, &run), Kind::Runs);
        }
        self.made_services.retain(|_, owner| owner != uid);
        Outcome::Done {
            version: self.next_version(),
        }
    }

    /// The garbage collector takes the Experiments of a Rollout.
    pub(super) fn delete_experiments_of(
        &mut self,
        now: Timestamp,
        rollout: &str,
        queue: &mut Queue<Happen>,
    ) {
        let is_owned = |e: &Experiment| {
            let mut owners = e.metadata.owner_references.iter().flatten();
            owners.any(|o| o.uid == rollout)
        };
        let all = self.experiments.truth().values();
        let owned: Vec<Arc<Experiment>> = all.filter(|e| is_owned(e)).cloned().collect();
        for experiment in owned {
            let meta = &experiment.metadata;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (name, uid) = (text(&meta.name), text(&meta.uid));
            let version = text(&meta.resource_version);
            self.delete_experiment(now, (&name, &uid, &version), queue);
        }
    }

    /// A Service of an Experiment: one that the same Experiment made is the same.
    pub(super) fn make_service(&mut self, service: &NewService) -> Outcome {
        let owner = service.object.pointer("/metadata/ownerReferences/0/uid");
        let owner = owner.and_then(|uid| uid.as_str()).unwrap_or_default();
        let is_taken = self.services.get(&service.name).is_some()
            || self
                .made_services
                .get(&service.name)
                .is_some_and(|o| o != owner);
        if is_taken {
            return Outcome::Exists;
        }
        self.made_services
            .insert(service.name.clone(), owner.to_owned());
        gone("")
    }

    pub(super) fn unmake_service(&mut self, name: &str, owner: &str) -> Outcome {
        if self.made_services.get(name).is_some_and(|o| o == owner) {
            self.made_services.remove(name);
        }
        gone("")
    }

    fn is_owned(&self, place: &Place, uid: Option<&str>) -> bool {
        match place {
            Place::ReplicaSet(name) => {
                let set = self.replica_sets.get(name);
                set.is_some_and(|set| set.owner.as_deref() == uid)
            }
            Place::Run(name) => {
                let run = self.runs.get(name);
                run.is_some_and(|run| owner_of(run) == uid)
            }
            Place::Service(_) => false,
        }
    }
}
