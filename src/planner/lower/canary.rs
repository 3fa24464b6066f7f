//! The canary strategy: its fields and what may stand beside what. Steps are in `step`.

use super::analysis::lower_analysis;
use super::roles::lower_roles;
use super::step::{lower_limit, lower_seconds, lower_step};
use super::traffic::{self, Routers};
use super::{CANARY, count};
use crate::api::IntOrString;
use crate::api::canary::{CanaryStrategy, GradualRollback, ReplicaProgressThreshold};
use crate::planner::fault::Fault;
use crate::planner::revision;
use crate::planner::spec::{Background, Bound, Canary, Descent, PingPong, Step, Threshold};

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
        constant_replicas,
        gradual_rollback,
        analyze_first_deployment,
        answer_within,
        keep_canary_for,
    } = wire;
    let unsupported = [("trafficRouting", traffic_routing.is_some())];
    for (name, is_set) in unsupported {
        if is_set {
            faults.push(Fault::unsupported(&format!("{CANARY}.{name}")));
        }
    }
    traffic::check(wire, faults);
    let routers = Routers::of(wire);
    let has_router = routers.is_set();
    let service = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (canary_service, stable_service) = (service(canary_service), service(stable_service));
    let pair = ping_pong.as_ref().and_then(|pair| {
        Some(PingPong {
            ping: service(&pair.ping_service)?,
            pong: service(&pair.pong_service)?,
        })
    });
    if ping_pong.is_some() && has_router {
        faults.push(Fault::unsupported(&format!("{CANARY}.pingPong")));
    }
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
    // Without a router these mean nothing, here and with every controller of this API (S13, S17,
    // S18): they are checked as numbers, and `advice` tells that they do nothing.
    for (name, value) in [
        (
            "scaleDownDelayRevisionLimit",
            scale_down_delay_revision_limit,
        ),
        ("abortScaleDownDelaySeconds", abort_scale_down_delay_seconds),
        ("minPodsPerReplicaSet", min_pods_per_replica_set),
    ] {
        count(&format!("{CANARY}.{name}"), *value, 0, faults);
    }
    let max_surge = bound(&format!("{CANARY}.maxSurge"), max_surge.as_ref(), faults);
    let max_unavailable = bound(
        &format!("{CANARY}.maxUnavailable"),
        max_unavailable.as_ref(),
        faults,
    );
    let is_constant = constant_replicas.unwrap_or(false);
    if is_constant {
        check_constant(wire, max_surge, faults);
    } else if is_zero(max_surge) && is_zero(max_unavailable) {
        faults.push(Fault::invalid(
            &format!("{CANARY}.maxSurge"),
            0,
            "MaxSurge and MaxUnavailable both can not be zero",
        ));
    }
    let answer_within = lower_limit(CANARY, answer_within.as_deref(), faults);
    let keep_for = keep_canary_for.as_deref().map(|text| {
        check_kept(wire, max_surge, faults);
        lower_seconds(&format!("{CANARY}.keepCanaryFor"), Some(text), faults)
    });
    let lowered: Vec<Step> = steps
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(i, step)| lower_step(i, step, routers, faults))
        .collect();
    Canary {
        canary_service,
        stable_service,
        ping_pong: pair,
        roles: lower_roles(
            CANARY,
            ("stableMetadata", stable_metadata.as_ref()),
            ("canaryMetadata", canary_metadata.as_ref()),
            anti_affinity.as_ref(),
            faults,
        ),
        step_hash: revision::step_hash(steps.as_deref()),
        max_surge,
        max_unavailable: if is_constant {
            Bound::Pods(0)
        } else {
            max_unavailable
        },
        threshold: replica_progress_threshold
            .as_ref()
            .and_then(|t| lower_threshold(t, faults)),
        is_constant,
        gradual_rollback: gradual_rollback
            .as_ref()
            .map(|g| lower_descent(g, has_router, faults)),
        analyzes_first: analyze_first_deployment.unwrap_or(false),
        answer_within,
        keep_for: keep_for.and_then(|seconds| u32::try_from(seconds).ok()),
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

/// `constantReplicas` takes the place of `maxUnavailable`, and needs room for the new pod.
fn check_constant(wire: &CanaryStrategy, max_surge: Bound, faults: &mut Vec<Fault>) {
    let path = format!("{CANARY}.constantReplicas");
    let mut refuse = |message: &str| faults.push(Fault::invalid(&path, true, message));
    if wire.traffic_routing.is_some() {
        refuse(
            "is for a canary without trafficRouting: with a router stable keeps its size anyway",
        );
    }
    if wire.max_unavailable.is_some() {
        refuse("takes the place of maxUnavailable: leave that out");
    }
    if is_zero(max_surge) {
        refuse("a new pod must be available before an old one goes: give maxSurge at least 1");
    }
}

/// Pods that are kept after an abort must answer no client, and there must be room for them beside a
/// full stable version.
fn check_kept(wire: &CanaryStrategy, max_surge: Bound, faults: &mut Vec<Fault>) {
    let path = format!("{CANARY}.keepCanaryFor");
    let text = wire.keep_canary_for.as_deref().unwrap_or_default();
    let mut refuse =
        |message: &str| faults.push(Fault::invalid(&path, format!("{text:?}"), message));
    if wire.traffic_routing.is_some() {
        refuse(
            "is for a canary without trafficRouting: with a router use abortScaleDownDelaySeconds",
        );
    }
    if wire.stable_service.as_deref().is_none_or(str::is_empty) {
        refuse(
            "the pods that stay must answer no client: name the Service that clients use in stableService",
        );
    }
    if is_zero(max_surge) {
        refuse(
            "pods stay only as far as maxSurge has room for them beside a full stable version: give maxSurge at least 1",
        );
    }
}

fn lower_threshold(wire: &ReplicaProgressThreshold, faults: &mut Vec<Fault>) -> Option<Threshold> {
    let path = format!("{CANARY}.replicaProgressThreshold");
    // A negative value is an absent one (S16).
    let value = wire.value.filter(|value| *value >= 0)?;
    let value = count(&format!("{path}.value"), Some(value), 0, faults);
    match wire.type_.as_deref() {
        Some("Percent") if value > 100 => {
            let message = "a percentage must be between 0 and 100";
            faults.push(Fault::invalid(&format!("{path}.value"), value, message));
            None
        }
        Some("Percent") => Some(Threshold::Percent(value)),
        Some("Pods") => Some(Threshold::Pods(value)),
        Some(other) => {
            let message = "must be Percent or Pods";
            faults.push(Fault::invalid(
                &format!("{path}.type"),
                format!("{other:?}"),
                message,
            ));
            None
        }
        None => {
            faults.push(Fault::required(
                &format!("{path}.type"),
                "say Percent or Pods",
            ));
            None
        }
    }
}

fn lower_descent(wire: &GradualRollback, has_router: bool, faults: &mut Vec<Fault>) -> Descent {
    let path = format!("{CANARY}.gradualRollback");
    if has_router {
        let message =
            "is for a canary without trafficRouting: with a router use dynamicStableScale";
        faults.push(Fault::invalid(&path, "{}", message));
    }
    let by = u32::try_from(wire.by)
        .ok()
        .filter(|by| (1..=100).contains(by));
    if by.is_none() {
        let message = "must be between 1 and 100";
        faults.push(Fault::invalid(&format!("{path}.by"), wire.by, message));
    }
    Descent {
        by: by.unwrap_or(100),
        every: lower_seconds(&format!("{path}.every"), wire.every.as_deref(), faults),
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
