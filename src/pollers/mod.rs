//! Threads that turn the core's cranks.
//!
//! ```text
//!  callers ----------+                        +--> almadia-apply --> engine
//!  almadia-recv-N ---+--> mailbox --> almadia-raft --> log store (append + sync)
//!  almadia-apply ----+                        +--> almadia-send-N --> network
//!  almadia-worker ---+    answers: almadia-raft, almadia-apply --> almadia-cb --> user callbacks
//!                                  almadia-timer, at a deadline ---^
//! ```
//!
//! Owns the threads and the queues between them, and decides nothing: what a peer does is the core's, in which
//! order its effects happen is the round's. What always holds: mutable state has one owner thread; everything
//! else is a message or a published copy; a panic or an I/O error poisons the store, answers everyone and leaves
//! the host alone.

pub mod mailbox;
pub mod health;
pub mod raft_poller;
pub mod read_pool;
pub mod apply_poller;
pub mod completion_thread;
pub mod timer;
pub mod worker;
