//! The truth of rehearsals: the same manifest and the same script, played by the simulator and on the real control
//! plane with the real controller, must be the same story. Needs `SERIN_APISERVER`.
//!
//! Compared, in this order:
//! - every place where the rollout stands, one after the other: step index, phase, aborted or not, reasons of pauses,
//!   and which pod hash is stable and which the newest (so also that both sides give a template the same hash);
//! - at each place the sizes that each ReplicaSet was given (`spec.replicas`), and which was sized first;
//! - where the rollout rests (paused, Healthy, aborted): counts of pods, message, and conditions with their reasons;
//! - at the end: the whole status.
//!
//! Not compared, as it is only timing: when something happens; in how many turns a ReplicaSet goes from one size to the
//! next while the rollout stands where it stands (it hangs on which pods become ready together); and whether a rollout
//! is Progressing for a moment before it is Healthy at the same place (it hangs on when the last pods are gone).

mod facts;
mod replay;

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;
use serin::planner::observed::Observed;
use serin::planner::plan::{Outcome, Write};
use serin::sim::{self, Census, Rehearsal, Watcher, World};

use crate::controller::{Serin, space};
use crate::stub;
use facts::{Fact, lines, masked};
use replay::Replay;

/// Writes down what the simulator's controller writes.
struct Scribe(Rc<RefCell<Vec<Fact>>>);

impl Watcher for Scribe {
    fn wrote(
        &mut self,
        _world: &World<'_>,
        write: &Write,
        outcome: &Outcome,
        _seen: &Observed,
        before: &Census,
    ) {
        if !matches!(outcome, Outcome::Done { .. }) {
            return;
        }
        let fact = match write {
            Write::Status(write) => Fact::Status(Box::new(write.after.clone())),
            Write::CreateReplicaSet(new) => Fact::Scale {
                set: new.name.clone(),
                from: None,
                to: 0,
            },
            Write::PatchReplicaSet(patch) => {
                let Some(to) = patch.replicas else { return };
                let (from, ..) = before.sets[&patch.name];
                if from == to {
                    return;
                }
                Fact::Scale {
                    set: patch.name.clone(),
                    from: Some(i64::from(from)),
                    to: i64::from(to),
                }
            }
            Write::PatchRollout { .. }
            | Write::KeepTemplate(_)
            | Write::DropTemplate(_)
            | Write::CreateConfig(_)
            | Write::DeleteConfig(_)
            | Write::ScaleWorkload(_)
            | Write::PatchWorkload(_)
            | Write::PatchPods(_)
            | Write::EvictPod { .. }
            | Write::DeleteReplicaSet { .. }
            | Write::CreateRun(_)
            | Write::PatchService(_)
            | Write::CreateService(_)
            | Write::DeleteService { .. }
            | Write::CreateExperiment(_)
            | Write::TerminateExperiment { .. }
            | Write::DeleteExperiment { .. }
            | Write::TerminateRun { .. }
            | Write::DeleteRun { .. } => return,
        };
        self.0.borrow_mut().push(fact);
    }
}

fn simulated(rehearsal: &Rehearsal) -> Vec<Fact> {
    let facts = Rc::new(RefCell::new(Vec::new()));
    let timeline = sim::watched(rehearsal, Box::new(Scribe(Rc::clone(&facts))));
    let missed: Vec<_> = timeline
        .expectations
        .iter()
        .filter(|e| e.miss.is_some())
        .collect();
    assert!(
        missed.is_empty(),
        "the simulator says otherwise: {missed:#?}"
    );
    facts.take()
}

/// Pods that the node plays: ready a second after they were bound, as the rehearsal says.
fn web(steps: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: 5
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata:
      labels: {{app: web}}
      annotations: {{test.serin.dev/ready-after: 1s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: app, image: \"example/web:1\"}}]
  strategy: {{canary: {{maxSurge: 1, maxUnavailable: 0, steps: {steps}}}}}
"
    )
}

const STEPS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {duration: 2}}]";

/// Plays `script` with `manifest` on both sides and compares.
async fn same(name: &str, manifest: &str, script: &str) {
    same_judged(name, manifest, script, None).await;
}

