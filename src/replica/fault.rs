//! Deliberate faults of a replica: what the careless write, in each part once.

crate::faults! {
    /// A place in which a replica can be made to go wrong. Each says what happens then.
    pub enum Fault {
        // Saving and committing.
        /// Own change sets are pushed when they are saved, before their commit is through. If it
        /// never is, others have what its author has not.
        PushedBeforeCommit,
        /// What others have sent counts as stored when it is taken: its sender and whoever compares
        /// hear that it is here before its commit is through. After a crash it is not.
        MarkedBeforeCommit,
        /// A save is answered at once, whatever the durability. After a crash it may be gone.
        AcknowledgedBeforeCommit,
        /// A checkpoint is put out before the commit that has what it holds. A crash between them
        /// leaves a state that the journal does not explain, and that is not opened again.
        CheckpointAheadOfJournal,
        /// Of an own chain in a commit the first is sealed, not the last. The rest is not offered
        /// to others until something comes after it.
        EndUnsealed,
        /// A save names nothing that it depends on. Others show it without what its author saw.
        SeenUnnamed,
        /// An event is told twice.
        EventTwice,
        /// What comes from others is published, and no event tells of it.
        EventForgotten,

        // Opening.
        /// A life goes on under the newest origin of its own in the journal, at the number that it
        /// finds there. A backup that is put back, or a copied directory, gives numbers out that
        /// were given out before.
        SequenceReused,
        /// The clock begins with the time of day: neither the bound on disk nor the times in the
        /// journal are taken up. If it has been set back, ids fall, and others refuse them.
        ClockForgotten,
        /// What the journal has above the checkpoint counts as applied, and is not merged.
        TailUnmerged,
        /// Where origins end is forgotten at opening (M17): what comes after is taken then.
        EndsForgotten,

        // Admission.
        /// Seals are not looked at: whoever relays a change set can forge it.
        SealUnverified,
        /// Two histories under one origin are not noticed (M17): each keeps the one it has.
        ForkUnnoticed,
        /// What came from one who was no member yet is not asked for when it has become one.
        RefusedForGood,

        // Readiness.
        /// A change set is applied as soon as it is the next of its origin (M2).
        DependenciesUnchecked,
        /// What waits for a change set is not looked at again when that has been applied (M2).
        HeldNeverWoken,
        /// A change set from the future is applied at once (M16). Times here run ahead from then
        /// on, too.
        FutureApplied,
        /// A change set from the future waits (M16), but its time is taken over: what is saved here
        /// is from the future for the others.
        FutureMovesClock,

        // A clock that was far ahead.
        /// What is from the future by a clock that has been set right stays, and the replica goes on
        /// above it (M16). What it saves is held by everybody else.
        FutureKept,
        /// What has been closed is not saved again by the next life, if one has gone down amid that.
        AgainForgotten,

        // Gossip.
        /// The push window is of two ranges, and what does not fit counts as pushed. What was
        /// pushed is never told of again on that connection, since it is known to be there.
        DroppedOnFullQueue,
        /// Heads are compared on connecting alone: what is lost after that stays lost.
        NeverComparedAgain,
        /// A request that is not answered is waited for until the connection ends.
        RequestForgotten,
        /// After the clock has been set back, nothing happens until it is there again.
        SetBackUnnoticed,
    }
}
