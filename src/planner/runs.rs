//! The AnalysisRuns of a Rollout: which ones there shall be now, what their verdicts mean for the
//! update, and when they go. Names are deterministic (revision, step, attempt), so that a late
//! view never makes a second run (I-09).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::analysis::field;
use super::analysis::template::{self, RunRequest};
use super::blue_green;
use super::cursor;
use super::draft::{Draft, after};
use super::fault::Fault;
use super::observed::{Need, Observed, TemplateRef};
use super::plan::{Event, EventKind};
use super::reasons;
use super::revision::Sets;
use super::slo::{self, Gate, SloContext};
use super::spec::{Spec, Step};
use super::{experiments, failure, first, resume, rollback, run_history};
use crate::api::analysis::{AnalysisTemplateSpec, Argument};
use crate::api::canary::RolloutAnalysis;
use crate::api::patch::apply_merge_patch;
use crate::api::status::AnalysisRunRef;
use crate::api::{
    AnalysisRun, INSTANCE_ID, POD_HASH_LABEL, REVISION, ROLLOUT_TYPE, RolloutStatus, STEP_INDEX,
};

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Step(usize),
    Background,
    PrePromotion,
    PostPromotion,
    Slo,
}

impl Purpose {
    /// Value of the label `rollout-type`, and the word in events.
    fn kind(self) -> &'static str {
        match self {
            Self::Step(_) => "Step",
            Self::Background | Self::Slo => "Background",
            Self::PrePromotion => "PrePromotion",
            Self::PostPromotion => "PostPromotion",
        }
    }

    fn suffix(self) -> String {
        match self {
            Self::Step(index) => index.to_string(),
            Self::Background => String::new(),
            Self::PrePromotion => "pre".to_owned(),
            Self::PostPromotion => "post".to_owned(),
            Self::Slo => "slo".to_owned(),
        }
    }

    /// How a failure reads in the abort message (N23).
    fn failure(self, message: &str) -> String {
        let what = match self {
            Self::Step(_) => "Step-based analysis phase error/failed",
            Self::Background => "Background analysis phase error/failed",
            Self::PrePromotion => "Blue/green pre-promotion analysis phase error/failed",
            Self::PostPromotion => "Blue/green post-promotion analysis phase error/failed",
            Self::Slo => "SLO gate failed",
        };
        if message.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {message}")
        }
    }
}

struct Wanted<'a> {
    purpose: Purpose,
    analysis: Option<&'a RolloutAnalysis>,
    name: String,
}

/// The runs that the status as read asks for, in order of precedence: step, background, gate.
fn wanted<'a>(seen: &Observed, spec: &'a Spec, sets: &Sets<'_>) -> Vec<Wanted<'a>> {
    let read = &seen.rollout.status;
    let is_first = first::is_judged(seen, sets);
    if is_first {
        return wanted_first(seen, spec, sets);
    }
    if !is_updating(seen, sets) || read.abort == Some(true) || read.promote_full == Some(true) {
        return vec![];
    }
    // A way back that is trusted is not judged again; a retried step is, once it has its pods.
    if rollback::is_trusted(seen, spec, &sets.canary.hash) || resume::is_resuming(read) {
        return vec![];
    }
    let Some(canary) = spec.canary() else {
        return wanted_blue_green(seen, spec, sets);
    };
    let at = cursor::index(read, canary.steps.len());
    let mut list = vec![];
    let mut want = |purpose: Purpose, analysis: Option<&'a RolloutAnalysis>| {
        list.push(Wanted {
            purpose,
            analysis,
            name: name(seen, sets, purpose),
        });
    };
    if let Some(Step::Analysis(analysis)) = canary.steps.get(at) {
        want(Purpose::Step(at), Some(analysis));
    }
    if let Some(background) = canary.background.as_ref().filter(|b| at >= b.starting_step) {
        want(Purpose::Background, Some(&background.analysis));
    }
    if canary.slos.as_ref().is_some_and(|s| at >= s.starting_step) {
        want(Purpose::Slo, None);
    }
    list
}

/// True for the name of a run that the update waits for or is watched by now.
pub(crate) fn is_wanted(d: &Draft<'_>, sets: &Sets<'_>, name: &str) -> bool {
    let wanted = wanted(d.seen, d.spec, sets);
    wanted.iter().any(|want| want.name == name)
}

/// True when one of the runs that are wanted now is there: something is measured.
pub(crate) fn has_begun(d: &Draft<'_>, sets: &Sets<'_>) -> bool {
    let wanted = wanted(d.seen, d.spec, sets);
    wanted.iter().any(|want| run(d.seen, &want.name).is_some())
}

