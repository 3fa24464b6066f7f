//! The Services a Rollout names: what is wrong with them, which pods each of them selects, when that
//! may change, and when it is given up (contract V1, V2, V6, L28). Knows no traffic router.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::draft::{Draft, after};
use super::fault::Fault;
use super::observed::{Need, Observed, RolloutSeen};
use super::revision::Sets;
use super::spec::{Spec, Strategy};
use crate::api::{MANAGED_BY, POD_HASH_LABEL};

mod canary;
mod hold;
mod switch;

pub(crate) use canary::{leave_stable, steer as steer_canary};
pub(crate) use hold::keeps;
pub(crate) use switch::{can_take, is_usable, point};

/// A Service as the planner needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSeen {
    /// Name, in the Rollout's namespace.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Version decided on.
    pub version: String,
    /// `spec.selector`, with the pod hash where it has one.
    pub selector: BTreeMap<String, String>,
    /// The Rollout that says it manages this Service.
    pub manager: Option<String>,
}

impl ServiceSeen {
    /// The pod hash that is selected.
    pub fn hash(&self) -> Option<&str> {
        self.selector.get(POD_HASH_LABEL).map(String::as_str)
    }
}

/// A Service on the wire, reduced to what is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    metadata: WireMeta,
    spec: WireSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    name: String,
    uid: String,
    resource_version: String,
    annotations: Option<WireNotes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireNotes {
    #[serde(rename = "argo-rollouts.argoproj.io/managed-by-rollouts")]
    manager: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireSpec {
    selector: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for ServiceSeen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            name: metadata.name,
            uid: metadata.uid,
            version: metadata.resource_version,
            selector: spec.selector.unwrap_or_default(),
            manager: metadata.annotations.and_then(|a| a.manager),
        })
    }
}

/// A patch of one Service: the hash in its selector and who manages it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePatch {
    /// Name in the Rollout's namespace.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Version decided on.
    pub version: String,
    /// The hash to select; `None` takes it out of the selector.
    pub hash: Option<String>,
    /// The Rollout that manages it; `None` takes the annotation away.
    pub manager: Option<String>,
}

impl ServicePatch {
    /// The RFC 7386 patch, with the resourceVersion it was decided on.
    pub fn to_json(&self) -> Value {
        json!({
            "metadata": {
                "resourceVersion": self.version,
                "annotations": {MANAGED_BY: self.manager},
            },
            "spec": {"selector": {POD_HASH_LABEL: self.hash}},
        })
    }
}

/// The Services that a spec names, with the field that names each.
pub fn named(spec: &Spec) -> Vec<(&'static str, &str)> {
    let fields = match &spec.strategy {
        Strategy::Canary(canary) => {
            let pair = canary.ping_pong.as_ref();
            vec![
                (
                    "spec.strategy.canary.stableService",
                    canary.stable_service.as_deref(),
                ),
                (
                    "spec.strategy.canary.canaryService",
                    canary.canary_service.as_deref(),
                ),
                (
                    "spec.strategy.canary.pingPong.pingService",
                    pair.map(|pair| pair.ping.as_str()),
                ),
                (
                    "spec.strategy.canary.pingPong.pongService",
                    pair.map(|pair| pair.pong.as_str()),
                ),
            ]
        }
        Strategy::BlueGreen(it) => vec![
            (
                "spec.strategy.blueGreen.activeService",
                Some(it.active_service.as_str()),
            ),
            (
                "spec.strategy.blueGreen.previewService",
                it.preview_service.as_deref(),
            ),
        ],
    };
    fields
        .into_iter()
        .filter_map(|(field, name)| Some((field, name?)))
        .filter(|(_, name)| !name.is_empty())
        .collect()
}

/// The Service of that name, where it is there.
pub(crate) fn find<'a>(seen: &'a Observed, name: &str) -> Option<&'a ServiceSeen> {
    seen.services.iter().find(|s| s.name == name)
}

