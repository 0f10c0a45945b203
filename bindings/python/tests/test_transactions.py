"""Transactions: what they see, what refuses them, and running a function until it commits."""

from __future__ import annotations

import gc
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import almadia
import pytest

from .conftest import close_at_once
from .test_conditions import on_all


def number_at(txn: almadia.Transaction, key: bytes) -> int:
    return int(txn.get(key, 0))


def add(txn: almadia.Transaction, key: bytes, delta: int) -> int:
    total = number_at(txn, key) + delta
    txn[key] = b"%d" % total
    return total


def test_a_block_commits_at_its_end(store: almadia.Store) -> None:
    store[b"from"] = b"100"
    with store.transaction() as txn:
        txn[b"from"] = b"%d" % (int(txn[b"from"]) - 30)
        txn.put(b"to", b"%d" % (number_at(txn, b"to") + 30))
        assert (txn[b"from"], txn[b"to"]) == (b"70", b"30")
        assert store.get_many([b"from", b"to"]) == [b"100", None]
        assert not txn.closed
        assert repr(txn) == "<almadia.Transaction open>"

    assert store.get_many([b"from", b"to"]) == [b"70", b"30"]
    assert txn.closed
    assert repr(txn) == "<almadia.Transaction closed>"
    versions = {store.get_with_version(key)[1] for key in (b"from", b"to")}
    assert len(versions) == 1


