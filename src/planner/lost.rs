//! Somebody deleted the ReplicaSet of the update that is under way: it is made again, and the update
//! stands where it stood. An aborted one stays aborted; what was measured of pods that are gone is
//! measured anew. What is only made again waits for nothing that an update must have.

use super::config;
use super::cursor;
use super::draft::Draft;
use super::observed::Observed;
use super::plan::Event;
use super::reasons;
use super::resume;
use super::revision;
use super::status;

/// True when the ReplicaSet that is missing was there: of the version on record, or of the stable one.
pub(crate) fn was_there(d: &Draft<'_>) -> bool {
    let read = d.read();
    let hash = Some(hash(d.seen));
    hash == read.stable_rs || hash == read.current_pod_hash || nothing_changed(d)
}

/// The hash that the ReplicaSet of the template in spec gets.
pub(crate) fn hash(seen: &Observed) -> String {
    let rollout = &seen.rollout;
    let collisions = rollout.status.collision_count.unwrap_or(0);
    revision::pod_hash(&rollout.template_digest, collisions)
}

/// True when the ReplicaSet that is made is the one of the update on record, with the same steps.
pub(crate) fn is_again(d: &Draft<'_>, hash: &str) -> bool {
    let read = d.read();
    let current = read.current_pod_hash.as_deref();
    let is_update = read.stable_rs.is_some() && read.stable_rs != read.current_pod_hash;
    let on_record = read.current_step_hash.as_deref().filter(|h| !h.is_empty());
    let same_steps = on_record == d.spec.step_hash();
    let is_ours = read.stable_rs.as_deref() != Some(hash);
    is_update && is_ours && same_steps && (current == Some(hash) || nothing_changed(d))
}

/// Nothing of the spec has changed since it was last looked at: the template is the one on record,
/// whatever hash another controller gave it. Of a spec that could not be used nothing is on record.
pub(crate) fn nothing_changed(d: &Draft<'_>) -> bool {
    let generation = d.seen.rollout.generation.to_string();
    d.read().current_pod_hash.is_some()
        && status::condition(d.read(), reasons::INVALID_SPEC).is_none()
        && d.read().observed_generation == Some(generation)
        && d.spec.workload.is_none()
        && !config::is_tracked(&d.seen.rollout)
}

/// Puts on record that the update goes on with the ReplicaSet `name`, made again. True when it stays
/// aborted: then no pod is wanted of it.
pub(crate) fn go_on(d: &mut Draft<'_>, name: &str, hash: &str) -> bool {
    let read = d.read();
    d.next.current_pod_hash = Some(hash.to_owned());
    d.serin().hash = Some(hash.to_owned());
    if read.abort == Some(true) {
        let text = format!(
            "ReplicaSet {name} of the aborted version was gone and is made again without pods; the update stays aborted"
        );
        d.event(Event::warning(reasons::CANARY_RESTORED, text));
        return true;
    }
    if d.spec.blue_green().is_some() {
        // Before the switch everything is judged on the preview: all of that again.
        let promotes_full = read.promote_full;
        cursor::reset(d, hash);
        d.next.promote_full = promotes_full;
    } else {
        let step = cursor::index(read, d.steps());
        cursor::clear_pause(d);
        resume::stand_at(d, step);
        if let Some(canary) = &mut d.next.canary {
            canary.current_background_analysis_run_status = None;
        }
        cursor::next_attempt(d);
    }
    let steps = d.steps();
    let number = cursor::index(&d.next, steps).saturating_add(1);
    let place = if number > steps {
        String::new()
    } else {
        format!(" at step {number}/{steps}")
    };
    let text = format!(
        "ReplicaSet {name} of the new version was gone and is made again; the update goes on{place}"
    );
    d.event(Event::warning(reasons::CANARY_RESTORED, text));
    false
}
