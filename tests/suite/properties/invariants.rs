//! What must hold of every plan and every write, whatever happens: the invariants of the reliability
//! notes as a watcher of the simulated world. Names are theirs (I-01 …), properties PR1 … PR6.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};

use serin::api::{CONFIG, LAST_COMMAND, OVERRIDE_FREEZE, RolloutStatus, TRACK_CONFIG};
use serin::planner::config::ConfigKey;
use serin::planner::observed::{Observed, PodSeen};
use serin::planner::plan::{
    Outcome, Plan, ReplicaSetPatch, ScaleWorkload, ServicePatch, StatusWrite, Write,
};
use serin::planner::plan_rollout;
use serin::planner::replicas::{fenceposts, weighted_counts};
use serin::planner::spec::{Spec, Step};
use serin::sim::{Census, Watcher, World};

/// What was found wrong, and some counts.
#[derive(Debug, Default)]
pub struct Findings {
    pub breaches: Vec<String>,
    pub writes: u32,
    pub turns: u32,
    pub creates: BTreeMap<String, u32>,
    /// Names under which a stable version's template was kept.
    pub kept: BTreeSet<String>,
}

/// Looks on; what it finds is shared with the test.
pub struct Guard {
    pub findings: Rc<RefCell<Findings>>,
    /// Commands whose effect was recorded.
    acted: BTreeSet<String>,
    /// When each version was made for the first time, by pod hash: told by nobody, only looked at.
    made: BTreeMap<String, Timestamp>,
    /// Versions that were the stable one at some time.
    proven: BTreeSet<String>,
    /// Constancy is asked of every so many turns: it plans once more.
    every: u32,
}

impl Guard {
    /// I-05: a Service never selects a version that cannot take its clients: the active one only a
    /// complete version, or one that lives where what it selected is dead; after an abort one with as
    /// many pods, for a minute; the others one with a pod. A preview may show what it likes.
    fn switched(&mut self, world: &World<'_>, patch: &ServicePatch, seen: &Observed) {
        let (Ok(spec), Some(hash)) = (&seen.rollout.spec, &patch.hash) else {
            return;
        };
        if !seen.is_fresh {
            self.breach(world.now, "a switch that rests on a cache".into());
        }
        let name = Some(&patch.name);
        let answering = |hash: &str| {
            let set = world.cluster.replica_set_of(hash);
            set.map_or(0, |set| set.seen.available.min(set.seen.replicas))
        };
        let service = seen.services.iter().find(|s| s.name == patch.name);
        let before = service.and_then(|s| s.hash());
        let is_preview = spec
            .blue_green()
            .is_some_and(|it| it.preview_service.as_ref() == name);
        if is_preview || spec.replicas == 0 || before == Some(hash.as_str()) {
            return;
        }
        let status = &seen.rollout.status;
        // Where the planner has read the pods, a count that is late keeps nobody: they are what clients have.
        let up = |hash: &str| {
            let set = world.cluster.replica_set_of(hash)?;
            let pods = seen.answers.pods.iter().flatten();
            let is_up =
                |p: &&PodSeen| p.owner == set.seen.uid && p.is_active && p.ready_since.is_some();
            seen.answers.pods.as_ref()?;
            u32::try_from(pods.filter(is_up).count()).ok()
        };
        let have = |hash: &str| answering(hash).min(up(hash).unwrap_or(u32::MAX));
        let (now, next) = (before.map(have), answering(hash));
        let is_full = next >= spec.replicas;
        let aborted = status.aborted_at.as_ref();
        let aborted = aborted.filter(|_| status.abort == Some(true));
        let is_enough = match (spec.canary(), aborted) {
            (Some(canary), _) if canary.canary_service.as_ref() == name => next > 0,
            (_, Some(aborted)) => {
                let is_late = world.now >= aborted.0 + SignedDuration::from_secs(60);
                next > 0 && (is_full || is_late || now.is_some_and(|now| next >= now))
            }
            (Some(_), None) => next > 0,
            (None, None) => is_full || (now == Some(0) && next > 0),
        };
        if !is_enough {
            self.breach(
                world.now,
                format!(
                    "I-05: {} is switched from {before:?} with {now:?} pods to {hash} with {next}",
                    patch.name
                ),
            );
        }
    }

    /// I-05: no version loses its last pods while a Service selects it and another version has some;
    /// nor any pod while a Service does that was left by a change of the spec.
    fn deserted(&mut self, world: &World<'_>, patch: &ReplicaSetPatch, before: &Census) {
        let (Some(after), Some((old, ..))) = (patch.replicas, before.sets.get(&patch.name)) else {
            return;
        };
        let mut others = before.sets.iter();
        let has_other = others.any(|(name, (spec, ..))| *name != patch.name && *spec > 0);
        let set = world.cluster.replica_sets.get(&patch.name);
        let (Some(rollout), Some(set)) = (world.cluster.rollout(), set) else {
            return;
        };
        let Ok(spec) = &rollout.seen.spec else { return };
        if before.desired == 0 || after >= *old || !has_other {
            return;
        }
        let named = serin::planner::services::named(spec);
        let preview = spec.blue_green().and_then(|it| it.preview_service.as_ref());
        for service in world.cluster.services.truth().values() {
            let is_named = named.iter().any(|(_, name)| *name == service.name);
            let is_ours = service.manager.as_ref() == Some(&rollout.seen.name);
            let is_held = match is_named {
                true => after == 0 && preview != Some(&service.name),
                false => is_ours,
            };
            if is_held && service.hash() == Some(set.seen.hash.as_str()) {
                self.breach(
                    world.now,
                    format!(
                        "I-05: {} goes from {old} to {after} while Service {} selects it",
                        patch.name, service.name
                    ),
                );
            }
        }
    }

