//! The Rollout kind and what is common to both strategies.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;

use super::blue_green::BlueGreenStrategy;
use super::canary::CanaryStrategy;
use super::status::RolloutStatus;
use super::template::PodTemplate;

wire! {
    /// What the user wants to run and how a new version gets there.
    #[derive(CustomResource)]
    #[kube(
        group = "argoproj.io",
        version = "v1alpha1",
        kind = "Rollout",
        plural = "rollouts",
        singular = "rollout",
        shortname = "ro",
        namespaced,
        status = "RolloutStatus",
        scale(
            spec_replicas_path = ".spec.replicas",
            status_replicas_path = ".status.HPAReplicas",
            label_selector_path = ".status.selector"
        ),
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Healthy, Degraded, Progressing or Paused"),
        printcolumn(name = "Step", type_ = "string", json_path = ".status.serin.stepText", description = "Current step out of all"),
        printcolumn(name = "Weight", type_ = "integer", json_path = ".status.serin.weight", description = "Percent of traffic, or of pods, that the new version has"),
        printcolumn(name = "Ready", type_ = "string", json_path = ".status.serin.readyText", description = "Ready pods out of wanted ones"),
        printcolumn(name = "Message", type_ = "string", json_path = ".status.message", description = "Why the phase is what it is"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was made"),
        printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas", priority = 1, description = "Pods wanted"),
        printcolumn(name = "Current", type_ = "integer", json_path = ".status.replicas", priority = 1, description = "Pods of all versions"),
        printcolumn(name = "Up-to-date", type_ = "integer", json_path = ".status.updatedReplicas", priority = 1, description = "Pods of the version in spec"),
        printcolumn(name = "Available", type_ = "integer", json_path = ".status.availableReplicas", priority = 1, description = "Pods that are available"),
        derive = "PartialEq",
        derive = "Default",
        doc = "A Deployment whose updates go out step by step, judged on the way, and go back by themselves when they are bad."
    )]
    pub struct RolloutSpec {
        /// How many pods to run; 1 when absent. An HPA writes it through the scale sub-resource.
        pub replicas: Option<i64>,
        /// Which pods belong to this Rollout; must match the labels of the template and never change.
        #[schemars(extend(
            "x-kubernetes-map-type" = "atomic",
            "x-kubernetes-validations" = [{
                "rule": "self == oldSelf",
                "message": ".spec.selector is immutable",
            }]
        ))]
        pub selector: Option<LabelSelector>,
        /// The pods to run. Changing it starts an update. Not together with workloadRef.
        pub template: Option<PodTemplate>,
        /// A Deployment, ReplicaSet or PodTemplate to take the template from, instead of template.
        pub workload_ref: Option<WorkloadRef>,
        /// Seconds a pod must be ready, without a crash, before it counts as available; default 0.
        pub min_ready_seconds: Option<i64>,
        /// How updates reach the pods: exactly one of canary and blueGreen.
        pub strategy: Option<RolloutStrategy>,
        /// How many old ReplicaSets to keep for going back; default 10.
        pub revision_history_limit: Option<i64>,
        /// True holds the update where it is until it is false again.
        pub paused: Option<bool>,
        /// Seconds without progress after which the update counts as stuck; default 600.
        pub progress_deadline_seconds: Option<i64>,
        /// True aborts an update that is stuck, instead of only reporting it.
        pub progress_deadline_abort: Option<bool>,
        /// Pods made before this time are replaced, without a new revision.
        pub restart_at: Option<Time>,
        /// How many finished AnalysisRuns and Experiments to keep.
        pub analysis: Option<AnalysisRunStrategy>,
        /// Going back to one of the last few revisions skips steps and analysis.
        pub rollback_window: Option<RollbackWindow>,
    }

    /// The workload whose pod template is used.
    pub struct WorkloadRef {
        /// API version of the workload: apps/v1 or v1.
        pub api_version: Option<String>,
        /// Deployment, ReplicaSet or PodTemplate.
        pub kind: Option<String>,
        /// Name of the workload, in the namespace of the Rollout.
        pub name: Option<String>,
        /// When a referenced Deployment goes down to 0: never (default), onsuccess or progressively.
        pub scale_down: Option<String>,
    }

    /// How an update goes out: exactly one of the two.
    pub struct RolloutStrategy {
        /// Run two full versions side by side and switch traffic at once.
        pub blue_green: Option<BlueGreenStrategy>,
        /// Move pods, and traffic where a router is set, to the new version in steps.
        pub canary: Option<CanaryStrategy>,
    }

    /// How many finished AnalysisRuns and Experiments to keep.
    pub struct AnalysisRunStrategy {
        /// Successful ones to keep; default 5.
        pub successful_run_history_limit: Option<i64>,
        /// Failed, Error and Inconclusive ones to keep; default 5.
        pub unsuccessful_run_history_limit: Option<i64>,
    }

    /// Which former revisions are trusted enough to go back to without steps.
    pub struct RollbackWindow {
        /// How many revisions back the window reaches.
        pub revisions: Option<i64>,
    }

    /// Labels and annotations that pods carry only while they have a role.
    pub struct PodTemplateMetadata {
        /// Labels to add.
        pub labels: Option<BTreeMap<String, String>>,
        /// Annotations to add.
        pub annotations: Option<BTreeMap<String, String>>,
    }

    /// Keeps pods of the two versions apart from each other on nodes; exactly one of the two.
    pub struct AntiAffinity {
        /// Avoid nodes of the other version where possible.
        pub preferred_during_scheduling_ignored_during_execution: Option<PreferredAntiAffinity>,
        /// Never share a node with the other version.
        pub required_during_scheduling_ignored_during_execution: Option<RequiredAntiAffinity>,
    }

    /// A wish with a weight.
    pub struct PreferredAntiAffinity {
        /// Strength of the wish, 1 to 100.
        pub weight: Option<i64>,
    }

    /// A strict rule; it has no fields.
    pub struct RequiredAntiAffinity {}
}
