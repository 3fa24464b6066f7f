//! `workloadRef`: the pod template comes from a Deployment, a ReplicaSet or a PodTemplate, and a
//! Deployment makes room for the Rollout's pods, or takes its own back (contract W1–W3). The Rollout
//! itself is never rewritten: what it refers to is resolved into what a turn sees.

use std::sync::Arc;

use serde_json::Value;

use super::draft::{Draft, after};
use super::fault::Fault;
use super::lower;
use super::observed::{Need, Observed, RolloutSeen};
use super::plan::{Effect, Event, Note, Plan, ScaleWorkload, StatusWrite, Write};
use super::reasons;
use super::revision::{self, Sets};
use super::spec::Spec;
use crate::api::{FINALIZER, PodTemplate, REPLICAS_BEFORE, RESTORE_ON_DELETE, WORKLOAD_GENERATION};

/// Kinds that a Rollout may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` ReplicaSet.
    ReplicaSet,
    /// `v1` PodTemplate.
    PodTemplate,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::ReplicaSet, Self::PodTemplate];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::PodTemplate => "PodTemplate",
        }
    }

    /// Its `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::ReplicaSet => "apps/v1",
            Self::PodTemplate => "v1",
        }
    }
}

/// One workload in the Rollout's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadKey {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// `spec.workloadRef` after `lower`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Which one.
    pub key: WorkloadKey,
    /// When a Deployment gives its pods up.
    pub scale_down: ScaleDown,
}

/// When a referenced Deployment gives its pods up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleDown {
    /// It is left as it is.
    Never,
    /// When the Rollout has all its pods, at every revision.
    OnSuccess,
    /// One for each pod that the Rollout has.
    Progressively,
}

/// A workload as it was read live in this turn.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSeen {
    /// Version decided on.
    pub version: String,
    /// `metadata.generation`; 0 where the kind has none.
    pub generation: i64,
    /// The pod template as stored.
    pub template: PodTemplate,
    /// The selector as stored (JSON of a LabelSelector).
    pub selector: Option<Value>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `status.availableReplicas`, where it speaks of this generation.
    pub available: u32,
    /// `serin.dev/replicas-before`: its size before we made it smaller.
    pub before: Option<u32>,
}