/// The runs of a first deployment that is judged: background, or both of blueGreen, and gate, whatever
/// their first step.
fn wanted_first<'a>(seen: &Observed, spec: &'a Spec, sets: &Sets<'_>) -> Vec<Wanted<'a>> {
    let background = spec.canary().and_then(|c| c.background.as_ref());
    let blue_green = spec.blue_green();
    let before = blue_green.and_then(|b| b.pre_promotion.as_ref());
    let after = blue_green.and_then(|b| b.post_promotion.as_ref());
    let gate = spec.slos().map(|_| (Purpose::Slo, None));
    let all = [
        (Purpose::Background, background.map(|b| &b.analysis)),
        (Purpose::PrePromotion, before),
        (Purpose::PostPromotion, after),
    ];
    let analyses = all.into_iter().filter(|(_, analysis)| analysis.is_some());
    let all = analyses.chain(gate);
    all.map(|(purpose, analysis)| Wanted {
        purpose,
        analysis,
        name: name(seen, sets, purpose),
    })
    .collect()
}

/// Before the switch the preview is judged, once it has its size; after it, what clients get. What
/// is switched to on the fast track was judged before.
fn wanted_blue_green<'a>(seen: &Observed, spec: &'a Spec, sets: &Sets<'_>) -> Vec<Wanted<'a>> {
    let Some(view) = blue_green::View::of(seen, spec) else {
        return vec![];
    };
    if view.fast.is_some() {
        return vec![];
    }
    let of_spec = spec.blue_green();
    let want = |purpose: Purpose, analysis: Option<&'a RolloutAnalysis>| Wanted {
        purpose,
        analysis,
        name: name(seen, sets, purpose),
    };
    if !view.is_active(sets.canary) {
        let pre = of_spec.and_then(|s| s.pre_promotion.as_ref());
        let pre = pre.map(|a| want(Purpose::PrePromotion, Some(a)));
        return pre
            .filter(|w| {
                run(seen, &w.name).is_some() || blue_green::is_preview_there(seen, spec, sets)
            })
            .filter(|_| view.active_hash().is_some())
            .into_iter()
            .collect();
    }
    // What is measured after the switch begins when the switch is on record.
    let shown = seen.rollout.status.blue_green.as_ref();
    if shown.and_then(|b| b.active_selector.as_deref()) != Some(sets.canary.hash.as_str()) {
        return vec![];
    }
    let post = of_spec.and_then(|s| s.post_promotion.as_ref());
    let post = post.map(|a| want(Purpose::PostPromotion, Some(a)));
    let slo = view.spec.slos.as_ref().map(|_| want(Purpose::Slo, None));
    // And when every pod is there: a switch away from a dead version may come before that (B6).
    let is_full = sets.canary.is_observed && sets.canary.answering() >= spec.replicas;
    post.into_iter()
        .chain(slo)
        .filter(|want| is_full || run(seen, &want.name).is_some())
        .collect()
}

fn is_updating(seen: &Observed, sets: &Sets<'_>) -> bool {
    let stable = seen.rollout.status.stable_rs.as_deref();
    stable.is_some() && stable != Some(sets.canary.hash.as_str())
}

pub(crate) fn attempt(status: &RolloutStatus) -> u64 {
    let attempt = status.serin.as_ref().and_then(|s| s.attempt).unwrap_or(0);
    u64::try_from(attempt).unwrap_or(0)
}

fn name(seen: &Observed, sets: &Sets<'_>, purpose: Purpose) -> String {
    template::run_name(
        &seen.rollout.name,
        &sets.canary.hash,
        super::revision::revision_of(seen, Some(sets.canary)),
        &purpose.suffix(),
        attempt(&seen.rollout.status),
    )
}

fn run<'a>(seen: &'a Observed, name: &str) -> Option<&'a Arc<AnalysisRun>> {
    seen.runs
        .iter()
        .find(|run| run.metadata.name.as_deref() == Some(name))
}

