//! What is known of the cluster, in as little memory as it takes (decisions: slim caches).
//!
//! Read-your-writes (I-16) holds by construction: the answer to each of our writes goes into the
//! index at once, unless the watch has already told a later state. So a turn never sees anything
//! older than the last write that was answered; a write whose answer was lost is for the turn to
//! settle by a live read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::experiment_index::{Experiments, SlimExperiment, Woken};
use super::freezes::Freezes;
use super::queue::Queued;
use super::scope::Kept;
use super::service_index::{Services, SlimService};
use super::slim::{SlimFreeze, SlimReplicaSet, SlimRollout, SlimRun, WireRollout, version_of};
use super::watch::{Change, Versioned, number};
use crate::api::{AnalysisRun, Experiment, RolloutStatus};
use crate::planner::freeze::Window;
use crate::planner::observed::{ReplicaSetSeen, RolloutSeen, ServiceSeen};

mod share;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Who is to be looked at after a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A Rollout.
    Rollout(ObjectKey),
    /// An AnalysisRun.
    Run(ObjectKey),
    /// A Service that says a Rollout manages it, and may have to be let go.
    Service(ObjectKey),
    /// An Experiment.
    Experiment(ObjectKey),
}

impl Key {
    /// Namespace of the object.
    pub fn namespace(&self) -> &str {
        let (Self::Rollout(key) | Self::Run(key) | Self::Service(key) | Self::Experiment(key)) =
            self;
        &key.namespace
    }
}

impl Queued for Key {
    fn queue(&self) -> &'static str {
        match self {
            Self::Rollout(_) => "Rollouts",
            Self::Run(_) => "AnalysisRuns",
            Self::Service(_) => "Services",
            Self::Experiment(_) => "Experiments",
        }
    }
}

/// A uid: 16 bytes where it is a UUID, as the API server makes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Uid {
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl Uid {
    fn new(text: &str) -> Self {
        let mut bytes = [0_u8; 16];
        let mut digits = text.bytes().filter(|b| *b != b'-');
        for byte in &mut bytes {
            let (Some(high), Some(low)) =
                (digits.next().and_then(hex), digits.next().and_then(hex))
            else {
                return Self::Text(text.into());
            };
            *byte = high << 4 | low;
        }
        let uid = Self::Uuid(bytes);
        if uid.text() == text {
            uid
        } else {
            Self::Text(text.into())
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            Self::Uuid(bytes) => {
                let mut out = String::with_capacity(36);
                for (i, byte) in bytes.iter().enumerate() {
                    if matches!(i, 4 | 6 | 8 | 10) {
                        out.push('-');
                    }
                    push_hex(&mut out, *byte);
                }
                out
            }
        }
    }
}

fn push_hex(out: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

/// `serin.dev/template`: 32 bytes where it is a digest of the present format.
#[derive(Clone, Debug, PartialEq)]
enum Digest {
    None,
    V1([u8; 32]),
    Text(Box<str>),
}

/// The format that [`Digest`] keeps small.
const V1: &str = "v1:";

impl Digest {
    fn new(text: Option<String>) -> Self {
        let Some(text) = text else { return Self::None };
        let mut bytes = [0_u8; 32];
        let digits = text.strip_prefix(V1).unwrap_or_default().bytes();
        let mut digits = digits.map(hex);
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Self::Text(text.into());
            };
            *byte = high << 4 | low;
        }
        let digest = Self::V1(bytes);
        if digest.text().as_deref() == Some(&text) {
            digest
        } else {
            Self::Text(text.into())
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.to_string()),
            Self::V1(bytes) => {
                let mut out = V1.to_owned();
                bytes.iter().for_each(|byte| push_hex(&mut out, *byte));
                Some(out)
            }
        }
    }
}

/// A ReplicaSet in the index. An old one at 0 has no `live` part. What names its template stays:
/// without it a return to an old template would look like a find of another controller's making.
#[derive(Clone, Debug)]
struct SetEntry {
    uid: Uid,
    version: u64,
    created: i64,
    was_stable: Option<bool>,
    name: Box<str>,
    /// Where the name does not end with it.
    other_hash: Option<Box<str>>,
    revision: u32,
    digest: Digest,
    rare: Option<Box<Rare>>,
    live: Option<Box<Live>>,
}

/// What few ReplicaSets have, and have for good.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rare {
    revision_history: Option<String>,
    config: Option<String>,
}

/// What changes, and what only a ReplicaSet in use needs.
#[derive(Clone, Debug, PartialEq)]
struct Live {
    desired_replicas: Option<u32>,
    scale_down_deadline: Option<Timestamp>,
    ephemeral: Option<Box<str>>,
    injected: Option<Box<str>>,
    copied: Option<Box<str>>,
    is_deleting: bool,
    is_observed: bool,
    replicas: u32,
    min_ready_seconds: u32,
    current: u32,
    ready: u32,
    available: u32,
    failure: Option<(String, String)>,
}

/// Of a name, what follows the last dash: a hash has none itself.
fn last_word(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or_default()
}

