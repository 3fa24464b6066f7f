//! The status of a Rollout, as clients read it and patch it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

wire! {
    /// What is known of a Rollout. Written by the controller; abort, pauseConditions,
    /// currentStepIndex and promoteFull are also patched by clients.
    pub struct RolloutStatus {
        /// True: go back to the stable version. Clients set it, retry clears it.
        pub abort: Option<bool>,
        /// Why the update waits; promoting clears the list.
        pub pause_conditions: Option<Vec<PauseCondition>>,
        /// True when the controller itself paused.
        pub controller_pause: Option<bool>,
        /// When the update was aborted.
        pub aborted_at: Option<Time>,
        /// Hash of the pod template in spec.
        pub current_pod_hash: Option<String>,
        /// Hash of the canary steps in spec.
        pub current_step_hash: Option<String>,
        /// Pods that exist, of all versions.
        pub replicas: Option<i64>,
        /// Pods of the version in spec.
        pub updated_replicas: Option<i64>,
        /// Pods that are ready, of all versions.
        pub ready_replicas: Option<i64>,
        /// Pods that are available; with blueGreen those behind the active service.
        pub available_replicas: Option<i64>,
        /// Index of the current step; the number of steps when all are done.
        pub current_step_index: Option<i64>,
        /// How often a ReplicaSet name was taken by another template.
        pub collision_count: Option<i64>,
        /// Generation of the spec that the controller has seen, as a string.
        pub observed_generation: Option<String>,
        /// Conditions of the Rollout.
        #[serde(deserialize_with = "null_is_empty")]
        #[schemars(extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["type"]
        ))]
        pub conditions: Vec<RolloutCondition>,
        /// What only the canary strategy has.
        pub canary: Option<CanaryStatus>,
        /// What only the blueGreen strategy has.
        pub blue_green: Option<BlueGreenStatus>,
        /// Pods that an HPA counts.
        #[serde(rename = "HPAReplicas")]
        pub hpa_replicas: Option<i64>,
        /// Label selector of the pods that an HPA looks at.
        pub selector: Option<String>,
        /// Hash of the version that is known to be good.
        #[serde(rename = "stableRS")]
        pub stable_rs: Option<String>,
        /// The spec.restartAt that has been done.
        pub restarted_at: Option<Time>,
        /// True: skip every step, pause and analysis that is left. Clients set it.
        pub promote_full: Option<bool>,
        /// Healthy, Degraded, Progressing or Paused.
        pub phase: Option<String>,
        /// Why the phase is what it is.
        pub message: Option<String>,
        /// Generation of the referenced workload that the controller has seen, as a string.
        pub workload_observed_generation: Option<String>,
        /// The load balancer of the ALB router.
        pub alb: Option<AlbStatus>,
        /// The load balancers of the ALB router, one per Ingress.
        pub albs: Option<Vec<AlbStatus>>,
        /// How long the update took.
        pub duration: Option<RolloutDuration>,
        /// What serin must remember between turns, and what it tells in columns.
        pub serin: Option<SerinStatus>,
    }

    /// A reason to wait.
    pub struct PauseCondition {
        /// CanaryPauseStep, BlueGreenPause, InconclusiveAnalysisRun or InconclusiveExperiment.
        pub reason: String,
        /// Since when.
        pub start_time: Option<Time>,
    }

    /// A condition of a Rollout or Experiment.
    pub struct RolloutCondition {
        /// What is stated: Available, Progressing, Completed, Healthy, Ready, …
        #[serde(rename = "type")]
        pub type_: String,
        /// True, False or Unknown.
        pub status: String,
        /// When anything in this condition was confirmed last.
        pub last_update_time: Option<Time>,
        /// When status changed last.
        pub last_transition_time: Option<Time>,
        /// One word for why.
        pub reason: Option<String>,
        /// A sentence for why.
        pub message: Option<String>,
        /// Generation of the spec that the condition speaks of.
        pub observed_generation: Option<i64>,
    }

    /// What only the canary strategy has.
    pub struct CanaryStatus {
        /// The AnalysisRun of the current step.
        pub current_step_analysis_run_status: Option<AnalysisRunRef>,
        /// The AnalysisRun beside the steps.
        pub current_background_analysis_run_status: Option<AnalysisRunRef>,
        /// Name of the Experiment of the current step.
        pub current_experiment: Option<String>,
        /// Weights that the routers have been given.
        pub weights: Option<TrafficWeights>,
        /// Which of the two ping-pong services is stable: ping or pong.
        pub stable_ping_pong: Option<String>,
        /// State of each plugin step that has run.
        pub step_plugin_statuses: Option<Vec<StepPluginStatus>>,
    }

    /// An AnalysisRun of the Rollout, and how it stands.
    pub struct AnalysisRunRef {
        /// Name of the AnalysisRun.
        pub name: String,
        /// Phase of the AnalysisRun.
        pub status: String,
        /// Message of the AnalysisRun.
        pub message: Option<String>,
    }

    /// Weights that the routers have been given.
    pub struct TrafficWeights {
        /// The new version's.
        pub canary: WeightDestination,
        /// The stable version's.
        pub stable: WeightDestination,
        /// Those of the current Experiment.
        pub additional: Option<Vec<WeightDestination>>,
        /// Whether the router's own view agrees; absent where it cannot be asked.
        pub verified: Option<bool>,
    }

    /// A share of traffic and where it goes.
    pub struct WeightDestination {
        /// The share.
        pub weight: Option<i64>,
        /// Service that gets it.
        pub service_name: Option<String>,
        /// Pod hash of the version that gets it.
        pub pod_template_hash: Option<String>,
    }

    /// One run of a plugin step.
    pub struct StepPluginStatus {
        /// Index of the step.
        pub index: Option<i64>,
        /// Name of the plugin.
        pub name: String,
        /// Message of the plugin.
        pub message: Option<String>,
        /// Running, Successful, Failed or Error.
        pub phase: Option<String>,
        /// When it began.
        pub started_at: Option<Time>,
        /// When it was asked last.
        pub updated_at: Option<Time>,
        /// When it ended.
        pub finished_at: Option<Time>,
        /// Run, Terminate or Abort.
        pub operation: Option<String>,
        /// How long to wait before asking again.
        pub backoff: Option<String>,
        /// How often it was asked.
        pub executions: Option<i64>,
        /// True when the plugin is turned off and the step passes.
        pub disabled: Option<bool>,
        /// What the plugin wants to remember.
        #[schemars(schema_with = "super::schema::any_object")]
        pub status: Option<Value>,
    }

    /// What only the blueGreen strategy has.
    pub struct BlueGreenStatus {
        /// Pod hash behind the preview service.
        pub preview_selector: Option<String>,
        /// Pod hash behind the active service.
        pub active_selector: Option<String>,
        /// True once the preview may grow from previewReplicaCount to full size.
        pub scale_up_preview_check_point: Option<bool>,
        /// The AnalysisRun before the switch.
        pub pre_promotion_analysis_run_status: Option<AnalysisRunRef>,
        /// The AnalysisRun after the switch.
        pub post_promotion_analysis_run_status: Option<AnalysisRunRef>,
    }

    /// A load balancer and its target groups.
    pub struct AlbStatus {
        /// The load balancer.
        pub load_balancer: Option<AwsResourceRef>,
        /// Target group of the canary.
        pub canary_target_group: Option<AwsResourceRef>,
        /// Target group of the stable version.
        pub stable_target_group: Option<AwsResourceRef>,
        /// The Ingress it belongs to.
        pub ingress: Option<String>,
    }

    /// Something in AWS.
    pub struct AwsResourceRef {
        /// Its name.
        pub name: Option<String>,
        /// Its ARN.
        pub arn: Option<String>,
        /// Its name as metrics show it.
        pub full_name: Option<String>,
    }

    /// How long an update took.
    pub struct RolloutDuration {
        /// When it began.
        pub rollout_started_at: Option<Time>,
        /// When the pause began that waits for a person.
        pub manual_pause_started_at: Option<Time>,
        /// Seconds spent waiting for a person.
        pub total_manual_pause_duration_seconds: Option<i64>,
        /// When it ended.
        pub finished_at: Option<Time>,
        /// Promoted, FastPromoted, Aborted, Superseded, RolledBack or FastRolledBack.
        pub completion_status: Option<String>,
    }

    /// What serin must remember between turns, and what it tells in columns. Absent on a Rollout
    /// that serin has not handled yet.
    pub struct SerinStatus {
        /// Id of the last command that was acted on.
        pub command: Option<String>,
        /// Pod hash that the rest of this block speaks of.
        pub hash: Option<String>,
        /// How often this revision was retried.
        pub attempt: Option<i64>,
        /// The attempt whose failed analysis before the switch a person has overruled.
        pub overruled: Option<i64>,
        /// The step as serin last wrote it, to tell a client's own change of currentStepIndex.
        pub step: Option<i64>,
        /// Tells the controllers of two lives of the status apart.
        pub epoch: Option<String>,
        /// What the last decision was based on.
        pub evidence: Option<String>,
        /// Most available new pods that this step ever had, for the deadline.
        pub progress: Option<i64>,
        /// Most new pods that this step ever had, for the deadline.
        pub most_updated: Option<i64>,
        /// Fewest old pods that this step ever had, for the deadline.
        pub least_old: Option<i64>,
        /// True once this version has been Healthy: what happens later is no update.
        pub settled: Option<bool>,
        /// Why this update needs no pause and no analysis, where it needs none.
        pub fast_track: Option<String>,
        /// The gate that holds the current step for lack of a verdict.
        pub hold: Option<Hold>,
        /// The freeze that holds this update now.
        pub freeze: Option<FreezeStatus>,
        /// Why this update goes through freezes, and since when.
        pub freeze_override: Option<FreezeOverride>,
        /// When the current step was reached.
        pub step_started_at: Option<Time>,
        /// The step at which the update was aborted, for retry=step.
        pub aborted_step: Option<i64>,
        /// True while a retried step waits for its pods: its analysis begins after that.
        pub resuming: Option<bool>,
        /// How long a pause with a timeout has waited, where its clock had to stand still.
        pub pause_clock: Option<PauseClock>,
        /// Where the ramp of the current step stands.
        pub ramp: Option<WeightLevel>,
        /// Where the gradual rollback of an aborted update stands.
        pub descent: Option<WeightLevel>,
        /// How far a restart was when pods were evicted last.
        pub restart: Option<RestartStatus>,
        /// What analysis says of the first deployment: pending, passed, or failed and why.
        pub first: Option<String>,
        /// Share of traffic, or of pods without a router, that the new version has now, in percent.
        pub weight: Option<i64>,
        /// The current step in words: 2/5 means the second of five.
        pub step_text: Option<String>,
        /// Ready pods out of wanted ones: 3/4.
        pub ready_text: Option<String>,
    }

    /// The clock of a pause that a person must answer in time. It stands still while nobody may.
    pub struct PauseClock {
        /// When the pause began that it is of.
        pub of: Option<Time>,
        /// Seconds waited before the clock stood still.
        pub spent: i64,
        /// Since when it goes on; absent while it stands still.
        pub since: Option<Time>,
    }

    /// A weight among several of one step.
    pub struct WeightLevel {
        /// The weight in percent.
        pub weight: i64,
        /// Since when its pods are there; absent while they are waited for.
        pub since: Option<Time>,
    }

    /// Pods that were to be evicted.
    pub struct RestartStatus {
        /// Pods that were left before that.
        pub left: i64,
        /// When.
        pub at: Option<Time>,
    }

    /// A freeze that holds an update.
    pub struct FreezeStatus {
        /// Which windows, until when, why, and whom to ask.
        pub message: String,
        /// Since when it holds this update.
        pub since: Option<Time>,
        /// When it ends, as far as that is known.
        pub until: Option<Time>,
    }

    /// A person let an update through a freeze.
    pub struct FreezeOverride {
        /// Why, in that person's words; promote=full where that was the command.
        pub reason: String,
        /// When.
        pub at: Option<Time>,
        /// The freeze that was overridden; absent where none was in force yet.
        pub freeze: Option<String>,
    }

    /// A step that waits for a gate's verdict.
    pub struct Hold {
        /// Since when.
        pub since: Option<Time>,
        /// Index of the step.
        pub step: i64,
        /// Why there is none.
        pub reason: String,
    }
}

/// Reads `null` as an empty list: clients clear a list either way.
pub(crate) fn null_is_empty<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}
