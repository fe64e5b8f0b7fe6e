//! What is to happen, by virtual time; what falls on one instant happens in the order in which it
//! was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

/// A virtual time, in microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// So many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// Whole milliseconds, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// This time and so many microseconds more.
    #[must_use]
    pub const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This time and so much more.
    #[must_use]
    pub const fn after(self, other: Self) -> Self {
        self.plus(other.0)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

struct Entry<T> {
    at: Micros,
    serial: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// The queue of a world.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    serial: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Plans something.
    pub(crate) fn push(&mut self, at: Micros, what: T) {
        self.serial += 1;
        self.heap.push(Reverse(Entry {
            at,
            serial: self.serial,
            what,
        }));
    }

    /// Takes out what is next, unless that is after `until`.
    pub(super) fn pop(&mut self, until: Micros) -> Option<(Micros, T)> {
        if self.heap.peek()?.0.at > until {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planned_first_for_an_instant_happens_first() {
        let mut queue = Queue::new();
        queue.push(Micros(2), "c");
        queue.push(Micros(1), "a");
        queue.push(Micros(1), "b");
        queue.push(Micros(9), "later");
        let mut order = Vec::new();
        while let Some((_, what)) = queue.pop(Micros(2)) {
            order.push(what);
        }
        assert_eq!(order, ["a", "b", "c"]);
    }
}
