//! Whose objects this replica knows: everybody's, or where there are shards those of the namespaces in
//! the shards it holds. When a shard comes every stream lists anew; its objects are worked on when all
//! of them have. Knows no object.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::shards::shard_of;
use super::watch::{Change, Versioned, number};

/// Which namespaces are kept, by shard; all of them where there are no shards.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Vec<bool>);

impl Kept {
    /// Of so many shards none.
    pub(super) fn none_of(count: u32) -> Self {
        Self((0..count).map(|_| false).collect())
    }

    /// Keeps a shard from now on, or no longer.
    pub(super) fn set(&mut self, shard: u32, is_kept: bool) {
        if let Some(kept) = at(&mut self.0, shard) {
            *kept = is_kept;
        }
    }

    /// Whether objects of this namespace are kept.
    pub(super) fn has(&self, namespace: &str) -> bool {
        of(&self.0, namespace).is_none_or(|kept| *kept)
    }

    /// A change without what is not kept.
    pub(super) fn admitted<T: Versioned>(&self, change: Change<T>) -> Option<Change<T>> {
        let (object, is_listed) = match &change {
            Change::Listed(object) => (object, true),
            Change::Upsert(object) | Change::Remove(object) => (object, false),
            Change::ListBegins | Change::ListEnds(_) | Change::Progress(_) => return Some(change),
        };
        if self.has(object.namespace()) {
            return Some(change);
        }
        // That the watch has come so far is told of everything.
        let version = number(object.version());
        (!is_listed).then_some(Change::Progress(version))
    }
}

/// How far a replica is with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Another holds it.
    Foreign,
    /// It came in this epoch; not every stream has listed since.
    Awaited(u64),
    /// Everything of it is known.
    Known,
}

/// How far a replica is with all shards.
#[derive(Debug)]
pub struct Scope {
    inner: Mutex<Inner>,
    /// Moves on with every shard that comes: who has listed in an earlier epoch lists anew.
    epoch: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// Empty where everything is known from the start.
    shards: Vec<State>,
    /// The epoch in which the last complete list of each stream began.
    listed: Vec<Option<u64>>,
}

impl Scope {
    /// So many shards, none of which has come, filled by so many streams. One shard: everything, for good.
    pub fn new(shards: u32, streams: usize) -> Self {
        let count = if shards > 1 { shards } else { 0 };
        Self {
            inner: Mutex::new(Inner {
                shards: (0..count).map(|_| State::Foreign).collect(),
                listed: vec![None; streams],
            }),
            epoch: watch::Sender::new(0),
        }
    }

    /// Whether all of this namespace that there is has been seen.
    pub fn is_known(&self, namespace: &str) -> bool {
        let inner = self.lock();
        of(&inner.shards, namespace).is_none_or(|state| *state == State::Known)
    }

    /// The epoch, for streams to follow.
    pub(super) fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// The epoch now.
    pub(super) fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    /// A shard has come. True when its objects are known already.
    pub(super) fn came(&self, shard: u32) -> bool {
        let mut inner = self.lock();
        let Some(state) = at(&mut inner.shards, shard) else {
            return true;
        };
        if *state == State::Foreign {
            let next = self.epoch().saturating_add(1);
            *state = State::Awaited(next);
            drop(inner);
            self.epoch.send_replace(next);
            return false;
        }
        *state == State::Known
    }

    /// A shard is another's now.
    pub(super) fn left(&self, shard: u32) {
        if let Some(state) = at(&mut self.lock().shards, shard) {
            *state = State::Foreign;
        }
    }

    /// A stream has ended a list that began in this epoch; the shards of which now everything is known.
    pub(super) fn listed(&self, stream: usize, began: u64) -> Vec<u32> {
        let mut inner = self.lock();
        if let Some(listed) = inner.listed.get_mut(stream) {
            *listed = Some(began);
        }
        let slowest = inner.listed.iter().copied().min().flatten();
        let numbered = (0_u32..).zip(inner.shards.iter_mut());
        let complete = numbered.filter_map(|(shard, state)| match *state {
            State::Awaited(epoch) if slowest.is_some_and(|listed| listed >= epoch) => {
                *state = State::Known;
                Some(shard)
            }
            State::Awaited(_) | State::Foreign | State::Known => None,
        });
        complete.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for a namespace's shard; `None` where there are no shards.
fn of<'a, T>(shards: &'a [T], namespace: &str) -> Option<&'a T> {
    let count = u32::try_from(shards.len()).unwrap_or(u32::MAX);
    shards.get(usize::try_from(shard_of(namespace, count)).ok()?)
}

fn at<T>(shards: &mut [T], shard: u32) -> Option<&mut T> {
    shards.get_mut(usize::try_from(shard).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_shards_everything_is_known_and_kept() {
        let scope = Scope::new(1, 2);
        assert!(scope.is_known("shop") && scope.came(0));
        assert!(scope.listed(0, 0).is_empty());
        assert!(Kept::default().has("shop"));
    }

    #[test]
    fn a_shard_is_known_when_every_stream_has_listed_since_it_came() {
        let shard = shard_of("shop", 16);
        let scope = Scope::new(16, 2);
        // The lists of the start, when nothing was held, tell nothing.
        assert!(scope.listed(0, 0).is_empty() && scope.listed(1, 0).is_empty());
        assert!(!scope.came(shard));
        assert_eq!(scope.epoch(), 1);
        assert!(
            !scope.came(shard) && scope.epoch() == 1,
            "it is listed already"
        );
        assert!(scope.listed(0, 1).is_empty());
        assert!(scope.listed(1, 0).is_empty(), "a list that began before");
        assert!(!scope.is_known("shop"));
        assert_eq!(scope.listed(1, 1), [shard]);
        assert!(scope.is_known("shop") && scope.came(shard));
        // Others have to wait for a list of their own, and one that comes back waits again.
        let other = (shard + 1) % 16;
        assert!(!scope.came(other));
        scope.left(shard);
        assert!(!scope.is_known("shop"));
        assert!(!scope.came(shard));
        assert!(scope.listed(0, 2).is_empty());
        assert_eq!(scope.listed(1, 3), [other]);
        assert_eq!(scope.listed(0, 3), [shard]);
    }
}
