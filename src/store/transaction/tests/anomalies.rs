//! Whole transactions on a store: what serializability forbids, and what callers are told.

use std::thread;

use tempfile::TempDir;

use super::*;
use crate::Config;
use crate::error::Outcome;
use crate::types::KEY_BYTES_MAX;

const OPTIONS: WriteOptions = WriteOptions { timeout: None };

/// A member alone with these split keys, and its directory.
fn open(split_keys: &str) -> (Store, TempDir) {
    let directory = tempfile::tempdir().expect("there is room");
    let mut config = Config::default();
    config.set("bootstrap.split_keys", split_keys).expect("keys");
    let store = Store::open(directory.path(), &config).expect("a directory of its own");
    store.wait_leader(Duration::from_secs(20)).expect("it is alone");
    (store, directory)
}

fn begin(store: &Store) -> Transaction {
    store.begin(&TransactionOptions::default()).expect("it leads")
}

fn get(transaction: &Transaction, key: &[u8]) -> Option<Vec<u8>> {
    transaction.get(key).expect("small").map(|value| value.as_ref().to_vec())
}

fn keys(transaction: &Transaction, options: IterOptions) -> Vec<Vec<u8>> {
    let mut iter = transaction.iter(options).expect("in the region");
    let mut keys = Vec::new();
    iter.seek_to_first();
    while let Some((key, _)) = iter.item() {
        keys.push(key.to_vec());
        iter.next();
    }
    iter.status().expect("to the end");
    keys
}

fn conflict(committed: Result<Reply>) -> Conflict {
    let error = committed.expect_err("another came first");
    assert_eq!((error.code(), error.outcome()), (Code::Conflict, Outcome::NotApplied));
    error.conflict().expect("it is told").clone()
}

#[test]
fn a_transaction_sees_its_snapshot_and_its_own_writes() {
    let (store, _directory) = open("");
    for key in [b"a", b"b", b"c", b"d"] {
        store.put(key, b"old").expect("it leads");
    }
    let mut transaction = begin(&store);
    store.put(b"e", b"later").expect("it leads");
    transaction.put(b"b2", b"new").expect("small");
    transaction.delete(b"a").expect("small");
    transaction.delete_range(b"c", b"d").expect("small");
    transaction.put(b"d", b"mine").expect("small");

    assert_eq!(get(&transaction, b"a"), None);
    assert_eq!(get(&transaction, b"c"), None);
    assert_eq!(get(&transaction, b"d"), Some(b"mine".to_vec()));
    assert_eq!(get(&transaction, b"e"), None);
    assert_eq!(keys(&transaction, IterOptions::default()), [&b"b"[..], b"b2", b"d"]);
    let reverse = IterOptions { reverse: true, ..IterOptions::default() };
    assert_eq!(keys(&transaction, reverse), [&b"d"[..], b"b2", b"b"]);
    assert_eq!(store.get(b"a").expect("it leads").expect("not yet").as_ref(), b"old");
    // It has walked over all keys but those that it has emptied, and there is one more now.
    let rest = Conflict::Range(KeyRange { start: b"d".to_vec(), end: Vec::new() });
    assert_eq!(conflict(transaction.commit(&OPTIONS)), rest);
    assert_eq!(store.get(b"a").expect("it leads").expect("not applied").as_ref(), b"old");
}

#[test]
fn an_update_is_not_lost() {
    let (store, _directory) = open("");
    store.put(b"k", b"0").expect("it leads");
    let (mut one, mut other) = (begin(&store), begin(&store));
    for transaction in [&mut one, &mut other] {
        assert_eq!(get(transaction, b"k"), Some(b"0".to_vec()));
        transaction.put(b"k", b"1").expect("small");
    }

    let first = one.commit(&OPTIONS).expect("nobody came first");

    assert_eq!(conflict(other.commit(&OPTIONS)), Conflict::Key(Bytes::from("k")));
    assert_eq!(store.get(b"k").expect("it leads").expect("set").version(), first.version);
}

#[test]
fn writes_do_not_skew() {
    let (store, _directory) = open("");
    let (mut one, mut other) = (begin(&store), begin(&store));
    // Each looks for both, and sets one if neither is there.
    for (transaction, own) in [(&mut one, b"x"), (&mut other, b"y")] {
        assert_eq!((get(transaction, b"x"), get(transaction, b"y")), (None, None));
        transaction.put(own, b"").expect("small");
    }

    one.commit(&OPTIONS).expect("nobody came first");
    assert_eq!(conflict(other.commit(&OPTIONS)), Conflict::Key(Bytes::from("x")));
}