fn phase(run: &AnalysisRun) -> &str {
    run.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

fn message(run: &AnalysisRun) -> &str {
    run.status
        .as_ref()
        .and_then(|s| s.message.as_deref())
        .unwrap_or_default()
}

fn is_finished(run: &AnalysisRun) -> bool {
    matches!(
        phase(run),
        "Successful" | "Failed" | "Error" | "Inconclusive"
    )
}

/// True before the first pod of an update, or of the very first version: the moment to see that
/// everything it refers to is there.
fn is_about_to_begin(seen: &Observed, sets: &Sets<'_>) -> bool {
    let read = &seen.rollout.status;
    let is_first = read.stable_rs.is_none();
    let at_start = read.current_step_index.unwrap_or(0) == 0 && is_updating(seen, sets);
    sets.canary.replicas == 0 && (is_first || at_start)
}

/// Every analysis of the spec, with the path of its templates.
fn references(spec: &Spec) -> Vec<(String, &RolloutAnalysis, bool)> {
    if let Some(blue_green) = spec.blue_green() {
        let of = |name: &str| format!("spec.strategy.blueGreen.{name}.templates");
        let pre = blue_green
            .pre_promotion
            .iter()
            .map(|a| (of("prePromotionAnalysis"), a, true));
        let post = blue_green
            .post_promotion
            .iter()
            .map(|a| (of("postPromotionAnalysis"), a, true));
        return pre.chain(post).collect();
    }
    let Some(canary) = spec.canary() else {
        return vec![];
    };
    let background = canary.background.iter().map(|b| {
        let path = "spec.strategy.canary.analysis.templates".to_owned();
        (path, &b.analysis, false)
    });
    let steps = canary
        .steps
        .iter()
        .enumerate()
        .flat_map(|(i, step)| match step {
            Step::Analysis(analysis) => {
                let path = format!("spec.strategy.canary.steps[{i}].analysis.templates");
                vec![(path, &**analysis, true)]
            }
            Step::Experiment(experiment) => {
                let at = format!("spec.strategy.canary.steps[{i}].experiment.analyses");
                let all = experiment.analyses.iter().enumerate();
                all.map(|(n, analysis)| (format!("{at}[{n}].templateName"), analysis, false))
                    .collect()
            }
            Step::SetWeight(_) | Step::Pause(_) | Step::Ramp(_) => vec![],
        });
    background.chain(steps).collect()
}

/// Templates that must be looked up: all that the spec names before the first pod of an update,
/// later those of the runs that are to be made.
pub(crate) fn needs(seen: &Observed, sets: &Sets<'_>) -> Vec<Need> {
    let Ok(spec) = &seen.rollout.spec else {
        return vec![];
    };
    let to_make = wanted(seen, spec, sets);
    let mut analyses: Vec<&RolloutAnalysis> = to_make
        .iter()
        .filter(|w| run(seen, &w.name).is_none())
        .filter_map(|w| w.analysis)
        .collect();
    if is_about_to_begin(seen, sets) {
        analyses.extend(all_of(spec));
    }
    needs_of(seen, analyses)
}

/// The same before anything of a version is made: all that the spec names.
pub(crate) fn needs_before_update(seen: &Observed) -> Vec<Need> {
    let Ok(spec) = &seen.rollout.spec else {
        return vec![];
    };
    needs_of(seen, all_of(spec).collect())
}

fn all_of(spec: &Spec) -> impl Iterator<Item = &RolloutAnalysis> {
    let all = references(spec).into_iter();
    all.map(|(_, analysis, _)| analysis)
}

fn needs_of(seen: &Observed, analyses: Vec<&RolloutAnalysis>) -> Vec<Need> {
    let mut needs = vec![];
    for analysis in analyses {
        let found = closure(seen, analysis);
        if asked_fields(analysis, &found).any(|(_, path)| !field::is_held(path)) {
            needs.push(Need::Object);
        }
        let unknown = found.unknown.into_iter();
        needs
            .extend(unknown.map(|(name, is_cluster)| {
                Need::AnalysisTemplate(TemplateRef { name, is_cluster })
            }));
    }
    needs
}

/// Fields of the Rollout that an analysis asks for: argument and path, of its own and of its
/// templates where it gives no value.
fn asked_fields<'a>(
    analysis: &'a RolloutAnalysis,
    found: &'a template::Closure,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let own = analysis.args.iter().flatten();
    let given: Vec<&str> = own.clone().map(|arg| arg.name.as_str()).collect();
    let of_own = own.filter_map(|arg| {
        let field = arg.value_from.as_ref()?.field_ref.as_ref()?;
        Some((arg.name.as_str(), field.field_path.as_str()))
    });
    let declared = found
        .templates
        .iter()
        .flat_map(|(_, t)| t.args.iter().flatten());
    let of_templates = declared.filter_map(move |arg| {
        let field = arg.value_from.as_ref()?.field_ref.as_ref()?;
        let is_asked = arg.value.is_none() && !given.contains(&arg.name.as_str());
        is_asked.then_some((arg.name.as_str(), field.field_path.as_str()))
    });
    of_own.chain(of_templates)
}

fn closure(seen: &Observed, analysis: &RolloutAnalysis) -> template::Closure {
    let roots: Vec<template::Name> = analysis
        .templates
        .iter()
        .flatten()
        .map(|t| {
            (
                t.template_name.clone().unwrap_or_default(),
                t.cluster_scope == Some(true),
            )
        })
        .collect();
    template::closure(&roots, |(name, is_cluster)| {
        let key = TemplateRef {
            name: name.clone(),
            is_cluster: *is_cluster,
        };
        match seen.answers.analysis_templates.get(&key) {
            None => template::Found::Unknown,
            Some(None) => template::Found::Absent,
            Some(Some(spec)) => template::Found::There(Arc::clone(spec)),
        }
    })
}

