//! The threads that run rounds and those that deliver answers.
//!
//! ```text
//!  callers ----------+                        +--> almadia-apply --> engine
//!  almadia-recv-N ---+--> mailbox --> almadia-raft --> log store (append + sync)
//!  almadia-apply ----+                        +--> almadia-send-N --> network
//!  almadia-worker ---+    answers: almadia-raft, almadia-apply --> almadia-cb --> user callbacks
//!                                  almadia-timer, at a deadline ---^
//!                                  almadia-read-N, from the disk --^
//!  raft snapshots: almadia-snapin-N --> incoming/ --> almadia-install --> engine;
//!                  engine --> almadia-worker, then almadia-snap-N --> network
//! ```
//! An internal thread that puts something into the raft poller's mailbox runs the round itself if no other thread is
//! running one, and applies small amounts itself. The arrows show how work flows; the named threads do it only when
//! no other thread already has.
//!
//! Owns the threads and the queues between them, and decides nothing: what a peer does is left to the core, and the
//! order in which its effects happen is left to the round. What always holds: the peers belong to the thread that
//! holds the round lock, and the appliers to the thread that holds theirs; everything else is a message or a
//! published copy; a panic or an I/O error poisons the store, answers every caller and leaves the host unharmed.

pub(crate) mod mailbox;
pub(crate) mod members;
pub(crate) mod health;
pub(crate) mod inbox;
pub(crate) mod raft_poller;
pub(crate) mod read_pool;
pub(crate) mod apply_poller;
pub(crate) mod completion_thread;
pub(crate) mod snapshots;
pub(crate) mod timer;
pub(crate) mod worker;
