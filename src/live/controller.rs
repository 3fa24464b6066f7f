//! What all turns share, and who runs when: turns start while the Lease is held, every kind has been
//! listed and the definitions are ours.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::analysis::Tasks;
use super::client::Clients;
use super::crds::Definitions;
use super::events::Events;
use super::queue::{Queue, Rest};
use super::scope::Scope;
use super::settings::Settings;
use super::sharding::Offices;
use super::stats::Stats;
use super::stores::{Index, Key, ObjectKey};
use super::templates::Templates;
use super::turn::Memory;
use super::watch::Health;
use super::workloads::Workloads;

/// How often a gate that is shut is looked at again.
const GATE_PERIOD: Duration = Duration::from_millis(20);
/// How often foreign definitions are looked at again.
const DEFINITIONS_PERIOD: Duration = Duration::from_secs(10);
/// Longest time that running turns are given when the process ends.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Everything that turns share.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) settings: Settings,
    pub(super) clients: Clients,
    pub(super) scope: Scope,
    pub(super) index: Arc<Index>,
    pub(super) queue: Arc<Queue<Key>>,
    pub(super) templates: [Arc<Templates>; 2],
    pub(super) offices: Offices,
    pub(super) terms: watch::Receiver<Option<u64>>,
    pub(super) events: Arc<Events>,
    pub(super) stats: Arc<Stats>,
    pub(super) tasks: Tasks,
    pub(super) definitions: Arc<Definitions>,
    pub(super) feeds: Vec<(&'static str, Arc<Health>)>,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
    pub(super) workloads: Workloads,
}

impl Controller {
    /// The term in office over a namespace, while there is one and the namespace is known.
    pub(super) fn term(&self, namespace: &str) -> Option<u64> {
        match self.offices.guard() {
            Some(_) => *self.terms.borrow(),
            None => {
                let term = self.offices.term(namespace);
                term.filter(|_| self.scope.is_known(namespace))
            }
        }
    }

    /// A shard has come, or gone to another replica: what is known is what is in the shards held.
    pub(super) fn shard_moved(&self, shard: u32, is_here: bool) {
        if is_here {
            self.index.keep(shard);
            if self.scope.came(shard) {
                self.wake_shard(shard);
            }
            return;
        }
        self.scope.left(shard);
        let dropped = self.index.leave(shard);
        tracing::info!(shard, objects = dropped.len(), "dropped what is in a shard");
        dropped.iter().for_each(|key| self.forget(key));
    }

    /// Everything in a shard that has come, and is known now, is to be looked at.
    pub(super) fn wake_shard(&self, shard: u32) {
        let mut keys = self.index.keys();
        keys.retain(|key| self.offices.is_in(key.namespace(), shard));
        tracing::info!(shard, objects = keys.len(), "at work on a shard");
        self.wake(keys);
    }

    /// These are to be looked at.
    pub(super) fn wake(&self, keys: Vec<Key>) {
        keys.iter().for_each(|key| self.queue.wake(key));
    }

    /// What is remembered of a Rollout.
    pub(super) fn recall(&self, key: &ObjectKey) -> Memory {
        self.memories().get(key).copied().unwrap_or_default()
    }

    /// Number of Rollouts of which something is remembered.
    pub(super) fn remembered(&self) -> usize {
        self.memories().len()
    }

    /// Changes what is remembered of a Rollout; nothing is kept where there is nothing to remember.
    pub(super) fn remember(&self, key: &ObjectKey, change: impl FnOnce(&mut Memory)) {
        let mut all = self.memories();
        let mut memory = all.get(key).copied().unwrap_or_default();
        change(&mut memory);
        if memory == Memory::default() {
            all.remove(key);
        } else {
            all.insert(key.clone(), memory);
        }
    }

    /// A live read has settled what a lost answer left open.
    pub(super) fn settle_doubt(&self, key: &ObjectKey) {
        self.remember(key, |m| m.is_in_doubt = false);
    }

