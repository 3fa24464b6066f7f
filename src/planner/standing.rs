//! Where a Rollout stands for whoever waits for it from outside: its phase as clients read it (A18),
//! and whether the wait is over. Reads the object alone; acts on nothing.

use super::reasons;
use super::spec::{Spec, Step};
use super::{command, cursor, lower};
use crate::api::{Rollout, RolloutStatus, WORKLOAD_GENERATION};

/// What waiting for a Rollout comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The version in spec is out, and healthy.
    Over,
    /// It is not, and it goes no further.
    Failed,
    /// It goes no further until somebody says so.
    AsksPerson,
    /// It goes on by itself.
    GoesOn,
}

impl Wait {
    /// The word that programs read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Over => "healthy",
            Self::Failed => "degraded",
            Self::AsksPerson => "asksPerson",
            Self::GoesOn => "goesOn",
        }
    }
}

/// A Rollout's phase, why, and what to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Healthy, Degraded, Progressing or Paused.
    pub phase: String,
    /// Why the phase is what it is; may be empty.
    pub message: String,
    /// Whether the wait is over.
    pub wait: Wait,
}

/// Where this Rollout stands. A status that tells of an older generation says nothing about this one.
pub fn of(rollout: &Rollout) -> Standing {
    let nothing = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&nothing);
    if let Some(message) = unseen(rollout, status) {
        return Standing {
            phase: reasons::PHASE_PROGRESSING.to_owned(),
            message: message.to_owned(),
            wait: Wait::GoesOn,
        };
    }
    let phase = status.phase.clone();
    let phase = phase.unwrap_or_else(|| reasons::PHASE_PROGRESSING.to_owned());
    let wait = match phase.as_str() {
        // Somebody has answered already; what is asked now is seen when that is done.
        _ if is_told(rollout, status) => Wait::GoesOn,
        reasons::PHASE_HEALTHY => Wait::Over,
        reasons::PHASE_DEGRADED => Wait::Failed,
        reasons::PHASE_PAUSED if !is_frozen(status) => match lower::lower(rollout) {
            Ok(spec) if asks_a_person(&spec, status) => Wait::AsksPerson,
            Ok(_) | Err(_) => Wait::GoesOn,
        },
        _ => Wait::GoesOn,
    };
    Standing {
        phase,
        message: status.message.clone().unwrap_or_default(),
        wait,
    }
}

/// Why the status does not speak of what is in spec now.
fn unseen(rollout: &Rollout, status: &RolloutStatus) -> Option<&'static str> {
    let observed = status.observed_generation.as_deref().unwrap_or_default();
    let generation = rollout.metadata.generation.unwrap_or(0);
    // No number, or a higher one, counts as observed: another controller's way of counting.
    let is_behind = observed
        .parse::<i64>()
        .map_or(observed.is_empty(), |o| o < generation);
    if is_behind {
        return Some("waiting for rollout spec update to be observed");
    }
    let pauses = status.pause_conditions.as_deref().unwrap_or_default();
    if status.controller_pause == Some(true) && pauses.is_empty() {
        return Some("waiting for rollout to unpause");
    }
    let annotations = rollout.metadata.annotations.as_ref();
    let workload = annotations.and_then(|a| a.get(WORKLOAD_GENERATION));
    let is_workload_behind = rollout.spec.workload_ref.is_some()
        && workload.is_some_and(|w| Some(w) != status.workload_observed_generation.as_ref());
    is_workload_behind
        .then_some("waiting for rollout spec update to be observed for the reference workload")
}

/// A command waits to be taken or acted on.
fn is_told(rollout: &Rollout, status: &RolloutStatus) -> bool {
    let annotations = rollout.metadata.annotations.as_ref();
    annotations
        .is_some_and(|a| !command::waiting(a).is_empty() || command::taken(a, status).is_some())
}

fn is_frozen(status: &RolloutStatus) -> bool {
    let serin = status.serin.as_ref();
    serin.is_some_and(|s| s.freeze.is_some())
}

