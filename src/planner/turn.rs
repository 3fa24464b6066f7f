//! Drives one plan without doing anything itself: yields one write at a time, takes its outcome,
//! stops at the first hard failure and folds it into the status. Both shells use it, so a crash
//! after effect k is "stop calling". Knows no clock and no client.

use super::command;
use super::draft::whole_seconds;
use super::observed::{Need, Observed};
use super::plan::{Effect, Event, NewConfig, Outcome, Plan, StatusWrite, Wake, Write};
use super::reasons;
use super::status::{BESIDE, condition, set_condition, set_ours, unmade};

/// One turn under way.
#[derive(Debug)]
pub struct Turn<'a> {
    seen: &'a Observed,
    plan: Plan,
    queue: std::collections::VecDeque<Effect>,
    current: Option<Effect>,
    version: String,
    end: End,
}

/// How a turn ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// Events to report now that everything is written.
    pub events: Vec<Event>,
    /// The next look.
    pub wake: Wake,
    /// Read live and plan again at once: the world moved on, or a name must be looked at first.
    pub replan: bool,
    /// What to look at before planning again.
    pub needs: Vec<Need>,
    /// The write that failed hard, and why; the shell backs off.
    pub failure: Option<String>,
    /// The outcome of a write is unknown: read live before the next turn.
    pub is_uncertain: bool,
    /// Writes that were made.
    pub writes: u32,
}

impl<'a> Turn<'a> {
    /// Starts on a plan made from `seen`.
    pub fn new(seen: &'a Observed, mut plan: Plan) -> Self {
        let queue = std::mem::take(&mut plan.effects).into();
        let version = seen.rollout.version.clone();
        Self {
            seen,
            plan,
            queue,
            current: None,
            version,
            end: End::default(),
        }
    }

