//! Carries out the script: what people do, as the patches they really send, and what breaks. Knows
//! when each entry is due; decides nothing about rollouts.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::clock::{Ms, between, plus};
use super::event::{Happen, Kind};
use super::faults::Crash;
use super::rehearsal::image_patch;
use super::script::{Action, Plugin, Verb};
use super::trigger::{Moment, Trigger};
use super::world::World;
use crate::api;
use crate::api::patch::apply_merge_patch;
use crate::planner::config::ConfigKey;
use crate::view::timeline::Sample;

/// Where the script stands.
#[derive(Debug, Default)]
pub struct Script {
    triggers: Vec<Trigger>,
    state: Vec<Progress>,
    /// When an entry last told the controller to do something.
    last_command: Option<Timestamp>,
    /// When an entry last changed what is rolled out.
    last_change: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waits,
    Due,
    Done,
}

impl Script {
    /// A script of which nothing has happened.
    pub fn new(actions: &[Action]) -> Self {
        let triggers: Vec<Trigger> = actions.iter().map(|action| action.at.clone()).collect();
        let state = vec![Progress::Waits; triggers.len()];
        Self {
            triggers,
            state,
            ..Self::default()
        }
    }

    /// Entries that are told by the clock alone.
    pub fn timed(&self) -> Vec<(usize, Ms)> {
        let entries = self.triggers.iter().enumerate();
        entries
            .filter(|(_, at)| at.moment == Moment::Start)
            .map(|(i, at)| (i, at.delay))
            .collect()
    }

    /// True while something is still to happen.
    pub fn is_pending(&self) -> bool {
        self.state.iter().any(|state| *state != Progress::Done)
    }

    /// Entries that never happened.
    pub fn undone(&self) -> Vec<usize> {
        let entries = self.state.iter().enumerate();
        entries
            .filter(|(_, state)| **state != Progress::Done)
            .map(|(i, _)| i)
            .collect()
    }

    /// The entry whose moment is waited for: all before it have happened.
    fn armed(&self) -> Option<usize> {
        let next = self
            .state
            .iter()
            .position(|state| *state != Progress::Done)?;
        let waits = self.state.get(next) == Some(&Progress::Waits);
        let trigger = self.triggers.get(next)?;
        (waits && trigger.moment != Moment::Start).then_some(next)
    }
}

