//! The questions of a backtest: what is judged, ranges of time in pieces that a Prometheus answers, and one query for
//! each objective, of every version together and of each version by itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::analyses::{self, Analyses, Templates};
use crate::planner::duration;
use crate::planner::slo::promql::{self, Matcher};
use crate::planner::slo::query::{self, EVERY, STABLE_HASH};
use crate::planner::slo::{Kind, Objective, SelectBy, SloSpec, Window};
use crate::planner::spec::{Spec, Step};

/// Values in one reply. Prometheus refuses 11,000, and one reply must stay below a mebibyte.
const MAX_POINTS: i64 = 5_000;
/// Moments at which versions are looked for.
const LOOKS: i64 = 2_000;
/// Seconds for which a rollout is gated when its steps do not say: the last one waits for a person.
const USUAL_LENGTH: i64 = 1_800;

/// Moments from `from` to `until`, `step` apart, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first moment.
    pub from: i64,
    /// No moment lies after it.
    pub until: i64,
    /// Seconds between two moments, at least 1.
    pub step: i64,
}

impl Range {
    /// How many moments there are.
    pub fn len(self) -> usize {
        usize::try_from((self.until - self.from).div_euclid(self.step.max(1)) + 1).unwrap_or(0)
    }

    /// True without a moment.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Place of a moment in the range; the nearest, for times that are rounded.
    pub fn place(self, at: f64) -> Option<usize> {
        let place = ((at - self.from as f64) / self.step.max(1) as f64).round();
        let is_inside = place >= 0.0 && place < self.len() as f64;
        is_inside.then_some(place as usize)
    }

    /// The moment at that place.
    pub fn at(self, place: usize) -> i64 {
        self.from + self.step * i64::try_from(place).unwrap_or(0)
    }

    /// The same moments in pieces that one request may ask for.
    fn pieces(self) -> Vec<Range> {
        let length = self.step.max(1) * (MAX_POINTS - 1);
        let mut pieces = vec![];
        let mut from = self.from;
        while from <= self.until {
            let until = self.until.min(from + length);
            pieces.push(Range {
                from,
                until,
                ..self
            });
            from = until + self.step.max(1);
        }
        pieces
    }
}

/// One question about a range of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The expression.
    pub query: String,
    /// When.
    pub range: Range,
}

/// A version that had series in the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSeen {
    /// Its pod hash.
    pub hash: String,
    /// When it was first seen, in Unix seconds.
    pub first: i64,
    /// When it was last seen, in Unix seconds.
    pub last: i64,
}

/// What is asked, and about whom.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The objectives.
    pub spec: SloSpec,
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// The moments at which every objective is evaluated.
    pub range: Range,
    /// Seconds for which a rollout is gated.
    pub length: i64,
    /// Share of rollouts that a gate may stop without being called too strict: 0.01.
    pub tolerated: f64,
    /// What is not judged, and why.
    pub left_out: Vec<String>,
    /// Failed measurements that are allowed, where an objective has its own number.
    allowed: BTreeMap<String, i64>,
    /// Matchers of the Rollout's series.
    own: Vec<Matcher>,
}

/// What a backtest is asked for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Namespace of the Rollout.
    pub namespace: &'a str,
    /// The Rollout as an object, for arguments that name its fields; its name is read from it.
    pub rollout: &'a Value,
    /// Analysis templates that it names.
    pub templates: &'a Templates,
    /// The moments.
    pub range: Range,
    /// Matchers such as `app="agent"` that tell the Rollout's series; without them these are the
    /// series whose `pod` is named like its pods.
    pub matching: Option<&'a str>,
    /// How long a rollout is gated, in seconds; without it what the steps say.
    pub length: Option<i64>,
    /// Share of rollouts that a gate may stop.
    pub tolerated: f64,
}

