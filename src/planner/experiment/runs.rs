//! The AnalysisRuns of an Experiment: made once all pods are there, followed, told to end (E3, E5).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::draft::Draft;
use super::spec::Spec;
use super::{ExperimentObserved, Place};
use crate::api::analysis::Argument;
use crate::api::experiment::{ExperimentAnalysis, ExperimentAnalysisRunStatus, ExperimentStatus};
use crate::api::{AVAILABLE_AT, AnalysisRun, INSTANCE_ID};
use crate::planner::analysis::args;
use crate::planner::analysis::assess::Phase;
use crate::planner::analysis::template::{self, Closure, Found, RunRequest};
use crate::planner::fault::Fault;
use crate::planner::observed::TemplateRef;
use crate::planner::plan::{Event, EventKind};

/// Most names that are tried for one run.
const MOST_NAMES: u32 = 100;

/// Templates that are still to be looked up: all of them before the first pod, later those of runs
/// that are to be made.
pub(super) fn needs(seen: &ExperimentObserved, spec: &Spec) -> Vec<TemplateRef> {
    let status = seen.experiment.status.clone().unwrap_or_default();
    let is_first = status.template_statuses.is_none();
    let to_make = |analysis: &&ExperimentAnalysis| {
        is_first
            || (status.available_at.is_some()
                && matches!(find(seen, &status, &analysis.name), Run::Make(_)))
    };
    let wanted = spec.analyses.iter().filter(to_make);
    wanted
        .flat_map(|analysis| closure(seen, analysis).unknown)
        .map(|(name, is_cluster)| TemplateRef { name, is_cluster })
        .collect()
}

fn closure(seen: &ExperimentObserved, analysis: &ExperimentAnalysis) -> Closure {
    let root = (
        analysis.template_name.clone(),
        analysis.cluster_scope == Some(true),
    );
    template::closure(&[root], |(name, is_cluster)| {
        let key = TemplateRef {
            name: name.clone(),
            is_cluster: *is_cluster,
        };
        match seen.templates.get(&key) {
            None => Found::Unknown,
            Some(None) => Found::Absent,
            Some(Some(spec)) => Found::There(Arc::clone(spec)),
        }
    })
}

/// What is wrong with the analyses, before anything is made.
pub(super) fn faults(seen: &ExperimentObserved, spec: &Spec) -> Vec<Fault> {
    let mut faults = vec![];
    for (i, analysis) in spec.analyses.iter().enumerate() {
        let path = format!("spec.analyses[{i}].templateName");
        let shown = format!("{:?}", analysis.template_name);
        let found = closure(seen, analysis);
        let absent = found.absent.iter().map(template::absent_message);
        faults.extend(absent.map(|m| Fault::invalid(&path, &shown, m)));
        if !found.absent.is_empty() {
            continue;
        }
        // Hashes and times are not known yet, but that they will be.
        let args = analysis.args.iter().flatten().cloned().map(|mut arg| {
            arg.value = arg.value.map(|v| {
                if v.contains("{{") {
                    "…".to_owned()
                } else {
                    v
                }
            });
            arg
        });
        let request = request(seen, spec, String::new(), (found, args.collect()));
        if let Err(all) = template::build_run(&request) {
            faults.extend(all.into_iter().map(|m| Fault::invalid(&path, &shown, m)));
        }
    }
    faults
}

/// What there is of an analysis.
enum Run<'a> {
    /// Its run.
    There(&'a Arc<AnalysisRun>),
    /// It has ended, and its run may be gone.
    Ended,
    /// None yet: this is its name.
    Make(String),
}

fn find<'a>(seen: &'a ExperimentObserved, status: &ExperimentStatus, analysis: &str) -> Run<'a> {
    let by_name = |name: &str| {
        let mut runs = seen.runs.iter();
        runs.find(|run| run.metadata.name.as_deref() == Some(name))
    };
    let entries = status.analysis_runs.iter().flatten();
    if let Some(entry) = entries.into_iter().find(|e| e.name == analysis) {
        if let Some(run) = by_name(&entry.analysis_run) {
            return Run::There(run);
        }
        if Phase::read(entry.phase.as_deref().unwrap_or_default()).is_completed() {
            return Run::Ended;
        }
        return Run::Make(entry.analysis_run.clone());
    }
    let experiment = seen.experiment.metadata.name.as_deref().unwrap_or_default();
    let base = format!("{experiment}-{analysis}");
    let mut name = base.clone();
    for attempt in 1..MOST_NAMES {
        match by_name(&name) {
            Some(run) if is_of_today(run, status) => return Run::There(run),
            Some(_) => {}
            None if seen.taken.contains(&Place::Run(name.clone())) => {}
            None => return Run::Make(name),
        }
        name = format!("{base}.{attempt}");
    }
    Run::Make(name)
}