/// Makes, follows and ends the runs. True when a verdict changed the status, so that this turn
/// only puts it on record.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let seen = d.seen;
    let wanted = wanted(seen, d.spec, sets);
    end_unwanted(d, &wanted);
    show_the_end(d, &wanted);
    experiments::end_unwanted(d, sets);
    // Nothing to judge, and nobody to ask about: runs that are there go on, none begins.
    let is_not_begun = d.freeze.is_some() && sets.canary.replicas == 0;
    if d.spec.replicas == 0 {
        return false;
    }
    if is_not_begun {
        return experiments::steer(d, sets);
    }
    let mut changed = false;
    let has_background = wanted
        .iter()
        .any(|w| matches!(w.purpose, Purpose::Background | Purpose::PostPromotion));
    for want in &wanted {
        match run(seen, &want.name) {
            None => make(d, sets, want),
            Some(run) => {
                let shown = want.purpose != Purpose::Slo || !has_background;
                follow(d, want, run, shown);
                changed = changed || is_outdated(d, sets, want, run) || judge(d, sets, want, run);
            }
        }
        if changed {
            break;
        }
    }
    if !changed && first::is_judged(seen, sets) && wanted.iter().all(|w| holds_first(d, w)) {
        first::pass(d);
        return true;
    }
    changed || experiments::steer(d, sets)
}

/// What is asked of a first deployment holds: the run has ended well, or goes on without an end and
/// has been right with every metric.
fn holds_first(d: &Draft<'_>, want: &Wanted<'_>) -> bool {
    let Some(run) = run(d.seen, &want.name) else {
        return false;
    };
    if want.purpose == Purpose::Slo {
        return gate_of(d, Some(run)) == Some(Gate::Pass);
    }
    let is_endless = run.spec.metrics.iter().flatten().all(|metric| {
        let is_counted = metric.count.is_some() || metric.interval.is_none();
        !is_counted
    });
    let results = run.status.as_ref().and_then(|s| s.metric_results.as_ref());
    let is_right = |result: &crate::api::analysis::MetricResult| {
        let last = result.measurements.iter().flatten().next_back();
        last.is_some_and(|m| m.phase == "Successful")
    };
    let metrics = run.spec.metrics.iter().flatten().count();
    let right = results
        .into_iter()
        .flatten()
        .filter(|r| is_right(r))
        .count();
    phase(run) == "Successful" || (is_endless && metrics > 0 && right >= metrics)
}

/// Faults of the templates that the spec names, while nothing is started (L29): an update, or the
/// very first version.
pub(crate) fn check_references(d: &mut Draft<'_>, sets: &Sets<'_>) {
    if is_about_to_begin(d.seen, sets) {
        check_all(d);
    }
}

/// The same before a version has so much as a ReplicaSet.
pub(crate) fn check_all(d: &mut Draft<'_>) {
    let spec = d.spec;
    for (path, analysis, is_step) in references(spec) {
        let found = closure(d.seen, analysis);
        let faults = template_faults(&path, &found, is_step);
        let is_whole = faults.is_empty() && found.unknown.is_empty();
        d.faults.extend(faults);
        let object = owner(d);
        // What the status will say when the time comes is not known yet.
        let absent = asked_fields(analysis, &found).filter(|(_, asked)| {
            !asked.starts_with("status.") && field::field(&object, asked).is_none()
        });
        d.faults.extend(absent.map(|(name, asked)| {
            let why = format!("args.{name} was not resolved: the Rollout has no field {asked}");
            Fault::invalid(&path, "", why)
        }));
        // Arguments too: a run that cannot be made must not be found out when its step is reached.
        if is_whole && !found.templates.is_empty() {
            let templates: Vec<_> = found.templates.into_iter().map(|(_, t)| t).collect();
            let told = template::check(&templates, analysis).into_iter();
            d.faults
                .extend(told.map(|m| Fault::invalid(&path, "{…}", m)));
        }
    }
    let unasked = without_prometheus(d);
    d.faults.extend(unasked);
    if !d.faults.is_empty() {
        d.wake.at(after(d.now(), 20));
    }
}

/// Objectives, and nobody to ask about them.
fn without_prometheus(d: &Draft<'_>) -> Option<Fault> {
    let spec = d.spec.slos()?;
    let is_known = spec.prometheus.is_some() || d.seen.default_prometheus.is_some();
    (!is_known).then(|| {
        Fault::required(
            &format!("{}.slos.prometheus", d.spec.strategy_path()),
            "name the Prometheus to ask, or start the controller with --prometheus",
        )
    })
}

fn template_faults(path: &str, found: &template::Closure, is_step: bool) -> Vec<Fault> {
    let absent = found.absent.iter().map(|name| {
        let message = template::absent_message(name);
        Fault::invalid(path, format!("{:?}", name.0), message)
    });
    let mut faults: Vec<Fault> = absent.collect();
    if is_step {
        for (name, spec) in &found.templates {
            let endless = template::endless_message(name, spec);
            let all = endless
                .into_iter()
                .map(|m| Fault::invalid(path, format!("{:?}", name.0), m));
            faults.extend(all);
        }
    }
    faults
}

