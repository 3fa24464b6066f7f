//! The blue-green strategy.

use super::canary::RolloutAnalysis;
use super::rollout::{AntiAffinity, PodTemplateMetadata};
use super::slo::Slos;
use super::value::IntOrString;

wire! {
    /// Run two full versions side by side and switch traffic at once.
    pub struct BlueGreenStrategy {
        /// Service that clients use; it is switched to the new version at promotion. Required.
        pub active_service: Option<String>,
        /// Service that shows the new version before promotion.
        pub preview_service: Option<String>,
        /// How many pods the new version has before promotion; spec.replicas when absent.
        pub preview_replica_count: Option<i64>,
        /// False waits for a person before the switch; default true.
        pub auto_promotion_enabled: Option<bool>,
        /// Seconds to wait before the switch; default 0. Without effect when autoPromotionEnabled is false.
        pub auto_promotion_seconds: Option<i64>,
        /// Pods that may be missing during a restart: a number, or a percent of replicas; default 25%.
        pub max_unavailable: Option<IntOrString>,
        /// Seconds the old ReplicaSet stays up after the switch; default 30.
        pub scale_down_delay_seconds: Option<i64>,
        /// How many old ReplicaSets may stay up during that delay; no limit when absent.
        pub scale_down_delay_revision_limit: Option<i64>,
        /// Analysis before the switch; a failure aborts.
        pub pre_promotion_analysis: Option<RolloutAnalysis>,
        /// Keeps pods of the two versions apart from each other on nodes.
        pub anti_affinity: Option<AntiAffinity>,
        /// Analysis after the switch; a failure switches back.
        pub post_promotion_analysis: Option<RolloutAnalysis>,
        /// Labels and annotations that pods carry while they are the preview.
        pub preview_metadata: Option<PodTemplateMetadata>,
        /// Labels and annotations that pods carry while they are active.
        pub active_metadata: Option<PodTemplateMetadata>,
        /// Seconds the new version's pods stay up after an abort; default 30.
        pub abort_scale_down_delay_seconds: Option<i64>,
        /// Objectives for the new version, checked against Prometheus after the switch; a breach
        /// switches back.
        pub slos: Option<Slos>,
        /// True runs the analyses and slos on the first deployment too: it is Healthy only once they
        /// hold, and Degraded when they fail. There is nothing to go back to.
        pub analyze_first_deployment: Option<bool>,
        /// Whatever waits for a person (the pause before the switch, a run without a verdict, a failure
        /// with onFailure: Pause) aborts when nobody has answered for so long, such as 1h.
        #[schemars(schema_with = "super::schema::duration")]
        pub answer_within: Option<String>,
    }
}