    /// The next write, or `None` when the turn is over. Every write that was given out must be
    /// answered by [`Turn::record`] before the next one is asked for.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let mut effect = self.queue.pop_front()?;
        // Our own patch of the Rollout moves the version that the status write was decided on.
        if let Write::Status(write) = &mut effect.write {
            write.version.clone_from(&self.version);
        }
        self.current = Some(effect.clone());
        Some(effect)
    }

    /// Takes the outcome of the write given out last.
    pub fn record(&mut self, outcome: Outcome) {
        let Some(effect) = self.current.take() else {
            return;
        };
        match outcome {
            Outcome::Done { version } => {
                self.end.writes = self.end.writes.saturating_add(1);
                if matches!(effect.write, Write::PatchRollout { .. } | Write::Status(_)) {
                    self.version = version;
                }
            }
            Outcome::Exists => self.exists(&effect.write),
            Outcome::Conflict | Outcome::Refused(_) | Outcome::Failed(_)
                if matches!(effect.write, Write::DeleteReplicaSet { .. }) =>
            {
                self.stays(&effect.write, outcome);
            }
            Outcome::Conflict if is_housekeeping(&effect.write) => self.end.replan = true,
            Outcome::Conflict => self.stop_and_replan(),
            // The status is written by then, and its events are to be told.
            Outcome::Unknown(why) if matches!(effect.write, Write::DropTemplate(_)) => {
                self.complain(&effect.write, &why);
            }
            Outcome::Unknown(why) => {
                self.end.is_uncertain = true;
                self.end.failure = Some(why);
                self.queue.clear();
                self.plan.events.clear();
            }
            Outcome::Refused(why) if matches!(effect.write, Write::PatchWorkload(_)) => {
                self.refused_command(&effect.write, &why);
            }
            // A budget of somebody else: the plan's wake tries again.
            Outcome::Refused(why) if matches!(effect.write, Write::EvictPod { .. }) => {
                self.refused_eviction(&effect.write, &why);
            }
            // Another try may keep it, and once the update has begun there is none.
            Outcome::Failed(why) if matches!(effect.write, Write::KeepTemplate(_)) => {
                self.fail(&effect.write, &why);
            }
            Outcome::Refused(why) | Outcome::Failed(why) if is_housekeeping(&effect.write) => {
                self.complain(&effect.write, &why);
            }
            Outcome::Refused(why) | Outcome::Failed(why) => self.fail(&effect.write, &why),
        }
    }

    /// What remains to be done by the shell.
    pub fn finish(mut self) -> End {
        self.end.wake = self.plan.wake;
        self.end.events = std::mem::take(&mut self.plan.events);
        self.end
    }

    fn stop_and_replan(&mut self) {
        self.end.replan = true;
        self.queue.clear();
        self.plan.events.clear();
    }

    /// A name is taken, and must be looked at: a ReplicaSet is ours, or a collision; a run is ours and
    /// not seen yet, or somebody else's and in the way.
    fn exists(&mut self, write: &Write) {
        match write {
            Write::CreateReplicaSet(set) => {
                self.end.needs.push(Need::Named(set.name.clone()));
                self.stop_and_replan();
            }
            Write::CreateConfig(copy) => self.copies_exist(copy),
            // It was looked at before; whose it is counts when it is used.
            Write::KeepTemplate(_) => {}
            Write::CreateRun(run) => {
                let name = run.metadata.name.clone().unwrap_or_default();
                self.end.needs.push(Need::Run(name));
                self.stop_and_replan();
            }
            Write::CreateExperiment(experiment) => {
                let name = experiment.metadata.name.clone().unwrap_or_default();
                self.end.needs.push(Need::Experiment(name));
                self.stop_and_replan();
            }
            Write::PatchRollout { .. }
            | Write::PatchReplicaSet(_)
            | Write::DropTemplate(_)
            | Write::DeleteConfig(_)
            | Write::PatchWorkload(_)
            | Write::ScaleWorkload(_)
            | Write::PatchPods(_)
            | Write::EvictPod { .. }
            | Write::DeleteReplicaSet { .. }
            | Write::TerminateRun { .. }
            | Write::DeleteRun { .. }
            | Write::PatchService(_)
            | Write::CreateService(_)
            | Write::DeleteService { .. }
            | Write::TerminateExperiment { .. }
            | Write::DeleteExperiment { .. }
            | Write::Status(_) => self.stop_and_replan(),
        }
    }

    /// An old ReplicaSet could not be deleted: what it refers to stays with it.
    fn stays(&mut self, write: &Write, outcome: Outcome) {
        while let Some(Effect {
            write: Write::DeleteConfig(_),
            ..
        }) = self.queue.front()
        {
            self.queue.pop_front();
        }
        match outcome {
            Outcome::Refused(why) | Outcome::Failed(why) => self.complain(write, &why),
            Outcome::Conflict | Outcome::Done { .. } | Outcome::Exists | Outcome::Unknown(_) => {
                self.end.replan = true
            }
        }
    }

    /// Copies are made under names of their contents: whose they are must be seen, all at once.
    fn copies_exist(&mut self, first: &NewConfig) {
        self.end.needs.push(Need::Copy(first.key.clone()));
        for effect in &self.queue {
            if let Write::CreateConfig(copy) = &effect.write {
                self.end.needs.push(Need::Copy(copy.key.clone()));
            }
        }
        self.stop_and_replan();
    }

    /// What a command asks of another object was refused for good: that is what becomes of it.
    fn refused_command(&mut self, write: &Write, why: &str) {
        let why = format!("could not {}: {}", described(write), short(why));
        let mut told = None;
        for effect in &mut self.queue {
            if let Write::PatchRollout { patch, .. } = &mut effect.write {
                told = command::refuse(patch, &why);
            }
        }
        self.plan.events.extend(told);
    }

    /// A pod that stays for now is no failure.
    fn refused_eviction(&mut self, write: &Write, why: &str) {
        let text = format!("Did not {}: {}", described(write), short(why));
        let event = Event::warning(reasons::EVICTION_REFUSED, text);
        self.plan.events.push(event);
    }

    /// What only tidies up must not keep the status from being written.
    fn complain(&mut self, write: &Write, why: &str) {
        let text = format!("Failed to {}: {}", described(write), short(why));
        self.end.failure = Some(text.clone());
        self.plan
            .events
            .push(Event::warning(reasons::RECONCILIATION_ERROR, text));
    }

    /// A hard failure ends the turn; what failed goes into the status. The rest of the status rests
    /// on what was seen and holds all the same (a deadline must not wait for a write to succeed),
    /// but not where it speaks of a ReplicaSet that could not be made: then what was read stands, with
    /// the pods that there are.
    fn fail(&mut self, write: &Write, why: &str) {
        self.queue.clear();
        self.plan.events.clear();
        let why = short(why);
        if let Some((reason, message)) = folded(write, &why) {
            let read = &self.seen.rollout.status;
            let mut after = match write {
                Write::CreateReplicaSet(_) | Write::CreateConfig(_) => {
                    unmade(self.seen, &self.plan.status, &message)
                }
                Write::PatchRollout { .. }
                | Write::PatchReplicaSet(_)
                | Write::KeepTemplate(_)
                | Write::DropTemplate(_)
                | Write::DeleteConfig(_)
                | Write::PatchWorkload(_)
                | Write::ScaleWorkload(_)
                | Write::PatchPods(_)
                | Write::EvictPod { .. }
                | Write::DeleteReplicaSet { .. }
                | Write::CreateRun(_)
                | Write::TerminateRun { .. }
                | Write::DeleteRun { .. }
                | Write::PatchService(_)
                | Write::CreateService(_)
                | Write::DeleteService { .. }
                | Write::CreateExperiment(_)
                | Write::TerminateExperiment { .. }
                | Write::DeleteExperiment { .. }
                | Write::Status(_) => self.plan.status.clone(),
            };
            let (reason, message) = beside_the_end(&after, reason, message);
            let now = whole_seconds(self.seen.now);
            set_condition(
                &mut after,
                reasons::PROGRESSING,
                "False",
                reason,
                &message,
                now.clone(),
            );
            let later = set_ours(
                &mut after,
                self.seen.now,
                self.seen.rollout.generation,
                None,
            );
            if let Some(later) = later {
                self.plan.wake.at(later);
            }
            if after != **read {
                self.plan.events.push(Event::warning(reason, message));
                self.queue.push_back(Effect {
                    write: Write::Status(Box::new(StatusWrite {
                        before: read.clone(),
                        after,
                        version: self.version.clone(),
                    })),
                    disruptive: false,
                });
            }
        }
        self.end.failure = Some(why);
    }
}

