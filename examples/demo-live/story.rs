//! Plays one rollout and tells it row by row, as `serin rehearse` does. Knows what is expected of it; starts nothing.

use std::io::Write;
use std::time::Instant;

use anyhow::Context;
use serin::sim::expect::Expect;
use serin::view::story::{Scene, Story};
use serin::view::text::{Colour, Teller};
use serin::view::timeline::{Expectation, Timeline, Version, Who};

use crate::LIMIT;
use crate::follow::Follower;
use crate::parts::Parts;

/// One rollout.
pub(crate) struct Act {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What is applied.
    pub(crate) manifest: &'static str,
    /// Short name of what runs before.
    pub(crate) stable: &'static str,
    /// Short name of what is rolled out.
    pub(crate) new: &'static str,
    /// As in a rehearsal's `expect`.
    pub(crate) expect: &'static [&'static str],
}

/// Applies the manifest and tells what happens until it is over. True when all went as expected.
pub(crate) async fn play(
    act: &Act,
    parts: &Parts,
    follower: &mut Follower,
    colour: Colour,
) -> anyhow::Result<bool> {
    let scene = follower.scene().context("the Rollout is gone")?;
    let mut story = Story::begin(opening(act, &scene)?, Some(&scene));
    story.see(0, &scene);
    let mut teller = Teller::new(colour);
    show(&teller.head(&story.timeline))?;

    story.tell(0, Who::User, &format!("kubectl apply -f {}", act.manifest));
    let begun = Instant::now();
    parts.apply(act.manifest)?;
    let mut is_over = false;
    while !is_over && begun.elapsed() < LIMIT {
        let burst = follower.burst().await;
        let at = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let Some(scene) = follower.scene() else {
            continue;
        };
        story.learn(&scene);
        for (before, after) in &burst.runs {
            story.run(at, before, after);
        }
        for said in &burst.events {
            story.event(at, &said.reason, &said.note, said.is_warning);
        }
        story.see(at, &scene);
        is_over = follower.is_observed() && (is_healthy(&scene) || is_rolled_back(&scene));
        show(&teller.rows(&story.timeline))?;
    }
    let timeline = &mut story.timeline;
    timeline.ended_at = timeline.samples.last().map_or(0, |sample| sample.at);
    timeline.ended_because = match is_over {
        true => "nothing is left to do".to_owned(),
        false => format!("it did not end within {} s", LIMIT.as_secs()),
    };
    timeline.expectations = judge(act, timeline)?;
    show(&teller.foot(timeline))?;
    show("\n")?;
    Ok(timeline.is_as_expected())
}

/// The story's name and its two versions.
fn opening(act: &Act, scene: &Scene<'_>) -> anyhow::Result<Timeline> {
    let stable = scene.status.stable_rs.as_deref().unwrap_or_default();
    let set = scene.sets.iter().find(|set| set.hash == stable);
    let runs = set.context("the stable ReplicaSet is gone")?.image;
    let manifest = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(act.manifest),
    )?;
    let line = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("image: "));
    let new = line.with_context(|| format!("{}: has no image", act.manifest))?;
    let version = |name: &str, image: &str| Version {
        name: name.to_owned(),
        image: image.to_owned(),
        hash: None,
    };
    Ok(Timeline {
        name: act.name.to_owned(),
        about: Some(act.about.to_owned()),
        versions: vec![version(act.stable, runs), version(act.new, new)],
        ..Timeline::default()
    })
}

fn judge(act: &Act, timeline: &Timeline) -> anyhow::Result<Vec<Expectation>> {
    let judged = act.expect.iter().map(|text| {
        let expect = Expect::parse(text).map_err(anyhow::Error::msg)?;
        Ok(Expectation {
            miss: expect.miss(timeline),
            text: expect.text,
        })
    });
    judged.collect()
}

/// Healthy, with every pod of the stable version there and no other.
pub(crate) fn is_healthy(scene: &Scene<'_>) -> bool {
    let status = scene.status;
    status.phase.as_deref() == Some("Healthy")
        && status.stable_rs == status.current_pod_hash
        && only_stable(scene)
}

fn is_rolled_back(scene: &Scene<'_>) -> bool {
    scene.status.abort == Some(true)
        && scene.status.phase.as_deref() == Some("Degraded")
        && only_stable(scene)
}

fn only_stable(scene: &Scene<'_>) -> bool {
    let stable = scene.status.stable_rs.as_deref();
    let wanted = scene.spec.map_or(0, |spec| spec.replicas);
    scene.sets.iter().all(|set| match stable == Some(set.hash) {
        true => set.pods.available == wanted && set.pods.total == wanted,
        false => set.pods.total == 0,
    })
}

fn show(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