    pub fn new(every: u32) -> (Self, Rc<RefCell<Findings>>) {
        let findings = Rc::new(RefCell::new(Findings::default()));
        (
            Self {
                findings: Rc::clone(&findings),
                acted: BTreeSet::new(),
                made: BTreeMap::new(),
                proven: BTreeSet::new(),
                every,
            },
            findings,
        )
    }

    fn breach(&self, now: Timestamp, what: String) {
        let mut findings = self.findings.borrow_mut();
        if findings.breaches.len() < 5 {
            findings.breaches.push(format!("{now}: {what}"));
        }
    }
}

impl Watcher for Guard {
    fn planned(&mut self, seen: &Observed, plan: &Plan) {
        let turns = {
            let mut findings = self.findings.borrow_mut();
            findings.turns += 1;
            findings.turns
        };
        for set in &seen.replica_sets {
            self.made.entry(set.hash.clone()).or_insert(set.created);
        }
        self.proven.extend(seen.rollout.status.stable_rs.clone());
        if turns > 20_000 {
            self.breach(seen.now, "I-19: more than 20000 turns: a hot loop".into());
        }
        for effect in &plan.effects {
            if let Write::Status(write) = &effect.write
                && *write.before == write.after
            {
                self.breach(seen.now, "PR6: a status write without a change".into());
            }
        }
        if turns % self.every == 0 {
            self.constant_until_wake(seen, plan);
        }
    }

    fn wrote(
        &mut self,
        world: &World<'_>,
        write: &Write,
        outcome: &Outcome,
        seen: &Observed,
        before: &Census,
    ) {
        let Outcome::Done { .. } = outcome else {
            return;
        };
        self.findings.borrow_mut().writes += 1;
        match write {
            Write::PatchReplicaSet(patch) => {
                self.sized(world, patch, seen, before);
                self.deserted(world, patch, before);
            }
            Write::EvictPod { name, .. } => self.evicted(world, name, seen, before),
            Write::DeleteReplicaSet { name, .. } => self.deleted(world, name, seen),
            Write::Status(write) => self.status(world, write, seen),
            Write::CreateReplicaSet(new) => {
                // A stable version that is made again is no younger; any other begins anew.
                if seen.rollout.status.stable_rs.as_ref() != Some(&new.hash) {
                    self.made.insert(new.hash.clone(), world.now);
                }
                self.created(world.now, &new.name);
            }
            Write::CreateRun(run) => {
                self.created(world.now, run.metadata.name.as_deref().unwrap_or_default());
            }
            Write::PatchService(patch) => self.switched(world, patch, seen),
            Write::KeepTemplate(kept) => {
                self.findings.borrow_mut().kept.insert(kept.name.clone());
            }
            Write::DropTemplate(kept) => {
                self.findings.borrow_mut().kept.remove(&kept.what);
            }
            Write::CreateExperiment(experiment) => {
                let name = experiment.metadata.name.as_deref();
                self.created(world.now, name.unwrap_or_default());
            }
            Write::CreateService(_)
            | Write::DeleteService { .. }
            | Write::TerminateExperiment { .. }
            | Write::DeleteExperiment { .. } => {}
            Write::DeleteConfig(copy) => self.forgotten(world, &copy.what),
            Write::ScaleWorkload(scale) => self.made_room(world, scale, before),
            Write::PatchRollout { .. }
            | Write::CreateConfig(_)
            | Write::PatchWorkload(_)
            | Write::PatchPods(_)
            | Write::TerminateRun { .. }
            | Write::DeleteRun { .. } => {}
        }
    }
}

/// The copies of configuration that the pods of a ReplicaSet refer to.
fn copies(set: &serin::sim::cluster::ReplicaSet) -> Vec<ConfigKey> {
    let record = set.annotations.get(CONFIG);
    let record: Option<serde_json::Value> = record.and_then(|text| serde_json::from_str(text).ok());
    let copies = record.map(|record| record["copies"].clone());
    serde_json::from_value(copies.unwrap_or_default()).unwrap_or_default()
}

impl Guard {
    /// I-11: no copy is deleted that a ReplicaSet refers to.
    fn forgotten(&mut self, world: &World<'_>, key: &ConfigKey) {
        let sets = world.cluster.replica_sets.truth().values();
        for set in sets.filter(|set| copies(set).contains(key)) {
            self.breach(
                world.now,
                format!("I-11: {key} is deleted, and {} needs it", set.seen.name),
            );
        }
    }

