//! Wire to validated spec: defaults, cross-field rules, every fault at once with its path and what
//! to do (contract §1.19). The only reader of the wire's spec; knows no status and no clock.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::duration;
use super::fault::Fault;
use super::revision;
use super::spec::{Background, Bound, Canary, Pause, Spec, Step, Strategy};
use crate::api::canary::{CanaryStep, CanaryStrategy, RolloutAnalysis, RolloutPause};
use crate::api::rollout::{RolloutSpec, RolloutStrategy};
use crate::api::{IntOrString, Rollout, RolloutStatus};

mod selector;
mod template;

/// A third of what an `i32` holds: sums of counts cannot overflow anywhere behind this.
const MOST: i64 = 715_827_882;

/// Lowers a Rollout: the spec with its defaults, or every fault in it.
///
/// # Errors
/// All faults, in the order of the fields.
pub fn lower(rollout: &Rollout) -> Result<Spec, Vec<Fault>> {
    let status = rollout.status.clone().unwrap_or_default();
    let mut faults = Vec::new();
    let spec = lower_spec(&rollout.spec, &status, &mut faults);
    if let Some((canary, slos)) = spec
        .as_ref()
        .map(Spec::canary)
        .and_then(|c| Some((c, c.slos.as_ref()?)))
    {
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        faults.extend(super::slo::check(
            slos,
            name,
            canary.steps.len(),
            &format!("{CANARY}.slos"),
        ));
    }
    match spec {
        Some(spec) if faults.is_empty() => Ok(spec),
        Some(_) | None => Err(faults),
    }
}

