//! Changes of size of one ReplicaSet, with their record and event. Decides nothing.

use super::draft::Draft;
use super::observed::ReplicaSetSeen;
use super::origin;
use super::plan::Event;
use super::reasons;
use super::replicas::Size;
use super::services;
use crate::api::{DESIRED_REPLICAS, SCALE_DOWN_DEADLINE};

/// What the arithmetic looks at.
pub(crate) fn size(rs: &ReplicaSetSeen) -> Size {
    Size {
        spec: rs.replicas,
        available: rs.available,
    }
}

/// Gives a ReplicaSet another size and says so, unless a Service still needs the pods that would go.
pub(crate) fn resize(d: &mut Draft<'_>, rs: &ReplicaSetSeen, replicas: u32) {
    if services::keeps(d, rs, replicas) {
        return;
    }
    d.scale(rs, replicas);
    origin::mark_stable(d, rs);
    if replicas == 0 && rs.scale_down_deadline.is_some() {
        d.unannotate(rs, SCALE_DOWN_DEADLINE);
    }
    let desired = d.spec.replicas.to_string();
    if rs.desired_replicas != Some(d.spec.replicas) {
        d.annotate(rs, DESIRED_REPLICAS, desired);
    }
    let word = if replicas > rs.replicas { "up" } else { "down" };
    let text = format!(
        "Scaled {word} ReplicaSet {} (revision {}) from {} to {replicas}",
        rs.name, rs.revision, rs.replicas
    );
    d.event(Event::normal(reasons::SCALING_RS, text));
}
