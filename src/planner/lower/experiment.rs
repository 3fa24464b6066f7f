//! Experiments, as a step of a canary and as an object: names, sizes, durations, weights (contract
//! L24, L39). What their templates and analyses refer to is looked at elsewhere.

use std::collections::BTreeSet;

use super::analysis::check_args;
use super::traffic::Routers;
use super::{count, selector};
use crate::api::canary::RolloutExperimentStep;
use crate::api::experiment::ExperimentSpec;
use crate::planner::duration;
use crate::planner::fault::Fault;

/// An Experiment step at `path`.
pub(super) fn step(
    path: &str,
    wire: &RolloutExperimentStep,
    routers: Routers<'_>,
    faults: &mut Vec<Fault>,
) {
    let templates = wire.templates.as_deref().unwrap_or_default();
    if templates.is_empty() {
        faults.push(Fault::required(
            &format!("{path}.templates"),
            "name at least one template: its specRef is canary or stable",
        ));
    }
    let mut names = BTreeSet::new();
    for (i, template) in templates.iter().enumerate() {
        let at = format!("{path}.templates[{i}]");
        name(&at, &template.name, &mut names, faults);
        if template.spec_ref != "canary" && template.spec_ref != "stable" {
            faults.push(Fault::invalid(
                &format!("{at}.specRef"),
                format!("{:?}", template.spec_ref),
                "must be canary or stable",
            ));
        }
        count(&format!("{at}.replicas"), template.replicas, 1, faults);
        weight(&format!("{at}.weight"), template.weight, routers, faults);
    }
    length(
        &format!("{path}.duration"),
        wire.duration.as_deref(),
        faults,
    );
    let mut names = BTreeSet::new();
    for (i, analysis) in wire.analyses.iter().flatten().enumerate() {
        let at = format!("{path}.analyses[{i}]");
        name(&at, &analysis.name, &mut names, faults);
        if analysis.template_name.is_empty() {
            let path = format!("{at}.templateName");
            faults.push(Fault::required(&path, "name the AnalysisTemplate"));
        }
        check_args(&at, analysis.args.as_deref().unwrap_or_default(), faults);
    }
}

/// L24.
fn weight(path: &str, weight: Option<i64>, routers: Routers<'_>, faults: &mut Vec<Fault>) {
    let Some(weight) = weight else { return };
    let fits = |r: &crate::api::TrafficRouting| {
        let plugins = r.plugins.as_ref().is_some_and(|p| !p.is_empty());
        r.smi.is_some() || r.alb.is_some() || r.istio.is_some() || plugins
    };
    let message = if !routers.is_set() {
        "Experiment template weight cannot be set unless TrafficRouting is enabled"
    } else if !routers.any(fits) {
        "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time"
    } else if !(0..=i64::from(routers.most())).contains(&weight) {
        "must be from 0 to the weight that means all traffic"
    } else {
        return;
    };
    faults.push(Fault::invalid(path, weight, message));
}

/// Faults of an Experiment object (L39).
pub(crate) fn check(spec: &ExperimentSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let templates = spec.templates.as_deref().unwrap_or_default();
    if templates.is_empty() {
        faults.push(Fault::required(
            "spec.templates",
            "name at least one template",
        ));
    }
    let deadline = count(
        "spec.progressDeadlineSeconds",
        spec.progress_deadline_seconds,
        600,
        &mut faults,
    );
    let mut names = BTreeSet::new();
    for (i, template) in templates.iter().enumerate() {
        let at = format!("spec.templates[{i}]");
        name(&at, &template.name, &mut names, &mut faults);
        count(&format!("{at}.replicas"), template.replicas, 1, &mut faults);
        let path = format!("{at}.minReadySeconds");
        let ready = count(&path, template.min_ready_seconds, 0, &mut faults);
        if ready > deadline {
            faults.push(Fault::invalid(
                &path,
                ready,
                format!("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index {i}"),
            ));
        }
        let path = format!("{at}.selector");
        match &template.selector {
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
        if template.template.is_none() {
            let path = format!("{at}.template");
            faults.push(Fault::required(&path, "give the pods of this template"));
        }
    }
    length("spec.duration", spec.duration.as_deref(), &mut faults);
    let mut names = BTreeSet::new();
    for (i, analysis) in spec.analyses.iter().flatten().enumerate() {
        let at = format!("spec.analyses[{i}]");
        name(&at, &analysis.name, &mut names, &mut faults);
    }
    faults
}

fn name(at: &str, name: &str, names: &mut BTreeSet<String>, faults: &mut Vec<Fault>) {
    let path = format!("{at}.name");
    if name.is_empty() {
        faults.push(Fault::required(&path, "give it a name of its own"));
    } else if !names.insert(name.to_owned()) {
        faults.push(Fault::invalid(
            &path,
            format!("{name:?}"),
            "Duplicate value: repeated name, each needs one of its own",
        ));
    }
}

fn length(path: &str, text: Option<&str>, faults: &mut Vec<Fault>) {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return;
    };
    if !duration::parse(text).is_ok_and(|ms| ms > 0) {
        let message = "write a duration above zero with units, such as 30s, 5m or 1h30m";
        faults.push(Fault::invalid(path, format!("{text:?}"), message));
    }
}
