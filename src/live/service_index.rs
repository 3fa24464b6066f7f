//! The Services that matter: those a Rollout names, and those that say a Rollout manages them. All
//! others are forgotten as they are read. Knows who is to be looked at after a change.

use std::collections::{HashMap, HashSet};

use serde::de::{Deserialize, Deserializer};
use serde_json::Value;

use super::stores::{Key, ObjectKey};
use super::watch::{Versioned, number};
use crate::planner::observed::{RolloutSeen, ServiceSeen};
use crate::planner::services;

/// A Service, reduced to what the planner sees.
#[derive(Clone, Debug)]
pub struct SlimService {
    /// Namespace.
    pub namespace: String,
    /// What the planner sees.
    pub seen: ServiceSeen,
}

impl Versioned for SlimService {
    fn version(&self) -> &str {
        &self.seen.version
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl<'de> Deserialize<'de> for SlimService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str);
        Ok(Self {
            namespace: namespace.unwrap_or_default().to_owned(),
            seen: ServiceSeen::deserialize(&object).map_err(serde::de::Error::custom)?,
        })
    }
}

/// Services by name, and which Rollouts name them.
#[derive(Debug, Default)]
pub(super) struct Services {
    seen: HashMap<ObjectKey, ServiceSeen>,
    /// Service → Rollouts that name it.
    namers: HashMap<ObjectKey, Vec<ObjectKey>>,
    /// Rollout → Services that it names.
    named: HashMap<ObjectKey, Vec<ObjectKey>>,
    /// Rollout → Services that say it manages them.
    managed: HashMap<ObjectKey, Vec<ObjectKey>>,
}

impl Services {
    /// The Services in sight that a Rollout names, and those that say it manages them although it
    /// names them no longer: until they are let go their clients have its pods.
    pub(super) fn of(&self, rollout: &ObjectKey) -> Vec<ServiceSeen> {
        let named = self.named.get(rollout).map_or(&[][..], Vec::as_slice);
        let managed = self.managed.get(rollout).into_iter().flatten();
        let left = managed.filter(|key| !named.contains(key));
        named
            .iter()
            .chain(left)
            .filter_map(|key| self.seen.get(key).cloned())
            .collect()
    }

