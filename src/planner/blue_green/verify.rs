//! What comes after the switch: the new version becomes stable when its analysis and its objectives
//! say so (contract A31, A32, B6).

use super::View;
use crate::planner::draft::Draft;
use crate::planner::hold::gate_opens;
use crate::planner::promotion::{is_full, make_stable};
use crate::planner::revision::Sets;
use crate::planner::{cursor, runs};

/// Clients have the new version: keeps it when nothing speaks against it.
pub(super) fn verify(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    // Pods that went since the switch must come back first: the old ones are still there.
    if !is_full(d, sets.canary) {
        return d.note("waiting for every pod of the new version before it is stable");
    }
    if let Some(reason) = view.fast {
        return make_stable(d, sets, reason);
    }
    let read = d.read();
    // Measurements from before the switch say nothing: the switch is put on record first.
    let on_record = read
        .blue_green
        .as_ref()
        .and_then(|b| b.active_selector.as_deref());
    if on_record != Some(sets.canary.hash.as_str()) {
        return;
    }
    if !runs::is_switch_judged(d, sets) {
        return;
    }
    // A person cleared the pause that the gate's silence had led to: the gate is overridden.
    let is_released = read.controller_pause == Some(true)
        && read.pause_conditions.as_ref().is_none_or(Vec::is_empty);
    if is_released {
        cursor::override_hold(d);
    }
    if is_released || gate_opens(d, sets) {
        make_stable(d, sets, "Completed blue-green update");
    }
}
