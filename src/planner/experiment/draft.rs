//! A turn of an Experiment in the making: the next status and its writes, put in a safe order at the
//! end. Decides nothing.

use std::sync::Arc;

use super::{ExperimentObserved, ExperimentPlan};
use crate::api::AnalysisRun;
use crate::api::experiment::{ExperimentStatus, TemplateStatus};
use crate::planner::observed::ReplicaSetSeen;
use crate::planner::plan::{
    Effect, Event, NewReplicaSet, NewService, Note, ReplicaSetPatch, Wake, Write,
};

/// Collects what a turn decides.
pub(super) struct Draft<'a> {
    pub(super) seen: &'a ExperimentObserved,
    /// The status in the making; starts as the one read.
    pub(super) next: ExperimentStatus,
    pub(super) events: Vec<Event>,
    pub(super) notes: Vec<Note>,
    pub(super) wake: Wake,
    before: ExperimentStatus,
    creates: Vec<Write>,
    runs: Vec<Write>,
    patches: Vec<Effect>,
    ends: Vec<Write>,
    deletes: Vec<Write>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(seen: &'a ExperimentObserved) -> Self {
        let before = seen.experiment.status.clone().unwrap_or_default();
        Self {
            seen,
            next: before.clone(),
            events: vec![],
            notes: vec![],
            wake: Wake::default(),
            before,
            creates: vec![],
            runs: vec![],
            patches: vec![],
            ends: vec![],
            deletes: vec![],
        }
    }

    /// The status as it was read: what effects may rest on.
    pub(super) fn read(&self) -> &ExperimentStatus {
        &self.before
    }

    pub(super) fn name(&self) -> &'a str {
        let name = self.seen.experiment.metadata.name.as_deref();
        name.unwrap_or_default()
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(Note(note.into()));
    }

    /// The entry of a template as it was read; an empty one where there is none.
    pub(super) fn template(&self, name: &str) -> TemplateStatus {
        let all = self.before.template_statuses.iter().flatten();
        let mut all = all.filter(|t| t.name == name);
        all.next().cloned().unwrap_or_else(|| TemplateStatus {
            name: name.to_owned(),
            ..TemplateStatus::default()
        })
    }

    /// Puts the entry of a template into the next status.
    pub(super) fn put(&mut self, entry: TemplateStatus) {
        let all = self.next.template_statuses.get_or_insert_default();
        match all.iter_mut().find(|t| t.name == entry.name) {
            Some(old) => *old = entry,
            None => all.push(entry),
        }
    }

    pub(super) fn set(&self, name: &str) -> Option<&'a ReplicaSetSeen> {
        self.seen.replica_sets.iter().find(|rs| rs.name == name)
    }

    pub(super) fn create_set(&mut self, set: NewReplicaSet) {
        self.creates.push(Write::CreateReplicaSet(Box::new(set)));
    }

    pub(super) fn create_service(&mut self, service: NewService) {
        self.creates.push(Write::CreateService(Box::new(service)));
    }

    pub(super) fn create_run(&mut self, run: AnalysisRun) {
        self.runs.push(Write::CreateRun(Box::new(run)));
    }

    pub(super) fn terminate_run(&mut self, run: &Arc<AnalysisRun>) {
        let metadata = &run.metadata;
        self.ends.push(Write::TerminateRun {
            name: metadata.name.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
        });
    }

    pub(super) fn delete_service(&mut self, name: String) {
        let owner = self.seen.experiment.metadata.uid.clone();
        self.deletes.push(Write::DeleteService {
            name,
            owner: owner.unwrap_or_default(),
        });
    }

    /// Changes one ReplicaSet; fewer pods than before rest on a live read.
    pub(super) fn patch(
        &mut self,
        set: &ReplicaSetSeen,
        change: impl FnOnce(&mut ReplicaSetPatch),
    ) {
        let mut patch = ReplicaSetPatch {
            name: set.name.clone(),
            uid: set.uid.clone(),
            version: set.version.clone(),
            ..ReplicaSetPatch::default()
        };
        change(&mut patch);
        let disruptive = patch.replicas.is_some_and(|n| n < set.replicas);
        self.patches.push(Effect {
            write: Write::PatchReplicaSet(patch),
            disruptive,
        });
    }

    /// Puts everything in order: make and grow, judge, take away. A crash anywhere leaves what there
    /// was, and a status that promises nothing which was not written.
    pub(super) fn finish(self) -> ExperimentPlan {
        let plain = |write| Effect {
            write,
            disruptive: false,
        };
        let (downs, ups): (Vec<_>, Vec<_>) = self.patches.into_iter().partition(|e| e.disruptive);
        let mut effects: Vec<Effect> = self.creates.into_iter().map(plain).collect();
        effects.extend(ups);
        effects.extend(self.runs.into_iter().map(plain));
        effects.extend(self.ends.into_iter().map(plain));
        effects.extend(downs);
        effects.extend(self.deletes.into_iter().map(|write| Effect {
            write,
            disruptive: true,
        }));
        ExperimentPlan {
            effects,
            status: (self.next != self.before).then_some(self.next),
            events: self.events,
            notes: self.notes,
            wake: self.wake,
        }
    }
}
