//! One anomaly each, as clients of a broken store would observe it; for some also the closest history that is still
//! linearizable.

use std::collections::BTreeSet;

use super::super::{Action, Anomaly, Change, Key, Level, Observed, Operation, Verdict, check};

const X: Key = 1;
const Y: Key = 2;
const LIST: Key = 100;

fn operation(client: u32, times: (u64, u64), action: Action) -> Operation {
    let completed = Some(times.1);
    Operation { client, invoked: times.0, completed, verdict: Verdict::Ok, action, index: None }
}

fn write(times: (u64, u64), changes: &[(Key, Change)]) -> Operation {
    operation(1, times, Action::Write(changes.to_vec()))
}

fn set(times: (u64, u64), key: Key, value: u64) -> Operation {
    write(times, &[(key, Change::Set(value))])
}

fn append(times: (u64, u64), element: u64) -> Operation {
    write(times, &[(LIST, Change::Append(element))])
}

fn read(times: (u64, u64), observed: &[(Key, Option<u64>)]) -> Operation {
    let observed = observed.iter().map(|&(key, value)| (key, Observed::Register(value))).collect();
    operation(2, times, Action::Read { level: Level::Linearizable, observed })
}

fn read_list(times: (u64, u64), elements: &[u64]) -> Operation {
    let elements: BTreeSet<u64> = elements.iter().copied().collect();
    let observed = vec![(LIST, Observed::List(elements))];
    operation(2, times, Action::Read { level: Level::Linearizable, observed })
}

/// Finds registers as they are, and changes some at the same place.
fn transaction(times: (u64, u64), observed: &[(Key, Option<u64>)], changes: &[(Key, Change)]) -> Operation {
    let observed = observed.iter().map(|&(key, value)| (key, Observed::Register(value))).collect();
    operation(3, times, Action::Transaction { observed, changes: changes.to_vec() })
}

fn local(mut read: Operation) -> Operation {
    let Action::Read { level, .. } = &mut read.action else { panic!("only reads are local") };
    *level = Level::Local;
    read
}

fn answered(mut operation: Operation, verdict: Verdict) -> Operation {
    operation.verdict = verdict;
    operation
}

fn at(mut operation: Operation, index: u64) -> Operation {
    operation.index = Some(index);
    operation
}

/// The history is refused for this anomaly, with these operations, in a message that names each of them.
fn refused(history: &[Operation], anomaly: Anomaly, involved: &[usize]) {
    let violation = check(history).expect_err("the anomaly is found");

    let words = violation.to_string();
    assert_eq!(violation.anomaly, anomaly, "{words}");
    assert_eq!(violation.operations, involved, "{words}");
    for place in involved {
        assert!(words.contains(&format!("#{place} client")), "{words}");
    }
}

/// The history passes, with proof.
fn passes(history: &[Operation]) {
    let report = check(history).unwrap_or_else(|violation| panic!("{violation}"));

    assert!(report.linearization_found);
}

#[test]
fn a_stale_read_after_a_completed_write_is_found() {
    let early = set((1, 2), X, 10);
    let late = set((3, 4), X, 11);

    refused(&[early.clone(), late.clone(), read((5, 6), &[(X, Some(10))])], Anomaly::StaleRead, &[0, 1, 2]);
    passes(&[early.clone(), set((3, 5), X, 11), read((4, 6), &[(X, Some(10))])]);
    passes(&[early, late, local(read((5, 6), &[(X, Some(10))]))]);
}

#[test]
fn a_read_that_goes_back_between_two_clients_is_found() {
    let history = [
        set((1, 2), X, 10),
        set((3, 20), X, 11),
        read((4, 5), &[(X, Some(11))]),
        operation(3, (6, 7), read((0, 1), &[(X, Some(10))]).action),
    ];

    refused(&history, Anomaly::StaleRead, &[0, 1, 2, 3]);
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    refused(&[set((1, 2), X, 10), read((3, 4), &[(X, None)])], Anomaly::StaleRead, &[0, 1]);
    refused(&[append((1, 2), 10), read_list((3, 4), &[])], Anomaly::StaleRead, &[0, 1]);
}