fn lower_spec(wire: &RolloutSpec, status: &RolloutStatus, faults: &mut Vec<Fault>) -> Option<Spec> {
    // Destructured without `..`: a new field does not compile until it is lowered.
    let RolloutSpec {
        replicas,
        selector,
        template,
        workload_ref,
        min_ready_seconds,
        strategy,
        revision_history_limit,
        paused,
        progress_deadline_seconds,
        progress_deadline_abort,
        restart_at,
        analysis,
        rollback_window,
    } = wire;
    let replicas_count = count("spec.replicas", *replicas, 1, faults);
    let selector_text = selector::check(selector.as_ref(), faults);
    if workload_ref.is_some() {
        faults.push(Fault::unsupported("spec.workloadRef"));
    }
    let labels = template::check(template.as_ref(), workload_ref.is_some(), faults);
    if let (Some(selector), Some(labels)) = (selector, &labels)
        && !selector::is_empty(selector)
        && !selector::matches(selector, labels)
    {
        faults.push(Fault::invalid(
            "spec.template.metadata.labels",
            serde_json::to_string(labels).unwrap_or_default(),
            "`selector` does not match template `labels`: give the template every label that spec.selector asks for",
        ));
    }
    let min_ready = count("spec.minReadySeconds", *min_ready_seconds, 0, faults);
    let history = count(
        "spec.revisionHistoryLimit",
        *revision_history_limit,
        10,
        faults,
    );
    let deadline = count(
        "spec.progressDeadlineSeconds",
        *progress_deadline_seconds,
        600,
        faults,
    );
    if deadline <= min_ready && progress_deadline_seconds.is_none_or(|d| d >= 0) {
        faults.push(Fault::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    if restart_at.is_some() && *restart_at != status.restarted_at {
        faults.push(Fault::unsupported("spec.restartAt"));
    }
    if rollback_window.is_some() {
        faults.push(Fault::unsupported("spec.rollbackWindow"));
    }
    let kept = analysis.clone().unwrap_or_default();
    let base = "spec.analysis.";
    let good = count(
        &format!("{base}successfulRunHistoryLimit"),
        kept.successful_run_history_limit,
        5,
        faults,
    );
    let bad = count(
        &format!("{base}unsuccessfulRunHistoryLimit"),
        kept.unsuccessful_run_history_limit,
        5,
        faults,
    );
    let canary = lower_strategy(strategy.as_ref(), faults)?;
    Some(Spec {
        replicas: replicas_count,
        replicas_unset: replicas.is_none(),
        selector: serde_json::to_value(selector).unwrap_or_default(),
        selector_text,
        template_labels: labels.unwrap_or_default(),
        min_ready_seconds: min_ready,
        revision_history_limit: history,
        paused: paused.unwrap_or(false),
        progress_deadline_seconds: deadline,
        progress_deadline_abort: progress_deadline_abort.unwrap_or(false),
        successful_run_history_limit: good,
        unsuccessful_run_history_limit: bad,
        strategy: Strategy::Canary(canary),
    })
}

/// A count with its default; negative ones and ones beyond reason are faults.
fn count(path: &str, value: Option<i64>, default: u32, faults: &mut Vec<Fault>) -> u32 {
    let Some(n) = value else { return default };
    if n < 0 {
        faults.push(Fault::invalid(
            path,
            n,
            "must be greater than or equal to 0",
        ));
        return default;
    }
    if n > MOST {
        faults.push(Fault::invalid(
            path,
            n,
            format!("must be less than or equal to {MOST}"),
        ));
        return default;
    }
    u32::try_from(n).unwrap_or(default)
}

fn lower_strategy(wire: Option<&RolloutStrategy>, faults: &mut Vec<Fault>) -> Option<Canary> {
    let missing = || {
        Fault::required(
            "spec.strategy.strategy",
            "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
        )
    };
    let Some(RolloutStrategy { blue_green, canary }) = wire else {
        faults.push(missing());
        return None;
    };
    match (canary, blue_green) {
        (Some(_), Some(_)) => {
            faults.push(Fault::invalid(
                "spec.strategy.strategy",
                "\"blueGreen, canary\"",
                "Multiple Strategies can not be listed",
            ));
            None
        }
        (None, Some(_)) => {
            faults.push(Fault::unsupported("spec.strategy.blueGreen"));
            None
        }
        (Some(canary), None) => Some(lower_canary(canary, faults)),
        (None, None) => {
            faults.push(missing());
            None
        }
    }
}

const CANARY: &str = "spec.strategy.canary";

fn lower_canary(wire: &CanaryStrategy, faults: &mut Vec<Fault>) -> Canary {
    let CanaryStrategy {
        canary_service,
        stable_service,
        steps,
        traffic_routing,
        max_unavailable,
        max_surge,
        analysis,
        anti_affinity,
        canary_metadata,
        stable_metadata,
        scale_down_delay_seconds,
        scale_down_delay_revision_limit,
        abort_scale_down_delay_seconds,
        dynamic_stable_scale,
        ping_pong,
        min_pods_per_replica_set,
        replica_progress_threshold,
        slos,
    } = wire;
    let unsupported = [
        ("canaryService", canary_service.is_some()),
        ("stableService", stable_service.is_some()),
        ("trafficRouting", traffic_routing.is_some()),
        ("antiAffinity", anti_affinity.is_some()),
        ("canaryMetadata", canary_metadata.is_some()),
        ("stableMetadata", stable_metadata.is_some()),
        (
            "scaleDownDelayRevisionLimit",
            scale_down_delay_revision_limit.is_some(),
        ),
        (
            "abortScaleDownDelaySeconds",
            abort_scale_down_delay_seconds.is_some(),
        ),
        ("pingPong", ping_pong.is_some()),
        ("minPodsPerReplicaSet", min_pods_per_replica_set.is_some()),
        (
            "replicaProgressThreshold",
            replica_progress_threshold.is_some(),
        ),
    ];
    for (name, is_set) in unsupported {
        if is_set {
            faults.push(Fault::unsupported(&format!("{CANARY}.{name}")));
        }
    }
    let has_router = traffic_routing.is_some();
    if let Some(seconds) = scale_down_delay_seconds {
        let path = format!("{CANARY}.scaleDownDelaySeconds");
        faults.push(if has_router {
            Fault::unsupported(&path)
        } else {
            Fault::invalid(
                &path,
                seconds,
                "Canary scaleDownDelaySeconds can only be used with traffic routing",
            )
        });
    }
    if dynamic_stable_scale.unwrap_or(false) {
        let path = format!("{CANARY}.dynamicStableScale");
        faults.push(if has_router {
            Fault::unsupported(&path)
        } else {
            Fault::invalid(
                &path,
                true,
                "Canary dynamicStableScale can only be used with traffic routing",
            )
        });
    }
    let max_surge = bound(&format!("{CANARY}.maxSurge"), max_surge.as_ref(), faults);
    let max_unavailable = bound(
        &format!("{CANARY}.maxUnavailable"),
        max_unavailable.as_ref(),
        faults,
    );
    if is_zero(max_surge) && is_zero(max_unavailable) {
        faults.push(Fault::invalid(
            &format!("{CANARY}.maxSurge"),
            0,
            "MaxSurge and MaxUnavailable both can not be zero",
        ));
    }
    let lowered: Vec<Step> = steps
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(i, step)| lower_step(i, step, has_router, faults))
        .collect();
    Canary {
        step_hash: revision::step_hash(steps.as_deref()),
        max_surge,
        max_unavailable,
        background: analysis.as_ref().and_then(|a| {
            let path = format!("{CANARY}.analysis");
            lower_analysis(&path, &a.analysis, faults)?;
            let starting_step = count(&format!("{path}.startingStep"), a.starting_step, 0, faults);
            Some(Background {
                analysis: a.analysis.clone(),
                starting_step: usize::try_from(starting_step).unwrap_or(0),
            })
        }),
        slos: slos.as_ref().and_then(|s| {
            super::slo::lower(s, &format!("{CANARY}.slos"))
                .map_err(|more| faults.extend(more))
                .ok()
        }),
        steps: lowered,
    }
}

fn is_zero(bound: Bound) -> bool {
    matches!(bound, Bound::Pods(0) | Bound::Percent(0))
}

/// A surge or unavailability bound: a number is pods; any text is a percent, with or without the
/// sign (S8: existing clients read `"5"` as 5 %; lint and rehearsal warn of it).
fn bound(path: &str, value: Option<&IntOrString>, faults: &mut Vec<Fault>) -> Bound {
    match value {
        None => Bound::Percent(25),
        Some(IntOrString::Int(n)) => Bound::Pods(count(path, Some(*n), 1, faults)),
        Some(IntOrString::String(text)) => {
            let digits = text.trim().trim_end_matches('%');
            match digits.parse::<u32>() {
                Ok(percent) if percent <= 1_000_000 => Bound::Percent(percent),
                Ok(_) | Err(_) => {
                    faults.push(Fault::invalid(
                        path,
                        format!("{text:?}"),
                        "must be a number of pods or a percentage such as \"25%\"",
                    ));
                    Bound::Percent(25)
                }
            }
        }
    }
}

fn lower_step(
    index: usize,
    wire: &CanaryStep,
    has_router: bool,
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
    if set_canary_scale.is_some() && !has_router {
        faults.push(Fault::invalid(
            &format!("{path}.setCanaryScale"),
            serde_json::to_string(set_canary_scale).unwrap_or_default(),
            "SetCanaryScale requires TrafficRouting to be set",
        ));
        return None;
    }
    if let Some(weight) = set_weight {
        return lower_weight(&path, *weight, faults);
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

fn lower_weight(path: &str, weight: i64, faults: &mut Vec<Fault>) -> Option<Step> {
    match u32::try_from(weight) {
        Ok(weight) if weight <= super::replicas::MAX_WEIGHT => Some(Step::SetWeight(weight)),
        Ok(_) | Err(_) => {
            faults.push(Fault::invalid(
                &format!("{path}.setWeight"),
                weight,
                "SetWeight needs to be between 0 and 100",
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

fn lower_analysis(path: &str, analysis: &RolloutAnalysis, faults: &mut Vec<Fault>) -> Option<()> {
    let before = faults.len();
    let templates = analysis.templates.as_deref().unwrap_or_default();
    if templates.is_empty() {
        faults.push(Fault::required(
            &format!("{path}.templates"),
            "name at least one AnalysisTemplate",
        ));
    }
    for (i, template) in templates.iter().enumerate() {
        if template
            .template_name
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            faults.push(Fault::required(
                &format!("{path}.templates[{i}].templateName"),
                "name the AnalysisTemplate",
            ));
        }
    }
    for (i, arg) in analysis.args.iter().flatten().enumerate() {
        let at = format!("{path}.args[{i}]");
        if arg.name.is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the argument"));
        }
        let Some(from) = &arg.value_from else {
            continue;
        };
        if arg.value.is_some() {
            faults.push(Fault::invalid(
                &at,
                format!("{:?}", arg.name),
                format!("arg '{}' has both Value and ValueFrom fields", arg.name),
            ));
        }
        if let Some(which) = &from.pod_template_hash_value
            && which != "Latest"
            && which != "Stable"
        {
            faults.push(Fault::invalid(
                &format!("{at}.valueFrom.podTemplateHashValue"),
                format!("{which:?}"),
                "must be Latest or Stable",
            ));
        }
    }
    (faults.len() == before).then_some(())
}

/// The selector's wire type, for the check of the selector.
pub(crate) type Selector = LabelSelector;

#[cfg(test)]
mod tests;
