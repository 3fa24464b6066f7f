//! One turn of a Rollout: observe, plan, perform, report, and say when to look again.

use std::time::{Duration, Instant};

use super::client::{CallError, Kind};
use super::clock;
use super::controller::Controller;
use super::events::{Regarding, Report};
use super::observe::Sight;
use super::perform::Owner;
use super::queue::Rest;
use super::stores::{Key, ObjectKey};
use crate::planner::observed::{Observed, RolloutSeen};
use crate::planner::plan::{Effect, Event, Outcome, Plan, ReplicaSetPatch, Write};
use crate::planner::turn::{End, Turn};
use crate::planner::{plan_rollout, reasons};

/// Longest turn, all its calls together.
const TURN_LIMIT: Duration = Duration::from_secs(30);
/// Changes of mere counts are written this long after the first of them, all in one.
const COUNTS_WAIT: Duration = Duration::from_millis(250);
/// The same at most, however many Rollouts wait with theirs.
const LONGEST_COUNTS_WAIT: Duration = Duration::from_secs(5);
/// Where many Rollouts move at once, their counts are spread over time so that they take no more
/// than one write in this time, all together: steps and aborts go first.
const COUNTS_PACE: Duration = Duration::from_micros(12_500);

/// What is remembered of a Rollout between turns. Losing it costs a read, never a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// A write's answer was lost: read live before deciding again.
    pub(super) is_in_doubt: bool,
    /// A change of counts that is held back.
    pub(super) counts: Option<Held>,
}

/// A change of counts that is not written yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    /// When the first of them was seen.
    since: Instant,
    /// When they shall be written.
    due: Instant,
}

/// How a turn ended, for the queue and the log.
struct Ended {
    rest: Rest,
    writes: u32,
    failure: Option<String>,
}

impl Ended {
    fn quiet() -> Self {
        Self {
            rest: Rest::Quiet,
            writes: 0,
            failure: None,
        }
    }

    fn failed(why: String, after: Option<Duration>) -> Self {
        let earliest = after.map(|d| clock::instant() + d);
        Self {
            rest: Rest::Failed(earliest),
            writes: 0,
            failure: Some(why),
        }
    }

    /// Looks again at this time at the latest, if at any.
    fn not_later_than(mut self, due: Option<Instant>) -> Self {
        if let Some(due) = due {
            self.rest = match self.rest {
                Rest::Quiet => Rest::At(due),
                Rest::At(wake) => Rest::At(wake.min(due)),
                rest @ (Rest::Again | Rest::Failed(_)) => rest,
            };
        }
        self
    }
}

/// What became of a plan.
struct Carried {
    end: End,
    retry_after: Option<Duration>,
    /// The patch of a ReplicaSet that met a later version.
    lost: Option<ReplicaSetPatch>,
}

