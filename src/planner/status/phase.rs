//! Phase and message, in the order of the contract (A17).

use super::is_complete;
use crate::planner::cursor;
use crate::planner::draft::Draft;
use crate::planner::first;
use crate::planner::reasons;
use crate::planner::restart;
use crate::planner::revision::Sets;

/// Sets phase and message from conditions, pauses and counts.
pub(super) fn set(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let (phase, mut message) = judge(d, sets);
    let goes_on = [reasons::PHASE_PAUSED, reasons::PHASE_PROGRESSING].contains(&phase);
    if d.spec.replicas == 0 && goes_on && !is_complete(&d.next) {
        message.push_str(NOBODY_TO_JUDGE);
    }
    d.next.phase = Some(phase.to_owned());
    d.next.message = (!message.is_empty()).then_some(message);
}

/// An update at 0 replicas (decisions §9): pauses are kept, all else passes.
const NOBODY_TO_JUDGE: &str =
    " (replicas is 0: there are no pods to judge, so weights, analyses and gates pass)";

const FIRST_AWAITED: &str = "waiting for the analysis of the first deployment";

/// What is left of a blueGreen update whose pods are all there.
fn cutover(d: &Draft<'_>) -> Option<&'static str> {
    let next = &d.next;
    let spec = d.spec.blue_green()?;
    let active = next
        .blue_green
        .as_ref()
        .and_then(|b| b.active_selector.as_ref());
    let is_let_go = d.spec.replicas == 0 && active.is_none() && is_complete(next);
    if active != next.current_pod_hash.as_ref() && !is_let_go {
        return Some("active service cutover pending");
    }
    if is_complete(next) {
        return None;
    }
    let run = next
        .blue_green
        .as_ref()
        .and_then(|b| b.post_promotion_analysis_run_status.as_ref());
    let is_over = run.is_some_and(|r| r.status == "Successful");
    Some(if spec.post_promotion.is_some() && !is_over {
        "waiting for analysis to complete"
    } else {
        "waiting for post-promotion verification to complete"
    })
}

fn judge(d: &Draft<'_>, sets: &Sets<'_>) -> (&'static str, String) {
    let next = &d.next;
    for c in &next.conditions {
        // Only the conditions of the contract speak here; ours follow from the phase.
        if c.type_ != reasons::INVALID_SPEC && c.type_ != reasons::PROGRESSING {
            continue;
        }
        let reason = c.reason.as_deref().unwrap_or_default();
        if reason == reasons::INVALID_SPEC
            || reason == reasons::ROLLOUT_ABORTED
            || reason == reasons::DEADLINE_EXCEEDED
        {
            let message = c.message.as_deref().unwrap_or_default();
            let is_held =
                reason == reasons::ROLLOUT_ABORTED && d.spec.paused && sets.canary.replicas > 0;
            let mut text = format!("{reason}: {message}");
            if is_held {
                text.push_str("; ");
                text.push_str(cursor::HELD_BY_PAUSED);
            }
            // There is nothing to go back to, and nothing of that may be hidden by the abort.
            if d.is_stable_gone && reason != reasons::INVALID_SPEC {
                text.push_str("; ");
                text.push_str(&super::stable_gone_text(next));
            }
            return (reasons::PHASE_DEGRADED, text);
        }
    }
    if d.spec.paused {
        return (reasons::PHASE_PAUSED, "manually paused".to_owned());
    }
    if let Some(freeze) = &d.freeze {
        return (reasons::PHASE_PAUSED, format!("frozen by {}", freeze.text));
    }
    let held = next
        .serin
        .as_ref()
        .and_then(|s| s.hold.as_ref())
        .map(|h| h.reason.as_str());
    if d.is_stable_gone {
        return (
            reasons::PHASE_DEGRADED,
            format!("StableGone: {}", super::stable_gone_text(next)),
        );
    }
    if let Some(why) = first::failure(next) {
        let reason = reasons::FIRST_FAILED;
        return (reasons::PHASE_DEGRADED, format!("{reason}: {why}"));
    }
    // A question to a person comes before a timer that runs beside it.
    let mut pauses = next.pause_conditions.iter().flatten();
    let asked = pauses
        .clone()
        .find(|c| [reasons::INCONCLUSIVE_RUN, reasons::FAILED_RUN].contains(&c.reason.as_str()));
    if let Some(first) = asked.or_else(|| pauses.next()) {
        let message = match held {
            Some(why) if first.reason == reasons::FAILED_RUN => format!("{}: {why}", first.reason),
            Some(why) => format!("{} (held by SLO gate: {why})", first.reason),
            None => first.reason.clone(),
        };
        return (reasons::PHASE_PAUSED, message);
    }
    let progressing = |text: &str| (reasons::PHASE_PROGRESSING, text.to_owned());
    if restart::is_under_way(d) {
        return progressing("rollout is restarting");
    }
    let updated = next.updated_replicas.unwrap_or(0);
    let wanted = i64::from(d.spec.replicas);
    if updated < wanted {
        return progressing("more replicas need to be updated");
    }
    if next.available_replicas.unwrap_or(0) < updated {
        return progressing("updated replicas are still becoming available");
    }
    if let Some(why) = held {
        return progressing(&format!("waiting for SLO gate: {why}"));
    }
    if d.spec.blue_green().is_some() {
        return match cutover(d) {
            Some(text) => progressing(text),
            None if first::is_awaited(d) => progressing(FIRST_AWAITED),
            None => (reasons::PHASE_HEALTHY, String::new()),
        };
    }
    let is_draining = sets
        .all()
        .any(|rs| rs.uid != sets.canary.uid && rs.replicas > 0);
    if next.replicas.unwrap_or(0) > updated || (is_complete(next) && is_draining) {
        return progressing("old replicas are pending termination");
    }
    if !is_complete(next) {
        return progressing("waiting for all steps to complete");
    }
    if first::is_awaited(d) {
        return progressing(FIRST_AWAITED);
    }
    (reasons::PHASE_HEALTHY, String::new())
}
