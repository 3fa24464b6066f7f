//! ConfigMaps and Secrets as part of a revision, where a Rollout asks for it (`serin.dev/track-config`):
//! what its pod template refers to is read live, its contents join the digest of the template, and the
//! ReplicaSet that is made refers to immutable copies of its own. So a change of a ConfigMap is an
//! update like any other, and going back brings the old contents with the old pods.
//!
//! Contents of Secrets live in the answers of one turn and in the copies, nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::draft::{Draft, after};
use super::fault::Fault;
use super::observed::{Answers, Need, Observed, ReplicaSetSeen, RolloutSeen};
use super::plan::NewConfig;
use super::{revision, workload};
use crate::api::{API_VERSION, CONFIG_COPY_OF, POD_HASH_LABEL, PodTemplate, TRACK_CONFIG};

/// Seconds after which what is referred to is read again: nobody watches it.
const AGAIN: i64 = 30;

/// What pods take configuration from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
}

impl ConfigKind {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// One of them in the Rollout's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConfigKey {
    /// Its kind.
    pub kind: ConfigKind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// What became of the look at one.
#[derive(Clone, Debug)]
pub enum Found {
    /// It has these contents.
    There(Arc<Contents>),
    /// A live read found none.
    Absent,
    /// The API server would not show it, and why.
    Refused(String),
}

/// Contents of a ConfigMap or Secret. They are never printed.
pub struct Contents {
    data: Map<String, Value>,
    is_copy: bool,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contents")
    }
}

impl Contents {
    /// Takes what counts out of an object as the API server answers it.
    pub fn of(object: &Value) -> Self {
        let fields = ["data", "binaryData", "type"].into_iter();
        let data = fields.filter_map(|field| {
            let value = object.get(field).filter(|v| !v.is_null())?;
            Some((field.to_owned(), value.clone()))
        });
        let labels = object.pointer("/metadata/labels");
        Self {
            data: data.collect(),
            is_copy: labels.is_some_and(|l| l.get(CONFIG_COPY_OF).is_some()),
        }
    }

    /// A token is bound to its service account by its Secret's annotations, and to its time: a copy
    /// would be neither valid nor kept.
    fn is_token(&self) -> bool {
        let kind = self.data.get("type").and_then(Value::as_str);
        kind == Some("kubernetes.io/service-account-token")
    }
}

/// What holds the name of a copy.
#[derive(Debug)]
pub struct CopySeen {
    owners: Vec<String>,
    is_immutable: bool,
    contents: Contents,
}

impl CopySeen {
    /// Takes what counts out of an object as the API server answers it.
    pub fn of(object: &Value) -> Self {
        let owners = object.pointer("/metadata/ownerReferences");
        let owners = owners.and_then(Value::as_array).into_iter().flatten();
        let uids = owners.filter_map(|owner| owner.get("uid")?.as_str());
        Self {
            owners: uids.map(str::to_owned).collect(),
            is_immutable: object.get("immutable") == Some(&Value::Bool(true)),
            contents: Contents::of(object),
        }
    }

    /// It is the copy that would be made, made before.
    fn is_made(&self, owner: &str, contents: &Contents) -> bool {
        self.owners.iter().any(|uid| uid == owner)
            && self.is_immutable
            && self.contents.is_copy
            && self.contents.data == contents.data
    }
}

/// `serin.dev/config` on a ReplicaSet: what it was made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// Digest of the template that refers to the copies: whoever takes that template from the
    /// ReplicaSet (an undo) means this ReplicaSet.
    made: String,
    /// The copies it refers to.
    copies: Vec<ConfigKey>,
}

fn record_of(set: &ReplicaSetSeen) -> Option<Record> {
    serde_json::from_str(set.config.as_deref()?).ok()
}

/// True where the template of this digest, with copies referred to, was made for this ReplicaSet.
pub(crate) fn was_made_for(set: &ReplicaSetSeen, digest: &str) -> bool {
    record_of(set).is_some_and(|record| record.made == digest)
}

pub(crate) fn is_tracked(rollout: &RolloutSeen) -> bool {
    let asked = rollout.annotations.get(TRACK_CONFIG);
    asked.is_some_and(|value| value == "true") && !rollout.is_deleting && rollout.spec.is_ok()
}