#[test]
fn a_phantom_is_noticed_where_the_walk_has_been_and_nowhere_else() {
    let (store, _directory) = open("");
    store.put(b"r1", b"").expect("it leads");
    store.put(b"r5", b"").expect("it leads");
    let begun = |until: &[u8]| {
        let mut transaction = begin(&store);
        let mut iter = transaction.iter(IterOptions::prefix(b"r")).expect("in the region");
        iter.seek_to_first();
        while iter.item().is_some_and(|(key, _)| key < until) {
            iter.next();
        }
        transaction.put(b"sum", b"").expect("small");
        transaction
    };
    let (short, whole) = (begun(b"r1"), begun(b"s"));
    store.put(b"r3", b"").expect("it leads");

    short.commit(&OPTIONS).expect("it has seen the first key only");
    let range = KeyRange { start: b"r".to_vec(), end: b"s".to_vec() };
    assert_eq!(conflict(whole.commit(&OPTIONS)), Conflict::Range(range));
}

#[test]
fn reads_that_are_exempt_may_change() {
    let (store, _directory) = open("");
    let mut transaction = begin(&store);
    assert!(transaction.get_exempt(b"k").expect("small").is_none());
    let mut iter = transaction.iter_exempt(IterOptions::default()).expect("in the region");
    iter.seek_to_first();
    assert!(!iter.valid());
    transaction.put(b"l", b"").expect("small");
    store.put(b"k", b"").expect("it leads");

    transaction.commit(&OPTIONS).expect("nothing that counts was changed");

    iter.seek_to_first();
    assert_eq!(iter.status().expect_err("it is over").code(), Code::InvalidArgument);
}

#[test]
fn a_transaction_that_writes_nothing_is_not_in_the_log() {
    let (store, _directory) = open("");
    store.put(b"k", b"1").expect("it leads");
    let applied = store.status().applied_index;
    let local = TransactionOptions { level: Level::Local, ..TransactionOptions::default() };
    let (sure, asked) = (begin(&store), store.begin(&local).expect("it is there"));
    assert_eq!(get(&sure, b"k"), get(&asked, b"k"));

    let reply = sure.commit(&OPTIONS).expect("it was so when it began");
    assert_eq!((reply.position.index, store.status().applied_index), (applied, applied));
    store.put(b"k", b"2").expect("it leads");
    assert_eq!(conflict(asked.commit(&OPTIONS)), Conflict::Key(Bytes::from("k")));
    let blind = store.begin(&local).expect("it is there").commit(&OPTIONS).expect("it has read nothing");
    assert_eq!(blind.version, Version::NONE);
}

#[test]
fn a_transaction_is_about_one_region() {
    let (store, _directory) = open("m");
    let second = TransactionOptions { key: b"x".to_vec(), ..TransactionOptions::default() };
    let mut transaction = store.begin(&second).expect("it leads");

    for error in [
        transaction.get(b"a").expect_err("the first region's"),
        transaction.put(b"lzz", b"").expect_err("the first region's"),
        transaction.delete_range(b"a", b"").expect_err("partly"),
        transaction.iter(IterOptions::default()).expect_err("partly"),
    ] {
        assert_eq!(error.code(), Code::BatchAcrossRegions);
        assert!(error.detail().contains("from 'm' to the end"), "{error}");
    }
    assert_eq!(transaction.delete_range(b"z", b"n").expect_err("reversed").code(), Code::InvalidArgument);
    transaction.delete_range(b"m", b"").expect("all of it");
    transaction.put(b"n", b"1").expect("the second region's");
    let bounded = IterOptions { lower: Some(b"m".to_vec()), ..IterOptions::default() };
    assert_eq!(keys(&transaction, bounded), [b"n"]);
    transaction.commit(&OPTIONS).expect("nobody came first");
    assert!(store.get(b"n").expect("it leads").is_some());
}

