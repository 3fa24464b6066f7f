//! The canary strategy and its steps.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::analysis::{AnalysisRunMetadata, DryRun, FieldRef, MeasurementRetention};
use super::experiment::TemplateService;
use super::rollout::{AntiAffinity, PodTemplateMetadata};
use super::slo::Slos;
use super::traffic::TrafficRouting;
use super::value::IntOrString;

wire! {
    /// Move pods, and traffic where a router is set, to the new version in steps.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "!has(self.constantReplicas) || !self.constantReplicas || !has(self.maxUnavailable)",
        "message": "constantReplicas takes the place of maxUnavailable: leave that out",
    }]))]
    pub struct CanaryStrategy {
        /// Service that is pointed at the new version's pods; needed by most routers.
        pub canary_service: Option<String>,
        /// Service that is pointed at the stable version's pods; needed by most routers.
        pub stable_service: Option<String>,
        /// What to do, in order. Without steps the update goes out like a Deployment's.
        pub steps: Option<Vec<CanaryStep>>,
        /// The router that splits traffic; without one, weights are reached by counts of pods.
        pub traffic_routing: Option<TrafficRouting>,
        /// Pods that may be missing during an update: a number, or a percent of replicas; default 25%.
        pub max_unavailable: Option<IntOrString>,
        /// Extra pods allowed during an update: a number, or a percent of replicas; default 25%.
        pub max_surge: Option<IntOrString>,
        /// Analysis that runs beside the steps from startingStep on; a failure aborts.
        pub analysis: Option<RolloutAnalysisBackground>,
        /// Keeps pods of the two versions apart from each other on nodes.
        pub anti_affinity: Option<AntiAffinity>,
        /// Labels and annotations that pods carry while they are the canary.
        pub canary_metadata: Option<PodTemplateMetadata>,
        /// Labels and annotations that pods carry while they are stable.
        pub stable_metadata: Option<PodTemplateMetadata>,
        /// Seconds an old ReplicaSet stays up after promotion, with a router; default 30.
        pub scale_down_delay_seconds: Option<i64>,
        /// How many old ReplicaSets may stay up during that delay; no limit when absent.
        pub scale_down_delay_revision_limit: Option<i64>,
        /// Seconds the canary's pods stay up after an abort, with a router; default 30.
        pub abort_scale_down_delay_seconds: Option<i64>,
        /// True shrinks stable as traffic moves to the canary, with a router; default false.
        pub dynamic_stable_scale: Option<bool>,
        /// Two services that take turns in being stable, so that neither changes its pods at promotion.
        pub ping_pong: Option<PingPong>,
        /// Fewest pods of a ReplicaSet that has any, with a router.
        pub min_pods_per_replica_set: Option<i64>,
        /// How many of the wanted pods must be available before a step counts as done; all when absent.
        pub replica_progress_threshold: Option<ReplicaProgressThreshold>,
        /// Objectives for the new version (latency, success, cost, violations), checked against
        /// Prometheus: a breach rolls back, and a step ends only once all of them hold.
        pub slos: Option<Slos>,
        /// True keeps exactly spec.replicas pods at the end of every step, and lets an old pod go
        /// only when a new one is available; takes the place of maxUnavailable. Without a router.
        pub constant_replicas: Option<bool>,
        /// After an abort the new version goes down in steps, not at once; without a router.
        pub gradual_rollback: Option<GradualRollback>,
        /// True runs analysis and slos on the first deployment too: it is Healthy only once they
        /// hold, and Degraded when they fail. There is nothing to go back to.
        pub analyze_first_deployment: Option<bool>,
        /// Whatever waits for a person (a pause step without a duration, a run without a verdict, a
        /// failure with onFailure: Pause) aborts when nobody has answered for so long, such as 1h.
        #[schemars(schema_with = "super::schema::duration")]
        pub answer_within: Option<String>,
        /// After an abort as many pods of the new version as maxSurge allows stay for so long, such as
        /// 10m, so that retry=step finds them. Needs stableService; without a router.
        #[schemars(schema_with = "super::schema::duration")]
        pub keep_canary_for: Option<String>,
    }

    /// How an aborted update goes down.
    #[schemars(extend("required" = ["by", "every"]))]
    pub struct GradualRollback {
        /// Percent by which the weight goes down each time.
        #[schemars(range(min = 1, max = 100))]
        pub by: i64,
        /// Time between two steps down, such as 30s.
        #[schemars(schema_with = "super::schema::duration")]
        pub every: Option<String>,
    }

    /// The two services of ping-pong.
    pub struct PingPong {
        /// Name of the one service.
        pub ping_service: Option<String>,
        /// Name of the other service.
        pub pong_service: Option<String>,
    }

    /// How many of the wanted pods are enough.
    pub struct ReplicaProgressThreshold {
        /// Unit of value: Percent or Pods.
        #[serde(rename = "type")]
        pub type_: Option<String>,
        /// Percent of the wanted pods, or a number of pods.
        pub value: Option<i64>,
    }

    /// One step: set exactly one of its fields.
    pub struct CanaryStep {
        /// Share of traffic, or of pods without a router, that the new version gets: 0 to 100.
        pub set_weight: Option<i64>,
        /// Wait: for a time, or without a duration until somebody promotes.
        pub pause: Option<RolloutPause>,
        /// Run an Experiment and wait for its verdict.
        pub experiment: Option<RolloutExperimentStep>,
        /// Run an analysis and wait for its verdict; a failure aborts.
        pub analysis: Option<RolloutAnalysis>,
        /// Size the canary apart from its weight; needs a router.
        pub set_canary_scale: Option<SetCanaryScale>,
        /// Send requests with certain headers to the canary; needs a router that can.
        pub set_header_route: Option<SetHeaderRoute>,
        /// Send a copy of certain requests to the canary; needs a router that can.
        pub set_mirror_route: Option<SetMirrorRoute>,
        /// Hand the step to a step plugin.
        pub plugin: Option<PluginStep>,
        /// Raise the weight little by little: as setWeight and pause in turn, as one step.
        pub ramp: Option<Ramp>,
    }

    /// A weight that rises by itself.
    #[schemars(extend("required" = ["every"], "x-kubernetes-validations" = [{
        "rule": "(has(self.curve) && self.curve == 'exponential') || has(self.by)",
        "message": "say by how many percent a linear ramp rises each time (by: 10)",
    }]))]
    pub struct Ramp {
        /// First weight; default: by, or 1 on an exponential curve.
        #[schemars(range(min = 1, max = 99))]
        pub from: Option<i64>,
        /// Last weight, after which the step is over at once; default 100.
        #[schemars(range(min = 2, max = 100))]
        pub to: Option<i64>,
        /// What is added each time; on an exponential curve the factor, default 2.
        #[schemars(range(min = 1, max = 100))]
        pub by: Option<i64>,
        /// How long each weight is kept, such as 2m.
        #[schemars(schema_with = "super::schema::step_duration")]
        pub every: Option<String>,
        /// linear (default) adds, exponential multiplies.
        #[schemars(extend("enum" = ["linear", "exponential"]))]
        pub curve: Option<String>,
    }

    /// A wait.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "!(has(self.timeout) && has(self.duration))",
        "message": "a pause with a duration ends by itself: leave duration out to wait for a person, or leave timeout out",
    }]))]
    pub struct RolloutPause {
        /// How long: seconds as a number, or a text such as 30s, 5m or 1h30m. Absent: until promoted.
        pub duration: Option<IntOrString>,
        /// Without a duration: abort when nobody has promoted for so long, such as 1h.
        #[schemars(schema_with = "super::schema::step_duration")]
        pub timeout: Option<String>,
    }

    /// The size of the canary: one of the three.
    pub struct SetCanaryScale {
        /// Percent of spec.replicas; may be over 100.
        pub weight: Option<i64>,
        /// A number of pods.
        pub replicas: Option<i64>,
        /// True goes back to the size that the weight asks for.
        pub match_traffic_weight: Option<bool>,
    }

    /// Requests with these headers go to the canary.
    pub struct SetHeaderRoute {
        /// Name of the route; must be in trafficRouting.managedRoutes.
        pub name: Option<String>,
        /// The headers, any of which is enough; without match the route is removed.
        #[serde(rename = "match")]
        pub match_: Option<Vec<HeaderRoutingMatch>>,
    }

    /// A header and the value it must have.
    pub struct HeaderRoutingMatch {
        /// Name of the header.
        pub header_name: String,
        /// Value of the header.
        pub header_value: Option<StringMatch>,
    }

    /// Requests that match are copied to the canary; the answers to the copies are dropped.
    pub struct SetMirrorRoute {
        /// Name of the route; must be in trafficRouting.managedRoutes.
        pub name: String,
        /// Which requests, any match is enough; without match the route is removed.
        #[serde(rename = "match")]
        pub match_: Option<Vec<RouteMatch>>,
        /// Percent of the matching requests to copy; default 100.
        pub percentage: Option<i64>,
    }

    /// A request that has all of these.
    pub struct RouteMatch {
        /// Method of the request.
        pub method: Option<StringMatch>,
        /// Path of the request.
        pub path: Option<StringMatch>,
        /// Headers of the request by name.
        pub headers: Option<BTreeMap<String, StringMatch>>,
    }

    /// How a text is compared: exactly one of the three.
    pub struct StringMatch {
        /// The whole text.
        pub exact: Option<String>,
        /// The beginning of the text.
        pub prefix: Option<String>,
        /// A regular expression.
        pub regex: Option<String>,
    }

    /// A step that a plugin performs.
    pub struct PluginStep {
        /// Name of the plugin as the controller's configuration has it.
        pub name: String,
        /// Whatever the plugin wants to know.
        #[schemars(schema_with = "super::schema::any")]
        pub config: Option<Value>,
    }

    /// Analysis templates and what they are given.
    pub struct RolloutAnalysis {
        /// The templates, merged into one AnalysisRun.
        pub templates: Option<Vec<AnalysisTemplateRef>>,
        /// Values for the arguments that the templates declare.
        pub args: Option<Vec<AnalysisRunArgument>>,
        /// Metrics that are measured but do not count.
        pub dry_run: Option<Vec<DryRun>>,
        /// How many measurements to keep, by metric.
        pub measurement_retention: Option<Vec<MeasurementRetention>>,
        /// Labels and annotations for the AnalysisRun.
        pub analysis_run_metadata: Option<AnalysisRunMetadata>,
        /// What a failure does: Abort (default) goes back, Pause waits for a person.
        #[schemars(extend("enum" = ["Abort", "Pause"]))]
        pub on_failure: Option<String>,
    }

    /// An analysis template by name.
    pub struct AnalysisTemplateRef {
        /// Name of the template.
        pub template_name: Option<String>,
        /// True for a ClusterAnalysisTemplate.
        pub cluster_scope: Option<bool>,
    }

    /// A value for an argument of an analysis.
    pub struct AnalysisRunArgument {
        /// Name of the argument, as the template declares it.
        pub name: String,
        /// The value itself; not together with valueFrom.
        pub value: Option<String>,
        /// Where to find the value; not together with value.
        pub value_from: Option<ArgumentValueFrom>,
    }

    /// A value that is looked up in the Rollout: one of the two.
    pub struct ArgumentValueFrom {
        /// The pod hash of one version: Latest or Stable.
        pub pod_template_hash_value: Option<String>,
        /// A field of the Rollout.
        pub field_ref: Option<FieldRef>,
    }

    /// An Experiment to run as a step.
    pub struct RolloutExperimentStep {
        /// The ReplicaSets to run side by side.
        pub templates: Option<Vec<RolloutExperimentTemplate>>,
        /// How long to run, such as 10m; absent: until the analyses are done.
        pub duration: Option<String>,
        /// The analyses to run meanwhile.
        pub analyses: Option<Vec<RolloutExperimentAnalysis>>,
        /// Metrics that are measured but do not count.
        pub dry_run: Option<Vec<DryRun>>,
        /// Labels and annotations for the AnalysisRuns.
        pub analysis_run_metadata: Option<AnalysisRunMetadata>,
    }

    /// One ReplicaSet of the Experiment.
    pub struct RolloutExperimentTemplate {
        /// Name of the template within the Experiment.
        pub name: String,
        /// Which version's pods: canary or stable.
        pub spec_ref: String,
        /// How many pods; default 1.
        pub replicas: Option<i64>,
        /// Labels and annotations for the pods.
        pub metadata: Option<PodTemplateMetadata>,
        /// Selector of the ReplicaSet; that of the Rollout when absent.
        pub selector: Option<LabelSelector>,
        /// Share of traffic for these pods; needs a router that can.
        pub weight: Option<i64>,
        /// A service in front of these pods.
        pub service: Option<TemplateService>,
    }

    /// An analysis of the Experiment.
    pub struct RolloutExperimentAnalysis {
        /// Name of the analysis within the Experiment.
        pub name: String,
        /// Name of the analysis template.
        pub template_name: String,
        /// True for a ClusterAnalysisTemplate.
        pub cluster_scope: Option<bool>,
        /// Values for the arguments that the template declares.
        pub args: Option<Vec<AnalysisRunArgument>>,
        /// True: the Experiment ends as soon as all required analyses have.
        pub required_for_completion: Option<bool>,
    }
}

/// Analysis that runs beside the steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutAnalysisBackground {
    /// The templates and what they are given.
    #[serde(flatten)]
    pub analysis: RolloutAnalysis,
    /// Index of the step from which it runs; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_step: Option<i64>,
}
