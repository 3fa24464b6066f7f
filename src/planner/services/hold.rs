//! Sizes that a Service stands against: a version does not lose its last pods while a Service selects
//! it that could select others, and none at all while one does that the spec names no longer.

use super::{ServiceSeen, named};
use crate::planner::draft::Draft;
use crate::planner::observed::ReplicaSetSeen;

/// True, with the reason noted, when this ReplicaSet must not be made so small now. What holds it
/// ends with a change of the Service, which starts a turn.
pub(crate) fn keeps(d: &mut Draft<'_>, rs: &ReplicaSetSeen, replicas: u32) -> bool {
    let Some(service) = holder(d, rs, replicas) else {
        return false;
    };
    d.note(format!(
        "ReplicaSet {} keeps its {} pods while Service {service} selects them",
        rs.name, rs.replicas
    ));
    true
}

fn holder(d: &Draft<'_>, rs: &ReplicaSetSeen, replicas: u32) -> Option<String> {
    if d.spec.replicas == 0 || replicas >= rs.replicas {
        return None;
    }
    let is_other = |other: &&ReplicaSetSeen| other.uid != rs.uid && !other.is_deleting;
    let mut others = d.seen.replica_sets.iter().filter(is_other);
    // A Service that is named waits for pods of others; without any, that leads nowhere. One that was
    // left is let go whatever others have: they may get their first pods in this very plan.
    let has_others = others.any(|other| other.replicas > 0);
    let selects = |service: &&ServiceSeen| service.hash() == Some(rs.hash.as_str());
    let mut services = d.seen.services.iter().filter(selects);
    let held = services.find(|service| is_held(d, service, replicas, has_others));
    // A switch of this very plan comes first.
    let pointed = d.pointed_at(&rs.hash);
    let pointed = pointed.filter(|name| has_others && replicas == 0 && Some(*name) != preview(d));
    held.map(|service| service.name.as_str())
        .or(pointed)
        .map(str::to_owned)
}

fn preview<'a>(d: &Draft<'a>) -> Option<&'a str> {
    let blue_green = d.spec.blue_green();
    blue_green.and_then(|it| it.preview_service.as_deref())
}

/// A preview may be without pods: after an abort it shows what was aborted (B9). A Service that was
/// left by a change of the spec selects all versions soon; until then nothing is taken from its
/// clients.
fn is_held(d: &Draft<'_>, service: &ServiceSeen, replicas: u32, has_others: bool) -> bool {
    let names = named(d.spec);
    let is_named = names.iter().any(|(_, name)| *name == service.name);
    if is_named {
        return has_others && replicas == 0 && preview(d) != Some(service.name.as_str());
    }
    service.manager.as_ref() == Some(&d.seen.rollout.name)
}
