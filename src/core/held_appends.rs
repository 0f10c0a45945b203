//! Appends that wait at a follower until its engine has caught up.
//!
//! Owns the leader's appends that a peer does not pass to raft yet, because its applier has enough to do. What always
//! holds: they wait in the order of their arrival, and nothing of the leader's log overtakes them; they take a bounded
//! number of bytes. What is not taken was lost, to raft: the leader asks after it. When they may go on is the peer's
//! business.

use std::collections::VecDeque;

use raft::eraftpb::Message;

use crate::core::limits::Limits;
use crate::core::log;

/// See the module.
#[derive(Debug)]
pub(crate) struct HeldAppends {
    appends: VecDeque<Message>,
    bytes: u64,
    bytes_max: u64,
}

impl HeldAppends {
    /// None wait.
    #[must_use]
    pub(crate) fn new(limits: Limits) -> Self {
        Self { appends: VecDeque::new(), bytes: 0, bytes_max: limits.held_appends_bytes }
    }

    /// Keeps an append if there is room. One without entries only asks how far the log goes, and will be asked again.
    pub(crate) fn push(&mut self, append: Message) {
        let bytes = bytes_of(&append);
        if bytes > 0 && (self.is_empty() || self.bytes + bytes <= self.bytes_max) {
            self.bytes += bytes;
            self.appends.push_back(append);
        }
    }

    /// Takes out the first.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let append = self.appends.pop_front()?;
        self.bytes -= bytes_of(&append);
        Some(append)
    }

    /// True when none wait.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Forgets them: they are of a leader that leads no more.
    pub(crate) fn clear(&mut self) {
        (self.appends, self.bytes) = (VecDeque::new(), 0);
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        assert_eq!(self.bytes, self.appends.iter().map(bytes_of).sum::<u64>(), "what waits is counted");
        assert!(self.bytes <= self.bytes_max || self.appends.len() == 1, "so much waits at most");
        assert!(self.appends.iter().all(|append| bytes_of(append) > 0), "only entries are worth it");
    }
}

fn bytes_of(append: &Message) -> u64 {
    log::bytes_of(&append.entries)
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    fn append(data_bytes: usize) -> Message {
        let entry = Entry { data: vec![0; data_bytes].into(), ..Entry::default() };
        Message { entries: vec![entry].into(), ..Message::default() }
    }

    fn held() -> HeldAppends {
        HeldAppends::new(Limits { held_appends_bytes: 1000, ..Limits::default() })
    }

    fn sizes(mut held: HeldAppends) -> Vec<usize> {
        std::iter::from_fn(|| held.pop()).map(|append| append.entries[0].data.len()).collect()
    }

    #[test]
    fn appends_wait_in_order_as_far_as_there_is_room() {
        let mut held = held();
        [300, 301, 302].into_iter().for_each(|bytes| held.push(append(bytes)));

        held.check_invariants();
        assert_eq!(sizes(held), [300, 301], "and what an entry takes beyond its data");
    }

    #[test]
    fn the_first_is_kept_however_large_it_is_and_one_without_entries_never() {
        let mut held = held();
        held.push(Message::default());
        assert!(held.is_empty());
        held.push(append(5000));
        held.push(append(1));

        held.check_invariants();
        assert_eq!(sizes(held), [5000]);
    }
}
