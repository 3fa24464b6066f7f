//! What pods carry for their role only: ephemeral labels and annotations, and anti-affinity against
//! the stable version (contract X1, X2). It is put into the template of a ReplicaSet and, as far as
//! it is metadata, on its living pods; never into the Rollout's own template, so it makes no revision.
//!
//! Two records on the ReplicaSet make this safe across crashes: the published one of the metadata that
//! its template has, and one of ours with what that hides and whether the pods have it too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::observed::{Need, Observed, PodSeen, ReplicaSetSeen};
use super::plan::PodPatch;
use super::revision::Sets;
use super::spec::{Apart, Meta, Roles, Spec};
use crate::api::patch::to_merge_patch;
use crate::api::{EPHEMERAL_METADATA, INJECTED, POD_HASH_LABEL, RolloutStatus};

/// What a ReplicaSet's template shall carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    meta: Meta,
    /// Anti-affinity: how, and against which hash.
    avoids: Option<Avoids>,
}

/// Anti-affinity as it stands in a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Avoids {
    hash: String,
    /// 0 for a strict rule.
    #[serde(default)]
    weight: u32,
}

/// `serin.dev/injected`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    avoids: Option<Avoids>,
    /// The template's own values that the role's hide.
    #[serde(skip_serializing_if = "Meta::is_empty")]
    hides: Meta,
    /// What former roles put on pods and must go, with the template's own values to come back.
    #[serde(skip_serializing_if = "Former::is_empty")]
    former: Former,
    /// The living pods have it too.
    pods: bool,
}

/// Keys that go, or come back with a value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Former {
    labels: BTreeMap<String, Option<String>>,
    annotations: BTreeMap<String, Option<String>>,
}

