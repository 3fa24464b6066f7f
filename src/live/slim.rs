//! Objects as they are kept: made smaller while they are read, so that a pod template never stays
//! in memory. A Rollout that cannot be decoded keeps its metadata and carries the fault instead of
//! a spec: one bad object is a note, never an outage.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny};
use serde_json::Value;

use super::watch::{Versioned, number};
use crate::api::rollout::WorkloadRef;
use crate::api::{self, AnalysisRun, ClusterFreezeWindowSpec, RolloutStatus};
use crate::planner::fault::Fault;
use crate::planner::freeze::Window;
use crate::planner::observed::{Outline, ReplicaSetSeen, RolloutSeen};
use crate::planner::{lower, origin, revision};

/// Annotation that kubectl leaves: a second copy of the whole manifest, which nobody needs here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Rollout with its spec lowered and its pod template reduced to a digest.
#[derive(Clone, Debug)]
pub struct SlimRollout(pub Arc<RolloutSeen>);

impl Versioned for SlimRollout {
    fn version(&self) -> &str {
        &self.0.version
    }

    fn namespace(&self) -> &str {
        &self.0.namespace
    }
}

impl<'de> Deserialize<'de> for SlimRollout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireRollout::deserialize(deserializer).map(Self::from)
    }
}

impl From<WireRollout> for SlimRollout {
    fn from(wire: WireRollout) -> Self {
        Self(Arc::new(slim_rollout(wire)))
    }
}

/// A Rollout on the wire, reduced to what is used and not understood yet: most of what a watch tells
/// are our own writes, which are known already, and to understand a Rollout costs more than to read
/// it. Of the metadata, the list of who wrote which field is larger than all the rest.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct WireRollout {
    metadata: Meta,
    spec: Value,
    status: Value,
}

impl WireRollout {
    /// Namespace and name.
    pub fn place(&self) -> (&str, &str) {
        (self.namespace(), &self.metadata.name)
    }

    /// The pod template, where there is one.
    pub fn template(&self) -> Option<api::PodTemplate> {
        self.spec
            .get("template")
            .cloned()
            .map(api::PodTemplate::new)
    }
}

impl Versioned for WireRollout {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// What of an object's metadata is read.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: i64,
    pub(super) creation_timestamp: Option<Timestamp>,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    finalizers: Option<Vec<String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) owner_references: Option<Vec<Owner>>,
}

impl Meta {
    pub(super) fn owner(&self) -> Option<&str> {
        let owners = self.owner_references.as_deref().unwrap_or_default();
        owners
            .iter()
            .find(|o| o.controller == Some(true))
            .map(|o| o.uid.as_str())
    }

    fn created(&self) -> Timestamp {
        self.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// An owner reference.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) uid: String,
    controller: Option<bool>,
}

impl Owner {
    /// This is the one that controls the object.
    pub(super) fn is_controller(&self) -> bool {
        self.controller == Some(true)
    }
}

/// The Rollout as the planner sees it. Never fails: what cannot be decoded is a fault in the spec.
fn slim_rollout(wire: WireRollout) -> RolloutSeen {
    let meta = wire.metadata;
    let outline = outline(&wire.spec);
    let (spec, template_digest, status) = match decoded(&meta.name, wire.spec, wire.status) {
        Ok(rollout) => {
            let digest = rollout
                .spec
                .template
                .as_ref()
                .map(revision::template_digest);
            let spec = lower::lower(&rollout).map(Arc::new).map_err(Arc::new);
            (
                spec,
                digest.unwrap_or_default(),
                rollout.status.unwrap_or_default(),
            )
        }
        Err(error) => {
            let fault = Fault {
                path: "spec".to_owned(),
                message: format!("Invalid value: the object cannot be decoded: {error}"),
            };
            (
                Err(Arc::new(vec![fault])),
                String::new(),
                RolloutStatus::default(),
            )
        }
    };
    let created = meta.created();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    RolloutSeen {
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name,
        uid: meta.uid,
        version: meta.resource_version,
        generation: meta.generation,
        created,
        is_deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.unwrap_or_default(),
        labels: Arc::new(meta.labels.unwrap_or_default()),
        annotations: Arc::new(annotations),
        spec,
        outline,
        template_digest,
        status: Arc::new(status),
    }
}

/// Read from the spec as it is: also where the rest cannot be decoded.
fn outline(spec: &Value) -> Outline {
    let replicas = spec.get("replicas").and_then(Value::as_i64);
    let workload = spec.get("workloadRef");
    let workload = workload.and_then(|w| WorkloadRef::deserialize(w).ok());
    lower::outline(replicas, workload.as_ref())
}

fn decoded(name: &str, spec: Value, status: Value) -> serde_json::Result<api::Rollout> {
    // Some rules are about the name: pods carry it, cut where it is long.
    let mut rollout = api::Rollout::new(name, serde_json::from_value(spec)?);
    rollout.status = serde_json::from_value(status)?;
    Ok(rollout)
}

/// A ReplicaSet without its template, and who controls it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlimReplicaSet {
    /// Namespace.
    pub namespace: String,
    /// Uid of the controller, if it has one.
    pub owner: Option<String>,
    /// What the planner sees.
    pub seen: ReplicaSetSeen,
}