#[test]
fn a_read_of_a_write_answered_with_not_applied_is_found() {
    let refused_write = answered(set((1, 2), X, 10), Verdict::NotApplied);
    let refused_append = answered(append((1, 2), 10), Verdict::NotApplied);

    refused(&[refused_write.clone(), read((3, 4), &[(X, Some(10))])], Anomaly::AbortedRead, &[0, 1]);
    refused(&[refused_write, local(read((3, 4), &[(X, Some(10))]))], Anomaly::AbortedRead, &[0, 1]);
    refused(&[refused_append, read_list((3, 4), &[10])], Anomaly::AbortedRead, &[0, 1]);
}

#[test]
fn a_fractured_read_of_a_batch_is_found() {
    let batch = write((1, 20), &[(X, Change::Set(10)), (Y, Change::Set(11))]);
    let list_batch = write((1, 20), &[(X, Change::Set(10)), (LIST, Change::Append(11))]);
    let half_list = Action::Read {
        level: Level::Linearizable,
        observed: vec![(X, Observed::Register(Some(10))), (LIST, Observed::List(BTreeSet::new()))],
    };

    refused(&[batch.clone(), read((3, 4), &[(X, Some(10)), (Y, None)])], Anomaly::FracturedRead, &[0, 1]);
    refused(
        &[batch.clone(), local(read((3, 4), &[(X, Some(10)), (Y, None)]))],
        Anomaly::FracturedRead,
        &[0, 1],
    );
    refused(&[list_batch, operation(2, (3, 4), half_list)], Anomaly::FracturedRead, &[0, 1]);
    passes(&[batch, read((3, 4), &[(X, None), (Y, None)]), read((5, 6), &[(X, Some(10)), (Y, Some(11))])]);
}

#[test]
fn an_intermediate_value_of_a_batch_is_found() {
    let batch = write((1, 2), &[(X, Change::Set(10)), (X, Change::Set(11))]);

    refused(&[batch.clone(), read((3, 4), &[(X, Some(10))])], Anomaly::IntermediateRead, &[0, 1]);
    passes(&[batch, read((3, 4), &[(X, Some(11))])]);
}

#[test]
fn two_snapshots_that_disagree_on_the_order_of_two_writes_are_found() {
    let writes = [set((1, 20), X, 10), set((2, 21), Y, 11)];
    let one = read((3, 22), &[(X, Some(10)), (Y, None)]);
    let other = read((4, 23), &[(X, None), (Y, Some(11))]);
    let [x, y] = writes;

    refused(&[x.clone(), y.clone(), one.clone(), other.clone()], Anomaly::DependencyCycle, &[0, 1, 2, 3]);
    refused(
        &[x.clone(), y.clone(), local(one.clone()), local(other)],
        Anomaly::DependencyCycle,
        &[0, 1, 2, 3],
    );
    passes(&[x, y, one]);
}

#[test]
fn two_incompatible_versions_of_a_list_are_found() {
    let writes = [append((1, 20), 10), append((2, 21), 11)];
    let [one, other] = writes;

    refused(
        &[one, other, read_list((3, 22), &[10]), read_list((4, 23), &[11])],
        Anomaly::IncompatibleOrder,
        &[2, 3],
    );
}

#[test]
fn a_value_nobody_wrote_is_found() {
    refused(&[set((1, 2), X, 10), read((3, 4), &[(X, Some(99))])], Anomaly::GarbageRead, &[1]);
    refused(&[set((1, 2), X, 10), read((3, 4), &[(Y, Some(10))])], Anomaly::GarbageRead, &[1]);
    refused(&[append((1, 2), 10), read_list((3, 4), &[10, 99])], Anomaly::GarbageRead, &[1]);
}

#[test]
fn an_unknown_write_that_is_seen_and_then_unseen_is_found() {
    let before = set((1, 2), X, 10);
    let unknown = answered(set((3, 4), X, 11), Verdict::Unknown);
    let seen = read((5, 6), &[(X, Some(11))]);

    refused(
        &[before.clone(), unknown.clone(), seen.clone(), read((7, 8), &[(X, Some(10))])],
        Anomaly::StaleRead,
        &[0, 1, 2, 3],
    );
    passes(&[
        before.clone(),
        unknown.clone(),
        read((5, 6), &[(X, Some(10))]),
        read((7, 8), &[(X, Some(11))]),
    ]);
    passes(&[before, unknown, read((7, 8), &[(X, Some(10))])]);
}

