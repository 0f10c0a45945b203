//! Explains a cycle.
//!
//! Owns the text for paths. What always holds: a step between two operations is explained by what they wrote, what they
//! read and when; an inferred step by the path that it follows from, until only such facts are left or the explanation
//! becomes too long to read.

use std::collections::BTreeSet;

use super::facts::{Facts, Fate};
use super::graph::{Cycle, EdgeId, Graph, Link, Node, Reason};
use super::history::{Change, Key, Observed};
use super::violation::{Anomaly, Violation};

/// Most inferred steps that are explained.
const CAUSES_MAX: usize = 6;

/// A history without a linearization is shown in full up to this many operations.
const SHOWN_MAX: usize = 24;

/// One operation before another.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: usize,
    to: usize,
    /// The edge that leads to `to`; None is real-time order.
    edge: Option<EdgeId>,
}

struct Explanation<'a> {
    facts: &'a Facts<'a>,
    graph: &'a Graph,
    operations: BTreeSet<usize>,
    lines: Vec<String>,
    /// Inferred edges in the order of their numbers in the text.
    causes: Vec<EdgeId>,
    has_real_time: bool,
}

/// The violation that the cycle proves.
pub(crate) fn violation(facts: &Facts, graph: &Graph, cycle: &Cycle) -> Violation {
    let steps = steps_of(facts, graph, cycle);
    let mut explanation = Explanation {
        facts,
        graph,
        operations: BTreeSet::new(),
        lines: Vec::new(),
        causes: Vec::new(),
        has_real_time: false,
    };
    for step in &steps {
        explanation.add_step("", step);
    }
    explanation.add_causes();
    let anomaly = anomaly_of(facts, graph, &steps, explanation.has_real_time);
    let operations = explanation.operations.into_iter().collect();
    Violation::reasoned(facts.history, anomaly, operations, explanation.lines)
}

/// The violation that no linearization exists: with all operations if they are few, else with those at which the
/// longest partial linearization got stuck.
pub(crate) fn no_linearization(facts: &Facts, linearized: usize, stuck: &[usize]) -> Violation {
    let taking_part = (0..facts.history.len()).filter(|&place| facts.fates[place] != Fate::Excluded);
    let mut operations: Vec<usize> = taking_part.take(SHOWN_MAX + 1).collect();
    if operations.len() > SHOWN_MAX {
        operations = stuck.to_vec();
    }
    let reasons = vec![format!(
        "no linearization exists: the longest partial one ends after {linearized} operations, where each of {} \
         would come too early or too late",
        numbers(stuck)
    )];
    Violation::reasoned(facts.history, Anomaly::NoLinearization, operations, reasons)
}

fn numbers(operations: &[usize]) -> String {
    let numbers: Vec<String> = operations.iter().map(|place| format!("#{place}")).collect();
    numbers.join(", ")
}

fn anomaly_of(facts: &Facts, graph: &Graph, steps: &[Step], has_real_time: bool) -> Anomaly {
    let is_write = |place: usize| facts.history[place].is_write();
    let by_real_time = steps.iter().find(|step| step.edge.is_none());
    let reasons = steps.iter().filter_map(|step| step.edge).map(|edge| graph.edge(edge).reason);
    let shows =
        reasons.into_iter().any(|reason| matches!(reason, Reason::WriteRead(_) | Reason::AppendRead(_)));
    let overwrites =
        |step: &Step| step.edge.is_some_and(|edge| matches!(graph.edge(edge).reason, Reason::Overwrites(_)));
    match (steps.len(), by_real_time) {
        (2, None) if steps.iter().all(overwrites) => Anomaly::LostUpdate,
        (2, Some(time)) if shows && !is_write(time.from) && is_write(time.to) => Anomaly::FutureRead,
        (2, None) if shows && is_write(steps[0].from) != is_write(steps[0].to) => Anomaly::FracturedRead,
        _ if has_real_time => Anomaly::StaleRead,
        _ => Anomaly::DependencyCycle,
    }
}

/// The steps between operations, with the virtual nodes between them left out.
fn steps_of(facts: &Facts, graph: &Graph, links: &[Link]) -> Vec<Step> {
    let operations = facts.history.len();
    let ends = |link: &Link| match *link {
        Link::Edge(edge) => (graph.edge(edge).from, graph.edge(edge).to, Some(edge)),
        Link::RealTime(from, to) => (from, to, None),
    };
    let begins = links.iter().position(|link| ends(link).0 < operations);
    let begins = begins.expect("a path of dependencies visits an operation");
    let mut steps = Vec::new();
    let mut from = None;
    for link in links[begins..].iter().chain(&links[..begins]) {
        let (start, to, edge) = ends(link);
        let origin = *from.get_or_insert(start);
        if to < operations {
            steps.push(Step { from: origin, to, edge });
            from = None;
        }
    }
    steps
}

