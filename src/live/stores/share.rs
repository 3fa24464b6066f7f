//! The part of the index that a replica keeps where replicas share the work: the namespaces of its shards.

use std::collections::HashMap;

use super::{Index, Inner, Key, ObjectKey};
use crate::live::scope::Kept;

impl Index {
    /// Keeps nothing for now: of so many shards none has come.
    pub fn divide(&self, shards: u32) {
        self.lock().kept = Kept::none_of(shards);
    }

    /// A shard has come: what is told of its namespaces is kept from now on.
    pub fn keep(&self, shard: u32) {
        self.lock().kept.set(shard, true);
    }

    /// A shard has gone to another replica: what is known of its namespaces is dropped, and nothing is
    /// kept of what is told of them. Returns what was known.
    pub fn leave(&self, shard: u32) -> Vec<Key> {
        let mut inner = self.lock();
        inner.kept.set(shard, false);
        inner.drop_what_is_not_kept()
    }
}

impl Inner {
    fn drop_what_is_not_kept(&mut self) -> Vec<Key> {
        let kept = self.kept.clone();
        let is_kept = |key: &ObjectKey| kept.has(&key.namespace);
        let mut dropped = keep(&mut self.rollouts, is_kept, Key::Rollout);
        self.rollout_by_uid.retain(|_, key| is_kept(key));
        self.sets.retain(|_, sets| kept.has(&sets.namespace));
        dropped.extend(keep(&mut self.runs, is_kept, Key::Run));
        self.runs_by_owner.retain(|_, runs| {
            runs.retain(is_kept);
            !runs.is_empty()
        });
        dropped.extend(self.services.keep(is_kept));
        dropped.extend(self.experiments.keep(is_kept));
        // Who works on it now tells that it is gone.
        self.gone.retain(|key, _| is_kept(key));
        self.namespaces.retain(|namespace| kept.has(namespace));
        self.rollout_by_uid.shrink_to_fit();
        self.sets.shrink_to_fit();
        self.runs_by_owner.shrink_to_fit();
        dropped
    }
}

/// Drops the entries that are not kept, and gives their memory back.
fn keep<T>(
    all: &mut HashMap<ObjectKey, T>,
    is_kept: impl Fn(&ObjectKey) -> bool,
    key: fn(ObjectKey) -> Key,
) -> Vec<Key> {
    let others: Vec<ObjectKey> = all.keys().filter(|key| !is_kept(key)).cloned().collect();
    for other in &others {
        all.remove(other);
    }
    all.shrink_to_fit();
    others.into_iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::live::shards::shard_of;
    use crate::live::watch::Change;

    /// In shards of their own, of 16.
    const OURS: &str = "shop";
    const THEIRS: &str = "ai-agents-prod";

    fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
        serde_json::from_value(object).unwrap()
    }

    fn object(namespace: &str, name: &str, owner: &str, version: u64) -> Value {
        let uid = format!("{namespace}-{name}");
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version.to_string(),
                "labels": {"rollouts-pod-template-hash": name},
                "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "web"},
                "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web",
                    "uid": format!("{namespace}-{owner}"), "controller": true}]},
            "spec": {},
        })
    }

    /// A list of every kind, of both namespaces.
    fn list(index: &Index, version: u64) {
        index.rollout(Change::ListBegins);
        index.replica_set(Change::ListBegins);
        index.analysis_run(Change::ListBegins);
        index.service_change(Change::ListBegins);
        index.experiment_change(Change::ListBegins);
        for namespace in [OURS, THEIRS] {
            let one = |name: &str, owner: &str| object(namespace, name, owner, version);
            index.rollout(Change::Listed(read(one("web", "none"))));
            index.wire_rollout(Change::Listed(read(one("wire", "none"))));
            index.replica_set(Change::Listed(read(one("a", "web"))));
            index.replica_set(Change::Listed(read(one("b", "nobody"))));
            index.analysis_run(Change::Listed(read(one("run", "web"))));
            index.service_change(Change::Listed(read(one("live", "web"))));
            index.experiment_change(Change::Listed(read(one("try", "web"))));
        }
        index.rollout(Change::ListEnds(version));
        index.replica_set(Change::ListEnds(version));
        index.analysis_run(Change::ListEnds(version));
        index.service_change(Change::ListEnds(version));
        index.experiment_change(Change::ListEnds(version));
    }

    fn namespaces(index: &Index) -> Vec<String> {
        let keys = index.keys();
        let mut all: Vec<String> = keys.iter().map(|k| k.namespace().to_owned()).collect();
        all.sort();
        all
    }

    fn divided() -> (Index, u32, u32) {
        let (ours, theirs) = (shard_of(OURS, 16), shard_of(THEIRS, 16));
        assert_ne!(ours, theirs);
        let index = Index::default();
        index.divide(16);
        (index, ours, theirs)
    }

    #[test]
    fn what_another_replica_works_on_is_not_kept() {
        let (index, ours, _) = divided();
        list(&index, 5);
        assert_eq!(index.sizes(), (0, 0, 0));
        index.keep(ours);
        list(&index, 6);
        assert_eq!(index.sizes(), (2, 2, 1));
        assert_eq!(namespaces(&index), [OURS; 5]);
        let theirs = |version| object(THEIRS, "web", "none", version);
        // Neither what the watch tells nor what a late write answers.
        assert!(index.rollout(Change::Upsert(read(theirs(7)))).is_empty());
        assert!(index.rollout(Change::Remove(read(theirs(8)))).is_empty());
        assert!(index.answered_rollout(read(theirs(9))).is_empty());
        assert!(index.answered_set(read(theirs(9))).is_empty());
        assert!(index.answered_run(read(theirs(9))).is_empty());
        assert!(index.answered_service(read(theirs(9))).is_empty());
        assert!(index.answered_experiment(read(theirs(9))).is_empty());
        assert_eq!(index.sizes(), (2, 2, 1));
        // How far the watch has come counts all the same.
        assert!(
            index
                .answered_rollout(read(object(OURS, "web", "none", 7)))
                .is_empty()
        );
    }

    #[test]
    fn a_shard_that_goes_leaves_nothing_and_one_that_comes_is_listed_anew() {
        let (index, ours, theirs) = divided();
        index.keep(ours);
        index.keep(theirs);
        list(&index, 5);
        assert_eq!(index.sizes(), (4, 4, 2));
        let dropped = index.leave(theirs);
        assert_eq!(dropped.len(), 5, "{dropped:?}");
        assert!(dropped.iter().all(|key| key.namespace() == THEIRS));
        assert_eq!(
            (index.sizes(), namespaces(&index)),
            ((2, 2, 1), vec![OURS.to_owned(); 5])
        );
        // It is not gone: nobody says so.
        let web = ObjectKey::new(THEIRS, "web");
        assert_eq!(index.take_gone(&web), None);
        assert!(index.service(&ObjectKey::new(THEIRS, "live")).is_none());
        // A list does not take it for deleted either, and brings it back when the shard does.
        list(&index, 6);
        assert_eq!(index.take_gone(&web), None);
        index.keep(theirs);
        list(&index, 7);
        assert_eq!(index.sizes(), (4, 4, 2));
        let family = index.family(&web).unwrap();
        let parts = (
            family.replica_sets.len(),
            family.runs.len(),
            family.experiments.len(),
        );
        assert_eq!(parts, (1, 1, 1));
    }
}