/// What must be known: the template, then everything that it refers to.
pub(crate) fn needs(seen: &Observed) -> Vec<Need> {
    if !is_tracked(&seen.rollout) || workload::is_lost(seen) {
        return vec![];
    }
    let Some(template) = workload::template(seen) else {
        return vec![Need::Template];
    };
    let unknown = references(template.value())
        .into_keys()
        .filter(|key| !seen.answers.configs.contains_key(key));
    unknown.map(Need::Config).collect()
}

/// The Rollout with the contents of its configuration in the digest of its template. Where something
/// cannot be read any more, what runs stays what it is: it has its copies. Only where there is no such
/// version the faults stand in the place of the spec. Called by whoever observes, after
/// [`workload::resolved`].
pub fn resolved(rollout: RolloutSeen, sets: &[ReplicaSetSeen], answers: &Answers) -> RolloutSeen {
    if !is_tracked(&rollout) || is_lost(answers) {
        return rollout;
    }
    let Some(template) = template_of(answers) else {
        return rollout;
    };
    let references = references(template.value());
    if references
        .keys()
        .any(|key| !answers.configs.contains_key(key))
    {
        return rollout;
    }
    let faults = faults(&rollout.namespace, &references, answers);
    if faults.is_empty() {
        return RolloutSeen {
            template_digest: digest(template, &own(&references, answers)),
            ..rollout
        };
    }
    // Only what was made with copies has them.
    let mut copied = sets.iter().filter(|set| record_of(set).is_some());
    let current = rollout.status.current_pod_hash.as_deref();
    let has_copies = copied.any(|set| Some(set.hash.as_str()) == current);
    match revision::running(&rollout, sets).filter(|_| has_copies) {
        Some(digest) => RolloutSeen {
            template_digest: digest,
            ..rollout
        },
        None => RolloutSeen {
            spec: Err(Arc::new(faults)),
            ..rollout
        },
    }
}

fn is_lost(answers: &Answers) -> bool {
    matches!(
        answers.workload,
        Some(workload::Found::Absent | workload::Found::Refused(_))
    )
}

fn template_of(answers: &Answers) -> Option<&PodTemplate> {
    match &answers.workload {
        Some(workload::Found::There(seen)) => Some(&seen.template),
        Some(workload::Found::Absent | workload::Found::Refused(_)) | None => {
            answers.template.as_ref()
        }
    }
}

/// What cannot be read any more is told, and starts nothing; sizes, commands and the way back go on.
pub(crate) fn check(d: &mut Draft<'_>) {
    let answers = &d.seen.answers;
    let is_asked = is_tracked(&d.seen.rollout) && !is_lost(answers);
    if let Some(template) = template_of(answers).filter(|_| is_asked) {
        let namespace = &d.seen.rollout.namespace;
        let references = references(template.value());
        d.faults.extend(faults(namespace, &references, answers));
    }
}

fn faults(
    namespace: &str,
    references: &BTreeMap<ConfigKey, bool>,
    answers: &Answers,
) -> Vec<Fault> {
    references
        .iter()
        .filter_map(|(key, is_optional)| {
            fault(namespace, key, *is_optional, answers.configs.get(key)?)
        })
        .collect()
}

fn fault(namespace: &str, key: &ConfigKey, is_optional: bool, found: &Found) -> Option<Fault> {
    let message = match found {
        Found::There(_) => return None,
        Found::Absent if is_optional => return None,
        Found::Absent => {
            format!("{key} is not found in this namespace, and pods need it: create it")
        }
        Found::Refused(why) => format!(
            "{key} cannot be read: {why}. Let the controller do it in this namespace: serin deploy generate-rbac --track-config {namespace} | kubectl apply -f - (in the chart: trackConfigNamespaces), or remove the annotation"
        ),
    };
    Some(Fault::invalid(
        &format!("metadata.annotations[{TRACK_CONFIG}]"),
        "\"true\"",
        message,
    ))
}

