//! One turn of an Experiment (E1–E8): its ReplicaSets and Services, its analyses, its verdict, and
//! what goes when it has ended. Pure and total.
//!
//! The contract with a shell: hand in what the index has of the Experiment, and the templates that
//! [`needs`] names; carry out the effects through [`turn::ExperimentTurn`], write `status` last on
//! the main resource (the kind has no status sub-resource), report the events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::analysis::assess::Phase;
use super::lower;
use super::observed::{ReplicaSetSeen, TemplateRef};
use super::plan::{Effect, Event, Note, Wake};
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{AnalysisRun, Experiment, ExperimentStatus};
use draft::Draft;

mod draft;
mod end;
pub mod objects;
mod runs;
pub mod spec;
mod status;
mod template;
pub mod turn;
mod verdict;

/// Everything one turn of an Experiment may look at.
#[derive(Clone, Debug)]
pub struct ExperimentObserved {
    /// The turn's one reading of the clock.
    pub now: Timestamp,
    /// The Experiment as it is stored.
    pub experiment: Arc<Experiment>,
    /// ReplicaSets whose controller is this Experiment's uid.
    pub replica_sets: Vec<ReplicaSetSeen>,
    /// AnalysisRuns whose controller is this Experiment's uid.
    pub runs: Vec<Arc<AnalysisRun>>,
    /// Analysis templates that [`needs`] asked for; `None` where there is no such object.
    pub templates: BTreeMap<TemplateRef, Option<Arc<AnalysisTemplateSpec>>>,
    /// Names that a create found taken by objects of somebody else.
    pub taken: BTreeSet<Place>,
    /// Creates that the API server refused for good, and why.
    pub refused: BTreeMap<Place, String>,
    /// The Experiment was read from the API server in this very turn.
    pub is_fresh: bool,
}

/// The name of an object that an Experiment makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A ReplicaSet.
    ReplicaSet(String),
    /// A Service.
    Service(String),
    /// An AnalysisRun.
    Run(String),
}

/// The decision of one turn of an Experiment.
#[derive(Clone, Debug, Default)]
pub struct ExperimentPlan {
    /// Writes in the order in which they must happen; every prefix is safe.
    pub effects: Vec<Effect>,
    /// The next status, when it differs from the stored one: written after all effects.
    pub status: Option<ExperimentStatus>,
    /// Events about the Experiment, to report after the write.
    pub events: Vec<Event>,
    /// Why nothing more happens now.
    pub notes: Vec<Note>,
    /// When to look again although nothing was seen to change.
    pub wake: Wake,
}

impl ExperimentPlan {
    /// True when the Experiment must be read live and planned once more before this is carried out.
    pub fn is_disruptive(&self) -> bool {
        self.effects.iter().any(|e| e.disruptive)
    }
}

/// Analysis templates that must be known before the turn can be planned.
pub fn needs(seen: &ExperimentObserved) -> Vec<TemplateRef> {
    let Some(spec) = to_run(seen) else {
        return vec![];
    };
    let mut asks = runs::needs(seen, &spec);
    asks.sort();
    asks.dedup();
    asks
}

/// The spec of an Experiment that is to run, where it is right.
fn to_run(seen: &ExperimentObserved) -> Option<spec::Spec> {
    let is_leaving = seen.experiment.metadata.deletion_timestamp.is_some();
    if is_leaving || phase(&seen.experiment).is_completed() {
        return None;
    }
    lower::experiment::object(&seen.experiment.spec).ok()
}

/// Phase on record.
pub fn phase(experiment: &Experiment) -> Phase {
    let status = experiment.status.as_ref();
    Phase::read(status.and_then(|s| s.phase.as_deref()).unwrap_or_default())
}

/// Decides one turn. What is to end is put on record first; pods go in the turns after it.
pub fn plan_experiment(seen: &ExperimentObserved) -> ExperimentPlan {
    if seen.experiment.metadata.deletion_timestamp.is_some() {
        let why = "the Experiment is being deleted; what it made is collected with it";
        return ExperimentPlan {
            notes: vec![Note(why.to_owned())],
            ..ExperimentPlan::default()
        };
    }
    let mut d = Draft::new(seen);
    if phase(&seen.experiment).is_completed() {
        end::clean_up(&mut d);
        return d.finish();
    }
    match lower::experiment::object(&seen.experiment.spec) {
        Err(faults) => status::invalid(&mut d, &faults),
        Ok(spec) => run(&mut d, &spec),
    }
    d.finish()
}

fn run(d: &mut Draft<'_>, spec: &spec::Spec) {
    if !runs::needs(d.seen, spec).is_empty() {
        return d.note("cannot plan before all analysis templates are known");
    }
    // No pod is made for an analysis that leads nowhere.
    if d.read().template_statuses.is_none() {
        let faults = runs::faults(d.seen, spec);
        if !faults.is_empty() {
            status::invalid(d, &faults);
            d.wake.at(super::draft::after(d.seen.now, 20));
            return;
        }
    }
    for it in &spec.templates {
        template::steer(d, spec, it);
    }
    runs::steer(d, spec);
    verdict::judge(d, spec);
    status::tell(d);
}

#[cfg(test)]
mod tests;
