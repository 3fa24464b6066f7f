//! What a scripted metric answers to a measurement: the value a version shows at this time, in the
//! shape that the metric's condition expects. Knows no provider.

use super::clock::{Ms, between};
use super::rehearsal::{Version, healthy};
use super::series::{Reading, Series};
use super::trigger::{Moment, Trigger};
use super::world::World;
use crate::api::analysis::Measurement;
use crate::api::providers::CompareMetric;
use crate::api::{self, AnalysisRun};
use crate::planner::analysis::assess::{self, Phase};
use crate::planner::analysis::metric::{self, MetricSpec};
use crate::planner::analysis::{MetricValue, TaskKey};
use crate::planner::slo::bound::Limit;
use crate::planner::slo::{Kind, Objective};
use crate::view::timeline::Sample;

/// Values that are tried, in this order, to satisfy a condition about which nothing is scripted.
const CANDIDATES: [f64; 12] = [
    1.0, 0.0, 0.5, 0.99, 0.1, 0.01, 10.0, 100.0, 1_000.0, 0.001, -1.0, 1e6,
];

impl World<'_> {
    /// The answer to one measurement, now.
    pub(super) fn measured(&self, run: &str, key: &TaskKey) -> Result<MetricValue, String> {
        if self.now < self.prometheus_back {
            return Err("error sending request: connection refused (Prometheus is down)".into());
        }
        let Some(run) = self.cluster.runs.get(run) else {
            return Ok(MetricValue::Nil);
        };
        let wanted = run
            .spec
            .metrics
            .iter()
            .flatten()
            .find(|metric| metric.name == key.metric);
        let Some(spec) = wanted.and_then(|metric| metric::lower(metric).ok()) else {
            return Err(format!("metric {:?} cannot be lowered", key.metric));
        };
        let version = self.version_measured(run);
        if spec.provider.compare.is_some() {
            let is_latency = |c: &CompareMetric| c.latency.is_some();
            let is_latency = spec.provider.compare.as_ref().is_some_and(is_latency);
            return compared(self.reading(version, &key.metric), is_latency);
        }
        let objective = self.objective(&key.metric);
        match self.reading(version, &key.metric) {
            Reading::Error(message) => Err(message),
            // The second question, why there was no answer, finds nothing either.
            Reading::NoData => Ok(MetricValue::floats([])),
            _ if key.is_diagnosis => Ok(MetricValue::floats([])),
            Reading::Healthy => Ok(self.fitting(&spec, objective)),
            Reading::Number(value) => Ok(shaped(
                &spec,
                self.as_measured(value, &key.metric, objective),
            )),
        }
    }

    /// Whether the Job of a measurement ended well; an error while it goes on.
    pub(super) fn job_ended(&self, run: &str, job: &str) -> Result<bool, String> {
        let run = self.cluster.runs.get(run).ok_or("there is no such run")?;
        let results = run
            .status
            .iter()
            .flat_map(|s| s.metric_results.iter().flatten());
        let is_of = |m: &Measurement| {
            m.metadata
                .as_ref()
                .is_some_and(|d| d.values().any(|v| v == job))
        };
        let metric = results
            .filter(|r| r.measurements.iter().flatten().any(is_of))
            .map(|r| r.name.clone())
            .next();
        let metric = metric.ok_or("no measurement is of that job")?;
        match self.reading(self.version_measured(run), &metric) {
            Reading::Healthy => Ok(true),
            Reading::Number(value) => Ok(value != 0.0),
            Reading::Error(_) => Ok(false),
            Reading::NoData => Err("it goes on".to_owned()),
        }
    }

    /// The version whose pods a run looks at.
    fn version_measured(&self, run: &AnalysisRun) -> Option<&Version> {
        let labels = run.metadata.labels.as_ref();
        let label = labels.and_then(|labels| labels.get(api::POD_HASH_LABEL));
        // A run of an Experiment says so in an argument, or it looks at all of its pods.
        let args = run.spec.args.iter().flatten();
        let mut hashes = label
            .into_iter()
            .chain(args.filter_map(|arg| arg.value.as_ref()));
        let set = hashes.find_map(|hash| self.cluster.replica_set_of(hash))?;
        self.rehearsal.version_of(&set.image)
    }

    fn objective(&self, name: &str) -> Option<&Objective> {
        let spec = self.cluster.rollout()?.seen.spec.as_ref().ok()?;
        spec.slos()?
            .objectives
            .iter()
            .find(|objective| objective.name == name)
    }

    /// What the script says about a metric of a version at this time.
    fn reading(&self, version: Option<&Version>, name: &str) -> Reading {
        let Some(version) = version else {
            return Reading::Healthy;
        };
        let at = |series: &Series| series.at(|trigger| self.since(&version.name, trigger));
        if let Some(traffic) = &version.traffic {
            match at(traffic) {
                Reading::NoData => return Reading::NoData,
                Reading::Number(rate) if rate <= 0.0 => return Reading::NoData,
                Reading::Number(_) | Reading::Error(_) | Reading::Healthy => {}
            }
        }
        version.metrics.get(name).map_or_else(|| at(&healthy()), at)
    }

    /// How long ago a trigger came true for a version.
    fn since(&self, version: &str, trigger: &Trigger) -> Option<Ms> {
        let Some(recorder) = &self.recorder else {
            // Nobody writes the story down: only its beginning is known.
            let age = between(self.start, self.now) - trigger.delay;
            return (trigger.moment == Moment::Start).then_some(age);
        };
        let samples = &recorder.story.timeline.samples;
        let is_new = |s: &Sample| s.canary_version.as_deref() == Some(version);
        let is_there = |s: &Sample| is_new(s) || s.stable_version.as_deref() == Some(version);
        let began = samples.iter().find(|s| is_there(s)).map(|s| s.at)?;
        let mut of = samples.iter().filter(|s| s.at >= began && is_there(s));
        let came_true = match trigger.moment {
            Moment::Start => Some(began),
            Moment::Weight(weight) => of
                .find(|s| s.asked.is_some_and(|asked| asked >= weight))
                .map(|s| s.at),
            Moment::Step(step) => of.find(|s| is_new(s) && s.step + 1 >= step).map(|s| s.at),
            Moment::Paused => of.find(|s| s.pause.is_some()).map(|s| s.at),
            Moment::Held => of.find(|s| s.hold.is_some()).map(|s| s.at),
            Moment::Healthy => of.find(|s| s.phase == "Healthy").map(|s| s.at),
            Moment::Degraded => of.find(|s| s.phase == "Degraded").map(|s| s.at),
            Moment::Aborted => of.find(|s| s.is_aborted).map(|s| s.at),
        };
        let now = between(self.start, self.now);
        came_true.map(|at| now - at - trigger.delay)
    }

    /// A scripted value as the query would show it: in the histogram's own unit, or divided by
    /// stable's value where the objective compares the two.
    fn as_measured(&self, value: f64, name: &str, objective: Option<&Objective>) -> f64 {
        let Some(objective) = objective else {
            return value;
        };
        if objective.limit.is_relative() {
            let stable = self.stable_version();
            return match self.reading(stable, name) {
                Reading::Number(stable) if stable != 0.0 => value / stable,
                _ => value,
            };
        }
        match &objective.kind {
            Kind::Latency { unit, .. } => value * unit.per_second(),
            Kind::Success { .. }
            | Kind::Cost { .. }
            | Kind::Violations { .. }
            | Kind::Query { .. }
            | Kind::Compare { .. } => value,
        }
    }

    fn stable_version(&self) -> Option<&Version> {
        let rollout = self.cluster.rollout()?;
        let set = self
            .cluster
            .replica_set_of(rollout.seen.status.stable_rs.as_ref()?)?;
        self.rehearsal.version_of(&set.image)
    }

    /// A value that satisfies the metric's condition.
    fn fitting(&self, spec: &MetricSpec, objective: Option<&Objective>) -> MetricValue {
        let likely = objective.map(|objective| match objective.limit {
            Limit::AtMost(bound) => bound * 0.55,
            Limit::AtLeast(bound) if bound <= 1.0 => bound + (1.0 - bound) * 0.6,
            Limit::AtLeast(bound) => bound * 1.2,
            Limit::Between(low, high) => f64::midpoint(low, high),
            Limit::RatioAtMost(_) | Limit::RatioAtLeast(_) | Limit::NotWorseBy(_) => 1.0,
        });
        let fits = |value: &MetricValue| assess::measurement(spec, value).0 == Phase::Successful;
        let numbers = likely.into_iter().chain(CANDIDATES);
        let vectors = numbers.clone().map(|number| MetricValue::floats([number]));
        let scalars = numbers.map(MetricValue::Float);
        let found = vectors
            .chain(scalars)
            .chain([MetricValue::Bool(true)])
            .find(|value| fits(value));
        found.unwrap_or_else(|| MetricValue::floats([1.0]))
    }
}

/// What a comparison counts at one look, of a hundred events of the canary: a scripted number is the
/// share of bad or slow ones; stable has none.
fn compared(reading: Reading, is_latency: bool) -> Result<MetricValue, String> {
    let bad = match reading {
        Reading::Error(message) => return Err(message),
        Reading::NoData => return Ok(MetricValue::Nil),
        Reading::Healthy => 0.0,
        Reading::Number(share) => share.clamp(0.0, 1.0) * 100.0,
    };
    // Bad of all events; or fast and slow ones.
    let side = |bad: f64| match is_latency {
        false => MetricValue::floats([bad, 100.0]),
        true => MetricValue::floats([100.0 - bad, bad]),
    };
    let both = [
        ("canary".to_owned(), side(bad)),
        ("stable".to_owned(), side(0.0)),
    ];
    Ok(MetricValue::Map(std::sync::Arc::new(both.into())))
}

/// A number in the shape that the condition reads: as a vector, or as a scalar where it must be.
fn shaped(spec: &MetricSpec, number: f64) -> MetricValue {
    let vector = MetricValue::floats([number]);
    match assess::measurement(spec, &vector).0 {
        Phase::Error => MetricValue::Float(number),
        _ => vector,
    }
}
