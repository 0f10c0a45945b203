//! The order that lists impose.
//!
//! Owns the edges of lists. A list only grows and its elements commute, so a read says everything about its place:
//! after each write whose element it shows, before each other write. These edges are all there is to know, which is
//! why lists are decided completely, alone and inside batches and snapshots.
//!
//! ```text
//!   writes of level 1 -> risen 1 -> risen 2 -> ...      risen n: everything of level n is in
//!                          |          |
//!                          v          v
//!                       reads of 1  reads of 2
//!                          |          |
//!                          v          v
//!                        left 1  -> left 2 -> ...       left n: nobody reads level n any more
//!                          |          |
//!                          v          v
//!                   writes of level 2, of level 3 ...
//! ```
//! The two chains of moments keep the number of edges proportional to the number of operations.

use super::facts::{Facts, List};
use super::graph::{Graph, Node, Reason};
use super::history::Key;

/// Adds the edges of all lists.
pub fn add_edges(facts: &Facts, graph: &mut Graph) {
    for (&key, list) in &facts.lists {
        add_list(key, list, graph);
    }
}

fn add_list(key: Key, list: &List, graph: &mut Graph) {
    let mut below: Option<(Node, Node)> = None;
    for level in &list.levels {
        let (risen, left) = (graph.add_moment(), graph.add_moment());
        for &write in &level.writes {
            graph.add(write, risen, Reason::Shows(key));
        }
        for &read in &level.reads {
            graph.add(risen, read, Reason::Shows(key));
            graph.add(read, left, Reason::Lacks(key));
        }
        if let Some((risen_below, left_below)) = below {
            graph.add(risen_below, risen, Reason::Shows(key));
            graph.add(left_below, left, Reason::Lacks(key));
            for &write in &level.writes {
                graph.add(left_below, write, Reason::Lacks(key));
            }
        }
        below = Some((risen, left));
    }
    if let Some((_, left)) = below {
        for &write in &list.unseen {
            graph.add(left, write, Reason::Lacks(key));
        }
    }
}
