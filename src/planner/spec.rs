//! The validated Rollout: defaults applied, durations parsed, strategy an enum. Everything after
//! `lower` reads this and never the wire type. Knows no rule.

use std::collections::BTreeMap;

use super::slo::SloSpec;
use super::workload::Workload;
use crate::api::canary::{RolloutAnalysis, RolloutExperimentStep};

/// A Rollout's spec after `lower`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Pods wanted in all.
    pub replicas: u32,
    /// `spec.replicas` is absent: it is written back as 1 so that autoscalers can read it.
    pub replicas_unset: bool,
    /// The selector as written.
    pub selector: SelectorJson,
    /// `spec.selector` as clients of the scale sub-resource read it: `app=web,tier in (a,b)`.
    pub selector_text: String,
    /// Labels of the pod template.
    pub template_labels: LabelsJson,
    /// Seconds a pod must be ready before it counts as available.
    pub min_ready_seconds: u32,
    /// How many old ReplicaSets to keep.
    pub revision_history_limit: u32,
    /// A person froze the update.
    pub paused: bool,
    /// Seconds without progress after which the update counts as stuck.
    pub progress_deadline_seconds: u32,
    /// A stuck update is aborted.
    pub progress_deadline_abort: bool,
    /// The workload that gives the template, where the Rollout has none of its own.
    pub workload: Option<Workload>,
    /// Pods made before this time are replaced, once it has come.
    pub restart_at: Option<jiff::Timestamp>,
    /// How many finished runs to keep, by outcome.
    pub successful_run_history_limit: u32,
    /// How many failed, errored and inconclusive runs to keep.
    pub unsuccessful_run_history_limit: u32,
    /// How many revisions back need no steps and no analysis (`rollbackWindow`).
    pub rollback_window: Option<u32>,
    /// How to go from one revision to the next.
    pub strategy: Strategy,
}

/// How an update goes out: exactly one of the two.
#[derive(Clone, Debug)]
pub enum Strategy {
    /// Step by step.
    Canary(Box<Canary>),
    /// Two full versions side by side, and one switch.
    BlueGreen(Box<BlueGreen>),
}

impl Spec {
    /// The canary strategy, where it is that.
    pub fn canary(&self) -> Option<&Canary> {
        match &self.strategy {
            Strategy::Canary(canary) => Some(canary),
            Strategy::BlueGreen(_) => None,
        }
    }

    /// The blueGreen strategy, where it is that.
    pub fn blue_green(&self) -> Option<&BlueGreen> {
        match &self.strategy {
            Strategy::Canary(_) => None,
            Strategy::BlueGreen(blue_green) => Some(blue_green),
        }
    }

    /// The canary steps; blueGreen has none.
    pub fn steps(&self) -> &[Step] {
        self.canary().map_or(&[], |canary| &canary.steps)
    }

    /// `currentStepHash` of the steps; blueGreen has none.
    pub fn step_hash(&self) -> Option<&str> {
        self.canary().map(|canary| canary.step_hash.as_str())
    }

    /// What pods get for their role, of either strategy.
    pub fn roles(&self) -> &Roles {
        match &self.strategy {
            Strategy::Canary(canary) => &canary.roles,
            Strategy::BlueGreen(blue_green) => &blue_green.roles,
        }
    }

    /// Objectives, of either strategy.
    pub fn slos(&self) -> Option<&SloSpec> {
        match &self.strategy {
            Strategy::Canary(canary) => canary.slos.as_ref(),
            Strategy::BlueGreen(blue_green) => blue_green.slos.as_ref(),
        }
    }

    /// Seconds after which whatever waits for a person aborts, of either strategy.
    pub fn answer_within(&self) -> Option<i64> {
        match &self.strategy {
            Strategy::Canary(canary) => canary.answer_within,
            Strategy::BlueGreen(blue_green) => blue_green.answer_within,
        }
    }

    /// The first deployment is judged, and by something.
    pub fn judges_first(&self) -> bool {
        match &self.strategy {
            Strategy::Canary(it) => {
                it.analyzes_first && (it.slos.is_some() || it.background.is_some())
            }
            Strategy::BlueGreen(it) => {
                let is_judged = it.pre_promotion.is_some() || it.post_promotion.is_some();
                it.analyzes_first && (it.slos.is_some() || is_judged)
            }
        }
    }

