//! `workloadRef`: the pod template comes from a Deployment, a ReplicaSet or a PodTemplate, and a
//! Deployment makes room for the Rollout's pods, or takes its own back (contract W1–W3). The Rollout
//! itself is never rewritten: what it refers to is resolved into what a turn sees.

use std::sync::Arc;

use serde_json::Value;

use super::draft::{Draft, after};
use super::fault::Fault;
use super::lower;
use super::observed::{Need, Observed, ReplicaSetSeen, RolloutSeen};
use super::plan::{Event, ScaleWorkload};
use super::reasons;
use super::revision::{self, Sets};
use super::spec::{LabelsJson, SelectorJson, Spec};
use crate::api::{PodTemplate, REPLICAS_BEFORE, WORKLOAD_GENERATION};

mod restore;

pub(crate) use restore::restore;

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
    let key = match seen.rollout.is_deleting {
        true => restore::restored(seen)?,
        false => &reference(seen)?.key,
    };
    let is_known = seen.answers.workload.is_some();
    (!is_known).then(|| Need::Workload(key.clone()))
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

/// The workload that the template comes from, as it was read.
pub(crate) fn used(seen: &Observed) -> Option<(&WorkloadKey, &WorkloadSeen)> {
    Some((&reference(seen)?.key, there(seen)?))
}

/// The full pod template of this turn: the workload's, or the Rollout's own.
pub(crate) fn template(seen: &Observed) -> Option<&PodTemplate> {
    if reference(seen).is_some() {
        return there(seen).map(|workload| &workload.template);
    }
    seen.answers.template.as_ref()
}

/// The Rollout with the template and selector of what it refers to, or with the faults of that. Where
/// the workload is not there any more, what runs stays what it is: its ReplicaSets have templates of
/// their own. Called by whoever observes, so that the planner sees one shape only; nothing of it is
/// ever written back.
pub fn resolved(
    rollout: RolloutSeen,
    sets: &[ReplicaSetSeen],
    found: Option<&Found>,
) -> RolloutSeen {
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
    let (spec, digest) = match found {
        Found::There(seen) => {
            let spec = lower::with_workload(spec, &workload.key, seen);
            let digest = revision::template_digest(&seen.template);
            (spec.map(Arc::new).map_err(Arc::new), digest)
        }
        Found::Absent | Found::Refused(_) => match revision::running(&rollout, sets) {
            Some(digest) => (Ok(Arc::new(running_spec(&rollout, spec))), digest),
            None => {
                let faults = fault(&workload.key, found).into_iter().collect();
                (Err(Arc::new(faults)), String::new())
            }
        },
    };
    RolloutSeen {
        spec,
        template_digest: digest,
        ..rollout
    }
}

/// The spec with the selector that was in use, for looking at what is there: nothing is made by it.
fn running_spec(rollout: &RolloutSeen, spec: &Spec) -> Spec {
    let known = rollout.status.selector.clone().unwrap_or_default();
    Spec {
        selector_text: match spec.selector_text.is_empty() {
            true => known,
            false => spec.selector_text.clone(),
        },
        ..spec.clone()
    }
}

fn fault(key: &WorkloadKey, found: &Found) -> Option<Fault> {
    let message = match found {
        Found::There(_) => return None,
        Found::Absent => {
            format!("{key} is not found in this namespace: create it, or correct the name")
        }
        Found::Refused(why) => {
            format!("{key} cannot be read: {why}; the controller needs the right to get it")
        }
    };
    let name = format!("{:?}", key.name);
    Some(Fault::invalid("spec.workloadRef", name, message))
}

/// A workload that is lost is told, and starts nothing; sizes, commands and the way back go on.
pub(crate) fn check(d: &mut Draft<'_>) {
    let found = d.seen.answers.workload.as_ref();
    let (Some(workload), Some(found)) = (reference(d.seen), found) else {
        return;
    };
    if let Some(fault) = fault(&workload.key, found) {
        d.faults.push(fault);
        d.wake.at(after(d.now(), AGAIN));
    }
}

/// True where there is no template now, because the workload is not there.
pub(crate) fn is_lost(seen: &Observed) -> bool {
    reference(seen).is_some() && may_come(seen)
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
    restore::hold(d);
    if is_lost(d.seen) {
        return;
    }
    let generation = there(d.seen).map(|w| w.generation.to_string());
    let annotations = &d.seen.rollout.annotations;
    if annotations.get(WORKLOAD_GENERATION) != generation.as_ref() {
        d.annotations
            .insert(WORKLOAD_GENERATION.to_owned(), generation.clone());
    }
    d.next.workload_observed_generation = generation;
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
    if target < seen.replicas
        && let Some(why) = too_small(d, sets, &workload.key, seen)
    {
        // Said once, when it would have been done, and to whoever asks after that.
        if have >= replicas && is_moving_in(d, sets) {
            d.event(Event::warning(reasons::WORKLOAD_KEPT, why.clone()));
        }
        return d.note(why);
    }
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

/// Why the Deployment keeps its pods: the Rollout is not meant to have as many, so that to take them
/// would leave less than there was. Once it has taken over, its size is its own affair: an autoscaler
/// may have made it smaller, and what a manifest brings back then is a version that nobody judged.
fn too_small(
    d: &Draft<'_>,
    sets: &Sets<'_>,
    key: &WorkloadKey,
    seen: &WorkloadSeen,
) -> Option<String> {
    let size = seen.before.unwrap_or(0).max(seen.replicas);
    let is_taking_over = seen.before.is_none() || is_moving_in(d, sets);
    let replicas = d.spec.replicas;
    let is_too_small = replicas < size || (d.spec.replicas_unset && size > 1);
    (is_taking_over && is_too_small).then(|| {
        format!(
            "{key} has {size} pods and spec.replicas is {replicas}: nothing is taken from it; set spec.replicas to {size}, or scale {key} down to {replicas} first"
        )
    })
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

/// The spec with what the workload gives: template labels and, where the Rollout names none, selector.
pub(super) fn spec_with(spec: &Spec, selector: (Value, String), template: &PodTemplate) -> Spec {
    Spec {
        selector: SelectorJson::of(&selector.0),
        selector_text: selector.1,
        template_labels: LabelsJson::of(&template.labels()),
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests;
