//! One canary step: exactly one kind each, with what that kind asks for.

use super::analysis::lower_analysis;
use super::traffic::Routers;
use super::{CANARY, experiment, routes};
use crate::api::canary::{CanaryStep, RolloutPause};
use crate::planner::duration;
use crate::planner::fault::Fault;
use crate::planner::spec::{Pause, Step};

/// Lowers the step at `index`; `None` where it cannot be used, which `faults` then tells.
pub(super) fn lower_step(
    index: usize,
    wire: &CanaryStep,
    routers: Routers<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Step> {
    let path = format!("{CANARY}.steps[{index}]");
    let CanaryStep {
        set_weight,
        pause,
        experiment,
        analysis,
        set_canary_scale,
        set_header_route,
        set_mirror_route,
        plugin,
    } = wire;
    let kinds = [
        ("setWeight", set_weight.is_some()),
        ("pause", pause.is_some()),
        ("experiment", experiment.is_some()),
        ("analysis", analysis.is_some()),
        ("setCanaryScale", set_canary_scale.is_some()),
        ("setHeaderRoute", set_header_route.is_some()),
        ("setMirrorRoute", set_mirror_route.is_some()),
        ("plugin", plugin.is_some()),
    ];
    let set: Vec<&str> = kinds
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    if set.len() != 1 {
        let given = if set.is_empty() {
            "null".to_owned()
        } else {
            set.join(", ")
        };
        faults.push(Fault::invalid(
            &path,
            format!("{given:?}"),
            "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause",
        ));
        return None;
    }
    if let Some(experiment) = experiment {
        experiment::step(&format!("{path}.experiment"), experiment, routers, faults);
    }
    if let Some(header) = set_header_route {
        routes::header(&format!("{path}.setHeaderRoute"), header, routers, faults);
    }
    if let Some(mirror) = set_mirror_route {
        routes::mirror(&format!("{path}.setMirrorRoute"), mirror, routers, faults);
    }
    if set_canary_scale.is_some() && !routers.is_set() {
        faults.push(Fault::invalid(
            &format!("{path}.setCanaryScale"),
            serde_json::to_string(set_canary_scale).unwrap_or_default(),
            "SetCanaryScale requires TrafficRouting to be set",
        ));
        return None;
    }
    if let Some(weight) = set_weight {
        return lower_weight(&path, *weight, routers.most(), faults);
    }
    if let Some(pause) = pause {
        return lower_pause(&path, pause, faults);
    }
    if let Some(analysis) = analysis {
        lower_analysis(&format!("{path}.analysis"), analysis, faults)?;
        return Some(Step::Analysis(Box::new(analysis.clone())));
    }
    for name in set {
        faults.push(Fault::unsupported(&format!("{path}.{name}")));
    }
    None
}

fn lower_weight(path: &str, weight: i64, most: u32, faults: &mut Vec<Fault>) -> Option<Step> {
    match u32::try_from(weight) {
        Ok(weight) if weight <= most => Some(Step::SetWeight(weight)),
        Ok(_) | Err(_) => {
            faults.push(Fault::invalid(
                &format!("{path}.setWeight"),
                weight,
                format!("SetWeight needs to be between 0 and {most}"),
            ));
            None
        }
    }
}

fn lower_pause(path: &str, pause: &RolloutPause, faults: &mut Vec<Fault>) -> Option<Step> {
    let Some(duration) = &pause.duration else {
        return Some(Step::Pause(Pause {
            seconds: None,
            text: None,
        }));
    };
    let text = duration.to_string();
    let seconds = duration::pause_seconds(&text);
    match seconds {
        Ok(seconds) if (0..=100 * 365 * 86_400).contains(&seconds) => Some(Step::Pause(Pause {
            seconds: Some(seconds),
            text: Some(text),
        })),
        Ok(seconds) if seconds > 0 => {
            faults.push(Fault::invalid(
                &format!("{path}.pause.duration"),
                format!("{text:?}"),
                "is longer than a hundred years: leave the duration out to wait for a person",
            ));
            None
        }
        Ok(_) | Err(_) => {
            faults.push(Fault::invalid(
                &format!("{path}.pause.duration"),
                format!("{text:?}"),
                "Duration needs to be greater than 0: write seconds (120) or a duration (30s, 5m, 1h30m)",
            ));
            None
        }
    }
}