#[test]
fn a_read_of_an_unknown_write_before_its_call_is_found() {
    let mut never_answered = answered(set((3, 4), X, 10), Verdict::Unknown);
    never_answered.completed = None;

    refused(&[read((1, 2), &[(X, Some(10))]), never_answered.clone()], Anomaly::FutureRead, &[0, 1]);
    refused(&[local(read((1, 2), &[(X, Some(10))])), never_answered], Anomaly::FutureRead, &[0, 1]);
}

#[test]
fn a_list_element_that_vanishes_is_found() {
    let history = [append((1, 20), 10), read_list((2, 3), &[10]), read_list((4, 5), &[])];

    refused(&history, Anomaly::StaleRead, &[0, 1, 2]);
}

#[test]
fn a_duplicate_apply_that_resurrects_an_old_value_is_found() {
    let history = [
        answered(set((1, 2), X, 10), Verdict::Unknown),
        set((3, 20), X, 11),
        read((4, 5), &[(X, Some(10))]),
        read((6, 7), &[(X, Some(11))]),
        read((8, 9), &[(X, Some(10))]),
    ];

    let violation = check(&history).expect_err("the anomaly is found");

    assert_eq!(violation.anomaly, Anomaly::StaleRead, "{violation}");
    assert!(violation.operations.ends_with(&[3, 4]), "{violation}");
    passes(&history[..4]);
}

#[test]
fn a_deleted_value_that_comes_back_is_found() {
    let history = [
        set((1, 2), X, 10),
        write((3, 4), &[(X, Change::Clear)]),
        read((5, 6), &[(X, None)]),
        read((7, 8), &[(X, Some(10))]),
    ];

    let violation = check(&history).expect_err("the anomaly is found");

    assert_eq!(violation.anomaly, Anomaly::StaleRead, "{violation}");
    passes(&history[..3]);
}

#[test]
fn a_read_of_nothing_is_explained_by_an_unknown_delete() {
    let delete = answered(write((3, 4), &[(X, Change::Clear)]), Verdict::Unknown);
    let history = [set((1, 2), X, 10), delete, read((5, 6), &[(X, Some(10))]), read((7, 8), &[(X, None)])];

    passes(&history);
    refused(&[history[0].clone(), history[3].clone()], Anomaly::StaleRead, &[0, 1]);
}

#[test]
fn one_delete_cannot_explain_nothing_twice() {
    let clear = |times| write(times, &[(X, Change::Clear)]);
    let history = [
        set((1, 2), X, 10),
        set((3, 50), X, 11),
        clear((4, 51)),
        read((5, 6), &[(X, Some(10))]),
        read((7, 8), &[(X, None)]),
        read((9, 10), &[(X, Some(11))]),
        read((11, 12), &[(X, None)]),
    ];

    let violation = check(&history).expect_err("the anomaly is found");

    assert!(violation.operations.contains(&6), "{violation}");
    passes(&[history.to_vec(), vec![clear((9, 52))]].concat());
}

#[test]
fn a_lost_update_of_two_transactions_is_found() {
    let first = set((1, 2), X, 10);
    let one = transaction((3, 20), &[(X, Some(10))], &[(X, Change::Set(11))]);
    let other = transaction((4, 21), &[(X, Some(10))], &[(X, Change::Set(12))]);
    let after = transaction((4, 21), &[(X, Some(11))], &[(X, Change::Set(12))]);

    refused(&[first.clone(), one.clone(), other], Anomaly::LostUpdate, &[1, 2]);
    passes(&[first, one, after]);
}

