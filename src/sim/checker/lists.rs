//! The dependencies that follow from lists.
//!
//! Owns the edges of lists. A list only grows and its elements commute, so a read fixes its place among the appends:
//! it has a write-read dependency on each append that it shows, and a read-write dependency leads to each other one.
//! No other constraint exists, which is why lists are decided completely, alone and inside batches and snapshots.
//!
//! ```text
//!   appends of version 1 -> installed 1 --> installed 2 -> ...    installed n: all elements of version n are in
//!                               |               |
//!                               v               v
//!                          reads of 1      reads of 2
//!                               |               |
//!                               v               v
//!                         superseded 1 -> superseded 2 -> ...     superseded n: all reads of version n precede
//!                               |               |
//!                               v               v
//!                     appends of version 2, of version 3 ...
//! ```
//! A transaction that finds a version and appends to it precedes the other appends of the next version one by one.
//! The two paths of virtual nodes keep the number of edges proportional to the number of operations.

use super::facts::{Facts, List};
use super::graph::{Graph, Node, Reason};
use super::history::Key;

/// Adds the edges of all lists.
pub(crate) fn add_edges(facts: &Facts, graph: &mut Graph) {
    for (&key, list) in &facts.lists {
        add_list(key, list, graph);
    }
}

fn add_list(key: Key, list: &List, graph: &mut Graph) {
    let mut before: Option<(Node, Node)> = None;
    let later = list.versions[1.min(list.versions.len())..].iter().map(|version| &version.writes);
    for (version, next) in list.versions.iter().zip(later.chain([&list.unread])) {
        let (installed, superseded) = (graph.add_virtual_node(), graph.add_virtual_node());
        for &write in &version.writes {
            graph.add(write, installed, Reason::AppendRead(key));
        }
        for &read in &version.reads {
            graph.add(installed, read, Reason::AppendRead(key));
            if !next.contains(&read) {
                graph.add(read, superseded, Reason::ReadAppend(key));
                continue;
            }
            // It appends, too, and so is one of those that follow.
            let others = next.iter().filter(|&&write| write != read);
            others.for_each(|&write| graph.add(read, write, Reason::ReadAppend(key)));
        }
        if let Some((installed_before, superseded_before)) = before {
            graph.add(installed_before, installed, Reason::AppendRead(key));
            graph.add(superseded_before, superseded, Reason::ReadAppend(key));
            for &write in &version.writes {
                graph.add(superseded_before, write, Reason::ReadAppend(key));
            }
        }
        before = Some((installed, superseded));
    }
    if let Some((_, superseded)) = before {
        for &write in &list.unread {
            graph.add(superseded, write, Reason::ReadAppend(key));
        }
    }
}