impl SetEntry {
    fn new(seen: ReplicaSetSeen) -> Self {
        let rare = Rare {
            revision_history: seen.revision_history,
            config: seen.config,
        };
        let is_named_by_hash = last_word(&seen.name) == seen.hash;
        Self {
            uid: Uid::new(&seen.uid),
            version: number(&seen.version),
            created: seen.created.as_second(),
            was_stable: seen.was_stable,
            name: seen.name.into(),
            other_hash: (!is_named_by_hash).then(|| seen.hash.into()),
            revision: u32::try_from(seen.revision).unwrap_or(u32::MAX),
            digest: Digest::new(seen.template_digest),
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            live: Some(Box::new(Live {
                desired_replicas: seen.desired_replicas,
                scale_down_deadline: seen.scale_down_deadline,
                ephemeral: seen.ephemeral.map(Into::into),
                injected: seen.injected.map(Into::into),
                copied: seen.copied.map(Into::into),
                is_deleting: seen.is_deleting,
                is_observed: seen.is_observed,
                replicas: seen.replicas,
                min_ready_seconds: seen.min_ready_seconds,
                current: seen.current,
                ready: seen.ready,
                available: seen.available,
                failure: seen.failure,
            })),
        }
    }

    fn hash(&self) -> &str {
        let other = self.other_hash.as_deref();
        other.unwrap_or_else(|| last_word(&self.name))
    }

    fn seen(&self) -> ReplicaSetSeen {
        let (live, rare) = (self.live.as_deref(), self.rare.as_deref());
        let text = |t: &Option<Box<str>>| t.as_deref().map(str::to_owned);
        ReplicaSetSeen {
            name: self.name.to_string(),
            uid: self.uid.text(),
            version: self.version.to_string(),
            created: Timestamp::from_second(self.created).unwrap_or(Timestamp::UNIX_EPOCH),
            was_stable: self.was_stable,
            hash: self.hash().to_owned(),
            revision: u64::from(self.revision),
            revision_history: rare.and_then(|r| r.revision_history.clone()),
            desired_replicas: live.and_then(|l| l.desired_replicas),
            scale_down_deadline: live.and_then(|l| l.scale_down_deadline),
            template_digest: self.digest.text(),
            ephemeral: live.and_then(|l| text(&l.ephemeral)),
            injected: live.and_then(|l| text(&l.injected)),
            copied: live.and_then(|l| text(&l.copied)),
            config: rare.and_then(|r| r.config.clone()),
            is_deleting: live.is_some_and(|l| l.is_deleting),
            replicas: live.map_or(0, |l| l.replicas),
            min_ready_seconds: live.map_or(0, |l| l.min_ready_seconds),
            current: live.map_or(0, |l| l.current),
            ready: live.map_or(0, |l| l.ready),
            available: live.map_or(0, |l| l.available),
            is_observed: live.is_none_or(|l| l.is_observed),
            failure: live.and_then(|l| l.failure.clone()),
        }
    }

    /// True when nothing of it is of interest unless its template comes back.
    fn is_at_rest(&self) -> bool {
        self.live.as_deref().is_some_and(|l| {
            l.replicas == 0
                && l.current == 0
                && l.is_observed
                && !l.is_deleting
                && l.failure.is_none()
                && l.scale_down_deadline.is_none()
                && l.ephemeral.is_none()
        })
    }
}

/// A Rollout in the index. Its status is most of it, and is needed only while a turn or a scrape
/// looks at it: it is kept as JSON, at a quarter of its size. So are the maps, of which even one with
/// a single entry takes half a kilobyte.
#[derive(Debug)]
struct RolloutEntry {
    version: u64,
    uid: Uid,
    current: Option<Box<str>>,
    stable: Option<Box<str>>,
    /// All but what is packed.
    rest: RolloutSeen,
    /// A [`Packed`] as JSON.
    packed: Box<[u8]>,
}

/// What of a Rollout is kept as JSON.
#[derive(Default, Serialize, Deserialize)]
struct Packed {
    status: Arc<RolloutStatus>,
    labels: Arc<BTreeMap<String, String>>,
    annotations: Arc<BTreeMap<String, String>>,
}

/// Stands where something is packed: one for all, an empty status is two kilobytes.
static NOTHING: LazyLock<Packed> = LazyLock::new(Packed::default);

impl RolloutEntry {
    fn new(mut seen: RolloutSeen) -> Self {
        let packed = Packed {
            status: std::mem::replace(&mut seen.status, Arc::clone(&NOTHING.status)),
            labels: std::mem::replace(&mut seen.labels, Arc::clone(&NOTHING.labels)),
            annotations: std::mem::replace(&mut seen.annotations, Arc::clone(&NOTHING.annotations)),
        };
        // Plain data: writing it as JSON cannot fail.
        let json = serde_json::to_vec(&packed).unwrap_or_default();
        Self {
            version: number(&seen.version),
            uid: Uid::new(&seen.uid),
            current: packed.status.current_pod_hash.as_deref().map(Into::into),
            stable: packed.status.stable_rs.as_deref().map(Into::into),
            rest: seen,
            packed: json.into_boxed_slice(),
        }
    }

    fn seen(&self) -> RolloutSeen {
        let packed: Packed = serde_json::from_slice(&self.packed).unwrap_or_default();
        RolloutSeen {
            status: packed.status,
            labels: packed.labels,
            annotations: packed.annotations,
            ..self.rest.clone()
        }
    }
}

/// A run in the index.
#[derive(Clone, Debug)]
struct RunEntry {
    version: u64,
    owner: Option<Uid>,
    run: Result<Arc<AnalysisRun>, String>,
}

/// The ReplicaSets of one owner.
#[derive(Debug)]
struct OwnedSets {
    namespace: Arc<str>,
    all: Vec<SetEntry>,
}

