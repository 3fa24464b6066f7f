//! A plan in the making: the next status, and at most one write per object, put in a safe order at
//! the end. Knows the order and its reason; decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::config::ConfigKey;
use super::fault::Fault;
use super::freeze::Frozen;
use super::observed::{Observed, PodSeen, ReplicaSetSeen};
use super::plan::{
    Effect, Event, KeptTemplate, NewConfig, NewReplicaSet, Note, Owned, PatchWorkload, Plan,
    PodPatch, ReplicaSetPatch, ScaleWorkload, ServicePatch, StatusWrite, Wake, Write,
};
use super::reasons;
use super::spec::Spec;
use crate::api::status::SerinStatus;
use crate::api::{AnalysisRun, DECISION, Experiment, RolloutStatus};

/// Collects what a turn decides.
pub(crate) struct Draft<'a> {
    /// What is known.
    pub(crate) seen: &'a Observed,
    /// The lowered spec.
    pub(crate) spec: &'a Spec,
    /// The status in the making; starts as the one read.
    pub(crate) next: RolloutStatus,
    /// The block of ours must be written even when nothing else changed (a command is done).
    pub(crate) is_forced: bool,
    /// Events, reported after the status write.
    pub(crate) events: Vec<Event>,
    /// Why the turn ended where it did.
    pub(crate) notes: Vec<Note>,
    /// The next look.
    pub(crate) wake: Wake,
    /// Faults that only a look at other objects could find (templates that are not there).
    pub(crate) faults: Vec<Fault>,
    /// ReplicaSets count available pods that are gone (`restart::without_late_counts`).
    pub(crate) counts_are_late: bool,
    /// The stable version on record has no ReplicaSet.
    pub(crate) is_stable_gone: bool,
    /// The freeze that holds this update.
    pub(crate) freeze: Option<Frozen>,
    /// Annotations of the Rollout to set or remove.
    pub(crate) annotations: BTreeMap<String, Option<String>>,
    /// Spec fields of the Rollout to set.
    pub(crate) spec_patch: Map<String, Value>,
    kept: Option<KeptTemplate>,
    dropped: Option<Owned<String>>,
    configs: Vec<NewConfig>,
    creates: Vec<NewReplicaSet>,
    patches: BTreeMap<String, (ReplicaSetPatch, Direction)>,
    /// Finalizers of the Rollout, where they are to be others.
    pub(crate) finalizers: Option<Vec<String>>,
    workload: Option<ScaleWorkload>,
    template_back: Option<PatchWorkload>,
    pods: Vec<PodPatch>,
    evictions: Vec<Write>,
    runs: Vec<(RunOrder, Write)>,
    services: Vec<ServicePatch>,
    deletes: Vec<Write>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Up,
    Same,
    Down,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RunOrder {
    Create,
    Terminate,
    Delete,
}

impl<'a> Draft<'a> {
    /// An empty draft on what was seen.
    pub(crate) fn new(seen: &'a Observed, spec: &'a Spec) -> Self {
        Self {
            seen,
            spec,
            next: (*seen.rollout.status).clone(),
            is_forced: false,
            events: vec![],
            notes: vec![],
            wake: Wake::default(),
            faults: vec![],
            counts_are_late: false,
            is_stable_gone: false,
            freeze: None,
            annotations: BTreeMap::new(),
            spec_patch: Map::new(),
            kept: None,
            dropped: None,
            configs: vec![],
            creates: vec![],
            patches: BTreeMap::new(),
            finalizers: None,
            workload: None,
            template_back: None,
            pods: vec![],
            evictions: vec![],
            runs: vec![],
            services: vec![],
            deletes: vec![],
        }
    }

