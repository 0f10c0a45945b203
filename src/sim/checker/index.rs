//! The order that the store itself reports.
//!
//! Owns the edges of log indexes. A write's index is that of its entry; several writes share one when they were
//! committed as a group, and then it says nothing about their order. A read's index means "this state or newer".
//! The history is always checked without these edges first, so that they cannot affect the verdict on what clients saw.

use std::collections::BTreeMap;

use super::facts::{Facts, Fate};
use super::graph::{Graph, Node, Reason};

/// Adds the edges that follow from log indexes; whether any write has one.
pub(crate) fn add_edges(facts: &Facts, graph: &mut Graph) -> bool {
    let mut writes: BTreeMap<u64, Vec<Node>> = BTreeMap::new();
    let mut reads: Vec<(u64, Node)> = Vec::new();
    for (node, operation) in facts.history.iter().enumerate() {
        match operation.index.filter(|_| facts.fates[node] == Fate::Required) {
            Some(index) if operation.is_write() => writes.entry(index).or_default().push(node),
            Some(index) => reads.push((index, node)),
            None => {}
        }
    }
    let entries = add_entries(&writes, graph);
    for &(index, read) in &reads {
        if let Some((_, &entry)) = entries.range(..=index).next_back() {
            graph.add(entry, read, Reason::LogOrder);
        }
    }
    !writes.is_empty()
}

/// A path of virtual nodes, one after each entry.
fn add_entries(writes: &BTreeMap<u64, Vec<Node>>, graph: &mut Graph) -> BTreeMap<u64, Node> {
    let mut entries = BTreeMap::new();
    let mut before: Option<Node> = None;
    for (&index, group) in writes {
        let entry = graph.add_virtual_node();
        for &write in group {
            graph.add(write, entry, Reason::LogOrder);
            if let Some(before) = before {
                graph.add(before, write, Reason::LogOrder);
            }
        }
        if let Some(before) = before {
            graph.add(before, entry, Reason::LogOrder);
        }
        entries.insert(index, entry);
        before = Some(entry);
    }
    entries
}
