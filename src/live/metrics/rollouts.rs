//! Rollouts: phase, strategy, pods, weight and step of each.

use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Labels, gauges};
use crate::api::RolloutStatus;
use crate::planner::observed::RolloutSeen;
use crate::planner::reasons;
use crate::planner::spec::Strategy;

/// The phases that `rollout_phase` tells of, each as 0 or 1 (contract M6).
const PHASES: [&str; 6] = [
    "Completed",
    "Progressing",
    "Paused",
    "Timeout",
    "Error",
    "Abort",
];

/// What metrics tell of one Rollout: little, since a scrape holds that of all.
#[derive(Debug)]
pub(super) struct Row {
    namespace: String,
    name: String,
    strategy: &'static str,
    phase: &'static str,
    available: Option<f64>,
    unavailable: Option<f64>,
    desired: Option<f64>,
    updated: Option<f64>,
    weight: Option<f64>,
    step: Option<f64>,
    steps: Option<f64>,
}

impl Row {
    pub(super) fn of(seen: RolloutSeen) -> Self {
        let (status, spec) = (&seen.status, seen.spec.as_ref().ok());
        let available = status.available_replicas.unwrap_or(0);
        let unavailable = status.replicas.unwrap_or(0).saturating_sub(available);
        let steps = spec.and_then(|s| u32::try_from(s.steps().len()).ok());
        Self {
            strategy: strategy(&seen),
            phase: phase(status),
            available: number(status.available_replicas),
            unavailable: number(Some(unavailable.max(0))),
            desired: spec.map(|s| f64::from(s.replicas)),
            updated: number(status.updated_replicas),
            weight: number(status.serin.as_ref().and_then(|s| s.weight)),
            step: number(status.current_step_index),
            steps: steps.map(f64::from),
            namespace: seen.namespace,
            name: seen.name,
        }
    }

    fn labels(&self) -> Labels<'_> {
        vec![("namespace", &self.namespace), ("name", &self.name)]
    }
}

/// The strategy in spec; of a spec that cannot be used, the one that was last at work.
fn strategy(seen: &RolloutSeen) -> &'static str {
    let status = &seen.status;
    let active = status
        .blue_green
        .as_ref()
        .and_then(|b| b.active_selector.as_ref());
    match &seen.spec {
        Ok(spec) => match spec.strategy {
            Strategy::Canary(_) => "canary",
            Strategy::BlueGreen(_) => "blueGreen",
        },
        Err(_) if active.is_some() => "blueGreen",
        Err(_) if status.current_step_hash.is_some() => "canary",
        Err(_) => "none",
    }
}

pub(super) fn encode_rollouts(e: &mut DescriptorEncoder<'_>, all: &[Row]) -> Result<(), Error> {
    let info = all.iter().map(|r| {
        let mut labels = r.labels();
        labels.push(("strategy", r.strategy));
        // No router is built: a Rollout that names one is invalid.
        labels.push(("traffic_router", ""));
        labels.push(("phase", r.phase));
        (labels, 1.0)
    });
    gauges(e, ("rollout_info", "Information about rollouts."), info)?;
    let phases = all.iter().flat_map(|r| {
        PHASES.into_iter().map(move |phase| {
            let mut labels = r.labels();
            labels.push(("strategy", r.strategy));
            labels.push(("phase", phase));
            (labels, f64::from(u8::from(phase == r.phase)))
        })
    });
    gauges(
        e,
        (
            "rollout_phase",
            "Whether a rollout is in a phase, 0 or 1 (deprecated: use rollout_info).",
        ),
        phases,
    )?;
    type Count = fn(&Row) -> Option<f64>;
    let counts: [(&str, &str, Count); 7] = [
        ("rollout_info_replicas_available", "Available pods.", |r| {
            r.available
        }),
        (
            "rollout_info_replicas_unavailable",
            "Pods that are not available.",
            |r| r.unavailable,
        ),
        ("rollout_info_replicas_desired", "Pods wanted.", |r| {
            r.desired
        }),
        (
            "rollout_info_replicas_updated",
            "Pods of the version in spec.",
            |r| r.updated,
        ),
        (
            "serin_rollout_weight",
            "Percent of the pods that is the new version.",
            |r| r.weight,
        ),
        (
            "serin_rollout_step",
            "Index of the current step; the number of steps when done.",
            |r| r.step,
        ),
        ("serin_rollout_steps", "Number of steps.", |r| r.steps),
    ];
    for (name, help, count) in counts {
        let values = all.iter().filter_map(|r| Some((r.labels(), count(r)?)));
        gauges(e, (name, help), values)?;
    }
    Ok(())
}

fn number(value: Option<i64>) -> Option<f64> {
    value.and_then(|v| i32::try_from(v).ok()).map(f64::from)
}

/// The phase as metrics tell it (contract M3).
fn phase(status: &RolloutStatus) -> &'static str {
    let is = |kind: &str, reason: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.reason.as_deref() == Some(reason))
    };
    let has = |kind: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.status == "True")
    };
    if has(reasons::INVALID_SPEC) {
        "InvalidSpec"
    } else if is(reasons::PROGRESSING, reasons::ROLLOUT_ABORTED) {
        "Abort"
    } else if is(reasons::PROGRESSING, reasons::DEADLINE_EXCEEDED) {
        "Timeout"
    } else if is(reasons::PROGRESSING, reasons::RS_CREATE_ERROR) || has(reasons::REPLICA_FAILURE) {
        "Error"
    } else {
        match status.phase.as_deref() {
            Some("Paused") => "Paused",
            Some("Healthy") => "Completed",
            Some(_) | None => "Progressing",
        }
    }
}