impl WorkloadSeen {
    /// Reads a workload as the API server answers it.
    pub fn of(kind: WorkloadKind, object: &Value) -> Self {
        let at = |path: &str| object.pointer(path);
        let number = |path: &str| {
            at(path)
                .and_then(Value::as_u64)
                .and_then(|n| u32::try_from(n).ok())
        };
        let text = |path: &str| {
            at(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let template = match kind {
            WorkloadKind::Deployment | WorkloadKind::ReplicaSet => "/spec/template",
            WorkloadKind::PodTemplate => "/template",
        };
        let generation = at("/metadata/generation")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let observed = at("/status/observedGeneration").and_then(Value::as_i64);
        let available =
            number("/status/availableReplicas").filter(|_| observed >= Some(generation));
        let annotations = at("/metadata/annotations");
        let before = annotations
            .and_then(|a| a.get(REPLICAS_BEFORE))
            .and_then(Value::as_str);
        Self {
            version: text("/metadata/resourceVersion"),
            generation,
            template: PodTemplate::new(at(template).cloned().unwrap_or_default()),
            selector: at("/spec/selector").cloned(),
            replicas: number("/spec/replicas").unwrap_or(1),
            available: available.unwrap_or(0),
            before: before.and_then(|n| n.parse().ok()),
        }
    }
}

/// What became of the look at a workload.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It is this.
    There(Arc<WorkloadSeen>),
    /// A live read found none.
    Absent,
    /// The API server would not show it, and why.
    Refused(String),
}

/// What must be known before anything else: the workload that the Rollout takes its template from, or
/// whose size is to be restored.
pub(crate) fn needs(seen: &Observed) -> Option<Need> {
    let workload = reference(seen)?;
    if seen.rollout.is_deleting && !is_held(seen) {
        return None;
    }
    let is_known = seen.answers.workload.is_some();
    (!is_known).then(|| Need::Workload(workload.key.clone()))
}

fn reference(seen: &Observed) -> Option<&Workload> {
    seen.rollout.spec.as_ref().ok()?.workload.as_ref()
}

fn there(seen: &Observed) -> Option<&Arc<WorkloadSeen>> {
    match seen.answers.workload.as_ref()? {
        Found::There(workload) => Some(workload),
        Found::Absent | Found::Refused(_) => None,
    }
}

/// The full pod template of this turn: the workload's, or the Rollout's own.
pub(crate) fn template(seen: &Observed) -> Option<&PodTemplate> {
    if reference(seen).is_some() {
        return there(seen).map(|workload| &workload.template);
    }
    seen.answers.template.as_ref()
}

/// The Rollout with the template and selector of what it refers to, or with the faults of that. Called
/// by whoever observes, so that the planner sees one shape only; nothing of it is ever written back.
pub fn resolved(rollout: RolloutSeen, found: Option<&Found>) -> RolloutSeen {
    let Ok(spec) = &rollout.spec else {
        return rollout;
    };
    let (Some(workload), Some(found)) = (&spec.workload, found) else {
        return rollout;
    };
    // Nothing is made of it any more; its size is all that counts.
    if rollout.is_deleting {
        return rollout;
    }
    let path = "spec.workloadRef";
    let refuse = |message: String| {
        let name = format!("{:?}", workload.key.name);
        Err(Arc::new(vec![Fault::invalid(path, name, message)]))
    };
    let (spec, digest) = match found {
        Found::Absent => {
            let message = format!(
                "{} is not found in this namespace: create it, or correct the name",
                workload.key
            );
            (refuse(message), String::new())
        }
        Found::Refused(why) => {
            let message = format!(
                "{} cannot be read: {why}; the controller needs the right to get it",
                workload.key
            );
            (refuse(message), String::new())
        }
        Found::There(seen) => {
            let spec = lower::with_workload(spec, &workload.key, seen);
            let digest = revision::template_digest(&seen.template);
            (spec.map(Arc::new).map_err(Arc::new), digest)
        }
    };
    RolloutSeen {
        spec,
        template_digest: digest,
        ..rollout
    }
}

/// True when a look again is worth while although the spec cannot be used.
pub(crate) fn may_come(seen: &Observed) -> bool {
    matches!(
        seen.answers.workload,
        Some(Found::Absent | Found::Refused(_))
    )
}

/// Seconds until a workload that is not there is looked for again (A36).
pub(crate) const AGAIN: i64 = 20;

/// Records which generation of the workload is in use, and holds the Rollout where its end is to
/// restore the workload.
pub(crate) fn record(d: &mut Draft<'_>) {
    let generation = there(d.seen).map(|w| w.generation.to_string());
    let annotations = &d.seen.rollout.annotations;
    if annotations.get(WORKLOAD_GENERATION) != generation.as_ref() {
        d.annotations
            .insert(WORKLOAD_GENERATION.to_owned(), generation.clone());
    }
    d.next.workload_observed_generation = generation;
    let held = is_held(d.seen);
    let wanted = wants_restore(d.seen);
    if held == wanted {
        return;
    }
    let mut finalizers = d.seen.rollout.finalizers.clone();
    finalizers.retain(|f| f != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    d.finalizers = Some(finalizers);
}

fn is_held(seen: &Observed) -> bool {
    seen.rollout.finalizers.iter().any(|f| f == FINALIZER)
}

/// `serin.dev/restore-on-delete` is set and there is something to restore.
fn wants_restore(seen: &Observed) -> bool {
    let asked = seen.rollout.annotations.get(RESTORE_ON_DELETE);
    let is_deployment = reference(seen).is_some_and(|w| w.key.kind == WorkloadKind::Deployment);
    asked.is_some_and(|value| value == "true") && is_deployment
}

/// Takes pods from the Deployment, as far as the Rollout has pods in their place: at every revision,
/// for whoever applies its manifest again brings its size back (argo-rollouts#4935, #4321).
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let Some(workload) = reference(d.seen) else {
        return;
    };
    let Some(seen) = there(d.seen) else { return };
    let replicas = d.spec.replicas;
    // A Rollout at 0, or without a version of its own, is no reason to take anything from anybody.
    if replicas == 0
        || d.read().stable_rs.is_none()
        || workload.key.kind != WorkloadKind::Deployment
    {
        return;
    }
    let have = sets
        .all()
        .fold(0_u32, |sum, rs| sum.saturating_add(rs.available));
    let target = match workload.scale_down {
        ScaleDown::Never => return,
        ScaleDown::OnSuccess if have < replicas => return,
        ScaleDown::OnSuccess => 0,
        ScaleDown::Progressively => replicas.saturating_sub(have),
    };
    let target = if target <= seen.replicas {
        target
    } else if is_moving_in(d, sets) {
        // Pods of ours went away again on the way: theirs come back, never more than there were.
        target
            .min(seen.before.unwrap_or(seen.replicas))
            .max(seen.replicas)
    } else {
        return;
    };
    if target != seen.replicas {
        resize(d, &workload.key, seen, target);
    }
}

/// The first revision is still on its way to its first full size.
fn is_moving_in(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let is_first = sets.stable.is_none() && sets.older.is_empty() && sets.canary.revision <= 1;
    let settled = d.read().serin.as_ref().and_then(|s| s.settled);
    is_first && settled != Some(true)
}

fn resize(d: &mut Draft<'_>, key: &WorkloadKey, seen: &WorkloadSeen, replicas: u32) {
    let word = if replicas > seen.replicas {
        "up"
    } else {
        "down"
    };
    let text = format!("Scaled {word} {key} from {} to {replicas}", seen.replicas);
    d.event(Event::normal(reasons::SCALING_RS, text));
    d.scale_workload(ScaleWorkload {
        key: key.clone(),
        version: seen.version.clone(),
        from: seen.replicas,
        replicas,
        before: Some(seen.before.unwrap_or(0).max(seen.replicas)),
    });
}

/// The Rollout is being deleted and held: the Deployment gets its pods back first, and the Rollout's
/// go only when those are available. Taking the annotation away ends the wait at once.
pub(crate) fn restore(seen: &Observed) -> Option<Plan> {
    if !is_held(seen) {
        return None;
    }
    let wanted = seen.rollout.spec.as_ref().map_or(0, |spec| spec.replicas);
    let ready = |why: String| Some(let_go(seen, why));
    if !wants_restore(seen) {
        return ready(format!("{RESTORE_ON_DELETE} is not asked for any more"));
    }
    let Some(workload) = reference(seen) else {
        return ready("there is no Deployment to restore".to_owned());
    };
    let key = &workload.key;
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

/// The spec with what the workload gives: template labels and, where the Rollout names none, selector.
pub(super) fn spec_with(spec: &Spec, selector: (Value, String), template: &PodTemplate) -> Spec {
    Spec {
        selector: selector.0,
        selector_text: selector.1,
        template_labels: template.labels(),
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests;
