//! Phase, conditions and events of an Experiment (E7, E8).

use super::draft::Draft;
use crate::planner::analysis::assess::Phase;
use crate::planner::draft::whole_seconds;
use crate::planner::fault::Fault;
use crate::planner::plan::Event;
use crate::planner::reasons;
use crate::planner::status::{put_condition, remove_condition};

/// The spec cannot be used, or refers to what is not there: said, and nothing else is done.
pub(super) fn invalid(d: &mut Draft<'_>, faults: &[Fault]) {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let message = format!(
        "The Experiment {:?} is invalid: {}",
        d.name(),
        texts.join("; ")
    );
    let now = whole_seconds(d.seen.now);
    let conditions = &mut d.next.conditions;
    let known = conditions.iter().any(|c| {
        c.type_ == reasons::INVALID_SPEC && c.message.as_deref() == Some(message.as_str())
    });
    put_condition(
        conditions,
        reasons::INVALID_SPEC,
        "True",
        (reasons::INVALID_SPEC, &message),
        now,
    );
    d.next
        .phase
        .get_or_insert_with(|| Phase::Pending.as_str().to_owned());
    d.next.message = Some(message.clone());
    if !known {
        d.events
            .push(Event::warning(reasons::INVALID_SPEC, message));
    }
}

/// The next phase, with its event where it is another one.
pub(super) fn enter(d: &mut Draft<'_>, phase: Phase, message: Option<String>) {
    d.next.message.clone_from(&message);
    if d.next.phase.as_deref() == Some(phase.as_str()) {
        return;
    }
    let from = d.next.phase.replace(phase.as_str().to_owned());
    let Some(from) = from.filter(|f| !f.is_empty()) else {
        return;
    };
    let more = message.map_or_else(String::new, |m| format!(": {m}"));
    let text = format!(
        "Experiment transitioned from {from} -> {}{more}",
        phase.as_str()
    );
    d.events.push(match phase {
        Phase::Pending => Event::normal("ExperimentPending", text),
        Phase::Running => Event::normal("ExperimentRunning", text),
        Phase::Successful => Event::normal("ExperimentSuccessful", text),
        Phase::Failed => Event::warning("ExperimentFailed", text),
        Phase::Error => Event::warning("ExperimentError", text),
        Phase::Inconclusive => Event::warning("ExperimentInconclusive", text),
    });
}

/// The condition that goes with the phase.
pub(super) fn tell(d: &mut Draft<'_>) {
    let name = d.name();
    let phase = Phase::read(d.next.phase.as_deref().unwrap_or_default());
    let (value, reason, message) = match phase {
        Phase::Pending => (
            "True",
            reasons::RS_UPDATED,
            format!("Experiment {name:?} is progressing."),
        ),
        Phase::Running => (
            "True",
            reasons::NEW_RS_AVAILABLE,
            format!("Experiment {name:?} is running."),
        ),
        Phase::Successful => (
            "False",
            "ExperimentCompleted",
            format!("Experiment {name:?} has successfully ran and completed."),
        ),
        Phase::Failed | Phase::Error | Phase::Inconclusive => {
            let why = d.next.message.clone().unwrap_or_default();
            let text = format!("Experiment {name:?} ended {}: {why}", phase.as_str());
            ("False", "ExperimentFailed", text)
        }
    };
    let now = whole_seconds(d.seen.now);
    let conditions = &mut d.next.conditions;
    remove_condition(conditions, reasons::INVALID_SPEC);
    put_condition(
        conditions,
        reasons::PROGRESSING,
        value,
        (reason, &message),
        now,
    );
}