/// Writes without which the update goes on all the same.
fn is_housekeeping(write: &Write) -> bool {
    match write {
        Write::KeepTemplate(_)
        | Write::DropTemplate(_)
        | Write::DeleteConfig(_)
        | Write::ScaleWorkload(_)
        | Write::PatchPods(_)
        | Write::EvictPod { .. }
        | Write::DeleteReplicaSet { .. }
        | Write::DeleteRun { .. }
        | Write::DeleteService { .. }
        | Write::TerminateExperiment { .. }
        | Write::DeleteExperiment { .. }
        | Write::TerminateRun { .. } => true,
        Write::PatchRollout { .. }
        | Write::PatchWorkload(_)
        | Write::CreateConfig(_)
        | Write::CreateReplicaSet(_)
        | Write::PatchReplicaSet(_)
        | Write::CreateRun(_)
        | Write::PatchService(_)
        | Write::CreateService(_)
        | Write::CreateExperiment(_)
        | Write::Status(_) => false,
    }
}

fn described(write: &Write) -> String {
    match write {
        Write::PatchPods(pods) => format!("change labels and annotations of {} pods", pods.len()),
        Write::KeepTemplate(kept) => format!("keep the stable template as {:?}", kept.name),
        Write::DropTemplate(kept) => format!("delete the kept template {:?}", kept.what),
        Write::CreateConfig(copy) => format!("create {}", copy.key),
        Write::DeleteConfig(copy) => format!("delete {}", copy.what),
        Write::ScaleWorkload(scale) => format!("scale {} to {}", scale.key, scale.replicas),
        Write::PatchWorkload(patch) => format!("give {} its former template", patch.key),
        Write::EvictPod { name, .. } => format!("evict pod {name:?}"),
        Write::DeleteReplicaSet { name, .. } => format!("delete old replica set {name:?}"),
        Write::DeleteRun { name, .. } => format!("delete old analysis run {name:?}"),
        Write::TerminateRun { name, .. } => format!("end analysis run {name:?}"),
        Write::PatchRollout { .. } => "update the rollout".to_owned(),
        Write::CreateReplicaSet(set) => format!("create replica set {:?}", set.name),
        Write::PatchReplicaSet(patch) => format!("update replica set {:?}", patch.name),
        Write::CreateRun(_) => "create an analysis run".to_owned(),
        Write::PatchService(patch) => format!("update service {:?}", patch.name),
        Write::CreateService(service) => format!("create service {:?}", service.name),
        Write::DeleteService { name, .. } => format!("delete service {name:?}"),
        Write::CreateExperiment(_) => "create an experiment".to_owned(),
        Write::TerminateExperiment { name, .. } => format!("end experiment {name:?}"),
        Write::DeleteExperiment { name, .. } => format!("delete old experiment {name:?}"),
        Write::Status(_) => "update the status".to_owned(),
    }
}