    /// The status as it was read: what effects may rest on.
    pub(crate) fn read(&self) -> &'a RolloutStatus {
        &self.seen.rollout.status
    }

    /// The turn's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.seen.now
    }

    /// The block of our own, made when it is first needed.
    pub(crate) fn serin(&mut self) -> &mut SerinStatus {
        self.next.serin.get_or_insert_default()
    }

    /// Says why nothing more happens.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(Note(note.into()));
    }

    /// Adds an event.
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Number of steps.
    pub(crate) fn steps(&self) -> usize {
        self.spec.steps().len()
    }

    /// Keeps a template.
    pub(crate) fn keep_template(&mut self, kept: KeptTemplate) {
        self.kept = Some(kept);
    }

    /// Lets go of a template that was kept, once it is on record that another version is stable.
    pub(crate) fn drop_template(&mut self, name: String) {
        let owner = self.seen.rollout.uid.clone();
        self.dropped = Some(Owned { what: name, owner });
    }

    /// Makes a copy of a ConfigMap or Secret.
    pub(crate) fn create_config(&mut self, copy: NewConfig) {
        self.configs.push(copy);
    }

    /// Deletes a copy.
    pub(crate) fn delete_config(&mut self, key: ConfigKey) {
        let owner = self.seen.rollout.uid.clone();
        let owned = Owned { what: key, owner };
        self.deletes.push(Write::DeleteConfig(owned));
    }

    /// The Service that this plan lets select this hash, where there is one.
    pub(crate) fn pointed_at(&self, hash: &str) -> Option<&str> {
        let mut patches = self.services.iter();
        let patch = patches.find(|patch| patch.hash.as_deref() == Some(hash))?;
        Some(&patch.name)
    }

    /// Makes a ReplicaSet.
    pub(crate) fn create(&mut self, set: NewReplicaSet) {
        self.creates.push(set);
    }

    /// True when something is to be written besides the status.
    pub(crate) fn has_writes(&self) -> bool {
        !self.patches.is_empty()
            || !self.runs.is_empty()
            || !self.creates.is_empty()
            || !self.services.is_empty()
    }

    /// True when something is asked of a ReplicaSet or of its pods, or one is made.
    pub(crate) fn has_patches(&self) -> bool {
        !self.patches.is_empty() || !self.evictions.is_empty() || !self.creates.is_empty()
    }

    /// The one patch of a ReplicaSet in this turn.
    fn patch(&mut self, rs: &ReplicaSetSeen) -> &mut (ReplicaSetPatch, Direction) {
        self.patches.entry(rs.uid.clone()).or_insert_with(|| {
            let patch = ReplicaSetPatch {
                name: rs.name.clone(),
                uid: rs.uid.clone(),
                version: rs.version.clone(),
                ..ReplicaSetPatch::default()
            };
            (patch, Direction::Same)
        })
    }

    /// Sets an annotation of a ReplicaSet.
    pub(crate) fn annotate(&mut self, rs: &ReplicaSetSeen, key: &str, value: String) {
        self.patch(rs)
            .0
            .annotations
            .insert(key.to_owned(), Some(value));
    }

    /// Removes an annotation of a ReplicaSet.
    pub(crate) fn unannotate(&mut self, rs: &ReplicaSetSeen, key: &str) {
        self.patch(rs).0.annotations.insert(key.to_owned(), None);
    }

    /// Changes the template of a ReplicaSet by a merge patch.
    pub(crate) fn change_template(&mut self, rs: &ReplicaSetSeen, patch: Value) {
        self.patch(rs).0.template = Some(patch);
    }

    /// Changes the size of the workload that the Rollout refers to.
    pub(crate) fn scale_workload(&mut self, scale: ScaleWorkload) {
        self.workload = Some(scale);
    }

    /// Gives the workload that the Rollout refers to another template.
    pub(crate) fn give_back(&mut self, patch: PatchWorkload) {
        self.template_back = Some(patch);
    }

    /// Changes living pods.
    pub(crate) fn change_pods(&mut self, patches: Vec<PodPatch>) {
        self.pods.extend(patches);
    }

    /// Brings `minReadySeconds` of a ReplicaSet up to date.
    pub(crate) fn set_min_ready(&mut self, rs: &ReplicaSetSeen, seconds: u32) {
        self.patch(rs).0.min_ready_seconds = Some(seconds);
    }

    /// Changes the size of a ReplicaSet.
    pub(crate) fn scale(&mut self, rs: &ReplicaSetSeen, replicas: u32) {
        let direction = if replicas > rs.replicas {
            Direction::Up
        } else {
            Direction::Down
        };
        let entry = self.patch(rs);
        entry.0.replicas = Some(replicas);
        entry.1 = direction;
    }

    /// Evicts a pod.
    pub(crate) fn evict(&mut self, pod: &PodSeen) {
        self.evictions.push(Write::EvictPod {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        });
    }

    /// Makes an AnalysisRun.
    pub(crate) fn create_run(&mut self, run: AnalysisRun) {
        self.runs
            .push((RunOrder::Create, Write::CreateRun(Box::new(run))));
    }

    /// Ends an AnalysisRun.
    pub(crate) fn terminate_run(&mut self, run: &AnalysisRun) {
        let metadata = &run.metadata;
        self.runs.push((
            RunOrder::Terminate,
            Write::TerminateRun {
                name: metadata.name.clone().unwrap_or_default(),
                version: metadata.resource_version.clone().unwrap_or_default(),
            },
        ));
    }

    /// Deletes a finished AnalysisRun.
    pub(crate) fn delete_run(&mut self, run: &AnalysisRun) {
        let metadata = &run.metadata;
        self.runs.push((
            RunOrder::Delete,
            Write::DeleteRun {
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
                version: metadata.resource_version.clone().unwrap_or_default(),
            },
        ));
    }

    /// Makes an Experiment.
    pub(crate) fn create_experiment(&mut self, experiment: Experiment) {
        let write = Write::CreateExperiment(Box::new(experiment));
        self.runs.push((RunOrder::Create, write));
    }

    /// Ends an Experiment.
    pub(crate) fn terminate_experiment(&mut self, experiment: &Experiment) {
        let metadata = &experiment.metadata;
        self.runs.push((
            RunOrder::Terminate,
            Write::TerminateExperiment {
                name: metadata.name.clone().unwrap_or_default(),
                version: metadata.resource_version.clone().unwrap_or_default(),
            },
        ));
    }

    /// Deletes an Experiment that has ended.
    pub(crate) fn delete_experiment(&mut self, experiment: &Experiment) {
        let metadata = &experiment.metadata;
        self.runs.push((
            RunOrder::Delete,
            Write::DeleteExperiment {
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
                version: metadata.resource_version.clone().unwrap_or_default(),
            },
        ));
    }

    /// Changes what a Service selects.
    pub(crate) fn patch_service(&mut self, patch: ServicePatch) {
        self.services.push(patch);
    }

    /// Deletes a ReplicaSet at 0.
    pub(crate) fn delete(&mut self, rs: &ReplicaSetSeen) {
        self.deletes.push(Write::DeleteReplicaSet {
            name: rs.name.clone(),
            uid: rs.uid.clone(),
            version: rs.version.clone(),
        });
    }

    /// The record of who decided on what (`serin.dev/decision`).
    pub(crate) fn decision(&self) -> String {
        let evidence = self
            .seen
            .evidence
            .as_ref()
            .unwrap_or(&self.seen.rollout.version);
        format!("{}/{evidence}", self.seen.epoch)
    }

    /// Puts everything in order. What adds capacity comes before what takes it away, and the status
    /// comes last, so that a crash anywhere leaves at least the capacity there was and a status
    /// that promises nothing which was not written: take command → create → scale up → annotate →
    /// make runs → switch Services → scale down → evict → end runs → delete → status. Only what nobody
    /// needs once that status is on record goes after it: before, it would be missed.
    pub(crate) fn finish(mut self) -> Plan {
        let decision = self.decision();
        let mut effects = vec![];
        // Before the command that asks for it is put down as taken: the same again does no harm.
        if let Some(patch) = self.template_back.take() {
            effects.push(effect(Write::PatchWorkload(patch), false));
        }
        if let Some(patch) = self.rollout_patch() {
            let version = self.seen.rollout.version.clone();
            effects.push(effect(Write::PatchRollout { patch, version }, false));
        }
        if let Some(kept) = self.kept.take() {
            effects.push(effect(Write::KeepTemplate(Box::new(kept)), false));
        }
        for copy in std::mem::take(&mut self.configs) {
            effects.push(effect(Write::CreateConfig(Box::new(copy)), false));
        }
        for set in std::mem::take(&mut self.creates) {
            effects.push(effect(Write::CreateReplicaSet(Box::new(set)), false));
        }
        let mut patches: Vec<_> = std::mem::take(&mut self.patches).into_values().collect();
        patches.sort_by(|a, b| (a.1, &a.0.name).cmp(&(b.1, &b.0.name)));
        let mut downs = vec![];
        for (mut patch, direction) in patches {
            patch
                .annotations
                .insert(DECISION.to_owned(), Some(decision.clone()));
            let is_down = direction == Direction::Down;
            let one = effect(Write::PatchReplicaSet(patch), is_down);
            if is_down {
                downs.push(one)
            } else {
                effects.push(one)
            }
        }
        if let Some(scale) = self.workload.take() {
            let is_down = scale.replicas < scale.from;
            let one = effect(Write::ScaleWorkload(scale), is_down);
            if is_down {
                downs.push(one)
            } else {
                effects.push(one)
            }
        }
        let pods = std::mem::take(&mut self.pods);
        if !pods.is_empty() {
            effects.push(effect(Write::PatchPods(pods), false));
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.sort_by_key(|(order, _)| *order);
        let (creates, ends): (Vec<_>, Vec<_>) = runs
            .into_iter()
            .partition(|(order, _)| *order == RunOrder::Create);
        effects.extend(creates.into_iter().map(|(_, write)| effect(write, false)));
        let switches = std::mem::take(&mut self.services);
        effects.extend(switches.into_iter().map(|patch| {
            // Another hash takes traffic away from pods; letting go takes none away.
            let is_disruptive = patch.hash.is_some();
            effect(Write::PatchService(patch), is_disruptive)
        }));
        effects.extend(downs);
        let evictions = std::mem::take(&mut self.evictions);
        effects.extend(evictions.into_iter().map(|w| effect(w, true)));
        effects.extend(ends.into_iter().map(|(_, write)| effect(write, false)));
        let deletes = std::mem::take(&mut self.deletes);
        effects.extend(deletes.into_iter().map(|w| effect(w, true)));
        let urgent = self.push_status(&mut effects);
        // What is only kept for later carries no capacity.
        let dropped = self.dropped.take().map(Write::DropTemplate);
        effects.extend(dropped.map(|w| effect(w, false)));
        Plan {
            effects,
            status: self.next,
            urgent,
            events: self.events,
            notes: self.notes,
            wake: self.wake,
        }
    }

    fn rollout_patch(&self) -> Option<Value> {
        if self.annotations.is_empty() && self.spec_patch.is_empty() && self.finalizers.is_none() {
            return None;
        }
        let mut patch = Map::new();
        let mut metadata = Map::new();
        if let Some(finalizers) = &self.finalizers {
            metadata.insert("finalizers".into(), json!(finalizers));
        }
        if !self.annotations.is_empty() {
            let map: Map<String, Value> = self
                .annotations
                .iter()
                .map(|(k, v)| (k.clone(), v.clone().map_or(Value::Null, Value::String)))
                .collect();
            metadata.insert("annotations".into(), Value::Object(map));
        }
        if !metadata.is_empty() {
            patch.insert("metadata".into(), Value::Object(metadata));
        }
        if !self.spec_patch.is_empty() {
            patch.insert("spec".into(), Value::Object(self.spec_patch.clone()));
        }
        Some(Value::Object(patch))
    }

    /// Adds the status write where something besides our own block changed; tells whether somebody
    /// waits for it.
    fn push_status(&mut self, effects: &mut Vec<Effect>) -> bool {
        let read = self.read();
        if !self.is_forced && self.next.serin != read.serin {
            let mut rest = self.next.clone();
            rest.serin = read.serin.clone();
            if rest == *read {
                self.next = rest;
            }
        }
        if self.next == *read {
            return false;
        }
        let urgent = self.is_forced || matters(&self.next) != matters(read);
        // Who decided, and on what: recorded with the change, never a change of its own.
        let (epoch, evidence) = (self.seen.epoch.clone(), self.seen.evidence.clone());
        let serin = self.serin();
        serin.epoch = (!epoch.is_empty()).then_some(epoch);
        serin.evidence = evidence;
        effects.push(effect(
            Write::Status(Box::new(StatusWrite {
                before: Arc::clone(&self.seen.rollout.status),
                after: self.next.clone(),
                version: self.seen.rollout.version.clone(),
            })),
            false,
        ));
        urgent
    }
}

