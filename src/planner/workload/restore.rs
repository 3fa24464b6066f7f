//! The way back from a Rollout to its Deployment: while `serin.dev/restore-on-delete` is set, a
//! finalizer holds a Rollout that is deleted until the Deployment has its pods again. Rests on the
//! outline of the spec alone: a spec that has become invalid must not cost a single pod.

use std::sync::Arc;

use super::{Found, WorkloadKey, WorkloadKind};
use crate::api::{FINALIZER, RESTORE_ON_DELETE};
use crate::planner::draft::{Draft, after};
use crate::planner::observed::Observed;
use crate::planner::plan::{Effect, Event, Note, Plan, ScaleWorkload, StatusWrite, Write};
use crate::planner::reasons;

/// Holds the Rollout where its end is to restore the workload, and lets it go where it is not.
pub(super) fn hold(d: &mut Draft<'_>) {
    let is_wanted = is_asked(d.seen) && deployment(d.seen).is_some();
    if is_held(d.seen) == is_wanted {
        return;
    }
    let mut finalizers = d.seen.rollout.finalizers.clone();
    finalizers.retain(|f| f != FINALIZER);
    if is_wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    d.finalizers = Some(finalizers);
}

fn is_held(seen: &Observed) -> bool {
    seen.rollout.finalizers.iter().any(|f| f == FINALIZER)
}

fn is_asked(seen: &Observed) -> bool {
    let asked = seen.rollout.annotations.get(RESTORE_ON_DELETE);
    asked.is_some_and(|value| value == "true")
}

fn deployment(seen: &Observed) -> Option<&WorkloadKey> {
    let key = seen.rollout.outline.workload.as_ref()?;
    (key.kind == WorkloadKind::Deployment).then_some(key)
}

/// As many pods as the Rollout is to have; where that is no number, as many as it has.
fn wanted(seen: &Observed) -> u32 {
    let sets = seen.replica_sets.iter();
    let has = || sets.fold(0_u32, |sum, rs| sum.saturating_add(rs.replicas));
    seen.rollout.outline.replicas.unwrap_or_else(has)
}

/// The Deployment that a deleted Rollout is held for.
pub(super) fn restored(seen: &Observed) -> Option<&WorkloadKey> {
    deployment(seen).filter(|_| is_held(seen) && is_asked(seen))
}

/// The Rollout is being deleted and held: the Deployment gets its pods back first, and the Rollout's
/// go only when those are available. Taking the annotation away ends the wait at once.
pub(crate) fn restore(seen: &Observed) -> Option<Plan> {
    if !is_held(seen) {
        return None;
    }
    let wanted = wanted(seen);
    let ready = |why: String| Some(let_go(seen, why));
    if !is_asked(seen) {
        return ready(format!("{RESTORE_ON_DELETE} is not asked for any more"));
    }
    let Some(key) = deployment(seen) else {
        return match seen.rollout.spec {
            Ok(_) => ready("there is no Deployment to restore".to_owned()),
            // It was held for one: which one cannot be told any more, and a person can.
            Err(_) => {
                let why = "spec.workloadRef cannot be read, so which Deployment is to get its pods back is not known: name it there again";
                Some(waiting(seen, why.to_owned()))
            }
        };
    };
    match seen.answers.workload.as_ref() {
        None => None,
        Some(Found::Absent) => ready(format!("{key} is gone: there is nothing to restore")),
        Some(Found::Refused(why)) => Some(waiting(seen, format!("{key} cannot be read: {why}"))),
        Some(Found::There(found)) if found.replicas < wanted => {
            let mut plan = waiting(seen, format!("{key} gets its {wanted} pods back"));
            let write = Write::ScaleWorkload(ScaleWorkload {
                key: key.clone(),
                version: found.version.clone(),
                from: found.replicas,
                replicas: wanted,
                before: None,
            });
            let text = format!("Scaled up {key} from {} to {wanted}", found.replicas);
            plan.events.push(Event::normal(reasons::SCALING_RS, text));
            plan.effects.insert(
                0,
                Effect {
                    write,
                    disruptive: false,
                },
            );
            Some(plan)
        }
        Some(Found::There(found)) if found.available < wanted => {
            let text = format!("{key} has {} of {wanted} pods available", found.available);
            Some(waiting(seen, text))
        }
        Some(Found::There(_)) => ready(format!("{key} has its {wanted} pods back")),
    }
}

/// Looks again, and says in the status what is waited for and how to end the wait.
fn waiting(seen: &Observed, why: String) -> Plan {
    let mut next = (*seen.rollout.status).clone();
    let message = format!(
        "being deleted: {why}; to delete at once: kubectl annotate rollout {} {RESTORE_ON_DELETE}-",
        seen.rollout.name
    );
    next.phase = Some(reasons::PHASE_PROGRESSING.to_owned());
    next.message = Some(message.clone());
    let mut plan = Plan {
        notes: vec![Note(message)],
        urgent: true,
        ..Plan::default()
    };
    plan.wake.at(after(seen.now, 5));
    if next != *seen.rollout.status {
        let write = StatusWrite {
            before: Arc::clone(&seen.rollout.status),
            after: next.clone(),
            version: seen.rollout.version.clone(),
        };
        plan.effects.push(Effect {
            write: Write::Status(Box::new(write)),
            disruptive: false,
        });
    }
    plan.status = next;
    plan
}

fn let_go(seen: &Observed, why: String) -> Plan {
    let mut finalizers = seen.rollout.finalizers.clone();
    finalizers.retain(|f| f != FINALIZER);
    let write = Write::PatchRollout {
        patch: serde_json::json!({"metadata": {"finalizers": finalizers}}),
        version: seen.rollout.version.clone(),
    };
    let mut plan = Plan {
        status: (*seen.rollout.status).clone(),
        notes: vec![Note(why.clone())],
        urgent: true,
        ..Plan::default()
    };
    plan.events
        .push(Event::normal(reasons::WORKLOAD_RESTORED, why));
    // The Rollout's pods go with it: it rests on what was read in this very turn.
    plan.effects.push(Effect {
        write,
        disruptive: true,
    });
    plan
}
