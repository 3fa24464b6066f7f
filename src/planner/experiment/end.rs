//! After the end: analyses stop, pods go when their time is over, then their Services (E3).

use super::draft::Draft;
use super::{objects, runs, template};
use crate::api::SCALE_DOWN_DEADLINE;
use crate::api::experiment::TemplateStatus;
use crate::planner::draft::{after, whole_seconds};
use crate::planner::observed::ReplicaSetSeen;

/// Seconds that pods stay where the spec does not say.
pub(crate) const SCALE_DOWN_DELAY: u32 = 30;

/// Takes away what an ended Experiment made.
pub(super) fn clean_up(d: &mut Draft<'_>) {
    runs::end_all(d);
    for entry in d.read().analysis_runs.clone().unwrap_or_default() {
        let mut all = d.seen.runs.iter();
        let run = all.find(|r| r.metadata.name.as_deref() == Some(&entry.analysis_run));
        if let Some(run) = run {
            runs::follow(d, &entry.name, run);
        }
    }
    for entry in d.read().template_statuses.clone().unwrap_or_default() {
        let collisions = entry.collision_count.unwrap_or(0);
        let name = objects::set_name(d.name(), &entry.name, collisions);
        leave(d, d.set(&name), entry);
    }
}

fn leave(d: &mut Draft<'_>, set: Option<&ReplicaSetSeen>, mut entry: TemplateStatus) {
    if let Some(set) = set {
        shrink(d, set);
        template::count(&mut entry, set);
    }
    let is_empty = set.is_none_or(|s| s.replicas == 0 && s.is_observed && s.available == 0);
    if is_empty && let Some(service) = entry.service_name.take() {
        d.delete_service(service);
    }
    d.put(entry);
}

fn shrink(d: &mut Draft<'_>, set: &ReplicaSetSeen) {
    if set.replicas == 0 || set.is_deleting {
        return;
    }
    let delay = d.seen.experiment.spec.scale_down_delay_seconds;
    let delay = delay.unwrap_or(i64::from(SCALE_DOWN_DELAY)).max(0);
    match set.scale_down_deadline {
        None if delay > 0 => {
            let end = whole_seconds(after(whole_seconds(d.seen.now).0, delay));
            d.wake.at(end.0);
            d.patch(set, |patch| {
                let key = SCALE_DOWN_DEADLINE.to_owned();
                patch.annotations.insert(key, Some(end.0.to_string()));
            });
        }
        Some(end) if d.seen.now < end => d.wake.at(end),
        Some(_) | None => {
            d.patch(set, |patch| patch.replicas = Some(0));
            template::scaled(d, set, 0);
        }
    }
}
