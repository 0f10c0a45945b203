//! The deterministic heart: what a replicated store decides, without touching the world.
//!
//! # What a peer is
//! A [`peer::Peer`] is one region's replica on one store. It wraps a raft node and keeps everything that waits for it:
//! proposals for their entries to commit, reads for a read index. It is fed inputs and asked for effects; it does no
//! I/O, reads no clock, starts no thread, has no lock of its own and no randomness ([`elections`] puts a number that
//! follows from a seed in the place of raft's random one).
//!
//! # Life of a write
//! The caller encodes a [`command`] and pushes it into the mailbox. The round hands the writes of all callers to raft
//! in one step and remembers each as a [`proposals::Proposal`] under (term, index), with the clock of that moment.
//! [`round`] sends the appends and makes the entries durable with those of all other peers in one sync; followers do
//! the same, then acknowledge. When a quorum has the entries, they are committed, find their proposals and go to the
//! [`applier`], which turns them into one engine batch together with the new apply state. After the engine took the
//! batch the peer learns its applied index, and then the callers are answered, in log order.
//!
//! On a follower the write gets a number and goes to the leader ([`forwarding`]). The leader's entry is
//! [tagged](forwarding::tags) with the number, so that the follower learns the outcome from the leader or from its own
//! log, whichever is first. A write is sent again only when it certainly stands in no log.
//!
//! # Life of a read
//! On a leader with a [`lease`] a caller reads on its own thread, or its peer answers at once: nobody else can lead.
//! Else a linearizable read joins the others of its round in [`reads`]. They share one read index: the leader confirms
//! with a quorum that it still leads, a follower asks its leader to. A leader then answers at once, because it has
//! applied an entry of its own term: nothing any member could have shown or acknowledged is missing from its state; a
//! follower answers when it has applied up to the read index. The answer is the permission to look; the view is taken
//! after it.
//!
//! # What always holds
//! - A write is acknowledged after one of two members has applied it: the one that proposed it, or the one that
//!   forwarded it and finds it in its own log.
//! - A follower is told of no commit beyond its leader's applied index. So within one leadership no member acknowledges
//!   or shows what its leader cannot show yet.
//! - A new leader may not have applied yet what was acknowledged or shown before. No read is answered on its word
//!   before it has applied an entry of its own term, and with that everything older. Together with the lines above,
//!   leader reads and follower reads may be mixed freely.
//! - A vote or an acknowledgement leaves after the sync that makes it true.
//! - Entries are applied in order without a gap; data and apply state change in one batch.
//! - Every completion is answered exactly once.
//!
//! # What is not here
//! Regions neither split nor merge.

pub(crate) mod ports;
pub(crate) mod stored;
pub(crate) mod heartbeats;
pub(crate) mod gathered;
pub(crate) mod rest;
pub(crate) mod applied_write;
pub(crate) mod change;
pub(crate) mod digest;
pub(crate) mod command;
pub(crate) mod member_list;
pub(crate) mod region;
pub(crate) mod membership;
pub(crate) mod next_change;
pub(crate) mod region_members;
pub(crate) mod log;
pub(crate) mod planted;
pub(crate) mod forwarding;
pub(crate) mod proposals;
pub(crate) mod lease;
pub(crate) mod transfer;
pub(crate) mod reads;
pub(crate) mod raft_snapshot;
pub(crate) mod ranges;
pub(crate) mod judge;
pub(crate) mod applier;
pub(crate) mod appliers;
pub(crate) mod validator;
pub(crate) mod elections;
pub(crate) mod lost_end;
pub(crate) mod offers;
pub(crate) mod outbox;
pub(crate) mod limits;
pub(crate) mod apply_backlog;
pub(crate) mod held_appends;
pub(crate) mod windows;
pub(crate) mod stall_timer;
pub(crate) mod apply_progress;
pub(crate) mod caller_write;
pub(crate) mod input;
pub(crate) mod pending;
pub(crate) mod boots;
pub(crate) mod connections;
pub(crate) mod peer_status;
pub(crate) mod tick_clock;
pub(crate) mod peer;
pub(crate) mod peers;
pub(crate) mod round;
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub(crate) mod fuzz;
