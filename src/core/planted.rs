//! Faults that are planted on purpose, to prove that the simulator finds them.
//!
//! Owns the list and the switch. What always holds: one thread runs one simulated cluster, and all its members have the
//! same fault, or none; no struct, constructor or argument of the product knows of faults; outside the simulation
//! [`has`] is false at compile time, and nothing of a fault is in the library (`tests/it/planted.rs`).

/// Makes the list an enum and a constant.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake that a system of this kind can make.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(
            not(any(test, feature = "simulation")),
            expect(dead_code, reason = "some show in the simulator alone")
        )]
        pub(crate) enum Fault {
            $($(#[$doc])* $name,)*
        }

        #[cfg(test)]
        impl Fault {
            /// Every fault.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    // Durability: what must be on disk before something leaves or is forgotten.
    /// Entries are acknowledged to the leader before they are synced.
    AcknowledgeBeforeSync,
    /// A vote leaves before it is synced.
    VoteBeforeSync,
    /// Heartbeats and the answers to them leave before the term that they name is synced.
    HeartbeatBeforeItsTerm,
    /// A sync that failed is tried again.
    SyncErrorRetried,
    /// Data and applied index go into the engine in two batches.
    AppliedIndexApart,
    /// The log is truncated up to what is applied, flushed or not.
    TruncatedAboveFlushed,
    /// A membership change is applied before its commit is synced.
    ConfChangeBeforeCommitSync,

    // Leases and clocks.
    /// A lease begins when the acknowledgement arrives, not when the proposal left.
    LeaseFromAcknowledgement,
    /// A lease is as long as if all clocks ran at the same rate.
    LeaseIgnoresClockRates,
    /// A lease stays valid after the TimeoutNow has left.
    LeaseKeptAfterTransfer,
    /// After a transfer that came to nothing a lease is confirmed by members whose logs have not grown since.
    LeaseConfirmedByShorterLogs,
    /// The lease is looked at before the view is taken and not again.
    ViewWithoutSecondLook,
    /// Ticks are processed behind the messages of their round.
    TicksAfterMessages,

    // Elections and transfers.
    /// A TimeoutNow is obeyed however late it comes.
    LateTimeoutNowAccepted,
    /// Whoever obeys a TimeoutNow skips the time in which members refuse votes, also where a log is ahead of its
    /// own.
    ForceOfShorterLogsObeyed,
    /// A follower lets a late answer of a later term make it forget its leader.
    LateAnswersObeyedByFollowers,
    /// A member of a new cluster whose other members do not come asks for a first leader without a pause.
    FirstLeaderAskedForForEver,
    /// A leader leads on although its engine stands still.
    StalledLeaderStays,

    // A member whose log lost its end.
    /// A member whose log lost its end votes as if nothing had happened.
    LostEndIgnored,
    /// A leader goes on counting what an earlier boot of a member acknowledged.
    EarlierBootsCounted,

    // Replication.
    /// A leader that has sent a member all that its window holds waits until it hears of it.
    FullWindowNotAskedAfter,
    /// A late rejection leads a leader back to entries that are truncated.
    LateRejectionsObeyed,
    /// Followers are told of commits that the leader has not applied.
    FullCommitTold,
    /// A leader's answer to a vote carries its whole commit index.
    CommitInVoteAnswer,

    // Reads.
    /// A leader answers reads before it applied an entry of its term.
    ReadBeforeFirstEntry,
    /// A leader that loses its leadership takes its open reads for confirmed.
    ReadPreferredOverLeaderChange,
    /// While the applier is behind, in whatever region, questions about reads are dropped and their answers too.
    ReadsDroppedBehindOthers,
    /// A local read does not wait for the index that its caller knows of.
    MinIndexIgnored,
    /// A question to the quorum is asked again under the same id, and taken again.
    QuestionAskedAgainUnderItsId,

    // Proposals, their answers and their order.
    /// Proposals are found by their index, whatever the term.
    ProposalsByIndexAlone,
    /// At its deadline a write in the log is answered "not applied".
    InFlightReportedNotApplied,
    /// Open writes are forgotten when a leader steps down.
    CompletionDroppedOnStepDown,
    /// At its end a peer answers what it has answered before.
    CompletionTwiceAtClose,
    /// A write that its caller cancelled before it began goes on.
    CancelledWriteGoesOn,
    /// Deadlines are kept by rounds alone.
    DeadlinesKeptByRounds,
    /// An applier that has yielded takes newer entries before the rest.
    NewerBeforeTheRest,

    // Forwarded writes.
    /// A refused forwarded write is tried again behind later ones.
    ForwardedRetryOvertakes,
    /// What raft does not take of a follower's writes waits on behind newer ones.
    RefusedWriteGoesBehind,
    /// What was forwarded goes again as soon as another leader is known.
    ResentBeforeTheFence,
    /// What was forwarded goes again once an entry of a later term is in this member's log, committed or not.
    FenceFromAnUncommittedEntry,
    /// A leader that leads again proposes what it accepted in an earlier term.
    ProposedInALaterTerm,
    /// A leader takes what an attempt brings late that it has refused.
    RefusedAttemptGoesOn,
    /// A member takes a late refusal of an older attempt for one of its newest.
    OlderAttemptRefusesNewer,
    /// Verdicts on forwarded writes are told as they come.
    VerdictsOutOfOrder,
    /// A leader proposes what is sent to it again, whatever its log has.
    ResendWithoutASearch,
    /// What a leader refuses goes again at once, though it may be in a log from earlier terms.
    RefusedResendGoesAgain,
    /// A member that votes in a term of which it knew the leader takes the candidate for one that may win.
    LosersAreSentWrites,
    /// What is sent again is looked for only in what the leader has not applied.
    SearchAboveTheApplied,
    /// A former leader tells another member of a position at which its write does not stand.
    OverwrittenWriteAnswered,
    /// A member takes the verdict on a write of an earlier boot for that on its own of the same number.
    VerdictOfTheWrongCopy,

    // Members of two builds.
    /// Writes with conditions are proposed before every member knows them.
    ConditionsBelowTheirLevel,
    /// The level rises when a majority of the members knows it.
    LevelOfAMajority,
    /// The entry that raises the level shares its engine batch with writes.
    LevelSharesItsBatch,

    // Conditional writes.
    /// Conditions are judged on the engine as it was when their entry was handed over.
    ConditionJudgedAtPropose,
    /// Conditions do not see the earlier writes of their engine batch.
    OverlayForgotten,
    /// Conditions do not see which ranges earlier writes of their engine batch deleted.
    OverlayWithoutRanges,
    /// In an engine batch of several regions, conditions see the writes of the first one alone.
    OverlayOfAnotherRegion,
    /// A transaction does not remember what its iterators walked over.
    WalksForgotten,
    /// What was deleted in the same engine batch still counts in a range.
    RangeDigestWithoutDeletes,
    /// The other list is done as well.
    ElseListAppliedToo,
    /// A refused write gives the key of its condition a new version.
    RefusedBatchBumpsVersion,
    /// The versions of an entry's conditional writes do not count those before them.
    TrailerWithWrongOrdinal,
    /// raft does not hear that the sending of a snapshot has ended.
    SnapshotEndNotTold,
    /// The log behind a snapshot is truncated while the snapshot is under way.
    LogNotKeptForASnapshot,
    /// A member that takes in a snapshot answers reads.
    ReadWhileInstalling,
    /// What a snapshot has taken the place of counts as overwritten, and is proposed again.
    OverwrittenBelowASnapshot,
    /// Forwarded writes that may stand in skipped entries count as in no log once an entry of a later term is applied.
    ForwardedBelowASnapshotGoAgain,
    /// A member that starts while a snapshot is installed goes on with what its engine shows.
    PendingInstallForgotten,
    /// What is staged is removed when it is installed, before the engine has flushed that.
    StagedRemovedTooEarly,

    // Members that come and go.
    /// A region follows an older list of members than it has followed before.
    OlderListObeyed,
    /// A member is given a vote before it has the data.
    VoterBeforeItCaughtUp,
    /// Whom a member's own configuration does not have is turned away.
    StrangersTurnedAway,
    /// The first region drops a member before the others have.
    KeptByOthersIgnored,
    /// The first region drops a member although its leader does not know who is part of another by now.
    KeptUnknownIgnored,
    /// What a leader was told of other regions by an earlier list counts for the next one.
    KeptOutlivesItsList,
    /// A leader that has applied its own removal leads on.
    RemovedLeaderStays,
    /// A member that has joined answers reads before it was given any data.
    ReadBeforeTheData,
}

#[cfg(any(test, feature = "simulation"))]
impl Fault {
    /// True when it shows only while members of two builds are in one cluster.
    #[must_use]
    pub(crate) fn is_of_builds(self) -> bool {
        (Self::ConditionsBelowTheirLevel..=Self::LevelSharesItsBatch).contains(&self)
    }

    /// True when it shows only where members are so far behind that they need raft snapshots.
    #[must_use]
    pub(crate) fn is_of_snapshots(self) -> bool {
        (Self::SnapshotEndNotTold..=Self::StagedRemovedTooEarly).contains(&self)
    }

    /// True when it shows only where members come and go.
    #[must_use]
    pub(crate) fn is_of_members(self) -> bool {
        self >= Self::OlderListObeyed
    }

    /// True when it shows only in conditional writes.
    #[must_use]
    pub(crate) fn is_of_conditions(self) -> bool {
        (Self::ConditionJudgedAtPropose..Self::SnapshotEndNotTold).contains(&self)
    }
}

/// Whether the members that this thread simulates have any fault.
#[cfg(any(test, feature = "simulation"))]
#[must_use]
pub(crate) fn is_any() -> bool {
    simulation::planted().is_some()
}

/// Whether the members that this thread simulates have `fault`.
#[cfg(any(test, feature = "simulation"))]
#[must_use]
pub(crate) fn has(fault: Fault) -> bool {
    simulation::planted() == Some(fault)
}

/// Whether the fault is planted: never, outside the simulation.
#[cfg(not(any(test, feature = "simulation")))]
#[inline]
#[must_use]
pub(crate) const fn has(_: Fault) -> bool {
    false
}

/// Whether any fault is planted: never, outside the simulation.
#[cfg(not(any(test, feature = "simulation")))]
#[inline]
#[must_use]
pub(crate) const fn is_any() -> bool {
    false
}

#[cfg(any(test, feature = "simulation"))]
pub(crate) use self::simulation::with;

#[cfg(any(test, feature = "simulation"))]
mod simulation {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// The fault of the members that this thread simulates.
    #[must_use]
    pub(crate) fn planted() -> Option<Fault> {
        PLANTED.get()
    }

    /// Runs a simulation whose members have `fault`, or none.
    pub(crate) fn with<T>(fault: Option<Fault>, simulate: impl FnOnce() -> T) -> T {
        struct Restored(Option<Fault>);

        impl Drop for Restored {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }

        let _restored = Restored(PLANTED.replace(fault));
        simulate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_planted_for_its_time() {
        with(Some(Fault::LostEndIgnored), || {
            assert!(has(Fault::LostEndIgnored) && !has(Fault::VoteBeforeSync));
        });

        assert!(!is_any());
    }

    #[test]
    fn a_simulation_that_panics_leaves_no_fault_behind() {
        let panicked = std::panic::catch_unwind(|| with(Some(Fault::VoteBeforeSync), || panic!("found")));

        assert!(panicked.is_err());
        assert!(!is_any());
    }
}
