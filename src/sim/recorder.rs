//! Tells the story of a rehearsal to whoever writes it down. Sees what is true, not what the
//! controller sees.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::actions::story_time;
use super::rehearsal::{Rehearsal, Version};
use super::script::Verb;
use super::world::World;
use crate::api::AnalysisRun;
use crate::planner::observed::ServiceSeen;
use crate::planner::plan::{Event, EventKind};
use crate::view::story::{Scene, SetSeen, Story};
use crate::view::timeline::{self, Pods, Timeline, Who};

/// The story so far.
#[derive(Debug)]
pub struct Recorder {
    /// What is written down.
    pub story: Story,
    start: Timestamp,
}

impl Recorder {
    /// Begins at `start`.
    pub fn new(rehearsal: &Rehearsal, world: &World<'_>) -> Self {
        let of = |version: &Version| timeline::Version {
            name: version.name.clone(),
            image: version.image.clone(),
            hash: None,
        };
        let timeline = Timeline {
            name: rehearsal.name.clone(),
            about: rehearsal.about.clone(),
            versions: rehearsal.versions.iter().map(of).collect(),
            ..Timeline::default()
        };
        Self {
            story: Story::begin(timeline, scene(world).as_ref()),
            start: world.start,
        }
    }

    fn at(&self, now: Timestamp) -> i64 {
        story_time(self.start, now)
    }

    /// An event of the planner about the Rollout.
    pub(super) fn event(&mut self, world: &World<'_>, event: &Event) {
        if let Some(scene) = scene(world) {
            self.story.learn(&scene);
        }
        let is_warning = event.kind == EventKind::Warning;
        let at = self.at(world.now);
        self.story.event(at, event.reason, &event.note, is_warning);
    }

    /// An event of the planner about a run.
    pub(super) fn run_event(&mut self, _now: Timestamp, _run: &str, _event: &Event) {
        // Values and verdicts are told by `run`, and what follows from them by the Rollout's events.
    }

    /// An event of the planner about an Experiment: what became of it and of its templates.
    pub(super) fn experiment(
        &mut self,
        now: Timestamp,
        name: &str,
        (reason, note): (&str, &str),
        is_warning: bool,
    ) {
        if !reason.starts_with("Experiment") && !reason.starts_with("Template") {
            return;
        }
        let at = self.at(now);
        let text = format!("{name}: {note}");
        self.story.event(at, reason, &text, is_warning);
    }

    /// Something broke, or was mended.
    pub(super) fn fault(&mut self, now: Timestamp, text: &str) {
        self.story.tell(self.at(now), Who::Fault, text);
    }

    /// An entry of the script happens.
    pub(super) fn act(&mut self, now: Timestamp, verb: &Verb) {
        let who = if verb.is_fault() {
            Who::Fault
        } else {
            Who::User
        };
        self.story.tell(self.at(now), who, &verb.text());
    }

    /// The state as it is.
    pub(super) fn sample(&mut self, world: &World<'_>) {
        if let Some(scene) = scene(world) {
            self.story.see(self.at(world.now), &scene);
        }
    }

    /// New measurements of a run.
    pub(super) fn run(&mut self, world: &World<'_>, before: &AnalysisRun, after: &AnalysisRun) {
        if let Some(scene) = scene(world) {
            self.story.learn(&scene);
        }
        self.story.run(self.at(world.now), before, after);
    }
}

/// What is true now; nothing where there is no Rollout.
fn scene<'a>(world: &'a World<'_>) -> Option<Scene<'a>> {
    let rollout = world.cluster.rollout()?;
    // Pods of Experiments are no part of the Rollout's sizes.
    let uid = Some(&rollout.seen.uid);
    let sets = world.cluster.replica_sets.truth().values();
    let sets = sets.filter(|set| set.owner.as_ref() == uid);
    let set_seen = |set: &'a std::sync::Arc<super::cluster::ReplicaSet>| SetSeen {
        name: &set.seen.name,
        hash: &set.seen.hash,
        image: &set.image,
        pods: Pods {
            available: set.seen.available,
            total: set.seen.current,
        },
    };
    Some(Scene {
        namespace: &rollout.seen.namespace,
        rollout: &rollout.seen.name,
        spec: rollout.seen.spec.as_deref().ok(),
        is_frozen: rollout.spec.paused == Some(true),
        status: &rollout.seen.status,
        sets: sets.map(set_seen).collect(),
        behind: behind(world),
    })
}

/// Pods that truly answer behind each Service: of the version it selects, or of all.
fn behind(world: &World<'_>) -> BTreeMap<String, u32> {
    let cluster = &world.cluster;
    let answering = |service: &ServiceSeen| {
        let sets = cluster.replica_sets.truth().values();
        sets.filter(|set| service.hash().is_none_or(|hash| set.seen.hash == hash))
            .map(|set| cluster.workloads.available(set, world.now))
            .sum()
    };
    let services = cluster.services.truth().values();
    services
        .map(|service| (service.name.clone(), answering(service)))
        .collect()
}
