//! How much of a raft snapshot is under way on one connection.
//!
//! Owns what was sent and what the receiver says it has taken. No lock and no socket. What always holds: at most
//! [`WINDOW_BYTES`] are sent and not acknowledged, or one chunk that is longer; and what is acknowledged was sent, and
//! never gets less.

/// Enough for a gigabit per second over 30 ms of round trip; and little enough that the bytes acknowledged show what the
/// receiver has staged.
pub(super) const WINDOW_BYTES: u64 = 4 << 20;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Window {
    sent: u64,
    acknowledged: u64,
}

impl Window {
    /// Whether a chunk of so many bytes may be sent now.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let under_way = self.sent - self.acknowledged;
        under_way == 0 || under_way + bytes as u64 <= WINDOW_BYTES
    }

    /// A chunk of so many bytes is sent.
    pub(super) fn send(&mut self, bytes: usize) {
        assert!(self.has_room(bytes), "whoever sends waits for room");
        self.sent += bytes as u64;
    }

    /// The receiver has taken so many bytes of this connection. Returns how many are new; none when that cannot be.
    pub(super) fn acknowledge(&mut self, taken: u64) -> Option<u64> {
        let is_possible = (self.acknowledged..=self.sent).contains(&taken);
        is_possible.then(|| taken - std::mem::replace(&mut self.acknowledged, taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_window_or_for_one_longer_chunk() {
        let mut window = Window::default();
        let quarter = usize::try_from(WINDOW_BYTES / 4).expect("small");
        for _ in 0..4 {
            assert!(window.has_room(quarter));
            window.send(quarter);
        }
        assert!(!window.has_room(1));

        assert_eq!(window.acknowledge(1), Some(1));
        assert!(window.has_room(1) && !window.has_room(2));

        assert_eq!(window.acknowledge(WINDOW_BYTES), Some(WINDOW_BYTES - 1));
        assert!(window.has_room(9 * quarter), "a row may be longer than the window");
        window.send(9 * quarter);
        assert!(!window.has_room(1), "and then travels alone");
    }

    #[test]
    fn what_was_not_sent_or_was_taken_back_is_no_acknowledgement() {
        let mut window = Window::default();
        window.send(100);

        assert_eq!(window.acknowledge(101), None);
        assert_eq!(window.acknowledge(60), Some(60));
        assert_eq!(window.acknowledge(60), Some(0));
        assert_eq!(window.acknowledge(59), None);
        assert_eq!(window.acknowledge(u64::MAX), None);
    }
}