    /// True when something besides readiness and people can stop a bad version.
    pub fn is_judged(&self) -> bool {
        let by_analysis = match &self.strategy {
            Strategy::Canary(canary) => {
                let is_analysis = |step: &Step| match step {
                    Step::Analysis(_) => true,
                    Step::Experiment(it) => !it.analyses.is_empty(),
                    Step::SetWeight(_) | Step::Pause(_) | Step::Ramp(_) => false,
                };
                canary.background.is_some() || canary.steps.iter().any(is_analysis)
            }
            Strategy::BlueGreen(blue_green) => {
                blue_green.pre_promotion.is_some() || blue_green.post_promotion.is_some()
            }
        };
        by_analysis || self.slos().is_some()
    }

    /// `spec.strategy.canary` or `spec.strategy.blueGreen`.
    pub fn strategy_path(&self) -> &'static str {
        match &self.strategy {
            Strategy::Canary(_) => "spec.strategy.canary",
            Strategy::BlueGreen(_) => "spec.strategy.blueGreen",
        }
    }
}

/// JSON of a LabelSelector. Kept as text: thousands of Rollouts are remembered, and as a tree a selector
/// of one label takes over a kilobyte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorJson(Box<str>);

impl SelectorJson {
    /// Keeps it.
    pub fn of(selector: &serde_json::Value) -> Self {
        Self(selector.to_string().into())
    }

    /// The tree.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// Labels as JSON, kept as text for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsJson(Box<str>);

impl LabelsJson {
    /// Keeps them.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        // Text by text: writing it as JSON cannot fail.
        Self(serde_json::to_string(labels).unwrap_or_default().into())
    }

    /// The map.
    pub fn map(&self) -> BTreeMap<String, String> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Meta {
    /// Neither a label nor an annotation.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// What pods get for their role (X1, X2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles {
    /// `stableMetadata`, or `activeMetadata`.
    pub stable: Meta,
    /// `canaryMetadata`, or `previewMetadata`.
    pub canary: Meta,
    /// `antiAffinity` between the two.
    pub apart: Option<Apart>,
}

/// How far pods of two versions stay apart on nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Never on one node.
    Required,
    /// With this weight, 1 to 100.
    Preferred(u32),
}

/// The blueGreen strategy (contract B1–B13).
#[derive(Clone, Debug)]
pub struct BlueGreen {
    /// Service that clients use.
    pub active_service: String,
    /// Service that shows the new version before promotion.
    pub preview_service: Option<String>,
    /// Pods of the new version before promotion; all of `spec.replicas` when absent.
    pub preview_replica_count: Option<u32>,
    /// False waits for a person before the switch.
    pub auto_promotion_enabled: bool,
    /// Seconds to wait before the switch; 0 for none.
    pub auto_promotion_seconds: u32,
    /// Pods that may be missing while pods are restarted (B10); nothing else reads it.
    pub max_unavailable: Bound,
    /// Seconds an old ReplicaSet stays up after the switch.
    pub scale_down_delay_seconds: u32,
    /// `scaleDownDelaySeconds` is written in the manifest.
    pub is_delay_explicit: bool,
    /// How many old ReplicaSets may stay up meanwhile; no limit when absent.
    pub scale_down_delay_revision_limit: Option<u32>,
    /// Seconds the new version stays up after an abort; 0 leaves it up.
    pub abort_scale_down_delay_seconds: u32,
    /// Analysis before the switch.
    pub pre_promotion: Option<RolloutAnalysis>,
    /// Analysis after the switch.
    pub post_promotion: Option<RolloutAnalysis>,
    /// Objectives that are checked after the switch.
    pub slos: Option<SloSpec>,
    /// What pods get while they are active, and while they are the preview.
    pub roles: Roles,
    /// The first deployment is judged too.
    pub analyzes_first: bool,
    /// Seconds after which whatever waits for a person aborts.
    pub answer_within: Option<i64>,
}

