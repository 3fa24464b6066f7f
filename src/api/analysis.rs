//! The analysis kinds: templates of what to measure, and runs that measure it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;

use super::canary::AnalysisTemplateRef;
use super::providers::MetricProvider;
use super::value::IntOrString;

wire! {
    /// What to measure and how to judge it.
    #[derive(CustomResource)]
    #[kube(
        group = "argoproj.io",
        version = "v1alpha1",
        kind = "AnalysisTemplate",
        plural = "analysistemplates",
        singular = "analysistemplate",
        shortname = "at",
        namespaced,
        derive = "PartialEq",
        derive = "Default",
        doc = "What to measure and how to judge it, for Rollouts of this namespace."
    )]
    pub struct AnalysisTemplateSpec {
        /// The metrics to measure.
        pub metrics: Option<Vec<Metric>>,
        /// The arguments that metrics use as {{args.name}}, with or without a value.
        pub args: Option<Vec<Argument>>,
        /// Metrics that are measured but do not count.
        pub dry_run: Option<Vec<DryRun>>,
        /// How many measurements to keep, by metric.
        pub measurement_retention: Option<Vec<MeasurementRetention>>,
        /// Other templates whose metrics and arguments are added.
        pub templates: Option<Vec<AnalysisTemplateRef>>,
    }

    /// What to measure and how to judge it, for Rollouts of any namespace.
    #[derive(CustomResource)]
    #[kube(
        group = "argoproj.io",
        version = "v1alpha1",
        kind = "ClusterAnalysisTemplate",
        plural = "clusteranalysistemplates",
        singular = "clusteranalysistemplate",
        shortname = "cat",
        derive = "PartialEq",
        derive = "Default",
        doc = "What to measure and how to judge it, for Rollouts of every namespace."
    )]
    pub struct ClusterAnalysisTemplateSpec {
        /// The metrics to measure.
        pub metrics: Option<Vec<Metric>>,
        /// The arguments that metrics use as {{args.name}}, with or without a value.
        pub args: Option<Vec<Argument>>,
        /// Metrics that are measured but do not count.
        pub dry_run: Option<Vec<DryRun>>,
        /// How many measurements to keep, by metric.
        pub measurement_retention: Option<Vec<MeasurementRetention>>,
        /// Other templates whose metrics and arguments are added.
        pub templates: Option<Vec<AnalysisTemplateRef>>,
    }

    /// What this run measures.
    #[derive(CustomResource)]
    #[kube(
        group = "argoproj.io",
        version = "v1alpha1",
        kind = "AnalysisRun",
        plural = "analysisruns",
        singular = "analysisrun",
        shortname = "ar",
        namespaced,
        status = "AnalysisRunStatus",
        printcolumn(name = "Status", type_ = "string", json_path = ".status.phase", description = "Phase of it"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was made"),
        printcolumn(name = "Message", type_ = "string", json_path = ".status.message", description = "Why the phase is what it is"),
        derive = "PartialEq",
        derive = "Default",
        doc = "One analysis: what it measures, what it has measured, and the verdict."
    )]
    pub struct AnalysisRunSpec {
        /// The metrics to measure.
        pub metrics: Option<Vec<Metric>>,
        /// Values of the arguments.
        pub args: Option<Vec<Argument>>,
        /// True ends the run now.
        pub terminate: Option<bool>,
        /// Metrics that are measured but do not count.
        pub dry_run: Option<Vec<DryRun>>,
        /// How many measurements to keep, by metric.
        pub measurement_retention: Option<Vec<MeasurementRetention>>,
        /// When a finished run is deleted.
        pub ttl_strategy: Option<TtlStrategy>,
    }

    /// One metric: how to measure it, how often, and what is good.
    pub struct Metric {
        /// Name of the metric, unique within the run.
        pub name: String,
        /// Time between measurements, such as 30s; absent: measure once.
        pub interval: Option<String>,
        /// Time to wait before the first measurement, such as 1m.
        pub initial_delay: Option<String>,
        /// How many measurements; absent with an interval: without end.
        pub count: Option<IntOrString>,
        /// Expression over result that is true for a good measurement.
        pub success_condition: Option<String>,
        /// Expression over result that is true for a bad measurement.
        pub failure_condition: Option<String>,
        /// How many bad measurements are allowed; default 0, -1 for any number.
        pub failure_limit: Option<IntOrString>,
        /// How many measurements may be neither good nor bad; default 0.
        pub inconclusive_limit: Option<IntOrString>,
        /// How many measurements in a row may fail to be made; default 4.
        pub consecutive_error_limit: Option<IntOrString>,
        /// Where to ask; exactly one provider.
        pub provider: MetricProvider,
        /// How many good measurements in a row end the metric as Successful; default 0, never.
        pub consecutive_success_limit: Option<IntOrString>,
    }

    /// An argument, with or without a value.
    pub struct Argument {
        /// Name of the argument.
        pub name: String,
        /// The value itself; not together with valueFrom.
        pub value: Option<String>,
        /// Where to find the value; not together with value.
        pub value_from: Option<ValueFrom>,
    }

    /// A value that is looked up: exactly one of the three.
    pub struct ValueFrom {
        /// A key of a Secret in the namespace of the run.
        pub secret_key_ref: Option<SecretKeyRef>,
        /// A field of the Rollout or the run.
        pub field_ref: Option<FieldRef>,
        /// A key of a ConfigMap in the namespace of the run. An addition of serin.
        pub config_map_key_ref: Option<ConfigMapKeyRef>,
    }

    /// A key of a Secret.
    pub struct SecretKeyRef {
        /// Name of the Secret.
        pub name: String,
        /// The key.
        pub key: String,
    }

    /// A key of a ConfigMap.
    pub struct ConfigMapKeyRef {
        /// Name of the ConfigMap.
        pub name: String,
        /// The key.
        pub key: String,
    }

    /// A field of an object.
    pub struct FieldRef {
        /// Path of the field, such as metadata.labels['region'].
        pub field_path: String,
    }

    /// Metrics that are measured but do not count.
    pub struct DryRun {
        /// Regular expression for names of metrics; it need not match the whole name.
        pub metric_name: String,
    }

    /// How many measurements to keep.
    pub struct MeasurementRetention {
        /// Regular expression for names of metrics; it need not match the whole name.
        pub metric_name: String,
        /// How many to keep of each; 10 for metrics without a rule.
        pub limit: Option<i64>,
    }

    /// Labels and annotations for AnalysisRuns.
    pub struct AnalysisRunMetadata {
        /// Labels to add.
        pub labels: Option<BTreeMap<String, String>>,
        /// Annotations to add.
        pub annotations: Option<BTreeMap<String, String>>,
    }

    /// When a finished run is deleted.
    pub struct TtlStrategy {
        /// Seconds after any end.
        pub seconds_after_completion: Option<i64>,
        /// Seconds after an end as Failed; goes before secondsAfterCompletion.
        pub seconds_after_failure: Option<i64>,
        /// Seconds after an end as Successful; goes before secondsAfterCompletion.
        pub seconds_after_success: Option<i64>,
    }

    /// What the run has measured, and the verdict.
    pub struct AnalysisRunStatus {
        /// Pending, Running, Successful, Failed, Error or Inconclusive.
        pub phase: Option<String>,
        /// Why the phase is what it is.
        pub message: Option<String>,
        /// What each metric has measured.
        pub metric_results: Option<Vec<MetricResult>>,
        /// When the run began.
        pub started_at: Option<Time>,
        /// Counts of the metrics that count, by verdict.
        pub run_summary: Option<RunSummary>,
        /// Counts of the metrics that do not count, by verdict.
        pub dry_run_summary: Option<RunSummary>,
        /// When the run ended.
        pub completed_at: Option<Time>,
    }

    /// Counts of metrics by verdict.
    pub struct RunSummary {
        /// All metrics.
        pub count: Option<i64>,
        /// Successful ones.
        pub successful: Option<i64>,
        /// Failed ones.
        pub failed: Option<i64>,
        /// Inconclusive ones.
        pub inconclusive: Option<i64>,
        /// Those that could not be measured.
        pub error: Option<i64>,
    }

    /// What a metric has measured.
    pub struct MetricResult {
        /// Name of the metric.
        pub name: String,
        /// Pending, Running, Successful, Failed, Error or Inconclusive.
        pub phase: String,
        /// The last measurements, oldest first.
        pub measurements: Option<Vec<Measurement>>,
        /// Why the phase is what it is.
        pub message: Option<String>,
        /// Measurements that were made: successful, failed and inconclusive ones.
        pub count: Option<i64>,
        /// Good measurements.
        pub successful: Option<i64>,
        /// Bad measurements.
        pub failed: Option<i64>,
        /// Measurements that were neither.
        pub inconclusive: Option<i64>,
        /// Measurements that could not be made.
        pub error: Option<i64>,
        /// Measurements that could not be made, since the last that could.
        pub consecutive_error: Option<i64>,
        /// True when the metric does not count.
        pub dry_run: Option<bool>,
        /// What the provider tells about its question, such as the query as it was sent.
        pub metadata: Option<BTreeMap<String, String>>,
        /// Good measurements since the last other one.
        pub consecutive_success: Option<i64>,
    }

    /// One measurement.
    pub struct Measurement {
        /// Running, Successful, Failed, Error or Inconclusive.
        pub phase: String,
        /// What went wrong, or what was missing.
        pub message: Option<String>,
        /// When it was asked.
        pub started_at: Option<Time>,
        /// When the answer was there.
        pub finished_at: Option<Time>,
        /// The answer, as text.
        pub value: Option<String>,
        /// What the provider tells about this answer, such as the name of a Job.
        pub metadata: Option<BTreeMap<String, String>>,
        /// When to look again at a measurement that takes time.
        pub resume_at: Option<Time>,
    }
}
