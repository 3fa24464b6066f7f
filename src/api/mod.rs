//! The wire types of `argoproj.io/v1alpha1`: shapes that clients send and read, and nothing else.
//!
//! No defaults, no rules, no arithmetic live here. Types are as lenient as the wire is: an absent
//! field stays absent, a value that makes no sense is kept and refused later, by `lower`, with its
//! path. So reading an object and writing it back gives the same object.
//!
//! The field order of each struct is the published one, because `currentStepHash` is taken over the
//! JSON of the canary steps in that order.

#[macro_use]
mod wire;

pub mod analysis;
pub mod blue_green;
pub mod canary;
pub mod experiment;
pub mod freeze;
pub mod patch;
pub mod providers;
pub mod published;
pub mod rollout;
pub mod schema;
pub mod slo;
pub mod status;
pub mod template;
pub mod traffic;
mod value;

pub use analysis::{
    AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, AnalysisTemplate, AnalysisTemplateSpec,
    Argument, ClusterAnalysisTemplate, ClusterAnalysisTemplateSpec, Metric,
};
pub use blue_green::BlueGreenStrategy;
pub use canary::{CanaryStep, CanaryStrategy, RolloutAnalysis};
pub use experiment::{Experiment, ExperimentSpec, ExperimentStatus};
pub use freeze::{
    ClusterFreezeWindow, ClusterFreezeWindowSpec, FreezeWindow, FreezeWindowSpec, OWN_API_VERSION,
};
pub use rollout::{Rollout, RolloutSpec};
pub use slo::Slos;
pub use status::{RolloutCondition, RolloutStatus};
pub use template::PodTemplate;
pub use traffic::TrafficRouting;
pub use value::{Bound, IntOrString};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The owner that controls an object; there is at most one.
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// The API group of the five kinds that existing clients know.
pub const GROUP: &str = "argoproj.io";
/// The one version of the group.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of all five kinds.
pub const API_VERSION: &str = "argoproj.io/v1alpha1";

/// Label on ReplicaSets, their selectors, pods, services' selectors and runs: the pod hash.
pub const POD_HASH_LABEL: &str = "rollouts-pod-template-hash";
/// Label that gives an object to the controller which runs with this `--instance-id`.
pub const INSTANCE_ID: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// Label on an AnalysisRun: why its Rollout made it (`Step`, `Background`, …).
pub const ROLLOUT_TYPE: &str = "rollout-type";
/// Label on an AnalysisRun or Experiment of a canary step: the index of that step.
pub const STEP_INDEX: &str = "step-index";

/// Annotation on Rollouts, ReplicaSets, runs: the revision number.
pub const REVISION: &str = "rollout.argoproj.io/revision";
/// Annotation on ReplicaSets: former revision numbers, with commas between them.
pub const REVISION_HISTORY: &str = "rollout.argoproj.io/revision-history";
/// Annotation on ReplicaSets: `spec.replicas` of the Rollout when it was last sized.
pub const DESIRED_REPLICAS: &str = "rollout.argoproj.io/desired-replicas";
/// Annotation on ReplicaSets: RFC 3339 time at which an old one goes down to 0.
pub const SCALE_DOWN_DEADLINE: &str = "scale-down-deadline";
/// Annotation on ReplicaSets: JSON of the labels and annotations that pods carry for a role only.
pub const EPHEMERAL_METADATA: &str = "rollout.argoproj.io/ephemeral-metadata";
/// Annotation on Rollouts with a `workloadRef`: generation of the workload whose template is in use.
pub const WORKLOAD_GENERATION: &str = "rollout.argoproj.io/workload-generation";
/// Annotation on services and routes: the Rollout that manages them.
pub const MANAGED_BY: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";

/// Prefix of every annotation of our own.
pub const OWN_PREFIX: &str = "serin.dev/";
/// Command annotation: lets this update through a freeze; the value says why.
pub const OVERRIDE_FREEZE: &str = "serin.dev/override-freeze";
/// Command: end the current pause or hold; `full` skips everything that is left.
pub const PROMOTE: &str = "serin.dev/promote";
/// Command: go back to stable; the value is the reason.
pub const ABORT: &str = "serin.dev/abort";
/// Command: start an aborted update again.
pub const RETRY: &str = "serin.dev/retry";
/// Command: set `spec.paused`.
pub const PAUSE: &str = "serin.dev/pause";
/// Command: clear `spec.paused`.
pub const RESUME: &str = "serin.dev/resume";
/// Command: replace all pods without a new revision.
pub const RESTART: &str = "serin.dev/restart";
/// Command: go back to the previous revision, or to the one named.
pub const UNDO: &str = "serin.dev/undo";
/// `true`: ConfigMaps and Secrets that the template refers to are part of a revision.
pub const TRACK_CONFIG: &str = "serin.dev/track-config";
/// Annotation on ReplicaSets made with [`TRACK_CONFIG`]: the copies they refer to, as JSON.
pub const CONFIG: &str = "serin.dev/config";
/// Label on copies of ConfigMaps and Secrets; as an annotation, the name of what was copied.
pub const CONFIG_COPY_OF: &str = "serin.dev/copy-of";
/// `true`: when the Rollout is deleted, the Deployment it refers to gets its pods back first.
pub const RESTORE_ON_DELETE: &str = "serin.dev/restore-on-delete";
/// Finalizer on Rollouts with [`RESTORE_ON_DELETE`].
pub const FINALIZER: &str = "serin.dev/restore-workload";
/// Annotation on Deployments that a Rollout refers to: their size before it made them smaller.
pub const REPLICAS_BEFORE: &str = "serin.dev/replicas-before";
/// What became of the last command: JSON `{id, verb, value, hash, step, at, outcome}`.
pub const LAST_COMMAND: &str = "serin.dev/last-command";
/// Annotation on our ReplicaSets: format version and full digest of the pod template, as it reads now.
pub const TEMPLATE: &str = "serin.dev/template";
/// The same of templates that read otherwise and are the same version, with commas between them. In an
/// annotation of its own: earlier builds take what [`TEMPLATE`] has for one digest.
pub const TEMPLATE_ALSO: &str = "serin.dev/template-also";
/// Annotation on AnalysisRuns of an Experiment: its `status.availableAt` when they were made.
pub const AVAILABLE_AT: &str = "serin.dev/available-at";
/// Annotation on our ReplicaSets: what their template hides and avoids for their role, as JSON.
pub const INJECTED: &str = "serin.dev/injected";
/// Annotation on our ReplicaSets: digest of the Rollout's annotations that were copied to them.
pub const COPIED: &str = "serin.dev/copied";
/// Annotation on ReplicaSets that were made again: when the version was made for the first time.
pub const CREATED: &str = "serin.dev/created";
/// Annotation on our ReplicaSets: whether the version was ever the stable one, `true` or `false`.
pub const WAS_STABLE: &str = "serin.dev/was-stable";
/// Annotation on our ReplicaSets: why it was last scaled, for whoever reads it later.
pub const DECISION: &str = "serin.dev/decision";