    /// I-01 for the Deployment: it gives up no pod in whose place there is none, and never gets more
    /// than it had.
    fn made_room(&mut self, world: &World<'_>, scale: &ScaleWorkload, before: &Census) {
        let ours: u32 = before.sets.values().map(|set| set.1).sum();
        let had = (scale.from + ours).min(before.desired);
        let is_loss = scale.replicas < scale.from && scale.replicas + ours < had;
        let is_more = scale.before.is_some_and(|most| scale.replicas > most);
        if is_loss || is_more {
            self.breach(
                world.now,
                format!("I-01: {scale:?} beside {ours} pods of {}", before.desired),
            );
        }
    }
}

impl Guard {
    /// PR5: where a plan asks for nothing now, it asks for nothing until its wake.
    fn constant_until_wake(&mut self, seen: &Observed, plan: &Plan) {
        if !plan.effects.is_empty() {
            return;
        }
        let far = seen.now + SignedDuration::from_mins(20);
        let until = plan.wake.time().unwrap_or(far).min(far);
        let span = seen.now.duration_until(until).as_millis() as i64;
        // One look ahead a time: the next turn looks at another.
        let share = i64::from(self.findings.borrow().turns / self.every % 3) + 1;
        let later = SignedDuration::from_millis((span - 1).max(0) / share);
        let mut then = seen.clone();
        then.now = seen.now + later;
        let next = plan_rollout(&then);
        if let Some(effect) = next.effects.first() {
            self.breach(
                seen.now,
                format!(
                    "PR5: nothing to do, wake {:?}, and yet {later:?} later: {}",
                    plan.wake.time(),
                    brief(&effect.write)
                ),
            );
        }
    }

    /// I-01 and I-02, and I-07: sizes.
    fn sized(
        &mut self,
        world: &World<'_>,
        patch: &ReplicaSetPatch,
        seen: &Observed,
        before: &Census,
    ) {
        let (Some(after), Some((old, ..))) = (patch.replicas, before.sets.get(&patch.name)) else {
            return;
        };
        let Some(rollout) = world.cluster.rollout() else {
            return;
        };
        let Ok(spec) = &rollout.seen.spec else { return };
        if let Some(blue_green) = spec.blue_green() {
            // What clients get is never made smaller than it shall be.
            let active = world.cluster.services.get(&blue_green.active_service);
            let set = world.cluster.replica_sets.get(&patch.name);
            let is_active = set.is_some_and(|set| {
                active.and_then(|service| service.hash()) == Some(set.seen.hash.as_str())
            });
            if is_active && after < before.desired.min(*old) {
                self.breach(
                    world.now,
                    format!(
                        "I-01: {} behind the active Service from {old} to {after}",
                        patch.name
                    ),
                );
            }
        }
        let Some(canary) = spec.canary() else { return };
        let fence = fenceposts(before.desired, canary.max_surge, canary.max_unavailable);
        let size = |name: &String, spec: u32| if *name == patch.name { after } else { spec };
        if after < *old {
            // By the counts of the ReplicaSets, or by the pods themselves where the planner has read
            // them: a count that is late makes no pod of it.
            let counts = |of: fn(&(u32, u32, u32)) -> u32| {
                let have: u32 = before.sets.values().map(of).sum();
                let sets = before.sets.iter();
                let kept = sets.map(|(name, set)| size(name, set.0).min(of(set))).sum();
                (have, kept)
            };
            let (have, kept): (u32, u32) = counts(|set| set.1);
            let (had, has): (u32, u32) = counts(|set| set.2);
            let floor = fence.floor(before.desired).min(have);
            let is_true_to_pods = has >= fence.floor(before.desired).min(had);
            let has_read_pods = seen.answers.pods.is_some();
            if kept < floor && !(has_read_pods && is_true_to_pods) {
                self.breach(
                    world.now,
                    format!("I-01: {} from {old} to {after} leaves {kept} available, the floor is {floor}: {before:?}", patch.name),
                );
            }
            if !seen.is_fresh {
                self.breach(world.now, "a scale-down that rests on a cache".into());
            }
        }
        // Growing rests on the view: what a person changed a moment ago may not be in it yet, the
        // strategy neither.
        let in_view = seen.rollout.spec.as_ref().ok();
        if after > *old && in_view.is_some_and(|spec| spec.canary().is_none()) {
            return;
        }
        let wanted = seen
            .rollout
            .spec
            .as_ref()
            .map_or(0, |spec| spec.replicas)
            .max(before.desired);
        let fence = fenceposts(wanted, canary.max_surge, canary.max_unavailable);
        let total: u32 = before
            .sets
            .iter()
            .map(|(name, (spec, ..))| size(name, *spec))
            .sum();
        let was: u32 = before.sets.values().map(|(spec, ..)| spec).sum();
        let ceiling = fence.ceiling(wanted).max(was);
        if after > *old && total > ceiling {
            self.breach(
                world.now,
                format!("I-02: {} from {old} to {after} makes {total} in all, the ceiling is {ceiling}: {before:?}", patch.name),
            );
        }
        let status = &seen.rollout.status;
        self.exposed(world.now, patch, after, *old, seen);
        let canary_set = world.cluster.replica_sets.get(&patch.name);
        let is_canary = canary_set.is_some_and(|set| {
            Some(&set.seen.hash) == status.current_pod_hash.as_ref()
                && Some(&set.seen.hash) != status.stable_rs.as_ref()
        });
        if status.abort == Some(true) && is_canary && after > *old {
            self.breach(
                world.now,
                format!("I-07: aborted, and yet the canary grows from {old} to {after}"),
            );
        }
    }

