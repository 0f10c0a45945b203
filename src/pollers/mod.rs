//! The threads that run rounds, and those that answer.
//!
//! ```text
//!  callers ----------+                        +--> almadia-apply --> engine
//!  almadia-recv-N ---+--> mailbox --> almadia-raft --> log store (append + sync)
//!  almadia-apply ----+                        +--> almadia-send-N --> network
//!  almadia-worker ---+    answers: almadia-raft, almadia-apply --> almadia-cb --> user callbacks
//!                                  almadia-timer, at a deadline ---^
//!                                  almadia-read-N, from the disk --^
//! ```
//! An internal thread that has put something into the mailbox of the raft poller runs the round itself when no other thread
//! is running one, and applies a little itself. The arrows show how work flows; the threads do it when nobody else has.
//!
//! Owns the threads and the queues between them, and decides nothing: what a peer does is the core's, in which
//! order its effects happen is the round's. What always holds: the peers belong to the thread that holds the round lock, the
//! appliers to the thread that holds theirs; everything else is a message or a published copy; a panic or an I/O error poisons the store, answers everyone and leaves
//! the host alone.

pub(crate) mod mailbox;
pub(crate) mod health;
pub(crate) mod inbox;
pub(crate) mod raft_poller;
pub(crate) mod read_pool;
pub(crate) mod apply_poller;
pub(crate) mod completion_thread;
pub(crate) mod timer;
pub(crate) mod worker;
