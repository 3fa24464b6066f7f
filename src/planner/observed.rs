//! What a turn knows: the Rollout, its ReplicaSets and runs, answers to what `needs` asked, and the
//! time. The same shape live, in the rehearsal and in tests. Knows nothing of where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::config::{self, ConfigKey};
use super::fault::Fault;
use super::freeze::Window;
pub use super::services::ServiceSeen;
use super::spec::Spec;
use super::workload::{self, WorkloadKey};
use crate::api::{AnalysisRun, Experiment, PodTemplate, Rollout, RolloutStatus};

/// Everything one turn may look at.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The turn's one reading of the clock, at full precision.
    pub now: Timestamp,
    /// The Rollout.
    pub rollout: RolloutSeen,
    /// ReplicaSets whose controller is this Rollout's uid, in no particular order.
    pub replica_sets: Vec<ReplicaSetSeen>,
    /// AnalysisRuns whose controller is this Rollout's uid.
    pub runs: Vec<Arc<AnalysisRun>>,
    /// Experiments whose controller is this Rollout's uid.
    pub experiments: Vec<Arc<Experiment>>,
    /// Services that the Rollout names, as far as they are in sight, and those that say it manages
    /// them although it names them no longer.
    pub services: Vec<ServiceSeen>,
    /// What `needs` asked for and the shell found.
    pub answers: Answers,
    /// True when the Rollout and its ReplicaSets were read from the API server in this very turn.
    pub is_fresh: bool,
    /// resourceVersion of the live list that this turn rests on, for the record on what it writes;
    /// `None` where the view came from the caches.
    pub evidence: Option<String>,
    /// Address of Prometheus given by the operator, for `slos` that name none.
    pub default_prometheus: Option<String>,
    /// Every freeze window there is; the planner finds out which are for this Rollout, and when.
    pub freezes: Arc<Vec<Arc<Window>>>,
    /// Identity of the term in office, recorded with every decision; empty in the simulator.
    pub epoch: String,
}

/// The Rollout without its pod template.
#[derive(Clone, Debug)]
pub struct RolloutSeen {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Version decided on.
    pub version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// When it was made.
    pub created: Timestamp,
    /// `metadata.deletionTimestamp` is set.
    pub is_deleting: bool,
    /// `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// All labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// All annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// The lowered spec, or every fault in it.
    pub spec: Result<Arc<Spec>, Arc<Vec<Fault>>>,
    /// What can be told of the spec also where it cannot be used.
    pub outline: Outline,
    /// `serin.dev/template` value of the template: format version and digest (see `revision`).
    pub template_digest: String,
    /// Status as read.
    pub status: Arc<RolloutStatus>,
}

/// What of a spec counts even where the rest of it is wrong: how many pods there are to be, and whose
/// template they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// `spec.replicas`, 1 where it is absent; `None` where it is no number of pods.
    pub replicas: Option<u32>,
    /// `spec.workloadRef`, where it names a known kind.
    pub workload: Option<WorkloadKey>,
}

/// A ReplicaSet as the planner needs it. Of an old one at 0 only name, uid, version, hash, revision,
/// creation and whether it was stable are told; the rest is at its default.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSetSeen {
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Version decided on.
    pub version: String,
    /// When its version was made for the first time (see `origin`).
    pub created: Timestamp,
    /// `serin.dev/was-stable`; absent on a ReplicaSet that the peer made (see `origin`).
    pub was_stable: Option<bool>,
    /// Value of the label `rollouts-pod-template-hash`.
    pub hash: String,
    /// `rollout.argoproj.io/revision`, 0 when absent or unreadable.
    pub revision: u64,
    /// `rollout.argoproj.io/revision-history`.
    pub revision_history: Option<String>,
    /// `rollout.argoproj.io/desired-replicas`.
    pub desired_replicas: Option<u32>,
    /// `scale-down-deadline`, if it is there and reads as a time.
    pub scale_down_deadline: Option<Timestamp>,
    /// `serin.dev/template`; absent on a ReplicaSet that the peer made.
    pub template_digest: Option<String>,
    /// `rollout.argoproj.io/ephemeral-metadata`: JSON of what its template carries for its role.
    pub ephemeral: Option<String>,
    /// `serin.dev/injected`: our record of the same (see `roles`).
    pub injected: Option<String>,
    /// `serin.dev/copied`: which annotations of the Rollout it has (see `copies`).
    pub copied: Option<String>,
    /// `serin.dev/config`: the copies of configuration it refers to (see `config`).
    pub config: Option<String>,
    /// `metadata.deletionTimestamp` is set.
    pub is_deleting: bool,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: u32,
    /// `status.replicas`: pods that exist.
    pub current: u32,
    /// `status.readyReplicas`.
    pub ready: u32,
    /// `status.availableReplicas`.
    pub available: u32,
    /// `status.observedGeneration >= metadata.generation`: the numbers above speak of this spec.
    pub is_observed: bool,
    /// Condition ReplicaFailure when True: reason and message.
    pub failure: Option<(String, String)>,
}

