//! One turn of an Experiment: what is known of it, its plan carried out, its status written last on the
//! main resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::client::{CallError, Kind, Target};
use super::clock;
use super::controller::Controller;
use super::events::Regarding;
use super::experiment_index::SlimExperiment;
use super::observe::named;
use super::perform::owner_of;
use super::queue::Rest;
use super::slim::{SlimReplicaSet, SlimRun};
use super::stores::{Key, ObjectKey};
use super::turn::{instant_of, told};
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{Experiment, ExperimentStatus};
use crate::planner::experiment::turn::{ExperimentTurn, Step};
use crate::planner::experiment::{
    self, ExperimentObserved, ExperimentPlan, Place, plan_experiment,
};
use crate::planner::observed::TemplateRef;
use crate::planner::plan::Write;

/// Longest turn, all its calls together.
const TURN_LIMIT: Duration = Duration::from_secs(30);
/// Most times that a turn is planned anew because more must be known, or the world moved on.
const MOST_PLANS: usize = 12;

/// What a turn has found out beyond the index.
#[derive(Debug, Default)]
struct Found {
    templates: BTreeMap<TemplateRef, Option<Arc<AnalysisTemplateSpec>>>,
    taken: BTreeSet<Place>,
    refused: BTreeMap<Place, String>,
    is_fresh: bool,
}

impl Controller {
    /// One turn of an Experiment.
    pub(super) async fn experiment_turn(&self, key: &ObjectKey) -> Rest {
        let started = clock::instant();
        let turn = tokio::time::timeout(TURN_LIMIT, self.try_experiment(key));
        let (rest, failure) = match turn.await {
            Ok(Ok(rest)) => (rest, None),
            Ok(Err(error)) => {
                let earliest = error.retry_after().map(|d| clock::instant() + d);
                (Rest::Failed(earliest), Some(error.to_string()))
            }
            Err(_) => {
                let why = format!("the turn took over {} s", TURN_LIMIT.as_secs());
                (Rest::Failed(None), Some(why))
            }
        };
        let own = Key::Experiment(key.clone());
        if self.index.experiment(key).is_none() {
            self.forget(&own);
            return Rest::Quiet;
        }
        if let Some(error) = &failure {
            tracing::warn!(experiment = %key, error, "turn failed");
        }
        self.stats.turn(&own, started.elapsed(), failure.is_some());
        rest
    }

    async fn try_experiment(&self, key: &ObjectKey) -> Result<Rest, CallError> {
        let mut found = Found::default();
        for _ in 0..MOST_PLANS {
            let Some(seen) = self.experiment_seen(key, &found) else {
                return Ok(Rest::Quiet);
            };
            let needs = experiment::needs(&seen);
            if !needs.is_empty() {
                for need in needs {
                    let spec = self.analysis_template(&key.namespace, &need).await?;
                    found.templates.insert(need, spec);
                }
                continue;
            }
            let plan = plan_experiment(&seen);
            if plan.is_disruptive() && !seen.is_fresh {
                self.read_experiment(key).await?;
                found.is_fresh = true;
                continue;
            }
            match self.carry_out_experiment(key, &seen, &plan).await? {
                Step::Done => {}
                Step::Look(place) => {
                    self.look_at(key, &seen, place, &mut found).await?;
                    continue;
                }
                Step::Refused(place, why) => {
                    found.refused.insert(place, why);
                    continue;
                }
                Step::Reread(write) => {
                    self.reread_of_experiment(key, &seen, &write).await?;
                    continue;
                }
                Step::Failed(why) => return Err(CallError::Request(why)),
            }
            if let Some(status) = &plan.status
                && !self.write_experiment(&seen.experiment, status).await?
            {
                self.read_experiment(key).await?;
                continue;
            }
            return Ok(self.conclude_experiment(key, &seen, plan));
        }
        Ok(Rest::Failed(None))
    }

    /// `None` when there is nothing to do: it is gone, or cannot be decoded.
    fn experiment_seen(&self, key: &ObjectKey, found: &Found) -> Option<ExperimentObserved> {
        let family = match self.index.experiment(key)? {
            Ok(family) => family,
            Err(error) => {
                tracing::warn!(experiment = %key, error, "the Experiment cannot be decoded: it is left alone");
                return None;
            }
        };
        Some(ExperimentObserved {
            now: clock::now(),
            experiment: family.experiment,
            replica_sets: family.replica_sets,
            runs: family.runs,
            templates: found.templates.clone(),
            taken: found.taken.clone(),
            refused: found.refused.clone(),
            is_fresh: found.is_fresh,
        })
    }

