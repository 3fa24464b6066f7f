//! The Experiment of a Rollout's step: which one there shall be now, what its verdict means for the
//! update, and when old ones go (C9, A14). Names are deterministic, as those of runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Map, Value, json};

use super::analysis::assess::Phase;
use super::draft::{Draft, after};
use super::experiment::phase;
use super::fault::Fault;
use super::observed::{Need, Observed, ReplicaSetSeen};
use super::plan::Event;
use super::revision::{self, Sets};
use super::spec::{ExperimentStep, Spec, Step};
use super::{cursor, first, lower, reasons, resume, roles, rollback, run_history, runs};
use crate::api::canary::RolloutExperimentTemplate;
use crate::api::experiment::{ExperimentAnalysis, ExperimentSpec, ExperimentTemplate};
use crate::api::{API_VERSION, Experiment, POD_HASH_LABEL, PodTemplate, REVISION, STEP_INDEX};

/// The Experiment that the status as read asks for.
struct Wanted<'a> {
    at: usize,
    step: &'a ExperimentStep,
    name: String,
}

fn wanted<'a>(seen: &Observed, spec: &'a Spec, sets: &Sets<'_>) -> Option<Wanted<'a>> {
    let read = &seen.rollout.status;
    let is_updating =
        read.stable_rs.is_some() && read.stable_rs.as_deref() != Some(sets.canary.hash.as_str());
    let is_called_off = read.abort == Some(true) || read.promote_full == Some(true);
    let is_trusted = rollback::is_trusted(seen, spec, &sets.canary.hash);
    if !is_updating || is_called_off || is_trusted || resume::is_resuming(read) {
        return None;
    }
    let steps = spec.steps();
    let at = cursor::index(read, steps.len());
    match steps.get(at) {
        Some(Step::Experiment(step)) => Some(Wanted {
            at,
            step,
            name: name(seen, sets, at),
        }),
        Some(Step::SetWeight(_) | Step::Pause(_) | Step::Ramp(_) | Step::Analysis(_)) | None => {
            None
        }
    }
}

/// `<rollout>-<hash>-<revision>-<step>`, with `-N` after the N-th retry (E4): unlike those of runs the
/// names are part of the names of Services, which hold no dots.
fn name(seen: &Observed, sets: &Sets<'_>, at: usize) -> String {
    let revision = revision::revision_of(seen, Some(sets.canary));
    let base = format!("{}-{}-{revision}-{at}", seen.rollout.name, sets.canary.hash);
    match runs::attempt(&seen.rollout.status) {
        0 => base,
        attempt => format!("{base}-{attempt}"),
    }
}

fn find<'a>(seen: &'a Observed, name: &str) -> Option<&'a Arc<Experiment>> {
    let mut all = seen.experiments.iter();
    all.find(|e| e.metadata.name.as_deref() == Some(name))
}

fn message(experiment: &Experiment) -> Option<String> {
    let status = experiment.status.as_ref();
    let message = status.and_then(|s| s.message.clone());
    message.filter(|m| !m.is_empty())
}

/// The templates of the versions that an Experiment is to be made of.
pub(crate) fn needs(seen: &Observed, sets: &Sets<'_>) -> Vec<Need> {
    let Ok(spec) = &seen.rollout.spec else {
        return vec![];
    };
    let Some(want) = wanted(seen, spec, sets) else {
        return vec![];
    };
    if find(seen, &want.name).is_some() {
        return vec![];
    }
    let refs = want.step.wire.templates.iter().flatten();
    refs.filter_map(|t| set_of(sets, t))
        .map(|set| Need::ReplicaSetTemplate(set.name.clone()))
        .collect()
}

/// The ReplicaSet whose pods a template takes.
fn set_of<'a>(sets: &Sets<'a>, it: &RolloutExperimentTemplate) -> Option<&'a ReplicaSetSeen> {
    match it.spec_ref.as_str() {
        "stable" => sets.stable,
        _ => Some(sets.canary),
    }
}

