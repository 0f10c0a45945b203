//! From a cycle to a verdict.
//!
//! Owns the words for chains of reasons. What always holds: a step between two operations is explained by what they
//! wrote, what they saw and when; a derived step by the chain that it rests on, until only such facts are left or
//! the explanation would be too long to read.

use std::collections::BTreeSet;

use super::facts::{Facts, Fate};
use super::graph::{Cycle, EdgeId, Graph, Link, Node, Reason};
use super::history::{Change, Key, Observed};
use super::violation::{Rule, Violation};

/// Derived steps that are explained at most.
const CAUSES_MAX: usize = 6;

/// Operations of a history without an order up to which all are shown.
const SHOWN_MAX: usize = 24;

/// One operation before another.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: usize,
    to: usize,
    /// The edge that leads to `to`; None is real time.
    edge: Option<EdgeId>,
}

struct Explanation<'a> {
    facts: &'a Facts<'a>,
    graph: &'a Graph,
    operations: BTreeSet<usize>,
    lines: Vec<String>,
    /// Derived edges in the order of their numbers in the text.
    causes: Vec<EdgeId>,
    has_time: bool,
}

/// The violation that the cycle is.
pub fn violation(facts: &Facts, graph: &Graph, cycle: &Cycle) -> Violation {
    let steps = steps_of(facts, graph, cycle);
    let mut explanation = Explanation {
        facts,
        graph,
        operations: BTreeSet::new(),
        lines: Vec::new(),
        causes: Vec::new(),
        has_time: false,
    };
    for step in &steps {
        explanation.say("", step);
    }
    explanation.say_causes();
    let rule = rule_of(facts, graph, &steps, explanation.has_time);
    let operations = explanation.operations.into_iter().collect();
    Violation::reasoned(facts.history, rule, operations, explanation.lines)
}

/// The violation that no order exists: all operations when they are few, else where the best attempt got stuck.
pub fn no_order(facts: &Facts, placed: usize, stuck: &[usize]) -> Violation {
    let taking_part = (0..facts.history.len()).filter(|&place| facts.fates[place] != Fate::Out);
    let mut operations: Vec<usize> = taking_part.take(SHOWN_MAX + 1).collect();
    if operations.len() > SHOWN_MAX {
        operations = stuck.to_vec();
    }
    let reasons = vec![format!(
        "no order explains all of them together: the best one stops after {placed} operations, where each of {} \
         would come too early or too late",
        numbers(stuck)
    )];
    Violation::reasoned(facts.history, Rule::NoOrder, operations, reasons)
}

fn numbers(operations: &[usize]) -> String {
    let numbers: Vec<String> = operations.iter().map(|place| format!("#{place}")).collect();
    numbers.join(", ")
}

fn rule_of(facts: &Facts, graph: &Graph, steps: &[Step], has_time: bool) -> Rule {
    let is_write = |place: usize| facts.history[place].is_write();
    let by_time = steps.iter().find(|step| step.edge.is_none());
    let reasons = steps.iter().filter_map(|step| step.edge).map(|edge| graph.edge(edge).reason);
    let shows = reasons.into_iter().any(|reason| matches!(reason, Reason::Saw(_) | Reason::Shows(_)));
    match (steps.len(), by_time) {
        (2, Some(time)) if shows && !is_write(time.from) && is_write(time.to) => Rule::SeenBeforeInvoked,
        (2, None) if shows && is_write(steps[0].from) != is_write(steps[0].to) => Rule::HalfBatch,
        _ if has_time => Rule::Stale,
        _ => Rule::Contradiction,
    }
}

/// The steps between operations, over the moments between them.
fn steps_of(facts: &Facts, graph: &Graph, links: &[Link]) -> Vec<Step> {
    let operations = facts.history.len();
    let ends = |link: &Link| match *link {
        Link::Edge(edge) => (graph.edge(edge).from, graph.edge(edge).to, Some(edge)),
        Link::Time(from, to) => (from, to, None),
    };
    let begins = links.iter().position(|link| ends(link).0 < operations);
    let begins = begins.expect("a chain of reasons meets an operation");
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
    fn say(&mut self, indent: &str, step: &Step) {
        self.operations.extend([step.from, step.to]);
        let words = match step.edge {
            None => self.time(step.from, step.to),
            Some(edge) => self.reason(edge, step.from, step.to),
        };
        self.lines.push(format!("{indent}#{} before #{}: {words}", step.from, step.to));
    }

    /// Explains the derived steps, and those that their explanations bring up.
    fn say_causes(&mut self) {
        let mut number = 0;
        while number < self.causes.len().min(CAUSES_MAX) {
            let edge = self.causes[number];
            number += 1;
            let Reason::Succeeds { key, first, until } = self.graph.edge(edge).reason else { continue };
            self.lines.push(format!("({number}) the order at key {key} follows from"));
            let chain = self.graph.chain(first, until, edge);
            for step in steps_of(self.facts, self.graph, &chain) {
                self.say("    ", &step);
            }
        }
    }

    fn time(&mut self, from: Node, to: Node) -> String {
        self.has_time = true;
        let (answered, called) = (self.graph.span(from).to, self.graph.span(to).from);
        format!("it was answered at {answered}, before the other was called at {called}")
    }

    fn reason(&mut self, edge: EdgeId, from: Node, to: Node) -> String {
        match self.graph.edge(edge).reason {
            Reason::Saw(key) => self.saw(key, to),
            Reason::Shows(key) => {
                format!(
                    "#{to} shows {} of list {key}, which #{from} added",
                    self.element(key, from, to, true)
                )
            }
            Reason::Lacks(key) => {
                format!(
                    "#{from} lacks {} of list {key}, which #{to} adds",
                    self.element(key, to, from, false)
                )
            }
            Reason::Lasts(key) => format!("#{to} follows #{from} at key {key}"),
            Reason::Initial(key) => format!("#{from} found key {key} as it was before any write"),
            Reason::Succeeds { key, first, .. } => {
                let number = self.number_of(edge);
                self.operations.insert(first);
                format!("{} ({number})", self.succeeds(key, first, from, to))
            }
            Reason::Index => "the store told log positions in this order".to_string(),
        }
    }

    fn saw(&self, key: Key, read: usize) -> String {
        let observed = self.facts.history[read].observed();
        let value = observed.iter().find_map(|(at, observed)| match observed {
            Observed::Register(value) if *at == key => *value,
            _ => None,
        });
        match value {
            Some(value) => format!("it wrote {value} to key {key}, which #{read} shows"),
            None => format!("it deleted key {key}; no other delete can explain that #{read} found nothing"),
        }
    }

    fn succeeds(&self, key: Key, first: usize, from: usize, to: usize) -> String {
        let is_write = |place: usize| self.facts.history[place].is_write();
        match (from == first, is_write(to)) {
            (true, true) if is_write(from) => format!("both wrote key {key}, in this order"),
            (true, true) => format!("#{from} found nothing at key {key}, which #{to} ended"),
            (false, true) => format!("#{from} found key {key} as #{first} left it, which #{to} overwrote"),
            (_, false) => format!("#{to} found nothing at key {key}, so what #{first} left there was over"),
        }
    }

    /// An element that `write` added and that `read` shows, or lacks.
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
