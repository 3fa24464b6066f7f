//! One turn of a Rollout, as an ordered list of rules. Effects rest on the status that was *read*;
//! what this turn decides is put on record and acted on in the next one, which the status write
//! itself starts (architecture §4.1).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::command;
use super::copies;
use super::cursor;
use super::draft::{Draft, after};
use super::needs::needs;
use super::observed::{Observed, ReplicaSetSeen};
use super::plan::{Effect, Event, NewReplicaSet, Note, Plan, Write};
use super::reasons;
use super::revision::{self, Found, Sets};
use super::spec::Strategy;
use super::{
    blue_green, canary, config, fast_track, kept, lost, origin, restart, roles, runs, services,
    status, workload,
};
use crate::api::{
    API_VERSION, CONFIG, COPIED, DECISION, DESIRED_REPLICAS, POD_HASH_LABEL, REVISION,
    REVISION_HISTORY, TEMPLATE, TEMPLATE_ALSO, WAS_STABLE,
};

/// Decides one turn. Total: trouble is a condition, an event or a note.
///
/// # Flow
/// Invalid spec: say so, touch nothing. A command annotation: take it, nothing else. No ReplicaSet
/// of this template: make it. Another template or other steps than on record: put the reset on
/// record. Else steer the canary.
///
/// # Guarantees
/// For the same `seen` the same plan; between now and the plan's wake the same effects; nothing at
/// all when nothing is to be done.
pub fn plan_rollout(seen: &Observed) -> Plan {
    // Where pods were read, nothing rests on counts that lag behind them.
    let mut plan = match restart::without_late_counts(seen) {
        Some((seen, later)) => {
            let mut plan = plan_on(&seen, true);
            later.into_iter().for_each(|at| plan.wake.at(at));
            plan
        }
        None => plan_on(seen, false),
    };
    // Said with the first status of all: once in the life of a Rollout, whoever handles it.
    let is_new = seen.rollout.status.observed_generation.is_none();
    let writes_status = |effect: &Effect| matches!(effect.write, Write::Status(_));
    if is_new && plan.effects.iter().any(writes_status) {
        let (namespace, name) = (&seen.rollout.namespace, &seen.rollout.name);
        let text = format!("Rollout resource added to informer: {namespace}/{name}");
        plan.events
            .insert(0, Event::normal(reasons::ROLLOUT_ADDED, text));
    }
    plan
}

fn plan_on(seen: &Observed, counts_are_late: bool) -> Plan {
    if seen.rollout.is_deleting {
        if let Some(plan) = workload::restore(seen) {
            return plan;
        }
        return idle(
            seen,
            "the Rollout is being deleted; its ReplicaSets are collected with it",
        );
    }
    let spec = match &seen.rollout.spec {
        Ok(spec) => spec,
        Err(faults) => {
            let mut plan = status::invalid(seen, faults);
            if workload::may_come(seen) || config::may_come(seen) {
                plan.wake.at(after(seen.now, workload::AGAIN));
            }
            return plan;
        }
    };
    if let Some(need) = needs(seen).first() {
        return idle(seen, &format!("cannot plan before this is known: {need:?}"));
    }
    let mut d = Draft::new(seen, spec);
    d.counts_are_late = counts_are_late;
    if command::take(&mut d) {
        d.note("took a command; acting on it next");
        return d.finish();
    }
    services::check(&mut d);
    workload::check(&mut d);
    config::check(&mut d);
    workload::record(&mut d);
    config::look_again(&mut d);
    match revision::find(seen) {
        Found::Ask(_) => {}
        Found::Hold(why) => status::hold(&mut d, &why),
        Found::Missing => {
            // Nothing begins for a spec that leads nowhere; what was there is made again all the same.
            let begins = !lost::was_there(&d);
            if begins {
                runs::check_all(&mut d);
            }
            let known = d.faults.len();
            if known == 0 || !begins {
                create(&mut d);
            }
            if d.faults.len() > known || (begins && known > 0) {
                return refused(seen, &d);
            }
        }
        Found::Known(canary) => {
            keep_template(&mut d, canary);
            found(&mut d, canary);
        }
        Found::Adopt(canary) => {
            adopt(&mut d, canary);
            found(&mut d, canary);
        }
    }
    d.finish()
}

/// Records the template on its ReplicaSet: beside what is on record where that is of ours.
fn adopt(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    if let Some(ours) = &canary.template_digest {
        return record_template(d, canary, ours);
    }
    d.annotate(canary, TEMPLATE, d.seen.rollout.template_digest.clone());
    let text = format!(
        "ReplicaSet {} of another controller has this template; it goes on as it is",
        canary.name
    );
    d.event(Event::normal(reasons::RS_ADOPTED, text));
}

/// The template reads as another one of those on record: that is the present one from now on. Builds
/// that know one digest alone find their ReplicaSet by it.
fn keep_template(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    let wanted = &d.seen.rollout.template_digest;
    let Some(ours) = &canary.template_digest else {
        return;
    };
    if revision::bears(Some(ours), wanted) && revision::present(ours) != wanted {
        record_template(d, canary, ours);
    }
}

