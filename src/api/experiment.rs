//! The Experiment kind: ReplicaSets that run side by side for a while, and their analyses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;

use super::analysis::{AnalysisRunMetadata, Argument, DryRun, MeasurementRetention};
use super::status::{RolloutCondition, null_is_empty};
use super::template::PodTemplate;

wire! {
    /// What to run side by side, for how long, and how to judge it.
    #[derive(CustomResource)]
    #[kube(
        group = "argoproj.io",
        version = "v1alpha1",
        kind = "Experiment",
        plural = "experiments",
        singular = "experiment",
        shortname = "exp",
        namespaced,
        status = "ExperimentStatus",
        printcolumn(name = "Status", type_ = "string", json_path = ".status.phase", description = "Phase of it"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was made"),
        printcolumn(name = "Message", type_ = "string", json_path = ".status.message", description = "Why the phase is what it is"),
        derive = "PartialEq",
        derive = "Default",
        doc = "Runs several versions side by side for a while and compares them."
    )]
    pub struct ExperimentSpec {
        /// The ReplicaSets to run.
        pub templates: Option<Vec<ExperimentTemplate>>,
        /// How long to run, such as 10m; absent: until terminated or the analyses are done.
        pub duration: Option<String>,
        /// Seconds without progress after which a template counts as failed; default 600.
        pub progress_deadline_seconds: Option<i64>,
        /// True ends the Experiment now.
        pub terminate: Option<bool>,
        /// The analyses to run meanwhile.
        pub analyses: Option<Vec<ExperimentAnalysis>>,
        /// Seconds the ReplicaSets stay up after the end; default 30.
        pub scale_down_delay_seconds: Option<i64>,
        /// Metrics that are measured but do not count.
        pub dry_run: Option<Vec<DryRun>>,
        /// How many measurements to keep, by metric.
        pub measurement_retention: Option<Vec<MeasurementRetention>>,
        /// Labels and annotations for the AnalysisRuns.
        pub analysis_run_metadata: Option<AnalysisRunMetadata>,
    }

    /// One ReplicaSet of an Experiment.
    pub struct ExperimentTemplate {
        /// Name of the template, unique within the Experiment.
        pub name: String,
        /// How many pods; default 1.
        pub replicas: Option<i64>,
        /// Seconds a pod must be ready before it counts as available; default 0.
        pub min_ready_seconds: Option<i64>,
        /// Selector of the ReplicaSet; must match the labels of the template.
        pub selector: Option<LabelSelector>,
        /// The pods to run.
        pub template: Option<PodTemplate>,
        /// A service in front of these pods.
        pub service: Option<TemplateService>,
    }

    /// A service in front of the pods of a template.
    pub struct TemplateService {
        /// Name of the service; that of the ReplicaSet when absent.
        pub name: Option<String>,
    }

    /// An analysis of an Experiment.
    pub struct ExperimentAnalysis {
        /// Name of the analysis, unique within the Experiment.
        pub name: String,
        /// Name of the analysis template.
        pub template_name: String,
        /// True for a ClusterAnalysisTemplate.
        pub cluster_scope: Option<bool>,
        /// Values for the arguments that the template declares.
        pub args: Option<Vec<Argument>>,
        /// True: the Experiment ends as soon as all required analyses have.
        pub required_for_completion: Option<bool>,
    }

    /// What is known of an Experiment.
    pub struct ExperimentStatus {
        /// Pending, Running, Successful, Failed, Error or Inconclusive.
        pub phase: Option<String>,
        /// Why the phase is what it is.
        pub message: Option<String>,
        /// State of each template.
        pub template_statuses: Option<Vec<TemplateStatus>>,
        /// When all templates had their pods; the duration counts from here.
        pub available_at: Option<Time>,
        /// Conditions of the Experiment.
        #[serde(deserialize_with = "null_is_empty")]
        #[schemars(extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["type"]
        ))]
        pub conditions: Vec<RolloutCondition>,
        /// State of each analysis.
        pub analysis_runs: Option<Vec<ExperimentAnalysisRunStatus>>,
    }

    /// State of a template.
    pub struct TemplateStatus {
        /// Name of the template.
        pub name: String,
        /// Pods that exist.
        pub replicas: Option<i64>,
        /// Pods of the current template.
        pub updated_replicas: Option<i64>,
        /// Pods that are ready.
        pub ready_replicas: Option<i64>,
        /// Pods that are available.
        pub available_replicas: Option<i64>,
        /// How often a name was taken by somebody else's ReplicaSet.
        pub collision_count: Option<i64>,
        /// Progressing, Running, Successful, Failed or Error.
        pub status: Option<String>,
        /// Why the status is what it is.
        pub message: Option<String>,
        /// When the status or the count of available pods changed last.
        pub last_transition_time: Option<Time>,
        /// Name of the service in front of the pods.
        pub service_name: Option<String>,
        /// Hash of the template.
        pub pod_template_hash: Option<String>,
    }

    /// State of an analysis.
    pub struct ExperimentAnalysisRunStatus {
        /// Name of the analysis within the Experiment.
        pub name: String,
        /// Name of the AnalysisRun.
        pub analysis_run: String,
        /// Phase of the AnalysisRun.
        pub phase: Option<String>,
        /// Message of the AnalysisRun.
        pub message: Option<String>,
    }
}
