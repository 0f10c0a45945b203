//! The dependencies that follow from registers, and their version order.
//!
//! Owns the *versions* of registers (Adya): each write installs one in each register it writes. The lifetime of a
//! version extends from its write to its last read, and lifetimes of one register do not overlap: if the write of one
//! version precedes any read (or the write) of another, then all reads of the first precede the write of the second -
//! as write-write and read-write dependencies. [`Registers::saturate`] infers these edges to a fixed point.
//!
//! With distinct values and no deletes this decides a single register completely: two zones of Gibbons and Korach
//! conflict exactly when two such edges close a cycle. Over several registers it finds what can be inferred step by
//! step, which is much but not everything (the general problem is NP-complete); the rest is left to the search.
//!
//! A transaction that finds a version and overwrites it makes both *adjacent*: no other lies between them. Adjacent
//! versions are one lifetime, from the first write to the last read of the last version.
//!
//! A read of None may return the initial version or that of any delete. It is *unrecovered* until only one of them is
//! possible; until then it has a lifetime of its own, ordered only against versions that hold a value.

use std::collections::{HashMap, HashSet};

use super::facts::{Facts, Fate, Register};
use super::graph::{Bounds, Cycle, Direction, Graph, Node, Reason};
use super::history::Key;

/// Rounds of inference before the rest is left to the search; histories of a store need fewer than ten.
const ROUNDS_MAX: usize = 50;

/// Most pairs of versions of one register that a round examines, from the start of the history. A working store leaves
/// far fewer unordered; one that returns stale values everywhere would leave a quadratic number.
const PAIRS_MAX: usize = 2_000_000;

/// An index into the versions of all registers.
pub(crate) type VersionId = usize;

/// See the module.
#[derive(Debug)]
pub(crate) struct Version {
    /// None for the initial version.
    pub write: Option<Node>,
    /// Whether the register holds nothing.
    pub is_empty: bool,
    /// Whether the write may not have taken effect: such a version has no reads and takes no part in the inference.
    pub is_optional: bool,
    /// The reads known to return it.
    pub reads: Vec<Node>,
    /// The virtual node after its last read, except one by a transaction that overwrites it.
    end: Node,
    /// The version by the transaction that found this one.
    next: Option<VersionId>,
    /// Whether its own write found the version before it.
    follows: bool,
}

/// One register.
#[derive(Debug, Default)]
pub(crate) struct KeyVersions {
    pub key: Key,
    /// All its versions; the initial one first.
    pub versions: Vec<VersionId>,
    /// Reads of None that several versions may explain.
    pub unrecovered: Vec<Node>,
    /// The version of each write.
    of_write: HashMap<Node, VersionId>,
}

/// All registers.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    pub keys: Vec<KeyVersions>,
    pub versions: Vec<Version>,
    /// The version order known so far, as pairs of `Lifetime::end`.
    version_order: HashSet<(Node, Node)>,
}

/// The lifetime of a version, or of an unrecovered read, which is that read alone.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    first: Node,
    end: Node,
    is_empty: bool,
    from: u64,
    to: u64,
}

impl Registers {
    /// Gives every write its versions, and every read of a value the version it returned.
    pub(crate) fn new(facts: &Facts, graph: &mut Graph) -> Registers {
        let mut registers = Registers::default();
        for (&key, register) in &facts.registers {
            registers.add_register(key, register, &facts.fates, graph);
        }
        registers
    }

    /// Infers edges to a fixed point, or for so many rounds that the search is to take over.
    pub(crate) fn saturate(&mut self, graph: &mut Graph) -> Result<Bounds, Cycle> {
        for _ in 0..ROUNDS_MAX {
            let bounds = graph.bounds()?;
            let edges = self.derive_version_order(graph, &bounds) + self.recover_reads(graph, &bounds);
            if edges == 0 {
                return Ok(bounds);
            }
        }
        graph.bounds()
    }

