//! The canary strategy: its fields and what may stand beside what. Steps are in `step`.

use super::analysis::lower_analysis;
use super::step::lower_step;
use super::traffic::{self, Routers};
use super::{CANARY, count};
use crate::api::IntOrString;
use crate::api::canary::CanaryStrategy;
use crate::planner::fault::Fault;
use crate::planner::revision;
use crate::planner::spec::{Background, Bound, Canary, Step};

/// Lowers the canary strategy; faults are added to `faults`.
pub(super) fn lower_canary(wire: &CanaryStrategy, faults: &mut Vec<Fault>) -> Canary {
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
    traffic::check(wire, faults);
    let routers = Routers::of(wire);
    let has_router = routers.is_set();
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
        if scale_down_delay_seconds.is_some() {
            faults.push(Fault::invalid(
                &format!("{CANARY}.dynamicStableScale"),
                true,
                "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds",
            ));
        }
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
        .filter_map(|(i, step)| lower_step(i, step, routers, faults))
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
            crate::planner::slo::lower(s, &format!("{CANARY}.slos"))
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
pub(super) fn bound(path: &str, value: Option<&IntOrString>, faults: &mut Vec<Fault>) -> Bound {
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
