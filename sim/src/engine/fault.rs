//! Deliberate faults of a receiver: leveret's tests demand that the harness notices each.

leveret::faults! {
    /// A way in which a receiver can be made to go wrong.
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
}