    /// I-03: a canary grows to what the weight on record asks for, and no further.
    fn exposed(
        &mut self,
        now: Timestamp,
        patch: &ReplicaSetPatch,
        after: u32,
        old: u32,
        seen: &Observed,
    ) {
        let status = &seen.rollout.status;
        let Ok(spec) = &seen.rollout.spec else { return };
        let (Some(canary), Some(stable)) = (spec.canary(), status.stable_rs.as_ref()) else {
            return;
        };
        let set = seen.replica_sets.iter().find(|set| set.name == patch.name);
        let is_canary = set.is_some_and(|set| {
            Some(&set.hash) == status.current_pod_hash.as_ref() && set.hash != *stable
        });
        if !is_canary || after <= old {
            return;
        }
        let fence = fenceposts(spec.replicas, canary.max_surge, canary.max_unavailable);
        let surge = if canary.is_constant { 0 } else { fence.surge };
        let weighed = weighted_counts(spec.replicas, weight(status, spec), surge).canary;
        // A restart that may take no pod away makes others first, for a while.
        let is_restarting = spec.restart_at.is_some()
            && spec.restart_at != status.restarted_at.as_ref().map(|t| t.0);
        let most = weighed.saturating_add(if is_restarting { fence.surge.max(1) } else { 0 });
        if after > most {
            self.breach(
                now,
                format!("I-03: the canary grows from {old} to {after}, the weight asks for {most}: {status:?}"),
            );
        }
    }

    /// I-01 for evictions: what is truly available afterwards is not below the floor.
    fn evicted(&mut self, world: &World<'_>, name: &str, seen: &Observed, before: &Census) {
        let Ok(spec) = &seen.rollout.spec else { return };
        let Some(canary) = spec.canary() else { return };
        let fence = fenceposts(before.desired, canary.max_surge, canary.max_unavailable);
        let truly = |census: &Census| -> u32 { census.sets.values().map(|(.., t)| t).sum() };
        let (had, has) = (truly(before), truly(&world.census()));
        if has < had && has < fence.floor(before.desired) {
            self.breach(
                world.now,
                format!("I-01: evicting {name} leaves {has} available of {had}: {before:?}"),
            );
        }
        if !seen.is_fresh {
            self.breach(world.now, "an eviction that rests on a cache".into());
        }
    }

    /// I-11: only old ReplicaSets at 0 are deleted.
    fn deleted(&mut self, world: &World<'_>, name: &str, seen: &Observed) {
        let status = &seen.rollout.status;
        let Some(set) = seen.replica_sets.iter().find(|set| set.name == name) else {
            self.breach(
                world.now,
                format!("I-11: {name} is deleted, and was not even seen"),
            );
            return;
        };
        let hash = Some(&set.hash);
        let is_used = hash == status.stable_rs.as_ref() || hash == status.current_pod_hash.as_ref();
        if is_used || set.replicas > 0 || set.current > 0 {
            self.breach(
                world.now,
                format!("I-11: {name} is deleted although it is in use: {set:?}"),
            );
        }
    }

    /// I-09, and one ReplicaSet per hash: a name is never made twice.
    fn created(&mut self, now: Timestamp, name: &str) {
        let times = {
            let mut findings = self.findings.borrow_mut();
            let times = findings.creates.entry(name.to_owned()).or_insert(0);
            *times += 1;
            *times
        };
        // A ReplicaSet beyond the history limit may be made again; a run never.
        if times > 1 && name.matches('-').count() > 1 {
            self.breach(now, format!("I-09: {name} is made for the {times}. time"));
        }
    }

    /// I-04, I-05, I-06, I-07, I-08, I-17: what a status may become.
    fn status(&mut self, world: &World<'_>, write: &StatusWrite, seen: &Observed) {
        let (before, after) = (&*write.before, &write.after);
        let Ok(spec) = &seen.rollout.spec else { return };
        self.one_step(world, before, after, spec, seen);
        self.promotion(world, before, after, spec, seen);
        self.frozen(world, before, after, seen);
        self.truth(world, after, spec, seen);
        self.deadline(world.now, before, after);
        if let Some(id) = after.serin.as_ref().and_then(|serin| serin.command.clone())
            && before
                .serin
                .as_ref()
                .and_then(|serin| serin.command.as_ref())
                != Some(&id)
            && !self.acted.insert(id.clone())
        {
            self.breach(world.now, format!("I-08: command {id} is acted on twice"));
        }
        let retried = commanded(before, after) && is_last(seen, &["retry"]);
        let same = before.current_pod_hash == after.current_pod_hash
            && before.current_step_hash == after.current_step_hash;
        let is_stable = after.stable_rs == after.current_pod_hash;
        // A client's abort is on record with its time; until then it is the newest word there is.
        let is_new = before.abort == Some(true) && before.aborted_at.is_none();
        let overruled = before.promote_full == Some(true) || after.promote_full == Some(true);
        let overruled = overruled && !is_new;
        if before.abort == Some(true)
            && after.abort != Some(true)
            && same
            && !retried
            && !is_stable
            && !overruled
        {
            self.breach(
                world.now,
                "I-07: an abort is taken back by nobody's word".into(),
            );
        }
    }

