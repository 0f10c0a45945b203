//! The search for a linearization.
//!
//! Owns the decision that the graph leaves open. It linearizes operations one by one, always one whose predecessors
//! already are (Wing and Gong), and never continues from a configuration - the set of linearized operations and the
//! state of the registers - that it has visited before (Lowe). A write that is linearized too early makes others wait
//! for the reads of the version it installed; when they wait in a cycle this branch is dead, and the search backjumps
//! to the last choice in the conflict set (Prosser), since no later choice can break the cycle.
//!
//! What always holds: when it reports that there is no linearization, none of the branches that it pruned could have
//! led to one; and it gives up after a bounded number of steps, since the problem is NP-complete.

use std::collections::HashSet;

use super::facts::Facts;
use super::graph::{Bounds, Graph, Node};
use super::linearization::{Checkpoint, Linearization};
use super::registers::Registers;

/// Steps that a search may take in addition to ten for each node.
const STEPS_FREE: usize = 300_000;

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A linearization.
    Found(Vec<usize>),
    /// There is none. Of the longest partial linearization: how many operations it has, and those that had to come
    /// next and could not.
    Refuted { linearized: usize, stuck: Vec<usize> },
    /// It ran out of steps.
    GaveUp,
}

/// A choice between writes.
#[derive(Debug)]
struct ChoicePoint {
    checkpoint: Checkpoint,
    /// The write that was tried last; None before the first try.
    tried: Option<Node>,
    /// Those not yet tried, the most promising at the end.
    candidates: Vec<Node>,
}

/// See the module.
pub(crate) struct Search<'a> {
    linearization: Linearization<'a>,
    steps_max: usize,
    choice_points: Vec<ChoicePoint>,
    visited: HashSet<u128>,
    longest: (usize, Vec<usize>),
}

impl<'a> Search<'a> {
    /// Prepares a search over a saturated graph.
    pub(crate) fn new(
        facts: &'a Facts,
        graph: &'a Graph,
        registers: &'a Registers,
        bounds: &'a Bounds,
    ) -> Search<'a> {
        Search {
            linearization: Linearization::new(facts, graph, registers, bounds),
            steps_max: STEPS_FREE + 10 * graph.len(),
            choice_points: Vec::new(),
            visited: HashSet::new(),
            longest: (0, Vec::new()),
        }
    }

    /// Searches.
    pub(crate) fn run(mut self) -> Outcome {
        loop {
            self.linearization.take_safe_steps();
            if self.linearization.is_complete() {
                return Outcome::Found(self.linearization.order());
            }
            self.note_progress();
            if let Some(depth) = self.backjump_depth() {
                self.choice_points.truncate(depth);
            } else if self.visited.insert(self.linearization.fingerprint()) {
                let candidates = self.linearization.candidates();
                self.choice_points.push(ChoicePoint {
                    checkpoint: self.linearization.checkpoint(),
                    tried: None,
                    candidates,
                });
            }
            if !self.try_next() {
                let (linearized, stuck) = self.longest;
                return Outcome::Refuted { linearized, stuck };
            }
            if self.linearization.steps() > self.steps_max {
                return Outcome::GaveUp;
            }
        }
    }

    /// Backtracks to the last choice point with a candidate left, and linearizes it; false when there is none.
    fn try_next(&mut self) -> bool {
        while let Some(choice_point) = self.choice_points.last_mut() {
            self.linearization.rewind(choice_point.checkpoint);
            choice_point.tried = choice_point.candidates.pop();
            if let Some(write) = choice_point.tried {
                self.linearization.linearize(write);
                return true;
            }
            self.choice_points.pop();
        }
        false
    }

    fn note_progress(&mut self) {
        if self.linearization.len() >= self.longest.0 {
            self.longest = (self.linearization.len(), self.linearization.open());
        }
    }

    /// If the last choice led to a dead end: how many choice points remain after backjumping to the last one in the
    /// conflict set.
    fn backjump_depth(&self) -> Option<usize> {
        let conflict_set = self.linearization.deadlock(self.choice_points.last()?.tried?)?;
        let depth = self
            .choice_points
            .iter()
            .rposition(|choice_point| choice_point.tried.is_some_and(|write| conflict_set.contains(&write)));
        Some(depth.map_or(0, |place| place + 1))
    }
}