/// Services that are named and not in sight: that they are not there must be read.
pub(crate) fn needs(seen: &Observed, spec: &Spec) -> Vec<Need> {
    let out_of_sight = |name: &&str| find(seen, name).is_none();
    named(spec)
        .into_iter()
        .map(|(_, name)| name)
        .filter(out_of_sight)
        .map(|name| Need::Service(name.to_owned()))
        .collect()
}

/// What is wrong with the Services that the spec names (L28, V6).
pub(crate) fn faults(seen: &Observed, spec: &Spec) -> Vec<Fault> {
    let mut faults = vec![];
    let labels = spec.template_labels.map();
    for (path, name) in named(spec) {
        let value = format!("{name:?}");
        let Some(service) = find(seen, name) else {
            let message = format!("service {value} not found: create it in this namespace");
            faults.push(Fault::invalid(path, &value, message));
            continue;
        };
        for message in misfits(service, &seen.rollout.name, Some(&labels)) {
            faults.push(Fault::invalid(path, &value, message));
        }
    }
    faults
}

/// Why a Service that is there cannot be used by the Rollout of that name, whose pods have these
/// labels (unknown ones are not judged).
pub(crate) fn misfits(
    service: &ServiceSeen,
    rollout: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Vec<String> {
    let name = &service.name;
    let other = service.manager.iter().filter(|m| *m != rollout).map(|other| {
        format!(
            "Service {name:?} is managed by another Rollout: {other}; give each Rollout Services of its own"
        )
    });
    let differs = |(key, wanted): &(&String, &String)| {
        let is_ours = key.as_str() == POD_HASH_LABEL;
        !is_ours && labels.is_some_and(|labels| labels.get(*key) != Some(*wanted))
    };
    let unmatched = service.selector.iter().filter(differs).map(|(key, _)| {
        format!(
            "Service {name:?} has unmatch label {key:?} in rollout: the Service selects pods by it, so the pod template must have it with the same value"
        )
    });
    other.chain(unmatched).collect()
}

/// Checks the Services. What is wrong is looked at again when a Service changes, and after a while.
pub(crate) fn check(d: &mut Draft<'_>) {
    let found = faults(d.seen, d.spec);
    if !found.is_empty() {
        d.faults.extend(found);
        d.wake.at(after(d.now(), 20));
    }
}

/// Scaled to nothing with no update under way: somebody else's pods may be wanted behind the
/// Services, so they are let go until there are pods again (V2). True when that is so.
pub(crate) fn let_go_at_zero(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let read = d.read();
    let is_at_rest = read.stable_rs.as_deref() == Some(sets.canary.hash.as_str());
    let is_empty = sets.all().all(|rs| rs.replicas == 0 && rs.current == 0);
    if d.spec.replicas > 0 || !is_at_rest || !is_empty {
        return false;
    }
    for (_, name) in named(d.spec) {
        let Some(service) = find(d.seen, name) else {
            continue;
        };
        if let Some(patch) = released(service) {
            d.note(format!("replicas is 0: Service {name} is let go"));
            d.patch_service(patch);
        }
    }
    true
}

/// The patch that takes away what a Rollout put into a Service.
fn released(service: &ServiceSeen) -> Option<ServicePatch> {
    (service.manager.is_some() || service.hash().is_some()).then(|| ServicePatch {
        name: service.name.clone(),
        uid: service.uid.clone(),
        version: service.version.clone(),
        hash: None,
        manager: None,
    })
}

/// What becomes of a Service that says a Rollout manages it: let go when that Rollout is gone, is
/// going, or names it no longer (V2). `manager` is the Rollout of that name, read live; of a spec
/// that cannot be read nothing is concluded. A Service without the annotation is nobody's.
pub fn release(service: &ServiceSeen, manager: Option<&RolloutSeen>) -> Option<ServicePatch> {
    service.manager.as_ref()?;
    let is_wanted = manager.is_some_and(|rollout| {
        !rollout.is_deleting
            && match &rollout.spec {
                Ok(spec) => named(spec).iter().any(|(_, name)| *name == service.name),
                Err(_) => true,
            }
    });
    if is_wanted { None } else { released(service) }
}
