//! One canary step: exactly one kind each, with what that kind asks for.

use super::analysis::lower_analysis;
use super::traffic::Routers;
use super::{CANARY, experiment, routes};
use crate::api::canary::{self, CanaryStep, RolloutPause};
use crate::planner::duration;
use crate::planner::fault::Fault;
use crate::planner::ramp;
use crate::planner::spec::{Pause, Ramp, Step};

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
        ramp,
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
        ("ramp", ramp.is_some()),
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
    if let Some(ramp) = ramp {
        return lower_ramp(&format!("{path}.ramp"), ramp, faults);
    }
    if let Some(analysis) = analysis {
        lower_analysis(&format!("{path}.analysis"), analysis, faults)?;
        return Some(Step::Analysis(Box::new(analysis.clone())));
    }
    if let Some(experiment) = experiment {
        let path = format!("{path}.experiment");
        return experiment::step(&path, experiment, routers, faults);
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
    let timeout = pause.timeout.as_deref().map(|text| {
        let at = format!("{path}.pause.timeout");
        if pause.duration.is_some() {
            faults.push(Fault::invalid(
                &at,
                format!("{text:?}"),
                "a pause with a duration ends by itself: leave duration out to wait for a person, or leave timeout out",
            ));
        }
        lower_seconds(&at, Some(text), faults)
    });
    let Some(duration) = &pause.duration else {
        return Some(Step::Pause(Pause {
            seconds: None,
            text: None,
            timeout,
        }));
    };
    let text = duration.to_string();
    let seconds = duration::pause_seconds(&text);
    match seconds {
        Ok(seconds) if (0..=100 * 365 * 86_400).contains(&seconds) => Some(Step::Pause(Pause {
            seconds: Some(seconds),
            text: Some(text),
            timeout: None,
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

/// Whole seconds of a duration that must be there and be at least a second.
pub(super) fn lower_seconds(path: &str, text: Option<&str>, faults: &mut Vec<Fault>) -> i64 {
    let Some(text) = text else {
        faults.push(Fault::required(path, "write a duration, such as 2m"));
        return 1;
    };
    // A number without a unit is refused by the definition too: these are fields of our own.
    let seconds = duration::parse(text).map(|ms| ms.checked_div(1000).unwrap_or(0));
    match seconds {
        Ok(seconds) if (1..=100 * 365 * 86_400).contains(&seconds) => seconds,
        Ok(_) | Err(_) => {
            faults.push(Fault::invalid(
                path,
                format!("{text:?}"),
                "must be a duration of a second or more: 30s, 5m, 1h30m",
            ));
            1
        }
    }
}

/// How long a person is waited for, whatever asks.
pub(super) fn lower_limit(
    strategy: &str,
    text: Option<&str>,
    faults: &mut Vec<Fault>,
) -> Option<i64> {
    let path = format!("{strategy}.answerWithin");
    text.map(|text| lower_seconds(&path, Some(text), faults))
}

fn lower_ramp(path: &str, wire: &canary::Ramp, faults: &mut Vec<Fault>) -> Option<Step> {
    let before = faults.len();
    let canary::Ramp {
        from,
        to,
        by,
        every,
        curve,
    } = wire;
    let is_exponential = match curve.as_deref() {
        None | Some("linear") => false,
        Some("exponential") => true,
        Some(other) => {
            let message = "must be linear or exponential";
            faults.push(Fault::invalid(
                &format!("{path}.curve"),
                format!("{other:?}"),
                message,
            ));
            false
        }
    };
    if by.is_none() && !is_exponential {
        let message = "say by how many percent a linear ramp rises each time";
        faults.push(Fault::required(&format!("{path}.by"), message));
    }
    let mut percent = |name: &str, value: Option<i64>, default: u32, least: u32| {
        let value = value.unwrap_or(i64::from(default));
        let fits = u32::try_from(value)
            .ok()
            .filter(|n| (least..=100).contains(n));
        if fits.is_none() {
            let message = format!("must be between {least} and 100");
            faults.push(Fault::invalid(&format!("{path}.{name}"), value, message));
        }
        fits.unwrap_or(default)
    };
    let by_least = if is_exponential { 2 } else { 1 };
    let by_value = percent("by", *by, by_least, by_least);
    let first = percent("from", *from, if is_exponential { 1 } else { by_value }, 1);
    let last = percent("to", *to, 100, 1);
    if first >= last && (from.is_some() || to.is_some()) {
        let message = format!("must be above from, which is {first}");
        faults.push(Fault::invalid(&format!("{path}.to"), last, message));
    }
    let seconds = lower_seconds(&format!("{path}.every"), every.as_deref(), faults);
    let word = if is_exponential { "times" } else { "by" };
    let each = every.as_deref().unwrap_or_default();
    (faults.len() == before).then(|| {
        Step::Ramp(Ramp {
            levels: ramp::levels(first, last, by_value, is_exponential),
            every: seconds,
            text: format!("{first} to {last} {word} {by_value} every {each}"),
        })
    })
}
