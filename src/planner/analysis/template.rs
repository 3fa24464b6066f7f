//! Templates to a run: nested templates found, metrics and arguments merged, every fault told.
//! Knows the rules of N1, N19-N21 and the messages of L29, L34, L36 and L37.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{field, metric};
use crate::api;
use crate::api::AnalysisRun;
use crate::api::analysis::{
    AnalysisRunMetadata, AnalysisRunSpec, AnalysisTemplateSpec, Argument, DryRun,
    MeasurementRetention, Metric,
};
use crate::api::canary::RolloutAnalysis;

/// What a caller knows of a template.
#[derive(Clone, Debug)]
pub enum Found {
    /// Not looked up yet.
    Unknown,
    /// There is no such template.
    Absent,
    /// The template.
    There(Arc<AnalysisTemplateSpec>),
}

/// A template by name, and whether it is a ClusterAnalysisTemplate.
pub type Name = (String, bool);

/// All templates that `roots` lead to, each once, roots first.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    /// Templates in the order in which they were reached.
    pub templates: Vec<(Name, Arc<AnalysisTemplateSpec>)>,
    /// Still to be looked up.
    pub unknown: Vec<Name>,
    /// Named, but not there.
    pub absent: Vec<Name>,
}

/// Follows nested templates (N1). Loops end, since each template is taken once.
pub fn closure(roots: &[Name], lookup: impl Fn(&Name) -> Found) -> Closure {
    let mut found = Closure::default();
    let mut queue: Vec<Name> = roots.to_vec();
    let mut next = 0_usize;
    while let Some(name) = queue.get(next).cloned() {
        next = next.saturating_add(1);
        match lookup(&name) {
            Found::Unknown => found.unknown.push(name),
            Found::Absent => found.absent.push(name),
            Found::There(spec) => {
                for nested in spec.templates.iter().flatten() {
                    let nested = (
                        nested.template_name.clone().unwrap_or_default(),
                        nested.cluster_scope == Some(true),
                    );
                    if !queue.contains(&nested) {
                        queue.push(nested);
                    }
                }
                found.templates.push((name, spec));
            }
        }
    }
    found
}

/// The message for a template that is not there (L29).
pub fn absent_message((name, is_cluster): &Name) -> String {
    let kind = if *is_cluster {
        "ClusterAnalysisTemplate"
    } else {
        "AnalysisTemplate"
    };
    format!("{kind} '{name}' not found")
}

/// Metrics of a template that never end by themselves: wrong in steps and around promotion (L29).
pub fn endless_message((name, _): &Name, spec: &AnalysisTemplateSpec) -> Vec<String> {
    let endless = spec
        .metrics
        .iter()
        .flatten()
        .filter(|m| metric::is_endless(m));
    endless
        .map(|m| {
            let count = m.count.as_ref().map_or_else(|| "<nil>".to_owned(), ToString::to_string);
            format!("AnalysisTemplate {name} has metric {} which runs indefinitely. Invalid value for count: {count}", m.name)
        })
        .collect()
}

/// Everything an AnalysisRun is built from.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Name of the run ([`run_name`]).
    pub name: String,
    /// Namespace of Rollout and run.
    pub namespace: String,
    /// Kind of the object that controls the run: a Rollout where it is empty, or an Experiment.
    pub owner_kind: &'static str,
    /// Name of the object that controls the run.
    pub owner_name: String,
    /// Its uid; empty for a run that stands alone.
    pub owner_uid: String,
    /// Labels of the run.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the run.
    pub annotations: BTreeMap<String, String>,
    /// Templates, nested ones included ([`closure`]).
    pub templates: Vec<Arc<AnalysisTemplateSpec>>,
    /// Arguments of the Rollout, resolved to values.
    pub args: Vec<Argument>,
    /// The Rollout as an object, for arguments of templates that name a field.
    pub owner: serde_json::Value,
    /// The Rollout's own dry-run rules.
    pub dry_run: Vec<DryRun>,
    /// The Rollout's own retention rules.
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations that the Rollout wants on its runs.
    pub metadata: Option<AnalysisRunMetadata>,
}

