//! Who is looked at next: each key at most once at a time, wakes at a time, back-off by key.
//!
//! kube's `Controller` is not used: it waits for its own store only (K11), one failing stream slows
//! all of them (K3), and it cannot hold turns back while leadership is elsewhere. What is needed
//! instead is this file.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::clock;

/// Shortest and longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A change is heard not later than this after a failure, unless the server asked for more time.
const LONGEST_DEAFNESS: Duration = Duration::from_secs(1);

/// How a turn ended, and when the next one is due without any change being seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing to do until something changes.
    Quiet,
    /// Look again at this time.
    At(Instant),
    /// Look again at once.
    Again,
    /// It failed: look again after a pause that doubles each time, not before the time given.
    Failed(Option<Instant>),
}

/// A key that belongs to one of several queues, by the names that dashboards know.
pub trait Queued {
    /// Name of its queue.
    fn queue(&self) -> &'static str;
}

/// Numbers of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Keys that wait for a turn now.
    pub depth: usize,
    /// Keys that were put in it so far.
    pub adds: u64,
    /// Keys that were put back after a failure so far.
    pub retries: u64,
}

/// A queue of keys.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<K> {
    entries: HashMap<K, Entry>,
    ready: VecDeque<K>,
    timers: BinaryHeap<Reverse<Timer<K>>>,
    count: u64,
    counts: BTreeMap<&'static str, QueueCounts>,
}

#[derive(Debug, Default)]
struct Entry {
    is_ready: bool,
    is_running: bool,
    is_woken: bool,
    failures: u32,
    /// The one timer that counts; older ones in the heap are passed over.
    due: Option<Instant>,
    /// Back-off: changes seen before this time wait for it.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Timer<K> {
    due: Instant,
    count: u64,
    key: K,
}

