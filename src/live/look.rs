//! One Rollout, read for a person: as it is now, and again whenever it changes. Writes nothing.

use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;

use super::client::{CallError, Clients, Kind, Rest, Target, chain};
use crate::api::{POD_HASH_LABEL, Rollout};

/// Longest time for the list of a namespace's ReplicaSets.
const LIST_LIMIT: Duration = Duration::from_secs(15);

/// Where a Rollout is looked at.
#[derive(Clone, Debug)]
pub struct Look {
    rest: Rest,
    namespace: String,
    name: String,
}

impl Look {
    /// Looks at one Rollout of a cluster.
    ///
    /// # Errors
    /// When the TLS or authentication material of the configuration cannot be used.
    pub fn new(config: &kube::Config, namespace: &str, name: &str) -> Result<Self, kube::Error> {
        Ok(Self {
            rest: Clients::new(config)?.work,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The Rollout now.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn rollout(&self) -> Result<Rollout, CallError> {
        let target = Target {
            kind: Kind::Rollout,
            namespace: &self.namespace,
            name: &self.name,
        };
        self.rest.get(target).await
    }

    /// The ReplicaSets that this Rollout controls.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn sets(&self, rollout: &Rollout) -> Result<Vec<ReplicaSet>, CallError> {
        let requests = Kind::ReplicaSet.requests(Some(&self.namespace));
        let params = ListParams::default().labels(POD_HASH_LABEL);
        let page = self.rest.list(&requests, &params, LIST_LIMIT).await?;
        let uid = rollout.metadata.uid.as_deref().unwrap_or_default();
        let is_its = |set: &ReplicaSet| {
            let owners = set.metadata.owner_references.iter().flatten();
            let mut controllers = owners.filter(|o| o.controller == Some(true));
            controllers.any(|o| o.uid == uid)
        };
        Ok(page.items.into_iter().filter(is_its).collect())
    }

    /// The Rollout at each change, `None` once it is gone; what goes wrong on the way is told, and the
    /// stream goes on.
    pub fn changes(&self) -> impl Stream<Item = Result<Option<Box<Rollout>>, String>> + use<> {
        let api = kube::Api::<Rollout>::namespaced(self.rest.client().clone(), &self.namespace);
        watch_object(api, &self.name)
            .default_backoff()
            .map(|seen| seen.map(|r| r.map(Box::new)).map_err(|e| chain(&e)))
    }
}