/// Name of a run (N21): `<rollout>-<hash>-<revision>-<what>`, with `.N` after the N-th retry. The
/// background analysis of a canary has no `what`.
pub fn run_name(rollout: &str, hash: &str, revision: u64, what: &str, attempt: u64) -> String {
    let mut name = format!("{rollout}-{hash}-{revision}");
    if !what.is_empty() {
        name.push('-');
        name.push_str(what);
    }
    if attempt > 0 {
        name.push_str(&format!(".{attempt}"));
    }
    name
}

/// What keeps a run from being built of these templates, before it is time to build it (L29, L34–L37).
/// What is looked up in the Rollout or in a field of it has a value by then.
pub fn check(templates: &[Arc<AnalysisTemplateSpec>], analysis: &RolloutAnalysis) -> Vec<String> {
    let stand_in = || Some("…".to_owned());
    let with_fields = |template: &Arc<AnalysisTemplateSpec>| {
        let mut template = AnalysisTemplateSpec::clone(template);
        for arg in template.args.iter_mut().flatten() {
            let is_field = arg
                .value_from
                .as_ref()
                .is_some_and(|f| f.field_ref.is_some());
            if is_field && arg.value.is_none() {
                arg.value = stand_in();
                arg.value_from = None;
            }
        }
        Arc::new(template)
    };
    let args = analysis.args.iter().flatten();
    let request = RunRequest {
        templates: templates.iter().map(with_fields).collect(),
        args: args
            .map(|arg| Argument {
                name: arg.name.clone(),
                value: arg.value.clone().or_else(stand_in),
                value_from: None,
            })
            .collect(),
        dry_run: analysis.dry_run.clone().unwrap_or_default(),
        measurement_retention: analysis.measurement_retention.clone().unwrap_or_default(),
        ..RunRequest::default()
    };
    build_run(&request).err().unwrap_or_default()
}

/// Arguments that are given and that no template declares: nothing would use them.
pub fn undeclared(request: &RunRequest) -> Vec<String> {
    let templates = request.templates.iter();
    let declared: Vec<&str> = templates
        .flat_map(|t| t.args.iter().flatten())
        .map(|arg| arg.name.as_str())
        .collect();
    let known = match declared.is_empty() {
        true => "the template has none".to_owned(),
        false => format!("the template has {}", declared.join(", ")),
    };
    let given = request.args.iter().map(|arg| &arg.name);
    given
        .filter(|name| !declared.contains(&name.as_str()))
        .map(|name| format!("there is no argument {name}: {known}"))
        .collect()
}

