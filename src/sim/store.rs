//! Objects of one kind: what is true, and a view of it that may lag behind, as a watch does.
//! Knows nothing of what the objects are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::clock::{Ms, plus};

/// One kind's objects by name.
#[derive(Debug)]
pub struct Store<T> {
    truth: BTreeMap<String, Arc<T>>,
    view: BTreeMap<String, Arc<T>>,
    /// Changes on their way to the view, in the order in which they were made.
    pending: VecDeque<Change<T>>,
    /// Everything that ever happened, so that an older list can be served after a restart.
    log: Vec<Change<T>>,
    last_due: Option<Timestamp>,
    frozen: bool,
    /// How long a change takes to become visible.
    pub lag: Ms,
}

#[derive(Debug)]
struct Change<T> {
    made: Timestamp,
    due: Timestamp,
    name: Arc<str>,
    /// `None`: deleted.
    object: Option<Arc<T>>,
}

impl<T> Clone for Change<T> {
    fn clone(&self) -> Self {
        let Self {
            made,
            due,
            name,
            object,
        } = self;
        Self {
            made: *made,
            due: *due,
            name: Arc::clone(name),
            object: object.clone(),
        }
    }
}

impl<T> Store<T> {
    /// No objects, and a view that lags by `lag`.
    pub fn new(lag: Ms) -> Self {
        Self {
            truth: BTreeMap::new(),
            view: BTreeMap::new(),
            pending: VecDeque::new(),
            log: Vec::new(),
            last_due: None,
            frozen: false,
            lag,
        }
    }

    /// The object as it is.
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.truth.get(name)
    }

    /// All objects as they are.
    pub fn truth(&self) -> &BTreeMap<String, Arc<T>> {
        &self.truth
    }

    /// All objects as the watch has brought them so far.
    pub fn view(&self) -> &BTreeMap<String, Arc<T>> {
        &self.view
    }

    /// Stores an object; the answer is when the view will have it, or `None` while it is frozen.
    pub fn put(&mut self, now: Timestamp, name: &str, object: T) -> Option<Timestamp> {
        let object = Arc::new(object);
        self.truth.insert(name.to_owned(), Arc::clone(&object));
        self.announce(now, name, Some(object))
    }

    /// Removes an object; answers as `put`.
    pub fn remove(&mut self, now: Timestamp, name: &str) -> Option<Timestamp> {
        self.truth.remove(name)?;
        self.announce(now, name, None)
    }

    /// Brings what is due into the view; true when anything changed there.
    pub fn deliver(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        while !self.frozen && self.pending.front().is_some_and(|change| change.due <= now) {
            if let Some(change) = self.pending.pop_front() {
                apply(&mut self.view, &change);
                changed = true;
            }
        }
        changed
    }

    /// True when the view has all there is to see.
    pub fn is_caught_up(&self) -> bool {
        self.pending.is_empty()
    }

    /// Stops the watch without closing it: changes pile up.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Lets the watch go on; true when something had piled up.
    pub fn thaw(&mut self) -> bool {
        self.frozen = false;
        !self.pending.is_empty()
    }

    /// When what has piled up will be due; nobody was told of it while the watch stood still.
    pub fn dues(&self) -> Vec<Timestamp> {
        self.pending.iter().map(|change| change.due).collect()
    }

    /// A new list: the view is what is true now.
    pub fn relist(&mut self) {
        self.view = self.truth.clone();
        self.pending.clear();
        self.frozen = false;
    }

    /// A list served by somebody who lags: the view is what was true at `as_of`, and the rest
    /// follows at `catch_up`.
    pub fn relist_old(&mut self, as_of: Timestamp, catch_up: Timestamp) {
        self.view.clear();
        self.pending.clear();
        self.frozen = false;
        self.last_due = Some(catch_up);
        for change in &self.log {
            if change.made <= as_of {
                apply(&mut self.view, change);
            } else {
                self.pending.push_back(Change {
                    due: catch_up,
                    ..change.clone()
                });
            }
        }
    }

    fn announce(
        &mut self,
        now: Timestamp,
        name: &str,
        object: Option<Arc<T>>,
    ) -> Option<Timestamp> {
        let wanted = plus(now, self.lag);
        // A watch never brings events out of order.
        let due = self.last_due.map_or(wanted, |last| last.max(wanted));
        self.last_due = Some(due);
        let change = Change {
            made: now,
            due,
            name: Arc::from(name),
            object,
        };
        self.log.push(change.clone());
        self.pending.push_back(change);
        (!self.frozen).then_some(due)
    }
}

fn apply<T>(view: &mut BTreeMap<String, Arc<T>>, change: &Change<T>) {
    match &change.object {
        Some(object) => {
            view.insert(change.name.to_string(), Arc::clone(object));
        }
        None => {
            view.remove(&*change.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::epoch;
    use super::*;

    #[test]
    fn the_view_lags_and_catches_up_in_order() {
        let mut store = Store::new(100);
        let t = epoch();
        let due = store.put(t, "a", 1);
        assert_eq!(due, Some(plus(t, 100)));
        store.lag = 0;
        assert_eq!(
            store.put(plus(t, 50), "a", 2),
            Some(plus(t, 100)),
            "never out of order"
        );
        assert!(!store.deliver(plus(t, 99)) && store.view().is_empty());
        assert!(store.deliver(plus(t, 100)));
        assert_eq!(store.view().get("a").map(|v| **v), Some(2));
    }

    #[test]
    fn an_old_list_shows_what_was_and_then_the_rest() {
        let mut store = Store::new(0);
        let t = epoch();
        store.put(t, "a", 1);
        store.put(plus(t, 1000), "b", 2);
        store.relist_old(plus(t, 500), plus(t, 9000));
        assert_eq!(store.view().keys().collect::<Vec<_>>(), ["a"]);
        store.deliver(plus(t, 9000));
        assert_eq!(store.view().len(), 2);
    }

    #[test]
    fn a_frozen_watch_brings_nothing() {
        let mut store = Store::new(0);
        store.freeze();
        assert_eq!(store.put(epoch(), "a", 1), None);
        assert!(!store.deliver(plus(epoch(), 1000)));
        assert!(store.thaw() && store.deliver(epoch()));
    }
}
