//! The validated Experiment: defaults applied, durations parsed (E1). Knows no rule.

use serde_json::Value;

use crate::api::PodTemplate;
use crate::api::analysis::{AnalysisRunMetadata, DryRun, MeasurementRetention};
use crate::api::experiment::ExperimentAnalysis;

/// An Experiment's spec after `lower`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The ReplicaSets to run, in order; at least one.
    pub templates: Vec<Template>,
    /// How long to run once all pods are there, in milliseconds; `None`: until the analyses are done
    /// or a person ends it.
    pub duration: Option<i64>,
    /// Seconds without progress after which a template has failed.
    pub progress_deadline_seconds: u32,
    /// A person, or the Rollout, wants it to end.
    pub is_terminated: bool,
    /// What is judged meanwhile.
    pub analyses: Vec<ExperimentAnalysis>,
    /// Seconds that the pods stay after the end.
    pub scale_down_delay_seconds: u32,
    /// Metrics that do not count.
    pub dry_run: Vec<DryRun>,
    /// How many measurements to keep.
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations for the runs.
    pub metadata: Option<AnalysisRunMetadata>,
}

/// One ReplicaSet of an Experiment.
#[derive(Clone, Debug)]
pub struct Template {
    /// Name, unique within the Experiment.
    pub name: String,
    /// Pods wanted.
    pub replicas: u32,
    /// Seconds a pod must be ready before it counts as available.
    pub min_ready_seconds: u32,
    /// The selector as written (JSON of a LabelSelector).
    pub selector: Value,
    /// The pods.
    pub template: PodTemplate,
    /// A Service in front of them: under this name, or under the ReplicaSet's where it is empty.
    pub service: Option<String>,
}