/// Builds a run, or tells every reason why it cannot be built.
pub fn build_run(request: &RunRequest) -> Result<AnalysisRun, Vec<String>> {
    let mut faults = Vec::new();
    let metrics = merge_metrics(&request.templates, &mut faults);
    let dry_run = merge_rules(
        request
            .templates
            .iter()
            .filter_map(|t| t.dry_run.as_ref())
            .flatten()
            .chain(&request.dry_run),
        |r| &r.metric_name,
        "Dry-Run",
        &mut faults,
    );
    let retention = merge_rules(
        request
            .templates
            .iter()
            .filter_map(|t| t.measurement_retention.as_ref())
            .flatten()
            .chain(&request.measurement_retention),
        |r| &r.metric_name,
        "Measurement Retention",
        &mut faults,
    );
    let args = merge_args(request, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let spec = AnalysisRunSpec {
        metrics: Some(metrics),
        args: (!args.is_empty()).then_some(args),
        terminate: None,
        dry_run: (!dry_run.is_empty()).then_some(dry_run),
        measurement_retention: (!retention.is_empty()).then_some(retention),
        ttl_strategy: None,
    };
    Ok(object(request, spec))
}

/// The run as an object: owned by whom it is for, labelled as asked.
pub fn object(request: &RunRequest, spec: AnalysisRunSpec) -> AnalysisRun {
    let mut labels = request.labels.clone();
    let mut annotations = request.annotations.clone();
    if let Some(metadata) = &request.metadata {
        labels.extend(metadata.labels.clone().unwrap_or_default());
        annotations.extend(metadata.annotations.clone().unwrap_or_default());
    }
    AnalysisRun {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            namespace: Some(request.namespace.clone()),
            labels: (!labels.is_empty()).then_some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: (!request.owner_uid.is_empty()).then(|| {
                vec![OwnerReference {
                    api_version: api::API_VERSION.to_owned(),
                    kind: match request.owner_kind {
                        "" => "Rollout".to_owned(),
                        kind => kind.to_owned(),
                    },
                    name: request.owner_name.clone(),
                    uid: request.owner_uid.clone(),
                    controller: Some(true),
                    block_owner_deletion: Some(true),
                }]
            }),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

fn merge_metrics(templates: &[Arc<AnalysisTemplateSpec>], faults: &mut Vec<String>) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in templates
        .iter()
        .filter_map(|t| t.metrics.as_ref())
        .flatten()
    {
        if metrics.iter().any(|m| m.name == metric.name) {
            faults.push(format!("two metrics have the same name '{}'", metric.name));
        } else {
            metrics.push(metric.clone());
        }
    }
    if metrics.is_empty() {
        faults.push("no metrics specified".to_owned());
    }
    metrics
}

fn merge_rules<'a, R: Clone + 'a>(
    rules: impl Iterator<Item = &'a R>,
    name: impl Fn(&R) -> &String,
    kind: &str,
    faults: &mut Vec<String>,
) -> Vec<R> {
    let mut merged: Vec<R> = Vec::new();
    for rule in rules {
        if merged.iter().any(|m| name(m) == name(rule)) {
            faults.push(format!(
                "two {kind} metric rules have the same name '{}'",
                name(rule)
            ));
        } else {
            merged.push(rule.clone());
        }
    }
    merged
}

/// Arguments that templates declare, with the Rollout's values where it gives some (N20).
fn merge_args(request: &RunRequest, faults: &mut Vec<String>) -> Vec<Argument> {
    let given = &request.args;
    let mut merged: Vec<Argument> = Vec::new();
    for arg in request
        .templates
        .iter()
        .filter_map(|t| t.args.as_ref())
        .flatten()
    {
        match merged.iter_mut().find(|m| m.name == arg.name) {
            None => merged.push(arg.clone()),
            Some(known) => merge_arg(known, arg, faults),
        }
    }
    for arg in &mut merged {
        let own = given.iter().find(|g| g.name == arg.name);
        if let Some(own) = own.filter(|g| g.value.is_some() || g.value_from.is_some()) {
            arg.value.clone_from(&own.value);
            arg.value_from.clone_from(&own.value_from);
        }
        let field = arg.value_from.as_ref().and_then(|f| f.field_ref.as_ref());
        let has_owner = !request.owner_uid.is_empty();
        if let Some(field) = field.filter(|_| arg.value.is_none() && has_owner) {
            // What the template asks of the Rollout is known now, and no longer from the run.
            arg.value = field::field(&request.owner, &field.field_path);
            arg.value_from = None;
        }
        match (&arg.value, &arg.value_from) {
            (Some(_), Some(_)) => {
                faults.push(format!(
                    "arg '{}' has both Value and ValueFrom fields",
                    arg.name
                ));
            }
            (None, None) => faults.push(format!("args.{} was not resolved", arg.name)),
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
    merged
}

fn merge_arg(known: &mut Argument, other: &Argument, faults: &mut Vec<String>) {
    match (&known.value, &other.value) {
        (Some(a), Some(b)) if a != b => faults.push(format!(
            "Argument `{}` specified multiple times with different values: '{a}', '{b}'",
            known.name
        )),
        (None, Some(_)) => known.value.clone_from(&other.value),
        (Some(_) | None, _) => {}
    }
    if known.value_from.is_none() {
        known.value_from.clone_from(&other.value_from);
    }
}

#[cfg(test)]
mod tests;
