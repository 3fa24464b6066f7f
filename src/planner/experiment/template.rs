//! One template of an Experiment that runs: its ReplicaSet, its Service, its state (E2, E3).

use super::draft::Draft;
use super::spec::{Spec, Template};
use super::{Place, objects};
use crate::api::SCALE_DOWN_DEADLINE;
use crate::api::experiment::TemplateStatus;
use crate::planner::draft::{after, whole_seconds};
use crate::planner::observed::ReplicaSetSeen;
use crate::planner::plan::Event;
use crate::planner::reasons;

/// Its pods are not all there.
pub(super) const PROGRESSING: &str = "Progressing";
/// All its pods are there.
pub(super) const RUNNING: &str = "Running";
/// Its time is over.
pub(super) const SUCCESSFUL: &str = "Successful";
/// Its pods did not come in time.
pub(super) const FAILED: &str = "Failed";
/// It could not be made.
pub(super) const ERROR: &str = "Error";

/// True when a template goes on no more.
pub(super) fn is_over(status: &TemplateStatus) -> bool {
    matches!(status.status.as_deref(), Some(SUCCESSFUL | FAILED | ERROR))
}

/// Makes and follows one template.
pub(super) fn steer(d: &mut Draft<'_>, spec: &Spec, it: &Template) {
    let before = d.template(&it.name);
    let mut next = before.clone();
    let collisions = before.collision_count.unwrap_or(0);
    let name = objects::set_name(d.name(), &it.name, collisions);
    if is_over(&before) || spec.is_terminated {
        if let Some(set) = d.set(&name) {
            count(&mut next, set);
        }
        return d.put(next);
    }
    match d.set(&name) {
        Some(set) if set.is_deleting => {
            d.note(format!("waiting for ReplicaSet {name} to be gone"));
            enter(d, &mut next, PROGRESSING);
        }
        Some(set) => {
            size(d, it, set);
            serve(d, it, set, &mut next);
            count(&mut next, set);
            judge(d, spec, it, (set, &before), &mut next);
        }
        None => make(d, it, (&name, collisions), &mut next),
    }
    d.put(next);
}

fn make(
    d: &mut Draft<'_>,
    it: &Template,
    (name, collisions): (&str, i64),
    next: &mut TemplateStatus,
) {
    let place = Place::ReplicaSet(name.to_owned());
    if d.seen.taken.contains(&place) {
        next.collision_count = Some(collisions.saturating_add(1));
        d.note(format!(
            "the name {name} is taken by a ReplicaSet of somebody else: trying the next one"
        ));
        return enter(d, next, PROGRESSING);
    }
    if let Some(why) = d.seen.refused.get(&place) {
        let text = format!("Failed to create ReplicaSet '{name}': {why}");
        d.events
            .push(Event::warning(reasons::RS_CREATE_ERROR, text.clone()));
        next.message = Some(text);
        return enter(d, next, ERROR);
    }
    let set = objects::replica_set(&d.seen.experiment, it, collisions);
    next.pod_template_hash = Some(set.hash.clone());
    d.create_set(set);
    enter(d, next, PROGRESSING);
}

/// The size that the spec asks for; what an end has put on the ReplicaSet goes (a retry).
fn size(d: &mut Draft<'_>, it: &Template, set: &ReplicaSetSeen) {
    let is_resized = set.replicas != it.replicas;
    let is_kept = set.scale_down_deadline.is_some();
    let is_slower = set.min_ready_seconds != it.min_ready_seconds;
    if is_resized || is_kept || is_slower {
        d.patch(set, |patch| {
            patch.replicas = is_resized.then_some(it.replicas);
            patch.min_ready_seconds = is_slower.then_some(it.min_ready_seconds);
            if is_kept {
                let key = SCALE_DOWN_DEADLINE.to_owned();
                patch.annotations.insert(key, None);
            }
        });
    }
    if is_resized {
        scaled(d, set, it.replicas);
    }
}