#[test]
fn a_write_skew_is_found() {
    // Each finds that neither is on call, and only one of them may go then.
    let both = [(X, Some(10)), (Y, Some(11))];
    let shift = write((1, 2), &[(X, Change::Set(10)), (Y, Change::Set(11))]);
    let one = transaction((3, 20), &both, &[(X, Change::Clear), (LIST, Change::Append(12))]);
    let other = transaction((4, 21), &both, &[(Y, Change::Clear), (LIST, Change::Append(13))]);
    let after =
        transaction((4, 21), &[(X, None), (Y, Some(11))], &[(Y, Change::Clear), (LIST, Change::Append(13))]);

    let violation = check(&[shift.clone(), one.clone(), other]).expect_err("the anomaly is found");

    assert_eq!(violation.anomaly, Anomaly::DependencyCycle, "{violation}");
    assert!(violation.operations.ends_with(&[1, 2]), "{violation}");
    passes(&[shift, one, after]);
}

#[test]
fn a_phantom_is_found() {
    // A scan shows registers where there is nothing, too: each sees none, and sets one where the other has looked.
    let none = [(X, None), (Y, None)];
    let one = transaction((1, 20), &none, &[(X, Change::Set(10))]);
    let other = transaction((2, 21), &none, &[(Y, Change::Set(11))]);
    let after = transaction((2, 21), &[(X, Some(10)), (Y, None)], &[(Y, Change::Set(11))]);

    refused(&[one.clone(), other], Anomaly::DependencyCycle, &[0, 1]);
    passes(&[one, after]);
}

#[test]
fn a_dirty_read_of_a_transaction_is_found() {
    // It was refused, and another has seen what it would have set.
    let refused_one = answered(
        transaction((1, 2), &[], &[(X, Change::Set(10)), (Y, Change::Set(11))]),
        Verdict::NotApplied,
    );
    let dirty = transaction((3, 4), &[(X, Some(10))], &[(Y, Change::Set(12))]);
    let clean = transaction((3, 4), &[(X, None)], &[(Y, Change::Set(12))]);

    refused(&[refused_one.clone(), dirty], Anomaly::AbortedRead, &[0, 1]);
    passes(&[refused_one, clean]);
}

#[test]
fn a_transaction_that_sees_half_of_another_is_found() {
    let whole = transaction((1, 20), &[(X, None)], &[(X, Change::Set(10)), (Y, Change::Set(11))]);
    let half = transaction((2, 21), &[(X, Some(10)), (Y, None)], &[(LIST, Change::Append(12))]);

    refused(&[whole, half], Anomaly::DependencyCycle, &[0, 1]);
}

#[test]
fn log_indexes_that_contradict_the_reads_are_found_and_blamed() {
    let writes = [at(set((1, 20), X, 10), 5), at(set((2, 21), X, 11), 6)];
    let [first, second] = writes;
    let newest_first = [read((22, 23), &[(X, Some(10))])];

    let history = [first.clone(), second.clone(), newest_first[0].clone()];
    refused(&history, Anomaly::LogOrder, &[0, 1, 2]);
    let too_old = at(local(read((22, 23), &[(X, Some(10))])), 6);
    refused(&[first.clone(), second.clone(), too_old], Anomaly::LogOrder, &[0, 1, 2]);
    let report = check(&[first, second, at(read((22, 23), &[(X, Some(11))]), 6)]).expect("possible");
    assert!(report.log_order_agrees);
}

#[test]
fn a_malformed_history_is_refused() {
    refused(&[set((1, 2), X, 10), set((3, 4), X, 10)], Anomaly::Malformed, &[1]);
    refused(&[set((2, 1), X, 10)], Anomaly::Malformed, &[0]);
    refused(&[set((1, 2), X, 10), write((3, 4), &[(X, Change::Append(11))])], Anomaly::Malformed, &[1]);
}

#[test]
fn a_report_counts_what_the_run_proved() {
    let history = [
        set((1, 2), X, 10),
        answered(set((3, 4), X, 11), Verdict::Unknown),
        answered(set((5, 6), X, 12), Verdict::Unknown),
        answered(set((7, 8), X, 13), Verdict::NotApplied),
        read((9, 10), &[(X, Some(11)), (Y, None)]),
        local(read((11, 12), &[(X, Some(10))])),
    ];

    let report = check(&history).expect("possible");

    assert_eq!((report.writes_ok, report.writes_not_applied), (1, 1));
    assert_eq!((report.writes_unknown, report.writes_unknown_seen), (2, 1));
    assert_eq!((report.reads, report.reads_local, report.reads_of_several_keys), (2, 1, 1));
}