/// True when a look again is worth while although something could not be read.
pub(crate) fn may_come(seen: &Observed) -> bool {
    let is_there = |found: &Found| matches!(found, Found::There(_));
    seen.answers.configs.values().any(|found| !is_there(found))
}

/// What is copied: everything that is there, but for copies and for tokens of service accounts.
fn own<'a>(
    references: &BTreeMap<ConfigKey, bool>,
    answers: &'a Answers,
) -> BTreeMap<&'a ConfigKey, &'a Contents> {
    let known = answers.configs.iter();
    let known = known.filter(|(key, _)| references.contains_key(*key));
    known
        .filter_map(|(key, found)| match found {
            Found::There(contents) if !contents.is_copy && !contents.is_token() => {
                Some((key, &**contents))
            }
            Found::There(_) | Found::Absent | Found::Refused(_) => None,
        })
        .collect()
}

/// Digest of a template and of what it refers to. Without anything of its own to refer to it is the
/// template's alone.
fn digest(template: &PodTemplate, own: &BTreeMap<&ConfigKey, &Contents>) -> String {
    let plain = revision::template_digest(template);
    if own.is_empty() {
        return plain;
    }
    let mut whole = Sha256::new();
    whole.update(plain.as_bytes());
    for (key, contents) in own {
        let text = Value::Object(contents.data.clone()).to_string();
        for part in [key.kind.name(), key.name.as_str(), text.as_str()] {
            whole.update(part.len().to_le_bytes());
            whole.update(part.as_bytes());
        }
    }
    let hex: String = whole
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}{hex}", revision::FORMAT)
}

/// Everything that a template refers to, and whether pods start without it.
fn references(template: &Value) -> BTreeMap<ConfigKey, bool> {
    let mut found = BTreeMap::new();
    let mut template = template.clone();
    visit(&mut template, &mut |kind, name, is_optional| {
        let key = ConfigKey {
            kind,
            name: name.clone(),
        };
        let all = found.entry(key).or_insert(true);
        *all = *all && is_optional;
    });
    found
}

/// Calls `f` with each name that a template refers to.
fn visit(template: &mut Value, f: &mut impl FnMut(ConfigKind, &mut String, bool)) {
    let Some(spec) = template.get_mut("spec") else {
        return;
    };
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            for env in items(container, "env") {
                if let Some(from) = env.get_mut("valueFrom") {
                    one(from, "configMapKeyRef", "name", ConfigKind::ConfigMap, f);
                    one(from, "secretKeyRef", "name", ConfigKind::Secret, f);
                }
            }
            for from in items(container, "envFrom") {
                one(from, "configMapRef", "name", ConfigKind::ConfigMap, f);
                one(from, "secretRef", "name", ConfigKind::Secret, f);
            }
        }
    }
    for volume in items(spec, "volumes") {
        one(volume, "configMap", "name", ConfigKind::ConfigMap, f);
        one(volume, "secret", "secretName", ConfigKind::Secret, f);
        if let Some(projected) = volume.get_mut("projected") {
            for source in items(projected, "sources") {
                one(source, "configMap", "name", ConfigKind::ConfigMap, f);
                one(source, "secret", "name", ConfigKind::Secret, f);
            }
        }
    }
}

fn items<'v>(value: &'v mut Value, field: &str) -> impl Iterator<Item = &'v mut Value> {
    let list = value.get_mut(field).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn one(
    holder: &mut Value,
    field: &str,
    name: &str,
    kind: ConfigKind,
    f: &mut impl FnMut(ConfigKind, &mut String, bool),
) {
    let Some(reference) = holder.get_mut(field) else {
        return;
    };
    let is_optional = reference.get("optional") == Some(&Value::Bool(true));
    if let Some(Value::String(name)) = reference.get_mut(name)
        && !name.is_empty()
    {
        f(kind, name, is_optional);
    }
}