/// Makes, follows and ends Experiments. True when a verdict changed the status, so that this turn
/// only puts it on record.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let Some(want) = wanted(d.seen, d.spec, sets) else {
        return false;
    };
    let Some(experiment) = find(d.seen, &want.name) else {
        make(d, sets, &want);
        return false;
    };
    show(d, &want);
    match phase(experiment) {
        Phase::Failed | Phase::Error => {
            let more = message(experiment).map_or_else(String::new, |m| format!(": {m}"));
            let text = format!("Experiment analysis phase is error/failed{more}");
            cursor::abort(d, sets, Some(&text));
            true
        }
        Phase::Inconclusive => runs::inconclusive(d, reasons::INCONCLUSIVE_EXPERIMENT),
        Phase::Pending | Phase::Running | Phase::Successful => false,
    }
}

fn show(d: &mut Draft<'_>, want: &Wanted<'_>) {
    let canary = d.next.canary.get_or_insert_default();
    canary.current_experiment = Some(want.name.clone());
}

/// Experiments of other steps, revisions or attempts run no longer.
pub(crate) fn end_unwanted(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let want = wanted(d.seen, d.spec, sets).map(|w| w.name);
    for experiment in &d.seen.experiments {
        let is_ending = experiment.spec.terminate == Some(true)
            || experiment.metadata.deletion_timestamp.is_some();
        let is_wanted = experiment.metadata.name == want;
        if !is_wanted && !is_ending && !phase(experiment).is_completed() {
            d.terminate_experiment(experiment);
        }
    }
}

fn make(d: &mut Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>) {
    // Not while a pause waits for a person: a verdict then would be about nothing (C8).
    let waits = d.read().pause_conditions.as_ref();
    if waits.is_some_and(|c| !c.is_empty()) || first::is_pending(d.read()) {
        return;
    }
    if d.freeze.is_some() && sets.canary.replicas == 0 {
        return d.note("frozen: no experiment begins");
    }
    match d.seen.answers.experiments.get(&want.name) {
        Some(Some(owner)) if owner.as_deref() == Some(d.seen.rollout.uid.as_str()) => {
            d.note(format!(
                "experiment {} is there and not seen yet",
                want.name
            ));
            return d.wake.at(after(d.now(), 5));
        }
        Some(Some(_)) => {
            let why = format!(
                "there is an Experiment '{}' already that this Rollout does not control: delete it, or give the Rollout another name",
                want.name
            );
            d.faults.push(Fault::invalid(
                "metadata.name",
                format!("{:?}", want.name),
                why,
            ));
            return d.wake.at(after(d.now(), 20));
        }
        Some(None) | None => {}
    }
    let refs = want.step.wire.templates.iter().flatten();
    if refs.into_iter().any(|t| set_of(sets, t).is_none()) {
        return d.note("waiting for the stable version's ReplicaSet before the experiment begins");
    }
    match build(d, sets, want) {
        Ok(experiment) => {
            let text = format!("Created Experiment '{}'", want.name);
            d.create_experiment(experiment);
            show(d, want);
            d.event(Event::normal("ExperimentCreated", text));
        }
        Err(faults) => {
            let path = format!("spec.strategy.canary.steps[{}].experiment", want.at);
            d.faults.extend(faults.into_iter().map(|fault| Fault {
                path: fault.path.replacen("spec", &path, 1),
                ..fault
            }));
            d.wake.at(after(d.now(), 20));
        }
    }
}

fn build(d: &Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>) -> Result<Experiment, Vec<Fault>> {
    let wire = &want.step.wire;
    let templates = wire.templates.iter().flatten();
    let judged = want.step.analyses.iter();
    let analyses: Vec<ExperimentAnalysis> = wire
        .analyses
        .iter()
        .flatten()
        .zip(judged)
        .map(|(analysis, lowered)| ExperimentAnalysis {
            name: analysis.name.clone(),
            template_name: analysis.template_name.clone(),
            cluster_scope: analysis.cluster_scope,
            args: Some(runs::arguments(d, sets, lowered)).filter(|a| !a.is_empty()),
            required_for_completion: analysis.required_for_completion,
        })
        .collect();
    let spec = ExperimentSpec {
        templates: Some(templates.map(|it| template(d, sets, it)).collect()),
        duration: wire.duration.clone().filter(|text| !text.is_empty()),
        progress_deadline_seconds: Some(i64::from(d.spec.progress_deadline_seconds)),
        analyses: (!analyses.is_empty()).then_some(analyses),
        dry_run: wire.dry_run.clone(),
        analysis_run_metadata: wire.analysis_run_metadata.clone(),
        ..ExperimentSpec::default()
    };
    let faults = lower::experiment::check(&spec);
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Experiment {
        metadata: metadata(d, sets, want),
        spec,
        status: None,
    })
}

