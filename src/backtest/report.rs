//! What a backtest found, as data: the JSON output is this.

use serde::Serialize;

use crate::view::chart::Point;

/// What the objectives would have done over a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the Rollout.
    pub rollout: String,
    /// Its namespace.
    pub namespace: String,
    /// First moment, in Unix seconds.
    pub from: i64,
    /// Last moment, in Unix seconds.
    pub until: i64,
    /// Seconds between two measurements.
    pub every: i64,
    /// Seconds for which a rollout is gated.
    pub length: i64,
    /// Measurements of each objective in that time.
    pub measurements: usize,
    /// Failed measurements that are allowed.
    pub failure_limit: i64,
    /// What was not judged, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Share of rollouts that a gate may stop without being called too strict.
    pub tolerated: f64,
    /// One entry for each objective, in their order.
    pub objectives: Vec<Found>,
    /// Versions that came after another one, oldest first.
    pub versions: Vec<Version>,
}

/// What was found about one objective.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Its name.
    pub name: String,
    /// What must hold, for people.
    pub bound: String,
    /// Failed measurements that it allows.
    pub failure_limit: i64,
    /// It compares with stable: only versions are judged.
    pub is_compared: bool,
    /// Values must not be too large; else, not too small.
    #[serde(skip)]
    pub is_upper: bool,
    /// Moments at which it was asked.
    pub moments: usize,
    /// Moments with a value.
    pub values: usize,
    /// The value in the middle, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<String>,
    /// The value that one in twenty is worse than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<String>,
    /// The worst value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<String>,
    /// Moments at which a rollout may have begun and would have been measured.
    pub begun: usize,
    /// Of these, how many the objective would have stopped.
    pub stopped: usize,
    /// The same as a share.
    pub share: f64,
    /// How often the bound was missed, each time from the first value to the last in a row.
    pub times: usize,
    /// The longest of these times, oldest first.
    pub episodes: Vec<Episode>,
    /// A bound that fits better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Suggestion>,
    /// The worst value of each stretch, for a chart.
    #[serde(skip)]
    pub series: Vec<Point>,
}

/// A time in which the bound was missed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// First moment, in Unix seconds.
    pub from: i64,
    /// Last moment, in Unix seconds.
    pub until: i64,
    /// The worst value in it, for people.
    pub worst: String,
}

/// A bound that would have stopped no more rollouts than are tolerated, and hardly fewer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    /// The bound in the manifest stops more than are tolerated; else it is more than twice as loose
    /// as it need be.
    pub is_too_strict: bool,
    /// The bound, for people.
    pub bound: String,
    /// The bound as a number, in the unit of the query.
    pub value: f64,
}

/// A version that came after another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its pod hash.
    pub hash: String,
    /// Pod hash of the version before.
    pub after: String,
    /// When it was first seen, in Unix seconds.
    pub at: i64,
    /// What the gate would have said.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a gate would have said of a version.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "verdict")]
pub enum Verdict {
    /// Every objective held for as long as it was measured.
    Passed,
    /// An objective was broken.
    Stopped {
        /// When, in Unix seconds.
        at: i64,
        /// Which objective.
        objective: String,
        /// The value seen, for people.
        value: String,
        /// What it had to be.
        bound: String,
    },
    /// An objective had no value: the step would have waited.
    Held {
        /// Which objective.
        objective: String,
    },
}

impl Report {
    /// True when every objective had values, or was judged on a version, and none would have stopped
    /// more rollouts than are tolerated.
    pub fn is_good(&self) -> bool {
        let fits = |found: &Found| {
            let has_values = match found.is_compared {
                true => !self.versions.is_empty(),
                false => found.values > 0,
            };
            has_values && found.share <= self.tolerated
        };
        self.objectives.iter().all(fits)
    }
}
