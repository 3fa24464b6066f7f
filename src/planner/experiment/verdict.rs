//! When an Experiment has ended, and how (E3). Unlike the peer's, it is never Successful while one of
//! its analyses goes on: a verdict that comes later would be about nothing (asks and pains 22).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::Draft;
use super::spec::Spec;
use super::template::{self, ERROR, FAILED, RUNNING, SUCCESSFUL};
use super::{runs, status};
use crate::planner::analysis::assess::Phase;
use crate::planner::draft::{after, whole_seconds};

/// The phase that follows from the templates and analyses of the next status.
pub(super) fn judge(d: &mut Draft<'_>, spec: &Spec) {
    if let Some((phase, message)) = broken(d) {
        return conclude(d, phase, message);
    }
    available(d, spec);
    let Some(why) = ending(d, spec) else {
        let is_running = d.next.available_at.is_some();
        let phase = if is_running {
            Phase::Running
        } else {
            Phase::Pending
        };
        return status::enter(d, phase, None);
    };
    // A person's end is for all of them; the others have had their time.
    let mut waits_for = vec![];
    for analysis in &spec.analyses {
        let is_made = d
            .next
            .analysis_runs
            .iter()
            .flatten()
            .any(|e| e.name == analysis.name);
        if !is_made || runs::phase_of(&d.next, &analysis.name).is_completed() {
            continue;
        }
        waits_for.push(analysis.name.clone());
        let is_required = analysis.required_for_completion == Some(true);
        if spec.is_terminated || !is_required {
            runs::end(d, &analysis.name);
        }
    }
    finish_templates(d);
    if waits_for.is_empty() {
        return conclude(d, Phase::Successful, None);
    }
    d.note(format!(
        "{why}; waiting for the end of {}",
        waits_for.join(", ")
    ));
    status::enter(d, Phase::Running, None);
}

/// A template or an analysis that ends the Experiment at once; the worst of them.
fn broken(d: &Draft<'_>) -> Option<(Phase, Option<String>)> {
    let templates = d.next.template_statuses.iter().flatten();
    let templates = templates.filter_map(|t| match t.status.as_deref() {
        Some(FAILED) => Some((Phase::Failed, t.message.clone())),
        Some(ERROR) => Some((Phase::Error, t.message.clone())),
        Some(_) | None => None,
    });
    let analyses = d.next.analysis_runs.iter().flatten();
    let analyses = analyses.filter_map(|a| {
        let phase = Phase::read(a.phase.as_deref().unwrap_or_default());
        phase.is_bad().then(|| (phase, a.message.clone()))
    });
    // The first of the worst: a later one of the same badness takes nothing from it.
    templates.chain(analyses).reduce(|worst, next| {
        if next.0.badness() > worst.0.badness() {
            next
        } else {
            worst
        }
    })
}

/// All pods are there for the first time: the duration counts from now.
fn available(d: &mut Draft<'_>, spec: &Spec) {
    if d.next.available_at.is_some() {
        return;
    }
    let all = d.next.template_statuses.as_deref().unwrap_or_default();
    let is_running = |name: &str| {
        let of = |t: &&crate::api::experiment::TemplateStatus| t.name == name;
        all.iter().find(of).and_then(|t| t.status.as_deref()) == Some(RUNNING)
    };
    if spec.templates.iter().all(|t| is_running(&t.name)) {
        let now = whole_seconds(d.seen.now);
        // Runs are told apart by this time: a retry within the second gets another one.
        let after_all = runs::last_mark(d.seen).map(|mark| after(mark, 1));
        d.next.available_at = Some(after_all.map_or(now.clone(), |t| Time(t.max(now.0))));
    }
}

/// Why the Experiment is to end now, if it is.
fn ending(d: &mut Draft<'_>, spec: &Spec) -> Option<&'static str> {
    if spec.is_terminated {
        return Some("it was told to end");
    }
    let since = d.next.available_at.as_ref().map(|t| t.0)?;
    if let Some(length) = spec.duration {
        let end = since.checked_add(SignedDuration::from_millis(length));
        let end = end.unwrap_or(Timestamp::MAX);
        if d.seen.now >= end {
            return Some("its duration is over");
        }
        d.wake.at(end);
    }
    let is_good = |name: &str| runs::phase_of(&d.next, name) == Phase::Successful;
    let mut required = spec
        .analyses
        .iter()
        .filter(|a| a.required_for_completion == Some(true))
        .peekable();
    if required.peek().is_some() && required.all(|a| is_good(&a.name)) {
        return Some("all analyses that are required have passed");
    }
    let is_judged = !spec.analyses.is_empty() && spec.analyses.iter().all(|a| is_good(&a.name));
    (spec.duration.is_none() && is_judged).then_some("all analyses have passed")
}

fn conclude(d: &mut Draft<'_>, phase: Phase, message: Option<String>) {
    finish_templates(d);
    status::enter(d, phase, message);
}

/// Templates that go on have had their time.
fn finish_templates(d: &mut Draft<'_>) {
    for mut entry in d.next.template_statuses.clone().unwrap_or_default() {
        if !template::is_over(&entry) {
            template::enter(d, &mut entry, SUCCESSFUL);
            d.put(entry);
        }
    }
}
