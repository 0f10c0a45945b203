//! Transactions on three members, on real threads, disks and sockets.

use almadia::{Code, IterOptions, Level, Result, Transaction, TransactionOptions, WriteOptions};

use crate::conditions::with_moving_leader;
use crate::member::{Cluster, HANG_TIMEOUT};

const ACCOUNTS: u64 = 5;
const START: i64 = 100;
const TRANSFERS: usize = 60;

fn options(level: Level) -> TransactionOptions {
    TransactionOptions { timeout: Some(HANG_TIMEOUT), level, ..TransactionOptions::default() }
}

fn account(number: u64) -> Vec<u8> {
    format!("account/{number}").into_bytes()
}

fn amount(value: &[u8]) -> i64 {
    i64::from_le_bytes(value.try_into().expect("nobody writes anything else"))
}

/// What an account has; nothing where a member does not know of it yet, which its commit does not let pass.
fn balance(transaction: &Transaction, account: &[u8]) -> Result<i64> {
    Ok(transaction.get(account)?.map_or(0, |value| amount(value.as_ref())))
}

/// Moves one coin, and logs it under a key of its own; false if there is none.
fn transfer(transaction: &mut Transaction, from: u64, to: u64, entry: &[u8]) -> Result<bool> {
    let [from, to] = [from, to].map(account);
    let has = balance(transaction, &from)?;
    if has == 0 {
        return Ok(false);
    }
    transaction.put(&from, &(has - 1).to_le_bytes())?;
    // Read after its own write, so that an account that pays itself keeps its coin.
    let gets = balance(transaction, &to)?;
    transaction.put(&to, &(gets + 1).to_le_bytes())?;
    transaction.put(entry, b"")?;
    Ok(true)
}

/// The sum of all accounts, and the number of entries in the book.
fn audit(transaction: &mut Transaction) -> Result<(i64, usize)> {
    let (mut sum, mut entries) = (0, 0);
    for (prefix, reverse) in [(&b"account/"[..], false), (b"book/", true)] {
        let mut iter = transaction.iter(IterOptions { reverse, ..IterOptions::prefix(prefix) })?;
        iter.seek_to_first();
        while let Some((_, value)) = iter.item() {
            if value.is_empty() {
                entries += 1
            } else {
                sum += amount(value)
            }
            iter.next();
        }
        iter.status()?;
    }
    Ok((sum, entries))
}

#[test]
fn money_is_neither_made_nor_lost_while_leadership_moves() {
    let cluster = Cluster::start();
    cluster.leader();
    for number in 0..ACCOUNTS {
        cluster.member(1).put(&account(number), &START.to_le_bytes()).expect("a majority is there");
    }

    let done = with_moving_leader(&cluster, |node, store| {
        let mut random = node as u64;
        (0..TRANSFERS)
            .filter(|number| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let [from, to] = [random >> 33, random >> 40].map(|random| random % ACCOUNTS);
                // Whoever begins with old data may be refused, and nothing worse.
                let level = if number % 3 == 0 { Level::Local } else { Level::Linearizable };
                let entry = format!("book/{node}/{number}").into_bytes();
                let moved =
                    store.transact(&options(level), |transaction| transfer(transaction, from, to, &entry));
                let (sum, _) = store.transact(&options(level), audit).expect("it is answered in time");
                assert_eq!(sum, ACCOUNTS as i64 * START);
                moved.expect("it is answered in time")
            })
            .count()
    });

    let moved: usize = done.iter().sum();
    assert!(moved > TRANSFERS);
    for node in 1..=3 {
        let found = cluster.member(node).transact(&options(Level::Linearizable), audit);
        assert_eq!(found.expect("a majority is there"), (ACCOUNTS as i64 * START, moved), "member {node}");
    }
}

#[test]
fn what_one_member_reads_another_cannot_change_before_its_commit() {
    let cluster = Cluster::start();
    cluster.leader();
    cluster.member(1).put(b"k", b"1").expect("a majority is there");
    let commit = WriteOptions { timeout: Some(HANG_TIMEOUT) };

    for (reader, writer) in [(1, 2), (2, 3), (3, 1)] {
        let mut transaction =
            cluster.member(reader).begin(&options(Level::Linearizable)).expect("a majority is there");
        assert!(transaction.get(b"k").expect("it is small").is_some());
        transaction.put(b"l", b"").expect("small");
        let changed = cluster.member(writer).put(b"k", b"2").expect("a majority is there");

        let refused = transaction.commit(&commit).expect_err("it was changed");

        assert_eq!(refused.code(), Code::Conflict, "{refused}");
        assert!(refused.to_string().contains("key 'k' was changed"), "{refused}");
        let now = cluster.member(reader).get(b"k").expect("a majority is there").expect("it was put");
        assert_eq!(now.version(), changed.version);
        assert!(cluster.member(reader).get(b"l").expect("a majority is there").is_none());
    }
}