/// Plans a backtest of a Rollout's objectives and analyses.
///
/// # Errors
/// What keeps it from being planned, in one text: there is nothing to test, a template is not given,
/// or the matchers cannot be read.
pub fn of_history(spec: &Spec, asked: &Asked<'_>) -> Result<Plan, String> {
    let name = asked.rollout.pointer("/metadata/name");
    let rollout = name.and_then(Value::as_str).unwrap_or_default();
    let namespace = asked.namespace;
    let analyses = analyses::read(spec, asked.rollout, asked.templates);
    let analyses = analyses.map_err(|faults| faults.join("\n  "))?;
    let mut slos = match spec.slos() {
        Some(slos) => slos.clone(),
        None => of_analyses(&analyses, asked.range),
    };
    let mut left_out = analyses.left_out;
    slos.objectives.retain(|objective| {
        let is_test = matches!(objective.kind, Kind::Compare { .. });
        if is_test {
            let why = "gathers its evidence look by look, also of stable";
            left_out.push(format!("{}: {why}", objective.name));
        }
        !is_test
    });
    let mut allowed = BTreeMap::new();
    for (mut objective, failures) in analyses.objectives {
        while slos.objectives.iter().any(|o| o.name == objective.name) {
            objective.name.push_str("-analysis");
        }
        allowed.insert(objective.name.clone(), failures);
        slos.objectives.push(objective);
    }
    if slos.objectives.is_empty() {
        let mut why = format!(
            "{}: {namespace}/{rollout} has no objectives to test: add slos with what must hold, or an analysis of Prometheus",
            spec.strategy_path()
        );
        left_out
            .iter()
            .for_each(|one| why.push_str(&format!("\n  {one}")));
        return Err(why);
    }
    let own = match asked.matching {
        None => {
            let name = rollout.replace('.', "\\.");
            vec![Matcher::matches(
                "pod",
                format!("{name}-[a-z0-9]+-[a-z0-9]+"),
            )]
        }
        Some(text) => {
            let parsed = promql::parse(&format!("series{{{text}}}"));
            parsed
                .map_err(|why| format!("--match {text}: {why}; write it like app=\"agent\""))?
                .matchers
        }
    };
    let steps = seconds_gated(spec.steps(), slos.starting_step);
    Ok(Plan {
        spec: slos,
        namespace: namespace.to_owned(),
        rollout: rollout.to_owned(),
        range: asked.range,
        length: asked.length.unwrap_or(steps).max(asked.range.step),
        tolerated: asked.tolerated,
        allowed,
        left_out,
        own,
    })
}

/// What holds of a Rollout that is judged by analyses alone.
fn of_analyses(analyses: &Analyses, range: Range) -> SloSpec {
    SloSpec {
        prometheus: analyses.address.clone(),
        interval_ms: range.step.saturating_mul(1000),
        starting_step: analyses.from_step.unwrap_or(0),
        failure_limit: 0,
        window: Window { millis: 300_000 },
        min_samples: 0,
        hold_for_ms: 0,
        namespace_label: "namespace".to_owned(),
        hash_label: "rollouts_pod_template_hash".to_owned(),
        select_by: SelectBy::Hash,
        pauses_on_failure: false,
        objectives: vec![],
    }
}

/// How long the steps from the first gated one take by themselves.
fn seconds_gated(steps: &[Step], from: usize) -> i64 {
    let seconds = steps.iter().skip(from).map(|step| match step {
        Step::Pause(pause) => pause.seconds,
        Step::Ramp(ramp) => {
            let waits = i64::try_from(ramp.levels.len()).unwrap_or(1) - 1;
            Some(ramp.every.saturating_mul(waits))
        }
        Step::Experiment(it) => {
            let length = it.wire.duration.as_deref();
            duration::parse(length?).ok().map(|millis| millis / 1000)
        }
        Step::SetWeight(_) | Step::Analysis(_) => Some(0),
    });
    match seconds.sum::<Option<i64>>() {
        Some(all) if all > 0 => all,
        // A person ends the last pause, or there is none.
        Some(_) | None => USUAL_LENGTH,
    }
}

/// One query over a range, in pieces.
fn asks(query: String, range: Range) -> Vec<Ask> {
    let pieces = range.pieces().into_iter();
    pieces
        .map(|range| Ask {
            query: query.clone(),
            range,
        })
        .collect()
}

