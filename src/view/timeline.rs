//! What a rollout did over time, for people: samples of its state, entries that say what happened and
//! why, values of gates. Pure data; knows not whether it was rehearsed or seen live.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::RolloutStatus;

/// The whole story of one rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// What the story is called.
    pub name: String,
    /// What it shows, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// The steps as they were at the beginning: `setWeight: 20`, `pause: 2m`.
    pub steps: Vec<String>,
    /// BlueGreen: which services are switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch: Option<String>,
    /// Versions that took part.
    pub versions: Vec<Version>,
    /// Objectives and metrics that gate the steps.
    pub gates: Vec<Gate>,
    /// What a reader of the manifest might miss.
    pub warnings: Vec<String>,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// State after each change, in order.
    pub samples: Vec<Sample>,
    /// Values of gates, in order.
    pub measurements: Vec<Measured>,
    /// What was expected, and whether it came true.
    pub expectations: Vec<Expectation>,
    /// How long the story lasts, in milliseconds.
    pub ended_at: i64,
    /// Why it ends there.
    pub ended_because: String,
    /// How the last update went, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

/// The record that a Rollout keeps of its last update (`status.duration`, contract A16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Promoted, FastPromoted, Aborted, Superseded, RolledBack or FastRolledBack; absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// Seconds from its beginning to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// Seconds of them that it waited for a person.
    pub waited_seconds: i64,
}

impl Record {
    /// What a status says of its last update.
    pub fn of(status: &RolloutStatus) -> Option<Self> {
        let duration = status.duration.as_ref()?;
        let (from, to) = (&duration.rollout_started_at, &duration.finished_at);
        let times = from.as_ref().zip(to.as_ref());
        Some(Self {
            completion: duration.completion_status.clone(),
            seconds: times.map(|(from, to)| to.0.as_second().saturating_sub(from.0.as_second())),
            waited_seconds: duration.total_manual_pause_duration_seconds.unwrap_or(0),
        })
    }
}

/// A version of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Short name: v1.
    pub name: String,
    /// What it runs.
    pub image: String,
    /// Pod hash, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// A gate and its bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Name of the metric.
    pub name: String,
    /// What must hold, for people: `at most 800ms`, or the condition.
    pub bound: String,
    /// The bound as a number, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// True: values must not be above the limit. False: not below.
    pub is_upper: bool,
    /// How values read.
    pub unit: Unit,
}

/// How a value reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// As a number.
    #[default]
    Plain,
    /// As a time.
    Seconds,
    /// As a percentage of one.
    Share,
}

/// Who made something happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Who {
    /// A person, or a tool that acts for one.
    User,
    /// The controller.
    Serin,
    /// A gate's measurement.
    Gate,
    /// Something broke.
    Fault,
    /// Pods and the cluster.
    Cluster,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Milliseconds from the beginning.
    pub at: i64,
    /// Who did it.
    pub who: Who,
    /// What happened.
    pub text: String,
    /// Reason as Kubernetes events have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True: somebody should look at it.
    pub is_warning: bool,
}

/// State after a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Milliseconds from the beginning.
    pub at: i64,
    /// Index of the current step; the number of steps when all are done.
    pub step: usize,
    /// How many steps there are.
    pub steps: usize,
    /// The weight that the steps ask for, in percent; nothing while no update is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<u32>,
    /// Pods wanted in all.
    pub desired: u32,
    /// Pods of the stable version.
    pub stable: Pods,
    /// Pods of the new version, while it is not stable.
    pub canary: Pods,
    /// Pods of older versions, together.
    pub older: Pods,
    /// Pods of each older version that has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<(String, Pods)>,
    /// Short name of the stable version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_version: Option<String>,
    /// Short name of the new version, while it is not stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_version: Option<String>,
    /// BlueGreen: short name of the version that clients get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// BlueGreen: short name of the version that the preview service shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Phase.
    pub phase: String,
    /// Message of the phase.
    pub message: String,
    /// Reason of the pause, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Why a gate holds the step, when one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// The update was aborted.
    pub is_aborted: bool,
    /// Pods that answer behind each Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub behind: BTreeMap<String, u32>,
}

/// Pods of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Available.
    pub available: u32,
    /// Existing, without those on their way out.
    pub total: u32,
}

impl Sample {
    /// The weight that users get of the new version, in percent: of a canary that is scaled by
    /// ReplicaSets its share of the available pods; of blueGreen all or nothing.
    pub fn reached(&self) -> f64 {
        if let Some(active) = &self.active {
            let is_new = self.canary_version.as_ref() == Some(active);
            return if is_new { 100.0 } else { 0.0 };
        }
        match self.available() {
            0 => 0.0,
            all => f64::from(self.canary.available) * 100.0 / f64::from(all),
        }
    }

    /// Available pods of all versions.
    pub fn available(&self) -> u32 {
        self.stable.available + self.canary.available + self.older.available
    }
}

/// One value of a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Milliseconds from the beginning.
    pub at: i64,
    /// Name of the metric.
    pub gate: String,
    /// Short name of the version that was measured.
    pub version: String,
    /// The value, where it was a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Successful, Failed, Inconclusive or Error.
    pub verdict: String,
    /// What the measurement says beyond its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An expectation and whether it came true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// As it was written.
    pub text: String,
    /// What was seen instead; nothing when it came true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miss: Option<String>,
}

impl Timeline {
    /// True when all that was expected came true.
    pub fn is_as_expected(&self) -> bool {
        self.expectations
            .iter()
            .all(|expectation| expectation.miss.is_none())
    }

    /// The state at a time: that of the last sample not after it.
    pub fn sample_at(&self, at: i64) -> Option<&Sample> {
        let after = self.samples.partition_point(|sample| sample.at <= at);
        self.samples.get(after.checked_sub(1)?)
    }

    /// The gate of that name.
    pub fn gate(&self, name: &str) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.name == name)
    }
}

impl Unit {
    /// A value as people read it: 420ms, 99.2%, 0.031.
    pub fn text(self, value: f64) -> String {
        if !value.is_finite() {
            return value.to_string();
        }
        match self {
            Self::Seconds if value.abs() < 1.0 => format!("{}ms", trim(value * 1000.0, 1)),
            Self::Seconds => format!("{}s", trim(value, 2)),
            Self::Share => format!("{}%", trim(value * 100.0, 2)),
            Self::Plain => trim(value, 4),
        }
    }
}

fn trim(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_in_their_unit() {
        assert_eq!(Unit::Seconds.text(0.42), "420ms");
        assert_eq!(Unit::Seconds.text(1.2), "1.2s");
        assert_eq!(Unit::Share.text(0.9925), "99.25%");
        assert_eq!(Unit::Plain.text(100.0), "100");
        assert_eq!(Unit::Plain.text(f64::NAN), "NaN");
    }
}
