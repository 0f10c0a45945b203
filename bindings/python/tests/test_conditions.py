"""Writes with conditions, and those that compute; a counter and a queue without a lock on three members."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import almadia
import almadia.aio
import pytest

from .conftest import FAST, free_addresses


def test_a_key_is_set_once(store: almadia.Store) -> None:
    first = store.put_if_absent(b"k", b"1")

    with pytest.raises(almadia.PreconditionFailedError) as raised:
        store.put_if_absent(b"k", b"2")

    assert (raised.value.operation, raised.value.exists, raised.value.version) == (0, True, first.version)
    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    assert store[b"k"] == b"1"


def test_a_key_is_set_only_as_it_was_seen(store: almadia.Store) -> None:
    first = store.compare_and_set(b"k", b"1", expected=None)
    second = store.compare_and_set(b"k", b"2", version=first.version)
    third = store.compare_and_set(b"k", b"3", expected=b"2")

    wrong: list[Callable[[], object]] = [
        lambda: store.compare_and_set(b"k", b"4", version=second.version),
        lambda: store.compare_and_set(b"k", b"4", version=0),
        lambda: store.compare_and_set(b"k", b"4", expected=b"2"),
        lambda: store.compare_and_set(b"k", b"4", expected=None),
        lambda: store.compare_and_delete(b"k", version=second.version),
        lambda: store.compare_and_delete(b"k", expected=b"2"),
    ]
    for call in wrong:
        with pytest.raises(almadia.PreconditionFailedError) as raised:
            call()
        assert raised.value.version == third.version
    assert store.get_with_version(b"k") == (b"3", third.version)
    assert store.compare_and_delete(b"k", version=third.version).version > third.version
    with pytest.raises(almadia.PreconditionFailedError) as raised:
        store.compare_and_delete(b"k", expected=b"3")
    assert (raised.value.exists, raised.value.version) == (False, 0)


def test_what_is_expected_is_given_in_one_way(store: almadia.Store) -> None:
    untyped: Any = store
    wrong: list[Callable[[], object]] = [
        lambda: untyped.compare_and_set(b"k", b"v"),
        lambda: untyped.compare_and_set(b"k", b"v", expected=None, version=0),
        lambda: untyped.compare_and_delete(b"k"),
        lambda: untyped.compare_and_set(b"k", b"v", expected="v"),
        lambda: untyped.compare_and_set(b"k", b"v", version="1"),
        lambda: untyped.add(b"k", 1.5),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="version must be 0 or more"):
        store.compare_and_set(b"k", b"v", version=-1)
    with pytest.raises(ValueError, match="delta must be from"):
        store.add(b"k", 1 << 63)
    assert b"k" not in store


def test_what_is_taken_is_returned(store: almadia.Store) -> None:
    store[b"k"] = b"v"

    assert store.pop(b"k") == b"v"
    assert store.pop(b"k", None) is None
    with pytest.raises(KeyError):
        store.pop(b"k")

    keys = [store.put_versioned(b"q/", task) for task in (b"one", b"two")]
    assert keys == sorted(keys)
    assert [len(key) for key in keys] == [12, 12]
    version = store.get_with_version(keys[0])[1]
    assert store.take_first(prefix=b"q/") == (keys[0], b"one", version)
    assert store.take_first(start=b"q/", end=b"q0") is not None
    assert store.take_first(prefix=b"q/") is None


def test_numbers_are_added(store: almadia.Store) -> None:
    assert store.add(b"n") == 1
    assert store.add(b"n", -3) == -2
    assert int.from_bytes(store[b"n"], "little", signed=True) == -2
    store[b"text"] = b"two"

    with pytest.raises(almadia.NotANumberError) as raised:
        store.add(b"text")
    assert isinstance(raised.value, ValueError)
    assert raised.value.exists
    with pytest.raises(almadia.NotANumberError):
        store.add(b"n", -(1 << 63))
    assert store.add(b"n", 0) == -2


def test_a_batch_tells_what_it_found_and_computed(store: almadia.Store) -> None:
    batch = almadia.Batch()
    assert (batch.version, batch.succeeded, batch.failed, batch.results) == (None, None, None, {})
    for _ in range(2):
        batch.if_present(b"k")
        batch.pop(b"k")
        batch.take_first(prefix=b"none/")
        batch.otherwise()
        batch[b"k"] = b"v"
        batch.add(b"n", 2)
        batch.put_versioned(b"log/", b"x")
        if store.get(b"k") is None:
            position = store.write(batch)
            assert (batch.version, batch.succeeded, batch.failed) == (position.version, False, (0, False, 0))
            assert sorted(batch.results) == [5, 6]
            assert batch.results[5] == 2
            assert store[batch.results[6]] == b"x"
            first = position.version
        else:
            store.write(batch)
            assert (batch.succeeded, batch.failed) == (True, None)
            assert batch.results == {1: (b"k", b"v", first), 2: None}


def test_a_refused_batch_is_left_as_it_was(store: almadia.Store) -> None:
    store[b"k"] = b"v"
    batch = almadia.Batch()
    batch.put(b"l", b"w")
    batch.if_value(b"k", b"v")
    batch.if_value(b"absent", None)
    batch.if_version(b"absent", 0)
    batch.if_absent(b"k")
    with pytest.raises(almadia.PreconditionFailedError) as raised:
        store.write(batch)

    assert raised.value.operation == 4
    assert (len(batch), batch.succeeded) == (5, None)
    assert b"l" not in store
    batch.otherwise()
    with pytest.raises(almadia.InvalidArgumentError):
        batch.if_present(b"k")
    with pytest.raises(almadia.PreconditionFailedError), store.batch() as block:
        block.if_absent(b"k")
        block[b"l"] = b"w"


def test_a_range_is_judged_as_a_snapshot_saw_it(store: almadia.Store) -> None:
    store[b"r/a"] = b"1"
    with store.snapshot(prefix=b"r/") as snapshot:
        seen = snapshot.digest(prefix=b"r/")
        assert seen == snapshot.digest(start=b"r/", end=b"r0") != snapshot.digest(start=b"r/b", end=b"r0")
        with pytest.raises(almadia.InvalidArgumentError):
            snapshot.digest()
    copied = pickle.loads(pickle.dumps(seen))
    assert (copied, hash(copied), copied.keys, copied.bytes) == (seen, hash(seen), 1, 4)
    assert almadia.RangeDigest(bytes(seen)) == seen
    assert repr(seen) == "<almadia.RangeDigest keys=1 bytes=4>"
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        almadia.RangeDigest(bytes(seen)[1:])

    def add(key: bytes) -> None:
        with store.batch() as batch:
            batch.if_range(copied, prefix=b"r/")
            batch[key] = b"2"

    add(b"r/b")
    with pytest.raises(almadia.PreconditionFailedError) as raised:
        add(b"r/c")
    assert (raised.value.operation, raised.value.exists) == (0, False)
    assert b"r/b" in store
    assert b"r/c" not in store


@pytest.mark.asyncio
async def test_a_range_is_judged_from_asyncio(tmp_path: Path) -> None:
    async with almadia.aio.open(tmp_path / "store") as store:
        await store.put(b"r/a", b"1")
        async with store.snapshot() as snapshot:
            seen = await snapshot.digest(prefix=b"r/")
        async with store.batch() as batch:
            batch.if_range(seen, start=b"r/", end=b"r0")
            batch[b"r/a"] = b"2"
        with pytest.raises(almadia.PreconditionFailedError):
            async with store.batch() as batch:
                batch.if_range(seen, prefix=b"r/")
                batch[b"r/a"] = b"3"
        assert await store.get(b"r/a") == b"2"


def test_a_failed_condition_crosses_processes(store: almadia.Store) -> None:
    position = store.put(b"k", b"v")
    with pytest.raises(almadia.PreconditionFailedError) as raised:
        store.put_if_absent(b"k", b"w")

    copied = pickle.loads(pickle.dumps(raised.value))

    assert (copied.operation, copied.exists, copied.version) == (0, True, position.version)


def on_all(members: list[almadia.Store], body: Callable[[almadia.Store], None]) -> None:
    """Runs `body` in a thread for each member."""
    failures: list[BaseException] = []

    def run(store: almadia.Store) -> None:
        try:
            body(store)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_three_members_count_without_a_lock(members: list[almadia.Store]) -> None:
    def count(store: almadia.Store) -> None:
        for _ in range(30):
            store.add(b"added", timeout=20)
            while True:
                value, version = store.get_with_version(b"compared", timeout=20)
                try:
                    store.compare_and_set(b"compared", b"%d" % (int(value or 0) + 1), version=version, timeout=20)
                except almadia.PreconditionFailedError:
                    continue
                break

    on_all(members, count)

    assert members[0].add(b"added", 0) == 90
    assert members[1][b"compared"] == b"90"


def test_three_members_take_every_task_once(members: list[almadia.Store]) -> None:
    taken: list[bytes] = []
    for number in range(60):
        members[number % 3].put_versioned(b"queue/", b"%d" % number, timeout=20)

    def work(store: almadia.Store) -> None:
        while (task := store.take_first(prefix=b"queue/", timeout=20)) is not None:
            taken.append(task[1])

    on_all(members, work)

    assert sorted(taken, key=int) == [b"%d" % number for number in range(60)]


@pytest.mark.asyncio
async def test_asyncio_has_the_same_calls(tmp_path: Path) -> None:
    async with almadia.aio.open(tmp_path / "store") as store:
        first = await store.put_if_absent(b"k", b"1")
        with pytest.raises(almadia.PreconditionFailedError) as raised:
            await store.put_if_absent(b"k", b"2")
        assert raised.value.version == first.version
        second = await store.compare_and_set(b"k", b"2", version=first.version)
        await store.compare_and_set(b"k", b"3", expected=b"2")
        with pytest.raises(almadia.PreconditionFailedError):
            await store.compare_and_delete(b"k", version=second.version)
        await store.compare_and_delete(b"k", expected=b"3")
        assert await store.pop(b"k", 7) == 7
        with pytest.raises(almadia.KeyNotFound):
            await store.pop(b"k")
        assert await store.add(b"n", 3) == 3
        key = await store.put_versioned(b"q/", b"task")
        taken = await store.take_first(prefix=b"q/")
        assert taken is not None
        assert taken[:2] == (key, b"task")
        assert await store.take_first(prefix=b"q/") is None
        async with store.batch() as batch:
            batch.if_absent(b"k")
            batch.add(b"n")
        assert (batch.succeeded, batch.results) == (True, {1: 4})


@pytest.mark.asyncio
async def test_three_members_of_asyncio_count_and_take_without_a_lock(tmp_path: Path) -> None:
    addresses = free_addresses(3)
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(
                almadia.aio.open(tmp_path / str(node), node_id=node, initial_members=addresses, options=FAST)
            )
            for node in addresses
        ]
        for store in stores:
            await store.wait_leader(timeout=20)

        async def work(store: almadia.aio.Store) -> list[bytes]:
            await asyncio.gather(*(store.add(b"n", timeout=20) for _ in range(40)))
            await asyncio.gather(*(store.put_versioned(b"q/", b"x", timeout=20) for _ in range(20)))
            keys = []
            while (task := await store.take_first(prefix=b"q/", timeout=20)) is not None:
                keys.append(task[0])
            return keys

        taken = [key for keys in await asyncio.gather(*map(work, stores)) for key in keys]

        assert await stores[0].add(b"n", 0) == 120
        assert len(taken) == len(set(taken)) == 60