/// The objectives in the spec are no longer those of the gate's run: a run of their own is made,
/// under the next attempt's name. True when it is so.
fn is_outdated(d: &mut Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>, run: &AnalysisRun) -> bool {
    if want.purpose != Purpose::Slo {
        return false;
    }
    let Some(spec) = d.spec.slos().filter(|_| without_prometheus(d).is_none()) else {
        return false;
    };
    let today = slo::metrics(spec, &slo_context(d, sets));
    if run.spec.metrics.as_ref() == Some(&today) {
        return false;
    }
    d.note("the objectives changed: they are measured anew");
    cursor::next_attempt(d);
    true
}

/// Runs of other steps, revisions or attempts measure no longer.
fn end_unwanted(d: &mut Draft<'_>, wanted: &[Wanted<'_>]) {
    for run in &d.seen.runs {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let is_ending =
            run.spec.terminate == Some(true) || run.metadata.deletion_timestamp.is_some();
        if !is_finished(run) && !is_ending && wanted.iter().all(|w| w.name != name) {
            d.terminate_run(run);
        }
    }
}

/// A run that blueGreen shows and that is wanted no longer is shown as it ended, not as it was when
/// it was given up.
fn show_the_end(d: &mut Draft<'_>, wanted: &[Wanted<'_>]) {
    let seen = d.seen;
    let Some(shown) = &mut d.next.blue_green else {
        return;
    };
    let slots = [
        &mut shown.pre_promotion_analysis_run_status,
        &mut shown.post_promotion_analysis_run_status,
    ];
    for entry in slots.into_iter().flatten() {
        let is_wanted = wanted.iter().any(|want| want.name == entry.name);
        let ended = run(seen, &entry.name).filter(|run| !is_wanted && is_finished(run));
        if let Some(run) = ended {
            entry.status = phase(run).to_owned();
            entry.message = Some(message(run).to_owned()).filter(|m| !m.is_empty());
        }
    }
}

/// The run's name is taken by one that this Rollout does not control. Its verdict would be about
/// something else, and it is not ours to delete.
fn in_the_way(want: &Wanted<'_>) -> Fault {
    let why = format!(
        "there is an AnalysisRun '{}' already that this Rollout does not control: delete it, or give the Rollout another name",
        want.name
    );
    Fault::invalid("metadata.name", format!("{:?}", want.name), why)
}

/// Creates the run; what is wrong with it makes the Rollout invalid, with all faults (L29, L36).
fn make(d: &mut Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>) {
    // Not while a pause waits for a person: a verdict then would be about nothing (C8).
    let waits = d
        .read()
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    if waits && matches!(want.purpose, Purpose::Step(_)) {
        return;
    }
    match d.seen.answers.runs.get(&want.name) {
        Some(Some(owner)) if owner.as_deref() == Some(d.seen.rollout.uid.as_str()) => {
            d.note(format!(
                "analysis run {} is there and not seen yet",
                want.name
            ));
            d.wake.at(after(d.now(), 5));
            return;
        }
        Some(Some(_)) => {
            d.faults.push(in_the_way(want));
            d.wake.at(after(d.now(), 20));
            return;
        }
        Some(None) | None => {}
    }
    match build(d, sets, want) {
        Ok(run) => d.create_run(run),
        Err(faults) => {
            d.faults.extend(faults);
            d.wake.at(after(d.now(), 20));
        }
    }
}

fn build(d: &Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>) -> Result<AnalysisRun, Vec<Fault>> {
    let Some(analysis) = want.analysis else {
        return build_gate(d, sets, want);
    };
    let path = match want.purpose {
        Purpose::Step(index) => format!("spec.strategy.canary.steps[{index}].analysis.templates"),
        Purpose::Background | Purpose::Slo => "spec.strategy.canary.analysis.templates".to_owned(),
        Purpose::PrePromotion => {
            "spec.strategy.blueGreen.prePromotionAnalysis.templates".to_owned()
        }
        Purpose::PostPromotion => {
            "spec.strategy.blueGreen.postPromotionAnalysis.templates".to_owned()
        }
    };
    let found = closure(d.seen, analysis);
    let must_end = match want.purpose {
        Purpose::Step(_) | Purpose::PrePromotion | Purpose::PostPromotion => true,
        Purpose::Background | Purpose::Slo => false,
    };
    let faults = template_faults(&path, &found, must_end);
    if !faults.is_empty() {
        return Err(faults);
    }
    let request = request(
        d,
        sets,
        want,
        analysis,
        found.templates.into_iter().map(|(_, t)| t).collect(),
    );
    template::build_run(&request).map_err(|all| {
        all.into_iter()
            .map(|m| Fault::invalid(&path, "", m))
            .collect()
    })
}

