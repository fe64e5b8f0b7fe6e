//! Deliberate faults of merging: `tests/it/mutations.rs` demands that the harness notices each.

crate::faults! {
    /// A place in which merging can be made to go wrong. Each says what happens then.
    pub enum Fault {
        // Structure (M6 to M9).
        /// A move below the node itself is not skipped.
        CycleUnchecked,
        /// A move into the trash is not skipped.
        TrashedTargetAccepted,
        /// That a move's target is trashed is looked at before the cycle.
        TrashBeforeCycle,
        /// The reason of a cycle is the oldest parent write on the way, not the newest.
        OldestReason,
        /// A removal hands nothing back.
        HandBackForgotten,
        /// A removal takes what its author believed elsewhere: (b) of M8 is missing.
        VainMoveForgotten,
        /// A skipped move counts for (b) of M8 though the node has moved since.
        VainMoveOutlives,
        /// What was handed back is not handed back again.
        HandBackOnlyOnce,
        /// A hand-back looks for a place beyond the first write that was seen.
        HandBackLooksOn,
        /// A hand-back in a trashed subtree looks for an earlier place.
        HandBackOutOfTrash,
        /// Of what is handed back the farthest goes first.
        FarthestFirst,
        /// A removal removes what is itself in the trash.
        RemovedAgain,
        /// A removal leaves alone what is trashed through an ancestor.
        BuriedIgnored,
        /// What comes back keeps its children.
        ComeBackKeepsChildren,
        /// What comes back keeps its older properties.
        ComeBackKeepsProperties,
        /// An equal add under a trashed parent brings its node back.
        ComeBackInTrash,
        /// A rename in a move is not written.
        MoveForgetsName,

        // Stamps (M3).
        /// The writes of one change set to a register count as one: the first that comes.
        IndexIgnored,
        /// Of two writes to a register at one time that which came later counts, whoever made it.
        OriginIgnored,
        /// Of two names given at one time that which came later counts.
        NameOriginIgnored,

        // Evaluating again.
        /// What was skipped once stays skipped.
        SkippedForGood,
        /// Removals are evaluated once.
        RemovalsOnce,
        /// The reach ends at the node's next parent write, whatever lies before that.
        ReachEndsEarly,
        /// An operation leaves no trace of what it has looked at.
        TouchForgotten,
        /// An all-or-nothing change set leaves no trace of the names that it has looked at.
        NameTouchForgotten,
        /// A child that comes late to a node that was emptied since stays.
        EmptiedUnfollowed,
        /// What was done with a node whose maker is voided is not looked at again.
        UnknownUnfollowed,
        /// What an operation did to other nodes than its own stays when it is evaluated again.
        OldEffectsStay,
        /// What evaluating again has come to is not noted for the next time.
        RevisionUnrecorded,
        /// Only the first change set that is to be evaluated again is.
        OnlyOneAgain,

        // Registers (M4, M5).
        /// An inc on an unset counts what was there before.
        UnsetShinesThrough,
        /// A set does not take the place of the incs under it.
        IncsStay,
        /// Sums are clamped at every inc, not when they are read.
        ClampedEarly,
        /// A late set among the older writes of a register does not change their sum.
        SumStale,
        /// A late inc among the older writes of a register is not added to their sum.
        LateIncForgotten,

        // All or nothing (M13).
        /// Only the operation that fails is dropped.
        OnlyFailingDropped,
        /// A change set that was voided once stays so.
        VoidedForGood,
        /// A voided change set keeps its values.
        ValuesStay,
        /// A voided change set keeps its moves, adds and removals.
        StructureStays,
        /// A change set that is voided no more does not get its values back.
        ValuesNotGivenBack,
        /// A name clash voids nothing.
        ClashVoidsNothing,
        /// An edit of something trashed voids nothing.
        TrashedEditVoidsNothing,

        // Conflicts (M14).
        /// What was lost is reported, though it had been seen.
        SeenReported,
        /// Conflicts are not retracted when their cause goes.
        ConflictStays,
        /// An edit that comes under a removal late is not reported.
        LateEditUnreported,
        /// A removal that comes late reports nothing of what it takes along.
        LateRemovalUnreported,
        /// An edit that lands in the trash is not reported.
        LandingUnreported,
        /// What an edit that is taken back had lost stays reported.
        DeedStays,
        /// What was lost with a node stays reported though it is live again.
        LostForGood,
        /// What was lost with a node is not reported any more once that comes back empty.
        LostForgottenOnComeBack,
        /// A voided change set is not reported.
        VoidingUnreported,
        /// A set on top of several incs reports only the newest.
        OnlyNewestLost,
        /// An operation on an unknown node is reported although it is known now.
        UnknownStays,
        /// Dismissed conflicts are listed.
        DismissedListed,
        /// A voided change set keeps its dismissals.
        DismissalStays,
        /// A clash is laid to the hand-back, not to the move that was handed back.
        ClashLaidToRemover,

        // Seen (M2).
        /// What was seen through others does not count.
        IndirectForgotten,
        /// What was seen through a change set that is not its origin's newest does not count.
        OlderForgotten,
        /// The frontier keeps what is seen through what it names.
        FrontierKeepsSeen,

        // Names and order (M10, M11).
        /// The plain name goes to the smallest id.
        ClashWonById,
        /// An ordered child is not found among those of its name.
        OrderedUnnamed,
        /// An order key that was written before its node was there counts.
        EarlyOrderCounts,

        // What is told.
        /// The digest keeps the values that were.
        DigestKeepsValues,
        /// The digest keeps the moves that were taken out.
        DigestKeepsParents,
        /// Who watches is not told of moves.
        MoveUntold,
        /// Who watches is not told of properties that are empty now.
        EmptyingUntold,
        /// The author is not told that his change set stands again.
        StandingUntold,

        // The store.
        /// Records that are gone stay in the store.
        CheckpointKeepsRemoved,
        /// A restart forgets what is known of the whole repository but its digest.
        RestartForgetsMeta,
        /// A checkpoint on its way to the store hides what came since.
        CheckpointHidesNewer,
        /// Records that were read stay in memory as they were.
        CacheStale,
        /// What a path led to stays in memory as it was.
        PathsStale,
        /// A snapshot shows what came after it.
        SnapshotMoves,
    }
}