/// The three kinds that are watched.
#[derive(Debug, Default)]
struct Inner {
    kept: Kept,
    rollouts: HashMap<ObjectKey, Box<RolloutEntry>>,
    rollout_by_uid: HashMap<Uid, ObjectKey>,
    sets: HashMap<Uid, OwnedSets>,
    runs: HashMap<ObjectKey, RunEntry>,
    runs_by_owner: HashMap<Uid, Vec<ObjectKey>>,
    namespaces: HashSet<Arc<str>>,
    freezes: Freezes,
    rollout_feed: FeedState<ObjectKey>,
    set_feed: FeedState<Uid>,
    run_feed: FeedState<ObjectKey>,
    services: Services,
    service_feed: FeedState<ObjectKey>,
    experiments: Experiments,
    experiment_feed: FeedState<ObjectKey>,
    /// Rollouts that are gone and of which nobody has said so yet, with their uid.
    gone: HashMap<ObjectKey, String>,
}

/// Rollouts remembered as gone at most: a controller that stands by says nothing of them.
const GONE_KEPT: usize = 1024;

/// How far a feed has told, and what its list in progress has shown.
#[derive(Debug)]
struct FeedState<K> {
    progress: u64,
    listed: Option<HashSet<K>>,
}

impl<K> Default for FeedState<K> {
    fn default() -> Self {
        Self {
            progress: 0,
            listed: None,
        }
    }
}

impl<K: Eq + std::hash::Hash> FeedState<K> {
    fn heard(&mut self, version: u64) {
        self.progress = self.progress.max(version);
    }

    fn listed(&mut self, key: K) {
        if let Some(listed) = &mut self.listed {
            listed.insert(key);
        }
    }
}

/// What is known of the cluster.
#[derive(Debug, Default)]
pub struct Index {
    inner: Mutex<Inner>,
}

/// A Rollout with what belongs to it.
#[derive(Clone, Debug)]
pub struct Family {
    /// The Rollout.
    pub rollout: RolloutSeen,
    /// Its ReplicaSets.
    pub replica_sets: Vec<ReplicaSetSeen>,
    /// Its runs.
    pub runs: Vec<Arc<AnalysisRun>>,
    /// Its Experiments.
    pub experiments: Vec<Arc<Experiment>>,
    /// The Services that it names.
    pub services: Vec<ServiceSeen>,
}

/// An Experiment with what belongs to it.
#[derive(Clone, Debug)]
pub struct ExperimentFamily {
    /// The Experiment.
    pub experiment: Arc<Experiment>,
    /// Its ReplicaSets.
    pub replica_sets: Vec<ReplicaSetSeen>,
    /// Its runs.
    pub runs: Vec<Arc<AnalysisRun>>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Rollout and everything it controls.
    pub fn family(&self, key: &ObjectKey) -> Option<Family> {
        let inner = self.lock();
        let rollout = inner.rollouts.get(key)?;
        let uid = &rollout.uid;
        Some(Family {
            rollout: rollout.seen(),
            replica_sets: inner.sets_of(uid),
            runs: inner.runs_of(uid),
            experiments: match inner.experiments.is_empty() {
                true => vec![],
                false => inner.experiments.of(&uid.text()),
            },
            services: inner.services.of(key),
        })
    }

    /// The Experiment and everything it controls, or why it cannot be read.
    pub fn experiment(&self, key: &ObjectKey) -> Option<Result<ExperimentFamily, String>> {
        let inner = self.lock();
        let found = inner.experiments.get(key)?;
        Some(found.map(|experiment| {
            let uid = Uid::new(experiment.metadata.uid.as_deref().unwrap_or_default());
            ExperimentFamily {
                replica_sets: inner.sets_of(&uid),
                runs: inner.runs_of(&uid),
                experiment,
            }
        }))
    }

    /// The Rollout alone.
    pub fn seen(&self, key: &ObjectKey) -> Option<RolloutSeen> {
        self.lock().rollouts.get(key).map(|entry| entry.seen())
    }

    /// A run, or why it cannot be read.
    pub fn run(&self, key: &ObjectKey) -> Option<Result<Arc<AnalysisRun>, String>> {
        self.lock().runs.get(key).map(|entry| entry.run.clone())
    }

    /// What somebody wants to know of every Rollout; only one at a time is unpacked.
    pub fn rollouts<T>(&self, of: impl Fn(RolloutSeen) -> T) -> Vec<T> {
        let inner = self.lock();
        let all = inner.rollouts.values();
        all.map(|entry| of(entry.seen())).collect()
    }

    /// All runs that can be read, for metrics.
    pub fn runs(&self) -> Vec<Arc<AnalysisRun>> {
        self.lock()
            .runs
            .values()
            .filter_map(|r| r.run.as_ref().ok().cloned())
            .collect()
    }

    /// All Experiments that can be read, for metrics.
    pub fn experiments(&self) -> Vec<Arc<Experiment>> {
        self.lock().experiments.readable().collect()
    }

    /// Every key, for the first look after taking office.
    pub fn keys(&self) -> Vec<Key> {
        let inner = self.lock();
        let rollouts = inner.rollouts.keys().cloned().map(Key::Rollout);
        rollouts
            .chain(inner.runs.keys().cloned().map(Key::Run))
            .chain(inner.services.managed())
            .chain(inner.experiments.keys())
            .collect()
    }

