//! The record of events, one line each.
//!
//! Owns the fingerprint of a run and, when recording, its last lines. What always holds: recording changes nothing
//! else, so a failed seed can be rerun to read its trace; the lines survive a panic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sim::plan::SECOND;
use crate::sim::random::scramble;
use crate::types::RegionId;

/// The last lines of a run, shared with an owner that outlives the run.
pub(crate) type Lines = Arc<Mutex<VecDeque<String>>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    fingerprint: u64,
    events: u64,
    lines: Option<Lines>,
    lines_max: usize,
    now: u64,
    /// Lines name the region they concern.
    names_regions: bool,
}

impl Trace {
    /// A trace that keeps its last `lines_max` lines in `lines`, if given.
    pub(crate) fn new(lines: Option<Lines>, lines_max: usize) -> Self {
        Self { fingerprint: 0, events: 0, lines, lines_max, now: 0, names_regions: false }
    }

    /// The same for a cluster with this many regions.
    pub(crate) fn with_regions(self, regions: usize) -> Self {
        Self { names_regions: regions > 1, ..self }
    }

    /// Starts an event.
    pub(crate) fn begin(&mut self, now: u64) {
        self.now = now;
        self.events += 1;
        self.mark(now);
    }

    /// Adds a number to the fingerprint.
    pub(crate) fn mark(&mut self, number: u64) {
        self.fingerprint = scramble(self.fingerprint ^ number);
    }

    /// Adds a line, if lines are recorded.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(format!("{:>11.6} {}", self.now as f64 / SECOND as f64, line()));
        if lines.len() > self.lines_max {
            lines.pop_front();
        }
    }

    /// Adds a line about one region, if lines are recorded.
    pub(crate) fn say_of(&mut self, region: RegionId, line: impl FnOnce() -> String) {
        let names = self.names_regions;
        self.say(|| if names { format!("region {region}: {}", line()) } else { line() });
    }

    /// A number that two runs share only if they were identical.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Number of events.
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
    fn lines_name_their_region_if_there_are_several() {
        assert!(line_of(1).ends_with("0 3 flushes"), "{}", line_of(1));
        assert!(line_of(2).ends_with("0 region 2: 3 flushes"), "{}", line_of(2));
    }
}
