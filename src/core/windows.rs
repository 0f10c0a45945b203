//! Appends under way to the other members, in bytes.
//!
//! Owns how many bytes of entries a leader has sent to a member that has not acknowledged them, of one region, and how
//! many all regions of a store have together; and whether more may be sent. raft counts messages, and a message may
//! hold anything from one small entry to the largest value. What always holds: what is counted was sent by raft in its
//! replicating state and lies between what the member has and what goes next to it; nothing of it is counted twice; a
//! member that has nothing under way may always be sent something, whatever the others have; so neither a region nor
//! a member can use up the room of another. When a window is to be settled, and what happens to one that stays full, is
//! the peer's business (`peer/appends.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::limits::Limits;
use crate::types::{LogIndex, NodeId};

/// What all peers of one store have under way. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreWindows(Arc<Counts>);

// Only numbers: whoever reads them runs the round that changes them.
#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    /// Windows in which something is.
    used: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Of the members that were ever sent something in this term.
    members: BTreeMap<NodeId, Window>,
    store: StoreWindows,
    bytes_max: u64,
}

/// What is under way to one member.
#[derive(Debug, Default)]
struct Window {
    /// In the order of their entries.
    sent: VecDeque<Sent>,
    bytes: u64,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its first entry.
    pub first: LogIndex,
    /// Its last entry.
    pub last: LogIndex,
    /// Of its entries.
    pub bytes: u64,
}

impl Windows {
    /// Nothing is under way yet.
    #[must_use]
    pub(crate) fn new(store: StoreWindows, limits: Limits) -> Self {
        Self { members: BTreeMap::new(), store, bytes_max: limits.append_window_bytes }
    }

    /// Counts a message to `member`. What was sent before at its place or behind it is to be sent again.
    pub(crate) fn add(&mut self, member: NodeId, sent: Sent) {
        assert!(sent.first <= sent.last && sent.bytes > 0, "a message with entries");
        self.store.change(self.members.entry(member).or_default(), |window| {
            window.drop_from(sent.first);
            window.bytes += sent.bytes;
            window.sent.push_back(sent);
        });
    }

    /// Forgets what `member` has, which is everything up to `matched`, and what will be sent again, from `next` on.
    pub(crate) fn settle(&mut self, member: NodeId, matched: LogIndex, next: LogIndex) {
        assert!(matched < next, "what a member has is not sent to it");
        if let Some(window) = self.members.get_mut(&member) {
            self.store.change(window, |window| {
                window.drop_to(matched);
                window.drop_from(next);
            });
        }
    }

    /// Nothing counts as under way to `member`: it is to be asked what it has.
    pub(crate) fn clear(&mut self, member: NodeId) {
        if let Some(window) = self.members.get_mut(&member) {
            self.store.change(window, Window::clear);
        }
    }

    /// Members that are gone have no windows: what was under way to them would count for ever.
    pub(crate) fn keep_only(&mut self, is_member: impl Fn(NodeId) -> bool) {
        for (_, window) in self.members.iter_mut().filter(|(member, _)| !is_member(**member)) {
            self.store.change(window, Window::clear);
        }
        self.members.retain(|member, _| is_member(*member));
    }

    /// Nothing is under way to anybody.
    pub(crate) fn clear_all(&mut self) {
        for window in self.members.values_mut() {
            self.store.change(window, Window::clear);
        }
    }

    /// Whether another message may go to `member`. Beyond the bound of the store only those go on that have less than
    /// their share of it, and then the shares together are one bound more at most.
    #[must_use]
    pub(crate) fn has_room(&self, member: NodeId) -> bool {
        let own = self.members.get(&member).map_or(0, |window| window.bytes);
        let Counts { bytes, used } = &*self.store.0;
        let share = self.bytes_max / used.load(Ordering::Relaxed).max(1);
        own == 0 || bytes.load(Ordering::Relaxed) < self.bytes_max || own < share
    }

    /// True when something is under way to `member`.
    #[must_use]
    pub(crate) fn is_used(&self, member: NodeId) -> bool {
        self.members.get(&member).is_some_and(|window| window.bytes > 0)
    }

    /// Looks at what always holds. `place` tells what a member has and what goes next to it, if raft replicates to it.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, place: impl Fn(NodeId) -> Option<(LogIndex, LogIndex)>) {
        let mut all = 0;
        for (member, Window { sent, bytes }) in &self.members {
            assert_eq!(
                *bytes,
                sent.iter().map(|sent| sent.bytes).sum::<u64>(),
                "what is under way is counted"
            );
            assert!(
                sent.iter().is_sorted_by(|one, next| one.last < next.first),
                "messages follow each other"
            );
            let Some((first, last)) = sent.front().zip(sent.back()) else { continue };
            let (matched, next) = place(*member).expect("what is under way was sent while raft replicated");
            assert!(first.last > matched, "what a member has is not under way to it");
            assert!(last.last < next, "what will be sent again is not under way");
            all += bytes;
        }
        let Counts { bytes, used } = &*self.store.0;
        assert!(all <= bytes.load(Ordering::Relaxed), "the store counts it too");
        let own_used = self.members.values().filter(|window| window.bytes > 0).count() as u64;
        assert!(own_used <= used.load(Ordering::Relaxed), "the store counts the windows");
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.clear_all();
    }
}

