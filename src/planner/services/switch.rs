//! One switch of one Service: whether the pods it would select can take its clients, and the patch.

use super::{ServicePatch, ServiceSeen, misfits};
use crate::planner::draft::{Draft, after};
use crate::planner::observed::ReplicaSetSeen;
use crate::planner::plan::Event;
use crate::planner::promotion::{has_every_pod, is_full};
use crate::planner::reasons;

/// Seconds after an abort from which on any pod of the stable version is better than a version that
/// was given up.
const PATIENCE: i64 = 60;

/// True when nothing is wrong with this Service itself, whatever is wrong with others.
pub(crate) fn is_usable(d: &Draft<'_>, service: &ServiceSeen) -> bool {
    let labels = d.spec.template_labels.map();
    misfits(service, &d.seen.rollout.name, Some(&labels)).is_empty()
}

/// Whether a Service may select the pods of this ReplicaSet now. One that has not selected by hash
/// until now may have pods that are not ours behind it: it is taken over only onto a version that
/// is fully available. A later switch needs a single available pod.
pub(super) fn may_select(service: &ServiceSeen, set: &ReplicaSetSeen) -> bool {
    let is_ours = service.hash().is_some() && service.manager.is_some();
    if is_ours {
        set.answering() >= 1
    } else {
        set.replicas > 0 && set.is_observed && set.answering() >= set.replicas
    }
}

/// Whether this ReplicaSet can take the clients of a Service over from the version that has them: it
/// is complete, or has as many pods that answer. A version that was aborted is left after a while
/// for any pod.
pub(crate) fn can_take(d: &mut Draft<'_>, service: &ServiceSeen, set: &ReplicaSetSeen) -> bool {
    if !may_select(service, set) {
        return false;
    }
    let mut all = d.seen.replica_sets.iter();
    let now = all.find(|rs| service.hash() == Some(rs.hash.as_str()));
    let now = now.map_or(0, ReplicaSetSeen::answering);
    // Without a hash all versions are behind it: of blueGreen, and on the way back, more than a part
    // of one. A canary's Service is taken over onto what the weight leaves of stable (V1).
    let is_as_many = match service.hash() {
        Some(_) => set.answering() >= now,
        None => d.spec.canary().is_some() && d.read().abort != Some(true),
    };
    let is_aborted = d.read().abort == Some(true);
    // A threshold says how much of the new version is enough to go on, not of the old one to go back.
    let is_complete = match is_aborted {
        true => has_every_pod(d, set),
        false => is_full(d, set),
    };
    if is_as_many || is_complete {
        return true;
    }
    let aborted = d.read().aborted_at.as_ref();
    let Some(aborted) = aborted.filter(|_| is_aborted) else {
        return false;
    };
    let end = after(aborted.0, PATIENCE);
    if d.now() < end {
        d.wake.at(end);
        return false;
    }
    true
}

/// Lets a Service select the pods of this hash. True when it does not yet.
pub(crate) fn point(d: &mut Draft<'_>, service: &ServiceSeen, hash: &str) -> bool {
    let name = &d.seen.rollout.name;
    let is_managed = service.manager.as_ref() == Some(name);
    if service.hash() == Some(hash) && is_managed {
        return false;
    }
    d.patch_service(ServicePatch {
        name: service.name.clone(),
        uid: service.uid.clone(),
        version: service.version.clone(),
        hash: Some(hash.to_owned()),
        manager: Some(name.clone()),
    });
    let from = service.hash().unwrap_or_default();
    if from != hash {
        let text = format!(
            "Switched selector for service '{}' from '{from}' to '{hash}'",
            service.name
        );
        d.event(Event::normal(reasons::SWITCH_SERVICE, text));
    }
    true
}