    /// One Service.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<ServiceSeen> {
        self.seen.get(key).cloned()
    }

    /// Services that are managed, for the first look after taking office.
    pub(super) fn managed(&self) -> impl Iterator<Item = Key> + '_ {
        self.managed.values().flatten().cloned().map(Key::Service)
    }

    /// A Rollout is new, or has changed. What it names is kept from now on; what it manages and
    /// names no longer is to be looked at.
    pub(super) fn rollout(&mut self, key: &ObjectKey, rollout: &RolloutSeen) -> Vec<Key> {
        // Of a spec that cannot be read nothing is concluded.
        let Ok(spec) = &rollout.spec else {
            return vec![];
        };
        let names: Vec<ObjectKey> = services::named(spec)
            .into_iter()
            .map(|(_, name)| ObjectKey {
                namespace: key.namespace.clone(),
                name: name.into(),
            })
            .collect();
        let is_known = self.named.get(key).is_some_and(|old| *old == names);
        if is_known && !rollout.is_deleting {
            return vec![];
        }
        self.unlink(key);
        for name in &names {
            self.namers
                .entry(name.clone())
                .or_default()
                .push(key.clone());
        }
        if !names.is_empty() {
            self.named.insert(key.clone(), names.clone());
        }
        let kept = if rollout.is_deleting {
            &[]
        } else {
            names.as_slice()
        };
        self.managed_beside(key, kept)
    }

    /// A Rollout is gone: so is its claim on Services.
    pub(super) fn gone_rollout(&mut self, key: &ObjectKey) -> Vec<Key> {
        self.unlink(key);
        self.managed_beside(key, &[])
    }

    fn managed_beside(&self, rollout: &ObjectKey, kept: &[ObjectKey]) -> Vec<Key> {
        let managed = self.managed.get(rollout).into_iter().flatten();
        managed
            .filter(|service| !kept.contains(service))
            .cloned()
            .map(Key::Service)
            .collect()
    }

    fn unlink(&mut self, rollout: &ObjectKey) {
        for service in self.named.remove(rollout).unwrap_or_default() {
            if let Some(namers) = self.namers.get_mut(&service) {
                namers.retain(|other| other != rollout);
                if namers.is_empty() {
                    self.namers.remove(&service);
                }
            }
            let is_managed = self.seen.get(&service).is_some_and(|s| s.manager.is_some());
            if !is_managed && !self.namers.contains_key(&service) {
                self.seen.remove(&service);
            }
        }
    }

    /// A Service as it is now. Returns who is to be looked at.
    pub(super) fn put(&mut self, key: ObjectKey, new: ServiceSeen) -> Vec<Key> {
        let old = self.seen.get(&key);
        if old.is_some_and(|old| number(&old.version) >= number(&new.version) && old.uid == new.uid)
        {
            return vec![];
        }
        let is_news = old.is_none_or(|old| {
            (&old.uid, &old.selector, &old.manager) != (&new.uid, &new.selector, &new.manager)
        });
        let former = self.forget_manager(&key);
        let manager = new.manager.as_deref().map(|name| ObjectKey {
            namespace: key.namespace.clone(),
            name: name.into(),
        });
        if let Some(manager) = &manager {
            self.managed
                .entry(manager.clone())
                .or_default()
                .push(key.clone());
        }
        if manager.is_none() && !self.namers.contains_key(&key) {
            self.seen.remove(&key);
            // What it held of its former manager's versions may go now.
            return former.map(Key::Rollout).into_iter().collect();
        }
        self.seen.insert(key.clone(), new);
        if !is_news {
            return vec![];
        }
        let mut woken = self.namers_of(&key);
        let former = former.filter(|former| Some(former) != manager.as_ref());
        let news = former.map(Key::Rollout).filter(|key| !woken.contains(key));
        woken.extend(news);
        let is_named_by_manager =
            manager.is_some_and(|m| self.named.get(&m).is_some_and(|names| names.contains(&key)));
        if !is_named_by_manager && self.seen.get(&key).is_some_and(|s| s.manager.is_some()) {
            woken.push(Key::Service(key));
        }
        woken
    }

    /// A Service is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Vec<Key> {
        let former = self.forget_manager(key);
        if self.seen.remove(key).is_none() {
            return vec![];
        }
        let mut woken = self.namers_of(key);
        let news = former.map(Key::Rollout).filter(|key| !woken.contains(key));
        woken.extend(news);
        woken
    }

    /// Keeps only those of some namespaces; the others are for another replica to know. Nobody names or
    /// manages a Service of another namespace.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&ObjectKey) -> bool) -> Vec<Key> {
        let managed = self.managed.values().flatten();
        let others = managed.filter(|key| !is_kept(key)).cloned();
        let others = others.map(Key::Service).collect();
        self.seen.retain(|key, _| is_kept(key));
        self.seen.shrink_to_fit();
        for map in [&mut self.namers, &mut self.named, &mut self.managed] {
            map.retain(|key, _| is_kept(key));
            map.shrink_to_fit();
        }
        others
    }

    /// What a list did not show, and is not newer than it, is gone.
    pub(super) fn sweep(&mut self, listed: &HashSet<ObjectKey>, version: u64) -> Vec<Key> {
        let is_gone = |(key, seen): &(&ObjectKey, &ServiceSeen)| {
            !listed.contains(*key) && number(&seen.version) <= version
        };
        let gone: Vec<ObjectKey> = self
            .seen
            .iter()
            .filter(is_gone)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().flat_map(|key| self.remove(key)).collect()
    }

    fn namers_of(&self, key: &ObjectKey) -> Vec<Key> {
        let namers = self.namers.get(key).into_iter().flatten();
        namers.cloned().map(Key::Rollout).collect()
    }

    /// Forgets who manages a Service; tells who it was.
    fn forget_manager(&mut self, key: &ObjectKey) -> Option<ObjectKey> {
        let manager = self.seen.get(key).and_then(|s| s.manager.clone())?;
        let manager = ObjectKey {
            namespace: key.namespace.clone(),
            name: manager.as_str().into(),
        };
        if let Some(managed) = self.managed.get_mut(&manager) {
            managed.retain(|other| other != key);
            if managed.is_empty() {
                self.managed.remove(&manager);
            }
        }
        Some(manager)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    fn service(name: &str, version: u64, manager: Option<&str>) -> ServiceSeen {
        let notes = manager.map(|m| json!({"argo-rollouts.argoproj.io/managed-by-rollouts": m}));
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string(), "annotations": notes},
            "spec": {"selector": {"app": "web"}, "ports": []},
        }))
        .unwrap()
    }

    fn rollout(active: &str) -> RolloutSeen {
        let object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "a", "image": "a:1"}]}},
                "strategy": {"blueGreen": {"activeService": active}},
            },
        });
        RolloutSeen::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn only_what_a_rollout_names_or_manages_is_kept() {
        let mut all = Services::default();
        assert!(all.put(key("other"), service("other", 1, None)).is_empty());
        assert!(all.get(&key("other")).is_none());
        all.rollout(&key("web"), &rollout("a"));
        assert_eq!(
            all.put(key("a"), service("a", 2, None)),
            [Key::Rollout(key("web"))]
        );
        assert_eq!(all.of(&key("web")).len(), 1);
        // The same again is no news.
        assert!(all.put(key("a"), service("a", 3, None)).is_empty());
        all.gone_rollout(&key("web"));
        assert!(all.get(&key("a")).is_none());
    }

    #[test]
    fn a_service_is_looked_at_when_its_manager_goes_or_names_it_no_longer() {
        let mut all = Services::default();
        all.rollout(&key("web"), &rollout("a"));
        assert_eq!(
            all.put(key("a"), service("a", 2, Some("web"))),
            [Key::Rollout(key("web"))]
        );
        assert!(all.rollout(&key("web"), &rollout("a")).is_empty());
        assert_eq!(
            all.rollout(&key("web"), &rollout("b")),
            [Key::Service(key("a"))]
        );
        // Until it is let go its clients have pods of that Rollout, and its turns see it.
        assert_eq!(all.of(&key("web")).len(), 1);
        assert_eq!(
            all.put(key("a"), service("a", 3, None)),
            [Key::Rollout(key("web"))]
        );
        assert_eq!(all.of(&key("web")), []);
        all.rollout(&key("web"), &rollout("a"));
        all.put(key("a"), service("a", 4, Some("web")));
        assert_eq!(all.gone_rollout(&key("web")), [Key::Service(key("a"))]);
        // Found after a restart, its Rollout long gone.
        let mut fresh = Services::default();
        assert_eq!(
            fresh.put(key("a"), service("a", 2, Some("web"))),
            [Key::Service(key("a"))]
        );
    }
}
