//! Thousands of tiny histories, compared with exhaustive enumeration, and large ones.

use super::super::facts::Facts;
use super::super::graph::Graph;
use super::super::registers::Registers;
use super::super::{Action, Anomaly, Observed, Operation, check, lists};
use super::brute_force::is_linearizable;
use super::generator::{Random, Shape, corrupt, linearizable, wild};

const TINY: Shape = Shape {
    operations: 7,
    clients: 4,
    registers: 1,
    lists: 0,
    reads: 55,
    several_keys: 0,
    deletes: 0,
    unknown: 20,
    not_applied: 5,
    transactions: 0,
    local: 0,
    log_indexes: false,
};

/// How the checker and the enumeration agree over many histories.
#[derive(Debug, Default)]
struct Tally {
    possible: usize,
    impossible: usize,
    proved: usize,
}

/// Histories of a correct store, most of them with a few answers changed.
fn compare(name: &str, shape: Shape, histories: u64) {
    compare_all(name, histories, |random| {
        let operations = 2 + random.below(shape.operations - 1);
        let mut history = linearizable(Shape { operations, ..shape }, random);
        (0..random.below(4)).for_each(|_| corrupt(&mut history, random));
        history
    });
}

/// Histories in which nearly all operations are concurrent and reads return arbitrary values.
fn compare_wild(name: &str, shape: Shape, histories: u64) {
    let shape = Shape { clients: shape.operations, not_applied: 0, ..shape };
    compare_all(name, histories, |random| {
        let operations = 2 + random.below(shape.operations - 1);
        wild(Shape { operations, ..shape }, random)
    });
}

fn compare_all(name: &str, histories: u64, draw: impl Fn(&mut Random) -> Vec<Operation>) {
    let mut tally = Tally::default();
    for seed in 0..histories {
        compare_one(name, seed, &draw(&mut Random::new(seed)), &mut tally);
    }
    let enough = histories as usize / 20;
    assert!(tally.possible > enough, "{name}: enough histories are possible: {tally:?}");
    assert!(tally.impossible > enough, "{name}: enough histories are impossible: {tally:?}");
    assert_eq!(tally.proved, tally.possible, "{name}: every pass is proved: {tally:?}");
}

fn compare_one(name: &str, seed: u64, history: &[Operation], tally: &mut Tally) {
    let verdict = check(history);
    if is_linearizable(history) {
        let report =
            verdict.unwrap_or_else(|violation| panic!("{name}, seed {seed}, is possible, yet {violation}"));
        tally.possible += 1;
        tally.proved += usize::from(report.linearization_found);
    } else {
        assert!(verdict.is_err(), "{name}, seed {seed}, is impossible, yet {verdict:?}\n{history:#?}");
        tally.impossible += 1;
    }
}

#[test]
fn one_register_is_decided_as_by_enumeration() {
    compare("register", TINY, 4_000);
}

#[test]
fn one_register_with_deletes_is_decided_as_by_enumeration() {
    compare("deletes", Shape { deletes: 50, ..TINY }, 4_000);
}

#[test]
fn lists_with_batches_and_snapshots_are_decided_as_by_enumeration() {
    compare("lists", Shape { registers: 0, lists: 2, several_keys: 50, ..TINY }, 4_000);
}

#[test]
fn several_registers_are_decided_as_by_enumeration() {
    compare("registers", Shape { registers: 3, several_keys: 70, ..TINY }, 4_000);
}

#[test]
fn everything_at_once_is_decided_as_by_enumeration() {
    let shape = Shape { registers: 2, lists: 1, several_keys: 60, deletes: 25, local: 30, ..TINY };
    compare("everything", shape, 6_000);
}

#[test]
fn registers_with_wild_reads_are_decided_as_by_enumeration() {
    let shape = Shape { registers: 3, several_keys: 90, reads: 45, ..TINY };
    compare_wild("wild registers", shape, 4_000);
    compare_wild("wild deletes", Shape { registers: 2, deletes: 40, unknown: 40, ..shape }, 4_000);
}

#[test]
fn everything_with_wild_reads_is_decided_as_by_enumeration() {
    let shape = Shape { registers: 2, lists: 1, several_keys: 60, deletes: 25, local: 30, ..TINY };
    compare_wild("wild everything", shape, 4_000);
}

#[test]
fn transactions_on_one_register_are_decided_as_by_enumeration() {
    let shape = Shape { transactions: 70, reads: 30, ..TINY };
    compare("transactions", shape, 6_000);
    compare("transactions with deletes", Shape { deletes: 40, ..shape }, 6_000);
    compare_wild("wild transactions", Shape { unknown: 10, ..shape }, 4_000);
    compare_wild("wild transactions with deletes", Shape { deletes: 40, unknown: 10, ..shape }, 4_000);
}

#[test]
fn transactions_on_lists_are_decided_as_by_enumeration() {
    let shape = Shape { transactions: 70, reads: 30, registers: 0, lists: 2, several_keys: 40, ..TINY };
    compare("transactions on lists", shape, 6_000);
    compare_wild("wild transactions on lists", Shape { unknown: 10, ..shape }, 4_000);
}

