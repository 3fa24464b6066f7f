//! The Experiments that are known, by name, by uid and by owner. Of one that has ended the pod
//! templates are dropped: nothing is made from them any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};

use super::slim::whole;
use super::stores::{Key, ObjectKey};
use super::watch::{Versioned, number};
use crate::api::Experiment;
use crate::planner::experiment::phase;

/// An Experiment, or what is left of one that cannot be decoded.
#[derive(Clone, Debug)]
pub struct SlimExperiment {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    uid: String,
    owner: Option<String>,
    experiment: Result<Arc<Experiment>, String>,
}

impl Versioned for SlimExperiment {
    fn version(&self) -> &str {
        &self.version
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl<'de> Deserialize<'de> for SlimExperiment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (meta, experiment) = whole::<_, Experiment>(deserializer)?;
        Ok(Self {
            owner: meta.owner().map(str::to_owned),
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name,
            version: meta.resource_version,
            uid: meta.uid,
            experiment: experiment.map(slim).map(Arc::new),
        })
    }
}

fn slim(mut experiment: Experiment) -> Experiment {
    if phase(&experiment).is_completed() {
        for template in experiment.spec.templates.iter_mut().flatten() {
            template.template = None;
        }
    }
    experiment
}

/// All Experiments.
#[derive(Debug, Default)]
pub(super) struct Experiments {
    all: HashMap<ObjectKey, SlimExperiment>,
    by_uid: HashMap<String, ObjectKey>,
    by_owner: HashMap<String, Vec<ObjectKey>>,
}

/// Who is to be looked at: the Experiment, and the uid of its owner.
pub(super) type Woken = (Key, Option<String>);

impl Experiments {
    /// One Experiment, or why it cannot be read.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Result<Arc<Experiment>, String>> {
        self.all.get(key).map(|e| e.experiment.clone())
    }

    /// Those of an owner.
    pub(super) fn of(&self, owner: &str) -> Vec<Arc<Experiment>> {
        let keys = self.by_owner.get(owner).into_iter().flatten();
        keys.filter_map(|key| self.all.get(key)?.experiment.as_ref().ok().cloned())
            .collect()
    }

    /// The Experiment with this uid.
    pub(super) fn with_uid(&self, uid: &str) -> Option<Key> {
        self.by_uid.get(uid).cloned().map(Key::Experiment)
    }

    /// All that can be read.
    pub(super) fn readable(&self) -> impl Iterator<Item = Arc<Experiment>> + '_ {
        let all = self.all.values();
        all.filter_map(|e| e.experiment.as_ref().ok().cloned())
    }

    /// There is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, for the first look after taking office.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.all.keys().cloned().map(Key::Experiment)
    }

    /// Takes a version of an Experiment, unless a later one is known.
    pub(super) fn put(&mut self, key: ObjectKey, object: SlimExperiment) -> Option<Woken> {
        if let Some(old) = self.all.get(&key) {
            if number(&old.version) >= number(&object.version) {
                return None;
            }
            if old.uid != object.uid || old.owner != object.owner {
                self.unlink(&key);
            }
        }
        let owner = object.owner.clone();
        self.by_uid.insert(object.uid.clone(), key.clone());
        if let Some(owner) = &owner {
            let known = self.by_owner.entry(owner.clone()).or_default();
            if !known.contains(&key) {
                known.push(key.clone());
            }
        }
        self.all.insert(key.clone(), object);
        Some((Key::Experiment(key), owner))
    }

    /// An Experiment is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Woken> {
        self.unlink(key);
        let old = self.all.remove(key)?;
        Some((Key::Experiment(key.clone()), old.owner))
    }

    /// Keeps only those of some namespaces; the others are for another replica to know.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&ObjectKey) -> bool) -> Vec<Key> {
        let all = self.all.keys();
        let others: Vec<ObjectKey> = all.filter(|key| !is_kept(key)).cloned().collect();
        for key in &others {
            self.remove(key);
        }
        others.into_iter().map(Key::Experiment).collect()
    }

    /// What a list did not show and is not newer than it is gone.
    pub(super) fn sweep(&mut self, listed: &HashSet<ObjectKey>, version: u64) -> Vec<Woken> {
        let all = self.all.iter();
        let gone: Vec<ObjectKey> = all
            .filter(|(key, e)| !listed.contains(*key) && number(&e.version) <= version)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().filter_map(|key| self.remove(key)).collect()
    }

    fn unlink(&mut self, key: &ObjectKey) {
        let Some(old) = self.all.get(key) else {
            return;
        };
        self.by_uid.remove(&old.uid);
        let Some(owner) = &old.owner else { return };
        if let Some(known) = self.by_owner.get_mut(owner) {
            known.retain(|k| k != key);
            if known.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}