    /// The version in spec was made before the stable one, and was stable once. What the guard itself
    /// has seen counts, not what ReplicaSets say of themselves.
    fn is_way_back(&self, status: &RolloutStatus) -> bool {
        let (Some(current), Some(stable)) = (&status.current_pod_hash, &status.stable_rs) else {
            return false;
        };
        let made = |hash: &String| self.made.get(hash);
        let is_older = matches!((made(current), made(stable)), (Some(a), Some(b)) if a <= b);
        is_older && self.proven.contains(current)
    }

    /// A freeze: no step ends and nothing is promoted, unless a person said so in full.
    fn frozen(
        &mut self,
        world: &World<'_>,
        before: &RolloutStatus,
        after: &RolloutStatus,
        seen: &Observed,
    ) {
        let rollout = &seen.rollout;
        let mut windows = seen
            .freezes
            .iter()
            .filter(|w| w.is_for(&rollout.namespace, &rollout.name, &rollout.labels));
        let has_leave = |status: &RolloutStatus| {
            let serin = status.serin.as_ref();
            serin.is_some_and(|s| s.freeze_override.is_some())
        };
        let overruled = before.promote_full == Some(true)
            || after.promote_full == Some(true)
            || has_leave(before);
        let same = before.current_pod_hash == after.current_pod_hash
            && before.current_step_hash == after.current_step_hash;
        let is_update = before.stable_rs.is_some() && before.stable_rs != before.current_pod_hash;
        let is_rollback = self.is_way_back(before);
        // A person's retry=step puts the cursor back where it was; pods wait for the end of the freeze.
        let is_retried = before.abort == Some(true);
        if overruled
            || is_retried
            || !same
            || !is_update
            || is_rollback
            || !windows.any(|w| w.at(seen.now).is_frozen)
        {
            return;
        }
        let is_promoted = before.stable_rs != after.stable_rs;
        if is_promoted || after.current_step_index > before.current_step_index {
            let (from, to) = (before.current_step_index, after.current_step_index);
            self.breach(
                world.now,
                format!("a freeze is in force, and the update goes on: {from:?} to {to:?}"),
            );
        }
    }

    fn one_step(
        &mut self,
        world: &World<'_>,
        before: &RolloutStatus,
        after: &RolloutStatus,
        spec: &Spec,
        seen: &Observed,
    ) {
        let same = before.current_pod_hash == after.current_pod_hash
            && before.current_step_hash == after.current_step_hash;
        if same && before.current_step_index == after.current_step_index {
            self.ramped(world.now, before, after, spec);
        }
        let (Some(from), Some(to)) = (before.current_step_index, after.current_step_index) else {
            return;
        };
        if !same || from == to {
            return;
        }
        let steps = spec.steps().len() as i64;
        let ours = before.serin.as_ref().and_then(|serin| serin.step);
        let commanded = commanded(before, after);
        let is_foreign = ours.is_some_and(|ours| ours != from);
        let is_abort = after.abort == Some(true) && to == 0;
        let is_retry = before.abort == Some(true) || before.aborted_at.is_some();
        let aborted_at = before.serin.as_ref().and_then(|serin| serin.aborted_step);
        let is_resumed = is_retry && commanded && Some(to) == aborted_at;
        let is_trusted = to == steps && spec.rollback_window.is_some() && self.is_way_back(before);
        let is_end = to == steps
            && (before.promote_full == Some(true) || after.stable_rs == after.current_pod_hash);
        if to == from + 1 && !is_end && !is_resumed && !is_trusted {
            self.pause_is_over(world, before, spec, from, commanded);
        } else if !(is_abort
            || (is_retry && to == 0)
            || is_end
            || is_foreign
            || is_resumed
            || is_trusted)
        {
            self.breach(
                world.now,
                format!("I-04: the step goes from {from} to {to} of {steps}: {before:?}"),
            );
        }
        if seen.rollout.status.current_step_index != before.current_step_index {
            self.breach(
                world.now,
                "a status write that rests on another status".into(),
            );
        }
    }

    /// I-05 within a ramp: one weight after the other, each for its whole time.
    fn ramped(
        &mut self,
        now: Timestamp,
        before: &RolloutStatus,
        after: &RolloutStatus,
        spec: &Spec,
    ) {
        let at = usize::try_from(before.current_step_index.unwrap_or(0)).unwrap_or(0);
        let Some(Step::Ramp(ramp)) = spec.steps().get(at) else {
            return;
        };
        let level = |status: &RolloutStatus| status.serin.as_ref().and_then(|s| s.ramp.clone());
        let (Some(old), Some(new)) = (level(before), level(after)) else {
            return;
        };
        if old.weight == new.weight || before.abort == Some(true) {
            return;
        }
        let position = |weight: i64| ramp.levels.iter().position(|l| i64::from(*l) == weight);
        let is_next = matches!((position(old.weight), position(new.weight)), (Some(a), Some(b)) if b == a + 1);
        let is_over = old
            .since
            .is_some_and(|since| now >= since.0 + SignedDuration::from_secs(ramp.every));
        if !is_next || !is_over {
            self.breach(
                now,
                format!(
                    "I-05: a ramp goes from {} to {} too early, or past a weight",
                    old.weight, new.weight
                ),
            );
        }
    }

