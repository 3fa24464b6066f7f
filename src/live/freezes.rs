//! Freeze windows as the two watches tell them. Knows no Rollout and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::slim::{SlimFreeze, version_of};
use super::watch::Change;
use crate::planner::freeze::Window;

/// All windows of one kind, by namespace and name.
#[derive(Debug, Default)]
struct Windows {
    all: BTreeMap<Name, (u64, Arc<Window>)>,
    listed: Option<BTreeSet<Name>>,
}

type Name = (Option<String>, String);

/// The windows of both kinds.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    namespaced: Windows,
    of_cluster: Windows,
    shared: Arc<Vec<Arc<Window>>>,
}

impl Freezes {
    /// Every window.
    pub(super) fn all(&self) -> Arc<Vec<Arc<Window>>> {
        Arc::clone(&self.shared)
    }

    /// A change of a FreezeWindow; the windows that came, changed or went.
    pub(super) fn namespaced(&mut self, change: Change<SlimFreeze>) -> Vec<Arc<Window>> {
        let changed = self.namespaced.apply(change);
        self.share(&changed);
        changed
    }

    /// The same of a ClusterFreezeWindow.
    pub(super) fn of_cluster(&mut self, change: Change<SlimFreeze>) -> Vec<Arc<Window>> {
        let changed = self.of_cluster.apply(change);
        self.share(&changed);
        changed
    }

    fn share(&mut self, changed: &[Arc<Window>]) {
        if !changed.is_empty() {
            let both = [&self.namespaced, &self.of_cluster].into_iter();
            let windows = both.flat_map(|w| w.all.values().map(|(_, window)| Arc::clone(window)));
            self.shared = Arc::new(windows.collect());
        }
    }
}

impl Windows {
    fn apply(&mut self, change: Change<SlimFreeze>) -> Vec<Arc<Window>> {
        match change {
            Change::ListBegins => self.listed = Some(BTreeSet::new()),
            Change::Listed(freeze) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert((freeze.namespace.clone(), freeze.name.clone()));
                }
                return self.put(freeze);
            }
            Change::ListEnds(version) => return self.sweep(version),
            Change::Upsert(freeze) => return self.put(freeze),
            Change::Remove(freeze) => {
                let gone = self.all.remove(&(freeze.namespace, freeze.name));
                return gone.into_iter().map(|(_, window)| window).collect();
            }
            Change::Progress(_) => {}
        }
        Vec::new()
    }

    fn put(&mut self, freeze: SlimFreeze) -> Vec<Arc<Window>> {
        let version = version_of(&freeze);
        let new = (version, Arc::clone(&freeze.window));
        let old = self.all.insert((freeze.namespace, freeze.name), new);
        match old {
            Some((known, _)) if known == version => Vec::new(),
            // Where it was in force before counts as much as where it is now.
            Some((_, old)) => vec![old, freeze.window],
            None => vec![freeze.window],
        }
    }

    fn sweep(&mut self, version: u64) -> Vec<Arc<Window>> {
        let Some(listed) = self.listed.take() else {
            return Vec::new();
        };
        let is_gone = |name: &Name, known: u64| !listed.contains(name) && known <= version;
        let all = self.all.iter();
        let gone: Vec<Arc<Window>> = all
            .filter(|(name, (known, _))| is_gone(name, *known))
            .map(|(_, (_, window))| Arc::clone(window))
            .collect();
        self.all.retain(|name, (known, _)| !is_gone(name, *known));
        gone
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn freeze(name: &str, version: u64) -> SlimFreeze {
        let object = json!({
            "metadata": {"namespace": "shop", "name": name, "resourceVersion": version.to_string()},
            "spec": {"reason": "r"},
        });
        serde_json::from_value(object).unwrap()
    }

    fn titles(freezes: &Freezes) -> Vec<String> {
        freezes.all().iter().map(|w| w.title.clone()).collect()
    }

    #[test]
    fn windows_come_change_and_go_and_who_is_concerned_is_told() {
        let mut freezes = Freezes::default();
        assert!(freezes.namespaced(Change::ListBegins).is_empty());
        assert_eq!(freezes.namespaced(Change::Listed(freeze("a", 5))).len(), 1);
        assert!(freezes.namespaced(Change::ListEnds(6)).is_empty());
        assert_eq!(freezes.of_cluster(Change::Upsert(freeze("b", 7))).len(), 1);
        assert_eq!(
            titles(&freezes),
            ["FreezeWindow shop/a", "FreezeWindow shop/b"]
        );
        assert!(
            freezes
                .namespaced(Change::Upsert(freeze("a", 5)))
                .is_empty()
        );
        assert_eq!(freezes.namespaced(Change::Upsert(freeze("a", 8))).len(), 2);
        // A list that does not show it: it is gone.
        freezes.namespaced(Change::ListBegins);
        assert_eq!(freezes.namespaced(Change::ListEnds(u64::MAX)).len(), 1);
        assert_eq!(freezes.of_cluster(Change::Remove(freeze("b", 9))).len(), 1);
        assert!(titles(&freezes).is_empty());
    }

    #[test]
    fn a_window_that_cannot_be_decoded_freezes_and_says_so() {
        let object = json!({"metadata": {"name": "w"}, "spec": {"reason": ["no text"]}});
        let freeze: SlimFreeze = serde_json::from_value(object).unwrap();
        assert!(
            freeze
                .window
                .reason
                .starts_with("the object cannot be decoded")
        );
        assert_eq!(freeze.window.faults().len(), 1);
    }
}