/// The canary strategy, scaled by ReplicaSets.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The steps in order; none means a rolling update.
    pub steps: Vec<Step>,
    /// `currentStepHash` of these steps; computed as existing clients do (decisions §5).
    pub step_hash: String,
    /// Service that shows the new version.
    pub canary_service: Option<String>,
    /// Service that shows the stable version.
    pub stable_service: Option<String>,
    /// The pair that takes turns instead of the two above, where a router has one.
    pub ping_pong: Option<PingPong>,
    /// As written, resolved against replicas by `replicas::fenceposts`.
    pub max_surge: Bound,
    /// As written, resolved against replicas by `replicas::fenceposts`.
    pub max_unavailable: Bound,
    /// What pods get while they are stable, and while they are canary.
    pub roles: Roles,
    /// Analysis that runs beside the steps.
    pub background: Option<Background>,
    /// Objectives that gate every step from `starting_step` on.
    pub slos: Option<SloSpec>,
    /// How many available pods are enough; all that are wanted when absent.
    pub threshold: Option<Threshold>,
    /// A step ends with exactly `spec.replicas` pods.
    pub is_constant: bool,
    /// An abort goes down in steps.
    pub gradual_rollback: Option<Descent>,
    /// The first deployment is judged too.
    pub analyzes_first: bool,
    /// Seconds after which whatever waits for a person aborts.
    pub answer_within: Option<i64>,
    /// Seconds that pods of an aborted update stay, within `max_surge`.
    pub keep_for: Option<u32>,
}

/// Two Services that keep their selectors: at a promotion they change roles (contract V3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingPong {
    /// The one that is canary first.
    pub ping: String,
    /// The one that is stable first.
    pub pong: String,
}

/// `replicaProgressThreshold` (contract S16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Percent of the wanted pods.
    Percent(u32),
    /// That many pods.
    Pods(u32),
}

impl Threshold {
    /// True when `available` of `wanted` pods are enough. Example (R40): 4 of 5 are at 80 percent.
    pub fn is_met(self, available: u32, wanted: u32) -> bool {
        match self {
            Self::Percent(percent) => {
                let have = u64::from(available).saturating_mul(100);
                have >= u64::from(wanted).saturating_mul(u64::from(percent))
            }
            Self::Pods(pods) => available >= pods,
        }
    }
}

/// How an aborted update goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descent {
    /// Percent each time.
    pub by: u32,
    /// Seconds between two steps down.
    pub every: i64,
}

/// A surge or unavailability bound: pods, or percent of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// That many pods.
    Pods(u32),
    /// Percent of `spec.replicas`.
    Percent(u32),
}

/// One canary step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Percent of the pods (without a traffic router) that shall be canary.
    SetWeight(u32),
    /// Wait; for a person when no duration is given.
    Pause(Pause),
    /// Raise the weight little by little.
    Ramp(Ramp),
    /// Run an analysis and wait for its verdict.
    Analysis(Box<RolloutAnalysis>),
    /// Run versions side by side and wait for the verdict.
    Experiment(Box<ExperimentStep>),
}

/// An Experiment step.
#[derive(Clone, Debug)]
pub struct ExperimentStep {
    /// As written.
    pub wire: RolloutExperimentStep,
    /// Its analyses in order, each as an analysis of its own.
    pub analyses: Vec<RolloutAnalysis>,
}

/// A pause step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whole seconds, `None` until a person promotes.
    pub seconds: Option<i64>,
    /// The duration as written, for events: `30s`, `120`.
    pub text: Option<String>,
    /// Seconds after which a pause without a duration aborts.
    pub timeout: Option<i64>,
}

/// A weight that rises by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// The weights in order; at least one.
    pub levels: Vec<u32>,
    /// Seconds that each but the last is kept.
    pub every: i64,
    /// As it reads in events: `10 to 50 by 10 every 2m`.
    pub text: String,
}

/// Analysis that starts at a step and goes on until the end.
#[derive(Clone, Debug)]
pub struct Background {
    /// What to run.
    pub analysis: RolloutAnalysis,
    /// First step (index) at which it runs.
    pub starting_step: usize,
}

impl Step {
    /// As the step reads in events and in the printed tree: `setWeight: 20`, `pause: 30s`.
    pub fn text(&self) -> String {
        match self {
            Self::SetWeight(w) => format!("setWeight: {w}"),
            Self::Pause(Pause {
                text: Some(text), ..
            }) => format!("pause: {text}"),
            Self::Pause(Pause { text: None, .. }) => "pause".to_owned(),
            Self::Ramp(ramp) => format!("ramp: {}", ramp.text),
            Self::Analysis(_) => "analysis".to_owned(),
            Self::Experiment(_) => "experiment".to_owned(),
        }
    }
}
