//! Experiments, as a step of a canary and as an object: names, sizes, durations, weights (contract
//! L24). What their templates and analyses refer to is looked at elsewhere.

use std::collections::BTreeSet;

use super::analysis::check_args;
use super::count;
use super::traffic::Routers;
use crate::api::canary::{
    AnalysisTemplateRef, RolloutAnalysis, RolloutExperimentAnalysis, RolloutExperimentStep,
};
use crate::planner::duration;
use crate::planner::fault::Fault;
use crate::planner::spec::{ExperimentStep, Step};

mod object;

pub(crate) use object::{check, object};

/// An Experiment step at `path`.
pub(super) fn step(
    path: &str,
    wire: &RolloutExperimentStep,
    routers: Routers<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Step> {
    let before = faults.len();
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
        name(&at, ("template", i), &template.name, &mut names, faults);
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
        name(&at, ("analysis", i), &analysis.name, &mut names, faults);
        if analysis.template_name.is_empty() {
            let path = format!("{at}.templateName");
            faults.push(Fault::required(&path, "name the AnalysisTemplate"));
        }
        check_args(&at, analysis.args.as_deref().unwrap_or_default(), faults);
    }
    let analyses = wire.analyses.iter().flatten().map(of_its_own).collect();
    let wire = wire.clone();
    (faults.len() == before).then(|| Step::Experiment(Box::new(ExperimentStep { wire, analyses })))
}

/// An analysis of the step as one of a Rollout.
pub(super) fn of_its_own(analysis: &RolloutExperimentAnalysis) -> RolloutAnalysis {
    RolloutAnalysis {
        templates: Some(vec![AnalysisTemplateRef {
            template_name: Some(analysis.template_name.clone()),
            cluster_scope: analysis.cluster_scope,
        }]),
        args: analysis.args.clone(),
        ..RolloutAnalysis::default()
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

/// L39: `what` at its index has a name, and no other one has it.
fn name(
    at: &str,
    (what, i): (&str, usize),
    name: &str,
    names: &mut BTreeSet<String>,
    faults: &mut Vec<Fault>,
) {
    let path = format!("{at}.name");
    if name.is_empty() {
        faults.push(Fault::required(
            &path,
            format!("Experiment has empty {what} name at index {i}: give it a name of its own"),
        ));
    } else if !names.insert(name.to_owned()) {
        faults.push(Fault::invalid(
            &path,
            format!("{name:?}"),
            format!(
                "Experiment has repeated {what} name {name} at index {i}: give it one of its own"
            ),
        ));
    } else if !is_label(name) {
        faults.push(Fault::invalid(
            &path,
            format!("{name:?}"),
            "is part of the names of objects: use small letters, digits and '-', from a letter or digit to another",
        ));
    }
}

/// True for what may be part of a name.
fn is_label(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63 && text.chars().all(is_fine) && !text.starts_with('-') && !text.ends_with('-')
}

/// A duration in milliseconds; `None` where there is none.
fn length(path: &str, text: Option<&str>, faults: &mut Vec<Fault>) -> Option<i64> {
    let text = text.filter(|t| !t.is_empty())?;
    let parsed = duration::parse(text).ok().filter(|ms| *ms > 0);
    if parsed.is_none() {
        let message = "write a duration above zero with units, such as 30s, 5m or 1h30m";
        faults.push(Fault::invalid(path, format!("{text:?}"), message));
    }
    parsed
}