#[test]
fn what_a_transaction_may_do_is_bounded_and_said_early() {
    let (store, _directory) = open("");
    let mut batch = Batch::new();
    for number in 0..65_536_u32 {
        batch.put(&number.to_be_bytes(), b"").expect("as many as fit");
    }
    store.write(&mut batch, &OPTIONS).expect("it leads");
    let mut transaction = begin(&store);
    let too_large = |error: Error| assert_eq!(error.code(), Code::TooLarge);

    (0..2_048_u32).for_each(|number| _ = get(&transaction, &(number * 2).to_be_bytes()));
    get(&transaction, &0_u32.to_be_bytes());
    too_large(transaction.get(&[9]).expect_err("one more"));
    (0..32_768_u32).for_each(|number| transaction.put(&number.to_le_bytes(), b"").expect("as many"));
    too_large(transaction.put(b"more", b"").expect_err("one more"));
    transaction.commit(&OPTIONS).expect("as much as may be");

    let transaction = begin(&store);
    assert!(
        keys(&transaction, IterOptions { upper: Some(vec![0, 1]), ..IterOptions::default() }).len() >= 65_536
    );
    store.put(b"one more", b"").expect("it leads");
    let transaction = begin(&store);
    let mut iter = transaction.iter(IterOptions::default()).expect("in the region");
    iter.seek_to_first();
    while iter.valid() {
        iter.next();
    }
    too_large(iter.status().expect_err("one more"));
    too_large(transaction.commit(&OPTIONS).expect_err("it has not seen all"));
    let mut transaction = begin(&store);
    transaction.put(b"a", &vec![0; 5 << 20]).expect("one");
    transaction.put(b"a", &vec![0; 6 << 20]).expect("instead");
    too_large(transaction.put(b"b", &vec![0; 3 << 20]).expect_err("both"));
}

#[test]
fn counting_together_loses_nothing() {
    let (store, _directory) = open("");
    let add_one = |transaction: &mut Transaction| {
        let count = get(transaction, b"n")
            .map_or(0, |value| String::from_utf8(value).expect("a number").parse().expect("a number"));
        let count: u32 = count;
        transaction.put(b"n", (count + 1).to_string().as_bytes())?;
        Ok(count)
    };
    let options =
        TransactionOptions { timeout: Some(Duration::from_secs(60)), ..TransactionOptions::default() };

    let mut seen: Vec<u32> = thread::scope(|scope| {
        let count =
            || (0..50).map(|_| store.transact(&options, add_one).expect("in time")).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it counts")).collect()
    });

    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
}

#[test]
fn trying_again_ends_at_the_deadline_and_with_the_functions_own_error() {
    let (store, _directory) = open("");
    let options =
        TransactionOptions { timeout: Some(Duration::from_millis(200)), ..TransactionOptions::default() };
    let mut tries = 0;

    let late = store.transact(&options, |transaction| {
        tries += 1;
        get(transaction, b"k");
        store.put(b"k", b"again")?;
        transaction.put(b"l", b"")
    });
    let own = store.transact(&options, |transaction| {
        transaction.put(b"l", b"")?;
        Err::<(), _>(Error::with_detail(Code::NotFound, "not today"))
    });

    let late = late.expect_err("always another");
    assert!(late.code() == Code::Conflict && late.conflict().is_some() && tries > 1, "{late}");
    assert!(late.detail().ends_with(&format!("tried {tries} times before the deadline")), "{late}");
    assert_eq!(own.expect_err("its own").detail(), "not today");
    assert!(store.get(b"l").expect("it leads").is_none());
}

#[test]
fn a_read_without_the_disk_is_a_read_as_any_other() {
    let (store, _directory) = open("");
    let look = |transaction: &Transaction, key: &[u8], is_exempt| {
        let found = transaction.get_from_memory(key, is_exempt).expect("small").expect("written just now");
        found.map(|value| value.as_ref().to_vec())
    };
    for (changed, is_refused) in [(b"a", true), (b"b", false)] {
        store.put(b"a", b"1").expect("it leads");
        store.put(b"b", b"1").expect("it leads");
        let mut transaction = begin(&store);
        assert_eq!(look(&transaction, b"a", false).expect("it exists"), b"1");
        assert_eq!(look(&transaction, b"b", true).expect("it exists"), b"1");
        assert_eq!(look(&transaction, b"c", false), None);
        transaction.put(b"d", b"own").expect("small");
        assert_eq!(look(&transaction, b"d", false).expect("its own"), b"own");
        store.put(changed, b"2").expect("it leads");

        let committed = transaction.commit(&OPTIONS);

        assert_eq!(committed.is_err_and(|error| error.code() == Code::Conflict), is_refused);
    }
}