/// An abort or a deadline stays on record: what failed on the way is told beside it.
fn beside_the_end(
    status: &crate::api::RolloutStatus,
    reason: &'static str,
    message: String,
) -> (&'static str, String) {
    let ended = condition(status, reasons::PROGRESSING).and_then(|c| {
        let reason = match c.reason.as_deref()? {
            reasons::ROLLOUT_ABORTED => reasons::ROLLOUT_ABORTED,
            reasons::DEADLINE_EXCEEDED => reasons::DEADLINE_EXCEEDED,
            _ => return None,
        };
        Some((reason, c.message.as_deref().unwrap_or_default()))
    });
    match ended {
        Some((reason, old)) => {
            let first = old.split(BESIDE).next().unwrap_or(old);
            (reason, format!("{first}; {message}"))
        }
        None => (reason, message),
    }
}

/// Messages end up in status and events: a server's essay is cut.
fn short(why: &str) -> String {
    if why.chars().count() <= 512 {
        return why.to_owned();
    }
    let cut: String = why.chars().take(509).collect();
    format!("{cut}...")
}

/// The condition that a failed write leaves: (reason, message).
fn folded(write: &Write, why: &str) -> Option<(&'static str, String)> {
    match write {
        Write::CreateReplicaSet(set) => Some((
            reasons::RS_CREATE_ERROR,
            format!("Failed to create new replica set {:?}: {why}", set.name),
        )),
        Write::CreateConfig(copy) => Some((
            reasons::RS_CREATE_ERROR,
            format!("Failed to keep a copy, {}: {why}", copy.key),
        )),
        Write::PatchReplicaSet(patch) => Some((
            reasons::RECONCILIATION_ERROR,
            format!("Failed to update replica set {:?}: {why}", patch.name),
        )),
        Write::CreateRun(run) => Some((
            reasons::RECONCILIATION_ERROR,
            format!(
                "Failed to create analysis run {:?}: {why}",
                run.metadata.name.as_deref().unwrap_or_default()
            ),
        )),
        Write::PatchService(patch) => Some((
            reasons::RECONCILIATION_ERROR,
            format!("Failed to update service {:?}: {why}", patch.name),
        )),
        Write::CreateExperiment(experiment) => Some((
            reasons::RECONCILIATION_ERROR,
            format!(
                "Failed to create experiment {:?}: {why}",
                experiment.metadata.name.as_deref().unwrap_or_default()
            ),
        )),
        Write::PatchRollout { .. }
        | Write::PatchWorkload(_)
        | Write::KeepTemplate(_)
        | Write::DropTemplate(_)
        | Write::DeleteConfig(_)
        | Write::ScaleWorkload(_)
        | Write::PatchPods(_)
        | Write::EvictPod { .. }
        | Write::DeleteReplicaSet { .. }
        | Write::TerminateRun { .. }
        | Write::DeleteRun { .. }
        | Write::CreateService(_)
        | Write::DeleteService { .. }
        | Write::TerminateExperiment { .. }
        | Write::DeleteExperiment { .. }
        | Write::Status(_) => None,
    }
}