impl Former {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

fn meta_of(set: &ReplicaSetSeen) -> Meta {
    let text = set.ephemeral.as_deref().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn record_of(set: &ReplicaSetSeen) -> Record {
    let text = set.injected.as_deref().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

/// What the ReplicaSet with this hash shall carry, as the current one or not.
fn wanted(roles: &Roles, status: &RolloutStatus, hash: &str, is_current: bool) -> Wanted {
    let stable = status.stable_rs.as_deref();
    if stable == Some(hash) || (is_current && stable.is_none()) {
        return Wanted {
            meta: roles.stable.clone(),
            avoids: None,
        };
    }
    if !is_current {
        return Wanted::default();
    }
    let weight = |apart: &Apart| match apart {
        Apart::Required => 0,
        Apart::Preferred(weight) => *weight,
    };
    let avoids = roles
        .apart
        .as_ref()
        .zip(stable)
        .map(|(apart, stable)| Avoids {
            hash: stable.to_owned(),
            weight: weight(apart),
        });
    Wanted {
        meta: roles.canary.clone(),
        avoids,
    }
}

/// Where a ReplicaSet stands against what it shall carry.
enum Standing {
    /// Template and pods have it.
    Done,
    /// The template has it; the pods are still to be looked at.
    Pods(Record),
    /// The template is another.
    Template(Wanted),
}

fn standing(spec: &Spec, status: &RolloutStatus, set: &ReplicaSetSeen, current: &str) -> Standing {
    let mut wanted = wanted(spec.roles(), status, &set.hash, set.uid == current);
    let record = record_of(set);
    let is_stable = status.stable_rs.as_deref() == Some(set.hash.as_str());
    // An old one keeps its anti-affinity: nothing of it is scheduled any more.
    if set.uid != current && !is_stable {
        wanted.avoids.clone_from(&record.avoids);
    }
    let has = Wanted {
        meta: meta_of(set),
        avoids: record.avoids.clone(),
    };
    if has != wanted {
        Standing::Template(wanted)
    } else if set.ephemeral.is_some() && !record.pods {
        Standing::Pods(record)
    } else {
        Standing::Done
    }
}

/// What must be known: the templates that are to be changed, the pods that are to be looked at.
pub(crate) fn needs(seen: &Observed, sets: &Sets<'_>) -> Vec<Need> {
    let Ok(spec) = &seen.rollout.spec else {
        return vec![];
    };
    let of =
        |set: &ReplicaSetSeen| match standing(spec, &seen.rollout.status, set, &sets.canary.uid) {
            Standing::Done => None,
            Standing::Pods(_) => Some(Need::Pods),
            Standing::Template(_) => Some(Need::ReplicaSetTemplate(set.name.clone())),
        };
    sets.all().filter_map(of).collect()
}

/// Brings templates up to date, then living pods. Comes before sizes, and joins their patch, so that
/// pods are made with what they shall carry.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>) {
    for set in sets.all() {
        match standing(d.spec, d.read(), set, &sets.canary.uid) {
            Standing::Done => {}
            Standing::Template(wanted) => change_template(d, set, &wanted),
            Standing::Pods(record) => change_pods(d, set, record),
        }
    }
}

fn change_template(d: &mut Draft<'_>, set: &ReplicaSetSeen, wanted: &Wanted) {
    let Some(before) = d.seen.answers.replica_set_templates.get(&set.name) else {
        return;
    };
    if before.is_null() {
        d.note(format!("ReplicaSet {} is gone; looking again", set.name));
        return;
    }
    let record = record_of(set);
    let dressed = dress(before, &meta_of(set), &record, wanted);
    if let Some(patch) = to_merge_patch(before, &dressed.template) {
        d.change_template(set, patch);
    }
    if meta_of(set) == wanted.meta {
        let had = record;
        return write_record(
            d,
            set,
            &Record {
                pods: had.pods,
                former: had.former,
                ..dressed.record
            },
        );
    }
    let text = serde_json::to_string(&wanted.meta).unwrap_or_default();
    d.annotate(set, EPHEMERAL_METADATA, text);
    write_record(d, set, &dressed.record);
}

fn write_record(d: &mut Draft<'_>, set: &ReplicaSetSeen, record: &Record) {
    let text = serde_json::to_string(record).unwrap_or_default();
    d.annotate(set, INJECTED, text);
}

/// A template with the role's part exchanged.
struct Dressed {
    template: Value,
    record: Record,
}

fn dress(before: &Value, had: &Meta, record: &Record, wanted: &Wanted) -> Dressed {
    let mut template = before.clone();
    undress(&mut template, had, &record.hides);
    let own = Meta {
        labels: strings(&template, "labels"),
        annotations: strings(&template, "annotations"),
    };
    let hidden = |mine: &BTreeMap<String, String>, role: &BTreeMap<String, String>| {
        let keys = mine.iter().filter(|(key, _)| role.contains_key(*key));
        keys.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let former = |old: &BTreeMap<String, Option<String>>,
                  had: &BTreeMap<String, String>,
                  own: &BTreeMap<String, String>,
                  role: &BTreeMap<String, String>| {
        let keys = old.keys().chain(had.keys());
        keys.filter(|key| !role.contains_key(*key))
            .map(|key| (key.clone(), own.get(key).cloned()))
            .collect()
    };
    let (meta, old) = (&wanted.meta, &record.former);
    let next = Record {
        avoids: wanted.avoids.clone(),
        hides: Meta {
            labels: hidden(&own.labels, &meta.labels),
            annotations: hidden(&own.annotations, &meta.annotations),
        },
        former: Former {
            labels: former(&old.labels, &had.labels, &own.labels, &meta.labels),
            annotations: former(
                &old.annotations,
                &had.annotations,
                &own.annotations,
                &meta.annotations,
            ),
        },
        pods: false,
    };
    put_all(&mut template, "labels", &meta.labels);
    put_all(&mut template, "annotations", &meta.annotations);
    if let Some(avoids) = &wanted.avoids {
        keep_apart(&mut template, avoids);
    }
    Dressed {
        template,
        record: next,
    }
}

/// The template of a ReplicaSet without what its role put into it.
pub(crate) fn own_template(set: &ReplicaSetSeen, template: &Value) -> Value {
    let mut own = template.clone();
    undress(&mut own, &meta_of(set), &record_of(set).hides);
    own
}

/// A template for a ReplicaSet that is about to be made for `hash`, and the records that go with it.
pub(crate) fn for_new(
    seen: &Observed,
    spec: &Spec,
    hash: &str,
    template: &Value,
) -> (Value, Vec<(&'static str, String)>) {
    let wanted = wanted(spec.roles(), &seen.rollout.status, hash, true);
    if wanted == Wanted::default() {
        return (template.clone(), vec![]);
    }
    let dressed = dress(template, &Meta::default(), &Record::default(), &wanted);
    // It has no pods yet.
    let record = Record {
        pods: true,
        ..dressed.record
    };
    let texts = vec![
        (
            EPHEMERAL_METADATA,
            serde_json::to_string(&wanted.meta).unwrap_or_default(),
        ),
        (INJECTED, serde_json::to_string(&record).unwrap_or_default()),
    ];
    (dressed.template, texts)
}

/// Takes the role's metadata, and every anti-affinity that names a pod hash, out of a template.
fn undress(template: &mut Value, meta: &Meta, hides: &Meta) {
    for (field, had, own) in [
        ("labels", &meta.labels, &hides.labels),
        ("annotations", &meta.annotations, &hides.annotations),
    ] {
        let map = template
            .get_mut("metadata")
            .and_then(|m| m.get_mut(field))
            .and_then(Value::as_object_mut);
        let Some(map) = map else { continue };
        for (key, value) in had {
            // Somebody else has written another value: it is theirs.
            if map.get(key).and_then(Value::as_str) != Some(value) {
                continue;
            }
            match own.get(key) {
                Some(own) => map.insert(key.clone(), Value::String(own.clone())),
                None => map.remove(key),
            };
        }
        if map.is_empty()
            && let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove(field);
        }
    }
    let_together(template);
}

/// For the comparison of templates: what a controller put into `template`, and whatever stands in its
/// place in another, is no difference.
pub(crate) fn bare(template: &mut Value, ephemeral: Option<&str>) {
    let meta: Meta = serde_json::from_str(ephemeral.unwrap_or_default()).unwrap_or_default();
    for (field, keys) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        let metadata = template.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else { continue };
        if let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) {
            map.retain(|key, _| !keys.contains_key(key));
            if map.is_empty() {
                metadata.remove(field);
            }
        }
    }
    let_together(template);
}

fn strings(template: &Value, field: &str) -> BTreeMap<String, String> {
    let map = template.get("metadata").and_then(|m| m.get(field));
    let map = map.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}

fn put_all(template: &mut Value, field: &str, values: &BTreeMap<String, String>) {
    if values.is_empty() {
        return;
    }
    let Some(map) = below(template, &["metadata", field]) else {
        return;
    };
    for (key, value) in values {
        map.insert(key.clone(), Value::String(value.clone()));
    }
}

/// The object at `path`, made where it is missing.
fn below<'v>(value: &'v mut Value, path: &[&str]) -> Option<&'v mut Map<String, Value>> {
    let mut at = value;
    for key in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = at
            .as_object_mut()?
            .entry((*key).to_owned())
            .or_insert_with(|| json!({}));
    }
    if !at.is_object() {
        *at = json!({});
    }
    at.as_object_mut()
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn keep_apart(template: &mut Value, avoids: &Avoids) {
    let term = json!({
        "labelSelector": {"matchExpressions": [
            {"key": POD_HASH_LABEL, "operator": "In", "values": [avoids.hash]},
        ]},
        "topologyKey": "kubernetes.io/hostname",
    });
    let (field, item) = match avoids.weight {
        0 => (REQUIRED, term),
        weight => (
            PREFERRED,
            json!({"weight": weight, "podAffinityTerm": term}),
        ),
    };
    let Some(rules) = below(template, &["spec", "affinity", "podAntiAffinity"]) else {
        return;
    };
    let list = rules.entry(field.to_owned()).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// Removes every anti-affinity that names a pod hash, and what is empty then.
fn let_together(template: &mut Value) {
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(affinity) = spec.get_mut("affinity").and_then(Value::as_object_mut) else {
        return;
    };
    let rules = affinity
        .get_mut("podAntiAffinity")
        .and_then(Value::as_object_mut);
    if let Some(rules) = rules {
        for field in [REQUIRED, PREFERRED] {
            if let Some(list) = rules.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|term| !names_a_hash(term));
                if list.is_empty() {
                    rules.remove(field);
                }
            }
        }
        if rules.is_empty() {
            affinity.remove("podAntiAffinity");
        }
    }
    if affinity.is_empty() {
        spec.remove("affinity");
    }
}