impl Versioned for SlimReplicaSet {
    fn version(&self) -> &str {
        &self.seen.version
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// A ReplicaSet on the wire, reduced to what is used: serde skips the rest without keeping it.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct WireSet {
    metadata: SetMeta,
    spec: SetSpec,
    status: SetStatus,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetMeta {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    generation: i64,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<IgnoredAny>,
    labels: Option<SetLabels>,
    annotations: Option<SetAnnotations>,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct SetLabels {
    #[serde(rename = "rollouts-pod-template-hash")]
    hash: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct SetAnnotations {
    #[serde(rename = "rollout.argoproj.io/revision")]
    revision: Option<String>,
    #[serde(rename = "rollout.argoproj.io/revision-history")]
    revision_history: Option<String>,
    #[serde(rename = "rollout.argoproj.io/desired-replicas")]
    desired_replicas: Option<String>,
    #[serde(rename = "scale-down-deadline")]
    scale_down_deadline: Option<String>,
    #[serde(rename = "serin.dev/template")]
    template: Option<String>,
    #[serde(rename = "serin.dev/template-also")]
    template_also: Option<String>,
    #[serde(rename = "rollout.argoproj.io/ephemeral-metadata")]
    ephemeral: Option<String>,
    #[serde(rename = "serin.dev/injected")]
    injected: Option<String>,
    #[serde(rename = "serin.dev/copied")]
    copied: Option<String>,
    #[serde(rename = "serin.dev/config")]
    config: Option<String>,
    #[serde(rename = "serin.dev/created")]
    created: Option<String>,
    #[serde(rename = "serin.dev/was-stable")]
    was_stable: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetSpec {
    replicas: Option<u32>,
    min_ready_seconds: Option<u32>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetStatus {
    replicas: Option<u32>,
    ready_replicas: Option<u32>,
    available_replicas: Option<u32>,
    observed_generation: Option<i64>,
    conditions: Option<Vec<SetCondition>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct SetCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

impl<'de> Deserialize<'de> for SlimReplicaSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireSet::deserialize(deserializer).map(Self::from)
    }
}

impl From<WireSet> for SlimReplicaSet {
    fn from(wire: WireSet) -> Self {
        let WireSet {
            metadata: meta,
            spec,
            status,
        } = wire;
        let notes = meta.annotations.unwrap_or_default();
        let owners = meta.owner_references.unwrap_or_default();
        let owner = owners
            .into_iter()
            .find(|o| o.controller == Some(true))
            .map(|o| o.uid);
        let failure = status
            .conditions
            .unwrap_or_default()
            .into_iter()
            .find_map(|c| {
                let is_failure = c.kind == "ReplicaFailure" && c.status == "True";
                is_failure.then(|| (c.reason.unwrap_or_default(), c.message.unwrap_or_default()))
            });
        let made = meta.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
        let seen = ReplicaSetSeen {
            name: meta.name,
            uid: meta.uid,
            version: meta.resource_version,
            created: origin::created(notes.created.as_deref(), made),
            was_stable: origin::was_stable(notes.was_stable.as_deref()),
            hash: meta.labels.and_then(|l| l.hash).unwrap_or_default(),
            revision: notes.revision.and_then(|r| r.parse().ok()).unwrap_or(0),
            revision_history: notes.revision_history,
            desired_replicas: notes.desired_replicas.and_then(|r| r.parse().ok()),
            scale_down_deadline: notes.scale_down_deadline.and_then(|t| t.parse().ok()),
            template_digest: revision::recorded(
                notes.template.as_deref(),
                notes.template_also.as_deref(),
            ),
            ephemeral: notes.ephemeral,
            injected: notes.injected,
            copied: notes.copied,
            config: notes.config,
            is_deleting: meta.deletion_timestamp.is_some(),
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            current: status.replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            is_observed: status.observed_generation.unwrap_or(0) >= meta.generation,
            failure,
        };
        Self {
            namespace: meta.namespace,
            owner,
            seen,
        }
    }
}

/// A freeze window, lowered; one that cannot be decoded freezes and says so.
#[derive(Clone, Debug)]
pub struct SlimFreeze {
    /// Namespace; `None` for a ClusterFreezeWindow.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The window.
    pub window: Arc<Window>,
}

impl Versioned for SlimFreeze {
    fn version(&self) -> &str {
        &self.version
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

/// A window of either kind: the one is the other with a list of namespaces.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct WireFreeze {
    metadata: Meta,
    spec: Value,
}

impl<'de> Deserialize<'de> for SlimFreeze {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireFreeze { metadata, spec } = WireFreeze::deserialize(deserializer)?;
        let namespace = metadata.namespace;
        let spec = serde_json::from_value(spec).unwrap_or_else(|error| ClusterFreezeWindowSpec {
            // No zone has this name: the window freezes, and says what is wrong.
            reason: format!("the object cannot be decoded: {error}"),
            time_zone: Some("unreadable".to_owned()),
            ..ClusterFreezeWindowSpec::default()
        });
        Ok(Self {
            window: Arc::new(Window::of(namespace.as_deref(), &metadata.name, spec)),
            namespace,
            name: metadata.name,
            version: metadata.resource_version,
        })
    }
}

/// Reads an object that is kept whole but for its managed fields: what every object has, and the
/// object or why it cannot be decoded.
pub(super) fn whole<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<(Meta, Result<T, String>), D::Error> {
    let mut object = Value::deserialize(deserializer)?;
    let meta = object.get("metadata");
    let meta = meta.and_then(|m| Meta::deserialize(m).ok());
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let decoded = serde_json::from_value(object).map_err(|e| e.to_string());
    Ok((meta.unwrap_or_default(), decoded))
}

/// An AnalysisRun, or what is left of one that cannot be decoded.
#[derive(Clone, Debug)]
pub struct SlimRun {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Uid of the controller, if it has one.
    pub owner: Option<String>,
    /// The run, or why it cannot be read.
    pub run: Result<Arc<AnalysisRun>, String>,
}

impl Versioned for SlimRun {
    fn version(&self) -> &str {
        &self.version
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl<'de> Deserialize<'de> for SlimRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (meta, run) = whole(deserializer)?;
        Ok(Self {
            owner: meta.owner().map(str::to_owned),
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name,
            version: meta.resource_version,
            run: run.map(Arc::new),
        })
    }
}

/// The version of a slim object as a number.
pub fn version_of(object: &impl Versioned) -> u64 {
    number(object.version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_set_keeps_what_the_planner_reads() {
        let json = r#"{"apiVersion":"apps/v1","kind":"ReplicaSet",
            "metadata":{"namespace":"n","name":"web-abc","uid":"u1","resourceVersion":"17","generation":3,
              "creationTimestamp":"2026-01-02T03:04:05Z","labels":{"rollouts-pod-template-hash":"abc","app":"web"},
              "annotations":{"rollout.argoproj.io/revision":"4","rollout.argoproj.io/desired-replicas":"5"},
              "ownerReferences":[{"uid":"other"},{"uid":"owner","controller":true}],
              "managedFields":[{"manager":"x"}]},
            "spec":{"replicas":2,"template":{"spec":{"containers":[]}}},
            "status":{"replicas":2,"availableReplicas":1,"observedGeneration":3,
              "conditions":[{"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"quota"}]}}"#;
        let set: SlimReplicaSet = serde_json::from_str(json).unwrap();
        assert_eq!(set.owner.as_deref(), Some("owner"));
        assert_eq!(set.seen.hash, "abc");
        assert_eq!((set.seen.revision, set.seen.desired_replicas), (4, Some(5)));
        assert_eq!(
            (set.seen.replicas, set.seen.current, set.seen.available),
            (2, 2, 1)
        );
        assert!(set.seen.is_observed && !set.seen.is_deleting);
        assert_eq!(
            set.seen.failure,
            Some(("FailedCreate".to_owned(), "quota".to_owned()))
        );
    }

    #[test]
    fn a_rollout_that_cannot_be_decoded_keeps_its_name_and_tells_the_fault() {
        let json = r#"{"metadata":{"namespace":"n","name":"bad","uid":"u","resourceVersion":"5"},
            "spec":{"replicas":["not a number"]}}"#;
        let SlimRollout(seen) = serde_json::from_str(json).unwrap();
        assert_eq!((seen.name.as_str(), seen.version.as_str()), ("bad", "5"));
        assert!(seen.spec.as_ref().is_err_and(|faults| faults.len() == 1));
    }
}
