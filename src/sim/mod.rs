//! The rehearsal shell: the same planner as live, on a virtual clock, in a simulated cluster, with
//! scripted metrics. [`run`] plays a rehearsal and gives its timeline. Knows no wall clock, no task
//! runtime, no client.
//!
//! Known gaps, where the simulated cluster is simpler than a real one:
//! - One Rollout, one namespace; objects of other kinds take no part.
//! - Admission changes nothing: a ReplicaSet's template is stored as it was sent, so the dry run of
//!   an unknown template is the identity.
//! - A turn takes no time: between its reads and its writes nobody else writes, unless a fault of
//!   the script says so.
//! - Events are not stored; nothing aggregates or expires them.
//! - The ReplicaSet controller looks 20 ms after each change and is never throttled; nodes are one
//!   pool of places without resources, affinity, pressure or eviction.
//! - Replacement of pods by anything else than their ReplicaSet (Jobs, HPAs) is not played.
//! - Metrics answer as scripted, not as Prometheus computes them: windows, rates and sample counts
//!   are the script's business. Secrets are stand-ins.
//! - Leader election, watches that end, and lists in pages do not exist.

pub mod actions;
mod answers;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod event;
pub mod expect;
mod experiments;
pub mod faults;
pub mod manifests;
pub mod pods;
mod recorder;
pub mod rehearsal;
pub mod script;
pub mod series;
pub mod store;
pub mod trigger;
mod warnings;
pub mod workloads;
pub mod world;

pub use rehearsal::Rehearsal;
pub use world::{Census, Ending, Watcher, World};

use expect::Expect;
use recorder::Recorder;

use crate::view::timeline::{Expectation, Record, Timeline};

/// Plays a rehearsal to its end.
pub fn run(rehearsal: &Rehearsal) -> Timeline {
    play(World::new(rehearsal))
}

/// Plays a rehearsal to its end while somebody looks on, also at the first version's start.
pub fn watched<'a>(rehearsal: &'a Rehearsal, watcher: Box<dyn Watcher + 'a>) -> Timeline {
    let mut world = World::new(rehearsal);
    world.watcher = Some(watcher);
    play(world)
}

fn play(mut world: World<'_>) -> Timeline {
    let rehearsal = world.rehearsal;
    let mut became_healthy = true;
    if !rehearsal.from_empty {
        became_healthy = world.warm_up();
        world.recorder = Some(Recorder::new(rehearsal, &world));
    } else {
        world.begin_empty();
        world.recorder = Some(Recorder::new(rehearsal, &world));
    }
    let ending = world.play(rehearsal.until);
    finish(&mut world, ending, became_healthy)
}

fn finish(world: &mut World<'_>, ending: Ending, became_healthy: bool) -> Timeline {
    let mut warnings = warnings::of(world.rehearsal);
    if !became_healthy {
        warnings.push(format!(
            "{} did not become Healthy within an hour; the story begins all the same",
            world
                .rehearsal
                .versions
                .first()
                .map_or("the first version", |version| &version.name)
        ));
    }
    let undone = world.script.undone();
    let Some(recorder) = world.recorder.take() else {
        return Timeline::default();
    };
    let mut timeline = recorder.story.timeline;
    timeline.warnings = warnings;
    timeline.ended_at = clock::between(world.start, world.changed.max(world.start));
    timeline.ended_because = match ending {
        Ending::Settled => "nothing is left to do".to_owned(),
        Ending::Waiting => "it waits for a person".to_owned(),
        Ending::TimeUp => {
            timeline.ended_at = world.rehearsal.until;
            format!(
                "the rehearsal's time is up: {}",
                trigger::text_of(world.rehearsal.until)
            )
        }
    };
    let rollout = world.cluster.rollout();
    timeline.record = rollout.and_then(|rollout| Record::of(&rollout.seen.status));
    if rollout.is_none() {
        timeline.ended_because = "the Rollout is deleted, this was its last status".to_owned();
    }
    let healthy = [Expect::healthy()];
    let expected: &[Expect] = if world.rehearsal.expect.is_empty() {
        &healthy
    } else {
        &world.rehearsal.expect
    };
    let judge = |expect: &Expect| Expectation {
        text: expect.text.clone(),
        miss: expect.miss(&timeline),
    };
    let mut expectations: Vec<Expectation> = expected.iter().map(judge).collect();
    for index in undone {
        let Some(action) = world.rehearsal.script.get(index) else {
            continue;
        };
        expectations.push(Expectation {
            text: format!(
                "{} happens ({} at {})",
                action.place,
                action.verb.text(),
                action.at
            ),
            miss: Some("its moment never came".into()),
        });
    }
    timeline.expectations = expectations;
    timeline
}
