//! An Experiment object (L39): every fault at once, or what the planner works with.

use std::collections::BTreeSet;

use super::{is_label, length, name};
use crate::api::analysis::Argument;
use crate::api::experiment::{ExperimentSpec, ExperimentTemplate};
use crate::planner::experiment::spec::{Spec, Template};
use crate::planner::fault::Fault;
use crate::planner::lower::{count, selector, template};

/// Faults of an Experiment object.
pub(crate) fn check(spec: &ExperimentSpec) -> Vec<Fault> {
    object(spec).err().unwrap_or_default()
}

/// The Experiment as the planner works with it.
///
/// # Errors
/// Every fault there is.
pub(crate) fn object(wire: &ExperimentSpec) -> Result<Spec, Vec<Fault>> {
    let mut faults = Vec::new();
    let spec = lower(wire, &mut faults);
    if faults.is_empty() {
        Ok(spec)
    } else {
        Err(faults)
    }
}

fn lower(wire: &ExperimentSpec, faults: &mut Vec<Fault>) -> Spec {
    let ExperimentSpec {
        templates,
        duration,
        progress_deadline_seconds,
        terminate,
        analyses,
        scale_down_delay_seconds,
        dry_run,
        measurement_retention,
        analysis_run_metadata,
    } = wire;
    let templates = templates.as_deref().unwrap_or_default();
    if templates.is_empty() {
        faults.push(Fault::required(
            "spec.templates",
            "name at least one template",
        ));
    }
    let path = "spec.progressDeadlineSeconds";
    let deadline = count(path, *progress_deadline_seconds, 600, faults);
    let path = "spec.scaleDownDelaySeconds";
    let delay = count(path, *scale_down_delay_seconds, 30, faults);
    let (mut names, mut services) = (BTreeSet::new(), BTreeSet::new());
    let mut lowered = vec![];
    for (i, it) in templates.iter().enumerate() {
        let at = format!("spec.templates[{i}]");
        name(&at, ("template", i), &it.name, &mut names, faults);
        lowered.extend(lower_template(i, it, deadline, faults));
        service(&at, it, &mut services, faults);
    }
    let mut names = BTreeSet::new();
    for (i, analysis) in analyses.iter().flatten().enumerate() {
        let at = format!("spec.analyses[{i}]");
        name(&at, ("analysis", i), &analysis.name, &mut names, faults);
        if analysis.template_name.is_empty() {
            let path = format!("{at}.templateName");
            faults.push(Fault::required(&path, "name the AnalysisTemplate"));
        }
        let args = analysis.args.as_deref().unwrap_or_default();
        arguments(&at, args, faults);
    }
    Spec {
        templates: lowered,
        duration: length("spec.duration", duration.as_deref(), faults),
        progress_deadline_seconds: deadline,
        is_terminated: terminate.unwrap_or(false),
        analyses: analyses.clone().unwrap_or_default(),
        scale_down_delay_seconds: delay,
        dry_run: dry_run.clone().unwrap_or_default(),
        measurement_retention: measurement_retention.clone().unwrap_or_default(),
        metadata: analysis_run_metadata.clone(),
    }
}

fn lower_template(
    i: usize,
    wire: &ExperimentTemplate,
    deadline: u32,
    faults: &mut Vec<Fault>,
) -> Option<Template> {
    let at = format!("spec.templates[{i}]");
    let replicas = count(&format!("{at}.replicas"), wire.replicas, 1, faults);
    let path = format!("{at}.minReadySeconds");
    let ready = count(&path, wire.min_ready_seconds, 0, faults);
    if ready > deadline {
        faults.push(Fault::invalid(
            &path,
            ready,
            format!("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index {i}"),
        ));
    }
    let path = format!("{at}.selector");
    match &wire.selector {
        None => faults.push(Fault::required(
            &path,
            format!("Experiment has missing field '.{path}'"),
        )),
        Some(selector) if selector::is_empty(selector) => faults.push(Fault::invalid(
            &path,
            "{}",
            format!("This experiment is selecting all pods at index {i}. A non-empty selector is required."),
        )),
        Some(_) => {}
    }
    let path = format!("{at}.template");
    let Some(pods) = &wire.template else {
        faults.push(Fault::required(&path, "give the pods of this template"));
        return None;
    };
    let mut of_pods = Vec::new();
    let labels = template::check(Some(pods), false, &mut of_pods);
    faults.extend(of_pods.into_iter().map(|fault| Fault {
        path: fault.path.replacen("spec.template", &path, 1),
        ..fault
    }));
    let selector = wire.selector.as_ref()?;
    let labels = labels.unwrap_or_default();
    if !selector::is_empty(selector) && !selector::matches(selector, &labels) {
        faults.push(Fault::invalid(
            &format!("{path}.metadata.labels"),
            serde_json::to_string(&labels).unwrap_or_default(),
            "`selector` does not match template `labels`: give the template every label that its selector asks for",
        ));
    }
    Some(Template {
        name: wire.name.clone(),
        replicas,
        min_ready_seconds: ready,
        selector: serde_json::to_value(selector).unwrap_or_default(),
        template: pods.clone(),
        service: wire
            .service
            .as_ref()
            .map(|s| s.name.clone().unwrap_or_default()),
    })
}

fn service(
    at: &str,
    wire: &ExperimentTemplate,
    services: &mut BTreeSet<String>,
    faults: &mut Vec<Fault>,
) {
    let name = wire.service.as_ref().and_then(|s| s.name.as_ref());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return;
    };
    let path = format!("{at}.service.name");
    if !is_label(name) {
        let message = "is not the name of a Service: use small letters, digits and '-'";
        faults.push(Fault::invalid(&path, format!("{name:?}"), message));
    } else if !services.insert(name.clone()) {
        let message = "Duplicate value: two templates cannot share one Service";
        faults.push(Fault::invalid(&path, format!("{name:?}"), message));
    }
}

fn arguments(at: &str, args: &[Argument], faults: &mut Vec<Fault>) {
    for (i, arg) in args.iter().enumerate() {
        let at = format!("{at}.args[{i}]");
        if arg.name.is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the argument"));
        }
        if arg.value.is_some() && arg.value_from.is_some() {
            let message = format!("arg '{}' has both Value and ValueFrom fields", arg.name);
            faults.push(Fault::invalid(&at, format!("{:?}", arg.name), message));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// L39, in the words that clients know.
    #[test]
    fn names_are_given_once() {
        let pods = json!({"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
        let named = |name: &str| json!({"name": name, "template": pods, "selector": {"matchLabels": {"app": "a"}}});
        let wire = json!({
            "templates": [named("a"), named(""), named("a")],
            "analyses": [{"name": "b", "templateName": "t"}, {"name": "b", "templateName": "t"}],
        });
        let told: Vec<String> = check(&serde_json::from_value(wire).unwrap())
            .iter()
            .map(ToString::to_string)
            .collect();
        for (fault, words) in told.iter().zip([
            "spec.templates[1].name: Required value: Experiment has empty template name at index 1",
            "spec.templates[2].name: Invalid value: \"a\": Experiment has repeated template name a at index 2",
            "spec.analyses[1].name: Invalid value: \"b\": Experiment has repeated analysis name b at index 1",
        ]) {
            assert!(fault.contains(words), "{words} is not in {fault}");
        }
        assert_eq!(told.len(), 3, "{told:?}");
    }
}
