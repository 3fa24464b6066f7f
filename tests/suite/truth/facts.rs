//! What was written during a story, from either side, in an order that can be compared. Knows what is only timing.

use std::fmt::Write as _;

use serde_json::Value;
use serin::api::RolloutStatus;

/// One write, in the order of the writes.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// The Rollout's status.
    Status(Box<RolloutStatus>),
    /// `spec.replicas` of a ReplicaSet; from nothing when it is made.
    Scale {
        set: String,
        from: Option<i64>,
        to: i64,
    },
}

/// Where a rollout stands: what must come in the same order on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) step: Option<i64>,
    pub(crate) phase: String,
    pub(crate) is_aborted: bool,
    pub(crate) pauses: Vec<String>,
    /// Pod hashes: that they are equal shows that both sides give a template the same name.
    pub(crate) stable: String,
    pub(crate) newest: String,
}

/// All that was written while the rollout stood at one mark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) mark: Mark,
    /// Changes of size while the mark stood, one a ReplicaSet, in the order of their first change. How many turns a
    /// change took is timing: it hangs on which pods get ready together.
    pub(crate) moves: Vec<(String, Option<i64>, i64)>,
    /// The last status at this mark.
    pub(crate) status: RolloutStatus,
}

impl Mark {
    fn of(status: &RolloutStatus) -> Self {
        let pauses = status.pause_conditions.iter().flatten();
        Self {
            step: status.current_step_index,
            phase: status.phase.clone().unwrap_or_default(),
            is_aborted: status.abort == Some(true),
            pauses: pauses.map(|pause| pause.reason.clone()).collect(),
            stable: status.stable_rs.clone().unwrap_or_default(),
            newest: status.current_pod_hash.clone().unwrap_or_default(),
        }
    }
}

impl Mark {
    /// Only the phase is left to come: whether the last pods are there (or gone) in the turn that promotes, or in the next
    /// one, is timing.
    fn is_on_the_way_to(&self, next: &Self) -> bool {
        let arrived = Self {
            phase: next.phase.clone(),
            ..self.clone()
        };
        self.phase == "Progressing" && next.phase == "Healthy" && arrived == *next
    }
}

/// The story in segments.
pub(crate) fn segments(facts: &[Fact]) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::new();
    // What is scaled rests on the status that stands: it belongs to that mark. (The status that
    // counts the pods afterwards may come later, or be left out where many things move.)
    let mut moves: Vec<(String, Option<i64>, i64)> = Vec::new();
    for fact in facts {
        match fact {
            Fact::Scale { set, from, to } => match all.last_mut() {
                Some(last) => last.add((set.clone(), *from, *to)),
                None => moves.push((set.clone(), *from, *to)),
            },
            Fact::Status(status) => {
                let mark = Mark::of(status);
                match all.last_mut() {
                    Some(last) if last.mark.is_on_the_way_to(&mark) => last.mark = mark,
                    Some(last) if last.mark == mark => {}
                    Some(_) | None => all.push(Segment {
                        mark,
                        ..Segment::default()
                    }),
                }
                let Some(last) = all.last_mut() else { continue };
                last.status = RolloutStatus::clone(status);
                moves.drain(..).for_each(|moved| last.add(moved));
            }
        }
    }
    all
}

impl Segment {
    fn add(&mut self, (set, from, to): (String, Option<i64>, i64)) {
        match self.moves.iter_mut().find(|(known, ..)| *known == set) {
            Some((_, _, size)) => *size = to,
            None => self.moves.push((set, from, to)),
        }
    }

    /// As one line of a comparison.
    fn line(&self) -> String {
        let Mark {
            step,
            phase,
            is_aborted,
            pauses,
            stable,
            newest,
        } = &self.mark;
        let mut line = format!("step {step:?} {phase}");
        if *is_aborted {
            line.push_str(" aborted");
        }
        let newest = if newest == stable { "the same" } else { newest };
        write!(line, " {pauses:?} stable {stable}, newest {newest};").unwrap();
        for (set, from, to) in &self.moves {
            let from = from.map_or_else(|| "made".to_owned(), |from| from.to_string());
            write!(line, " {set}: {from}→{to}").unwrap();
        }
        if self.is_at_rest() {
            write!(line, "; {}", counts(&self.status)).unwrap();
        }
        line
    }

    /// Nothing moves any more before the next mark, so that counts and messages are not a question of timing.
    fn is_at_rest(&self) -> bool {
        matches!(self.mark.phase.as_str(), "Paused" | "Healthy") || self.mark.is_aborted
    }
}

fn counts(status: &RolloutStatus) -> String {
    let count = |number: Option<i64>| number.unwrap_or(0);
    format!(
        "{} pods, {} updated, {} ready, {} available, {:?}, {}",
        count(status.replicas),
        count(status.updated_replicas),
        count(status.ready_replicas),
        count(status.available_replicas),
        status.message.as_deref().unwrap_or_default(),
        conditions(status).join(" "),
    )
}

fn conditions(status: &RolloutStatus) -> Vec<String> {
    let mut all: Vec<String> = status
        .conditions
        .iter()
        .map(|it| {
            let reason = it.reason.as_deref().unwrap_or_default();
            format!("{}={}({reason})", it.type_, it.status)
        })
        .collect();
    all.sort();
    all
}

/// The story as lines that are the same on both sides.
pub(crate) fn lines(facts: &[Fact]) -> Vec<String> {
    segments(facts).iter().map(Segment::line).collect()
}

/// A whole status without times and versions of objects.
pub(crate) fn masked(status: &RolloutStatus) -> Value {
    let mut status = status.clone();
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    let mut value = serde_json::to_value(&status).unwrap();
    mask(&mut value);
    value
}

/// Times; versions of objects; how often progress was seen.
const TIMING: [&str; 14] = [
    "lastUpdateTime",
    "lastTransitionTime",
    "startTime",
    "rolloutStartedAt",
    "finishedAt",
    "manualPauseStartedAt",
    "totalManualPauseDurationSeconds",
    "startedAt",
    "stepStartedAt",
    "abortedAt",
    "command",
    "epoch",
    "evidence",
    "progress",
];

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !TIMING.contains(&key.as_str()));
            map.values_mut().for_each(mask);
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
