//! Writes the story of a rollout down as a timeline: samples of its state, entries, values of gates.
//! Told by whoever sees it happen, the rehearsal or somebody who watches a cluster; knows neither.

use std::collections::BTreeMap;

use super::gates;
use super::timeline::{Entry, Gate, Measured, Pods, Sample, Timeline, Version, Who};
use crate::api::{self, AnalysisRun, RolloutStatus};
use crate::planner::canary;
use crate::planner::spec::{Spec, Step};

/// What is there at one moment.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// Namespace of the Rollout.
    pub namespace: &'a str,
    /// Name of the Rollout.
    pub rollout: &'a str,
    /// Its lowered spec, where it is valid.
    pub spec: Option<&'a Spec>,
    /// `spec.paused` as written.
    pub is_frozen: bool,
    /// Its status.
    pub status: &'a RolloutStatus,
    /// Its ReplicaSets.
    pub sets: Vec<SetSeen<'a>>,
    /// Pods that answer behind each Service.
    pub behind: BTreeMap<String, u32>,
}

/// A ReplicaSet in a scene.
#[derive(Clone, Copy, Debug)]
pub struct SetSeen<'a> {
    /// Name.
    pub name: &'a str,
    /// Pod hash.
    pub hash: &'a str,
    /// Image of the first container.
    pub image: &'a str,
    /// Pods by its status.
    pub pods: Pods,
}

/// The story so far.
#[derive(Clone, Debug)]
pub struct Story {
    /// What is written down.
    pub timeline: Timeline,
    /// Short names of versions by the names of their ReplicaSets.
    names: BTreeMap<String, String>,
    /// Short names by hash.
    hashes: BTreeMap<String, String>,
    /// The last verdict of each gate and version, so that only changes make entries.
    verdicts: BTreeMap<(String, String), String>,
}

impl Story {
    /// Begins. `timeline` has the story's name and the versions that have a short name.
    pub fn begin(mut timeline: Timeline, scene: Option<&Scene<'_>>) -> Self {
        if let Some(scene) = scene {
            timeline.namespace = scene.namespace.to_owned();
            timeline.rollout = scene.rollout.to_owned();
            if let Some(spec) = scene.spec {
                timeline.steps = spec.steps().iter().map(Step::text).collect();
                timeline.gates = gates::of_spec(spec);
                timeline.switch = spec.blue_green().map(|it| match &it.preview_service {
                    Some(preview) => {
                        format!(
                            "of Service {}, after a preview on {preview}",
                            it.active_service
                        )
                    }
                    None => format!("of Service {}", it.active_service),
                });
            }
        }
        let mut story = Self {
            timeline,
            names: BTreeMap::new(),
            hashes: BTreeMap::new(),
            verdicts: BTreeMap::new(),
        };
        if let Some(scene) = scene {
            story.learn(scene);
        }
        story
    }

    /// Something that is said in so many words. Times are milliseconds from the story's beginning,
    /// here and below.
    pub fn tell(&mut self, at: i64, who: Who, text: &str) {
        self.entry(at, who, text, None, false);
    }

    /// An event about the Rollout.
    pub fn event(&mut self, at: i64, reason: &str, note: &str, is_warning: bool) {
        let text = in_brief(reason, note).unwrap_or_else(|| note.to_owned());
        self.entry(at, Who::Serin, &text, Some(reason.to_owned()), is_warning);
    }

    /// The state as it is; a change of phase that no event tells is told here.
    pub fn see(&mut self, at: i64, scene: &Scene<'_>) {
        self.learn(scene);
        let sample = self.state(at, scene);
        let last = self.timeline.samples.last().cloned();
        if let Some(last) = &last {
            let then = Sample { at, ..last.clone() };
            if then == sample {
                return;
            }
            self.tell_changes(last, &sample);
        }
        if last.is_some_and(|last| last.at == at) {
            self.timeline.samples.pop();
        }
        self.timeline.samples.push(sample);
    }

