//! Drives one plan of an Experiment without doing anything itself: yields one write at a time, takes
//! its outcome, and says what the shell has to look at before it plans again. Knows no client.

use std::collections::VecDeque;

use super::{ExperimentPlan, Place};
use crate::planner::plan::{Effect, Outcome, Write};

/// One turn under way.
#[derive(Debug)]
pub struct ExperimentTurn {
    queue: VecDeque<Effect>,
    current: Option<Effect>,
    end: Step,
}

/// How far a turn has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Everything is written: the status may follow.
    Done,
    /// A name is taken: look who controls the object, then plan again.
    Look(Place),
    /// A create was refused for good: plan again with that.
    Refused(Place, String),
    /// This object has moved on: read it, then plan again.
    Reread(Write),
    /// It failed, for now: try again later.
    Failed(String),
}

impl ExperimentTurn {
    /// Starts on a plan.
    pub fn new(plan: &ExperimentPlan) -> Self {
        Self {
            queue: plan.effects.iter().cloned().collect(),
            current: None,
            end: Step::Done,
        }
    }

    /// The next write, or `None` when the turn is over. Every write must be answered by
    /// [`ExperimentTurn::record`] before the next one is asked for.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.current = self.queue.pop_front();
        self.current.clone()
    }

    /// Takes the outcome of the write given out last.
    pub fn record(&mut self, outcome: Outcome) {
        let Some(Effect { write, .. }) = self.current.take() else {
            return;
        };
        let place = place(&write);
        self.end = match (outcome, place) {
            (Outcome::Done { .. }, _) => return,
            (Outcome::Exists, Some(place)) => Step::Look(place),
            (Outcome::Refused(why), Some(place)) => Step::Refused(place, why),
            (Outcome::Exists | Outcome::Conflict, _) => Step::Reread(write),
            (Outcome::Unknown(why) | Outcome::Refused(why) | Outcome::Failed(why), _) => {
                Step::Failed(why)
            }
        };
        self.queue.clear();
    }

    /// What remains to be done by the shell.
    pub fn finish(self) -> Step {
        self.end
    }
}

/// What a create makes.
fn place(write: &Write) -> Option<Place> {
    match write {
        Write::CreateReplicaSet(set) => Some(Place::ReplicaSet(set.name.clone())),
        Write::CreateService(service) => Some(Place::Service(service.name.clone())),
        Write::CreateRun(run) => {
            let name = run.metadata.name.clone();
            Some(Place::Run(name.unwrap_or_default()))
        }
        Write::PatchRollout { .. }
        | Write::KeepTemplate(_)
        | Write::DropTemplate(_)
        | Write::CreateConfig(_)
        | Write::DeleteConfig(_)
        | Write::PatchReplicaSet(_)
        | Write::ScaleWorkload(_)
        | Write::PatchPods(_)
        | Write::EvictPod { .. }
        | Write::DeleteReplicaSet { .. }
        | Write::TerminateRun { .. }
        | Write::DeleteRun { .. }
        | Write::PatchService(_)
        | Write::DeleteService { .. }
        | Write::CreateExperiment(_)
        | Write::TerminateExperiment { .. }
        | Write::DeleteExperiment { .. }
        | Write::Status(_) => None,
    }
}
