//! Wire to validated spec: defaults, cross-field rules, every fault at once with its path and what
//! to do (contract §1.19). The only reader of the wire's spec; knows no status and no clock.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::fault::Fault;
use super::spec::{LabelsJson, SelectorJson, Spec, Strategy};
use crate::api::Rollout;
use crate::api::rollout::{RolloutSpec, RolloutStrategy};

mod analysis;
mod blue_green;
mod canary;
pub(crate) mod experiment;
mod fields;
mod pod;
pub mod references;
mod roles;
mod routes;
mod selector;
mod step;
mod template;
mod traffic;
mod workload;

use canary::lower_canary;
pub(crate) use selector::text as selector_text;
pub use workload::outline;
pub(crate) use workload::with_workload;

/// A third of what an `i32` holds: sums of counts cannot overflow anywhere behind this.
const MOST: i64 = 715_827_882;

/// Lowers a Rollout: the spec with its defaults, or every fault in it.
///
/// # Errors
/// All faults, in the order of the fields.
pub fn lower(rollout: &Rollout) -> Result<Spec, Vec<Fault>> {
    let mut faults = Vec::new();
    let specs = lower_spec(&rollout.spec, &mut faults);
    for spec in &specs {
        let Some(slos) = spec.slos() else { continue };
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        let path = format!("{}.slos", spec.strategy_path());
        faults.extend(super::slo::check(slos, name, spec.steps().len(), &path));
    }
    fields::check(rollout, &mut faults);
    match specs.into_iter().next() {
        Some(spec) if faults.is_empty() => Ok(spec),
        Some(_) | None => Err(faults),
    }
}

/// The spec, once for every strategy that is there: with two of them, which is a fault, those of
/// both are found.
fn lower_spec(wire: &RolloutSpec, faults: &mut Vec<Fault>) -> Vec<Spec> {
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
    let workload = workload_ref
        .as_ref()
        .and_then(|w| workload::lower_workload(w, faults));
    // Without a selector of its own a Rollout takes that of its workload.
    let is_elsewhere = workload_ref.is_some() && selector.as_ref().is_none_or(selector::is_empty);
    let selector_text = match is_elsewhere {
        true => String::new(),
        false => selector::check(selector.as_ref(), faults),
    };
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
    let window = rollback_window.as_ref().and_then(|w| w.revisions);
    let window = window.map(|n| count("spec.rollbackWindow.revisions", Some(n), 0, faults));
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
    let lowered = lower_strategies(strategy.as_ref(), faults);
    let specs: Vec<Spec> = lowered
        .into_iter()
        .map(|strategy| Spec {
            replicas: replicas_count,
            replicas_unset: replicas.is_none(),
            selector: SelectorJson::of(&serde_json::to_value(selector).unwrap_or_default()),
            selector_text: selector_text.clone(),
            template_labels: LabelsJson::of(&labels.clone().unwrap_or_default()),
            min_ready_seconds: min_ready,
            revision_history_limit: history,
            paused: paused.unwrap_or(false),
            progress_deadline_seconds: deadline,
            progress_deadline_abort: progress_deadline_abort.unwrap_or(false),
            workload: workload.clone(),
            restart_at: restart_at.as_ref().map(|t| whole(t.0)),
            successful_run_history_limit: good,
            unsuccessful_run_history_limit: bad,
            rollback_window: window,
            strategy,
        })
        .collect();
    for spec in &specs {
        check_strategy(spec, selector.as_ref(), faults);
    }
    specs
}

/// What a strategy may not say beside the rest of the spec.
fn check_strategy(spec: &Spec, selector: Option<&Selector>, faults: &mut Vec<Fault>) {
    let limit = spec
        .blue_green()
        .and_then(|b| b.scale_down_delay_revision_limit);
    if let Some(limit) = limit.filter(|n| *n > spec.revision_history_limit) {
        faults.push(Fault::invalid(
            &format!("{BLUE_GREEN}.scaleDownDelayRevisionLimit"),
            limit,
            "This rollout's revision history limit can not be smaller than the rollout's scale down limit",
        ));
    }
    roles::check(spec.strategy_path(), spec.roles(), selector, faults);
}

/// A time as the status can hold it: clients cut fractions of seconds.
fn whole(t: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(t.as_second()).unwrap_or(t)
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

fn lower_strategies(wire: Option<&RolloutStrategy>, faults: &mut Vec<Fault>) -> Vec<Strategy> {
    let none = RolloutStrategy::default();
    let RolloutStrategy { blue_green, canary } = wire.unwrap_or(&none);
    match (canary, blue_green) {
        (Some(_), Some(_)) => faults.push(Fault::invalid(
            "spec.strategy.strategy",
            "\"blueGreen, canary\"",
            "Multiple Strategies can not be listed",
        )),
        (None, None) => faults.push(Fault::required(
            "spec.strategy.strategy",
            "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
        )),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let blue_green = blue_green.as_ref().map(|wire| {
        let lowered = blue_green::lower_blue_green(wire, faults);
        Strategy::BlueGreen(Box::new(lowered))
    });
    let canary = canary
        .as_ref()
        .map(|wire| Strategy::Canary(Box::new(lower_canary(wire, faults))));
    blue_green.into_iter().chain(canary).collect()
}

const CANARY: &str = "spec.strategy.canary";
const BLUE_GREEN: &str = "spec.strategy.blueGreen";

/// True when these labels are selected.
pub(crate) fn selects(
    selector: &Selector,
    labels: &std::collections::BTreeMap<String, String>,
) -> bool {
    selector::matches(selector, labels)
}

/// The selector's wire type, for the check of the selector.
pub(crate) type Selector = LabelSelector;

#[cfg(test)]
mod tests;
