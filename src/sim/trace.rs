//! What happened, in one line an event.
//!
//! Owns the fingerprint of a run and, when asked to record, its last lines. What always holds: recording changes
//! nothing else, so a seed that failed is run again to be read; lines outlive a panic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sim::plan::SECOND;
use crate::sim::random::scramble;

/// Lines that a run leaves behind, shared with whoever outlives it.
pub type Lines = Arc<Mutex<VecDeque<String>>>;

/// See the module.
#[derive(Debug)]
pub struct Trace {
    fingerprint: u64,
    events: u64,
    lines: Option<Lines>,
    lines_max: usize,
    now: u64,
}

impl Trace {
    /// A trace that keeps its last `lines_max` lines in `lines`, if there is such a place.
    pub fn new(lines: Option<Lines>, lines_max: usize) -> Self {
        Self { fingerprint: 0, events: 0, lines, lines_max, now: 0 }
    }

    /// An event begins.
    pub fn begin(&mut self, now: u64) {
        self.now = now;
        self.events += 1;
        self.mark(now);
    }

    /// Adds to the fingerprint.
    pub fn mark(&mut self, number: u64) {
        self.fingerprint = scramble(self.fingerprint ^ number);
    }

    /// Adds a line, if lines are kept.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(format!("{:>11.6} {}", self.now as f64 / SECOND as f64, line()));
        if lines.len() > self.lines_max {
            lines.pop_front();
        }
    }

    /// A number that two runs share only if they were the same.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }
}