fn record_template(d: &mut Draft<'_>, canary: &ReplicaSetSeen, ours: &str) {
    let (present, also) = revision::records(ours, &d.seen.rollout.template_digest);
    d.annotate(canary, TEMPLATE, present);
    if let Some(also) = also {
        d.annotate(canary, TEMPLATE_ALSO, also);
    }
}

/// What the spec refers to is not there or not ours: said, and looked at again.
fn refused(seen: &Observed, d: &Draft<'_>) -> Plan {
    Plan {
        wake: d.wake,
        ..status::invalid(seen, &d.faults)
    }
}

fn idle(seen: &Observed, why: &str) -> Plan {
    Plan {
        status: (*seen.rollout.status).clone(),
        notes: vec![Note(why.to_owned())],
        ..Plan::default()
    }
}

/// The template's ReplicaSet exists: is it the one on record?
fn found(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    let sets = Sets::of(d.seen, canary);
    keep_revision(d, canary);
    copies::keep(d, canary);
    default_replicas(d);
    roles::steer(d, &sets);
    if kept::is_due(d.seen, canary) {
        kept::keep(d);
    }
    let read = d.read();
    let other_template = read.current_pod_hash.as_deref() != Some(canary.hash.as_str());
    // BlueGreen has no steps, and the peer writes that as an empty text.
    let on_record = read.current_step_hash.as_deref().filter(|h| !h.is_empty());
    let steps_changed = on_record != d.spec.step_hash();
    // Taken over with a steps hash that we compute differently: the recorded cursor stands.
    let cursor_stands = read.serin.is_none() && on_record.is_some() && d.spec.canary().is_some();
    if other_template {
        begin(d, canary);
    } else if steps_changed && cursor_stands {
        d.next.current_step_hash = d.spec.step_hash().map(str::to_owned);
        steer(d, &sets);
    } else if steps_changed {
        cursor::reset(d, &canary.hash);
        if read.stable_rs.as_deref() == Some(canary.hash.as_str()) {
            let steps = d.steps();
            cursor::set_index(d, steps);
        }
        d.note("the canary steps changed: the update starts again");
    } else {
        steer(d, &sets);
    }
    workload::steer(d, &sets);
    status::compute(d, &sets);
}

fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) {
    match &d.spec.strategy {
        Strategy::Canary(_) => canary::steer(d, sets),
        Strategy::BlueGreen(_) => blue_green::steer(d, sets),
    }
}

/// An update begins with a ReplicaSet that exists already: a rollback, or the one made last turn
/// whose status write was lost.
fn begin(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    cursor::reset(d, &canary.hash);
    d.serin().fast_track = fast_track::reason(d, canary).map(str::to_owned);
    let name = &canary.name;
    let was_created = d.read().conditions.iter().any(|c| {
        c.type_ == reasons::PROGRESSING && c.message.as_deref().is_some_and(|m| m.contains(name))
    });
    if !was_created {
        let now = command::stamp(d);
        status::set_condition(
            &mut d.next,
            reasons::PROGRESSING,
            "True",
            reasons::FOUND_NEW_RS,
            &format!("Found new replica set {name:?}"),
            now,
        );
    }
}

/// Keeps the revision numbers of the Rollout and of its current ReplicaSet (S5).
fn keep_revision(d: &mut Draft<'_>, canary: &ReplicaSetSeen) {
    let revision = revision::revision_of(d.seen, Some(canary));
    if revision > canary.revision {
        d.annotate(canary, REVISION, revision.to_string());
        if canary.revision > 0 {
            let mut history: Vec<String> = canary
                .revision_history
                .iter()
                .flat_map(|h| h.split(','))
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect();
            history.push(canary.revision.to_string());
            d.annotate(canary, REVISION_HISTORY, history.join(","));
        }
    }
    annotate_revision(d, revision);
}

fn annotate_revision(d: &mut Draft<'_>, revision: u64) {
    let text = revision.to_string();
    if d.seen.rollout.annotations.get(REVISION) == Some(&text) {
        return;
    }
    let message = format!("Rollout updated to revision {text}");
    d.annotations.insert(REVISION.to_owned(), Some(text));
    d.event(Event::normal(reasons::ROLLOUT_UPDATED, message));
}

/// Absent replicas are written back as 1, so that an autoscaler can read them (A4).
fn default_replicas(d: &mut Draft<'_>) {
    if d.spec.replicas_unset {
        d.spec_patch.insert("replicas".into(), Value::from(1));
    }
}

