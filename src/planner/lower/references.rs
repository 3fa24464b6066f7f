//! What a Rollout refers to, judged against objects that are given: services, ingresses, analysis
//! templates (contract L28–L30). Pure: lint gives what stands in the same files, a controller what it
//! has read. An object that is not given is not judged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::api::Rollout;
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::canary::{CanaryStep, RolloutAnalysis};
use crate::planner::analysis::template::{self, Found};
use crate::planner::fault::Fault;
use crate::planner::observed::{ServiceSeen, TemplateRef};
use crate::planner::services::misfits;

/// Objects of the Rollout's namespace, and those of the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    /// Services by name.
    pub services: BTreeMap<String, &'a Value>,
    /// Ingresses by name.
    pub ingresses: BTreeMap<String, &'a Value>,
    /// Analysis templates.
    pub templates: BTreeMap<TemplateRef, Arc<AnalysisTemplateSpec>>,
}

/// Kinds that a Rollout refers to by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Service.
    Service,
    /// An Ingress.
    Ingress,
}

/// A name in a Rollout, and the path at which it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Path of the field.
    pub path: String,
    /// What it names.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

/// Services and ingresses that a Rollout names.
pub fn named(rollout: &Rollout) -> Vec<Reference> {
    let mut all = Vec::new();
    let mut add = |path: &str, kind: Kind, name: Option<&String>| {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            all.push(Reference {
                path: format!("spec.strategy.{path}"),
                kind,
                name: name.clone(),
            });
        }
    };
    let Some(strategy) = &rollout.spec.strategy else {
        return all;
    };
    if let Some(blue_green) = &strategy.blue_green {
        add(
            "blueGreen.activeService",
            Kind::Service,
            blue_green.active_service.as_ref(),
        );
        add(
            "blueGreen.previewService",
            Kind::Service,
            blue_green.preview_service.as_ref(),
        );
    }
    let Some(canary) = &strategy.canary else {
        return all;
    };
    add(
        "canary.canaryService",
        Kind::Service,
        canary.canary_service.as_ref(),
    );
    add(
        "canary.stableService",
        Kind::Service,
        canary.stable_service.as_ref(),
    );
    if let Some(pair) = &canary.ping_pong {
        add(
            "canary.pingPong.pingService",
            Kind::Service,
            pair.ping_service.as_ref(),
        );
        add(
            "canary.pingPong.pongService",
            Kind::Service,
            pair.pong_service.as_ref(),
        );
    }
    let routing = canary.traffic_routing.clone().unwrap_or_default();
    let mut many =
        |path: &str, one: (&str, &Option<String>), list: (&str, &Option<Vec<String>>)| {
            add(&format!("{path}.{}", one.0), Kind::Ingress, one.1.as_ref());
            for (i, name) in list.1.iter().flatten().enumerate() {
                add(
                    &format!("{path}.{}[{i}]", list.0),
                    Kind::Ingress,
                    Some(name),
                );
            }
        };
    if let Some(nginx) = &routing.nginx {
        let at = "canary.trafficRouting.nginx";
        let list = ("stableIngresses", &nginx.stable_ingresses);
        many(at, ("stableIngress", &nginx.stable_ingress), list);
    }
    if let Some(alb) = &routing.alb {
        let at = "canary.trafficRouting.alb";
        many(at, ("ingress", &alb.ingress), ("ingresses", &alb.ingresses));
    }
    all
}

/// Faults of the objects that are given.
pub fn check(rollout: &Rollout, given: &Given<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for reference in named(rollout) {
        match reference.kind {
            Kind::Service => {
                if let Some(service) = given.services.get(&reference.name) {
                    check_service(rollout, &reference, service, &mut faults);
                }
            }
            Kind::Ingress => {
                if let Some(ingress) = given.ingresses.get(&reference.name) {
                    check_ingress(rollout, &reference, ingress, &mut faults);
                }
            }
        }
    }
    for (path, analysis, must_end) in analyses(rollout) {
        let analysis = &*analysis;
        check_analysis(&path, analysis, must_end, given, &mut faults);
    }
    faults
}

/// Names that are not among the given objects, although others of their kind are.
pub fn missing(rollout: &Rollout, given: &Given<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut absent = |path: &str, what: String| {
        let message = format!("{what} is not in these files: it must be in the cluster");
        let path = path.to_owned();
        faults.push(Fault { path, message });
    };
    for Reference { path, kind, name } in named(rollout) {
        let (known, word) = match kind {
            Kind::Service => (&given.services, "Service"),
            Kind::Ingress => (&given.ingresses, "Ingress"),
        };
        if !known.is_empty() && !known.contains_key(&name) {
            absent(&path, format!("{word} {name:?}"));
        }
    }
    if given.templates.is_empty() {
        return faults;
    }
    for (path, template) in templates(rollout, given) {
        absent(&path, template_title(&template));
    }
    faults
}

/// Templates that the analyses of a Rollout need, themselves or by way of others, and that are not
/// given; each with the path of the field that leads to it.
pub fn templates(rollout: &Rollout, given: &Given<'_>) -> Vec<(String, TemplateRef)> {
    let mut all = Vec::new();
    for (path, analysis, _) in analyses(rollout) {
        let unknown = closure(&analysis, given).unknown.into_iter();
        let unknown = unknown.map(|(name, is_cluster)| TemplateRef { name, is_cluster });
        all.extend(unknown.map(|template| (format!("{path}.templates"), template)));
    }
    all
}

/// `AnalysisTemplate "p95"`.
pub fn template_title(template: &TemplateRef) -> String {
    let kind = match template.is_cluster {
        true => "ClusterAnalysisTemplate",
        false => "AnalysisTemplate",
    };
    format!("{kind} {:?}", template.name)
}