fn names_a_hash(term: &Value) -> bool {
    let term = term.get("podAffinityTerm").unwrap_or(term);
    let rules = term
        .pointer("/labelSelector/matchExpressions")
        .and_then(Value::as_array);
    rules
        .into_iter()
        .flatten()
        .any(|rule| rule.get("key").and_then(Value::as_str) == Some(POD_HASH_LABEL))
}

/// Brings the living pods up to date. They have it for good once all that are there have it and the
/// ReplicaSet controller has seen the template: what it makes from then on is right by itself.
fn change_pods(d: &mut Draft<'_>, set: &ReplicaSetSeen, mut record: Record) {
    let Some(pods) = &d.seen.answers.pods else {
        return;
    };
    let meta = meta_of(set);
    let mine = pods.iter().filter(|p| p.owner == set.uid && p.is_active);
    let patches: Vec<PodPatch> = mine
        .filter_map(|pod| pod_patch(pod, &meta, &record.former))
        .collect();
    if !patches.is_empty() {
        d.change_pods(patches);
        return;
    }
    if !set.is_observed {
        d.note(format!(
            "waiting for ReplicaSet {} to be seen with its new template",
            set.name
        ));
        return;
    }
    record.pods = true;
    record.former = Former::default();
    if !meta.is_empty() {
        return write_record(d, set, &record);
    }
    // Nothing of a role is left: neither are the records.
    d.unannotate(set, EPHEMERAL_METADATA);
    if record.avoids.is_some() {
        write_record(d, set, &record);
    } else {
        d.unannotate(set, INJECTED);
    }
}

fn pod_patch(pod: &PodSeen, meta: &Meta, former: &Former) -> Option<PodPatch> {
    let labels = changes(&pod.labels, &meta.labels, &former.labels);
    let annotations = changes(&pod.annotations, &meta.annotations, &former.annotations);
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    Some(PodPatch {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        patch: json!({"metadata": {
            "uid": pod.uid, "labels": labels, "annotations": annotations,
        }}),
    })
}

fn changes(
    has: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    former: &BTreeMap<String, Option<String>>,
) -> Map<String, Value> {
    let wanted = wanted.iter().map(|(k, v)| (k, Some(v)));
    let former = former.iter().map(|(k, v)| (k, v.as_ref()));
    wanted
        .chain(former)
        .filter(|(key, value)| has.get(*key) != *value)
        .map(|(key, value)| {
            (
                key.clone(),
                value.map_or(Value::Null, |v| v.as_str().into()),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
