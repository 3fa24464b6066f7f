//! Which ReplicaSet belongs to which template: digests, hashes, names, adoption, revision numbers.
//! Knows the formats that are on disk; they are pinned by golden tests.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::config;
use super::observed::{Need, Observed, ReplicaSetSeen, RolloutSeen};
use super::origin;
use crate::api::{POD_HASH_LABEL, PodTemplate, canary::CanaryStep, published::published};

/// Format of `serin.dev/template`; another format is "not recognised", never "different".
pub(crate) const FORMAT: &str = "v1:";

/// Alphabet of hashes, as existing clients see them: no vowels, no look-alikes.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `serin.dev/template` of a template: format version and SHA-256 of its canonical JSON (keys
/// sorted, nulls dropped, whole floats as integers, an absent port protocol as TCP; nothing else
/// normalised). It covers fields that this release does not know.
pub fn template_digest(template: &PodTemplate) -> String {
    let canonical = canonical(template.value()).to_string();
    let digest = Sha256::digest(canonical.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{FORMAT}{hex}")
}

/// The value of the pod hash label: FNV-32a of the digest and the collision count, spelt in the
/// safe alphabet.
pub fn pod_hash(template_digest: &str, collisions: i64) -> String {
    let mut bytes = template_digest.as_bytes().to_vec();
    if collisions > 0 {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    safe(fnv32a(&bytes))
}

/// `currentStepHash` as existing clients compute it: FNV-32a over the steps' JSON in the published
/// field order with Go's escaping of `<`, `>` and `&`, spelt in the safe alphabet (contract A28).
pub fn step_hash(steps: Option<&[CanaryStep]>) -> String {
    let Some(steps) = steps else {
        return safe(fnv32a(b"null"));
    };
    let steps: Vec<CanaryStep> = steps.iter().cloned().map(published).collect();
    let json = serde_json::to_string(&steps).unwrap_or_default();
    safe(fnv32a(go_escape(&json).as_bytes()))
}

fn go_escape(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn safe(hash: u32) -> String {
    hash.to_string()
        .bytes()
        .map(|b| {
            let at = usize::from(b).checked_rem(ALPHABET.len()).unwrap_or(0);
            char::from(ALPHABET.get(at).copied().unwrap_or(b'b'))
        })
        .collect()
}

/// Sorted keys, no nulls, whole floats as integers, port protocols filled in.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let mut out = Map::new();
            for key in keys {
                let Some(inner) = map.get(key) else { continue };
                if inner.is_null() {
                    continue;
                }
                let inner = if key == "ports" {
                    ports(inner)
                } else {
                    canonical(inner)
                };
                out.insert(key.clone(), inner);
            }
            Value::Object(out)
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Number(n) => whole(n).map_or_else(|| value.clone(), Value::from),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

fn whole(n: &serde_json::Number) -> Option<i64> {
    let float = n.as_f64().filter(|_| n.is_f64())?;
    (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
}

/// Container ports carry a default that the CRD must have: written or not, they are the same.
fn ports(value: &Value) -> Value {
    let Value::Array(items) = value else {
        return canonical(value);
    };
    let fill = |item: &Value| {
        let port = item
            .as_object()
            .filter(|map| map.contains_key("containerPort"));
        let Some(mut map) = port.cloned() else {
            return canonical(item);
        };
        if map.get("protocol").is_none_or(Value::is_null) {
            map.insert("protocol".into(), Value::from("TCP"));
        }
        canonical(&Value::Object(map))
    };
    Value::Array(items.iter().map(fill).collect())
}

/// The ReplicaSets of a Rollout by role. One that is being deleted has none: its pods go anyway.
#[derive(Clone, Debug)]
pub struct Sets<'a> {
    /// The one of the template in spec.
    pub canary: &'a ReplicaSetSeen,
    /// The one that is known to be good, where it is another one and exists.
    pub stable: Option<&'a ReplicaSetSeen>,
    /// All others, oldest first.
    pub older: Vec<&'a ReplicaSetSeen>,
}

impl<'a> Sets<'a> {
    /// Sorts the ReplicaSets into their roles.
    pub fn of(seen: &'a Observed, canary: &'a ReplicaSetSeen) -> Self {
        let stable_hash = seen.rollout.status.stable_rs.as_deref().unwrap_or_default();
        let stable = seen
            .replica_sets
            .iter()
            .filter(|rs| !rs.is_deleting)
            .find(|rs| !stable_hash.is_empty() && rs.hash == stable_hash && rs.uid != canary.uid);
        let mut older: Vec<_> = seen
            .replica_sets
            .iter()
            .filter(|rs| rs.uid != canary.uid && stable.is_none_or(|s| s.uid != rs.uid))
            .filter(|rs| !rs.is_deleting)
            .collect();
        older.sort_by(|a, b| (origin::age(a), &a.name).cmp(&(origin::age(b), &b.name)));
        Self {
            canary,
            stable,
            older,
        }
    }

    /// All of them, canary and stable first.
    pub fn all(&self) -> impl Iterator<Item = &'a ReplicaSetSeen> + '_ {
        std::iter::once(self.canary)
            .chain(self.stable)
            .chain(self.older.iter().copied())
    }
}

/// What is known of the ReplicaSet of the current template.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// This one.
    Known(&'a ReplicaSetSeen),
    /// This one, made by another controller: its template is recorded on it now.
    Adopt(&'a ReplicaSetSeen),
    /// There is none.
    Missing,
    /// Cannot be told yet.
    Ask(Vec<Need>),
    /// Cannot be told, and why.
    Hold(String),
}

/// Finds the ReplicaSet of the template in spec (decisions §5): by recorded digest; by what an undo
/// wrote back; by the peer's status of this very generation; else by what the API server would store
/// (dry run), where it may be that of a ReplicaSet whose digest says nothing.
pub fn find(seen: &Observed) -> Found<'_> {
    let wanted = &seen.rollout.template_digest;
    let mut sets: Vec<&ReplicaSetSeen> = seen
        .replica_sets
        .iter()
        .filter(|rs| !rs.is_deleting)
        .collect();
    sets.sort_by(|a, b| (origin::age(a), &a.name).cmp(&(origin::age(b), &b.name)));
    if let Some(known) = sets
        .iter()
        .find(|rs| bears(rs.template_digest.as_deref(), wanted) || config::was_made_for(rs, wanted))
    {
        return Found::Known(known);
    }
    if let Some(found) = find_as_stored(seen, &sets) {
        return found;
    }
    let foreign: Vec<&ReplicaSetSeen> = sets.iter().copied().filter(|rs| is_foreign(rs)).collect();
    if let Some(named) = named_by_the_peer(seen, &foreign) {
        return Found::Adopt(named);
    }
    if is_mixed(seen) {
        find_by_dry_run(seen, &sets)
    } else {
        find_by_dry_run(seen, &foreign)
    }
}

/// The recorded digest of the version on record, which stands where the present template cannot be told.
pub(crate) fn running(rollout: &RolloutSeen, sets: &[ReplicaSetSeen]) -> Option<String> {
    let current = rollout.status.current_pod_hash.as_ref()?;
    let mut sets = sets.iter().filter(|set| !set.is_deleting);
    let set = sets.find(|set| set.hash == *current)?;
    let digest = set.template_digest.as_deref()?.split(',').next()?;
    Some(digest.to_owned())
}

/// True when what is recorded of a ReplicaSet names this digest. There are several, with commas between
/// them, once the template came back as it is stored (an undo): it reads otherwise than the manifest
/// that it was made from, and is the same. The last one is as it reads now.
pub(crate) fn bears(recorded: Option<&str>, digest: &str) -> bool {
    recorded.is_some_and(|all| all.split(',').any(|one| one == digest))
}

/// What is recorded in the two annotations of a ReplicaSet, as one text.
pub(crate) fn recorded(template: Option<&str>, also: Option<&str>) -> Option<String> {
    let template = template?.to_owned();
    Some(match also {
        Some(also) => format!("{also},{template}"),
        None => template,
    })
}

/// The two annotations that record this digest as the present one, beside those that were recorded.
pub(crate) fn records(recorded: &str, present: &str) -> (String, Option<String>) {
    let others: Vec<&str> = recorded.split(',').filter(|one| *one != present).collect();
    let also = (!others.is_empty()).then(|| others.join(","));
    (present.to_owned(), also)
}

/// The digest of the template as it reads now.
pub(crate) fn present(recorded: &str) -> &str {
    recorded.rsplit(',').next().unwrap_or_default()
}

/// An undo (ours, or that of the kubectl plugin) writes back what a ReplicaSet holds: the template
/// with the API server's defaults in it. It is that ReplicaSet's, and no new one is made.
fn find_as_stored<'a>(seen: &'a Observed, sets: &[&'a ReplicaSetSeen]) -> Option<Found<'a>> {
    let template = seen.answers.template.as_ref()?;
    if !is_as_stored(template.value()) {
        return None;
    }
    let known = &seen.answers.replica_set_templates;
    let asks: Vec<Need> = sets
        .iter()
        .filter(|rs| !known.contains_key(&rs.name))
        .map(|rs| Need::ReplicaSetTemplate(rs.name.clone()))
        .collect();
    if !asks.is_empty() {
        return Some(Found::Ask(asks));
    }
    holding(seen, sets, template.value()).map(Found::Adopt)
}

/// The ReplicaSet that holds this template, which reads as the API server stores it.
fn holding<'a>(
    seen: &Observed,
    sets: &[&'a ReplicaSetSeen],
    stored: &Value,
) -> Option<&'a ReplicaSetSeen> {
    sets.iter().copied().find(|rs| {
        let ephemeral = rs.ephemeral.as_deref();
        let theirs = seen.answers.replica_set_templates.get(&rs.name);
        theirs.is_some_and(|t| comparable(t, ephemeral) == comparable(stored, ephemeral))
    })
}

/// Without a digest of our format: another controller made it, or another release.
fn is_foreign(rs: &ReplicaSetSeen) -> bool {
    let digest = rs.template_digest.as_deref();
    !digest.is_some_and(|d| d.starts_with(FORMAT))
}

/// `kubectl apply` of a manifest over what an undo wrote back leaves a template of which only some parts
/// have the API server's defaults: it may be that of any ReplicaSet. These two fields hardly anybody
/// writes, so no other template is asked about.
fn is_mixed(seen: &Observed) -> bool {
    let template = seen.answers.template.as_ref();
    let Some(spec) = template.and_then(|t| t.value().get("spec")) else {
        return false;
    };
    let is_filled = |field: &&str| spec.get(field).is_some();
    // Copies of tracked configuration are part of its ReplicaSets' templates, and not of this one.
    ["schedulerName", "dnsPolicy"].iter().any(is_filled) && !config::is_tracked(&seen.rollout)
}

/// Fields that the API server always fills in, and hardly anybody writes all of.
fn is_as_stored(template: &Value) -> bool {
    let defaults = [
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "dnsPolicy",
        "schedulerName",
        "securityContext",
    ];
    let spec = template.get("spec");
    spec.is_some_and(|spec| defaults.iter().all(|field| spec.get(field).is_some()))
}

/// The peer's status has observed this very generation: its `currentPodHash` names the ReplicaSet.
fn named_by_the_peer<'a>(
    seen: &'a Observed,
    foreign: &[&'a ReplicaSetSeen],
) -> Option<&'a ReplicaSetSeen> {
    let status = &seen.rollout.status;
    let is_observed =
        status.observed_generation.as_deref() == Some(&seen.rollout.generation.to_string());
    let mut foreign = foreign.iter().copied().filter(|_| is_observed);
    foreign.find(|rs| status.current_pod_hash.as_deref() == Some(&rs.hash))
}

fn find_by_dry_run<'a>(seen: &'a Observed, candidates: &[&'a ReplicaSetSeen]) -> Found<'a> {
    if candidates.is_empty() {
        return Found::Missing;
    }
    match &seen.answers.stored_template {
        Some(Ok(stored)) => holding(seen, candidates, stored).map_or(Found::Missing, Found::Adopt),
        // Of our own ReplicaSets the digest tells enough to go on.
        Some(Err(_)) if !candidates.iter().any(|rs| is_foreign(rs)) => Found::Missing,
        Some(Err(why)) => Found::Hold(format!(
            "the API server refused a dry run of the pod template, so it cannot be compared with ReplicaSets made by another controller: {why}"
        )),
        None => {
            let names = candidates.iter().map(|rs| rs.name.clone());
            let mut asks = vec![Need::StoredTemplate];
            asks.extend(names.map(Need::ReplicaSetTemplate));
            Found::Ask(asks)
        }
    }
}

/// A stored template, without what a controller adds to it, in a form that can be compared.
fn comparable(template: &Value, ephemeral: Option<&str>) -> Value {
    let mut template = written(&canonical(template));
    super::roles::bare(&mut template, ephemeral);
    template
}

/// A stored template as a person could have written it: without what a controller adds.
pub(crate) fn written(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(POD_HASH_LABEL);
        }
    }
    template
}

/// The revision of the ReplicaSet of the current template: one above all others, or its own where
/// that is higher already (S5).
pub fn revision_of(seen: &Observed, canary: Option<&ReplicaSetSeen>) -> u64 {
    let others = seen
        .replica_sets
        .iter()
        .filter(|rs| canary.is_none_or(|c| c.uid != rs.uid))
        .map(|rs| rs.revision)
        .max()
        .unwrap_or(0);
    others
        .saturating_add(1)
        .max(canary.map_or(0, |c| c.revision))
}

/// `<rollout>-<hash>`.
pub fn replica_set_name(rollout: &str, hash: &str) -> String {
    format!("{rollout}-{hash}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(value: Value) -> String {
        template_digest(&PodTemplate::new(value))
    }

    /// A format on disk: if this test fails, every running Rollout would be redeployed.
    #[test]
    fn digests_of_one_version_are_recorded_apart_and_read_together() {
        assert_eq!(recorded(None, Some("v1:a")), None);
        let one = recorded(Some("v1:a"), None).unwrap();
        assert_eq!(records(&one, "v1:a"), ("v1:a".to_owned(), None));
        let (template, also) = records(&one, "v1:b");
        assert_eq!((template.as_str(), also.as_deref()), ("v1:b", Some("v1:a")));
        let two = recorded(Some(&template), also.as_deref()).unwrap();
        assert_eq!(present(&two), "v1:b");
        assert!(bears(Some(&two), "v1:a") && bears(Some(&two), "v1:b"));
        // The first one comes back; and what earlier builds of today wrote is read as well.
        assert_eq!(
            records(&two, "v1:a"),
            ("v1:a".to_owned(), Some("v1:b".to_owned()))
        );
        assert_eq!(present("v1:a,v1:b"), "v1:b");
    }

    #[test]
    fn the_hash_of_a_template_never_changes() {
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "web:1", "ports": [{"containerPort": 80}]}]},
        });
        let digest = digest(template);
        assert_eq!(
            digest,
            "v1:a2021e2a5f2045f3377c9585d17b4c6a91c6c63ce86336c80dcadd681b4583b5"
        );
        assert_eq!(pod_hash(&digest, 0), "65f8946f56");
        assert_eq!(pod_hash(&digest, 1), "78884ccb45");
    }

    #[test]
    fn what_means_the_same_has_the_same_digest() {
        let written = json!({"spec": {"containers": [{"ports": [{"containerPort": 80}]}], "a": null, "n": 1.0}});
        let stored = json!({"spec": {"n": 1, "containers": [{"ports": [{"protocol": "TCP", "containerPort": 80}]}]}});
        assert_eq!(digest(written), digest(stored));
        assert_ne!(
            digest(json!({"future": {"field": 1}})),
            digest(json!({"future": {"field": 2}}))
        );
        assert_ne!(digest(json!({"a": 0.5})), digest(json!({"a": 0})));
    }

    #[test]
    fn fnv_and_alphabet_are_the_published_ones() {
        assert_eq!(fnv32a(b""), 0x811c_9dc5);
        assert_eq!(fnv32a(b"a"), 0xe40c_292c);
        assert_eq!(safe(0), "4");
    }

    #[test]
    fn steps_hash_as_go_writes_them() {
        let steps: Vec<CanaryStep> = serde_json::from_value(json!([
            {"setWeight": 20}, {"pause": {}}, {"pause": {"duration": "10s"}},
            {"analysis": {"templates": [{"templateName": "a"}], "args": [{"name": "q", "value": "a<b"}]}},
        ]))
        .unwrap();
        let go = r#"[{"setWeight":20},{"pause":{}},{"pause":{"duration":"10s"}},{"analysis":{"templates":[{"templateName":"a"}],"args":[{"name":"q","value":"a\u003cb"}],"analysisRunMetadata":{}}}]"#;
        assert_eq!(step_hash(Some(&steps)), safe(fnv32a(go.as_bytes())));
        assert_eq!(step_hash(None), safe(fnv32a(b"null")));
    }
}