impl<K> PartialEq for Timer<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.count) == (other.due, other.count)
    }
}
impl<K> Eq for Timer<K> {}
impl<K> PartialOrd for Timer<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Timer<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.count).cmp(&(other.due, other.count))
    }
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                entries: HashMap::new(),
                ready: VecDeque::new(),
                timers: BinaryHeap::new(),
                count: 0,
                counts: BTreeMap::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Queued> Queue<K> {
    /// Something about the key changed: it is looked at as soon as it may be.
    pub fn wake(&self, key: &K) {
        let mut inner = self.lock();
        let entry = inner.entry(key);
        if entry.is_running {
            entry.is_woken = true;
            return;
        }
        match entry.not_before {
            Some(t) if t > clock::instant() => inner.set_timer(key, t),
            Some(_) | None => inner.make_ready(key),
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// The key is gone: its timers are dropped.
    pub fn forget(&self, key: &K) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(key) {
            entry.due = None;
            entry.failures = 0;
            entry.not_before = None;
            entry.is_woken = false;
            if !entry.is_running && !entry.is_ready {
                inner.entries.remove(key);
            }
        }
    }

    /// Waits for the next key that may run. The caller must call [`Queue::done`] for it.
    pub async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            let (key, due) = self.lock().take(clock::instant());
            if let Some(key) = key {
                return key;
            }
            match due {
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due.into()) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// A turn of this key ended.
    pub fn done(&self, key: &K, rest: Rest) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(key) else {
            return;
        };
        entry.is_running = false;
        let is_woken = std::mem::take(&mut entry.is_woken);
        let now = clock::instant();
        match rest {
            Rest::Failed(earliest) => {
                entry.failures = entry.failures.saturating_add(1);
                let pause = back_off(entry.failures);
                let due = earliest.map_or(now + pause, |t| t.max(now + pause));
                // A change (a person's abort, say) need not wait for all of a long pause.
                let soon = now + pause.min(LONGEST_DEAFNESS);
                let soon = earliest.map_or(soon, |t| t.max(soon));
                entry.not_before = Some(soon);
                // One that came while the turn ran has waited already.
                inner.set_timer(key, if is_woken { soon } else { due });
                let counts = inner.counts.entry(key.queue()).or_default();
                counts.retries = counts.retries.saturating_add(1);
            }
            Rest::Quiet | Rest::At(_) | Rest::Again => {
                entry.failures = 0;
                entry.not_before = None;
                let is_again = rest == Rest::Again || is_woken;
                match rest {
                    _ if is_again => inner.make_ready(key),
                    Rest::At(t) => inner.set_timer(key, t),
                    Rest::Quiet | Rest::Again | Rest::Failed(_) => {
                        inner.entries.remove(key);
                    }
                }
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Numbers of every queue that was ever used, by its name.
    pub fn counts(&self) -> BTreeMap<&'static str, QueueCounts> {
        let inner = self.lock();
        let mut counts = inner.counts.clone();
        for key in &inner.ready {
            counts.entry(key.queue()).or_default().depth += 1;
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash + Queued> Inner<K> {
    fn entry(&mut self, key: &K) -> &mut Entry {
        self.entries.entry(key.clone()).or_default()
    }

    fn make_ready(&mut self, key: &K) {
        let entry = self.entry(key);
        entry.due = None;
        if !entry.is_ready {
            entry.is_ready = true;
            self.ready.push_back(key.clone());
            let counts = self.counts.entry(key.queue()).or_default();
            counts.adds = counts.adds.saturating_add(1);
        }
    }

    fn set_timer(&mut self, key: &K, due: Instant) {
        let entry = self.entry(key);
        if entry.is_ready || entry.due.is_some_and(|old| old <= due) {
            return;
        }
        entry.due = Some(due);
        self.count = self.count.wrapping_add(1);
        let count = self.count;
        self.timers.push(Reverse(Timer {
            due,
            count,
            key: key.clone(),
        }));
        self.sweep();
    }

    /// Timers that were overtaken stay in the heap until their time; when they are most of it, they
    /// go, so that memory follows the number of keys.
    fn sweep(&mut self) {
        if self.timers.len() > 64 && self.timers.len() > self.entries.len().saturating_mul(4) {
            let entries = &self.entries;
            self.timers.retain(|Reverse(t)| {
                entries
                    .get(&t.key)
                    .is_some_and(|entry| entry.due == Some(t.due))
            });
        }
    }

    /// Takes the next key to run, or tells when the next timer is due.
    fn take(&mut self, now: Instant) -> (Option<K>, Option<Instant>) {
        while let Some(Reverse(timer)) = self.timers.peek() {
            if timer.due > now {
                break;
            }
            let Some(Reverse(timer)) = self.timers.pop() else {
                break;
            };
            let counts = self
                .entries
                .get(&timer.key)
                .is_some_and(|e| e.due == Some(timer.due));
            if counts {
                if let Some(entry) = self.entries.get_mut(&timer.key) {
                    entry.due = None;
                    if entry.is_running {
                        entry.is_woken = true;
                        continue;
                    }
                }
                self.make_ready(&timer.key);
            }
        }
        let key = self.ready.pop_front();
        if let Some(entry) = key.as_ref().and_then(|k| self.entries.get_mut(k)) {
            entry.is_ready = false;
            entry.is_running = true;
            entry.is_woken = false;
            entry.due = None;
        }
        (key, self.timers.peek().map(|Reverse(t)| t.due))
    }
}

/// 100 ms, 200 ms, … 30 s.
fn back_off(failures: u32) -> Duration {
    let factor = 1_u32
        .checked_shl(failures.saturating_sub(1).min(16))
        .unwrap_or(u32::MAX);
    BACK_OFF.0.saturating_mul(factor).min(BACK_OFF.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Queued for u8 {
        fn queue(&self) -> &'static str {
            "numbers"
        }
    }

    #[tokio::test]
    async fn a_queue_counts_what_waits_and_what_came_back() {
        let queue = Queue::default();
        queue.wake(&1);
        queue.wake(&1);
        queue.wake(&2);
        queue.next().await;
        queue.done(&1, Rest::Failed(None));
        let counts = QueueCounts {
            depth: 1,
            adds: 2,
            retries: 1,
        };
        assert_eq!(queue.counts()["numbers"], counts);
    }

    async fn is_idle(queue: &Queue<u8>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), queue.next())
            .await
            .is_err()
    }

    #[tokio::test]
    async fn a_key_runs_once_at_a_time_and_again_after_a_change_meanwhile() {
        let queue = Queue::default();
        queue.wake(&1);
        queue.wake(&1);
        assert_eq!(queue.next().await, 1);
        queue.wake(&1);
        assert!(is_idle(&queue).await, "the key is still running");
        queue.done(&1, Rest::Quiet);
        assert_eq!(queue.next().await, 1);
        queue.done(&1, Rest::Quiet);
        assert!(is_idle(&queue).await);
        assert!(
            queue.lock().entries.is_empty(),
            "a quiet key takes no memory"
        );
    }

    #[tokio::test]
    async fn a_wake_time_starts_a_turn_and_a_change_comes_before_it() {
        let queue = Queue::default();
        queue.wake(&1);
        queue.next().await;
        queue.done(&1, Rest::At(clock::instant() + Duration::from_millis(30)));
        assert_eq!(queue.next().await, 1);
        queue.done(&1, Rest::At(clock::instant() + Duration::from_secs(3600)));
        queue.wake(&1);
        assert_eq!(queue.next().await, 1);
    }

    #[tokio::test]
    async fn a_failed_key_waits_although_it_changes() {
        let queue = Queue::default();
        queue.wake(&1);
        queue.next().await;
        queue.done(&1, Rest::Failed(None));
        queue.wake(&1);
        assert!(is_idle(&queue).await);
        assert_eq!(queue.next().await, 1);
    }

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        assert_eq!(back_off(1), Duration::from_millis(100));
        assert_eq!(back_off(3), Duration::from_millis(400));
        assert_eq!(back_off(40), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_change_during_a_failing_turn_does_not_wait_for_a_long_pause() {
        let due_after = |is_woken: bool| {
            let queue = Queue::default();
            queue.wake(&1);
            let mut inner = queue.lock();
            inner.take(clock::instant());
            let entry = inner.entries.get_mut(&1).unwrap();
            (entry.failures, entry.is_woken) = (12, is_woken);
            drop(inner);
            queue.done(&1, Rest::Failed(None));
            let due = queue.lock().entries.get(&1).unwrap().due.unwrap();
            due.saturating_duration_since(clock::instant())
        };
        assert!(due_after(true) <= LONGEST_DEAFNESS);
        assert!(due_after(false) > Duration::from_secs(20));
    }

    #[tokio::test]
    async fn overtaken_timers_do_not_pile_up() {
        let queue = Queue::default();
        for _ in 0..1000 {
            queue.wake(&1);
            queue.next().await;
            queue.done(&1, Rest::At(clock::instant() + Duration::from_secs(3600)));
        }
        assert!(queue.lock().timers.len() <= 65);
    }
}
