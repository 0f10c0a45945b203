//! What the applier has and has not reported back.
//!
//! Owns the count of bytes between a peer and its applier, by which a follower whose engine is slow stops taking
//! entries instead of collecting them.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

use crate::types::LogIndex;

/// See the module.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// (last index, bytes) of each task.
    tasks: VecDeque<(LogIndex, u64)>,
    bytes: u64,
}

impl HandedOver {
    /// Counts a task's entries.
    pub fn add(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        self.tasks.push_back((LogIndex(last.index), bytes));
        self.bytes += bytes;
    }

    /// Forgets the tasks that are applied as a whole.
    pub fn report(&mut self, applied: LogIndex) {
        while let Some(&(last, bytes)) = self.tasks.front()
            && last <= applied
        {
            self.bytes -= bytes;
            self.tasks.pop_front();
        }
    }

    /// Bytes on their way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_counts_until_its_last_entry_is_applied() {
        let entry = |index| Entry { index, data: vec![0; 10].into(), ..Entry::default() };
        let mut handed_over = HandedOver::default();
        handed_over.add(&[entry(1), entry(2)]);
        handed_over.add(&[entry(3)]);

        handed_over.report(LogIndex(1));
        assert_eq!(handed_over.bytes(), 30);
        handed_over.report(LogIndex(2));
        assert_eq!(handed_over.bytes(), 10);
        handed_over.report(LogIndex(3));
        assert_eq!(handed_over.bytes(), 0);
    }
}