/// True for a run that was made since the pods became available: a crash kept it out of the status.
/// Another one is of an earlier try; one that another controller made is taken over while it runs.
fn is_of_today(run: &AnalysisRun, status: &ExperimentStatus) -> bool {
    let marks = run.metadata.annotations.as_ref();
    match marks.and_then(|marks| marks.get(AVAILABLE_AT)) {
        Some(mark) => available_at(status).as_ref() == Some(mark),
        None => !phase(run).is_completed() && run.spec.terminate != Some(true),
    }
}

/// The latest time that the marks of runs tell.
pub(super) fn last_mark(seen: &ExperimentObserved) -> Option<Timestamp> {
    let marks = seen.runs.iter().filter_map(|run| {
        let marks = run.metadata.annotations.as_ref()?;
        marks.get(AVAILABLE_AT)?.parse().ok()
    });
    marks.max()
}

fn available_at(status: &ExperimentStatus) -> Option<String> {
    status.available_at.as_ref().map(|t| t.0.to_string())
}

fn phase(run: &AnalysisRun) -> Phase {
    let status = run.status.as_ref();
    Phase::read(status.and_then(|s| s.phase.as_deref()).unwrap_or_default())
}

/// Makes the runs that are missing and follows those that are there. They begin when it is on record
/// that all pods are available, and not after the end was asked for.
pub(super) fn steer(d: &mut Draft<'_>, spec: &Spec) {
    let (seen, read) = (d.seen, d.read().clone());
    if read.available_at.is_none() {
        return;
    }
    for (i, analysis) in spec.analyses.iter().enumerate() {
        match find(seen, &read, &analysis.name) {
            Run::There(run) => follow(d, &analysis.name, run),
            Run::Ended => {}
            Run::Make(_) if spec.is_terminated => {}
            Run::Make(name) => make(d, spec, (i, analysis), name),
        }
    }
    end_strays(d);
}

fn make(d: &mut Draft<'_>, spec: &Spec, (i, analysis): (usize, &ExperimentAnalysis), name: String) {
    let refused = d.seen.refused.get(&Place::Run(name.clone()));
    let built = match refused {
        Some(why) => Err(why.clone()),
        None => build(d.seen, spec, analysis, &name),
    };
    match built {
        Ok(run) => {
            d.create_run(run);
            record(d, (&analysis.name, &name), Phase::Pending, None);
        }
        Err(why) => {
            let why = format!("spec.analyses[{i}] ({}): {why}", analysis.template_name);
            record(d, (&analysis.name, &name), Phase::Error, Some(why));
        }
    }
}

fn build(
    seen: &ExperimentObserved,
    spec: &Spec,
    analysis: &ExperimentAnalysis,
    name: &str,
) -> Result<AnalysisRun, String> {
    let found = closure(seen, analysis);
    if let Some(absent) = found.absent.first() {
        return Err(template::absent_message(absent));
    }
    let values = variables(seen, spec);
    let given = analysis.args.iter().flatten().cloned();
    let filled = given.map(|mut arg| {
        if let Some(value) = &arg.value {
            arg.value = Some(args::fill_with(value, false, |tag| values.get(tag))?);
        }
        Ok(arg)
    });
    let filled: Result<Vec<Argument>, String> = filled.collect();
    let request = request(seen, spec, name.to_owned(), (found, filled?));
    template::build_run(&request).map_err(|all| all.join("; "))
}

/// What arguments may name (E5).
fn variables(seen: &ExperimentObserved, spec: &Spec) -> BTreeMap<String, String> {
    let status = seen.experiment.status.clone().unwrap_or_default();
    let mut values = BTreeMap::new();
    let experiment = seen.experiment.metadata.name.as_deref().unwrap_or_default();
    for it in status.template_statuses.iter().flatten() {
        let hash = it.pod_template_hash.clone().unwrap_or_default();
        let set = super::objects::set_name(experiment, &it.name, it.collision_count.unwrap_or(0));
        values.insert(format!("templates.{}.podTemplateHash", it.name), hash);
        values.insert(format!("templates.{}.replicaset.name", it.name), set);
    }
    if let Some(since) = &status.available_at {
        values.insert("experiment.availableAt".to_owned(), since.0.to_string());
        let length = spec.duration.map(SignedDuration::from_millis);
        if let Some(end) = length.and_then(|l| since.0.checked_add(l).ok()) {
            values.insert("experiment.finishedAt".to_owned(), end.to_string());
        }
    }
    values
}