fn effect(write: Write, disruptive: bool) -> Effect {
    Effect { write, disruptive }
}

/// A status without mere counts and times.
fn matters(status: &RolloutStatus) -> RolloutStatus {
    let mut s = status.clone();
    s.replicas = None;
    s.updated_replicas = None;
    s.ready_replicas = None;
    s.available_replicas = None;
    s.hpa_replicas = None;
    s.message = None;
    if let Some(serin) = &mut s.serin {
        serin.weight = None;
        serin.ready_text = None;
        serin.progress = None;
        serin.most_updated = None;
        serin.least_old = None;
        serin.evidence = None;
        serin.epoch = None;
    }
    for condition in &mut s.conditions {
        condition.last_update_time = None;
        condition.message = None;
        // Which kind of progress it is, nobody waits for; that it ended, somebody does.
        if condition.type_ == reasons::PROGRESSING && condition.status == "True" {
            condition.reason = None;
        }
    }
    s
}

/// A time as it is written: whole seconds, rounded up, so that what starts never starts early.
pub(crate) fn whole_seconds(t: Timestamp) -> Time {
    let up = if t.subsec_nanosecond() > 0 {
        t.as_second().saturating_add(1)
    } else {
        t.as_second()
    };
    Time(Timestamp::from_second(up).unwrap_or(t))
}

/// `t` plus some seconds, or the end of time.
pub(crate) fn after(t: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(t.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}
