//! What may wait in a peer.
//!
//! Owns the bounds beyond which a peer refuses more, or drops what is sent or asked again. What always holds: no value
//! a host configures is in here; production has one set of them, the simulation draws sets that its small entries
//! reach.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of committed entries of one region that may wait for the applier: beyond, its peer takes no more entries.
    pub backlog_bytes: u64,
    /// The same for all regions of a store together; see [`StoreBacklog`](crate::core::apply_backlog::StoreBacklog).
    pub store_backlog_bytes: u64,
    /// Bytes of committed entries of one region that may wait for the applier before its peer lets a leader's appends
    /// wait too.
    pub applying_bytes: u64,
    /// Bytes of a leader's appends that may wait so; more are dropped.
    pub held_appends_bytes: u64,
    /// Bytes of entries that may be under way to members that have not acknowledged them, over all members and
    /// regions; see [`Windows::has_room`](crate::core::windows::Windows::has_room).
    pub append_window_bytes: u64,
    /// Bytes of forwarded writes that may wait to be proposed; more are refused.
    pub forwarded_bytes: usize,
    /// Questions of one follower that may wait for the quorum; more are dropped, and asked again.
    pub questions: usize,
    /// Answers to one follower's questions that may wait until the engine has come as far; the newest takes the place
    /// of the one before, whose question it answers too.
    pub held_confirmations: usize,
}

impl Default for Limits {
    /// What every member has in production.
    fn default() -> Self {
        Self {
            // Eight of the largest batches: an engine that stalls for a moment costs nobody a write.
            backlog_bytes: 64 * 1024 * 1024,
            store_backlog_bytes: 128 * 1024 * 1024,
            // As much as a leader has under way. Entries that wait are in memory as long as they do.
            applying_bytes: 8 * 1024 * 1024,
            // All that a leader has under way, and one largest entry more.
            held_appends_bytes: 16 * 1024 * 1024,
            // 16 messages: far more than a member that keeps up is behind; 1 Gbit/s at a round trip of 60 ms.
            append_window_bytes: 8 * 1024 * 1024,
            forwarded_bytes: 64 * 1024 * 1024,
            // A healthy follower has a few under way.
            questions: 4096,
            // Two make progress; with more of them fewer reads wait for an answer to later ones.
            held_confirmations: 64,
        }
    }
}
