//! BlueGreen: two full versions side by side, and one switch of the active Service. Rules in order,
//! each with the reason for its place. Knows no traffic router.

use super::draft::Draft;
use super::fast_track;
use super::hold::ask_a_person;
use super::observed::{Observed, ReplicaSetSeen};
use super::plan::Event;
use super::promotion::{first_deployment, is_full, make_stable};
use super::revision::Sets;
use super::services::{self, ServiceSeen};
use super::spec::{BlueGreen, Spec};
use super::{
    command, cursor, failure, freeze, history, kept, pause_clock, reasons, rollback, runs, status,
};

mod pause;
mod sizes;
mod status_of;
mod verify;

pub(crate) use pause::release;
pub(crate) use status_of::{active_set, keep as keep_status, selector};

/// What the rules look at, beside the status.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// The strategy.
    pub(crate) spec: &'a BlueGreen,
    /// The active Service.
    pub(crate) active: Option<&'a ServiceSeen>,
    /// The preview Service.
    pub(crate) preview: Option<&'a ServiceSeen>,
    /// Why the update needs no judgement, where it needs none.
    pub(crate) fast: Option<&'a str>,
}

impl<'a> View<'a> {
    /// The view of one turn; `None` for a canary.
    pub(crate) fn of(seen: &'a Observed, spec: &'a Spec) -> Option<Self> {
        let fast = fast_track::on_record(seen, spec);
        let spec = spec.blue_green()?;
        let named = |name: &str| services::find(seen, name);
        Some(Self {
            spec,
            active: named(&spec.active_service),
            preview: spec.preview_service.as_deref().and_then(named),
            fast,
        })
    }

    /// Pod hash behind the active Service.
    pub(crate) fn active_hash(&self) -> Option<&'a str> {
        self.active.and_then(ServiceSeen::hash)
    }

    /// True when clients get this version.
    pub(crate) fn is_active(&self, set: &ReplicaSetSeen) -> bool {
        self.active_hash() == Some(set.hash.as_str())
    }
}

/// True when the preview has every pod that it shall have for now.
pub(crate) fn is_preview_there(seen: &Observed, spec: &Spec, sets: &Sets<'_>) -> bool {
    View::of(seen, spec).is_some_and(|view| {
        let size = sizes::preview_size(&seen.rollout.status, spec.replicas, sets, view);
        sizes::is_there(sets.canary, size)
    })
}

/// True while clients do not have the version of this update.
pub(crate) fn is_before_switch(d: &Draft<'_>) -> bool {
    let current = d.read().current_pod_hash.as_deref();
    View::of(d.seen, d.spec).is_some_and(|view| view.active_hash() != current)
}

/// Steers an update whose template is on record.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let Some(view) = View::of(d.seen, d.spec) else {
        return;
    };
    // Before everything that asks whether the update is frozen; a person's word may end it.
    freeze::look(d, sets);
    // A person's word comes first; what it changes is put on record before anything rests on it.
    if command::act(d, sets) || command::take_over_patches(d, sets) {
        return;
    }
    // A Service that is not there or not ours stops everything that has not begun.
    runs::check_references(d, sets);
    let is_untouched = d.read().stable_rs.is_none() && sets.canary.replicas == 0;
    if !d.faults.is_empty() && is_untouched {
        return;
    }
    // Without a stable version on record this is a first deployment, or a status that was lost.
    if d.read().stable_rs.is_none() && !first_deployment(d, sets) {
        return;
    }
    // Verdicts before sizes: a failed analysis must not wait for pods.
    if runs::steer(d, sets) {
        return;
    }
    d.is_stable_gone = status::is_stable_gone(d, sets);
    // Made again where it was kept, before anything is decided on its absence.
    if d.is_stable_gone && kept::restore(d) {
        d.is_stable_gone = false;
        return;
    }
    // The preview is shown as soon as it exists (B1), so that people see it come up.
    point_preview(d, sets, view);
    sizes::scale(d, sets, view);
    // A reference that leads nowhere makes the spec invalid: nothing is switched (A38), but sizes
    // follow `spec.replicas`.
    if !d.faults.is_empty() {
        way_back(d, sets, view);
    } else if !services::let_go_at_zero(d, sets) {
        progress(d, sets, view);
    }
    runs::clean_up(d, sets);
    history::clean_up(d, sets);
}

/// True while no Service may be switched: a person froze the update, or was asked.
fn is_frozen(d: &Draft<'_>) -> bool {
    let asked = |reason: &str| {
        d.read()
            .pause_conditions
            .iter()
            .flatten()
            .any(|c| c.reason == reason)
    };
    d.spec.paused || asked(reasons::INCONCLUSIVE_RUN)
}

fn point_preview(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let is_not_begun = d.freeze.is_some() && sets.canary.replicas == 0;
    if is_frozen(d) || is_not_begun || !d.faults.is_empty() || d.spec.replicas == 0 {
        return;
    }
    if let Some(preview) = view.preview {
        services::point(d, preview, &sets.canary.hash);
    }
}