impl Plan {
    fn versions<'a>(&'a self, canary: &'a str, stable: &'a str) -> query::Versions<'a> {
        query::Versions {
            spec: &self.spec,
            namespace: &self.namespace,
            rollout: &self.rollout,
            canary,
            stable,
            own: &self.own,
        }
    }

    /// How many measurements a rollout gets of each objective.
    pub fn measurements(&self) -> usize {
        usize::try_from(self.length.div_euclid(self.range.step.max(1)))
            .unwrap_or(1)
            .max(1)
    }

    /// Failed measurements of an objective that are allowed.
    pub fn allowed(&self, objective: &Objective) -> i64 {
        let own = self.allowed.get(&objective.name).copied();
        own.unwrap_or(self.spec.failure_limit)
    }

    /// True where an objective needs two versions at once.
    pub fn is_compared(&self, objective: &Objective) -> bool {
        let names_stable = match &objective.kind {
            Kind::Query { promql } => promql.contains(STABLE_HASH),
            Kind::Latency { .. }
            | Kind::Success { .. }
            | Kind::Cost { .. }
            | Kind::Violations { .. }
            | Kind::Compare { .. } => false,
        };
        names_stable || objective.limit.is_relative()
    }

    /// Values of an objective over the whole range, whatever version ran. Empty for an objective that
    /// compares with stable: that needs two versions.
    pub fn of_every(&self, objective: &Objective) -> Vec<Ask> {
        if self.is_compared(objective) {
            return vec![];
        }
        asks(
            query::render(objective, &self.versions(EVERY, EVERY)),
            self.range,
        )
    }

    /// Values of an objective while a version that came after another one was gated.
    pub fn of_version(&self, objective: &Objective, new: &VersionSeen, old: &str) -> Vec<Ask> {
        asks(
            query::render(objective, &self.versions(&new.hash, old)),
            self.gated(new),
        )
    }

    /// The moments at which a version would have been measured.
    pub fn gated(&self, version: &VersionSeen) -> Range {
        let from = version.first + self.range.step;
        Range {
            from,
            until: (version.first + self.length)
                .min(version.last)
                .min(self.range.until)
                .max(from),
            step: self.range.step,
        }
    }

    /// The moments at which versions are looked for.
    fn looks(&self) -> Range {
        let step = (self.range.until - self.range.from).div_euclid(LOOKS);
        Range {
            step: step.max(self.range.step),
            ..self.range
        }
    }

    /// Which versions there were: one series for each, with the label that [`Plan::version_in`] reads.
    pub fn which_versions(&self) -> Ask {
        let range = self.looks();
        let mut kinds = self.spec.objectives.iter().map(|o| &o.kind);
        let (name, suffix, written) = kinds
            .find_map(query::traffic_series)
            .map_or(("up".to_owned(), "", vec![]), |(selector, suffix)| {
                (selector.name, suffix, selector.matchers)
            });
        let mut matchers = written;
        matchers.extend(self.versions(EVERY, EVERY).matchers(EVERY));
        let label = self.label();
        if self.spec.select_by == SelectBy::Hash {
            matchers.push(Matcher::matches(label, ".+".to_owned()));
        }
        let seen = format!(
            "present_over_time({name}{suffix}{{{}}}[{}s])",
            promql::join(&matchers),
            range.step
        );
        let named = match self.spec.select_by {
            SelectBy::Hash => seen,
            SelectBy::Pod => format!(
                "label_replace({seen}, \"{label}\", \"$1\", \"pod\", \"{}-([a-z0-9]+)-[a-z0-9]+\")",
                self.rollout.replace('.', "\\\\.")
            ),
        };
        Ask {
            query: format!("count by ({label}) ({named})"),
            range,
        }
    }

    fn label(&self) -> &str {
        match self.spec.select_by {
            SelectBy::Hash => &self.spec.hash_label,
            SelectBy::Pod => "version",
        }
    }

    /// Reads one series of the answer to [`Plan::which_versions`].
    pub fn version_in(
        &self,
        labels: &BTreeMap<String, String>,
        points: &[(f64, f64)],
    ) -> Option<VersionSeen> {
        let hash = labels.get(self.label()).filter(|hash| !hash.is_empty())?;
        let (first, last) = (points.first()?.0, points.last()?.0);
        // It was seen at some moment of the step before: measuring begins no earlier than needed.
        let first = (first as i64 - self.looks().step).max(self.range.from);
        Some(VersionSeen {
            hash: hash.clone(),
            first,
            last: last as i64,
        })
    }

    /// The versions that came after another one, oldest first, each with the one before it. The first
    /// of all was there from the beginning: nothing is known about how it came.
    pub fn rollouts(&self, mut seen: Vec<VersionSeen>) -> Vec<(VersionSeen, VersionSeen)> {
        seen.sort_by(|a, b| (a.first, &a.hash).cmp(&(b.first, &b.hash)));
        let before = |new: &VersionSeen| {
            let older = seen.iter().filter(|old| old.first < new.first);
            older.max_by_key(|old| (old.last.min(new.first), old.first))
        };
        seen.iter()
            .filter(|new| new.first > self.range.from)
            .filter_map(|new| Some((new.clone(), before(new)?.clone())))
            .collect()
    }
}