/// Paused by hand, asked for a verdict, or at a pause that only a person ends.
pub(crate) fn asks_a_person(spec: &Spec, status: &RolloutStatus) -> bool {
    let steps = spec.steps();
    let at = cursor::index(status, steps.len());
    let is_endless = matches!(steps.get(at), Some(Step::Pause(pause)) if pause.seconds.is_none());
    let is_manual_switch = spec
        .blue_green()
        .is_some_and(|bg| !bg.auto_promotion_enabled);
    let asks = |reason: &str| match reason {
        reasons::CANARY_PAUSE_STEP => is_endless,
        reasons::BLUE_GREEN_PAUSE => is_manual_switch,
        reasons::FAILED_RUN | reasons::HELD_BY_GATE => true,
        other => other.starts_with("Inconclusive"),
    };
    let mut pauses = status.pause_conditions.iter().flatten();
    spec.paused || pauses.any(|c| asks(&c.reason))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rollout(strategy: Value, status: Value) -> Rollout {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "generation": 3},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "web:1"}]},
                },
                "strategy": strategy,
            },
            "status": status,
        }))
        .unwrap()
    }

    fn canary(steps: Value, status: Value) -> Standing {
        of(&rollout(json!({"canary": {"steps": steps}}), status))
    }

    fn paused(reason: &str) -> Value {
        json!({
            "observedGeneration": "3", "phase": "Paused", "message": reason, "currentStepIndex": 0,
            "controllerPause": true, "pauseConditions": [{"reason": reason, "startTime": null}],
        })
    }

    #[test]
    fn a_phase_is_what_the_status_says_of_this_generation() {
        for (observed, phase, wait) in [
            (json!("3"), "Healthy", Wait::Over),
            (json!("3"), "Degraded", Wait::Failed),
            (json!("3"), "Progressing", Wait::GoesOn),
            // Another controller's hash, or a number from the future: seen.
            (json!("6d5f"), "Healthy", Wait::Over),
            (json!("4"), "Degraded", Wait::Failed),
            (json!("2"), "Healthy", Wait::GoesOn),
            (json!(null), "Degraded", Wait::GoesOn),
        ] {
            let status = json!({"observedGeneration": observed, "phase": phase});
            assert_eq!(canary(json!([]), status).wait, wait, "{observed} {phase}");
        }
        let new = of(&rollout(json!({"canary": {}}), json!(null)));
        assert_eq!(new.phase, "Progressing");
        assert_eq!(
            new.message,
            "waiting for rollout spec update to be observed"
        );
    }

    #[test]
    fn a_pause_with_an_end_is_waited_for_and_one_without_asks_a_person() {
        let endless = json!([{"pause": {}}]);
        let timed = json!([{"pause": {"duration": "1m"}}]);
        assert_eq!(
            canary(endless, paused("CanaryPauseStep")).wait,
            Wait::AsksPerson
        );
        assert_eq!(
            canary(timed.clone(), paused("CanaryPauseStep")).wait,
            Wait::GoesOn
        );
        for reason in ["InconclusiveAnalysisRun", "FailedAnalysisRun", "HeldByGate"] {
            assert_eq!(
                canary(timed.clone(), paused(reason)).wait,
                Wait::AsksPerson,
                "{reason}"
            );
        }
    }

    #[test]
    fn blue_green_asks_where_it_does_not_promote_by_itself() {
        for (by_itself, wait) in [(true, Wait::GoesOn), (false, Wait::AsksPerson)] {
            let strategy = json!({"blueGreen": {
                "activeService": "web", "autoPromotionEnabled": by_itself, "autoPromotionSeconds": 30,
            }});
            assert_eq!(of(&rollout(strategy, paused("BlueGreenPause"))).wait, wait);
        }
    }

    #[test]
    fn a_freeze_ends_by_itself_and_a_released_pause_is_about_to() {
        let mut status = paused("CanaryPauseStep");
        status["serin"] =
            json!({"freeze": {"message": "until Monday", "since": null, "until": null}});
        assert_eq!(canary(json!([{"pause": {}}]), status).wait, Wait::GoesOn);
        let mut status = paused("CanaryPauseStep");
        status["pauseConditions"] = json!(null);
        let standing = canary(json!([{"pause": {}}]), status);
        assert_eq!(standing.message, "waiting for rollout to unpause");
        assert_eq!(standing.wait, Wait::GoesOn);
    }

    #[test]
    fn a_pause_that_somebody_ended_a_moment_ago_asks_nobody() {
        for (key, value, wait) in [
            (crate::api::PROMOTE, "true", Wait::GoesOn),
            (
                crate::api::LAST_COMMAND,
                r#"{"id":"7","verb":"promote","value":"true","hash":"h","step":0,"at":"","outcome":"accepted"}"#,
                Wait::GoesOn,
            ),
            (
                crate::api::LAST_COMMAND,
                r#"{"id":"7","verb":"promote","value":"true","hash":"h","step":0,"at":"","outcome":"refused: no"}"#,
                Wait::AsksPerson,
            ),
        ] {
            let strategy = json!({"canary": {"steps": [{"pause": {}}]}});
            let mut rollout = rollout(strategy, paused("CanaryPauseStep"));
            rollout.metadata.annotations = Some([(key.to_owned(), value.to_owned())].into());
            assert_eq!(of(&rollout).wait, wait, "{value}");
        }
    }

    #[test]
    fn a_workload_that_moved_on_is_waited_for() {
        let mut rollout = rollout(
            json!({"canary": {}}),
            json!({"observedGeneration": "3", "phase": "Healthy", "workloadObservedGeneration": "1"}),
        );
        rollout.spec.template = None;
        rollout.spec.workload_ref = Some(serde_json::from_value(json!({"name": "web"})).unwrap());
        let annotations = [(WORKLOAD_GENERATION.to_owned(), "2".to_owned())];
        rollout.metadata.annotations = Some(annotations.into());
        assert_eq!(of(&rollout).wait, Wait::GoesOn);
    }
}
