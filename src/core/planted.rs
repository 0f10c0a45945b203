//! Faults that are planted on purpose, to prove that the simulator finds them.
//!
//! Owns the list. What always holds: outside the simulation no fault can be planted, and every question here is
//! answered "no" at compile time.

/// A mistake that a system of this kind can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Entries are acknowledged to the leader before they are synced.
    AcknowledgeBeforeSync,
    /// A vote leaves before it is synced.
    VoteBeforeSync,
    /// A lease begins when the acknowledgement arrives, not when the proposal left.
    LeaseFromAcknowledgement,
    /// A lease is as long as if all clocks ran at the same rate.
    LeaseIgnoresClockRates,
    /// A lease stays valid after the TimeoutNow has left.
    LeaseKeptAfterTransfer,
    /// A TimeoutNow is obeyed however late it comes.
    LateTimeoutNowAccepted,
    /// The lease is looked at before the view is taken and not again.
    ViewWithoutSecondLook,
    /// A leader answers reads before it applied an entry of its term.
    ReadBeforeFirstEntry,
    /// A leader that loses its leadership takes its open reads for confirmed.
    ReadPreferredOverLeaderChange,
    /// Followers are told of commits that the leader has not applied.
    FullCommitTold,
    /// A leader's answer to a vote carries its whole commit index.
    CommitInVoteAnswer,
    /// Proposals are found by their index, whatever the term.
    ProposalsByIndexAlone,
    /// At its deadline a write in the log is answered "not applied".
    InFlightReportedNotApplied,
    /// Open writes are forgotten when a leader steps down.
    CompletionDroppedOnStepDown,
    /// At its end a peer answers what it has answered before.
    CompletionTwiceAtClose,
    /// Data and applied index go into the engine in two batches.
    AppliedIndexApart,
    /// The log is truncated up to what is applied, flushed or not.
    TruncatedAboveFlushed,
    /// A membership change is applied before its commit is synced.
    ConfChangeBeforeCommitSync,
    /// A refused forwarded write is tried again behind later ones.
    ForwardedRetryOvertakes,
    /// Ticks are processed behind the messages of their round.
    TicksAfterMessages,
    /// A sync that failed is tried again.
    SyncErrorRetried,
    /// Whoever obeys a TimeoutNow skips the time in which members refuse votes, also where a log is ahead of its
    /// own.
    ForceOfShorterLogsObeyed,
    /// After a transfer that came to nothing a lease is confirmed by members whose logs have not grown since.
    LeaseConfirmedByShorterLogs,
    /// A follower lets a late answer of a later term make it forget its leader.
    LateAnswersObeyedByFollowers,
    /// A late rejection leads a leader back to entries that are truncated.
    LateRejectionsObeyed,
    /// What raft does not take of a follower's writes waits on behind newer ones.
    RefusedWriteGoesBehind,
    /// A write that its caller cancelled before it began goes on.
    CancelledWriteGoesOn,
    /// A question to the quorum is asked again under the same id, and taken again.
    QuestionAskedAgainUnderItsId,
    /// A member whose log lost its end votes as if nothing had happened.
    LostEndIgnored,
    /// A leader goes on counting what an earlier boot of a member acknowledged.
    EarlierBootsCounted,
    /// While the applier is behind, in whatever region, questions about reads are dropped and their answers too.
    ReadsDroppedBehindOthers,
    /// A leader leads on although its engine stands still.
    StalledLeaderStays,
    /// An applier that has yielded takes newer entries before the rest.
    NewerBeforeTheRest,
    /// A member of a new cluster whose other members do not come asks for a first leader without a pause.
    FirstLeaderAskedForForEver,
    /// Nobody keeps deadlines but whoever turns the crank, when it turns.
    DeadlinesKeptByTheCrank,
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
    /// A former leader tells another member of a position at which its write does not stand.
    OverwrittenWriteAnswered,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 42] = [
        Self::AcknowledgeBeforeSync,
        Self::VoteBeforeSync,
        Self::LeaseFromAcknowledgement,
        Self::LeaseIgnoresClockRates,
        Self::LeaseKeptAfterTransfer,
        Self::LateTimeoutNowAccepted,
        Self::ViewWithoutSecondLook,
        Self::ReadBeforeFirstEntry,
        Self::ReadPreferredOverLeaderChange,
        Self::FullCommitTold,
        Self::CommitInVoteAnswer,
        Self::ProposalsByIndexAlone,
        Self::InFlightReportedNotApplied,
        Self::CompletionDroppedOnStepDown,
        Self::CompletionTwiceAtClose,
        Self::AppliedIndexApart,
        Self::TruncatedAboveFlushed,
        Self::ConfChangeBeforeCommitSync,
        Self::ForwardedRetryOvertakes,
        Self::TicksAfterMessages,
        Self::SyncErrorRetried,
        Self::ForceOfShorterLogsObeyed,
        Self::LeaseConfirmedByShorterLogs,
        Self::LateAnswersObeyedByFollowers,
        Self::LateRejectionsObeyed,
        Self::RefusedWriteGoesBehind,
        Self::CancelledWriteGoesOn,
        Self::QuestionAskedAgainUnderItsId,
        Self::LostEndIgnored,
        Self::EarlierBootsCounted,
        Self::ReadsDroppedBehindOthers,
        Self::StalledLeaderStays,
        Self::NewerBeforeTheRest,
        Self::FirstLeaderAskedForForEver,
        Self::DeadlinesKeptByTheCrank,
        Self::ResentBeforeTheFence,
        Self::FenceFromAnUncommittedEntry,
        Self::ProposedInALaterTerm,
        Self::RefusedAttemptGoesOn,
        Self::OlderAttemptRefusesNewer,
        Self::VerdictsOutOfOrder,
        Self::OverwrittenWriteAnswered,
    ];
}

/// Which fault a member has, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(any(test, feature = "simulation"))]
    fault: Option<Fault>,
}

impl Planted {
    /// What every member has in production.
    pub const NONE: Self = Self {
        #[cfg(any(test, feature = "simulation"))]
        fault: None,
    };

    /// A member with one fault.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub const fn one(fault: Fault) -> Self {
        Self { fault: Some(fault) }
    }

    /// Whether this member has `fault`.
    #[cfg(any(test, feature = "simulation"))]
    #[inline]
    #[must_use]
    pub fn has(self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether this member has the fault: never, outside the simulation.
    #[cfg(not(any(test, feature = "simulation")))]
    #[inline]
    #[must_use]
    pub const fn has(self, _: Fault) -> bool {
        false
    }
}