def test_what_leaves_a_block_rolls_it_back(store: almadia.Store) -> None:
    for raised in (LookupError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(raised), store.transaction() as txn:
            txn[b"k"] = b"v"
            raise raised

        assert txn.closed
    with pytest.raises(almadia.KeyNotFound, match="there is no key b'none'"), store.transaction() as txn:
        txn[b"k"] = b"v"
        txn[b"none"]
    assert b"k" not in store
    assert store.status().live_snapshots == 0


def test_a_transaction_can_be_ended_by_hand(store: almadia.Store) -> None:
    txn = store.transaction(key=b"k", level="local", timeout=20)
    txn[b"k"] = b"1"
    position = txn.commit()
    assert store.get_with_version(b"k") == (b"1", position.version)

    with store.transaction() as txn:
        del txn[b"k"]
        assert b"k" not in txn
        txn.rollback()
        txn.rollback()
    assert store[b"k"] == b"1"

    with store.transaction() as txn:
        txn.delete(b"k")
        assert txn.commit(timeout=20) > position
    assert b"k" not in store

    txn = store.transaction()
    txn[b"k"] = b"dropped"
    del txn
    gc.collect()
    assert b"k" not in store
    assert store.status().live_snapshots == 0


def test_one_that_is_over_answers_nothing(store: almadia.Store) -> None:
    store[b"k"] = b"v"
    for end in (almadia.Transaction.commit, almadia.Transaction.rollback):
        txn = store.transaction()
        items = txn.items()
        end(txn)
        calls: list[Callable[[], object]] = [
            lambda txn=txn: txn.get(b"k"),  # type: ignore[misc]
            lambda txn=txn: b"k" in txn,  # type: ignore[misc]
            lambda txn=txn: txn.put(b"k", b"w"),  # type: ignore[misc]
            lambda txn=txn: txn.delete_range(None, None),  # type: ignore[misc]
            lambda txn=txn: txn.keys(),  # type: ignore[misc]
            lambda txn=txn: txn.commit(),  # type: ignore[misc]
            lambda items=items: next(items),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(almadia.ClosedError, match="this transaction was committed or rolled back"):
                call()
        assert next(items, None) is None


def test_a_lost_update_is_refused(store: almadia.Store) -> None:
    store[b"k"] = b"1"
    with pytest.raises(almadia.ConflictError) as raised, store.transaction() as txn:
        seen = txn[b"k"]
        store[b"k"] = b"2"
        assert txn[b"k"] == seen == b"1"
        txn[b"k"] = b"3"

    assert store[b"k"] == b"2"
    assert (raised.value.key, raised.value.range) == (b"k", None)
    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    assert txn.closed
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (copied.key, copied.range, str(copied)) == (b"k", None, str(raised.value))


def test_a_key_that_did_not_exist_was_read_too(store: almadia.Store) -> None:
    for look in (lambda txn: txn.get(b"absent"), lambda txn: b"absent" in txn):
        with pytest.raises(almadia.ConflictError), store.transaction() as txn:
            assert not look(txn)
            store[b"absent"] = b"v"
            txn[b"k"] = b"v"
        del store[b"absent"]


def test_write_skew_is_refused(store: almadia.Store) -> None:
    store[b"on-call/1"] = store[b"on-call/2"] = b"yes"
    first, second = store.transaction(), store.transaction()
    for txn, number in ((first, 1), (second, 2)):
        assert len(list(txn.keys(prefix=b"on-call/"))) == 2
        del txn[b"on-call/%d" % number]
    first.commit()

    with pytest.raises(almadia.ConflictError) as raised:
        second.commit()

    assert (raised.value.key, raised.value.range) == (None, (b"on-call/", b"on-call0"))
    copied = pickle.loads(pickle.dumps(raised.value))
    assert copied.range == raised.value.range
    assert b"on-call/2" in store


def test_a_range_without_an_end_is_told_so(store: almadia.Store) -> None:
    with pytest.raises(almadia.ConflictError) as raised, store.transaction() as txn:
        assert list(txn.keys(start=b"m")) == []
        store[b"z"] = b"v"
        txn[b"k"] = b"v"

    assert raised.value.range == (b"m", None)


def test_exempt_reads_may_change(store: almadia.Store) -> None:
    store[b"k"] = store[b"r/1"] = b"1"
    with store.transaction() as txn:
        assert txn.get(b"k", exempt=True) == b"1"
        assert txn.get(b"none", b"default", exempt=True) == b"default"
        assert list(txn.items(prefix=b"r/", exempt=True)) == [(b"r/1", b"1")]
        assert list(txn.keys(prefix=b"r/", exempt=True)) == [b"r/1"]
        assert list(txn.values(prefix=b"r/", exempt=True)) == [b"1"]
        assert [key for key, _, _ in txn.entries(prefix=b"r/", exempt=True)] == [b"r/1"]
        store[b"k"] = store[b"none"] = store[b"r/1"] = store[b"r/2"] = b"2"
        txn[b"other"] = b"v"

    assert store[b"other"] == b"v"


def test_iterations_show_own_writes_in_both_directions(store: almadia.Store) -> None:
    for key in (b"a", b"c", b"e", b"g"):
        store[key] = b"old"
    version = store.get_with_version(b"a")[1]
    with store.transaction() as txn:
        txn[b"b"] = b"new"
        del txn[b"c"]
        txn[b"e"] = b"new"
        txn.delete_range(b"f", b"h")
        txn[b"h"] = b"new"
        seen = [(b"a", b"old"), (b"b", b"new"), (b"e", b"new"), (b"h", b"new")]
        assert list(txn.items()) == seen
        assert list(txn.items(reverse=True)) == seen[::-1]
        assert list(txn.items(start=b"b", end=b"h", limit=1)) == seen[1:2]
        assert list(txn.items(start=b"b", end=b"h", reverse=True, limit=1)) == seen[2:3]
        assert list(txn) == list(txn.keys()) == [key for key, _ in seen]
        assert list(reversed(txn)) == [key for key, _ in seen[::-1]]
        assert list(txn.values()) == [value for _, value in seen]
        assert list(txn.entries(limit=2)) == [(b"a", b"old", version), (b"b", b"new", 0)]
        assert list(txn.keys(start=b"x", end=b"c")) == []
        txn.delete_range(prefix=b"b")
    assert list(store.snapshot().keys()) == [b"a", b"e", b"h"]


@pytest.mark.parametrize("part", ["keys", "values", "items"])
def test_an_iteration_shows_what_is_written_meanwhile(store: almadia.Store, part: str) -> None:
    for number in range(10):
        store[b"%02d" % number] = b"%02d" % number

    def walk(txn: almadia.Transaction) -> Iterator[bytes]:
        for item in getattr(txn, part)():
            yield item if isinstance(item, bytes) else item[0]

    with store.transaction() as txn:
        seen = []
        for key in walk(txn):
            seen.append(key)
            txn.delete(key)
            if key == b"04":
                txn.delete_range(b"05", b"08")
                txn[b"03"] = b"03"  # It was there already.
                txn[b"07"] = b"07"
                txn[b"11"] = b"11"
            elif key == b"11":
                txn[b"12"] = b"12"
                txn[b"10"] = b"10"
        assert seen == [b"00", b"01", b"02", b"03", b"04", b"07", b"08", b"09", b"11", b"12"]
        assert list(txn.keys()) == [b"03", b"10"]
    assert list(store.snapshot().keys()) == [b"03", b"10"]


def test_an_iteration_with_a_limit_keeps_it_when_it_reads_again(store: almadia.Store) -> None:
    for number in range(9):
        store[b"%d" % number] = b"v"
    with store.transaction() as txn:
        seen = []
        for key in txn.keys(reverse=True, limit=5):
            seen.append(key)
            txn[b"4x"] = b"%d" % len(seen)
        assert seen == [b"8", b"7", b"6", b"5", b"4x"]


def test_what_an_iteration_has_not_reached_may_change(store: almadia.Store) -> None:
    for number in range(100):
        store[b"%02d" % number] = b"v"
    with store.transaction() as txn:
        assert next(iter(txn.keys())) == b"00"
        assert list(txn.keys(start=b"50", limit=2)) == [b"50", b"51"]
        items = txn.items(start=b"60")
        for _ in range(7):
            next(items)
        store[b"01"] = store[b"515"] = store[b"52"] = store[b"75"] = b"w"
        txn[b"k"] = b"v"
    assert store[b"k"] == b"v"

    for key in (b"00", b"505", b"51", b"63"):
        with pytest.raises(almadia.ConflictError), store.transaction() as txn:
            assert next(iter(txn.keys())) == b"00"
            assert list(txn.keys(start=b"50", limit=2)) == [b"50", b"51"]
            items = txn.items(start=b"60")
            for _ in range(7):
                next(items)
            store[key] = b"w"
            txn[b"k"] = b"v"
        if key == b"505":
            del store[key]


def test_a_long_iteration_returns_everything_once(store: almadia.Store) -> None:
    with store.batch() as batch:
        for number in range(5000):
            batch[b"%05d" % number] = b"v" * 100
    with store.transaction() as txn:
        for number in range(1, 5000, 2):
            del txn[b"%05d" % number]
        assert [int(key) for key in txn] == list(range(0, 5000, 2))
        assert [int(key) for key in txn.keys(reverse=True)] == list(range(4998, -1, -2))


def test_limits_are_told(store: almadia.Store) -> None:
    with store.transaction() as txn:
        for number in range(2048):
            txn.get(b"%d" % number)
        with pytest.raises(almadia.TooLargeError, match="2048 keys and ranges"):
            txn.get(b"one more")
        assert txn.get(b"one more", exempt=True) is None
        with pytest.raises(almadia.TooLargeError):
            txn[b"k" * 20_000] = b"v"
        with pytest.raises(almadia.TooLargeError):
            txn[b"k"] = b"v" * (9 << 20)
        txn[b"k"] = b"v"
    assert store[b"k"] == b"v"


def test_wrong_arguments_do_nothing(store: almadia.Store) -> None:
    untyped: Any = store
    wrong: list[Callable[[], object]] = [
        lambda: untyped.transaction(key="k"),
        lambda: untyped.transaction(timeout="1"),
        lambda: untyped.transaction(level=1),
        lambda: untyped.transact(repr, timeout="1"),
        lambda: untyped.transact(repr, key="k"),
        lambda: untyped.transact(None),
        lambda: almadia.Transaction(),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout must be 0 seconds or more"):
            store.transaction(timeout=timeout)
        with pytest.raises(ValueError, match="timeout must be 0 seconds or more"):
            store.transact(repr, timeout=timeout)
    with store.transaction() as txn:
        bad: Any = txn
        for call in (lambda: bad.get("k"), lambda: bad.put(b"k", "v"), lambda: bad.delete_range(b"k")):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(ValueError, match="not both"):
            bad.delete_range(b"a", b"b", prefix=b"c")
        with pytest.raises(almadia.InvalidArgumentError):
            txn.delete_range(b"b", b"a")
        with pytest.raises(TypeError):
            pickle.dumps(txn)
    assert store.status().live_snapshots == 0


def test_a_transaction_is_about_one_region(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", bootstrap_split_keys="m") as store:
        with store.transaction(key=b"z") as txn:
            txn[b"z"] = b"v"
            assert list(txn.keys(start=b"m")) == [b"z"]
            for call in (lambda: txn.get(b"a"), lambda: txn.put(b"a", b"v"), lambda: txn.keys()):
                with pytest.raises(almadia.BatchAcrossRegionsError):
                    call()
        assert store.transact(lambda txn: add(txn, b"z2", 1), key=b"z") == 1
        with pytest.raises(almadia.BatchAcrossRegionsError):
            store.transact(lambda txn: txn.put(b"z", b"w"))
        assert store[b"z"] == b"v"


def test_transact_returns_what_the_function_returned(store: almadia.Store) -> None:
    assert [store.transact(lambda txn: add(txn, b"n", 2)) for _ in range(3)] == [2, 4, 6]
    store.transact(lambda txn: txn.put(b"k", b"v"), timeout=20, level="local")
    assert store[b"k"] == b"v"
    assert store.transact(lambda txn: txn.rollback()) is None
    position = store.transact(lambda txn: (add(txn, b"n", 1), txn.commit())[1])
    assert store.get_with_version(b"n") == (b"7", position.version)


def test_transact_runs_again_until_it_commits(store: almadia.Store) -> None:
    runs = []

    def body(txn: almadia.Transaction) -> int:
        runs.append(add(txn, b"n", 1))
        if len(runs) < 4:
            store[b"n"] = b"%d" % (10 * len(runs))
        return runs[-1]

    assert store.transact(body) == 31
    assert runs == [1, 11, 21, 31]
    assert store[b"n"] == b"31"
    assert store.status().live_snapshots == 0


def test_transact_gives_up_at_its_deadline(store: almadia.Store) -> None:
    runs = []

    def body(txn: almadia.Transaction) -> None:
        # No view of the data is held between the tries.
        assert store.status().live_snapshots == 1
        runs.append(add(txn, b"n", 1))
        store[b"n"] = b"%d" % len(runs)

    for _ in range(20):
        runs.clear()
        began = time.monotonic()
        with pytest.raises(almadia.AlmadiaError) as raised:
            store.transact(body, timeout=0.5)
        assert 0.3 < time.monotonic() - began < 30
        if isinstance(raised.value, almadia.ConflictError):
            break
        # The time may also be up while a transaction begins or commits.
        assert isinstance(raised.value, TimeoutError)

    assert isinstance(raised.value, almadia.ConflictError)
    assert raised.value.key == b"n"
    assert f"it was tried {len(runs)} times before the deadline" in str(raised.value)
    assert 1 < len(runs) < 60
    assert store.status().live_snapshots == 0


def test_what_the_function_raises_is_raised_once(store: almadia.Store) -> None:
    runs = []

    def body(txn: almadia.Transaction) -> None:
        runs.append(txn)
        txn[b"k"] = b"v"
        raise ValueError(str(len(runs)))

    with pytest.raises(ValueError, match=r"^1$"):
        store.transact(body)
    assert runs[0].closed

    def conflict(txn: almadia.Transaction) -> None:
        runs.append(txn)
        with store.transaction() as other:
            add(other, b"n", 1)
            store[b"n"] = b"5"

    with pytest.raises(almadia.ConflictError):
        store.transact(conflict)
    assert len(runs) == 2
    assert b"k" not in store


def test_a_blocking_store_runs_no_coroutine(store: almadia.Store) -> None:
    async def body(txn: almadia.Transaction) -> None:
        txn[b"k"] = b"v"

    untyped: Any = body
    with pytest.raises(TypeError, match=r"use almadia\.aio"):
        store.transact(untyped)
    assert b"k" not in store


@almadia.transactional
def transfer(txn: almadia.Transaction, source: bytes, target: bytes, *, amount: int) -> int:
    """Moves an amount."""
    add(txn, source, -amount)
    return add(txn, target, amount)


@almadia.transactional
def transfer_twice(txn: almadia.Transaction, source: bytes, target: bytes) -> int:
    transfer(txn, source, target, amount=1)
    return transfer(txn, source, target, amount=2)


def test_a_decorated_function_takes_a_store_or_a_transaction(store: almadia.Store) -> None:
    assert transfer(store, b"a", b"b", amount=5) == 5
    assert transfer_twice(store, b"a", b"b") == 8
    assert store.get_many([b"a", b"b"]) == [b"-8", b"8"]
    with pytest.raises(LookupError), store.transaction() as txn:
        assert transfer(txn, b"a", b"b", amount=1) == 9
        raise LookupError
    assert store[b"b"] == b"8"
    with pytest.raises(TypeError, match="the first argument of transfer is a store or a transaction, not dict"):
        transfer({}, b"a", b"b", amount=1)  # type: ignore[arg-type]
    assert (transfer.__name__, transfer.__doc__) == ("transfer", "Moves an amount.")


def test_a_decorated_function_is_run_again(store: almadia.Store) -> None:
    runs = []

    @almadia.transactional
    def body(txn: almadia.Transaction) -> None:
        runs.append(add(txn, b"n", 1))
        if len(runs) == 1:
            store[b"n"] = b"7"

    body(store)

    assert runs == [1, 8]
    assert store[b"n"] == b"8"


def test_threads_count_together(store: almadia.Store) -> None:
    def count() -> None:
        for _ in range(50):
            store.transact(lambda txn: add(txn, b"n", 1), timeout=60)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store[b"n"] == b"200"


def test_a_transaction_that_threads_share_by_mistake_breaks_nothing(store: almadia.Store) -> None:
    with store.batch() as batch:
        for number in range(1000):
            batch[b"%04d" % number] = b"v"
    txn = store.transaction()
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for turn in range(100):
                txn[b"own/%d/%d" % (number, turn)] = b"v"
                txn.get(b"%04d" % turn)
                assert len(list(txn.keys(end=b"a", limit=50))) == 50
            if number == 0:
                txn.rollback()
        except almadia.ClosedError:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert txn.closed
    with store.snapshot(prefix=b"own/") as snapshot:
        assert list(snapshot.keys()) == []


def test_three_members_count_while_the_leader_changes(members: list[almadia.Store]) -> None:
    over = threading.Event()

    def transfer_leadership() -> None:
        while not over.wait(0.2):
            for store in members:
                try:
                    store.transfer_leader(timeout=5)
                except almadia.AlmadiaError:
                    continue  # It does not lead, or the target lags behind.

    def count(store: almadia.Store) -> None:
        def body(txn: almadia.Transaction) -> None:
            add(txn, b"n", 1)
            add(txn, b"of/%d" % store.node_id, 1)
            total = sum(int(value) for value in txn.values(prefix=b"of/"))
            assert total == number_at(txn, b"n")

        for _ in range(25):
            store.transact(body, timeout=60)

    changing = threading.Thread(target=transfer_leadership)
    changing.start()
    try:
        on_all([*members, *members], count)
    finally:
        over.set()
        changing.join()

    assert members[0][b"n"] == b"150"
    assert members[1].get_many([b"of/%d" % node for node in (1, 2, 3)]) == [b"50"] * 3


def test_a_closed_store_ends_what_would_commit(tmp_path: Path) -> None:
    store = almadia.open(tmp_path / "store")
    store[b"k"] = b"v"
    txn = store.transaction()
    assert txn[b"k"] == b"v"
    txn[b"k"] = b"w"
    close_at_once(store)

    with pytest.raises(almadia.ClosedError):
        txn.commit()
    with pytest.raises(almadia.ClosedError):
        store.transaction()
    with pytest.raises(almadia.ClosedError):
        store.transact(lambda txn: None)
    with almadia.open(tmp_path / "store") as store:
        assert store[b"k"] == b"v"