    /// Numbers of Rollouts, ReplicaSets and runs.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let inner = self.lock();
        (
            inner.rollouts.len(),
            inner.sets.values().map(|sets| sets.all.len()).sum(),
            inner.runs.len(),
        )
    }

    /// True when this very version of the Rollout is known.
    pub fn knows(&self, wire: &WireRollout) -> bool {
        let (namespace, name) = wire.place();
        let key = ObjectKey::new(namespace, name);
        let inner = self.lock();
        let known = inner.rollouts.get(&key);
        known.is_some_and(|entry| entry.version == version_of(wire))
    }

    /// A change of a Rollout as the watch tells it, understood only where it is news.
    pub fn wire_rollout(&self, change: Change<WireRollout>) -> Vec<Key> {
        // What another replica works on is not even understood.
        let Some(change) = self.lock().kept.admitted(change) else {
            return Vec::new();
        };
        self.rollout(match change {
            Change::Upsert(wire) if self.knows(&wire) => Change::Progress(version_of(&wire)),
            Change::Upsert(wire) => Change::Upsert(wire.into()),
            Change::Listed(wire) => Change::Listed(wire.into()),
            Change::Remove(wire) => Change::Remove(wire.into()),
            Change::ListBegins => Change::ListBegins,
            Change::ListEnds(version) => Change::ListEnds(version),
            Change::Progress(version) => Change::Progress(version),
        })
    }

    /// A change of a Rollout as the watch tells it. Returns who is to be looked at.
    pub fn rollout(&self, change: Change<SlimRollout>) -> Vec<Key> {
        let mut inner = self.lock();
        let Some(change) = inner.kept.admitted(change) else {
            return Vec::new();
        };
        match change {
            Change::ListBegins => inner.rollout_feed.listed = Some(HashSet::new()),
            Change::Listed(object) => {
                let key = inner.key(&object.0.namespace, &object.0.name);
                inner.rollout_feed.listed(key);
                return inner.put_rollout(object);
            }
            Change::ListEnds(version) => {
                inner.rollout_feed.heard(version);
                return inner.sweep_rollouts(version);
            }
            Change::Upsert(object) => {
                inner.rollout_feed.heard(version_of(&object));
                return inner.put_rollout(object);
            }
            Change::Remove(object) => {
                inner.rollout_feed.heard(version_of(&object));
                let key = inner.key(&object.0.namespace, &object.0.name);
                let mut woken = inner.drop_rollout(&key);
                woken.push(Key::Rollout(key));
                return woken;
            }
            Change::Progress(version) => inner.rollout_feed.heard(version),
        }
        Vec::new()
    }

    /// A change of a ReplicaSet as the watch tells it.
    pub fn replica_set(&self, change: Change<SlimReplicaSet>) -> Vec<Key> {
        let mut inner = self.lock();
        let Some(change) = inner.kept.admitted(change) else {
            return Vec::new();
        };
        let woken = match change {
            Change::ListBegins => {
                inner.set_feed.listed = Some(HashSet::new());
                None
            }
            Change::Listed(object) => {
                inner.set_feed.listed(Uid::new(&object.seen.uid));
                inner.put_set(object)
            }
            Change::ListEnds(version) => {
                inner.set_feed.heard(version);
                return inner.sweep_sets(version);
            }
            Change::Upsert(object) => {
                inner.set_feed.heard(version_of(&object));
                inner.put_set(object)
            }
            Change::Remove(object) => {
                inner.set_feed.heard(version_of(&object));
                inner.drop_set(&object)
            }
            Change::Progress(version) => {
                inner.set_feed.heard(version);
                None
            }
        };
        woken.into_iter().collect()
    }

    /// A change of an AnalysisRun as the watch tells it.
    pub fn analysis_run(&self, change: Change<SlimRun>) -> Vec<Key> {
        let mut inner = self.lock();
        let Some(change) = inner.kept.admitted(change) else {
            return Vec::new();
        };
        match change {
            Change::ListBegins => inner.run_feed.listed = Some(HashSet::new()),
            Change::Listed(object) => {
                let key = inner.key(&object.namespace, &object.name);
                inner.run_feed.listed(key);
                return inner.put_run(object);
            }
            Change::ListEnds(version) => {
                inner.run_feed.heard(version);
                return inner.sweep_runs(version);
            }
            Change::Upsert(object) => {
                inner.run_feed.heard(version_of(&object));
                return inner.put_run(object);
            }
            Change::Remove(object) => {
                inner.run_feed.heard(version_of(&object));
                let key = inner.key(&object.namespace, &object.name);
                return inner.drop_run(&key);
            }
            Change::Progress(version) => inner.run_feed.heard(version),
        }
        Vec::new()
    }

    /// Every freeze window that is known.
    pub fn freezes(&self) -> Arc<Vec<Arc<Window>>> {
        self.lock().freezes.all()
    }

    /// A change of a FreezeWindow as the watch tells it. Returns who is to be looked at.
    pub fn freeze(&self, change: Change<SlimFreeze>) -> Vec<Key> {
        let mut inner = self.lock();
        let changed = inner.freezes.namespaced(change);
        inner.updating(&changed)
    }

    /// The same of a ClusterFreezeWindow.
    pub fn cluster_freeze(&self, change: Change<SlimFreeze>) -> Vec<Key> {
        let mut inner = self.lock();
        let changed = inner.freezes.of_cluster(change);
        inner.updating(&changed)
    }

    /// A Service in sight.
    pub fn service(&self, key: &ObjectKey) -> Option<ServiceSeen> {
        self.lock().services.get(key)
    }

    /// A change of a Service as the watch tells it.
    pub fn service_change(&self, change: Change<SlimService>) -> Vec<Key> {
        let mut inner = self.lock();
        let Some(change) = inner.kept.admitted(change) else {
            return Vec::new();
        };
        match change {
            Change::ListBegins => inner.service_feed.listed = Some(HashSet::new()),
            Change::Listed(object) => {
                let key = inner.key(&object.namespace, &object.seen.name);
                inner.service_feed.listed(key.clone());
                return inner.services.put(key, object.seen);
            }
            Change::ListEnds(version) => {
                inner.service_feed.heard(version);
                let Some(listed) = inner.service_feed.listed.take() else {
                    return Vec::new();
                };
                return inner.services.sweep(&listed, version);
            }
            Change::Upsert(object) => {
                inner.service_feed.heard(version_of(&object));
                let key = inner.key(&object.namespace, &object.seen.name);
                return inner.services.put(key, object.seen);
            }
            Change::Remove(object) => {
                inner.service_feed.heard(version_of(&object));
                let key = inner.key(&object.namespace, &object.seen.name);
                return inner.services.remove(&key);
            }
            Change::Progress(version) => inner.service_feed.heard(version),
        }
        Vec::new()
    }

    /// A Service as a write or a live read answered it. One that nobody named was forgotten when the
    /// watch told it, so an older answer than the watch's news is taken too.
    pub fn answered_service(&self, object: SlimService) -> Vec<Key> {
        let mut inner = self.lock();
        if !inner.keeps(&object) {
            return Vec::new();
        }
        let key = inner.key(&object.namespace, &object.seen.name);
        inner.services.put(key, object.seen)
    }

    /// A live read found the Service gone.
    pub fn gone_service(&self, key: &ObjectKey) {
        self.lock().services.remove(key);
    }

    /// A change of an Experiment as the watch tells it.
    pub fn experiment_change(&self, change: Change<SlimExperiment>) -> Vec<Key> {
        let mut inner = self.lock();
        let Some(change) = inner.kept.admitted(change) else {
            return Vec::new();
        };
        match change {
            Change::ListBegins => inner.experiment_feed.listed = Some(HashSet::new()),
            Change::Listed(object) => {
                let key = inner.key(&object.namespace, &object.name);
                inner.experiment_feed.listed(key);
                return inner.put_experiment(object);
            }
            Change::ListEnds(version) => {
                inner.experiment_feed.heard(version);
                let Some(listed) = inner.experiment_feed.listed.take() else {
                    return Vec::new();
                };
                let woken = inner.experiments.sweep(&listed, version);
                return inner.with_owners(woken);
            }
            Change::Upsert(object) => {
                inner.experiment_feed.heard(version_of(&object));
                return inner.put_experiment(object);
            }
            Change::Remove(object) => {
                inner.experiment_feed.heard(version_of(&object));
                let key = inner.key(&object.namespace, &object.name);
                let woken = inner.experiments.remove(&key);
                return inner.with_owners(woken);
            }
            Change::Progress(version) => inner.experiment_feed.heard(version),
        }
        Vec::new()
    }

    /// An Experiment as a write or a live read answered it.
    pub fn answered_experiment(&self, object: SlimExperiment) -> Vec<Key> {
        let mut inner = self.lock();
        if inner.experiment_feed.progress >= version_of(&object) || !inner.keeps(&object) {
            return Vec::new();
        }
        inner.put_experiment(object)
    }

    /// We deleted an Experiment, or a read found it gone.
    pub fn gone_experiment(&self, key: &ObjectKey) -> Vec<Key> {
        let mut inner = self.lock();
        let woken = inner.experiments.remove(key);
        inner.with_owners(woken)
    }

    /// A Rollout as a write or a live read answered it.
    pub fn answered_rollout(&self, object: SlimRollout) -> Vec<Key> {
        let mut inner = self.lock();
        if inner.rollout_feed.progress >= version_of(&object) || !inner.keeps(&object) {
            return Vec::new();
        }
        inner.put_rollout(object)
    }

    /// A ReplicaSet as a write or a live read answered it. When the watch has told a later state
    /// already, that one stands: it may be the object's end.
    pub fn answered_set(&self, object: SlimReplicaSet) -> Vec<Key> {
        let mut inner = self.lock();
        if inner.set_feed.progress >= version_of(&object) || !inner.keeps(&object) {
            return Vec::new();
        }
        inner.put_set(object).into_iter().collect()
    }

    /// A run as a write answered it.
    pub fn answered_run(&self, object: SlimRun) -> Vec<Key> {
        let mut inner = self.lock();
        if inner.run_feed.progress >= version_of(&object) || !inner.keeps(&object) {
            return Vec::new();
        }
        inner.put_run(object)
    }

    /// The uid of a Rollout that is gone, to whoever asks first.
    pub fn take_gone(&self, key: &ObjectKey) -> Option<String> {
        self.lock().gone.remove(key)
    }

    /// What went before this term in office was for others to tell.
    pub fn forget_gone(&self) {
        self.lock().gone = HashMap::new();
    }

    /// A live read found the Rollout gone.
    pub fn gone_rollout(&self, key: &ObjectKey) -> Vec<Key> {
        self.lock().drop_rollout(key)
    }

    /// We deleted a ReplicaSet, or a live read found it gone.
    pub fn gone_set(&self, owner: &str, name: &str) {
        if let Some(sets) = self.lock().sets.get_mut(&Uid::new(owner)) {
            sets.all.retain(|s| &*s.name != name);
        }
    }

    /// We deleted a run, or a read found it gone.
    pub fn gone_run(&self, key: &ObjectKey) -> Vec<Key> {
        self.lock().drop_run(key)
    }
}

