//! Writes that were sent to a candidate.
//!
//! Owns what a candidate keeps of them until its election is decided, and how much. What always holds: they are of one
//! term, the one in which it is a candidate; what finds no room is dropped, and its member asks after it.

use std::mem;

use super::Forward;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EarlyForwards {
    kept: Vec<Forward>,
    bytes: usize,
}

impl EarlyForwards {
    /// Keeps `forward`, unless there is more than `bytes_max` already: one message more may be kept.
    pub(crate) fn keep(&mut self, forward: Forward, bytes_max: usize) {
        assert!(self.kept.iter().all(|kept| kept.term == forward.term), "they are of one term");
        if self.bytes <= bytes_max {
            self.bytes += size_of::<Forward>() + forward.weight_bytes();
            self.kept.push(forward);
        }
    }

    /// Takes out everything, in the order in which it came.
    pub(crate) fn take(&mut self) -> Vec<Forward> {
        self.bytes = 0;
        mem::take(&mut self.kept)
    }
}