fn request(
    d: &Draft<'_>,
    sets: &Sets<'_>,
    want: &Wanted<'_>,
    analysis: &RolloutAnalysis,
    templates: Vec<Arc<AnalysisTemplateSpec>>,
) -> RunRequest {
    let rollout = &d.seen.rollout;
    RunRequest {
        name: want.name.clone(),
        namespace: rollout.namespace.clone(),
        owner_kind: "Rollout",
        owner_name: rollout.name.clone(),
        owner_uid: rollout.uid.clone(),
        labels: labels(d, sets, want.purpose),
        annotations: annotations(d, sets),
        templates,
        args: arguments(d, sets, analysis),
        owner: owner(d),
        dry_run: analysis.dry_run.clone().unwrap_or_default(),
        measurement_retention: analysis.measurement_retention.clone().unwrap_or_default(),
        metadata: analysis.analysis_run_metadata.clone(),
    }
}

fn annotations(d: &Draft<'_>, sets: &Sets<'_>) -> BTreeMap<String, String> {
    let revision = super::revision::revision_of(d.seen, Some(sets.canary));
    BTreeMap::from([(REVISION.to_owned(), revision.to_string())])
}

fn labels(d: &Draft<'_>, sets: &Sets<'_>, purpose: Purpose) -> BTreeMap<String, String> {
    let selector = d.spec.selector.value();
    let mut labels: BTreeMap<String, String> = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect();
    labels.insert(POD_HASH_LABEL.to_owned(), sets.canary.hash.clone());
    labels.insert(ROLLOUT_TYPE.to_owned(), purpose.kind().to_owned());
    if let Purpose::Step(index) = purpose {
        labels.insert(STEP_INDEX.to_owned(), index.to_string());
    }
    if let Some(id) = d.seen.rollout.labels.get(INSTANCE_ID) {
        labels.insert(INSTANCE_ID.to_owned(), id.clone());
    }
    labels
}

/// The Rollout as arguments may look at it: all of it where it was asked for, its status as read.
fn owner(d: &Draft<'_>) -> Value {
    let rollout = &d.seen.rollout;
    let mut object = json!({
        "metadata": {
            "name": rollout.name, "namespace": rollout.namespace, "uid": rollout.uid,
            "generation": rollout.generation, "creationTimestamp": rollout.created.to_string(),
            "labels": *rollout.labels, "annotations": *rollout.annotations,
        },
        "spec": {"replicas": d.spec.replicas},
        "status": serde_json::to_value(d.read()).unwrap_or_default(),
    });
    if let Some(stored) = &d.seen.answers.object {
        for part in ["metadata", "spec"] {
            let (Some(all), Some(held)) = (stored.get(part), object.get_mut(part)) else {
                continue;
            };
            let mut all = all.clone();
            apply_merge_patch(&mut all, held);
            *held = all;
        }
    }
    object
}

/// The Rollout's arguments as values: literal, a version's hash, or a field of the Rollout (N18).
pub(crate) fn arguments(
    d: &Draft<'_>,
    sets: &Sets<'_>,
    analysis: &RolloutAnalysis,
) -> Vec<Argument> {
    let object = owner(d);
    let resolve = |arg: &crate::api::canary::AnalysisRunArgument| {
        let from = arg.value_from.as_ref();
        let hash = from.and_then(|f| f.pod_template_hash_value.as_deref());
        let field = from.and_then(|f| f.field_ref.as_ref());
        let value = match (hash, field) {
            (Some("Stable"), _) => d.read().stable_rs.clone(),
            (Some(_), _) => Some(sets.canary.hash.clone()),
            (None, Some(field)) => field::field(&object, &field.field_path),
            (None, None) => arg.value.clone(),
        };
        Argument {
            name: arg.name.clone(),
            value,
            value_from: None,
        }
    };
    analysis.args.iter().flatten().map(resolve).collect()
}

fn build_gate(
    d: &Draft<'_>,
    sets: &Sets<'_>,
    want: &Wanted<'_>,
) -> Result<AnalysisRun, Vec<Fault>> {
    let Some(spec) = d.spec.slos() else {
        return Err(vec![]);
    };
    if let Some(fault) = without_prometheus(d) {
        return Err(vec![fault]);
    }
    let context = SloContext {
        labels: labels(d, sets, want.purpose),
        ..slo_context(d, sets)
    };
    Ok(slo::build_run(spec, &context))
}