/// The template for the ReplicaSet of this hash, which refers to copies, and the record that goes with
/// it. The copies are made before the ReplicaSet: where that is, they are. `None`, with faults, where
/// something else has the name of one.
pub(crate) fn keep(
    d: &mut Draft<'_>,
    hash: &str,
    template: &Value,
) -> Option<(Value, Option<String>)> {
    let mut template = template.clone();
    if !is_tracked(&d.seen.rollout) {
        return Some((template, None));
    }
    let references = references(&template);
    let answers = &d.seen.answers;
    let own = own(&references, answers);
    let copied: BTreeSet<ConfigKey> = own.keys().map(|key| (*key).clone()).collect();
    let mut copies = vec![];
    for (key, contents) in own {
        let copy = copy(d, key, contents, hash);
        match answers.copies.get(&copy.key) {
            Some(Some(there)) if there.is_made(&d.seen.rollout.uid, contents) => {}
            Some(Some(_)) => d.faults.push(in_the_way(key, &copy.key)),
            Some(None) | None => copies.push(copy),
        }
    }
    if !d.faults.is_empty() {
        return None;
    }
    visit(&mut template, &mut |kind, name, _| {
        let key = ConfigKey {
            kind,
            name: name.clone(),
        };
        if copied.contains(&key) {
            *name = copy_name(name, hash);
        }
    });
    // What is a copy already is in use here too: it stays as long as this ReplicaSet does.
    let is_copy = |key: &ConfigKey| {
        let found = d.seen.answers.configs.get(key);
        matches!(found, Some(Found::There(contents)) if contents.is_copy)
    };
    let used = references.keys().filter_map(|key| {
        let name = match copied.contains(key) {
            true => copy_name(&key.name, hash),
            false if is_copy(key) => key.name.clone(),
            false => return None,
        };
        Some(ConfigKey {
            kind: key.kind,
            name,
        })
    });
    let record = Record {
        made: revision::template_digest(&PodTemplate::new(template.clone())),
        copies: used.collect(),
    };
    copies.into_iter().for_each(|copy| d.create_config(copy));
    Some((template, serde_json::to_string(&record).ok()))
}

fn in_the_way(of: &ConfigKey, name: &ConfigKey) -> Fault {
    Fault::invalid(
        &format!("metadata.annotations[{TRACK_CONFIG}]"),
        "\"true\"",
        format!(
            "{name} is there and is not this Rollout's copy of {of}, which needs that name: rename or delete it"
        ),
    )
}

fn copy_name(name: &str, hash: &str) -> String {
    format!("{name}-{hash}")
}

fn copy(d: &Draft<'_>, key: &ConfigKey, contents: &Contents, hash: &str) -> NewConfig {
    let rollout = &d.seen.rollout;
    let mut object = json!({
        "apiVersion": "v1",
        "kind": key.kind.name(),
        "metadata": {
            "name": copy_name(&key.name, hash),
            "namespace": rollout.namespace,
            "labels": {CONFIG_COPY_OF: "true", POD_HASH_LABEL: hash},
            "annotations": {CONFIG_COPY_OF: key.name},
            "ownerReferences": [{
                "apiVersion": API_VERSION, "kind": "Rollout", "name": rollout.name,
                "uid": rollout.uid, "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "immutable": true,
    });
    if let Some(map) = object.as_object_mut() {
        map.extend(contents.data.clone());
    }
    NewConfig {
        key: ConfigKey {
            kind: key.kind,
            name: copy_name(&key.name, hash),
        },
        object: Arc::new(object),
    }
}

/// Looks again after a while: nobody tells when a ConfigMap changes.
pub(crate) fn look_again(d: &mut Draft<'_>) {
    if is_tracked(&d.seen.rollout) {
        d.wake.at(after(d.now(), AGAIN));
    }
}

/// An old ReplicaSet is deleted: so are the copies that no other one refers to.
pub(crate) fn forget(d: &mut Draft<'_>, set: &ReplicaSetSeen) {
    let Some(record) = record_of(set) else { return };
    let others = d.seen.replica_sets.iter().filter(|o| o.uid != set.uid);
    let used: BTreeSet<ConfigKey> = others
        .filter_map(record_of)
        .flat_map(|record| record.copies)
        .collect();
    for key in record.copies {
        // Only what was made for this hash, or taken over from one that was deleted before.
        if !used.contains(&key) {
            d.delete_config(key);
        }
    }
}

#[cfg(test)]
mod tests;