#[test]
fn a_walk_that_ends_at_a_key_of_any_length_can_be_committed() {
    let (store, _directory) = open("");
    let longest = vec![b'k'; KEY_BYTES_MAX];
    store.put(&longest, b"").expect("it leads");
    let moves: [fn(&mut TransactionIter, &[u8]); 4] = [
        |iter, _| iter.seek_to_first(),
        |iter, longest| iter.seek(longest),
        |iter, longest| iter.seek(&[longest, b"k"].concat()),
        |iter, longest| iter.seek_for_prev(&[longest, b"k"].concat()),
    ];

    for (number, make_move) in moves.into_iter().enumerate() {
        for upper in [None, Some([&longest[..], b"k"].concat())] {
            let mut transaction = begin(&store);
            let mut iter = transaction.iter(IterOptions { upper, ..IterOptions::default() }).expect("all");
            make_move(&mut iter, &longest);
            assert_eq!(iter.item().map(|(key, _)| key == longest), (number != 2).then_some(true), "{number}");
            iter.next();
            transaction.put(b"out", b"").expect("small");
            transaction.commit(&OPTIONS).expect("nothing that it has read was changed");
            store.delete(b"out").expect("it leads");
        }
    }
    let transaction = begin(&store);
    assert_eq!(keys(&transaction, IterOptions::default()), [&longest[..]]);
    store.put(&[&longest[..KEY_BYTES_MAX - 1], b"l"].concat(), b"").expect("it leads");
    let mut transaction = transaction;
    transaction.put(b"out", b"").expect("small");
    assert_eq!(conflict(transaction.commit(&OPTIONS)), Conflict::Range(KeyRange::default()));
}

#[test]
fn what_a_transaction_has_emptied_it_does_not_read() {
    let (store, _directory) = open("");
    for number in 0..3_000_u32 {
        store.put(&[b"p", &number.to_be_bytes()[..]].concat(), b"v").expect("it leads");
    }
    let mut transaction = begin(&store);
    transaction.delete_range(b"p", b"q").expect("small");
    transaction.put(b"p new", b"").expect("small");
    for reverse in [false, true] {
        let prefix = IterOptions { reverse, ..IterOptions::prefix(b"p") };
        assert_eq!(keys(&transaction, prefix), [b"p new"]);
    }
    store.put(b"p other", b"").expect("it leads");

    transaction.commit(&OPTIONS).expect("what was there does not matter");

    let whole = store.begin(&TransactionOptions::default()).expect("it leads");
    assert_eq!(keys(&whole, IterOptions::prefix(b"p")), [b"p new"]);
}

#[test]
fn keys_that_a_walk_has_passed_are_read_again_for_nothing() {
    let (store, _directory) = open("");
    let mut batch = Batch::new();
    let key = |number: u32| number.to_be_bytes();
    (0..3_000).for_each(|number| batch.put(&key(number), b"").expect("small"));
    store.write(&mut batch, &OPTIONS).expect("it leads");
    let mut transaction = begin(&store);

    assert_eq!(keys(&transaction, IterOptions::default()).len(), 3_000);
    (0..3_000).for_each(|number| assert!(get(&transaction, &key(number)).is_some()));

    (0..32_768_u32).for_each(|number| transaction.put(&key(number), b"").expect("as many"));
    (0..32_768_u32)
        .for_each(|number| transaction.put(&key(number), b"again").expect("no more than there are"));
    transaction.commit(&OPTIONS).expect("nobody came first");
}

#[test]
fn an_empty_upper_bound_is_none() {
    for split_keys in ["", "m"] {
        let (store, _directory) = open(split_keys);
        store.put(b"n", b"").expect("it leads");
        let options = TransactionOptions { key: b"n".to_vec(), ..TransactionOptions::default() };
        let bounds =
            IterOptions { lower: Some(b"m".to_vec()), upper: Some(Vec::new()), ..IterOptions::default() };
        let transaction = store.begin(&options).expect("it leads");
        assert_eq!(keys(&transaction, bounds.clone()), [b"n"]);
        let snapshot = store.snapshot(&SnapshotOptions::default()).expect("it leads");
        let mut iter = snapshot.iter(bounds).expect("it is a snapshot");
        iter.seek_to_first();
        assert!(iter.valid());
    }
}
