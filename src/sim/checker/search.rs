//! The search for an order that explains every read.
//!
//! Owns the decision that the graph leaves open. It builds an order from the front, always among the operations whose
//! predecessors are linearized (Wing and Gong), and never goes on from a set of linearized operations and a state it has
//! failed from before (Lowe). A write that is linearized too early makes others wait for the reads of what it left; when
//! they wait in a circle the attempt is lost, and the search returns at once to the last choice that had a part in
//! the circle, for no choice made since can open it.
//!
//! What always holds: when it says that there is no order, none of the choices that it left out could have led to
//! one; and it gives up after a bounded number of steps, for the problem is NP-complete in the worst case.

use std::collections::HashSet;

use super::facts::Facts;
use super::graph::{Bounds, Graph, Node};
use super::linearization::{Checkpoint, Linearization};
use super::registers::Registers;

/// Steps that a search may take beyond ten for each node.
const STEPS_FREE: usize = 300_000;

/// What the search came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All operations that took effect, in an order that explains every read.
    Found(Vec<usize>),
    /// There is no order. Of the attempt that came furthest: how many operations it linearized, and those that had to
    /// follow and could not.
    Refuted { linearized: usize, stuck: Vec<usize> },
    /// The steps were used up.
    GaveUp,
}

/// A choice between writes.
#[derive(Debug)]
struct ChoicePoint {
    checkpoint: Checkpoint,
    /// The write that was tried last; None before the first.
    tried: Option<Node>,
    /// Those not yet tried, the best at the end.
    candidates: Vec<Node>,
}

/// See the module.
pub struct Search<'a> {
    linearization: Linearization<'a>,
    steps_max: usize,
    choice_points: Vec<ChoicePoint>,
    visited: HashSet<u128>,
    longest: (usize, Vec<usize>),
}

impl<'a> Search<'a> {
    /// Prepares a search over a saturated graph.
    pub fn new(
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
    pub fn run(mut self) -> Outcome {
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

    /// Returns to the last fork that has a choice left, and takes it; false when there is none.
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

    /// Looks for operations that wait for each other in a circle since the last choice; how many forks remain when
    /// all choices after the last that had a part in it are forgotten.
    fn backjump_depth(&self) -> Option<usize> {
        let conflict_set = self.linearization.deadlock(self.choice_points.last()?.tried?)?;
        let depth = self
            .choice_points
            .iter()
            .rposition(|choice_point| choice_point.tried.is_some_and(|write| conflict_set.contains(&write)));
        Some(depth.map_or(0, |place| place + 1))
    }
}
