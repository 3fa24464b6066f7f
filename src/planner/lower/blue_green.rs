//! The blueGreen strategy: its fields, their defaults, and what may stand beside what.

use super::analysis::lower_analysis;
use super::canary::bound;
use super::roles::lower_roles;
use super::step::lower_limit;
use super::{BLUE_GREEN, count};
use crate::api::BlueGreenStrategy;
use crate::api::canary::RolloutAnalysis;
use crate::planner::fault::Fault;
use crate::planner::spec::BlueGreen;

/// Lowers the blueGreen strategy; faults are added to `faults`.
pub(super) fn lower_blue_green(wire: &BlueGreenStrategy, faults: &mut Vec<Fault>) -> BlueGreen {
    let BlueGreenStrategy {
        active_service,
        preview_service,
        preview_replica_count,
        auto_promotion_enabled,
        auto_promotion_seconds,
        max_unavailable,
        scale_down_delay_seconds,
        scale_down_delay_revision_limit,
        pre_promotion_analysis,
        anti_affinity,
        post_promotion_analysis,
        preview_metadata,
        active_metadata,
        abort_scale_down_delay_seconds,
        slos,
        analyze_first_deployment,
        answer_within,
    } = wire;
    let at = |name: &str| format!("{BLUE_GREEN}.{name}");
    let active = active_service.clone().unwrap_or_default();
    let preview = preview_service.clone().filter(|name| !name.is_empty());
    if active.is_empty() {
        faults.push(Fault::required(
            &at("activeService"),
            "name the Service that clients use: it is switched to the new version",
        ));
    }
    if preview.as_ref() == Some(&active) {
        faults.push(Fault::invalid(
            &at("activeService"),
            format!("{active:?}"),
            "This rollout uses the same service for the active and preview services, but two different services are required.",
        ));
    }
    let size = preview_replica_count.map(|n| count(&at("previewReplicaCount"), Some(n), 1, faults));
    let limit = scale_down_delay_revision_limit
        .map(|n| count(&at("scaleDownDelayRevisionLimit"), Some(n), 0, faults));
    let mut seconds =
        |name: &str, value: Option<i64>, default: u32| count(&at(name), value, default, faults);
    let auto_promotion_seconds = seconds("autoPromotionSeconds", *auto_promotion_seconds, 0);
    let delay = seconds("scaleDownDelaySeconds", *scale_down_delay_seconds, 30);
    let abort_delay = seconds(
        "abortScaleDownDelaySeconds",
        *abort_scale_down_delay_seconds,
        30,
    );
    BlueGreen {
        roles: lower_roles(
            BLUE_GREEN,
            ("activeMetadata", active_metadata.as_ref()),
            ("previewMetadata", preview_metadata.as_ref()),
            anti_affinity.as_ref(),
            faults,
        ),
        active_service: active,
        preview_service: preview,
        preview_replica_count: size.filter(|n| *n > 0),
        auto_promotion_enabled: auto_promotion_enabled.unwrap_or(true),
        auto_promotion_seconds,
        max_unavailable: bound(&at("maxUnavailable"), max_unavailable.as_ref(), faults),
        scale_down_delay_seconds: delay,
        is_delay_explicit: scale_down_delay_seconds.is_some(),
        scale_down_delay_revision_limit: limit,
        abort_scale_down_delay_seconds: abort_delay,
        pre_promotion: analysis(
            "prePromotionAnalysis",
            pre_promotion_analysis.as_ref(),
            faults,
        ),
        post_promotion: analysis(
            "postPromotionAnalysis",
            post_promotion_analysis.as_ref(),
            faults,
        ),
        slos: slos.as_ref().and_then(|s| {
            if s.starting_step.is_some_and(|n| n > 0) {
                faults.push(Fault::invalid(
                    &at("slos.startingStep"),
                    s.starting_step.unwrap_or(0),
                    "blueGreen has no steps: the objectives are checked after the switch; remove it",
                ));
            }
            crate::planner::slo::lower(s, &at("slos"))
                .map_err(|more| faults.extend(more))
                .ok()
        }),
        analyzes_first: analyze_first_deployment.unwrap_or(false),
        answer_within: lower_limit(BLUE_GREEN, answer_within.as_deref(), faults),
    }
}

fn analysis(
    name: &str,
    wire: Option<&RolloutAnalysis>,
    faults: &mut Vec<Fault>,
) -> Option<RolloutAnalysis> {
    let wire = wire?;
    lower_analysis(&format!("{BLUE_GREEN}.{name}"), wire, faults)?;
    Some(wire.clone())
}