    fn add_register(&mut self, key: Key, register: &Register, fates: &[Fate], graph: &mut Graph) {
        let initial = self.add_version(Version {
            write: None,
            is_empty: true,
            is_optional: false,
            reads: Vec::new(),
            end: graph.add_virtual_node(),
            next: None,
            follows: false,
        });
        let (unrecovered, of_write) = (Vec::new(), HashMap::new());
        let mut key_versions = KeyVersions { key, versions: vec![initial], unrecovered, of_write };
        let mut of_value = HashMap::new();
        for &(write, value) in &register.writes {
            let version = self.add_write(key, initial, write, value, fates[write], graph);
            key_versions.versions.push(version);
            key_versions.of_write.insert(write, version);
            of_value.insert(value, version);
        }
        let has_deletes = of_value.contains_key(&None);
        for &(read, value) in &register.reads {
            match value {
                None if has_deletes => key_versions.unrecovered.push(read),
                None => self.join(&key_versions, read, initial, graph),
                Some(_) => self.join(&key_versions, read, of_value[&value], graph),
            }
        }
        self.keys.push(key_versions);
    }

    fn add_write(
        &mut self,
        key: Key,
        initial: VersionId,
        write: Node,
        value: Option<u64>,
        fate: Fate,
        graph: &mut Graph,
    ) -> VersionId {
        let end = graph.add_virtual_node();
        let is_optional = fate == Fate::Optional;
        graph.add(self.versions[initial].end, write, Reason::InitialRead(key));
        if !is_optional {
            graph.add(write, end, Reason::VersionEnd(key));
        }
        let is_empty = value.is_none();
        let (write, reads) = (Some(write), Vec::new());
        self.add_version(Version { write, is_empty, is_optional, reads, end, next: None, follows: false })
    }

    fn add_version(&mut self, version: Version) -> VersionId {
        self.versions.push(version);
        self.versions.len() - 1
    }

    /// Notes that `read` returned the version.
    fn join(&mut self, key_versions: &KeyVersions, read: Node, place: VersionId, graph: &mut Graph) {
        let key = key_versions.key;
        let version = &mut self.versions[place];
        assert!(!version.is_optional, "a write that was read took effect");
        version.reads.push(read);
        if let Some(write) = version.write {
            graph.add(write, read, Reason::WriteRead(key));
        }
        match key_versions.of_write.get(&read) {
            None => graph.add(read, version.end, Reason::VersionEnd(key)),
            Some(&next) => self.make_adjacent(key_versions, place, next, graph),
        }
    }

    /// Notes that the write of `next` found the version at `place`.
    fn make_adjacent(
        &mut self,
        key_versions: &KeyVersions,
        place: VersionId,
        next: VersionId,
        graph: &mut Graph,
    ) {
        let key = key_versions.key;
        let write = self.versions[next].write.expect("a transaction");
        graph.add(self.versions[place].end, write, Reason::VersionEnd(key));
        if let Some(other) = self.versions[place].next.replace(next).filter(|&other| other != next) {
            // Each precedes whatever overwrites what it found. The cycle is the lost update.
            let other = self.versions[other].write.expect("a transaction");
            graph.add(write, other, Reason::Overwrites(key));
            graph.add(other, write, Reason::Overwrites(key));
        }
        self.versions[next].follows = true;
        if self.versions[place].write.is_none() {
            let others = key_versions.of_write.keys().copied().filter(|&other| other != write);
            let mut others: Vec<Node> = others.collect();
            others.sort_unstable();
            others.into_iter().for_each(|other| graph.add(write, other, Reason::InitialRead(key)));
        }
    }

    /// The version, and those that follow it adjacently.
    fn adjacent(&self, first: VersionId) -> impl Iterator<Item = &Version> {
        let onward = std::iter::successors(Some(first), |&version| self.versions[version].next);
        // No more than there are: a history may be impossible.
        onward.take(self.versions.len()).map(|version| &self.versions[version])
    }