impl Inner {
    /// Whether this replica is to know the object.
    fn keeps(&self, object: &impl Versioned) -> bool {
        self.kept.has(object.namespace())
    }

    /// A namespace's name, in memory once.
    fn namespace(&mut self, namespace: &str) -> Arc<str> {
        match self.namespaces.get(namespace) {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = namespace.into();
                self.namespaces.insert(Arc::clone(&new));
                new
            }
        }
    }

    fn key(&mut self, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            namespace: self.namespace(namespace),
            name: name.into(),
        }
    }

    fn put_rollout(&mut self, SlimRollout(seen): SlimRollout) -> Vec<Key> {
        let key = self.key(&seen.namespace, &seen.name);
        let uid = Uid::new(&seen.uid);
        let new = Box::new(RolloutEntry::new(Arc::unwrap_or_clone(seen)));
        if let Some(old) = self.rollouts.get(&key) {
            if old.uid == uid && old.version >= new.version {
                return Vec::new();
            }
            if old.uid != uid {
                self.rollout_by_uid.remove(&old.uid);
            }
        }
        let mut woken = self.services.rollout(&key, &new.rest);
        self.rollouts.insert(key.clone(), new);
        self.rollout_by_uid.insert(uid.clone(), key.clone());
        self.compact(&uid);
        woken.push(Key::Rollout(key));
        woken
    }

    fn sets_of(&self, owner: &Uid) -> Vec<ReplicaSetSeen> {
        let sets = self.sets.get(owner).into_iter().flat_map(|s| &s.all);
        sets.map(SetEntry::seen).collect()
    }

    fn runs_of(&self, owner: &Uid) -> Vec<Arc<AnalysisRun>> {
        let runs = self.runs_by_owner.get(owner).into_iter().flatten();
        runs.filter_map(|key| self.runs.get(key)?.run.as_ref().ok().cloned())
            .collect()
    }

    /// The Rollout or Experiment that has this uid.
    fn owner(&self, uid: &Uid) -> Option<Key> {
        if let Some(rollout) = self.rollout_by_uid.get(uid) {
            return Some(Key::Rollout(rollout.clone()));
        }
        if self.experiments.is_empty() {
            return None;
        }
        self.experiments.with_uid(&uid.text())
    }

    fn put_experiment(&mut self, object: SlimExperiment) -> Vec<Key> {
        let key = self.key(&object.namespace, &object.name);
        let woken = self.experiments.put(key, object);
        self.with_owners(woken)
    }

    fn with_owners(&self, woken: impl IntoIterator<Item = Woken>) -> Vec<Key> {
        let keys = woken.into_iter().flat_map(|(key, owner)| {
            let owner = owner.and_then(|uid| self.owner(&Uid::new(&uid)));
            std::iter::once(key).chain(owner)
        });
        keys.collect()
    }

    /// Rollouts with an update under way that one of these windows may be for: nobody else cares.
    fn updating(&self, windows: &[Arc<Window>]) -> Vec<Key> {
        if windows.is_empty() {
            return Vec::new();
        }
        let all = self.rollouts.iter();
        all.filter(|(key, entry)| {
            entry.current != entry.stable && windows.iter().any(|w| w.is_near(&key.namespace))
        })
        .map(|(key, _)| Key::Rollout(key.clone()))
        .collect()
    }

    fn drop_rollout(&mut self, key: &ObjectKey) -> Vec<Key> {
        let Some(old) = self.rollouts.remove(key) else {
            return Vec::new();
        };
        self.rollout_by_uid.remove(&old.uid);
        if self.gone.len() >= GONE_KEPT {
            self.gone.clear();
        }
        self.gone.insert(key.clone(), old.uid.text());
        self.services.gone_rollout(key)
    }

    fn put_set(&mut self, object: SlimReplicaSet) -> Option<Key> {
        let Some(owner) = object.owner.as_deref().map(Uid::new) else {
            return self.disown(&Uid::new(&object.seen.uid));
        };
        let namespace = self.namespace(&object.namespace);
        let new = SetEntry::new(object.seen);
        let woken = self.owner(&owner);
        let owned = self.sets.entry(owner.clone());
        let sets = &mut owned
            .or_insert_with(|| OwnedSets {
                namespace,
                all: Vec::new(),
            })
            .all;
        let changed = match sets.iter_mut().find(|s| s.uid == new.uid) {
            Some(old) if old.version >= new.version => return None,
            Some(old) => {
                let is_renamed = old.digest != new.digest
                    || old.hash() != new.hash()
                    || old.revision != new.revision;
                // One at rest has no live part to compare; while it stays at rest nothing happened.
                let stays_at_rest = old.live.is_none() && new.is_at_rest();
                let is_news = is_renamed || (old.live != new.live && !stays_at_rest);
                *old = new;
                is_news
            }
            None => {
                sets.reserve_exact(1);
                sets.push(new);
                true
            }
        };
        self.compact(&owner);
        woken.filter(|_| changed)
    }

    /// A ReplicaSet lost its controller. Rare enough to look through all of them.
    fn disown(&mut self, uid: &Uid) -> Option<Key> {
        let owner = self
            .sets
            .iter()
            .find(|(_, sets)| sets.all.iter().any(|s| s.uid == *uid))?
            .0;
        let owner = owner.clone();
        self.sets.get_mut(&owner)?.all.retain(|s| s.uid != *uid);
        self.owner(&owner)
    }

    fn drop_set(&mut self, object: &SlimReplicaSet) -> Option<Key> {
        let owner = Uid::new(object.owner.as_deref()?);
        let uid = Uid::new(&object.seen.uid);
        let sets = &mut self.sets.get_mut(&owner)?.all;
        sets.retain(|s| s.uid != uid);
        if sets.is_empty() {
            self.sets.remove(&owner);
        }
        self.owner(&owner)
    }

    /// Drops what an old ReplicaSet at 0 no longer needs, once its Rollout tells which ones are in
    /// use.
    fn compact(&mut self, owner: &Uid) {
        let Some(rollout) = self
            .rollout_by_uid
            .get(owner)
            .and_then(|k| self.rollouts.get(k))
        else {
            return;
        };
        if rollout.current.is_none() {
            return;
        }
        let in_use = [rollout.current.as_deref(), rollout.stable.as_deref()];
        let owned = self.sets.get_mut(owner).into_iter();
        for set in owned.flat_map(|sets| &mut sets.all) {
            if !in_use.contains(&Some(set.hash())) && set.is_at_rest() {
                set.live = None;
            }
        }
    }

    fn put_run(&mut self, object: SlimRun) -> Vec<Key> {
        let key = self.key(&object.namespace, &object.name);
        let owner = object.owner.as_deref().map(Uid::new);
        let version = version_of(&object);
        if self
            .runs
            .get(&key)
            .is_some_and(|old| old.version >= version)
        {
            return Vec::new();
        }
        let new = RunEntry {
            version,
            owner: owner.clone(),
            run: object.run,
        };
        let old = self.runs.insert(key.clone(), new).and_then(|old| old.owner);
        if old != owner {
            self.unlink_run(&key, old.as_ref());
        }
        if let Some(owner) = &owner {
            let runs = self.runs_by_owner.entry(owner.clone()).or_default();
            if !runs.contains(&key) {
                runs.push(key.clone());
            }
        }
        self.run_and_owner(key, owner.as_ref())
    }

    fn drop_run(&mut self, key: &ObjectKey) -> Vec<Key> {
        let Some(old) = self.runs.remove(key) else {
            return Vec::new();
        };
        self.unlink_run(key, old.owner.as_ref());
        self.run_and_owner(key.clone(), old.owner.as_ref())
    }

    fn unlink_run(&mut self, key: &ObjectKey, owner: Option<&Uid>) {
        let Some(owner) = owner else { return };
        if let Some(runs) = self.runs_by_owner.get_mut(owner) {
            runs.retain(|k| k != key);
            if runs.is_empty() {
                self.runs_by_owner.remove(owner);
            }
        }
    }

    fn run_and_owner(&self, key: ObjectKey, owner: Option<&Uid>) -> Vec<Key> {
        let owner = owner.and_then(|o| self.owner(o));
        std::iter::once(Key::Run(key)).chain(owner).collect()
    }

    /// What the list did not show and is not newer than it is gone.
    fn sweep_rollouts(&mut self, version: u64) -> Vec<Key> {
        let Some(listed) = self.rollout_feed.listed.take() else {
            return Vec::new();
        };
        let gone: Vec<ObjectKey> = self
            .rollouts
            .iter()
            .filter(|(key, entry)| !listed.contains(*key) && entry.version <= version)
            .map(|(key, _)| key.clone())
            .collect();
        let services: Vec<Key> = gone.iter().flat_map(|key| self.drop_rollout(key)).collect();
        let rollouts = gone.into_iter().map(Key::Rollout);
        rollouts.chain(services).collect()
    }

    fn sweep_sets(&mut self, version: u64) -> Vec<Key> {
        let Some(listed) = self.set_feed.listed.take() else {
            return Vec::new();
        };
        let mut changed = Vec::new();
        for (owner, sets) in &mut self.sets {
            let before = sets.all.len();
            sets.all
                .retain(|s| listed.contains(&s.uid) || s.version > version);
            if sets.all.len() != before {
                changed.push(owner.clone());
            }
        }
        self.sets.retain(|_, sets| !sets.all.is_empty());
        changed.iter().filter_map(|uid| self.owner(uid)).collect()
    }

    fn sweep_runs(&mut self, version: u64) -> Vec<Key> {
        let Some(listed) = self.run_feed.listed.take() else {
            return Vec::new();
        };
        let gone: Vec<ObjectKey> = self
            .runs
            .iter()
            .filter(|(key, entry)| !listed.contains(*key) && entry.version <= version)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().flat_map(|key| self.drop_run(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OWNER: &str = "11111111-2222-3333-4444-555555555555";

    fn rollout(version: u64, current: &str, stable: &str) -> SlimRollout {
        let object = json!({
            "metadata": {"namespace": "n", "name": "web", "uid": OWNER, "resourceVersion": version.to_string()},
            "spec": {},
            "status": {"currentPodHash": current, "stableRS": stable},
        });
        serde_json::from_value(object).unwrap()
    }

    fn set_json(name: &str, version: u64, replicas: u32) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": name, "uid": format!("uid-{name}"), "generation": 1,
                "resourceVersion": version.to_string(), "labels": {"rollouts-pod-template-hash": name},
                "annotations": {"serin.dev/template": "1:abc", "rollout.argoproj.io/revision-history": "3",
                    "rollout.argoproj.io/desired-replicas": "4"},
                "ownerReferences": [{"uid": OWNER, "controller": true}]},
            "spec": {"replicas": replicas},
            "status": {"replicas": replicas, "observedGeneration": 1},
        })
    }

    fn set(name: &str, version: u64, replicas: u32) -> SlimReplicaSet {
        serde_json::from_value(set_json(name, version, replicas)).unwrap()
    }

    fn key() -> ObjectKey {
        ObjectKey::new("n", "web")
    }

    fn sizes_of_sets(index: &Index) -> Vec<(String, u32)> {
        let family = index.family(&key()).unwrap();
        let mut all: Vec<_> = family
            .replica_sets
            .into_iter()
            .map(|s| (s.name, s.replicas))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn uids_are_kept_in_16_bytes_and_told_as_they_were() {
        assert!(matches!(Uid::new(OWNER), Uid::Uuid(_)));
        assert_eq!(Uid::new(OWNER).text(), OWNER);
        for odd in [
            "uid-1",
            "",
            "11111111-2222-3333-4444-55555555555",
            "1111111122223333444455555555555555",
        ] {
            assert_eq!(Uid::new(odd).text(), odd);
        }
        let upper = OWNER.replace('5', "A");
        assert_eq!(Uid::new(&upper).text(), upper);
    }

    #[test]
    fn digests_are_kept_in_32_bytes_and_told_as_they_were() {
        let usual = format!("v1:{}", "0af9".repeat(16));
        assert!(matches!(Digest::new(Some(usual.clone())), Digest::V1(_)));
        for text in [
            usual,
            "v1:".to_owned(),
            "v2:abc".to_owned(),
            format!("v1:{}", "0AF9".repeat(16)),
        ] {
            assert_eq!(Digest::new(Some(text.clone())).text(), Some(text));
        }
        assert_eq!(Digest::new(None).text(), None);
    }

    #[test]
    fn our_own_write_is_seen_before_the_watch_tells_it() {
        let index = Index::default();
        index.rollout(Change::Upsert(rollout(10, "a", "a")));
        index.replica_set(Change::Upsert(set("a", 11, 1)));
        assert_eq!(index.answered_set(set("a", 15, 5)).len(), 1);
        assert_eq!(sizes_of_sets(&index), [("a".to_owned(), 5)]);
        // The watch comes later, with older and then the same news: nothing is to be looked at.
        assert!(
            index
                .replica_set(Change::Upsert(set("a", 13, 1)))
                .is_empty()
        );
        assert!(
            index
                .replica_set(Change::Upsert(set("a", 15, 5)))
                .is_empty()
        );
        assert_eq!(sizes_of_sets(&index), [("a".to_owned(), 5)]);
    }

    #[test]
    fn a_late_answer_does_not_bring_back_what_the_watch_told_gone() {
        let index = Index::default();
        index.rollout(Change::Upsert(rollout(10, "a", "a")));
        index.replica_set(Change::Upsert(set("a", 11, 1)));
        index.replica_set(Change::Remove(set("a", 20, 1)));
        assert!(index.answered_set(set("a", 15, 5)).is_empty());
        assert!(sizes_of_sets(&index).is_empty());
    }

    #[test]
    fn a_list_drops_what_it_does_not_show_but_not_what_was_made_since() {
        let index = Index::default();
        index.rollout(Change::Upsert(rollout(10, "a", "a")));
        index.replica_set(Change::Upsert(set("a", 11, 1)));
        index.replica_set(Change::Upsert(set("b", 12, 1)));
        index.replica_set(Change::ListBegins);
        index.replica_set(Change::Listed(set("a", 11, 1)));
        index.answered_set(set("c", 99, 0));
        let woken = index.replica_set(Change::ListEnds(50));
        assert_eq!(woken, [Key::Rollout(key())]);
        assert_eq!(
            sizes_of_sets(&index),
            [("a".to_owned(), 1), ("c".to_owned(), 0)]
        );
    }

    #[test]
    fn old_sets_at_0_are_compact_and_come_back_in_full() {
        let index = Index::default();
        index.replica_set(Change::Upsert(set("old", 5, 0)));
        index.replica_set(Change::Upsert(set("now", 6, 0)));
        index.rollout(Change::Upsert(rollout(10, "now", "now")));
        let desired = |name: &str| {
            let family = index.family(&key()).unwrap();
            let mut sets = family.replica_sets.into_iter();
            let set = sets.find(|s| s.name == name).unwrap();
            assert_eq!(set.template_digest.as_deref(), Some("1:abc"));
            // A return to it goes on with this: nothing else tells it.
            assert_eq!(set.revision_history.as_deref(), Some("3"));
            set.desired_replicas
        };
        assert_eq!((desired("old"), desired("now")), (None, Some(4)));
        assert!(
            index
                .replica_set(Change::Upsert(set("old", 11, 0)))
                .is_empty(),
            "nothing happened"
        );
        assert_eq!(
            index.replica_set(Change::Upsert(set("old", 12, 2))).len(),
            1
        );
        assert_eq!(desired("old"), Some(4));
    }

    #[test]
    fn a_set_that_lost_its_controller_is_not_ours_any_more() {
        let index = Index::default();
        index.rollout(Change::Upsert(rollout(10, "a", "a")));
        index.replica_set(Change::Upsert(set("a", 11, 1)));
        let mut orphan = set_json("a", 12, 1);
        orphan["metadata"]["ownerReferences"] = json!([]);
        let woken = index.replica_set(Change::Upsert(serde_json::from_value(orphan).unwrap()));
        assert_eq!(woken, [Key::Rollout(key())]);
        assert!(sizes_of_sets(&index).is_empty());
    }

    #[test]
    fn a_rollout_is_looked_at_after_every_change_and_not_after_none() {
        let index = Index::default();
        assert_eq!(
            index.rollout(Change::Upsert(rollout(10, "a", "a"))).len(),
            1
        );
        assert!(
            index
                .rollout(Change::Upsert(rollout(10, "a", "a")))
                .is_empty()
        );
        assert!(index.answered_rollout(rollout(9, "a", "a")).is_empty());
        assert_eq!(index.answered_rollout(rollout(12, "b", "a")).len(), 1);
        assert!(
            index
                .rollout(Change::Upsert(rollout(12, "b", "a")))
                .is_empty()
        );
        assert_eq!(
            index.rollout(Change::Remove(rollout(13, "b", "a"))),
            [Key::Rollout(key())]
        );
        assert!(index.family(&key()).is_none());
        assert_eq!(index.take_gone(&key()).as_deref(), Some(OWNER));
        assert_eq!(index.take_gone(&key()), None, "told once");
    }
}
