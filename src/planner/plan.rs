//! What a turn decides: effects in a safe order, the next status, events, notes and the next look.
//! Knows the order of effects and its reason; knows nothing of how they are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::config::ConfigKey;
pub use super::services::ServicePatch;
use super::workload::WorkloadKey;
use crate::api::{REPLICAS_BEFORE, RolloutStatus};

/// The decision of one turn for one Rollout.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Writes in the order in which they must happen; every prefix is safe.
    pub effects: Vec<Effect>,
    /// The status as it shall be when all effects are done; equal to the one read when nothing changed.
    pub status: RolloutStatus,
    /// A change that a person or a rule waits for (step, phase, abort, promotion): not to be put off.
    /// Mere counts may be coalesced by the shell.
    pub urgent: bool,
    /// Events to report once everything is written.
    pub events: Vec<Event>,
    /// Why nothing more happens now, for `serin why`, logs and the rehearsal.
    pub notes: Vec<Note>,
    /// When to look again although nothing was seen to change.
    pub wake: Wake,
}

impl Plan {
    /// True when the shell must read the Rollout and its ReplicaSets live and plan once more before
    /// performing: disruptive effects rest on a live read.
    pub fn is_disruptive(&self) -> bool {
        self.effects.iter().any(|e| e.disruptive)
    }
}

/// One write and its nature.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// What to write.
    pub write: Write,
    /// Lowers capacity or moves traffic away: needs a live read in the same turn.
    pub disruptive: bool,
}

/// A write to the cluster. Every one carries the version it was decided on, or creates under a
/// deterministic name.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Merge patch of the Rollout itself (annotations, `spec.replicas`, `spec.paused`).
    PatchRollout {
        /// RFC 7386 patch without the resourceVersion, which the shell adds.
        patch: Value,
        /// Version decided on.
        version: String,
    },
    /// Keeps the template of the stable version; one of the name is the same.
    KeepTemplate(Box<KeptTemplate>),
    /// Deletes what was kept under this name.
    DropTemplate(String),
    /// Creates a copy of a ConfigMap or Secret; one of the name is the same copy.
    CreateConfig(Box<NewConfig>),
    /// Deletes a copy of a ConfigMap or Secret, and nothing that is no copy.
    DeleteConfig(ConfigKey),
    /// Creates a ReplicaSet of this Rollout.
    CreateReplicaSet(Box<NewReplicaSet>),
    /// Changes size or annotations of one ReplicaSet.
    PatchReplicaSet(ReplicaSetPatch),
    /// Changes the size of the workload that the Rollout refers to.
    ScaleWorkload(ScaleWorkload),
    /// Changes labels and annotations of living pods, all at once; one that is gone is no matter.
    PatchPods(Vec<PodPatch>),
    /// Evicts a pod, as `kubectl drain` does: the API server keeps disruption budgets.
    EvictPod {
        /// Name in the Rollout's namespace.
        name: String,
        /// Precondition.
        uid: String,
    },
    /// Deletes an old ReplicaSet at 0.
    DeleteReplicaSet {
        /// Name in the Rollout's namespace.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition.
        version: String,
    },
    /// Creates an AnalysisRun (the whole object).
    CreateRun(Box<crate::api::AnalysisRun>),
    /// Tells an AnalysisRun to end: `spec.terminate: true`.
    TerminateRun {
        /// Name in the Rollout's namespace.
        name: String,
        /// Version decided on.
        version: String,
    },
    /// Deletes a finished AnalysisRun beyond the history limit.
    DeleteRun {
        /// Name in the Rollout's namespace.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition.
        version: String,
    },
    /// Lets a Service select other pods, or lets it go.
    PatchService(ServicePatch),
    /// Creates a Service of an Experiment.
    CreateService(Box<NewService>),
    /// Deletes a Service, if it is controlled by this uid.
    DeleteService {
        /// Name in the Experiment's namespace.
        name: String,
        /// Uid of the Experiment.
        owner: String,
    },
    /// Creates an Experiment (the whole object).
    CreateExperiment(Box<crate::api::Experiment>),
    /// Tells an Experiment to end: `spec.terminate: true`.
    TerminateExperiment {
        /// Name in the Rollout's namespace.
        name: String,
        /// Version decided on.
        version: String,
    },
    /// Deletes an Experiment that has ended, with everything it made.
    DeleteExperiment {
        /// Name in the Rollout's namespace.
        name: String,
        /// Precondition.
        uid: String,
        /// Precondition.
        version: String,
    },
    /// The status sub-resource, always last.
    Status(Box<StatusWrite>),
}

/// The template of a stable version, to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptTemplate {
    /// `<rollout>-<hash>`.
    pub name: String,
    /// The ControllerRevision as it is sent.
    pub object: Arc<Value>,
}

/// A copy of a ConfigMap or Secret.
#[derive(Clone, PartialEq)]
pub struct NewConfig {
    /// Kind and name of the copy.
    pub key: ConfigKey,
    /// The object as it is sent.
    pub object: Arc<Value>,
}

impl std::fmt::Debug for NewConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewConfig({})", self.key)
    }
}