    /// One round over all pairs of versions whose spans overlap; how many edges it added.
    fn derive_version_order(&mut self, graph: &mut Graph, bounds: &Bounds) -> usize {
        let before = self.version_order.len();
        let mut search = Reachability::new(graph.len());
        for place in 0..self.keys.len() {
            let key_versions = &self.keys[place];
            let lifetimes = self.lifetimes(key_versions, graph, bounds);
            let unordered = unordered(&lifetimes, &self.version_order);
            for (lifetime, unordered) in lifetimes.iter().zip(&unordered) {
                let key = self.keys[place].key;
                let unordered: Vec<&Lifetime> = unordered.iter().map(|&other| &lifetimes[other]).collect();
                for until in search.successors(lifetime, &unordered, graph, bounds) {
                    self.version_order.insert((lifetime.end, until.end));
                    let reason = Reason::VersionOrder { key, first: lifetime.first, until: until.end };
                    graph.add(lifetime.end, until.first, reason);
                }
            }
        }
        self.version_order.len() - before
    }

    fn lifetimes(&self, key_versions: &KeyVersions, graph: &Graph, bounds: &Bounds) -> Vec<Lifetime> {
        let begins = |version: &Version| {
            let follows = version.follows && !self.follows_initial(key_versions, version);
            !version.is_optional && !follows
        };
        let certain = key_versions.versions.iter().filter(|&&version| begins(&self.versions[version]));
        let versions = certain.filter_map(|&first| {
            let last = self.adjacent(first).last().expect("itself");
            let is_empty = self.adjacent(first).any(|version| version.is_empty);
            self.versions[first].write.map(|write| (write, last.end, is_empty))
        });
        let unrecovered = key_versions.unrecovered.iter().map(|&read| (read, read, true));
        let lifetimes = versions.chain(unrecovered).map(|(first, end, is_empty)| {
            let last = graph.next(end, Direction::Backward).map(|node| bounds.spans[node].to).max();
            let to = if first == end { bounds.spans[first].to } else { last.unwrap_or(u64::MAX) };
            Lifetime { first, end, is_empty, from: bounds.spans[first].from, to }
        });
        let mut lifetimes: Vec<Lifetime> = lifetimes.collect();
        lifetimes.sort_by_key(|lifetime| (lifetime.from, lifetime.first));
        lifetimes
    }

    /// Whether the write of the version found the initial one, which no lifetime begins with.
    fn follows_initial(&self, key_versions: &KeyVersions, version: &Version) -> bool {
        let after_initial = self.versions[key_versions.versions[0]].next;
        after_initial.is_some_and(|next| self.versions[next].write == version.write)
    }

    /// Assigns each unrecovered read for which only one version is possible to that version; how many edges that added.
    fn recover_reads(&mut self, graph: &mut Graph, bounds: &Bounds) -> usize {
        let mut edges = 0;
        for place in 0..self.keys.len() {
            let unrecovered = std::mem::take(&mut self.keys[place].unrecovered);
            for read in unrecovered {
                let key_versions = &self.keys[place];
                match self.only_candidate(key_versions, read, graph, bounds) {
                    Some(version) => {
                        let key_versions = std::mem::take(&mut self.keys[place]);
                        self.join(&key_versions, read, version, graph);
                        self.keys[place] = key_versions;
                        edges += 2;
                    }
                    None => self.keys[place].unrecovered.push(read),
                }
            }
        }
        edges
    }

    /// The only version that can explain the read of None. If none can, the last one that was ruled out: joining it
    /// closes a cycle, so that the anomaly is found and explained like all others.
    fn only_candidate(
        &self,
        key_versions: &KeyVersions,
        read: Node,
        graph: &Graph,
        bounds: &Bounds,
    ) -> Option<VersionId> {
        let overwriting = self.latest_write_before(key_versions, read, graph, bounds);
        let mut ruled_out = None;
        let mut possible = None;
        for &place in key_versions.versions.iter().filter(|&&place| self.versions[place].is_empty) {
            let version = &self.versions[place];
            let is_ruled_out = match version.write {
                None => overwriting.is_some(),
                Some(write) => {
                    bounds.in_real_time(read, write)
                        || overwriting.is_some_and(|newest| bounds.spans[write].to < newest)
                }
            };
            match possible {
                _ if is_ruled_out && version.is_optional => {}
                _ if is_ruled_out => ruled_out = Some(place),
                None if version.is_optional => return None,
                None => possible = Some(place),
                Some(_) => return None,
            }
        }
        possible.or(ruled_out)
    }