/// Tells that a ReplicaSet gets another size.
pub(super) fn scaled(d: &mut Draft<'_>, set: &ReplicaSetSeen, to: u32) {
    let direction = if to > set.replicas { "up" } else { "down" };
    let text = format!(
        "Scaled {direction} ReplicaSet {} from {} to {to}",
        set.name, set.replicas
    );
    d.events.push(Event::normal(reasons::SCALING_RS, text));
}

/// A Service in front of the pods, where one is asked for and a container has a port.
fn serve(d: &mut Draft<'_>, it: &Template, set: &ReplicaSetSeen, next: &mut TemplateStatus) {
    let Some(wanted) = it.service.as_ref().filter(|_| next.service_name.is_none()) else {
        return;
    };
    let name = if wanted.is_empty() { &set.name } else { wanted };
    let place = Place::Service(name.clone());
    let refused = if d.seen.taken.contains(&place) {
        Some("there is a Service of that name already that this Experiment does not control: delete it, or give the template's service another name".to_owned())
    } else {
        d.seen.refused.get(&place).cloned()
    };
    if let Some(why) = refused {
        next.message = Some(format!("Failed to create Service '{name}': {why}"));
        return enter(d, next, ERROR);
    }
    match objects::service(&d.seen.experiment, it, name, &set.hash) {
        Some(service) => {
            d.create_service(service);
            next.service_name = Some(name.clone());
        }
        None => d.note(format!(
            "template {} has no Service: no container has a port",
            it.name
        )),
    }
}

/// The numbers of a ReplicaSet.
pub(super) fn count(next: &mut TemplateStatus, set: &ReplicaSetSeen) {
    next.pod_template_hash = Some(set.hash.clone());
    next.replicas = Some(i64::from(set.current));
    next.updated_replicas = Some(i64::from(set.current));
    next.ready_replicas = Some(i64::from(set.ready));
    next.available_replicas = Some(i64::from(set.available));
}

fn judge(
    d: &mut Draft<'_>,
    spec: &Spec,
    it: &Template,
    (set, before): (&ReplicaSetSeen, &TemplateStatus),
    next: &mut TemplateStatus,
) {
    if is_over(next) {
        return;
    }
    let is_full = set.is_observed && set.replicas == it.replicas && set.available >= it.replicas;
    if is_full {
        next.message = None;
        return enter(d, next, RUNNING);
    }
    enter(d, next, PROGRESSING);
    if next.available_replicas != before.available_replicas || next.last_transition_time.is_none() {
        next.last_transition_time = Some(whole_seconds(d.seen.now));
    }
    let since = next.last_transition_time.as_ref().map(|t| t.0);
    let end = after(
        since.unwrap_or(d.seen.now),
        i64::from(spec.progress_deadline_seconds),
    );
    if d.seen.now < end {
        d.wake.at(end);
        return;
    }
    let mut text = format!(
        "Template '{}' exceeded its progressDeadlineSeconds ({})",
        it.name, spec.progress_deadline_seconds
    );
    if let Some((_, why)) = &set.failure {
        text.push_str(&format!(": {why}"));
    }
    next.message = Some(text);
    enter(d, next, FAILED);
}

/// The next state of a template, with its event where it is another one.
pub(super) fn enter(d: &mut Draft<'_>, next: &mut TemplateStatus, state: &'static str) {
    if next.status.as_deref() == Some(state) {
        return;
    }
    let from = next.status.replace(state.to_owned()).unwrap_or_default();
    next.last_transition_time = Some(whole_seconds(d.seen.now));
    // That it begins is no news.
    if from.is_empty() && !is_bad(state) {
        return;
    }
    let message = next.message.as_deref().filter(|_| is_bad(state));
    let more = message.map_or_else(String::new, |m| format!(": {m}"));
    let text = format!(
        "Template '{}' transitioned from {from} -> {state}{more}",
        next.name
    );
    let reason = match state {
        RUNNING => "TemplateRunning",
        SUCCESSFUL => "TemplateSuccessful",
        FAILED => "TemplateFailed",
        ERROR => "TemplateError",
        _ => "TemplateProgressing",
    };
    d.events.push(if is_bad(state) {
        Event::warning(reason, text)
    } else {
        Event::normal(reason, text)
    });
}

fn is_bad(state: &str) -> bool {
    matches!(state, FAILED | ERROR)
}