/// The canary that a gate is for, without its labels: queries need none.
fn slo_context(d: &Draft<'_>, sets: &Sets<'_>) -> SloContext {
    let rollout = &d.seen.rollout;
    SloContext {
        namespace: rollout.namespace.clone(),
        rollout: rollout.name.clone(),
        uid: rollout.uid.clone(),
        hash: sets.canary.hash.clone(),
        stable_hash: d.read().stable_rs.clone().unwrap_or_default(),
        revision: super::revision::revision_of(d.seen, Some(sets.canary)),
        attempt: attempt(d.read()),
        labels: BTreeMap::new(),
    }
}

/// Shows the run in the status, and its changes of phase as events (N23).
fn follow(d: &mut Draft<'_>, want: &Wanted<'_>, run: &AnalysisRun, shown: bool) {
    let now = phase(run);
    if now.is_empty() {
        return;
    }
    let entry = AnalysisRunRef {
        name: want.name.clone(),
        status: now.to_owned(),
        message: Some(message(run).to_owned()).filter(|m| !m.is_empty()),
    };
    if !shown {
        return;
    }
    let is_blue_green = d.spec.blue_green().is_some();
    let slot = match want.purpose {
        Purpose::Step(_) => {
            let canary = d.next.canary.get_or_insert_default();
            &mut canary.current_step_analysis_run_status
        }
        Purpose::Background | Purpose::Slo if !is_blue_green => {
            let canary = d.next.canary.get_or_insert_default();
            &mut canary.current_background_analysis_run_status
        }
        Purpose::PrePromotion => {
            let blue_green = d.next.blue_green.get_or_insert_default();
            &mut blue_green.pre_promotion_analysis_run_status
        }
        Purpose::PostPromotion | Purpose::Background | Purpose::Slo => {
            let blue_green = d.next.blue_green.get_or_insert_default();
            &mut blue_green.post_promotion_analysis_run_status
        }
    };
    let before = slot
        .as_ref()
        .filter(|r| r.name == entry.name)
        .map(|r| r.status.clone());
    *slot = Some(entry);
    if before.as_deref() == Some(now) {
        return;
    }
    let (kind, reason) = phase_event(now);
    let note = format!(
        "{} Analysis Run '{}' Status New: '{now}' Previous: '{}'",
        want.purpose.kind(),
        want.name,
        before.as_deref().unwrap_or("NoPreviousStatus"),
    );
    d.event(Event { kind, reason, note });
}

fn phase_event(phase: &str) -> (EventKind, &'static str) {
    match phase {
        "Failed" => (EventKind::Warning, "AnalysisRunFailed"),
        "Error" => (EventKind::Warning, "AnalysisRunError"),
        "Inconclusive" => (EventKind::Normal, "AnalysisRunInconclusive"),
        "Successful" => (EventKind::Normal, "AnalysisRunSuccessful"),
        "Pending" => (EventKind::Normal, "AnalysisRunPending"),
        _ => (EventKind::Normal, "AnalysisRunRunning"),
    }
}

/// What the verdict means: a failure aborts, no verdict asks a person. True when it changed the
/// status.
fn judge(d: &mut Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>, run: &AnalysisRun) -> bool {
    // A gate fails, or it holds; lack of data never aborts.
    if want.purpose == Purpose::Slo {
        let Some(Gate::Fail { message, .. }) = gate_of(d, Some(run)) else {
            return false;
        };
        return fail(d, sets, want, &message);
    }
    match phase(run) {
        "Failed" | "Error"
            if want.purpose == Purpose::PrePromotion && failure::is_overruled(d.read()) =>
        {
            false
        }
        "Failed" | "Error" => fail(d, sets, want, message(run)),
        "Inconclusive" if first::is_pending(d.read()) => fail(d, sets, want, "no verdict"),
        "Inconclusive" => inconclusive(d, reasons::INCONCLUSIVE_RUN),
        _ => false,
    }
}

/// Go back; or ask a person, where the spec says so; or only say it, on a first deployment.
fn fail(d: &mut Draft<'_>, sets: &Sets<'_>, want: &Wanted<'_>, message: &str) -> bool {
    let text = want.purpose.failure(message);
    let asks = match want.analysis {
        Some(analysis) => analysis.on_failure.as_deref() == Some("Pause"),
        None => d.spec.slos().is_some_and(|slos| slos.pauses_on_failure),
    };
    if first::is_pending(d.read()) {
        first::fail(d, &text);
    } else if asks {
        return failure::pause(d, &text);
    } else {
        cursor::abort(d, sets, Some(&text));
    }
    true
}

/// No verdict: a person decides. True when it changed the status.
pub(crate) fn inconclusive(d: &mut Draft<'_>, reason: &str) -> bool {
    let read = d.read();
    let waits = read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty());
    let has_reason = read
        .pause_conditions
        .iter()
        .flatten()
        .any(|c| c.reason == reason);
    if has_reason {
        return false;
    }
    // A person cleared the pause without moving the step: the question is asked anew (C8).
    if !waits && read.controller_pause == Some(true) {
        d.next.controller_pause = None;
        cursor::next_attempt(d);
        cursor::pass_pause(d);
        return true;
    }
    cursor::enter_pause(d, reason);
    true
}