    /// New measurements of a run: those that `after` has and `before` had not.
    pub fn run(&mut self, at: i64, before: &AnalysisRun, after: &AnalysisRun) {
        for metric in after.spec.metrics.iter().flatten() {
            if self.timeline.gate(&metric.name).is_none() {
                self.timeline.gates.push(gates::of_metric(metric));
            }
        }
        let version = self.version_of(after);
        let mut good: Vec<String> = Vec::new();
        let mut open: Vec<Measured> = Vec::new();
        for (name, measurement) in gates::new_measurements(before, after) {
            let verdict = measurement.phase.clone();
            let measured = Measured {
                at,
                gate: name.to_owned(),
                version: version.clone(),
                value: measurement.value.as_deref().and_then(gates::number_in),
                verdict: verdict.clone(),
                message: measurement.message.clone(),
            };
            self.timeline.measurements.push(measured.clone());
            let key = (name.to_owned(), version.clone());
            let is_news = self.verdicts.insert(key, verdict.clone()) != Some(verdict);
            match measured.verdict.as_str() {
                "Successful" if is_news => good.push(self.in_words(&measured)),
                // Every bad one is worth a line: it may be the one that ends the update.
                "Failed" => self.entry(at, Who::Gate, &self.in_words(&measured), None, true),
                _ if is_news => open.push(measured),
                _ => {}
            }
        }
        self.tell_open(at, &version, &open);
        if !good.is_empty() {
            let text = format!("{version} is good: {}", good.join(", "));
            self.entry(at, Who::Gate, &text, None, false);
        }
    }

    /// What has no verdict, gates with the same cause together.
    fn tell_open(&mut self, at: i64, version: &str, open: &[Measured]) {
        let mut causes: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
        for measured in open {
            causes.entry(cause(measured)).or_default().push(measured);
        }
        for (cause, same) in causes {
            let text = match same.as_slice() {
                [one] => self.in_words(one),
                many => {
                    let names: Vec<&str> = many.iter().map(|it| it.gate.as_str()).collect();
                    let names = names.join(", ");
                    let first = many.first().and_then(|it| it.message.as_deref());
                    let is_one = many.iter().all(|it| it.message.as_deref() == first);
                    let why = first.filter(|_| is_one).unwrap_or(cause);
                    let colon = if why.is_empty() { "" } else { ": " };
                    format!("{names} of {version} have no verdict{colon}{why}")
                }
            };
            self.entry(at, Who::Gate, &text, None, true);
        }
    }

    /// Learns which ReplicaSets run which version.
    pub fn learn(&mut self, scene: &Scene<'_>) {
        for set in &scene.sets {
            if self.names.contains_key(set.name) {
                continue;
            }
            let versions = &mut self.timeline.versions;
            let known = versions.iter_mut().find(|it| it.image == set.image);
            let short = match known {
                Some(version) => {
                    version.hash = Some(set.hash.to_owned());
                    version.name.clone()
                }
                None => {
                    versions.push(Version {
                        name: set.image.to_owned(),
                        image: set.image.to_owned(),
                        hash: Some(set.hash.to_owned()),
                    });
                    set.image.to_owned()
                }
            };
            self.hashes.insert(set.hash.to_owned(), short.clone());
            self.names.insert(set.name.to_owned(), short);
        }
    }

    fn entry(&mut self, at: i64, who: Who, text: &str, reason: Option<String>, is_warning: bool) {
        let text = self.in_short_names(text);
        self.timeline.entries.push(Entry {
            at,
            who,
            text,
            reason,
            is_warning,
        });
    }

    fn tell_changes(&mut self, last: &Sample, next: &Sample) {
        // That a step is held is told by an event, with the reason.
        if next.hold.is_none() && last.hold.is_some() {
            self.tell(next.at, Who::Gate, "the step is no longer held");
        }
        if next.phase != last.phase && matches!(next.phase.as_str(), "Healthy" | "Degraded") {
            let is_bad = next.phase == "Degraded";
            let text = match next.message.is_empty() {
                true => next.phase.clone(),
                false => format!("{}: {}", next.phase, next.message),
            };
            let tail = next.message.split(": ").last().unwrap_or_default();
            let mut newest = self.timeline.entries.iter().rev().take(3);
            let is_told = newest.any(|entry| entry.text.contains(tail));
            if !is_bad || !is_told {
                self.entry(next.at, Who::Serin, &text, None, is_bad);
            }
        }
    }

    fn state(&self, at: i64, scene: &Scene<'_>) -> Sample {
        let status = scene.status;
        let stable = status.stable_rs.as_deref().unwrap_or_default();
        let newest = status.current_pod_hash.as_deref().unwrap_or_default();
        let mut sample = Sample {
            at,
            behind: scene.behind.clone(),
            ..Sample::default()
        };
        for set in &scene.sets {
            let name = self.names.get(set.name).cloned();
            if set.hash == stable {
                sample.stable = set.pods;
                sample.stable_version = name;
            } else if set.hash == newest {
                sample.canary = set.pods;
                sample.canary_version = name;
            } else if set.pods != Pods::default() {
                sample.older.available += set.pods.available;
                sample.older.total += set.pods.total;
                let name = name.unwrap_or_else(|| set.name.to_owned());
                sample.others.push((name, set.pods));
            }
        }
        self.add_status(&mut sample, scene);
        sample
    }