/// Makes the ReplicaSet of the current template, at 0, and records the update.
fn create(d: &mut Draft<'_>) {
    let seen = d.seen;
    let collisions = d.read().collision_count.unwrap_or(0);
    let hash = lost::hash(seen);
    let name = revision::replica_set_name(&seen.rollout.name, &hash);
    let ours = seen.replica_sets.iter().find(|rs| rs.name == name);
    if ours.is_some_and(|rs| rs.is_deleting) {
        d.note(format!(
            "waiting for ReplicaSet {name} to be gone before it is made again"
        ));
        return;
    }
    if let Some(Some(named)) = seen.answers.named.get(&name) {
        let same_owner = named.owner.as_deref() == Some(seen.rollout.uid.as_str());
        let same_template = revision::bears(
            named.template_digest.as_deref(),
            &seen.rollout.template_digest,
        );
        if same_owner && same_template {
            d.note(format!(
                "ReplicaSet {name} exists already; waiting to see it"
            ));
            return;
        }
        return collide(d, &name, collisions);
    }
    if ours.is_some() {
        return collide(d, &name, collisions);
    }
    let Some(template) = workload::template(seen) else {
        return;
    };
    let revision = revision::revision_of(seen, None);
    let Some((template, record)) = config::keep(d, &hash, template.value()) else {
        return;
    };
    let config = record.map(|record| (CONFIG, record));
    let digest = &seen.rollout.template_digest;
    let records = config
        .into_iter()
        .chain([(WAS_STABLE, origin::NO.to_owned())]);
    let object = replica_set(d, (&name, &hash), (revision, digest), &template, records);
    kept::keep(d);
    d.create(NewReplicaSet {
        name: name.clone(),
        hash: hash.clone(),
        revision,
        template_digest: seen.rollout.template_digest.clone(),
        object: Arc::new(object),
    });
    default_replicas(d);
    annotate_revision(d, revision);
    let made = format!("Created ReplicaSet {name} (revision {revision})");
    d.event(Event::normal(reasons::NEW_RS_CREATED, made));
    let is_again = lost::is_again(d, &hash);
    if is_again && lost::go_on(d, &name, &hash) {
        return;
    }
    let is_lost = has_lost_it(d);
    if !is_again {
        cursor::reset(d, &hash);
    }
    if is_lost {
        d.next.stable_rs = Some(hash.clone());
        let steps = d.steps();
        cursor::set_index(d, steps);
    }
    let now = command::stamp(d);
    status::set_condition(
        &mut d.next,
        reasons::PROGRESSING,
        "True",
        reasons::NEW_RS_CREATED,
        &format!("Created new replica set {name:?}"),
        now,
    );
    status::started(d, revision);
}

/// Nothing was being updated, and nothing of the spec has changed since: the ReplicaSet that is made is
/// the stable one again, whatever hash another controller gave it.
fn has_lost_it(d: &Draft<'_>) -> bool {
    let read = d.read();
    read.stable_rs == read.current_pod_hash && lost::nothing_changed(d)
}

/// The name belongs to another template: the next hash covers the count of collisions.
fn collide(d: &mut Draft<'_>, name: &str, collisions: i64) {
    d.next.collision_count = Some(collisions.saturating_add(1));
    d.note(format!(
        "the name {name} is taken by another template; trying the next hash"
    ));
}

/// A ReplicaSet as it is sent, with 0 replicas.
pub(crate) fn replica_set(
    d: &Draft<'_>,
    (name, hash): (&str, &str),
    (revision, digest): (u64, &str),
    template: &Value,
    more: impl Iterator<Item = (&'static str, String)>,
) -> Value {
    let rollout = &d.seen.rollout;
    let (mut template, records) = roles::for_new(d.seen, d.spec, hash, template);
    label(&mut template, &["metadata", "labels"], hash);
    let mut selector = d.spec.selector.value();
    label(&mut selector, &["matchLabels"], hash);
    let mut labels = d.spec.template_labels.map();
    labels.insert(POD_HASH_LABEL.to_owned(), hash.to_owned());
    let mut annotations: Map<String, Value> = copies::copied(rollout)
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect();
    let mark = copies::mark(rollout).map(|mark| (COPIED, mark));
    let own = [
        (REVISION, revision.to_string()),
        (DESIRED_REPLICAS, d.spec.replicas.to_string()),
        (TEMPLATE, digest.to_owned()),
        (DECISION, d.decision()),
    ];
    for (key, value) in own.into_iter().chain(records).chain(mark).chain(more) {
        annotations.insert(key.to_owned(), Value::String(value));
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": rollout.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": API_VERSION, "kind": "Rollout", "name": rollout.name,
                "uid": rollout.uid, "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": d.spec.min_ready_seconds,
            "selector": selector,
            "template": template,
        },
    })
}

/// Sets the pod hash label below `path`, making what is missing on the way.
fn label(value: &mut Value, path: &[&str], hash: &str) {
    let mut at = value;
    for key in path {
        if !at.is_object() {
            *at = json!({});
        }
        let Some(map) = at.as_object_mut() else {
            return;
        };
        at = map.entry((*key).to_owned()).or_insert_with(|| json!({}));
    }
    if !at.is_object() {
        *at = json!({});
    }
    if let Some(map) = at.as_object_mut() {
        map.insert(POD_HASH_LABEL.to_owned(), Value::from(hash));
    }
}

#[cfg(test)]
mod tests;