impl ReplicaSetSeen {
    /// Pods that answer clients and shall stay. A count that is older than the last change of size
    /// tells of pods that are about to go.
    pub fn answering(&self) -> u32 {
        self.available.min(self.replicas)
    }
}

/// What the shell fetched because `needs` asked; absent keys were not asked for.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// ConfigMaps and Secrets that the template refers to.
    pub configs: BTreeMap<ConfigKey, config::Found>,
    /// What holds the name of a copy that is to be made; `None` inside where nothing does.
    pub copies: BTreeMap<ConfigKey, Option<Arc<config::CopySeen>>>,
    /// The stable version's template as it was kept (a ControllerRevision); `None` inside where there
    /// is none.
    pub kept: Option<Option<Arc<Value>>>,
    /// The workload that the Rollout refers to.
    pub workload: Option<workload::Found>,
    /// The Rollout's full pod template, as stored.
    pub template: Option<PodTemplate>,
    /// The whole Rollout, as stored.
    pub object: Option<Arc<Value>>,
    /// The template as the API server would store it in a ReplicaSet (dry run), or why it refused.
    pub stored_template: Option<Result<Arc<Value>, String>>,
    /// Pod templates of ReplicaSets, by name.
    pub replica_set_templates: BTreeMap<String, Arc<Value>>,
    /// A ReplicaSet found by name, whoever owns it: its controller uid and `serin.dev/template`.
    pub named: BTreeMap<String, Option<Named>>,
    /// Every pod that a ReplicaSet of this Rollout controls, read live in this very turn.
    pub pods: Option<Vec<PodSeen>>,
    /// AnalysisRuns found by name, whoever owns them: the controller's uid, if any; `None` where there
    /// is no such run.
    pub runs: BTreeMap<String, Option<Option<String>>>,
    /// Experiments found by name, as `runs`.
    pub experiments: BTreeMap<String, Option<Option<String>>>,
    /// Analysis templates by reference; `None` where there is no such object.
    pub analysis_templates:
        BTreeMap<TemplateRef, Option<Arc<crate::api::analysis::AnalysisTemplateSpec>>>,
    /// Services that were read live and are not there.
    pub absent_services: BTreeSet<String>,
}

/// A pod as the planner needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSeen {
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Uid of the ReplicaSet that controls it.
    pub owner: String,
    /// When it was made; whole seconds, as the API server writes it.
    pub created: Timestamp,
    /// It is neither on its way out nor ended.
    pub is_active: bool,
    /// Since when it has been ready, where it is.
    pub ready_since: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Who holds a ReplicaSet's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Controller's uid.
    pub owner: Option<String>,
    /// `serin.dev/template`.
    pub template_digest: Option<String>,
}

/// Reference to an AnalysisTemplate or a ClusterAnalysisTemplate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateRef {
    /// Object name.
    pub name: String,
    /// True for ClusterAnalysisTemplate.
    pub is_cluster: bool,
}

/// One thing that a turn must know before it can plan, and that no watch holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The workload that `spec.workloadRef` names (`Answers::workload`); asked before all else.
    Workload(WorkloadKey),
    /// What was kept of the stable version, under this name (`Answers::kept`).
    Kept(String),
    /// A ConfigMap or Secret (`Answers::configs`).
    Config(ConfigKey),
    /// What holds the name of a copy (`Answers::copies`).
    Copy(ConfigKey),
    /// The Rollout's full template (`Answers::template`).
    Template,
    /// The whole Rollout, for an argument that names one of its fields (`Answers::object`).
    Object,
    /// Proof that absence is real: read the Rollout and its ReplicaSets live (`is_fresh`).
    Fresh,
    /// Dry-run create of a ReplicaSet with this Rollout's template (`stored_template`).
    StoredTemplate,
    /// Template of a ReplicaSet by name.
    ReplicaSetTemplate(String),
    /// The ReplicaSet that holds this name, whoever owns it.
    Named(String),
    /// The pods of the Rollout's ReplicaSets, read live (`Answers::pods`).
    Pods,
    /// The AnalysisRun that holds this name, whoever owns it.
    Run(String),
    /// The Experiment that holds this name, whoever owns it.
    Experiment(String),
    /// An analysis template.
    AnalysisTemplate(TemplateRef),
    /// A Service by name: into `Observed::services`, or `absent_services`.
    Service(String),
}

impl RolloutSeen {
    /// A Rollout as the planner sees it: lowered, its template digested. Done once per version of
    /// the object; the template itself can be dropped afterwards.
    pub fn of(rollout: &Rollout) -> Self {
        let meta = &rollout.metadata;
        let digest = rollout
            .spec
            .template
            .as_ref()
            .map(super::revision::template_digest);
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or(0),
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            is_deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            labels: Arc::new(meta.labels.clone().unwrap_or_default()),
            annotations: Arc::new(meta.annotations.clone().unwrap_or_default()),
            spec: super::lower::lower(rollout).map(Arc::new).map_err(Arc::new),
            outline: super::lower::outline(
                rollout.spec.replicas,
                rollout.spec.workload_ref.as_ref(),
            ),
            template_digest: digest.unwrap_or_default(),
            status: Arc::new(rollout.status.clone().unwrap_or_default()),
        }
    }
}