/// The current step is an analysis: go on when it is Successful. Failure and no verdict are
/// handled by [`steer`] before anything is scaled.
pub(crate) fn step_verdict(d: &mut Draft<'_>, sets: &Sets<'_>, at: usize) {
    if d.spec.replicas == 0 {
        d.note("replicas is 0: there is no canary to judge, the analysis step passes");
        cursor::advance(d, at);
        return;
    }
    let name = name(d.seen, sets, Purpose::Step(at));
    match run(d.seen, &name).map(|run| phase(run)) {
        Some("Successful") => cursor::advance(d, at),
        Some(now) => d.note(format!("waiting for analysis run {name} ({now})")),
        None => d.note(format!("starting analysis run {name}")),
    }
}

/// The analysis before the switch has passed, or there is none, or a person overruled it.
pub(crate) fn is_preview_judged(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let pre = d.spec.blue_green().and_then(|b| b.pre_promotion.as_ref());
    pre.is_none() || failure::is_overruled(d.read()) || has_passed(d, sets, Purpose::PrePromotion)
}

/// The analysis after the switch has passed, or there is none.
pub(crate) fn is_switch_judged(d: &mut Draft<'_>, sets: &Sets<'_>) -> bool {
    let post = d.spec.blue_green().and_then(|b| b.post_promotion.as_ref());
    post.is_none() || has_passed(d, sets, Purpose::PostPromotion)
}

fn has_passed(d: &mut Draft<'_>, sets: &Sets<'_>, purpose: Purpose) -> bool {
    if d.spec.replicas == 0 {
        d.note("replicas is 0: there is nothing to judge, the analysis is left out");
        return true;
    }
    let name = name(d.seen, sets, purpose);
    match run(d.seen, &name).map(|run| phase(run)) {
        Some("Successful") => return true,
        Some(now) => d.note(format!("waiting for analysis run {name} ({now})")),
        None => d.note(format!("starting analysis run {name}")),
    }
    false
}

/// Asks the SLO gate at the current step; open where there is none.
pub(crate) fn gate(d: &mut Draft<'_>, sets: &Sets<'_>) -> Gate {
    let Some(spec) = d.spec.slos() else {
        return Gate::Pass;
    };
    if d.spec.replicas == 0 {
        d.note("replicas is 0: there is no canary to judge, the gate is not asked");
        return Gate::Pass;
    }
    let is_trusted = rollback::is_trusted(d.seen, d.spec, &sets.canary.hash);
    let is_early =
        d.spec.canary().is_some() && cursor::index(d.read(), d.steps()) < spec.starting_step;
    if is_trusted || is_early {
        return Gate::Pass;
    }
    let name = name(d.seen, sets, Purpose::Slo);
    let run = run(d.seen, &name).cloned();
    gate_of(d, run.as_deref()).unwrap_or(Gate::Pass)
}

fn gate_of(d: &Draft<'_>, run: Option<&AnalysisRun>) -> Option<Gate> {
    let spec = d.spec.slos()?;
    let serin = d.read().serin.as_ref();
    let level = serin.and_then(|s| s.ramp.as_ref()?.since.as_ref());
    let reached = level.or(serin.and_then(|s| s.step_started_at.as_ref()));
    Some(slo::gate(
        spec,
        run,
        reached.map_or(Timestamp::MIN, |t| t.0),
    ))
}

/// Deletes finished runs beyond the history limits, and those whose ReplicaSet is gone (A14).
pub(crate) fn clean_up(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let seen = d.seen;
    let current: Vec<String> = wanted(seen, d.spec, sets)
        .into_iter()
        .map(|w| w.name)
        .chain(shown(&d.next))
        .collect();
    let finished = seen.runs.iter().filter(|run| {
        let is_current = current
            .iter()
            .any(|n| run.metadata.name.as_ref() == Some(n));
        is_finished(run) && !is_current
    });
    let finished = finished.map(|run| (run, &run.metadata, phase(run) == "Successful"));
    for run in run_history::surplus(d.spec, sets, finished.collect()) {
        d.delete_run(run);
    }
    experiments::clean_up(d, sets);
}

fn shown(status: &RolloutStatus) -> Vec<String> {
    let canary = status.canary.iter().flat_map(|c| {
        [
            &c.current_step_analysis_run_status,
            &c.current_background_analysis_run_status,
        ]
    });
    let blue_green = status.blue_green.iter().flat_map(|b| {
        [
            &b.pre_promotion_analysis_run_status,
            &b.post_promotion_analysis_run_status,
        ]
    });
    let refs = canary.chain(blue_green).flatten();
    refs.map(|r| r.name.clone()).collect()
}