/// The same where an analysis judges: its metric has this value on both sides.
async fn same_judged(name: &str, manifest: &str, script: &str, value: Option<&'static str>) {
    let Some(space) = space(name).await else {
        return;
    };
    let pods = match value {
        None => "{pods: {ready: 1s}}".to_owned(),
        Some(value) => format!("{{pods: {{ready: 1s}}, metrics: {{tool-success: '{value}'}}}}"),
    };
    let file =
        format!("manifests: [m]\nversions: {{v1: {pods}, v2: {pods}, v3: {pods}}}\n{script}");
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    let template = value.map(|_| stub::TEMPLATE);
    let read = |_: &str| {
        let all = [Some(manifest), template].into_iter().flatten();
        Ok(all.map(|m| serde_saphyr::from_str(m).unwrap()).collect())
    };
    let rehearsal = Rehearsal::parse(name, &file, &read).unwrap();
    let simulated = simulated(&rehearsal);
    let last = simulated.iter().rev().find_map(|fact| match fact {
        Fact::Status(status) => Some(masked(status)),
        Fact::Scale { .. } => None,
    });
    let last = last.unwrap();

    let replay = Replay::new(&space, &rehearsal).await;
    let mut flags = vec![];
    if let Some(value) = value {
        space.apply(stub::TEMPLATE);
        flags.extend(["--prometheus".to_owned(), stub::prometheus(value).await]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let _serin = Serin::start(&space, &flags);
    let (real, trouble) = replay.play(manifest, &last).await;
    let (simulated, real) = (lines(&simulated), lines(&real));
    let first = simulated.iter().zip(&real).position(|(a, b)| a != b);
    let first = first.unwrap_or(simulated.len().min(real.len()));
    assert!(
        simulated == real && trouble.is_none(),
        "{name}: not the same story; the first difference is in line {}\n\nsimulated:\n{}\n\nreal:\n{}\n\n{}\nstatus at the end of the simulation: {last:#}",
        first + 1,
        simulated.join("\n"),
        real.join("\n"),
        trouble.unwrap_or_default(),
    );
}

#[tokio::test]
async fn the_seeds_manifest() {
    let manifest = include_str!("../../examples/rollouts/support-agent.yaml");
    // Verbatim, but in the test's namespace and with shorter pauses.
    let manifest = manifest
        .replace("  namespace: astra-agents\n", "")
        .replace("duration: 120", "duration: 2")
        .replace("duration: 300", "duration: 3");
    same("truth-seeds", &manifest, "script: [{at: 0s, image: v2}]").await;
}

#[tokio::test]
async fn aborted_half_way_and_tried_again() {
    let script = "
script:
- {at: 0s, image: v2}
- {at: 1s after paused, abort: it is slow}
- {at: 4s after aborted, retry: true}
- {at: 1s after paused, promote: true}
expect: Healthy on v2";
    same("truth-abort", &web(STEPS), script).await;
}

#[tokio::test]
async fn a_third_version_during_the_second() {
    let script = "
script:
- {at: 0s, image: v2}
- {at: 1s after paused, image: v3}
- {at: 1s after paused, promote: true}
expect: Healthy on v3";
    same("truth-third", &web(STEPS), script).await;
}

#[tokio::test]
async fn scaled_in_the_middle_of_a_pause() {
    let script = "
script:
- {at: 0s, image: v2}
- {at: 1s after paused, scale: 10}
- {at: 6s after paused, promote: true}
expect: Healthy on v2";
    same("truth-scale", &web(STEPS), script).await;
}

#[tokio::test]
async fn back_to_the_stable_version() {
    let script = "
script:
- {at: 0s, image: v2}
- {at: 1s after paused, image: v1}
expect: Healthy on v1";
    same("truth-back", &web(STEPS), script).await;
}

#[tokio::test]
async fn commands_of_the_existing_plugin() {
    let script = "
script:
- {at: 0s, image: v2}
- {at: 1s after paused, plugin: abort}
- {at: 4s after aborted, plugin: retry}
- {at: 1s after paused, plugin: promote}
expect: Healthy on v2";
    same("truth-plugin", &web(STEPS), script).await;
}

#[tokio::test]
async fn promoted_in_full() {
    let script = "
script:
- {at: 0s, image: v2}
- {at: 1s after paused, promote: full}
expect: Healthy on v2";
    same("truth-full", &web(STEPS), script).await;
}

const JUDGED: &str = "[{setWeight: 40}, {analysis: {templates: [{templateName: judge}]}}, {setWeight: 80}, {pause: {duration: 2}}]";

/// What an analysis says takes the update back: the same run, the same verdict, the same words.
#[tokio::test]
async fn an_analysis_that_fails_takes_it_back() {
    let script = "
script: [{at: 0s, image: v2}]
expect: rolled back";
    same_judged("truth-fails", &web(JUDGED), script, Some("0.9")).await;
}

#[tokio::test]
async fn an_analysis_that_is_good_lets_it_pass() {
    let script = "
script: [{at: 0s, image: v2}]
expect: Healthy on v2";
    same_judged("truth-judged", &web(JUDGED), script, Some("0.99")).await;
}
