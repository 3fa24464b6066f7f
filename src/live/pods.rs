//! Pods of one Rollout, read when a turn asks for them: they are many, change all the time, and are
//! needed rarely, so nobody watches them.

use std::collections::BTreeMap;

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::ListParams;
use serde::de::IgnoredAny;

use super::client::{CALL_LIMIT, CallError, Kind, Page, Rest, Target};
use super::controller::Controller;
use super::slim::Owner;
use super::stores::ObjectKey;
use crate::api::POD_HASH_LABEL;
use crate::planner::observed::{PodSeen, RolloutSeen};
use crate::planner::plan::PodPatch;

/// A pod on the wire, reduced to what is used.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct WirePod {
    metadata: PodMeta,
    status: PodStatus,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodMeta {
    name: String,
    uid: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<IgnoredAny>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
    conditions: Vec<PodCondition>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Timestamp>,
}

impl WirePod {
    /// The pod, where a ReplicaSet controls it.
    fn seen(self) -> Option<PodSeen> {
        let mut owners = self.metadata.owner_references.into_iter();
        let owner = owners.find(Owner::is_controller)?;
        let has_ended = matches!(self.status.phase.as_str(), "Succeeded" | "Failed");
        let mut conditions = self.status.conditions.into_iter();
        let ready = conditions.find(|c| c.kind == "Ready" && c.status == "True");
        Some(PodSeen {
            name: self.metadata.name,
            uid: self.metadata.uid,
            owner: owner.uid,
            created: self
                .metadata
                .creation_timestamp
                .unwrap_or(Timestamp::UNIX_EPOCH),
            is_active: self.metadata.deletion_timestamp.is_none() && !has_ended,
            ready_since: ready.and_then(|c| c.last_transition_time),
            labels: self.metadata.labels,
            annotations: self.metadata.annotations,
        })
    }
}

/// Patches that are sent at once.
const AT_ONCE: usize = 10;

/// Patches living pods, some at a time. One that is gone, or another of its name, is no matter.
pub(super) async fn patch_all(
    work: &Rest,
    namespace: &str,
    pods: &[PodPatch],
) -> Result<(), CallError> {
    let one = |pod: PodPatch| async move {
        let target = Target {
            kind: Kind::Pod,
            namespace,
            name: &pod.name,
        };
        match work.merge(target, None, &pod.patch).await {
            Ok(_) | Err(CallError::NotFound(_) | CallError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    };
    let all = futures::stream::iter(pods.iter().cloned().map(one));
    let ended: Vec<_> = all.buffer_unordered(AT_ONCE).collect().await;
    ended.into_iter().collect()
}

impl Controller {
    /// All pods that ReplicaSets of this Rollout control.
    pub(super) async fn pods_of(
        &self,
        key: &ObjectKey,
        rollout: &RolloutSeen,
    ) -> Result<Vec<PodSeen>, CallError> {
        let family = self.index.family(key);
        let sets: Vec<String> = family
            .into_iter()
            .flat_map(|f| f.replica_sets)
            .map(|set| set.uid)
            .collect();
        let mut selector = POD_HASH_LABEL.to_owned();
        if let Ok(spec) = &rollout.spec {
            selector = format!("{selector},{}", spec.selector_text);
        }
        let requests = Kind::Pod.requests(Some(&rollout.namespace));
        let mut params = ListParams::default().labels(&selector).limit(500);
        let mut pods = Vec::new();
        loop {
            let page: Page<WirePod> = self
                .clients
                .work
                .list(&requests, &params, CALL_LIMIT)
                .await?;
            let mine = page.items.into_iter().filter_map(WirePod::seen);
            pods.extend(mine.filter(|pod| sets.contains(&pod.owner)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(pods),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_what_the_planner_reads() {
        let json = r#"{"metadata":{"name":"web-abc-1","uid":"p","creationTimestamp":"2026-01-02T03:04:05Z",
              "labels":{"app":"web"},"ownerReferences":[{"uid":"x"},{"uid":"rs","controller":true}]},
            "spec":{"containers":[]},
            "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-02T03:04:09Z"}]}}"#;
        let pod: WirePod = serde_json::from_str(json).unwrap();
        let pod = pod.seen().unwrap();
        assert_eq!((pod.name.as_str(), pod.owner.as_str()), ("web-abc-1", "rs"));
        assert!(pod.is_active);
        assert_eq!(pod.ready_since, "2026-01-02T03:04:09Z".parse().ok());
        let ended = json.replace("Running", "Failed");
        let ended: WirePod = serde_json::from_str(&ended).unwrap();
        assert!(!ended.seen().unwrap().is_active);
        let orphan: WirePod = serde_json::from_str(r#"{"metadata":{"name":"p"}}"#).unwrap();
        assert_eq!(orphan.seen(), None);
    }
}