/// Another size for the workload that a Rollout refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleWorkload {
    /// Which one, in the Rollout's namespace.
    pub key: WorkloadKey,
    /// Version decided on.
    pub version: String,
    /// Its size as it was read.
    pub from: u32,
    /// Its new size.
    pub replicas: u32,
    /// Its size before it was ever made smaller, for the record; `None` removes the record.
    pub before: Option<u32>,
}

impl ScaleWorkload {
    /// The RFC 7386 patch, with the resourceVersion it was decided on.
    pub fn to_json(&self) -> Value {
        let before = self.before.map(|n| n.to_string());
        serde_json::json!({
            "metadata": {
                "resourceVersion": self.version,
                "annotations": {REPLICAS_BEFORE: before},
            },
            "spec": {"replicas": self.replicas},
        })
    }
}

/// A ReplicaSet to be made: 0 replicas, scaled in a later turn.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReplicaSet {
    /// `<rollout>-<hash>`.
    pub name: String,
    /// Value of the pod hash label.
    pub hash: String,
    /// Revision it is made for.
    pub revision: u64,
    /// Full digest with its format version, for `serin.dev/template`.
    pub template_digest: String,
    /// The object as it is sent.
    pub object: Arc<Value>,
}

/// A Service to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// The object as it is sent.
    pub object: Arc<Value>,
}

/// A patch of one ReplicaSet: size and annotations in one write.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ReplicaSetPatch {
    /// Name in the Rollout's namespace.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Version decided on.
    pub version: String,
    /// New `spec.replicas`.
    pub replicas: Option<u32>,
    /// New `spec.minReadySeconds`.
    pub min_ready_seconds: Option<u32>,
    /// Annotations to set, or to remove where `None`.
    pub annotations: BTreeMap<String, Option<String>>,
    /// RFC 7386 patch of `spec.template`; pods that live are not touched by it.
    pub template: Option<Value>,
}

/// A patch of one living pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodPatch {
    /// Name in the Rollout's namespace.
    pub name: String,
    /// Identity; the patch holds it too, so that no other pod of the name is changed.
    pub uid: String,
    /// RFC 7386 patch.
    pub patch: Value,
}

impl ReplicaSetPatch {
    /// The RFC 7386 patch, with the resourceVersion it was decided on.
    pub fn to_json(&self) -> Value {
        let mut metadata = serde_json::Map::new();
        metadata.insert(
            "resourceVersion".into(),
            Value::String(self.version.clone()),
        );
        if !self.annotations.is_empty() {
            let map = self
                .annotations
                .iter()
                .map(|(k, v)| (k.clone(), v.clone().map_or(Value::Null, Value::String)))
                .collect();
            metadata.insert("annotations".into(), Value::Object(map));
        }
        let mut patch = serde_json::Map::new();
        patch.insert("metadata".into(), Value::Object(metadata));
        let mut spec = serde_json::Map::new();
        if let Some(n) = self.replicas {
            spec.insert("replicas".into(), Value::from(n));
        }
        if let Some(n) = self.min_ready_seconds {
            spec.insert("minReadySeconds".into(), Value::from(n));
        }
        if let Some(template) = &self.template {
            spec.insert("template".into(), template.clone());
        }
        if !spec.is_empty() {
            patch.insert("spec".into(), Value::Object(spec));
        }
        Value::Object(patch)
    }
}

/// A status write: the shell sends the RFC 7386 difference with the version decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusWrite {
    /// Status as it was read.
    pub before: Arc<RolloutStatus>,
    /// Status as it shall be.
    pub after: RolloutStatus,
    /// Version decided on (the turn's own patch of the Rollout moves it: the shell follows).
    pub version: String,
}

/// What became of an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Written; the object's new version where the server told it.
    Done {
        /// `metadata.resourceVersion` after the write.
        version: String,
    },
    /// The name is taken (409 AlreadyExists on a create).
    Exists,
    /// The object moved on (409 Conflict, or gone).
    Conflict,
    /// No answer in time: it may have happened.
    Unknown(String),
    /// Refused for good reasons of its own (quota, admission, permission, invalid).
    Refused(String),
    /// Any other failure.
    Failed(String),
}

/// Normal or Warning, as Kubernetes events have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// Information.
    Normal,
    /// Something a person should look at.
    Warning,
}

impl EventKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An event to report about the object of the turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Normal or Warning.
    pub kind: EventKind,
    /// Reason, as the contract names it.
    pub reason: &'static str,
    /// The message.
    pub note: String,
}

impl Event {
    /// An informational event.
    pub fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            kind: EventKind::Normal,
            reason,
            note: note.into(),
        }
    }

    /// A warning.
    pub fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            kind: EventKind::Warning,
            reason,
            note: note.into(),
        }
    }
}

/// One sentence about why the turn ended where it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(pub String);

/// The earliest deadline any rule looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake(Option<Timestamp>);

impl Wake {
    /// Asks to be looked at not later than `t`.
    pub fn at(&mut self, t: Timestamp) {
        self.0 = Some(self.0.map_or(t, |old| old.min(t)));
    }

    /// The earliest of all that was asked.
    pub fn time(self) -> Option<Timestamp> {
        self.0
    }
}
