//! A peer that takes in a raft snapshot.
//!
//! Owns the way of a snapshot from its arrival to the report that its data are in the engine. What always holds: the
//! snapshot decides once the round's append has made the log begin anew behind it, and never before; from then until the
//! report the peer answers no read, does not campaign and obeys no TimeoutNow, for its engine has nothing that it could
//! show, and one snapshot is taken in at a time. It votes, and takes entries: its log is whole.
//!
//! ```text
//!   Input::Staged -> raft -> append: log begins anew -> applier: region emptied, files linked -> report
//!                                    |<------------------- installing ------------------------->|
//! ```
//! The entries between what this member has applied and the snapshot never pass here. So of a write that may stand in one
//! of them nothing is known, except what its leader says ([`Peer::lose_sight`]).

use super::{Peer, callers};
use crate::core::planted::{self, Fault};
use crate::core::ports::Errand;
use crate::core::proposals::Skipped;
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage};
use crate::error::Code;
use crate::types::ApplyState;

/// How far a snapshot has come.
#[derive(Debug, Default)]
pub(super) enum Installing {
    /// There is none.
    #[default]
    Nothing,
    /// raft has it; the log on disk does not begin behind it yet.
    Taken(Box<SnapshotHead>),
    /// The log begins behind it, and the engine does not have it yet.
    Pending(ApplyState),
}

impl Peer {
    /// True while the engine has less than the log begins with.
    #[must_use]
    pub(crate) fn is_installing(&self) -> bool {
        !matches!(self.incoming.installing, Installing::Nothing)
    }

    /// True from when raft has a snapshot until the log begins anew behind it, in the same round.
    pub(super) fn has_taken_snapshot(&self) -> bool {
        matches!(self.incoming.installing, Installing::Taken(_))
    }

    /// True as long as this member, which has joined the cluster, was given nothing of the region.
    #[must_use]
    pub(crate) fn lacks_data(&self) -> bool {
        self.region.lacks_data()
    }

    /// True while this peer must not lead.
    pub(super) fn must_not_lead(&self) -> bool {
        self.lacks_end() || self.is_installing() || self.lacks_data()
    }

    /// A raft snapshot has arrived, and its data are staged.
    pub(super) fn on_staged(&mut self, mut message: SnapshotMessage) {
        let state = message.head.state;
        if self.is_installing() || !self.is_fit(&message) {
            return self.discard(state);
        }
        self.restamp(&mut message);
        let told = message.to_raft();
        // An error here is raft's way to say that it ignored the message.
        let _ = self.raw.step(told);
        let taken = self.raw.raft.raft_log.unstable_snapshot().as_ref();
        if taken.is_none_or(|taken| taken.get_metadata().index != state.index.get()) {
            return self.discard(state);
        }
        assert!(state.index > self.apply.index(), "raft takes what shows more than was applied");
        self.verify_up_to(message.term, (state.index, state.term));
        self.region = message.head.region.clone();
        self.on_region_replaced();
        self.incoming.installing = Installing::Taken(Box::new(message.head));
    }

    /// Whether a snapshot is one of this region that raft can do something with. raft has no error for it.
    fn is_fit(&self, message: &SnapshotMessage) -> bool {
        let SnapshotMessage { from, to, term, head } = message;
        let (own, theirs) = (&self.region, &head.region);
        let is_of_this_region = (own.id, own.epoch.version) == (theirs.id, theirs.epoch.version)
            && (&own.start_key, &own.end_key) == (&theirs.start_key, &theirs.end_key);
        let knows_sender =
            self.is_known(*from, *to) || (*to == self.options.node && theirs.has_member(*from));
        is_of_this_region
            && knows_sender
            && head.is_possible()
            && theirs.level <= self.options.known_level
            && head.state.term <= *term
    }

    /// A snapshot that a leader of an earlier term began to send is as good as one of the leader of this term: it shows
    /// what is committed, and that leader has it.
    fn restamp(&self, message: &mut SnapshotMessage) {
        if let Some(leader) = self.leader().filter(|leader| *leader != self.options.node)
            && message.term < self.term()
        {
            (message.from, message.term) = (leader, self.term());
        }
    }

    /// The log on disk begins behind the snapshot that raft has taken, if it has. What the applier is to do.
    pub(super) fn restore(&mut self) -> Option<Box<SnapshotHead>> {
        if !self.has_taken_snapshot() {
            return None;
        }
        let Installing::Taken(head) = std::mem::take(&mut self.incoming.installing) else {
            unreachable!("just seen")
        };
        assert!(!self.is_leader(), "who takes in a snapshot follows");
        assert_eq!(head.region, self.region, "the region is its since raft took it");
        log::info!(
            "region {}: the log begins anew behind entry {}; the data up to there come with a raft snapshot",
            self.region.id,
            head.state.index
        );
        self.note_superseded();
        self.raw.mut_store().restore(&head);
        self.lose_sight(head.state);
        self.apply.restore(head.state.index);
        self.incoming.installing = Installing::Pending(head.state);
        Some(head)
    }

    /// The snapshot that this peer begins with: its log does, and its engine has less. Nobody may look at what that has,
    /// from before the first reader on.
    pub(super) fn begin_with(&mut self, head: &SnapshotHead) {
        assert!(head.state.index > self.apply.index(), "the engine has less than the log begins behind");
        assert_eq!(head.region, self.region, "the peer begins with the region of the snapshot");
        self.published_lease().begin_replacement();
        self.apply.restore(head.state.index);
        self.incoming.installing = Installing::Pending(head.state);
    }

    /// The engine shows the snapshot, and maybe more.
    pub(super) fn on_installed(&mut self, state: ApplyState) {
        let Installing::Pending(pending) = self.incoming.installing else {
            unreachable!("the applier installs what it was handed");
        };
        assert!(state.index >= pending.index, "the engine shows the snapshot at least");
        let are_there = self.published_lease().data().is_some();
        assert!(are_there, "callers may look before they are told, or they would ask again and again");
        self.incoming.installing = Installing::Nothing;
        if planted::has(Fault::StagedRemovedTooEarly) {
            self.leadership.sending.ask(Errand::Discard(self.region.id, pending));
        }
    }

    /// Entries up to `state` are skipped, and with them the outcomes of the writes that may stand in them.
    fn lose_sight(&mut self, state: ApplyState) {
        let Skipped { mut unknown, mut overwritten } =
            self.writes.proposals.skip_to((state.term, state.index));
        if planted::has(Fault::OverwrittenBelowASnapshot) {
            overwritten.splice(..0, std::mem::take(&mut unknown));
        }
        assert!(self.apply.index() < state.index, "something is skipped");
        let count = unknown.len();
        let own: Vec<_> = callers(unknown.into_iter().map(|it| it.requester)).collect();
        self.writes.attempts.forget(count - own.len());
        self.answer_all(own.into_iter(), Code::SkippedInFlight);
        self.requeue_overwritten(overwritten);
        let heard = self.writes.forwarder.on_skipped(state.term);
        self.act_on_heard(heard);
    }

    /// Nobody needs what is staged at `state`, unless this peer has taken it in and its engine has not flushed it.
    fn discard(&mut self, state: ApplyState) {
        let is_taken = match &self.incoming.installing {
            Installing::Nothing => {
                self.raw.store().truncated() == (state.index, state.term) && !self.has_flushed(state.index)
            }
            Installing::Taken(head) => head.state == state,
            Installing::Pending(pending) => *pending == state,
        };
        if is_taken {
            return;
        }
        self.leadership.sending.ask(Errand::Discard(self.region.id, state));
    }
}
