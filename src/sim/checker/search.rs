//! The search for an order that explains every read.
//!
//! Owns the decision that the graph leaves open. It builds an order from the front, always among the operations whose
//! predecessors are placed (Wing and Gong), and never goes on from a set of placed operations and a state it has
//! failed from before (Lowe). A write that is placed too early makes others wait for the reads of what it left; when
//! they wait in a circle the attempt is lost, and the search returns at once to the last choice that had a part in
//! the circle, for no choice made since can open it.
//!
//! What always holds: when it says that there is no order, none of the choices that it left out could have led to
//! one; and it gives up after a bounded number of steps, for the problem is NP-complete in the worst case.

use std::collections::HashSet;

use super::attempt::{Attempt, Mark};
use super::facts::Facts;
use super::graph::{Bounds, Graph, Node};
use super::registers::Registers;

/// Steps that a search may take beyond ten for each node.
const STEPS_FREE: usize = 300_000;

/// What the search came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All operations that took effect, in an order that explains every read.
    Found(Vec<usize>),
    /// There is no order. Of the attempt that came furthest: how many operations it placed, and those that had to
    /// follow and could not.
    Refuted { placed: usize, stuck: Vec<usize> },
    /// The steps were used up.
    GaveUp,
}

/// A choice between writes.
#[derive(Debug)]
struct Fork {
    mark: Mark,
    /// The write that was tried last; None before the first.
    tried: Option<Node>,
    /// Those not yet tried, the best at the end.
    choices: Vec<Node>,
}

/// See the module.
pub struct Search<'a> {
    attempt: Attempt<'a>,
    steps_max: usize,
    forks: Vec<Fork>,
    failed: HashSet<u128>,
    furthest: (usize, Vec<usize>),
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
            attempt: Attempt::new(facts, graph, registers, bounds),
            steps_max: STEPS_FREE + 10 * graph.len(),
            forks: Vec::new(),
            failed: HashSet::new(),
            furthest: (0, Vec::new()),
        }
    }

    /// Searches.
    pub fn run(mut self) -> Outcome {
        loop {
            self.attempt.settle();
            if self.attempt.is_complete() {
                return Outcome::Found(self.attempt.order());
            }
            self.note_progress();
            if let Some(depth) = self.depth_of_circle() {
                self.forks.truncate(depth);
            } else if self.failed.insert(self.attempt.identity()) {
                let choices = self.attempt.choices();
                self.forks.push(Fork { mark: self.attempt.mark(), tried: None, choices });
            }
            if !self.try_next() {
                let (placed, stuck) = self.furthest;
                return Outcome::Refuted { placed, stuck };
            }
            if self.attempt.steps() > self.steps_max {
                return Outcome::GaveUp;
            }
        }
    }

    /// Returns to the last fork that has a choice left, and takes it; false when there is none.
    fn try_next(&mut self) -> bool {
        while let Some(fork) = self.forks.last_mut() {
            self.attempt.take_back(fork.mark);
            fork.tried = fork.choices.pop();
            if let Some(write) = fork.tried {
                self.attempt.place(write);
                return true;
            }
            self.forks.pop();
        }
        false
    }

    fn note_progress(&mut self) {
        if self.attempt.len() >= self.furthest.0 {
            self.furthest = (self.attempt.len(), self.attempt.open());
        }
    }

    /// Looks for operations that wait for each other in a circle since the last choice; how many forks remain when
    /// all choices after the last that had a part in it are forgotten.
    fn depth_of_circle(&self) -> Option<usize> {
        let culprits = self.attempt.circle(self.forks.last()?.tried?)?;
        let depth =
            self.forks.iter().rposition(|fork| fork.tried.is_some_and(|write| culprits.contains(&write)));
        Some(depth.map_or(0, |place| place + 1))
    }
}