    /// The latest `Span::from` of a write of the register that certainly precedes the read; None without such a write.
    fn latest_write_before(
        &self,
        key_versions: &KeyVersions,
        read: Node,
        graph: &Graph,
        bounds: &Bounds,
    ) -> Option<u64> {
        let seen: Vec<Node> = graph.next(read, Direction::Backward).collect();
        let versions = key_versions.versions.iter().map(|&place| &self.versions[place]);
        let writes = versions.filter(|version| !version.is_optional).filter_map(|version| version.write);
        let before = writes.filter(|&write| bounds.in_real_time(write, read) || seen.contains(&write));
        before.map(|write| bounds.spans[write].from).max()
    }
}

/// For each lifetime, those whose order relative to it is unknown. Takes the lifetimes sorted by `from`.
fn unordered(lifetimes: &[Lifetime], version_order: &HashSet<(Node, Node)>) -> Vec<Vec<usize>> {
    let mut unordered = vec![Vec::new(); lifetimes.len()];
    let mut running: Vec<usize> = Vec::new();
    let mut pairs = 0;
    for (place, lifetime) in lifetimes.iter().enumerate() {
        running.retain(|&other| lifetimes[other].to >= lifetime.from);
        for &other in &running {
            if pairs < PAIRS_MAX && lifetime.is_order_open(&lifetimes[other], version_order) {
                pairs += 1;
                unordered[place].push(other);
                unordered[other].push(place);
            }
        }
        running.push(place);
    }
    unordered
}

impl Lifetime {
    /// An unrecovered read may return any empty version, so it has no order relative to them.
    fn is_unrecovered(&self) -> bool {
        self.first == self.end
    }

    /// Whether the order of the two is unknown, and worth inferring.
    fn is_order_open(&self, other: &Lifetime, version_order: &HashSet<(Node, Node)>) -> bool {
        let is_ambiguous =
            (self.is_unrecovered() && other.is_empty) || (other.is_unrecovered() && self.is_empty);
        let is_known = || {
            version_order.contains(&(self.end, other.end)) || version_order.contains(&(other.end, self.end))
        };
        // What a transaction found, and what it wrote.
        let is_one = self.first == other.first;
        !is_one && !is_ambiguous && !is_known()
    }
}

/// Searches of the graph, one at a time, that share their marks.
struct Reachability {
    /// The walk that last visited each node.
    visited_by: Vec<u64>,
    /// The number of the current walk.
    walk: u64,
}

impl Reachability {
    fn new(nodes: usize) -> Reachability {
        Reachability { visited_by: vec![0; nodes], walk: 0 }
    }

    /// Those of `unordered` that follow the lifetime in the version order, because it begins before they end.
    fn successors<'s>(
        &mut self,
        lifetime: &Lifetime,
        unordered: &[&'s Lifetime],
        graph: &Graph,
        bounds: &Bounds,
    ) -> Vec<&'s Lifetime> {
        let (mut found, open): (Vec<&Lifetime>, Vec<&Lifetime>) =
            unordered.iter().partition(|other| bounds.in_real_time(lifetime.first, other.end));
        let Some(last) = open.iter().map(|other| bounds.position[other.end]).max() else { return found };
        self.mark_reachable(lifetime.first, last, graph, bounds);
        found.extend(open.into_iter().filter(|other| self.visited_by[other.end] == self.walk));
        found
    }

    /// Marks what is reachable from `start` and, in topological order, not after `last`.
    fn mark_reachable(&mut self, start: Node, last: usize, graph: &Graph, bounds: &Bounds) {
        self.walk += 1;
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for next in graph.next(node, Direction::Forward) {
                if self.visited_by[next] != self.walk && bounds.position[next] <= last {
                    self.visited_by[next] = self.walk;
                    open.push(next);
                }
            }
        }
    }
}