impl Explanation<'_> {
    fn add_step(&mut self, indent: &str, step: &Step) {
        self.operations.extend([step.from, step.to]);
        let words = match step.edge {
            None => self.real_time(step.from, step.to),
            Some(edge) => self.reason(edge, step.from, step.to),
        };
        self.lines.push(format!("{indent}#{} before #{}: {words}", step.from, step.to));
    }

    /// Explains the inferred steps, and those that these explanations mention in turn.
    fn add_causes(&mut self) {
        let mut number = 0;
        while number < self.causes.len().min(CAUSES_MAX) {
            let edge = self.causes[number];
            number += 1;
            let Reason::VersionOrder { key, first, until } = self.graph.edge(edge).reason else { continue };
            self.lines.push(format!("({number}) the version order at key {key} follows from"));
            let path = self.graph.path(first, until, edge);
            for step in steps_of(self.facts, self.graph, &path) {
                self.add_step("    ", &step);
            }
        }
    }

    fn real_time(&mut self, from: Node, to: Node) -> String {
        self.has_real_time = true;
        let (answered, called) = (self.graph.span(from).to, self.graph.span(to).from);
        format!("real-time order: it was answered at {answered}, before the other was invoked at {called}")
    }

    fn reason(&mut self, edge: EdgeId, from: Node, to: Node) -> String {
        match self.graph.edge(edge).reason {
            Reason::WriteRead(key) => self.write_read(key, to),
            Reason::AppendRead(key) => {
                format!(
                    "write-read: #{to} read {} of list {key}, which #{from} appended",
                    self.element(key, from, to, true)
                )
            }
            Reason::ReadAppend(key) => {
                format!(
                    "read-write: #{from} lacks {} of list {key}, which #{to} appends",
                    self.element(key, to, from, false)
                )
            }
            Reason::VersionEnd(key) => format!("#{to} follows #{from} at key {key}"),
            Reason::Overwrites(key) => {
                format!("read-write: #{from} found the version of key {key} that #{to} overwrote")
            }
            Reason::InitialRead(key) => format!("read-write: #{from} read the initial version of key {key}"),
            Reason::VersionOrder { key, first, .. } => {
                let number = self.number_of(edge);
                self.operations.insert(first);
                format!("{} ({number})", self.version_order(key, first, from, to))
            }
            Reason::LogOrder => "the store reported log indexes in this order".to_string(),
        }
    }

    fn write_read(&self, key: Key, read: usize) -> String {
        let observed = self.facts.history[read].observed();
        let value = observed.iter().find_map(|(at, observed)| match observed {
            Observed::Register(value) if *at == key => *value,
            _ => None,
        });
        match value {
            Some(value) => format!("write-read: it wrote {value} to key {key}, which #{read} read"),
            None => format!(
                "write-read: it deleted key {key}; no other delete can explain that #{read} read nothing"
            ),
        }
    }

    fn version_order(&self, key: Key, first: usize, from: usize, to: usize) -> String {
        let is_write = |place: usize| self.facts.history[place].is_write();
        match (from == first, is_write(to)) {
            (true, true) if is_write(from) => format!("write-write: both wrote key {key}, in this order"),
            (true, true) => format!("read-write: #{from} read nothing at key {key}, which #{to} overwrote"),
            (false, true) => format!(
                "read-write: #{from} read the version of key {key} by #{first}, which #{to} overwrote"
            ),
            (_, false) => {
                format!("#{to} read nothing at key {key}, so the version by #{first} was already overwritten")
            }
        }
    }

    /// An element that `write` appended and that `read` shows, or lacks.
    fn element(&self, key: Key, write: usize, read: usize, is_shown: bool) -> String {
        let observed = self.facts.history[read].observed();
        let shown = |element: u64| {
            observed.iter().any(|(at, observed)| match observed {
                Observed::List(elements) => *at == key && elements.contains(&element),
                Observed::Register(_) => false,
            })
        };
        let changes = self.facts.history[write].changes().iter();
        let mut added = changes.filter_map(|&(at, change)| match change {
            Change::Append(element) if at == key => Some(element),
            _ => None,
        });
        let element = added.find(|&element| shown(element) == is_shown);
        element.map_or_else(|| "an element".to_string(), |element| element.to_string())
    }

    fn number_of(&mut self, edge: EdgeId) -> usize {
        if let Some(place) = self.causes.iter().position(|&cause| cause == edge) {
            return place + 1;
        }
        self.causes.push(edge);
        self.causes.len()
    }
}