    /// I-22: the deadline speaks of an update only, and not while it is paused.
    fn deadline(&mut self, now: Timestamp, before: &RolloutStatus, after: &RolloutStatus) {
        let expired = |status: &RolloutStatus| {
            let mut all = status.conditions.iter();
            all.any(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"))
        };
        let is_paused = before
            .pause_conditions
            .as_ref()
            .is_some_and(|c| !c.is_empty());
        let settled = before.serin.as_ref().and_then(|serin| serin.settled) == Some(true);
        if expired(after) && !expired(before) && (is_paused || settled) {
            self.breach(
                now,
                "I-22: the deadline fires outside an update, or in a pause".into(),
            );
        }
    }

    /// I-05: a timed pause is never short.
    fn pause_is_over(
        &mut self,
        world: &World<'_>,
        before: &RolloutStatus,
        spec: &Spec,
        from: i64,
        commanded: bool,
    ) {
        let step = usize::try_from(from)
            .ok()
            .and_then(|from| spec.steps().get(from));
        let Some(Step::Pause(pause)) = step else {
            return;
        };
        let conditions = before.pause_conditions.iter().flatten();
        let start = conditions
            .filter(|condition| condition.reason == "CanaryPauseStep")
            .find_map(|condition| condition.start_time.as_ref());
        // Without the condition a client has released the pause, or a person has promoted.
        let Some(start) = start else { return };
        if commanded {
            return;
        }
        match pause.seconds {
            None => self.breach(world.now, "I-05: a pause without an end has ended".into()),
            Some(seconds) => {
                let end = start.0 + SignedDuration::from_secs(seconds);
                if world.now < end {
                    self.breach(
                        world.now,
                        format!("I-05: a pause that lasts until {end} is over"),
                    );
                }
            }
        }
    }

    /// I-06: another stable version only at the end of the steps, with its pods available; and
    /// never as a "first deployment".
    fn promotion(
        &mut self,
        world: &World<'_>,
        before: &RolloutStatus,
        after: &RolloutStatus,
        spec: &Spec,
        seen: &Observed,
    ) {
        if before.stable_rs == after.stable_rs || world.now < world.start {
            return;
        }
        if before.stable_rs.is_none() {
            self.breach(
                world.now,
                "I-06: stable is set as on a first deployment".into(),
            );
            return;
        }
        let steps = spec.steps().len() as i64;
        let at_end = steps == 0 || before.current_step_index == Some(steps);
        if !at_end && before.promote_full != Some(true) {
            self.breach(
                world.now,
                format!(
                    "I-06: promoted at step {:?} of {steps}",
                    before.current_step_index
                ),
            );
        }
        let set = seen
            .replica_sets
            .iter()
            .find(|set| Some(&set.hash) == after.stable_rs.as_ref());
        let available = set.map_or(0, |set| set.available);
        let threshold = spec.canary().and_then(|canary| canary.threshold);
        let is_enough = threshold.map_or(available >= spec.replicas, |t| {
            t.is_met(available, spec.replicas)
        });
        if !is_enough {
            self.breach(
                world.now,
                format!(
                    "I-06: promoted with {available} of {} available",
                    spec.replicas
                ),
            );
        }
    }

    /// I-17: what the status says is so.
    fn truth(&mut self, world: &World<'_>, after: &RolloutStatus, spec: &Spec, seen: &Observed) {
        let generation = after
            .observed_generation
            .as_deref()
            .and_then(|text| text.parse::<i64>().ok());
        if generation.is_some_and(|observed| observed > seen.rollout.generation) {
            self.breach(
                world.now,
                "I-17: observedGeneration is from the future".into(),
            );
        }
        // Of a spec that was not observed yet nothing is said: clients see that by the generation.
        if after.phase.as_deref() != Some("Healthy") || generation != Some(seen.rollout.generation)
        {
            return;
        }
        let is_stable = after.stable_rs.is_some() && after.stable_rs == after.current_pod_hash;
        let available: u32 = seen.replica_sets.iter().map(|set| set.available).sum();
        if !is_stable || available < spec.replicas || after.abort == Some(true) {
            self.breach(
                world.now,
                format!(
                    "I-17: Healthy with stable {:?}, current {:?}, {available} of {} available",
                    after.stable_rs, after.current_pod_hash, spec.replicas
                ),
            );
        }
    }
}

/// The weight that a status asks for.
fn weight(status: &RolloutStatus, spec: &Spec) -> u32 {
    let serin = status.serin.as_ref();
    let level = |level: Option<&serin::api::status::WeightLevel>| {
        level.and_then(|level| u32::try_from(level.weight).ok())
    };
    if status.abort == Some(true) {
        return level(serin.and_then(|s| s.descent.as_ref())).unwrap_or(0);
    }
    let steps = spec.steps();
    let at = usize::try_from(status.current_step_index.unwrap_or(0)).unwrap_or(0);
    if status.promote_full == Some(true) || at >= steps.len() {
        return 100;
    }
    let upto = steps.iter().enumerate().take(at + 1).rev();
    let mut weights = upto.filter_map(|(i, step)| match step {
        Step::SetWeight(weight) => Some(*weight),
        Step::Ramp(ramp) if i == at => {
            let first = ramp.levels.first().copied();
            level(serin.and_then(|s| s.ramp.as_ref())).or(first)
        }
        Step::Ramp(ramp) => ramp.levels.last().copied(),
        Step::Pause(_) | Step::Analysis(_) | Step::Experiment(_) => None,
    });
    weights.next().unwrap_or(0)
}

/// A command's effect is recorded by this change.
fn commanded(before: &RolloutStatus, after: &RolloutStatus) -> bool {
    let id = |status: &RolloutStatus| status.serin.as_ref().and_then(|s| s.command.clone());
    id(before) != id(after)
}

/// The last command is one of these.
fn is_last(seen: &Observed, verbs: &[&str]) -> bool {
    let last = serin::planner::command::last(&seen.rollout.annotations);
    last.is_some_and(|last| verbs.contains(&last.verb.as_str()))
}

/// What must hold when the story is over and everything is mended.
pub fn settled(world: &World<'_>) -> Vec<String> {
    let mut breaches = Vec::new();
    let Some(rollout) = world.cluster.rollout() else {
        return vec!["the Rollout is gone".into()];
    };
    let Ok(spec) = &rollout.seen.spec else {
        return vec!["the spec does not lower".into()];
    };
    let status = &rollout.seen.status;
    let census = world.census();
    let of = |hash: &Option<String>| {
        let set = world
            .cluster
            .replica_sets
            .truth()
            .values()
            .find(|set| Some(&set.seen.hash) == hash.as_ref());
        set.map(|set| set.seen.clone())
    };
    let (stable, canary) = (of(&status.stable_rs), of(&status.current_pod_hash));
    let is_full = |set: &Option<serin::planner::observed::ReplicaSetSeen>| {
        set.as_ref()
            .is_some_and(|set| set.replicas == spec.replicas && set.available == spec.replicas)
    };
    let others = |but: &Option<String>| -> u32 {
        let sets = world.cluster.replica_sets.truth().values();
        sets.filter(|set| Some(&set.seen.hash) != but.as_ref())
            .filter(|set| census.sets.contains_key(&set.seen.name))
            .map(|set| set.seen.replicas)
            .sum()
    };
    match status.phase.as_deref().unwrap_or_default() {
        "Healthy" => {
            if status.stable_rs != status.current_pod_hash
                || !is_full(&stable)
                || others(&status.stable_rs) > 0
            {
                breaches.push(format!("PR2: Healthy is not so: {census:?} {status:?}"));
            }
        }
        "Degraded" if status.abort == Some(true) => {
            if !is_full(&stable) || canary.is_some_and(|canary| canary.replicas > 0) {
                breaches.push(format!(
                    "PR2: aborted, and not back at stable: {census:?} {status:?}"
                ));
            }
        }
        "Paused" => {
            let index = usize::try_from(status.current_step_index.unwrap_or(0)).unwrap_or(0);
            let is_endless = matches!(spec.steps().get(index), Some(Step::Pause(pause)) if pause.seconds.is_none());
            let is_inconclusive = status.pause_conditions.iter().flatten().any(|condition| {
                ["InconclusiveAnalysisRun", "FailedAnalysisRun", "HeldByGate"]
                    .contains(&condition.reason.as_str())
            });
            let is_manual = spec.blue_green().is_some_and(|b| !b.auto_promotion_enabled);
            if !is_endless && !is_inconclusive && !is_manual {
                breaches.push(format!("PR2: paused for no reason: {status:?}"));
            }
        }
        phase => breaches.push(format!(
            "PR2: stuck in {phase:?} ({:?}): {census:?} {status:?}",
            status.message
        )),
    }
    breaches.extend(shown(world, spec, status));
    breaches.extend(roles(world, status));
    for set in world.cluster.replica_sets.truth().values() {
        let missing = copies(set);
        let mut missing = missing
            .iter()
            .filter(|key| !world.cluster.configs.contains_key(key));
        if let Some(key) = missing.next().filter(|_| set.seen.replicas > 0) {
            breaches.push(format!("PR2: {} needs {key}, which is gone", set.seen.name));
        }
    }
    let generation = status
        .observed_generation
        .as_deref()
        .and_then(|text| text.parse::<i64>().ok());
    if generation != Some(rollout.seen.generation) {
        breaches.push(format!(
            "I-17: generation {} was never observed: {generation:?}",
            rollout.seen.generation
        ));
    }
    for name in rollout.seen.annotations.keys() {
        // An override waits for the next update.
        let waits = name == OVERRIDE_FREEZE && status.stable_rs == status.current_pod_hash;
        if name.starts_with("serin.dev/") && name != LAST_COMMAND && name != TRACK_CONFIG && !waits
        {
            breaches.push(format!("I-08: command {name} was never taken"));
        }
    }
    let last = rollout.seen.annotations.get(LAST_COMMAND);
    let last: Option<serde_json::Value> = last.and_then(|text| serde_json::from_str(text).ok());
    if let Some(last) = last
        && last["outcome"] == "accepted"
        && status
            .serin
            .as_ref()
            .and_then(|serin| serin.command.as_deref())
            != last["id"].as_str()
    {
        breaches.push(format!("I-08: command {last} was taken and never acted on"));
    }
    breaches
}

/// Where the story ends well, or where it began, every Service shows the stable version, but the
/// preview of what was aborted; and those that are named no longer were let go.
fn shown(world: &World<'_>, spec: &Spec, status: &RolloutStatus) -> Vec<String> {
    let named = serin::planner::services::named(spec);
    let is_aborted = status.abort == Some(true);
    let is_over = status.phase.as_deref() == Some("Healthy") || is_aborted;
    let preview = spec.blue_green().and_then(|it| it.preview_service.as_ref());
    let wrong = |service: &serin::planner::observed::ServiceSeen| {
        if !named.iter().any(|(_, name)| *name == service.name) {
            return service.hash().is_some() || service.manager.is_some();
        }
        let may_differ = spec.replicas == 0 || (is_aborted && preview == Some(&service.name));
        is_over && !may_differ && service.hash() != status.stable_rs.as_deref()
    };
    let services = world.cluster.services.truth().values();
    services
        .filter(|service| wrong(service))
        .map(|service| {
            format!(
                "PR2: Service {} shows something else: {service:?}",
                service.name
            )
        })
        .collect()
}

/// Where pods carry their role, every pod that lives carries its own, and what no role hides.
fn roles(world: &World<'_>, status: &RolloutStatus) -> Vec<String> {
    let Some(rollout) = world.cluster.rollout() else {
        return vec![];
    };
    let roles = match &rollout.seen.spec {
        Ok(spec) => spec.roles().clone(),
        Err(_) => return vec![],
    };
    if roles.canary.is_empty() {
        return vec![];
    }
    let sets = world.cluster.replica_sets.truth();
    let of = |uid: &str| sets.values().find(|set| set.seen.uid == uid);
    let is_wrong = |pod: &&serin::planner::observed::PodSeen| {
        let hash = of(&pod.owner).map(|set| set.seen.hash.clone());
        let (role, tier) = match hash {
            hash if hash == status.stable_rs => ("stable", "own"),
            hash if hash == status.current_pod_hash => ("canary", "new"),
            _ => return false,
        };
        let label = |key: &str| pod.labels.get(key).map(String::as_str);
        label("role") != Some(role) || label("tier") != Some(tier)
    };
    let pods = world.cluster.pods_seen();
    let wrong = pods.iter().filter(|pod| pod.is_active).filter(is_wrong);
    wrong
        .map(|pod| format!("X1: {} has {:?}", pod.name, pod.labels))
        .collect()
}

/// A write in a word or two.
pub fn brief(write: &Write) -> String {
    match write {
        Write::PatchRollout { patch, .. } => format!("patch of the Rollout {patch}"),
        Write::CreateReplicaSet(new) => format!("create {}", new.name),
        Write::PatchReplicaSet(patch) => format!("patch {} {}", patch.name, patch.to_json()),
        Write::KeepTemplate(kept) => format!("keep template {}", kept.name),
        Write::DropTemplate(kept) => format!("drop template {}", kept.what),
        Write::CreateConfig(copy) => format!("create {}", copy.key),
        Write::DeleteConfig(copy) => format!("delete {}", copy.what),
        Write::ScaleWorkload(scale) => format!("scale {} to {}", scale.key, scale.replicas),
        Write::PatchWorkload(patch) => format!("give {} another template", patch.key),
        Write::PatchPods(pods) => format!("patch {} pods", pods.len()),
        Write::EvictPod { name, .. } => format!("evict {name}"),
        Write::DeleteReplicaSet { name, .. } => format!("delete {name}"),
        Write::CreateRun(run) => format!("create run {:?}", run.metadata.name),
        Write::TerminateRun { name, .. } => format!("terminate {name}"),
        Write::DeleteRun { name, .. } => format!("delete run {name}"),
        Write::PatchService(patch) => format!("service {} {}", patch.name, patch.to_json()),
        Write::CreateService(service) => format!("create service {}", service.name),
        Write::DeleteService { name, .. } => format!("delete service {name}"),
        Write::CreateExperiment(it) => format!("create experiment {:?}", it.metadata.name),
        Write::TerminateExperiment { name, .. } => format!("terminate experiment {name}"),
        Write::DeleteExperiment { name, .. } => format!("delete experiment {name}"),
        Write::Status(write) => {
            let value = |status: &RolloutStatus| serde_json::to_value(status).unwrap_or_default();
            let patch =
                serin::api::patch::to_merge_patch(&value(&write.before), &value(&write.after));
            format!("status {}", patch.unwrap_or_default())
        }
    }
}
