//! How many raft snapshots there were, and how many bytes of them.
//!
//! Owns the counters of a store's raft snapshots, sent and received. Counting takes no lock. Who counts is left to the
//! threads that send, receive and install.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. `sent`, `failed`, `received` and `installed` count raft snapshots.
#[derive(Debug, Default)]
pub(crate) struct RaftSnapshotCounts {
    /// Bytes that other members have acknowledged.
    pub sent_bytes: AtomicU64,
    /// Bytes that came from other members.
    pub received_bytes: AtomicU64,
    /// Sendings that the other member has confirmed.
    pub sent: AtomicU64,
    /// Sendings that failed or were given up.
    pub failed: AtomicU64,
    /// Those that came as a whole.
    pub received: AtomicU64,
    /// Those whose data were put into the engine.
    pub installed: AtomicU64,
}

impl RaftSnapshotCounts {
    /// Counts the end of a sending.
    pub(crate) fn count_end(&self, is_delivered: bool) {
        let counter = if is_delivered { &self.sent } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn show(&self, text: &mut String) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bytes = [
            ("sent", "Bytes of raft snapshots that other members have taken.", &self.sent_bytes),
            ("received", "Bytes of raft snapshots that came from other members.", &self.received_bytes),
        ];
        for (what, help, counter) in bytes {
            let name = format!("almadia_raft_snapshot_{what}_bytes_total");
            super::head(&name, "counter", help, text);
            super::line(text, format_args!("{name} {}", load(counter)));
        }
        let name = "almadia_raft_snapshots_total";
        super::head(name, "counter", "Raft snapshots by what became of them on this member.", text);
        let ends = [
            ("sent", &self.sent),
            ("failed", &self.failed),
            ("received", &self.received),
            ("installed", &self.installed),
        ];
        for (what, counter) in ends {
            super::line(text, format_args!("{name}{{what=\"{what}\"}} {}", load(counter)));
        }
    }
}