impl World<'_> {
    /// Sees whether the moment has come that the script waits for.
    pub(super) fn look_for_triggers(&mut self) {
        let Some(index) = self.script.armed() else {
            return;
        };
        let Some(trigger) = self.script.triggers.get(index).cloned() else {
            return;
        };
        let Some(came) = self.moment_came(trigger.moment) else {
            return;
        };
        if let Some(state) = self.script.state.get_mut(index) {
            *state = Progress::Due;
        }
        self.queue
            .push(plus(came, trigger.delay).max(self.now), Happen::Act(index));
    }

    /// Since when a moment holds, if it holds and began after the last entry that could end it.
    fn moment_came(&self, moment: Moment) -> Option<Timestamp> {
        let samples = &self.recorder.as_ref()?.story.timeline.samples;
        #[allow(clippy::type_complexity)]
        let (is, barrier): (Box<dyn Fn(&Sample) -> bool>, _) = match moment {
            Moment::Start => return Some(self.start),
            Moment::Weight(weight) => (
                Box::new(move |s| s.asked.is_some_and(|asked| asked >= weight)),
                self.script.last_change,
            ),
            Moment::Step(step) => (
                Box::new(move |s| s.canary_version.is_some() && s.step + 1 >= step),
                self.script.last_change,
            ),
            Moment::Paused => (Box::new(|s| s.pause.is_some()), self.script.last_command),
            Moment::Held => (Box::new(|s| s.hold.is_some()), self.script.last_command),
            Moment::Healthy => (Box::new(|s| s.phase == "Healthy"), self.script.last_command),
            Moment::Degraded => (
                Box::new(|s| s.phase == "Degraded"),
                self.script.last_command,
            ),
            Moment::Aborted => (Box::new(|s| s.is_aborted), self.script.last_command),
        };
        let since = samples.iter().rev().take_while(|s| is(s)).last()?;
        let at = plus(self.start, since.at);
        match barrier {
            Some(barrier) if at < barrier => None,
            Some(_) | None => Some(at),
        }
    }

    /// Carries out one entry.
    pub(super) fn act(&mut self, index: usize) {
        let Some(action) = self.rehearsal.script.get(index) else {
            return;
        };
        let Some(state) = self.script.state.get_mut(index) else {
            return;
        };
        *state = Progress::Done;
        self.changed = self.now;
        self.acted = self.now;
        let verb = action.verb.clone();
        if let Some(recorder) = &mut self.recorder {
            recorder.act(self.now, &verb);
        }
        let Some(name) = self
            .cluster
            .rollout()
            .map(|rollout| rollout.seen.name.clone())
        else {
            return;
        };
        self.note_barriers(&verb);
        self.carry_out(&name, verb);
        self.sample();
    }

    fn note_barriers(&mut self, verb: &Verb) {
        if verb.is_fault() || matches!(verb, Verb::Scale(_) | Verb::Annotate(_)) {
            return;
        }
        self.script.last_command = Some(self.now);
        if matches!(
            verb,
            Verb::Image(_)
                | Verb::Steps(_)
                | Verb::Patch(_)
                | Verb::Config { .. }
                | Verb::Workload(_)
                | Verb::Retry
                | Verb::RetryStep
                | Verb::Undo(_)
        ) {
            self.script.last_change = Some(self.now);
        }
    }

    fn carry_out(&mut self, name: &str, verb: Verb) {
        let now = self.now;
        let annotate =
            |key: &str, value: &str| json!({ "metadata": { "annotations": { key: value } } });
        match verb {
            Verb::Image(version) => {
                let image = self.rehearsal.image_of(&version);
                let template = self.cluster.template();
                let patch = image_patch(template.unwrap_or_default().value(), &image);
                if self.cluster.workload.is_some() {
                    self.cluster.patch_workload_template(&patch);
                    self.look_soon(now);
                } else if !self.refers_to_a_workload() {
                    self.patch(name, &patch);
                }
            }
            Verb::Promote { full } => {
                self.patch(
                    name,
                    &annotate(api::PROMOTE, if full { "full" } else { "true" }),
                );
            }
            Verb::Abort(reason) => self.patch(name, &annotate(api::ABORT, &reason)),
            Verb::Retry => self.patch(name, &annotate(api::RETRY, "true")),
            Verb::RetryStep => self.patch(name, &annotate(api::RETRY, "step")),
            Verb::Undo(value) => self.patch(name, &annotate(api::UNDO, &value)),
            Verb::Pause => self.patch(name, &annotate(api::PAUSE, "true")),
            Verb::Resume => self.patch(name, &annotate(api::RESUME, "true")),
            Verb::Restart => self.patch(name, &annotate(api::RESTART, "true")),
            Verb::Plugin(verb) => self.plugin(name, verb),
            Verb::Scale(replicas) => self.patch(name, &json!({ "spec": { "replicas": replicas } })),
            Verb::Steps(steps) => {
                self.patch(
                    name,
                    &json!({ "spec": { "strategy": { "canary": { "steps": steps } } } }),
                );
            }
            Verb::Annotate(map) => self.patch(name, &json!({ "metadata": { "annotations": map } })),
            Verb::Patch(patch) => self.patch(name, &patch),
            Verb::PatchStatus(patch) => self.patch_status(name, &patch),
            Verb::Config { kind, name, data } => {
                let key = ConfigKey { kind, name };
                match data {
                    Some(data) => {
                        let object = self.cluster.configs.entry(key).or_insert_with(|| json!({}));
                        apply_merge_patch(object, &json!({ "data": data }));
                    }
                    None => {
                        self.cluster.configs.remove(&key);
                    }
                }
            }
            Verb::Service { name, patch } => {
                let patch = patch.as_ref();
                self.cluster
                    .change_service(now, &name, patch, &mut self.queue);
            }
            Verb::Workload(patch) => self.change_workload(patch.as_ref()),
            Verb::Delete => self.cluster.delete_rollout(now, name, &mut self.queue),
            Verb::Lose(version) => {
                let image = self.rehearsal.image_of(&version);
                let sets = self.cluster.replica_sets.truth().values();
                let names: Vec<String> = sets
                    .filter(|set| set.image == image)
                    .map(|set| set.seen.name.clone())
                    .collect();
                for name in names {
                    self.cluster.remove_replica_set(now, &name, &mut self.queue);
                }
            }
            Verb::Kill { version, pods } => self.kill(&version, pods),
            Verb::Pods { version, how } => {
                let image = self.rehearsal.image_of(&version);
                self.cluster.workloads.set_behaviour(&image, how);
                self.cluster.stir(now, &mut self.queue);
            }
            Verb::Budget(least) => self.cluster.workloads.budget = least,
            Verb::Quota(most) => {
                self.cluster.workloads.quota = most;
                self.cluster.stir(now, &mut self.queue);
            }
            Verb::PrometheusDown(lasts) => self.prometheus_back = plus(now, lasts),
            Verb::ControllerDown { down, old_list } => self.stop_controller(down, old_list),
            Verb::Crash {
                write,
                is_written,
                down,
                old_list,
            } => {
                let after = write.saturating_sub(1);
                self.faults.crash = Some(Crash {
                    after,
                    is_written,
                    down,
                    old_list,
                });
            }
            Verb::Conflicts(count) => self.faults.conflicts += count,
            Verb::ApiErrors(count) => self.faults.errors += count,
            Verb::LostAnswers(count) => self.faults.lost_answers += count,
            Verb::Freeze { kind, lasts } => self.freeze(kind, lasts),
        }
    }

    fn refers_to_a_workload(&self) -> bool {
        let rollout = self.cluster.rollout();
        rollout.is_some_and(|rollout| rollout.spec.workload_ref.is_some())
    }

    /// Somebody else changes or deletes the workload; one that was gone is applied as it was at first.
    fn change_workload(&mut self, patch: Option<&Value>) {
        let cluster = &mut self.cluster;
        match patch {
            None => cluster.workload = None,
            Some(patch) => {
                let manifests = &self.rehearsal.manifests;
                let first = manifests.workload_of(&self.rehearsal.rollout).cloned();
                cluster.workload = cluster.workload.take().or(first);
                cluster.patch_workload(patch);
            }
        }
        self.look_soon(self.now);
    }

    fn patch(&mut self, name: &str, patch: &Value) {
        self.cluster
            .patch_rollout(self.now, name, patch, &mut self.queue);
    }

    fn patch_status(&mut self, name: &str, patch: &Value) {
        if let Err(error) = self
            .cluster
            .patch_status(self.now, name, patch, &mut self.queue)
        {
            self.tell_fault(&format!("the API server refuses the patch: {error}"));
        }
    }

    fn kill(&mut self, version: &str, pods: u32) {
        let image = self.rehearsal.image_of(version);
        let sets = self.cluster.replica_sets.truth().values();
        let names: Vec<String> = sets
            .filter(|set| set.image == image)
            .map(|set| set.seen.name.clone())
            .collect();
        let mut left = pods;
        for name in names {
            left -= self.cluster.kill(self.now, &name, left, &mut self.queue);
        }
    }

    fn freeze(&mut self, kind: Kind, lasts: Ms) {
        match kind {
            Kind::Rollouts => self.cluster.rollouts.freeze(),
            Kind::ReplicaSets => self.cluster.replica_sets.freeze(),
            Kind::Runs => self.cluster.runs.freeze(),
            Kind::Services => self.cluster.services.freeze(),
            Kind::Experiments => self.cluster.experiments.freeze(),
        }
        self.queue.push(plus(self.now, lasts), Happen::Thaw(kind));
    }

    /// The patches of the existing kubectl plugin (contract §1.10).
    fn plugin(&mut self, name: &str, verb: Plugin) {
        let Some(rollout) = self.cluster.rollout().cloned() else {
            return;
        };
        let status = &rollout.seen.status;
        let is_paused = rollout.spec.paused == Some(true);
        match verb {
            Plugin::Promote => {
                let has_pause = status
                    .pause_conditions
                    .as_ref()
                    .is_some_and(|list| !list.is_empty());
                let index = status.current_step_index.unwrap_or(0);
                let is_inconclusive = status
                    .canary
                    .as_ref()
                    .and_then(|canary| canary.current_step_analysis_run_status.as_ref())
                    .is_some_and(|run| run.status == "Inconclusive");
                let patch = if is_inconclusive && has_pause && status.controller_pause == Some(true)
                {
                    json!({ "pauseConditions": null, "controllerPause": false, "currentStepIndex": index + 1 })
                } else if has_pause {
                    json!({ "pauseConditions": null })
                } else {
                    json!({ "pauseConditions": null, "currentStepIndex": index + 1 })
                };
                self.patch_status(name, &patch);
                if is_paused {
                    self.patch(name, &json!({ "spec": { "paused": false } }));
                }
            }
            Plugin::PromoteFull => {
                if status.current_pod_hash != status.stable_rs {
                    self.patch_status(name, &json!({ "promoteFull": true }));
                }
                if is_paused {
                    self.patch(name, &json!({ "spec": { "paused": false } }));
                }
            }
            Plugin::Abort => self.patch_status(name, &json!({ "abort": true })),
            Plugin::Retry => self.patch_status(name, &json!({ "abort": false })),
            Plugin::Pause => self.patch(name, &json!({ "spec": { "paused": true } })),
        }
    }
}

/// How far a story has come at `now`, in milliseconds.
pub(super) fn story_time(start: Timestamp, now: Timestamp) -> Ms {
    between(start, now).max(0)
}