fn metadata(d: &Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>) -> ObjectMeta {
    let rollout = &d.seen.rollout;
    let mut labels = BTreeMap::clone(&rollout.labels);
    labels.insert(POD_HASH_LABEL.to_owned(), sets.canary.hash.clone());
    labels.insert(STEP_INDEX.to_owned(), want.at.to_string());
    let revision = revision::revision_of(d.seen, Some(sets.canary));
    ObjectMeta {
        name: Some(want.name.clone()),
        namespace: Some(rollout.namespace.clone()),
        labels: Some(labels),
        annotations: Some(BTreeMap::from([(
            REVISION.to_owned(),
            revision.to_string(),
        )])),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: "Rollout".to_owned(),
            name: rollout.name.clone(),
            uid: rollout.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

/// A template of the Experiment: the pods of one version as they were written, without what they
/// carry for their role, and with the labels and annotations of the step.
fn template(d: &Draft<'_>, sets: &Sets<'_>, it: &RolloutExperimentTemplate) -> ExperimentTemplate {
    let set = set_of(sets, it);
    let stored = set.and_then(|s| d.seen.answers.replica_set_templates.get(&s.name));
    let stored = stored.map(|t| Value::clone(t)).unwrap_or_default();
    let mut pods = revision::written(&stored);
    roles::bare(&mut pods, set.and_then(|s| s.ephemeral.as_deref()));
    if let Some(meta) = &it.metadata {
        put(&mut pods, "labels", meta.labels.as_ref());
        put(&mut pods, "annotations", meta.annotations.as_ref());
    }
    let of_rollout = || serde_json::from_value(d.spec.selector.value()).unwrap_or_default();
    ExperimentTemplate {
        name: it.name.clone(),
        replicas: Some(it.replicas.unwrap_or(1)),
        min_ready_seconds: Some(i64::from(d.spec.min_ready_seconds)).filter(|s| *s > 0),
        selector: Some(it.selector.clone().unwrap_or_else(of_rollout)),
        template: Some(PodTemplate::new(pods)),
        service: it.service.clone(),
    }
}

fn put(pods: &mut Value, field: &str, values: Option<&BTreeMap<String, String>>) {
    let Some(values) = values.filter(|v| !v.is_empty()) else {
        return;
    };
    let Some(pods) = pods.as_object_mut() else {
        return;
    };
    let metadata = pods.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    let map = metadata.entry(field).or_insert_with(|| json!({}));
    if let Some(map) = map.as_object_mut() {
        let texts = values.iter();
        let texts = texts.map(|(k, v)| (k.clone(), Value::String(v.clone())));
        map.extend(texts.collect::<Map<String, Value>>());
    }
}

/// The current step is an Experiment: go on when it is Successful. Failure and no verdict are
/// handled by [`steer`] before anything is scaled.
pub(crate) fn step_verdict(d: &mut Draft<'_>, sets: &Sets<'_>, at: usize) {
    if d.spec.replicas == 0 {
        d.note("replicas is 0: there is nothing to compare, the experiment step passes");
        return cursor::advance(d, at);
    }
    let name = name(d.seen, sets, at);
    match find(d.seen, &name).map(|e| (phase(e), message(e))) {
        Some((Phase::Successful, _)) => cursor::advance(d, at),
        Some((now, more)) => {
            let more = more.map_or_else(String::new, |m| format!(": {m}"));
            d.note(format!(
                "waiting for experiment {name} ({}){more}",
                now.as_str()
            ));
        }
        None => d.note(format!("starting experiment {name}")),
    }
}

/// Deletes Experiments that have ended beyond the history limits, and those whose ReplicaSet is gone.
pub(crate) fn clean_up(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let current: Vec<String> = [
        wanted(d.seen, d.spec, sets).map(|w| w.name),
        d.next
            .canary
            .as_ref()
            .and_then(|c| c.current_experiment.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let seen = d.seen;
    let ended = seen.experiments.iter().filter(|e| {
        let is_current = e
            .metadata
            .name
            .as_ref()
            .is_some_and(|n| current.contains(n));
        phase(e).is_completed() && !is_current
    });
    let ended = ended.map(|e| (e, &e.metadata, phase(e) == Phase::Successful));
    for experiment in run_history::surplus(d.spec, sets, ended.collect()) {
        d.delete_experiment(experiment);
    }
}