impl Controller {
    /// Runs one turn and reports it.
    pub(super) async fn rollout_turn(&self, key: &ObjectKey) -> Rest {
        let started = clock::instant();
        let ended = match tokio::time::timeout(TURN_LIMIT, self.try_rollout(key)).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => Ended::failed(error.to_string(), error.retry_after()),
            Err(_) => {
                self.remember(key, |m| m.is_in_doubt = true);
                Ended::failed(
                    format!("the turn took over {} s", TURN_LIMIT.as_secs()),
                    None,
                )
            }
        };
        let took = started.elapsed();
        let Some(seen) = self.index.seen(key) else {
            self.tell_gone(key);
            self.forget(&Key::Rollout(key.clone()));
            return Rest::Quiet;
        };
        self.stats
            .turn(&Key::Rollout(key.clone()), took, ended.failure.is_some());
        log(&seen, &ended, took);
        ended.rest
    }

    /// Says that a Rollout is gone, once.
    fn tell_gone(&self, key: &ObjectKey) {
        let Some(uid) = self.index.take_gone(key) else {
            return;
        };
        let regarding = Regarding {
            kind: Kind::Rollout,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid,
        };
        let text = format!("Rollout resource deleted: {key}");
        let event = Event::normal(reasons::ROLLOUT_DELETED, text);
        self.report(&Key::Rollout(key.clone()), &regarding, vec![event]);
    }

    async fn try_rollout(&self, key: &ObjectKey) -> Result<Ended, CallError> {
        let is_in_doubt = self.recall(key).is_in_doubt;
        let mut sight = if is_in_doubt {
            Sight::wary()
        } else {
            Sight::default()
        };
        let mut writes = 0;
        for round in 1..=2 {
            let Some((seen, mut plan)) = self.decide(key, &mut sight).await? else {
                return Ok(Ended::quiet());
            };
            let held = self.hold_counts(key, &seen, &mut plan);
            let carried = self.carry_out(key, &seen, plan, held).await;
            let end = carried.end;
            writes += end.writes;
            if !end.replan {
                let ended = self.conclude(&seen.rollout, end, writes, carried.retry_after);
                return Ok(ended.not_later_than(held.map(|h| h.due)));
            }
            // The world moved on: look at it as it is now and decide again, once.
            sight = match carried.lost {
                Some(set) => self.look_again(&seen.rollout, &set).await?,
                None => Sight::wary(),
            };
            for need in end.needs {
                self.answer(key, &seen.rollout, need, &mut sight).await?;
            }
            if round == 2 {
                break;
            }
        }
        let mut ended = Ended::failed("conflicts twice in a row".to_owned(), None);
        ended.writes = writes;
        Ok(ended)
    }

    /// Observes and plans; a plan that lowers capacity is made once more from a live read, and only
    /// what is still in it is performed.
    async fn decide(
        &self,
        key: &ObjectKey,
        sight: &mut Sight,
    ) -> Result<Option<(Observed, Plan)>, CallError> {
        let Some(seen) = self.observe(key, sight).await? else {
            return Ok(None);
        };
        let plan = plan_rollout(&seen);
        if !plan.is_disruptive() || seen.is_fresh {
            return Ok(Some((seen, plan)));
        }
        sight.must_read = true;
        let Some(seen) = self.observe(key, sight).await? else {
            return Ok(None);
        };
        let plan = plan_rollout(&seen);
        Ok(Some((seen, plan)))
    }

    async fn carry_out(
        &self,
        key: &ObjectKey,
        seen: &Observed,
        plan: Plan,
        held: Option<Held>,
    ) -> Carried {
        for note in &plan.notes {
            tracing::debug!(rollout = %key, note = note.0);
        }
        let (mut retry_after, mut lost) = (None, None);
        let mut turn = Turn::new(seen, plan);
        while let Some(effect) = turn.next_effect() {
            let performed = self.perform(Owner::of(&seen.rollout), &effect.write).await;
            retry_after = retry_after.max(performed.retry_after);
            let (what, name) = told(&effect.write);
            tracing::debug!(rollout = %key, what, name, outcome = ?performed.outcome);
            if performed.outcome == Outcome::Conflict
                && let Write::PatchReplicaSet(patch) = effect.write
            {
                lost = Some(patch);
            }
            turn.record(performed.outcome);
        }
        let end = turn.finish();
        self.remember(key, |m| {
            m.counts = held;
            m.is_in_doubt |= end.is_uncertain;
        });
        Carried {
            end,
            retry_after,
            lost,
        }
    }

    /// A ReplicaSet had moved on: it alone is read. What lowers capacity reads everything anyway.
    async fn look_again(
        &self,
        rollout: &RolloutSeen,
        set: &ReplicaSetPatch,
    ) -> Result<Sight, CallError> {
        self.read_set(Owner::of(rollout), &set.name, &set.uid)
            .await?;
        Ok(Sight::default())
    }

    fn conclude(
        &self,
        seen: &RolloutSeen,
        end: End,
        writes: u32,
        retry_after: Option<Duration>,
    ) -> Ended {
        let key = Key::Rollout(ObjectKey::new(&seen.namespace, &seen.name));
        let regarding = Regarding {
            kind: Kind::Rollout,
            namespace: seen.namespace.clone(),
            name: seen.name.clone(),
            uid: seen.uid.clone(),
        };
        self.report(&key, &regarding, end.events);
        if let Some(failure) = end.failure {
            let mut ended = Ended::failed(failure, retry_after);
            ended.writes = writes;
            return ended;
        }
        let rest = end
            .wake
            .time()
            .map_or(Rest::Quiet, |t| Rest::At(instant_of(t)));
        Ended {
            rest,
            writes,
            failure: None,
        }
    }

    /// Reports events of one object.
    pub(super) fn report(&self, key: &Key, regarding: &Regarding, events: Vec<Event>) {
        for event in events {
            self.stats.event(key, event.kind.as_str(), event.reason);
            self.events.report(Report {
                regarding: regarding.clone(),
                kind: event.kind.as_str(),
                reason: event.reason,
                action: reasons::action(event.reason),
                note: event.note,
            });
        }
    }

    /// Takes the status out of a plan that changes nothing in it but counts, and tells when it shall
    /// be written; `None` when that is now, or when there is nothing to hold. No effect rests on a
    /// status that was not read, so what else is in the plan does not wait for it; and what is
    /// resized now changes the counts again at once, so they wait for that.
    fn hold_counts(&self, key: &ObjectKey, seen: &Observed, plan: &mut Plan) -> Option<Held> {
        if plan.urgent || plan.status == *seen.rollout.status {
            return None;
        }
        let now = clock::instant();
        // As long as so many wait now: how many there were when this one began says nothing.
        let wait = counts_wait(self.remembered());
        let since = self.recall(key).counts.map_or(now, |held| held.since);
        let due = if plan.effects.iter().all(is_status) {
            since + wait
        } else {
            now + wait
        };
        let held = Held {
            since,
            due: due.min(since + LONGEST_COUNTS_WAIT),
        };
        if held.due <= now {
            return None;
        }
        // What comes after a status rests on it.
        let at = plan.effects.iter().position(is_status);
        plan.effects.truncate(at.unwrap_or(plan.effects.len()));
        if plan.effects.is_empty() {
            // They are told when what they tell is written.
            plan.events.clear();
        }
        Some(held)
    }
}