/// L28: the pods of the Rollout are what the Service selects.
fn check_service(
    rollout: &Rollout,
    reference: &Reference,
    service: &Value,
    faults: &mut Vec<Fault>,
) {
    // With workloadRef the labels are the workload's.
    let labels = rollout.spec.template.as_ref().map(|t| t.labels());
    let own = rollout.metadata.name.as_deref().unwrap_or_default();
    let Ok(service) = ServiceSeen::deserialize(service) else {
        return;
    };
    let value = format!("{:?}", reference.name);
    for message in misfits(&service, own, labels.as_ref()) {
        faults.push(Fault::invalid(&reference.path, &value, message));
    }
}

/// L30: the Ingress leads to the service whose traffic is split.
fn check_ingress(
    rollout: &Rollout,
    reference: &Reference,
    ingress: &Value,
    faults: &mut Vec<Fault>,
) {
    let canary = rollout
        .spec
        .strategy
        .as_ref()
        .and_then(|s| s.canary.as_ref());
    let alb = canary
        .and_then(|c| c.traffic_routing.as_ref())
        .and_then(|r| r.alb.as_ref())
        .filter(|_| reference.path.contains(".alb."));
    let root = alb.and_then(|alb| alb.root_service.as_ref());
    let stable = canary.and_then(|c| c.stable_service.as_ref());
    let Some(service) = root.or(stable).filter(|name| !name.is_empty()) else {
        return;
    };
    let rules = ingress.pointer("/spec/rules").and_then(Value::as_array);
    let paths = rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.pointer("/http/paths")?.as_array())
        .flatten();
    let mut backends = paths.filter_map(|path| path.pointer("/backend/service/name")?.as_str());
    if !backends.any(|name| name == service) {
        let name = &reference.name;
        let message = format!("ingress `{name}` has no rules using service {service} backend");
        faults.push(Fault::invalid(
            &reference.path,
            format!("{name:?}"),
            message,
        ));
    }
}

/// Every analysis of a Rollout: its path, and whether it must end by itself.
fn analyses(rollout: &Rollout) -> Vec<(String, Cow<'_, RolloutAnalysis>, bool)> {
    let mut all = Vec::new();
    let Some(strategy) = &rollout.spec.strategy else {
        return all;
    };
    if let Some(blue_green) = &strategy.blue_green {
        for (name, analysis) in [
            ("prePromotionAnalysis", &blue_green.pre_promotion_analysis),
            ("postPromotionAnalysis", &blue_green.post_promotion_analysis),
        ] {
            if let Some(analysis) = analysis {
                let path = format!("spec.strategy.blueGreen.{name}");
                all.push((path, Cow::Borrowed(analysis), true));
            }
        }
    }
    let Some(canary) = &strategy.canary else {
        return all;
    };
    if let Some(background) = &canary.analysis {
        let path = "spec.strategy.canary.analysis".to_owned();
        all.push((path, Cow::Borrowed(&background.analysis), false));
    }
    for (i, step) in canary.steps.iter().flatten().enumerate() {
        if let Some(analysis) = &step.analysis {
            let path = format!("spec.strategy.canary.steps[{i}].analysis");
            all.push((path, Cow::Borrowed(analysis), true));
        }
        all.extend(of_experiment(i, step));
    }
    all
}

/// The analyses of an Experiment step: they may be endless, for the Experiment has an end.
fn of_experiment(i: usize, step: &CanaryStep) -> Vec<(String, Cow<'_, RolloutAnalysis>, bool)> {
    let wire = step.experiment.iter();
    let analyses = wire.flat_map(|e| e.analyses.iter().flatten()).enumerate();
    let path = |n: usize| format!("spec.strategy.canary.steps[{i}].experiment.analyses[{n}]");
    analyses
        .map(|(n, it)| {
            (
                path(n),
                Cow::Owned(super::experiment::of_its_own(it)),
                false,
            )
        })
        .collect()
}

fn closure(analysis: &RolloutAnalysis, given: &Given<'_>) -> template::Closure {
    let roots: Vec<template::Name> = analysis
        .templates
        .iter()
        .flatten()
        .map(|t| {
            let name = t.template_name.clone().unwrap_or_default();
            (name, t.cluster_scope == Some(true))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect();
    template::closure(&roots, |(name, is_cluster)| {
        let key = TemplateRef {
            name: name.clone(),
            is_cluster: *is_cluster,
        };
        match given.templates.get(&key) {
            Some(spec) => Found::There(Arc::clone(spec)),
            None => Found::Unknown,
        }
    })
}

/// L29, L34, L36, L37: where all templates of an analysis are given, its run can be built.
fn check_analysis(
    path: &str,
    analysis: &RolloutAnalysis,
    must_end: bool,
    given: &Given<'_>,
    faults: &mut Vec<Fault>,
) {
    let found = closure(analysis, given);
    let at = format!("{path}.templates");
    if must_end {
        for (name, spec) in &found.templates {
            let endless = template::endless_message(name, spec);
            let shown = format!("{:?}", name.0);
            faults.extend(endless.into_iter().map(|m| Fault::invalid(&at, &shown, m)));
        }
    }
    if !found.unknown.is_empty() || found.templates.is_empty() {
        return;
    }
    let templates: Vec<_> = found.templates.into_iter().map(|(_, spec)| spec).collect();
    let told = template::check(&templates, analysis).into_iter();
    faults.extend(told.map(|m| Fault::invalid(&at, "{…}", m)));
}
