//! Deliberate faults of a receiver, for the test of the tests.

use std::cell::Cell;

/// A way in which a [`super::Receiver`] can be made to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverFault {
    /// A change set is merged as soon as it is the next of its origin, whatever it depends on.
    BeforeDependencies,
    /// What waits counts as applied for what depends on it.
    HeldCountsAsApplied,
    /// What waits counts as applied, and is never merged.
    HeldForgotten,
    /// A change set that comes again while it waits pushes out another.
    AgainPushesOut,
    /// A change set that was merged is merged again when it comes again.
    MergedAgain,
}

thread_local! {
    static ON: Cell<Option<ReceiverFault>> = const { Cell::new(None) };
}

impl ReceiverFault {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::BeforeDependencies,
        Self::HeldCountsAsApplied,
        Self::HeldForgotten,
        Self::AgainPushesOut,
        Self::MergedAgain,
    ];

    /// Has something done with this fault, on this thread, until it returns or panics.
    ///
    /// # Panics
    /// If one is on already.
    pub fn with<T>(self, act: impl FnOnce() -> T) -> T {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(None);
            }
        }
        assert_eq!(ON.get(), None, "one fault at a time");
        ON.set(Some(self));
        let _off = Off;
        act()
    }

    /// The fault that is on, on this thread.
    pub fn current() -> Option<Self> {
        ON.get()
    }

    pub(super) fn is_on(self) -> bool {
        ON.get() == Some(self)
    }
}