    /// The object is gone: so is everything kept about it.
    pub(super) fn forget(&self, key: &Key) {
        self.queue.forget(key);
        self.stats.forget(key);
        match key {
            Key::Rollout(rollout) => {
                self.memories().remove(rollout);
                self.workloads.forget(rollout);
            }
            Key::Run(run) => self.tasks.cancel(run),
            Key::Service(_) | Key::Experiment(_) => {}
        }
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no turn may start, in words; empty when turns may.
    pub(super) fn shut(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (name, health) in &self.feeds {
            let trouble = health
                .trouble()
                .map(|t| format!(" ({t})"))
                .unwrap_or_default();
            if !health.is_listed() {
                reasons.push(format!("{name}: not listed yet{trouble}"));
            } else if health.age() > super::watch::OLDEST_VIEW {
                let age = health.age().as_secs();
                reasons.push(format!("{name}: not heard of for {age} s{trouble}"));
            }
        }
        reasons.extend(self.definitions.trouble().map(str::to_owned));
        reasons
    }

    fn is_listed(&self) -> bool {
        self.feeds.iter().all(|(_, health)| health.is_listed())
    }

    /// Runs turns until `stop`, then waits for those under way.
    pub(super) async fn run(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(self.settings.concurrency.max(1)));
        let mut running = JoinSet::new();
        let mut terms = self.terms.clone();
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.wait_for(|s| *s) => break,
                () = self.take_office(&mut terms) => {}
            }
            tokio::select! {
                _ = stop.wait_for(|s| *s) => break,
                () = self.serve(&permits, &mut running, &mut terms) => {}
            }
            self.tasks.cancel_all();
        }
        self.tasks.cancel_all();
        let drain = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, drain).await.is_err() {
            tracing::warn!("turns were still running after {} s", DRAIN_LIMIT.as_secs());
        }
    }

    /// Waits until turns may start, and puts every object in the queue.
    async fn take_office(&self, terms: &mut watch::Receiver<Option<u64>>) {
        loop {
            if terms.wait_for(Option::is_some).await.is_err() {
                return std::future::pending().await;
            }
            if !self.is_listed() {
                tokio::time::sleep(GATE_PERIOD).await;
                continue;
            }
            self.definitions.look(&self.clients.work).await;
            match self.definitions.trouble() {
                None => break,
                Some(trouble) => {
                    tracing::error!("{trouble}");
                    tokio::time::sleep(DEFINITIONS_PERIOD).await;
                }
            }
        }
        let (rollouts, replica_sets, runs) = self.index.sizes();
        tracing::info!(rollouts, replica_sets, runs, "at work");
        self.index.forget_gone();
        self.wake(self.index.keys());
    }

    /// Starts turns while in office.
    async fn serve(
        self: &Arc<Self>,
        permits: &Arc<Semaphore>,
        running: &mut JoinSet<()>,
        terms: &mut watch::Receiver<Option<u64>>,
    ) {
        loop {
            let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
                return;
            };
            let key = tokio::select! {
                _ = terms.wait_for(Option::is_none) => return,
                key = self.queue.next() => key,
            };
            while running.try_join_next().is_some() {}
            if self.definitions.trouble().is_some() {
                // Everything is put in the queue again once the definitions are ours.
                self.queue.done(&key, Rest::Quiet);
                return;
            }
            if self.term(key.namespace()).is_none() {
                // Another replica's: it is looked at when its shard comes.
                self.queue.done(&key, Rest::Quiet);
                continue;
            }
            let this = Arc::clone(self);
            running.spawn(async move {
                let turn = AssertUnwindSafe(this.turn(&key)).catch_unwind().await;
                let rest = turn.unwrap_or_else(|_| {
                    tracing::error!(?key, "a turn panicked: please report this");
                    Rest::Failed(None)
                });
                this.queue.done(&key, rest);
                drop(permit);
            });
        }
    }

    async fn turn(self: &Arc<Self>, key: &Key) -> Rest {
        match key {
            Key::Rollout(rollout) => self.rollout_turn(rollout).await,
            Key::Run(run) => self.run_turn(run).await,
            Key::Service(service) => self.service_turn(service).await,
            Key::Experiment(experiment) => self.experiment_turn(experiment).await,
        }
    }
}