impl StoreWindows {
    /// Changes a window, and what is counted with it.
    fn change(&self, window: &mut Window, change: impl FnOnce(&mut Window)) {
        let Counts { bytes, used } = &*self.0;
        let before = window.bytes;
        change(window);
        assert_eq!(window.bytes == 0, window.sent.is_empty(), "an empty window takes nothing");
        if window.bytes == before {
            return;
        }
        bytes.fetch_add(window.bytes, Ordering::Relaxed);
        bytes.fetch_sub(before, Ordering::Relaxed);
        match (before > 0, window.bytes > 0) {
            (false, true) => drop(used.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(used.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

impl Window {
    fn drop_to(&mut self, matched: LogIndex) {
        while self.sent.front().is_some_and(|sent| sent.last <= matched) {
            self.bytes -= self.sent.pop_front().expect("just seen").bytes;
        }
    }

    fn drop_from(&mut self, first: LogIndex) {
        while self.sent.back().is_some_and(|sent| sent.last >= first) {
            self.bytes -= self.sent.pop_back().expect("just seen").bytes;
        }
    }

    fn clear(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u64 = 100;
    const FIRST: NodeId = NodeId(2);
    const SECOND: NodeId = NodeId(3);

    /// The windows of so many peers of one store.
    fn windows<const N: usize>() -> [Windows; N] {
        let store = StoreWindows::default();
        let limits = Limits { append_window_bytes: BOUND, ..Limits::default() };
        [(); N].map(|()| Windows::new(store.clone(), limits))
    }

    fn sent(first: u64, last: u64, bytes: u64) -> Sent {
        Sent { first: LogIndex(first), last: LogIndex(last), bytes }
    }

    fn settle(windows: &mut Windows, matched: u64, next: u64) {
        windows.settle(FIRST, LogIndex(matched), LogIndex(next));
    }

    #[test]
    fn a_window_is_full_with_the_message_that_reaches_its_bound_until_that_is_acknowledged() {
        let [mut windows] = windows();
        windows.add(FIRST, sent(1, 3, 60));
        assert!(windows.has_room(FIRST));
        windows.add(FIRST, sent(4, 5, 60));
        assert!(!windows.has_room(FIRST));

        settle(&mut windows, 2, 6);
        assert!(!windows.has_room(FIRST), "its last entry is still under way");
        settle(&mut windows, 3, 6);
        assert!(windows.has_room(FIRST));
        settle(&mut windows, 5, 6);
        assert!(!windows.is_used(FIRST));
    }

    #[test]
    fn what_is_to_be_sent_again_counts_once() {
        let [mut windows] = windows();
        windows.add(FIRST, sent(1, 3, 60));
        windows.add(FIRST, sent(4, 5, 60));

        settle(&mut windows, 0, 4);
        assert!(windows.has_room(FIRST));
        windows.add(FIRST, sent(4, 9, 30));
        assert!(windows.has_room(FIRST), "90 bytes");
        windows.add(FIRST, sent(1, 9, 50));
        assert!(windows.has_room(FIRST), "50 bytes");
        windows.add(FIRST, sent(10, 10, 50));
        assert!(!windows.has_room(FIRST));

        windows.clear(FIRST);
        assert!(!windows.is_used(FIRST));
    }

    #[test]
    fn what_was_under_way_to_a_member_that_is_gone_takes_no_room() {
        let [mut one, mut other] = windows();
        one.add(FIRST, sent(1, 3, BOUND));
        other.add(SECOND, sent(1, 1, 60));
        assert!(!other.has_room(SECOND), "the store's bound is reached, and it has more than its share");

        one.keep_only(|member| member != FIRST);

        assert!(other.has_room(SECOND));
        one.check_invariants(|_| None);
    }

    #[test]
    fn a_message_larger_than_the_bound_goes_alone() {
        let [mut windows] = windows();
        windows.add(FIRST, sent(1, 1, 1000));

        assert!(!windows.has_room(FIRST));
        settle(&mut windows, 1, 2);
        assert!(windows.has_room(FIRST));
    }

    #[test]
    fn neither_a_member_nor_a_region_uses_up_the_room_of_another() {
        let [mut one, mut other] = windows();
        one.add(FIRST, sent(1, 1, 1000));

        assert!(one.has_room(SECOND) && other.has_room(FIRST), "they have nothing under way");
        one.add(SECOND, sent(1, 1, 30));
        assert!(one.has_room(SECOND), "30 bytes of a share of 50");
        other.add(FIRST, sent(1, 1, 40));
        assert!(!other.has_room(FIRST), "40 bytes of a share of 33");
        assert!(one.has_room(SECOND));

        one.clear(FIRST);
        assert!(other.has_room(FIRST), "70 bytes of 100 together");
    }

    #[test]
    fn what_a_peer_has_under_way_goes_with_its_leadership_and_with_the_peer() {
        let [mut one, two, other] = windows();
        let mut two = two;
        one.add(FIRST, sent(1, 1, 60));
        two.add(FIRST, sent(1, 1, 60));
        assert_eq!(other.store.0.bytes.load(Ordering::Relaxed), 120);

        one.clear_all();
        drop(two);

        let Counts { bytes, used } = &*other.store.0;
        assert_eq!((bytes.load(Ordering::Relaxed), used.load(Ordering::Relaxed)), (0, 0));
    }
}
