//! Virtual time: a queue of what will happen, in order. Knows no kind of event and no real clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::{SignedDuration, Timestamp};

/// Milliseconds of virtual time.
pub type Ms = i64;

/// The hour at which every rehearsal begins: a whole second, so that times read well.
pub const EPOCH_SECONDS: i64 = 1_767_261_600;

/// When a rehearsal's world comes into being.
pub fn epoch() -> Timestamp {
    Timestamp::from_second(EPOCH_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `at` moved by `ms`, held within what a timestamp can say.
pub fn plus(at: Timestamp, ms: Ms) -> Timestamp {
    let moved = at.checked_add(SignedDuration::from_millis(ms));
    moved.unwrap_or(if ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Milliseconds from `from` to `to`; negative when `to` is earlier.
pub fn between(from: Timestamp, to: Timestamp) -> Ms {
    to.as_millisecond().saturating_sub(from.as_millisecond())
}

/// Events in the order of their time, and within one instant in the order in which they were put in.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Timestamp,
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    /// Nothing to come.
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next: 0,
        }
    }

    /// `event` will happen at `at`.
    pub fn push(&mut self, at: Timestamp, event: E) {
        let order = self.next;
        self.next += 1;
        self.heap.push(Reverse(Entry { at, order, event }));
    }

    /// As [`Queue::push`], unless the very event is to come at that instant already: a look at something
    /// that asks for the next one would else bring one more with every change, for ever.
    pub fn push_once(&mut self, at: Timestamp, event: E)
    where
        E: PartialEq,
    {
        if !self.pending().any(|(t, e)| t == at && *e == event) {
            self.push(at, event);
        }
    }

    /// Takes the earliest.
    pub fn pop(&mut self) -> Option<(Timestamp, E)> {
        self.heap
            .pop()
            .map(|Reverse(entry)| (entry.at, entry.event))
    }

    /// When the earliest happens.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// All that is to come, in no order.
    pub fn pending(&self) -> impl Iterator<Item = (Timestamp, &E)> {
        self.heap
            .iter()
            .map(|Reverse(entry)| (entry.at, &entry.event))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_instant_keep_their_order() {
        let mut queue = Queue::new();
        let t = epoch();
        queue.push(plus(t, 10), "later");
        queue.push(t, "first");
        queue.push(t, "second");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, e)| e).collect();
        assert_eq!(order, ["first", "second", "later"]);
    }
}