#[test]
fn transactions_on_everything_are_decided_as_by_enumeration() {
    let shape = Shape { transactions: 60, reads: 35, registers: 2, lists: 1, several_keys: 60, ..TINY };
    compare("transactions on everything", Shape { local: 30, ..shape }, 6_000);
    compare("transactions and deletes", Shape { deletes: 25, ..shape }, 6_000);
    compare_wild("wild transactions on everything", Shape { deletes: 25, unknown: 20, ..shape }, 4_000);
}

/// Whether the graph alone, without the search, refuses the history.
fn graph_refuses(history: &[Operation]) -> bool {
    let Ok(facts) = Facts::of(history) else { return true };
    let mut graph = Graph::new(&facts.spans);
    lists::add_edges(&facts, &mut graph);
    Registers::new(&facts, &mut graph).saturate(&mut graph).is_err()
}

#[test]
fn one_register_and_any_lists_need_no_search() {
    let lists = Shape { registers: 0, lists: 2, several_keys: 50, ..TINY };
    let transactions = Shape { transactions: 60, reads: 35, ..TINY };
    for (shape, seed) in
        [TINY, lists, transactions].into_iter().flat_map(|shape| (0..4_000).map(move |seed| (shape, seed)))
    {
        let mut random = Random::new(seed);
        let mut history = linearizable(shape, &mut random);
        (0..random.below(4)).for_each(|_| corrupt(&mut history, &mut random));

        assert_eq!(graph_refuses(&history), !is_linearizable(&history), "seed {seed} of {shape:?}");
    }
}

#[test]
fn several_registers_seldom_need_the_search() {
    let shape = Shape { registers: 3, several_keys: 90, reads: 45, clients: 7, not_applied: 0, ..TINY };
    let histories = (0..4_000).map(|seed| wild(shape, &mut Random::new(seed)));
    let impossible: Vec<_> = histories.filter(|history| !is_linearizable(history)).collect();

    let found = impossible.iter().filter(|history| graph_refuses(history)).count();

    assert!(found * 100 >= impossible.len() * 99, "{found} of {}", impossible.len());
}

#[test]
fn the_operations_that_a_violation_names_are_impossible_by_themselves() {
    let shape =
        Shape { operations: 40, clients: 8, registers: 3, lists: 1, several_keys: 60, deletes: 0, ..LARGE };
    let mut judged = 0;
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let mut history = linearizable(Shape { log_indexes: false, ..shape }, &mut random);
        (0..3).for_each(|_| corrupt(&mut history, &mut random));
        let Err(violation) = check(&history) else { continue };
        if violation.operations.len() > 8 {
            continue;
        }

        let named: Vec<Operation> =
            violation.operations.iter().map(|&place| history[place].clone()).collect();

        assert!(!is_linearizable(&named), "seed {seed}: {violation}");
        judged += 1;
    }
    assert!(judged > 500, "enough violations are small: {judged}");
}

#[test]
fn crowded_histories_of_a_working_store_are_never_refused() {
    let shape =
        Shape { operations: 60, clients: 30, registers: 3, lists: 1, several_keys: 60, deletes: 30, ..LARGE };
    for seed in 0..300 {
        let history = linearizable(shape, &mut Random::new(seed));

        check(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

const LARGE: Shape = Shape {
    operations: 4_000,
    clients: 20,
    registers: 8,
    lists: 2,
    reads: 50,
    several_keys: 30,
    deletes: 5,
    unknown: 10,
    not_applied: 5,
    transactions: 0,
    local: 10,
    log_indexes: true,
};

#[test]
fn large_histories_of_a_working_store_pass_with_proof() {
    for seed in 0..4 {
        let history = linearizable(LARGE, &mut Random::new(seed));

        let report = check(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));

        assert!(report.linearization_found && report.log_order_agrees, "seed {seed}: {report:?}");
        assert!(report.writes_unknown_seen > 50, "seed {seed}: {report:?}");
    }
}

#[test]
fn one_stale_read_among_thousands_is_found_and_explained_by_a_few_operations() {
    for seed in 0..4 {
        let shape = Shape { deletes: 0, local: 0, ..LARGE };
        let mut history = linearizable(shape, &mut Random::new(seed));
        let corrupted = make_stale(&mut history);

        let violation = check(&history).expect_err("the stale read is found");

        assert_eq!(violation.anomaly, Anomaly::StaleRead, "seed {seed}: {violation}");
        assert!(violation.operations.contains(&corrupted), "seed {seed}: {violation}");
        assert!(violation.operations.len() <= 6, "seed {seed}: {violation}");
    }
}

/// Makes the last read of one register return what the first read of it returned.
fn make_stale(history: &mut [Operation]) -> usize {
    let value_at = |operation: &Operation| match operation.observed() {
        [(0, Observed::Register(Some(value)))] => Some(*value),
        _ => None,
    };
    let first = history.iter().find_map(value_at).expect("register 0 is read early");
    let last = history.iter().rposition(|operation| value_at(operation).is_some()).expect("and late");
    if let Action::Read { observed, .. } = &mut history[last].action {
        observed[0].1 = Observed::Register(Some(first));
    }
    last
}
