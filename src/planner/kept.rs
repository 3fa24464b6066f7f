//! The stable version's template, kept while an update is under way: in a ControllerRevision, as other
//! controllers keep theirs. So a stable ReplicaSet that somebody deletes is made again, although the
//! Rollout's own template is another by then.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::observed::{Need, Observed, ReplicaSetSeen};
use super::plan::{Event, KeptTemplate, NewReplicaSet};
use super::revision::{self, Sets};
use super::rollout::replica_set;
use super::{origin, reasons, roles};
use crate::api::{
    API_VERSION, CONFIG, CREATED, POD_HASH_LABEL, PodTemplate, TEMPLATE, TEMPLATE_ALSO, WAS_STABLE,
};

/// The stable ReplicaSet before an update, where there is one.
fn stable(seen: &Observed) -> Option<&ReplicaSetSeen> {
    let hash = seen.rollout.status.stable_rs.as_ref()?;
    let mut sets = seen.replica_sets.iter().filter(|rs| !rs.is_deleting);
    sets.find(|rs| rs.hash == *hash)
}

/// Before a new version is made: the template that would be lost with the stable ReplicaSet, and what
/// has the name under which it is kept.
pub(crate) fn needs_before_update(seen: &Observed) -> Vec<Need> {
    let needs = stable(seen).map(|set| {
        let name = revision::replica_set_name(&seen.rollout.name, &set.hash);
        [Need::ReplicaSetTemplate(set.name.clone()), Need::Kept(name)]
    });
    needs.into_iter().flatten().collect()
}

/// The stable ReplicaSet is gone: what was kept of it.
pub(crate) fn needs_when_gone(seen: &Observed) -> Option<Need> {
    let hash = seen.rollout.status.stable_rs.as_ref()?;
    let name = revision::replica_set_name(&seen.rollout.name, hash);
    Some(Need::Kept(name))
}

/// An update begins with a ReplicaSet that exists (a way back), or one was begun by another controller:
/// nothing of the stable version has been kept yet.
pub(crate) fn is_due(seen: &Observed, canary: &ReplicaSetSeen) -> bool {
    let status = &seen.rollout.status;
    let is_update = status
        .stable_rs
        .as_ref()
        .is_some_and(|hash| *hash != canary.hash);
    let ours = status.serin.as_ref().and_then(|s| s.hash.as_ref());
    let is_begun = status.current_pod_hash.as_ref() == Some(&canary.hash);
    is_update && !(is_begun && ours == Some(&canary.hash))
}

/// Keeps the stable version's template, in the turn in which another version begins.
pub(crate) fn keep(d: &mut Draft<'_>) {
    let Some(set) = stable(d.seen) else { return };
    let template = d.seen.answers.replica_set_templates.get(&set.name);
    let Some(template) = template.filter(|t| !t.is_null()) else {
        return;
    };
    let rollout = &d.seen.rollout;
    let name = revision::replica_set_name(&rollout.name, &set.hash);
    if let Some(Some(there)) = &d.seen.answers.kept {
        if !is_ours(d.seen, there) {
            let text = format!(
                "ControllerRevision {name} belongs to somebody else, so the template of the stable version is not kept: should its ReplicaSet be deleted during this update, it cannot be made again; rename or delete that ControllerRevision"
            );
            d.event(Event::warning(reasons::RECONCILIATION_ERROR, text));
        }
        return;
    }
    let records = [(TEMPLATE, &set.template_digest), (CONFIG, &set.config)].into_iter();
    let mut annotations: Map<String, Value> = records
        .filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?))))
        .collect();
    annotations.insert(CREATED.to_owned(), json!(set.created.to_string()));
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": rollout.namespace,
            "labels": {POD_HASH_LABEL: set.hash},
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": API_VERSION, "kind": "Rollout", "name": rollout.name,
                "uid": rollout.uid, "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "revision": set.revision,
        "data": {"template": roles::own_template(set, template)},
    });
    d.keep_template(KeptTemplate {
        name,
        object: Arc::new(object),
    });
}

/// What is kept under a name is the Rollout's own: names are taken by others, too.
fn is_ours(seen: &Observed, kept: &Value) -> bool {
    let owners = kept
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let mut owners = owners.into_iter().flatten();
    owners.any(|owner| owner.get("uid").and_then(Value::as_str) == Some(&seen.rollout.uid))
}

/// True where the name of the stable ReplicaSet is taken: by itself while it goes, or by another.
fn is_taken(d: &mut Draft<'_>, name: &str) -> bool {
    let seen = d.seen;
    if seen.replica_sets.iter().any(|rs| rs.name == name) {
        d.note(format!(
            "waiting for ReplicaSet {name} to be gone before it is made again"
        ));
        return true;
    }
    let Some(Some(named)) = seen.answers.named.get(name) else {
        return false;
    };
    d.note(if named.owner.as_deref() == Some(seen.rollout.uid.as_str()) {
        format!("ReplicaSet {name} exists already; waiting to see it")
    } else {
        format!(
            "ReplicaSet {name} is not this Rollout's, so the stable version cannot be made again under that name: rename or delete it"
        )
    });
    true
}

/// Makes the stable ReplicaSet again from what was kept. False where nothing was.
pub(crate) fn restore(d: &mut Draft<'_>) -> bool {
    let Some(Some(kept)) = d.seen.answers.kept.clone() else {
        return false;
    };
    let Some(hash) = d.read().stable_rs.clone() else {
        return false;
    };
    let name = revision::replica_set_name(&d.seen.rollout.name, &hash);
    if !is_ours(d.seen, &kept) || is_taken(d, &name) {
        return false;
    }
    let Some(template) = kept.pointer("/data/template").filter(|t| t.is_object()) else {
        return false;
    };
    let annotation = |key: &str| {
        let value = kept.pointer("/metadata/annotations")?.get(key)?;
        Some(value.as_str()?.to_owned())
    };
    let plain = PodTemplate::new(template.clone());
    let known = annotation(TEMPLATE).unwrap_or_else(|| revision::template_digest(&plain));
    let (digest, also) = revision::records(&known, revision::present(&known));
    let revision = kept.get("revision").and_then(Value::as_u64).unwrap_or(0);
    // One that was kept by an earlier release tells at least that it is not younger than this record.
    let kept_at = kept.pointer("/metadata/creationTimestamp");
    let created = annotation(CREATED).or_else(|| Some(kept_at?.as_str()?.to_owned()));
    let config = annotation(CONFIG).map(|record| (CONFIG, record));
    let records = config.into_iter().chain(created.map(|at| (CREATED, at)));
    let records = records.chain(also.map(|also| (TEMPLATE_ALSO, also)));
    let records = records.chain([(WAS_STABLE, origin::YES.to_owned())]);
    let object = replica_set(d, (&name, &hash), (revision, &digest), template, records);
    d.create(NewReplicaSet {
        name: name.clone(),
        hash,
        revision,
        template_digest: known,
        object: Arc::new(object),
    });
    let text = format!("The stable ReplicaSet {name} was gone and is made again as it was kept");
    d.event(Event::warning(reasons::STABLE_RESTORED, text));
    true
}

/// Another version is stable now: what was kept of the former one is not needed any more.
pub(crate) fn let_go(d: &mut Draft<'_>, sets: &Sets<'_>) {
    let former = d.read().stable_rs.clone();
    if let Some(hash) = former.filter(|hash| *hash != sets.canary.hash) {
        let name = revision::replica_set_name(&d.seen.rollout.name, &hash);
        d.drop_template(name);
    }
}