    async fn carry_out_experiment(
        &self,
        key: &ObjectKey,
        seen: &ExperimentObserved,
        plan: &ExperimentPlan,
    ) -> Result<Step, CallError> {
        for note in &plan.notes {
            tracing::debug!(experiment = %key, note = note.0);
        }
        let mut turn = ExperimentTurn::new(plan);
        while let Some(effect) = turn.next_effect() {
            let performed = self
                .perform(owner_of(&seen.experiment.metadata), &effect.write)
                .await;
            let (what, name) = told(&effect.write);
            tracing::debug!(experiment = %key, what, name, outcome = ?performed.outcome);
            turn.record(performed.outcome);
        }
        Ok(turn.finish())
    }

    /// A name is taken: by an object of this Experiment that was not seen yet, or by somebody else's.
    async fn look_at(
        &self,
        key: &ObjectKey,
        seen: &ExperimentObserved,
        place: Place,
        found: &mut Found,
    ) -> Result<(), CallError> {
        let ns = &key.namespace;
        let object = match &place {
            Place::ReplicaSet(name) => self.get(Kind::ReplicaSet, ns, name).await?,
            Place::Run(name) => self.get(Kind::AnalysisRun, ns, name).await?,
            // One of ours would have been no collision.
            Place::Service(_) => None,
        };
        let is_ours = object
            .as_ref()
            .is_some_and(|object| named(object).owner == seen.experiment.metadata.uid);
        let Some(object) = object.filter(|_| is_ours) else {
            found.taken.insert(place);
            return Ok(());
        };
        match place {
            Place::ReplicaSet(_) => {
                let set: SlimReplicaSet =
                    serde_json::from_value(object).map_err(CallError::Unreadable)?;
                self.wake(self.index.answered_set(set));
            }
            Place::Run(_) => {
                let run: SlimRun = serde_json::from_value(object).map_err(CallError::Unreadable)?;
                self.wake(self.index.answered_run(run));
            }
            Place::Service(_) => {}
        }
        Ok(())
    }

    /// An object had moved on: it is read, and the turn planned anew.
    async fn reread_of_experiment(
        &self,
        key: &ObjectKey,
        seen: &ExperimentObserved,
        write: &Write,
    ) -> Result<(), CallError> {
        match write {
            Write::PatchReplicaSet(patch) => {
                let owner = owner_of(&seen.experiment.metadata);
                self.read_set(owner, &patch.name, &patch.uid).await
            }
            Write::TerminateRun { name, .. } => {
                let run = ObjectKey::new(&key.namespace, name);
                match self.reread(&run).await {
                    Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            _ => self.read_experiment(key).await,
        }
    }

    /// Reads the Experiment into the index.
    async fn read_experiment(&self, key: &ObjectKey) -> Result<(), CallError> {
        let target = Target {
            kind: Kind::Experiment,
            namespace: &key.namespace,
            name: &key.name,
        };
        match self.clients.work.get::<SlimExperiment>(target).await {
            Ok(experiment) => self.wake(self.index.answered_experiment(experiment)),
            Err(CallError::NotFound(_)) => self.wake(self.index.gone_experiment(key)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes the status on the main resource: an Experiment has no status sub-resource. False when it
    /// has changed since.
    async fn write_experiment(
        &self,
        experiment: &Experiment,
        status: &ExperimentStatus,
    ) -> Result<bool, CallError> {
        let before = experiment.status.clone().unwrap_or_default();
        let written = self.write_status_of(Kind::Experiment, &experiment.metadata, &before, status);
        match written.await {
            Ok(None) => Ok(true),
            Ok(Some(answer)) => self.took_experiment(&answer).map(|_| true),
            Err(CallError::Conflict(_) | CallError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn conclude_experiment(
        &self,
        key: &ObjectKey,
        seen: &ExperimentObserved,
        plan: ExperimentPlan,
    ) -> Rest {
        if let Some(status) = &plan.status {
            let phase = status.phase.as_deref();
            tracing::info!(experiment = %key, phase, effects = plan.effects.len(), "experiment");
        }
        let regarding = Regarding {
            kind: Kind::Experiment,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: seen.experiment.metadata.uid.clone().unwrap_or_default(),
        };
        self.report(&Key::Experiment(key.clone()), &regarding, plan.events);
        let wake = plan.wake.time();
        wake.map_or(Rest::Quiet, |t| Rest::At(instant_of(t)))
    }
}
