//! `keepCanaryFor`: after an abort pods of the new version stay for a while, so that `retry=step` finds
//! them warm. Stable comes back to full size first, and both together keep within `replicas +
//! maxSurge`: where there was room for the update there is room for this. They answer no client, because
//! `stableService` selects the stable version alone.

use super::draft::Draft;
use super::replicas::{Fence, Pair};
use super::revision::Sets;
use super::{restart, scale_down};

/// Seconds that pods of the aborted update stay, where they shall. A restart needs their room.
fn asked_for(d: &Draft<'_>, sets: &Sets<'_>) -> Option<u32> {
    let read = d.read();
    let is_update = read.stable_rs.is_some() && read.stable_rs.as_ref() != Some(&sets.canary.hash);
    let is_aborted = is_update && read.abort == Some(true) && d.spec.replicas > 0;
    let is_aborted = is_aborted && !restart::is_under_way(d);
    d.spec.canary()?.keep_for.filter(|_| is_aborted)
}

/// The sizes of the way back, with the pods that stay beside a full stable version.
pub(crate) fn beside(d: &Draft<'_>, sets: &Sets<'_>, fence: Fence, back: Pair) -> Pair {
    let deadline = sets.canary.scale_down_deadline;
    let is_over = deadline.is_some_and(|end| d.now() >= end);
    // A gradual way back has its own sizes until it is at its end.
    if back.canary > 0 || is_over || asked_for(d, sets).is_none() {
        return back;
    }
    Pair {
        canary: sets.canary.replicas.min(fence.surge),
        ..back
    }
}

/// Counts their time, from when everything is back. True when the deadline on the ReplicaSet is theirs.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>, is_back: bool) -> bool {
    let Some(seconds) = asked_for(d, sets) else {
        return false;
    };
    let descends = d.read().serin.as_ref().is_some_and(|s| s.descent.is_some());
    let has_begun = sets.canary.scale_down_deadline.is_some();
    if sets.canary.replicas > 0 && (has_begun || (is_back && !descends)) {
        scale_down::is_over(d, sets.canary, seconds);
    }
    true
}