fn request(
    seen: &ExperimentObserved,
    spec: &Spec,
    name: String,
    (found, args): (Closure, Vec<Argument>),
) -> RunRequest {
    let (experiment, meta) = (&seen.experiment, &seen.experiment.metadata);
    let instance = meta.labels.as_ref().and_then(|l| l.get(INSTANCE_ID));
    let instance = instance.map(|id| (INSTANCE_ID.to_owned(), id.clone()));
    let since = experiment.status.as_ref().and_then(available_at);
    RunRequest {
        name,
        namespace: meta.namespace.clone().unwrap_or_default(),
        owner_kind: "Experiment",
        owner_name: meta.name.clone().unwrap_or_default(),
        owner_uid: meta.uid.clone().unwrap_or_default(),
        labels: instance.into_iter().collect(),
        annotations: since
            .map(|t| (AVAILABLE_AT.to_owned(), t))
            .into_iter()
            .collect(),
        templates: found.templates.into_iter().map(|(_, spec)| spec).collect(),
        args,
        owner: owner(seen),
        dry_run: spec.dry_run.clone(),
        measurement_retention: spec.measurement_retention.clone(),
        metadata: spec.metadata.clone(),
    }
}

/// The Experiment as arguments may look at it.
fn owner(seen: &ExperimentObserved) -> Value {
    let meta = &seen.experiment.metadata;
    serde_json::json!({
        "metadata": {
            "name": meta.name, "namespace": meta.namespace, "uid": meta.uid,
            "labels": meta.labels, "annotations": meta.annotations,
        },
        "status": seen.experiment.status,
    })
}

/// Shows a run in the status.
pub(super) fn follow(d: &mut Draft<'_>, analysis: &str, run: &AnalysisRun) {
    let name = run.metadata.name.clone().unwrap_or_default();
    let message = run.status.as_ref().and_then(|s| s.message.clone());
    record(d, (analysis, &name), phase(run), message);
}

fn record(
    d: &mut Draft<'_>,
    (analysis, name): (&str, &str),
    phase: Phase,
    message: Option<String>,
) {
    let message = message.filter(|m| !m.is_empty());
    let entry = ExperimentAnalysisRunStatus {
        name: analysis.to_owned(),
        analysis_run: name.to_owned(),
        phase: Some(phase.as_str().to_owned()),
        message: message.clone(),
    };
    let all = d.next.analysis_runs.get_or_insert_default();
    let slot = all.iter_mut().find(|e| e.name == analysis);
    let before = slot.as_ref().and_then(|e| e.phase.clone());
    match slot {
        Some(slot) => *slot = entry,
        None => all.push(entry),
    }
    if before.as_deref() == Some(phase.as_str()) || (before.is_none() && phase == Phase::Pending) {
        return;
    }
    let (kind, reason) = match phase {
        Phase::Pending => (EventKind::Normal, "AnalysisRunPending"),
        Phase::Running => (EventKind::Normal, "AnalysisRunRunning"),
        Phase::Successful => (EventKind::Normal, "AnalysisRunSuccessful"),
        Phase::Failed => (EventKind::Warning, "AnalysisRunFailed"),
        Phase::Error => (EventKind::Warning, "AnalysisRunError"),
        Phase::Inconclusive => (EventKind::Warning, "AnalysisRunInconclusive"),
    };
    let from = before.unwrap_or_default();
    let more = message.map_or_else(String::new, |m| format!(": {m}"));
    let note = format!(
        "AnalysisRun '{name}' transitioned from {from} -> {}{more}",
        phase.as_str()
    );
    d.events.push(Event { kind, reason, note });
}

/// Phase of an analysis in the next status; Pending where there is none yet.
pub(super) fn phase_of(status: &ExperimentStatus, analysis: &str) -> Phase {
    let mut entries = status.analysis_runs.iter().flatten();
    let entry = entries.find(|e| e.name == analysis);
    let phase = entry.and_then(|e| e.phase.as_deref());
    Phase::read(phase.unwrap_or_default())
}

/// Tells the run of an analysis to end, if it goes on.
pub(super) fn end(d: &mut Draft<'_>, analysis: &str) {
    let status = d.next.clone();
    let entries = status.analysis_runs.iter().flatten();
    for entry in entries.filter(|e| e.name == analysis) {
        let mut runs = d.seen.runs.iter();
        let run = runs.find(|r| r.metadata.name.as_deref() == Some(&entry.analysis_run));
        if let Some(run) = run {
            terminate(d, run);
        }
    }
}

/// Tells every run that goes on to end.
pub(super) fn end_all(d: &mut Draft<'_>) {
    for run in &d.seen.runs {
        terminate(d, run);
    }
}

/// Runs of an earlier try measure no longer.
fn end_strays(d: &mut Draft<'_>) {
    let entries = d.next.analysis_runs.clone().unwrap_or_default();
    for run in &d.seen.runs {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        if entries.iter().all(|e| e.analysis_run != name) {
            terminate(d, run);
        }
    }
}

fn terminate(d: &mut Draft<'_>, run: &Arc<AnalysisRun>) {
    let is_ending = run.spec.terminate == Some(true) || run.metadata.deletion_timestamp.is_some();
    if phase(run).is_completed() || is_ending {
        return;
    }
    d.terminate_run(run);
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let text = format!("Terminating AnalysisRun '{name}'");
    d.events.push(Event::normal("AnalysisRunTerminating", text));
}