/// At most one decision a turn, on observed facts only.
fn progress(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let read = d.read();
    if d.spec.paused {
        pause_clock::stop(d);
        return d.note("spec.paused is set: no Service is switched");
    }
    let is_at_rest = read.stable_rs.as_deref() == Some(sets.canary.hash.as_str());
    if is_at_rest || read.stable_rs.is_none() {
        return go_live(d, sets.canary, view);
    }
    if read.abort == Some(true) {
        return go_back(d, sets, view);
    }
    if let Some(stable) = sets.stable.filter(|_| is_deserted(d, sets, view)) {
        return go_live(d, stable, view);
    }
    if read.promote_full == Some(true) {
        return promote_full(d, sets, view);
    }
    // A freeze window holds every switch but the one that gives clients back what is known good.
    if d.freeze.is_some() && view.active_hash().is_some() {
        return pause_clock::stop(d);
    }
    if !d.is_stable_gone && pause_clock::gives_up(d, sets) {
        return;
    }
    // No verdict: a person decides. Clearing the condition goes on with a new run (C8).
    if is_frozen(d) {
        return ask_a_person(d, sets);
    }
    if failure::asks(read) {
        return d.note(
            "a run has failed: promote to go on, abort to go back, retry=step to measure anew",
        );
    }
    if d.is_stable_gone {
        return status::stable_gone(d);
    }
    if view.is_active(sets.canary) {
        return verify::verify(d, sets, view);
    }
    // The active Service lost its hash in the middle of an update: clients get what is known good.
    if view.active_hash().is_none()
        && d.spec.replicas > 0
        && let Some(stable) = sets.stable
    {
        return go_live(d, stable, view);
    }
    if !pause::is_over(d, sets, view) {
        return;
    }
    go_live(d, sets.canary, view);
}

/// Clients have a version without a single pod of which nothing is measured yet: somebody deleted its
/// ReplicaSet after the switch, and it is made again. What is known good takes them until it is complete.
fn is_deserted(d: &Draft<'_>, sets: &Sets<'_>, view: View<'_>) -> bool {
    let is_dead = d.spec.replicas > 0 && sets.canary.answering() == 0;
    let can_take = sets.stable.is_some_and(|stable| is_full(d, stable));
    is_dead && can_take && view.is_active(sets.canary) && !runs::has_begun(d, sets)
}

/// Lets clients have this version: only when every pod of it is available (B1), or when what they
/// have now is dead and this is not.
fn go_live(d: &mut Draft<'_>, set: &ReplicaSetSeen, view: View<'_>) {
    let Some(active) = view.active else { return };
    if active.hash() == Some(set.hash.as_str()) && active.manager.is_some() {
        return;
    }
    let is_dead = active.hash().is_some_and(|hash| {
        let is_alive = |rs: &ReplicaSetSeen| rs.hash == hash && rs.answering() > 0;
        !d.seen.replica_sets.iter().any(is_alive)
    });
    // Without pods there is nothing to lose, and nothing to wait for.
    let is_empty = d.spec.replicas == 0 && d.seen.replica_sets.iter().all(|rs| rs.available == 0);
    let is_fit = is_full(d, set) || (is_dead && set.answering() > 0);
    if is_empty || (d.spec.replicas > 0 && is_fit) {
        services::point(d, active, &set.hash);
    } else {
        d.note(format!(
            "waiting: {} {}/{} available before Service {} is switched to it",
            set.name, set.available, d.spec.replicas, active.name
        ));
    }
}

/// What is wrong with one reference does not keep clients from going back after an abort, where the
/// active Service itself can be used.
fn way_back(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let read = d.read();
    let is_updating = read.stable_rs.as_deref() != Some(sets.canary.hash.as_str());
    let is_usable = view.active.is_some_and(|it| services::is_usable(d, it));
    if read.abort == Some(true) && is_updating && is_usable && !d.spec.paused {
        go_back(d, sets, view);
    }
}

/// After an abort clients get the stable version back, as soon as it can take them.
fn go_back(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let (Some(active), Some(stable)) = (view.active, sets.stable) else {
        return;
    };
    if active.hash() == Some(stable.hash.as_str()) && active.manager.is_some() {
        return;
    }
    if services::can_take(d, active, stable) {
        services::point(d, active, &stable.hash);
    } else {
        d.note(format!(
            "waiting for as many pods of {} as clients have now, to go back to",
            stable.name
        ));
    }
}

/// Skips every pause and analysis that is left; still only onto available pods.
fn promote_full(d: &mut Draft<'_>, sets: &Sets<'_>, view: View<'_>) {
    let read = d.read();
    if read
        .pause_conditions
        .as_ref()
        .is_some_and(|c| !c.is_empty())
    {
        cursor::clear_pause(d);
        d.event(Event::normal(
            reasons::ROLLOUT_RESUMED,
            "Rollout is resumed",
        ));
    }
    cursor::override_hold(d);
    if view.is_active(sets.canary) && is_full(d, sets.canary) {
        let reason = rollback::reason(d, sets);
        make_stable(d, sets, &reason);
    } else {
        go_live(d, sets.canary, view);
    }
}