/// How long counts wait where so many Rollouts have something to wait with.
fn counts_wait(waiting: usize) -> Duration {
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    COUNTS_PACE
        .saturating_mul(waiting)
        .clamp(COUNTS_WAIT, LONGEST_COUNTS_WAIT)
}

/// A write in a word, and the name of what it is about; contents stay out of logs.
pub(super) fn told(write: &Write) -> (&'static str, &str) {
    match write {
        Write::PatchRollout { .. } => ("patch rollout", ""),
        Write::CreateReplicaSet(set) => ("create replicaset", &set.name),
        Write::PatchReplicaSet(patch) => ("patch replicaset", &patch.name),
        Write::KeepTemplate(kept) => ("keep template", &kept.name),
        Write::DropTemplate(kept) => ("drop template", &kept.what),
        Write::CreateConfig(copy) => ("keep a copy", &copy.key.name),
        Write::DeleteConfig(copy) => ("delete a copy", &copy.what.name),
        Write::PatchWorkload(patch) => ("patch workload", &patch.key.name),
        Write::ScaleWorkload(scale) => ("scale workload", &scale.key.name),
        Write::PatchPods(_) => ("patch pods", ""),
        Write::EvictPod { name, .. } => ("evict pod", name),
        Write::DeleteReplicaSet { name, .. } => ("delete replicaset", name),
        Write::CreateRun(run) => (
            "create analysisrun",
            run.metadata.name.as_deref().unwrap_or_default(),
        ),
        Write::TerminateRun { name, .. } => ("terminate analysisrun", name),
        Write::DeleteRun { name, .. } => ("delete analysisrun", name),
        Write::PatchService(patch) => ("patch service", &patch.name),
        Write::CreateService(service) => ("create service", &service.name),
        Write::DeleteService { name, .. } => ("delete service", name),
        Write::CreateExperiment(experiment) => (
            "create experiment",
            experiment.metadata.name.as_deref().unwrap_or_default(),
        ),
        Write::TerminateExperiment { name, .. } => ("terminate experiment", name),
        Write::DeleteExperiment { name, .. } => ("delete experiment", name),
        Write::Status(_) => ("status", ""),
    }
}

fn is_status(effect: &Effect) -> bool {
    matches!(effect.write, Write::Status(_))
}

/// The monotonic time of a wall-clock time.
pub(super) fn instant_of(t: jiff::Timestamp) -> Instant {
    clock::instant() + clock::until(t)
}

/// One line a turn: turns that changed something or failed are told, the others only on request.
fn log(seen: &RolloutSeen, ended: &Ended, took: Duration) {
    let rollout = format_args!("{}/{}", seen.namespace, seen.name).to_string();
    let revision = seen
        .annotations
        .get(crate::api::REVISION)
        .map_or("", String::as_str);
    let step = seen.status.current_step_index;
    let phase = seen.status.phase.as_deref().unwrap_or_default();
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let wake = match ended.rest {
        Rest::At(t) => Some(t.saturating_duration_since(clock::instant()).as_secs_f64()),
        Rest::Quiet | Rest::Again | Rest::Failed(_) => None,
    };
    let effects = ended.writes;
    if let Some(error) = &ended.failure {
        tracing::warn!(%rollout, revision, step, phase, effects, wake, millis, error, "turn failed");
    } else if effects > 0 {
        tracing::info!(%rollout, revision, step, phase, effects, wake, millis, "turn");
    } else {
        tracing::debug!(%rollout, revision, step, phase, effects, wake, millis, "turn");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_many_rollouts_are_spread_and_never_wait_long() {
        assert_eq!(counts_wait(1), COUNTS_WAIT);
        assert_eq!(counts_wait(100), Duration::from_millis(1250));
        assert_eq!(counts_wait(usize::MAX), LONGEST_COUNTS_WAIT);
    }
}
