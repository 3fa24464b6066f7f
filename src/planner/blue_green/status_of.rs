//! What of the status only blueGreen has, and what it counts otherwise than a canary (contract A15,
//! A41, B12).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::View;
use crate::api::POD_HASH_LABEL;
use crate::planner::command::stamp;
use crate::planner::draft::Draft;
use crate::planner::lower::selector_text;
use crate::planner::observed::ReplicaSetSeen;
use crate::planner::revision::Sets;
use crate::planner::services::ServiceSeen;

/// Puts on record what the Services select, and when clients were given the new version: what is
/// measured after the switch must have begun after it.
pub(crate) fn keep(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let Some(view) = View::of(d.seen, d.spec) else {
        d.next.blue_green = None;
        return;
    };
    d.next.canary = None;
    d.next.current_step_index = None;
    let text = |service: Option<&ServiceSeen>| service.and_then(|s| s.hash()).map(str::to_owned);
    let before = d
        .next
        .blue_green
        .as_ref()
        .and_then(|b| b.active_selector.clone());
    let active = text(view.active);
    let is_switched = active != before && view.is_active(sets.canary);
    let blue_green = d.next.blue_green.get_or_insert_default();
    blue_green.active_selector = active;
    blue_green.preview_selector = text(view.preview);
    if !is_switched {
        return;
    }
    let now = stamp(d);
    d.serin().step_started_at = Some(now);
    let asked = d
        .next
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    if !asked {
        // The pause before the switch has served its purpose.
        d.next.controller_pause = None;
    }
}

/// The ReplicaSet behind the active Service.
pub(crate) fn active_set<'a>(d: &Draft<'_>, sets: &Sets<'a>) -> Option<&'a ReplicaSetSeen> {
    let view = View::of(d.seen, d.spec)?;
    let hash = view.active_hash()?;
    sets.all().find(|rs| rs.hash == hash)
}

/// `spec.selector` and the pod hash: the pods that an autoscaler shall look at.
pub(crate) fn selector(d: &Draft<'_>, active: &ReplicaSetSeen) -> String {
    let selector = serde_json::from_value::<LabelSelector>(d.spec.selector.value());
    let mut selector = selector.unwrap_or_default();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(POD_HASH_LABEL.to_owned(), active.hash.clone());
    selector_text(&selector)
}
