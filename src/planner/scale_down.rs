//! Old ReplicaSets that stay up for a while: deadlines in the annotation `scale-down-deadline`, how
//! many may stay, and when they go down (contract B8, B9, S17, S18). Knows no strategy.

use jiff::Timestamp;

use super::draft::{Draft, after, whole_seconds};
use super::observed::ReplicaSetSeen;
use super::sizes::resize;
use crate::api::SCALE_DOWN_DEADLINE;

/// How old ReplicaSets go down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    /// Seconds each stays up; 0 for none.
    pub(crate) seconds: u32,
    /// How many may stay up at once.
    pub(crate) limit: Option<u32>,
}

/// Takes the deadline away from a ReplicaSet that is in use (again).
pub(crate) fn keep(d: &mut Draft<'_>, rs: &ReplicaSetSeen) {
    if rs.scale_down_deadline.is_some() {
        d.unannotate(rs, SCALE_DOWN_DEADLINE);
    }
}

/// Gives a ReplicaSet that has none a deadline, and looks again then. True when it is over.
pub(crate) fn is_over(d: &mut Draft<'_>, rs: &ReplicaSetSeen, seconds: u32) -> bool {
    let Some(deadline) = rs.scale_down_deadline else {
        let end = whole_seconds(after(d.now(), i64::from(seconds))).0;
        d.annotate(rs, SCALE_DOWN_DEADLINE, text(end));
        d.wake.at(end);
        return false;
    };
    if d.now() < deadline {
        d.wake.at(deadline);
        return false;
    }
    true
}

fn text(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Brings old ReplicaSets down: the newest revisions stay up for the delay, at the size that is
/// wanted of a version which clients could be sent back to; the others go at once.
pub(crate) fn older(d: &mut Draft<'_>, mut sets: Vec<&ReplicaSetSeen>, delay: Delay) {
    sets.retain(|rs| rs.replicas > 0);
    sets.sort_by(|a, b| (b.revision, &b.name).cmp(&(a.revision, &a.name)));
    let mut staying = 0_u32;
    for rs in sets {
        let has_place = delay.limit.is_none_or(|limit| staying < limit);
        if delay.seconds == 0 && rs.scale_down_deadline.is_none() {
            resize(d, rs, 0);
            continue;
        }
        if !has_place || is_over(d, rs, delay.seconds) {
            resize(d, rs, 0);
            continue;
        }
        staying = staying.saturating_add(1);
        follow(d, rs);
    }
}

/// One that was full stays full when `spec.replicas` changes; a smaller one never grows.
fn follow(d: &mut Draft<'_>, rs: &ReplicaSetSeen) {
    let was_full = rs.desired_replicas.is_some_and(|n| n == rs.replicas);
    let wanted = if was_full {
        d.spec.replicas
    } else {
        rs.replicas.min(d.spec.replicas)
    };
    if wanted != rs.replicas {
        resize(d, rs, wanted);
    }
}
