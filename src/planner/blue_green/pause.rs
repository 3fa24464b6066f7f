//! What comes before the switch: the preview's pods, its analysis, the pause, and then full size
//! (contract B2–B5, B7).

use super::View;
use crate::planner::draft::{Draft, after};
use crate::planner::plan::Event;
use crate::planner::promotion::is_full;
use crate::planner::revision::Sets;
use crate::planner::{cursor, duration, reasons, runs};

/// True when the new version may be given to clients.
pub(super) fn is_over(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) -> bool {
    if view.fast.is_some() {
        return true;
    }
    if !super::sizes::has_grown(d.read(), view) {
        let size = super::sizes::preview_size(d.read(), d.spec.replicas, sets, view);
        if !super::sizes::is_there(sets.canary, size) {
            d.note(format!(
                "waiting: preview {}/{size} available",
                sets.canary.available
            ));
            return false;
        }
        if !runs::is_preview_judged(d, sets) || !is_released(d, view) {
            return false;
        }
        if view.spec.preview_replica_count.is_some() && !is_full(d, sets.canary) {
            let blue_green = d.next.blue_green.get_or_insert_default();
            blue_green.scale_up_preview_check_point = Some(true);
            d.is_forced = true;
            d.note("the preview grows to full size before the switch");
            return false;
        }
    }
    true
}

/// The pause before the switch, where one is asked for. Over when its time is up or a person said
/// so; that is on record as `controllerPause` without a condition until the switch is seen.
fn is_released(d: &mut Draft<'_>, view: View<'_>) -> bool {
    let spec = view.spec;
    let read = d.read();
    let condition = read
        .pause_conditions
        .iter()
        .flatten()
        .find(|c| c.reason == reasons::BLUE_GREEN_PAUSE);
    let waits_for_time = spec.auto_promotion_enabled && spec.auto_promotion_seconds > 0;
    let is_asked_for = !spec.auto_promotion_enabled || waits_for_time;
    let Some(condition) = condition else {
        if !is_asked_for || read.controller_pause == Some(true) {
            return true;
        }
        cursor::enter_pause(d, reasons::BLUE_GREEN_PAUSE);
        return false;
    };
    if spec.auto_promotion_enabled {
        let start = condition.start_time.as_ref().map_or(d.now(), |t| t.0);
        let end = after(start, i64::from(spec.auto_promotion_seconds));
        if d.now() < end {
            d.wake.at(end);
            let left = end.as_second().saturating_sub(d.now().as_second());
            d.note(format!("promotes in {}", duration::human(left)));
            return false;
        }
        release(d);
        d.event(Event::normal(
            reasons::ROLLOUT_RESUMED,
            "Rollout is resumed",
        ));
        return false;
    }
    d.note("paused until a person promotes: kubectl annotate rollout NAME serin.dev/promote=true");
    false
}

/// Ends the pause before the switch, and remembers that it was.
pub(crate) fn release(d: &mut Draft<'_>) {
    if let Some(conditions) = &mut d.next.pause_conditions {
        conditions.retain(|c| c.reason != reasons::BLUE_GREEN_PAUSE);
    }
    if d.next.pause_conditions.as_ref().is_some_and(Vec::is_empty) {
        d.next.pause_conditions = None;
    }
    d.next.controller_pause = Some(true);
}