    fn add_status(&self, sample: &mut Sample, scene: &Scene<'_>) {
        let status = scene.status;
        let index = usize::try_from(status.current_step_index.unwrap_or(0)).unwrap_or(0);
        sample.step = index;
        sample.is_aborted = status.abort == Some(true);
        sample.phase = status.phase.clone().unwrap_or_default();
        sample.message = self.in_short_names(status.message.as_deref().unwrap_or_default());
        let pauses = status.pause_conditions.as_ref();
        sample.pause = pauses
            .and_then(|list| list.first())
            .map(|pause| pause.reason.clone());
        if scene.is_frozen {
            sample.pause.get_or_insert_with(|| "spec.paused".to_owned());
        }
        let hold = status.serin.as_ref().and_then(|serin| serin.hold.as_ref());
        sample.hold = hold.map(|hold| hold.reason.clone());
        let Some(spec) = scene.spec else { return };
        sample.desired = spec.replicas;
        sample.steps = spec.steps().len();
        if let Some(blue_green) = &status.blue_green {
            let name = |hash: &Option<String>| self.hashes.get(hash.as_ref()?).cloned();
            sample.active = name(&blue_green.active_selector);
            sample.preview = name(&blue_green.preview_selector);
        }
        if spec.blue_green().is_some() {
            let is_new = sample.canary_version.is_some();
            let switched = sample.active.is_some() && sample.active == sample.canary_version;
            sample.asked = is_new.then_some(if switched { 100 } else { 0 });
        } else if sample.canary_version.is_some() {
            sample.asked = Some(canary::weight(status, spec.steps()));
        }
    }

    /// A message with versions' short names in place of their ReplicaSets'.
    fn in_short_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, short) in &self.names {
            if !text.contains(name.as_str()) {
                continue;
            }
            for long in [
                format!("ReplicaSet {name}"),
                format!("ReplicaSet \"{name}\""),
                format!("'{name}"),
                name.clone(),
            ] {
                let short = if long.starts_with('\'') {
                    format!("'{short}")
                } else {
                    short.clone()
                };
                text = text.replace(&long, &short);
            }
        }
        for version in &self.timeline.versions {
            if let Some(hash) = &version.hash {
                text = text.replace(&format!(" ({hash})"), "");
                text = text.replace(&format!("'{hash}'"), &version.name);
            }
        }
        text
    }

    fn version_of(&self, run: &AnalysisRun) -> String {
        let labels = run.metadata.labels.as_ref();
        let hash = labels.and_then(|labels| labels.get(api::POD_HASH_LABEL));
        let hash = hash.cloned().unwrap_or_default();
        self.hashes.get(&hash).cloned().unwrap_or(hash)
    }

    fn in_words(&self, measured: &Measured) -> String {
        let Measured {
            gate,
            version,
            value,
            verdict,
            message,
            ..
        } = measured;
        let known = self.timeline.gate(gate);
        let unit = known.map(|gate| gate.unit).unwrap_or_default();
        let value = value.map(|value| unit.text(value));
        let bound = known
            .map(|gate: &Gate| gate.bound.clone())
            .unwrap_or_default();
        match (verdict.as_str(), message) {
            ("Successful", message) => match value.as_ref().or(message.as_ref()) {
                Some(said) => format!("{gate} {said}"),
                None => gate.clone(),
            },
            ("Failed", message) => match (value, message) {
                (None, Some(why)) => format!("{version} is bad: {gate}: {why}"),
                (value, _) => {
                    let value = value.unwrap_or_else(|| "no value".to_owned());
                    format!("{version} is bad: {gate} {value}, must be {bound}")
                }
            },
            (_, Some(message)) => format!("{gate} of {version} has no verdict: {message}"),
            (_, None) => {
                let value = value.unwrap_or_else(|| "no value".to_owned());
                format!("{gate} of {version} is {value}: no verdict")
            }
        }
    }
}

/// Why there is no verdict, without what is the metric's own: `no data: target not scraped`.
fn cause(measured: &Measured) -> &str {
    let message = measured.message.as_deref().unwrap_or_default();
    message
        .rsplit_once(": ")
        .map_or(message, |(cause, _)| cause)
}

/// A shorter wording of events whose contract text is long and says little here.
fn in_brief(reason: &str, note: &str) -> Option<String> {
    let phase = reason.strip_prefix("AnalysisRun")?;
    let kind = note.split_whitespace().next();
    let kind = kind.unwrap_or_default().to_lowercase();
    Some(format!("{kind} analysis: {phase}"))
}
