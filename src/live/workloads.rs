//! Workloads that Rollouts refer to: read live when a turn asks, and watched by metadata alone, so
//! that a change wakes the Rollouts that refer to it. A kind that nobody refers to is not watched.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::client::{CallError, Kind};
use super::controller::Controller;
use super::slim::Meta;
use super::stores::{Key, ObjectKey};
use super::watch::{Absence, Change, Feed, Health, Versioned};
use crate::planner::workload::{Found, WorkloadKey, WorkloadKind, WorkloadSeen};

/// The kind as the API server knows it.
pub(super) fn kind(kind: WorkloadKind) -> Kind {
    match kind {
        WorkloadKind::Deployment => Kind::Deployment,
        WorkloadKind::ReplicaSet => Kind::ReplicaSet,
        WorkloadKind::PodTemplate => Kind::PodTemplate,
    }
}

/// Metadata of a workload: all that is watched.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Slim {
    metadata: Meta,
}

impl Versioned for Slim {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// Who refers to what.
#[derive(Debug)]
pub(super) struct Workloads {
    references: Mutex<HashMap<(WorkloadKind, ObjectKey), BTreeSet<ObjectKey>>>,
    /// Kinds that somebody has referred to.
    wanted: watch::Sender<BTreeSet<WorkloadKind>>,
}

impl Default for Workloads {
    fn default() -> Self {
        Self {
            references: Mutex::default(),
            wanted: watch::Sender::new(BTreeSet::new()),
        }
    }
}

impl Workloads {
    fn lock(&self) -> MutexGuard<'_, HashMap<(WorkloadKind, ObjectKey), BTreeSet<ObjectKey>>> {
        self.references
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// This Rollout refers to that workload.
    fn refer(&self, rollout: &ObjectKey, kind: WorkloadKind, workload: ObjectKey) {
        self.lock()
            .entry((kind, workload))
            .or_default()
            .insert(rollout.clone());
        self.wanted.send_if_modified(|kinds| kinds.insert(kind));
    }

    /// The Rollout is gone.
    pub(super) fn forget(&self, rollout: &ObjectKey) {
        self.lock().retain(|_, rollouts| {
            rollouts.remove(rollout);
            !rollouts.is_empty()
        });
    }

    /// Rollouts that refer to this workload.
    fn of(&self, kind: WorkloadKind, workload: &Slim) -> Vec<Key> {
        let key = ObjectKey::new(workload.namespace(), &workload.metadata.name);
        let key = (kind, key);
        let references = self.lock();
        let rollouts = references.get(&key).into_iter().flatten();
        rollouts.cloned().map(Key::Rollout).collect()
    }
}

impl Controller {
    /// Reads the workload that a Rollout refers to, and watches it from now on.
    pub(super) async fn workload(
        &self,
        rollout: &ObjectKey,
        namespace: &str,
        wanted: &WorkloadKey,
    ) -> Result<Found, CallError> {
        let key = ObjectKey::new(namespace, &wanted.name);
        self.workloads.refer(rollout, wanted.kind, key);
        match self.get(kind(wanted.kind), namespace, &wanted.name).await {
            Ok(Some(object)) => Ok(Found::There(Arc::new(WorkloadSeen::of(
                wanted.kind,
                &object,
            )))),
            Ok(None) => Ok(Found::Absent),
            Err(CallError::Refused { message, .. }) => Ok(Found::Refused(message)),
            Err(error) => Err(error),
        }
    }

    /// Follows the metadata of one kind, from the moment somebody refers to an object of it.
    pub(super) async fn follow_workloads(&self, of: WorkloadKind, page: u32) {
        let mut wanted = self.workloads.wanted.subscribe();
        if wanted.wait_for(|kinds| kinds.contains(&of)).await.is_err() {
            return;
        }
        let feed = Feed {
            rest: self.clients.watches.clone(),
            requests: kind(of).requests(self.settings.namespace.as_deref()),
            selector: String::new(),
            page,
            metadata_only: true,
            absence: Absence::IsTrouble,
            // What nobody refers to is kept nowhere.
            epochs: None,
            health: Arc::new(Health::default()),
        };
        feed.follow(|change: Change<Slim>| match change {
            Change::Listed(slim) | Change::Upsert(slim) | Change::Remove(slim) => {
                self.wake(self.workloads.of(of, &slim));
            }
            Change::ListBegins | Change::ListEnds(_) | Change::Progress(_) => {}
        })
        .await;
    }
}
