//! What happened, in one line an event.
//!
//! Owns the fingerprint of a run and, when asked to record, its last lines. What always holds: recording changes
//! nothing else, so a seed that failed is run again to be read; lines outlive a panic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sim::plan::SECOND;
use crate::sim::random::scramble;
use crate::types::RegionId;

/// Lines that a run leaves behind, shared with whoever outlives it.
pub(crate) type Lines = Arc<Mutex<VecDeque<String>>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    fingerprint: u64,
    events: u64,
    lines: Option<Lines>,
    lines_max: usize,
    now: u64,
    /// Lines say which region they are about.
    names_regions: bool,
}

impl Trace {
    /// A trace that keeps its last `lines_max` lines in `lines`, if there is such a place.
    pub(crate) fn new(lines: Option<Lines>, lines_max: usize) -> Self {
        Self { fingerprint: 0, events: 0, lines, lines_max, now: 0, names_regions: false }
    }

    /// The same for a cluster with so many regions.
    pub(crate) fn with_regions(self, regions: usize) -> Self {
        Self { names_regions: regions > 1, ..self }
    }

    /// An event begins.
    pub(crate) fn begin(&mut self, now: u64) {
        self.now = now;
        self.events += 1;
        self.mark(now);
    }

    /// Adds to the fingerprint.
    pub(crate) fn mark(&mut self, number: u64) {
        self.fingerprint = scramble(self.fingerprint ^ number);
    }

    /// Adds a line, if lines are kept.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(format!("{:>11.6} {}", self.now as f64 / SECOND as f64, line()));
        if lines.len() > self.lines_max {
            lines.pop_front();
        }
    }

    /// Adds a line about one region, if lines are kept.
    pub(crate) fn say_of(&mut self, region: RegionId, line: impl FnOnce() -> String) {
        let names = self.names_regions;
        self.say(|| if names { format!("region {region}: {}", line()) } else { line() });
    }

    /// A number that two runs share only if they were the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(regions: usize) -> String {
        let lines = Lines::default();
        let mut trace = Trace::new(Some(Lines::clone(&lines)), 1).with_regions(regions);
        trace.say_of(RegionId(2), || "3 flushes".to_owned());
        lines.lock().expect("nobody panics").pop_back().expect("one line")
    }

    #[test]
    fn lines_name_their_region_where_there_are_several() {
        assert!(line_of(1).ends_with("0 3 flushes"), "{}", line_of(1));
        assert!(line_of(2).ends_with("0 region 2: 3 flushes"), "{}", line_of(2));
    }
}
