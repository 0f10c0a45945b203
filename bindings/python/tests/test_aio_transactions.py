"""Transactions of the asyncio front end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import almadia
import almadia.aio
import pytest
import pytest_asyncio

from .conftest import FAST, free_addresses

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[almadia.aio.Store]:
    async with almadia.aio.open(tmp_path / "store") as store:
        yield store


async def add(txn: almadia.aio.Transaction, key: bytes, delta: int) -> int:
    total = int(await txn.get(key, 0)) + delta
    txn[key] = b"%d" % total
    return total


async def test_a_block_commits_at_its_end(store: almadia.aio.Store) -> None:
    await store.put(b"from", b"100")
    async with store.transaction() as txn:
        await add(txn, b"from", -30)
        txn.put(b"to", b"30")
        assert (await txn.get(b"from"), await txn.get(b"to"), await txn.get(b"none", 5)) == (b"70", b"30", 5)
        assert await store.get(b"from") == b"100"
        assert repr(txn) == "<almadia.aio.Transaction open>"
    assert await store.get_many([b"from", b"to"]) == [b"70", b"30"]

    with pytest.raises(LookupError):
        async with store.transaction(key=b"k", level="local", timeout=20) as txn:
            del txn[b"from"]
            raise LookupError
    assert txn.closed

    txn = await store.transaction()
    txn.delete_range(prefix=b"fr")
    position = await txn.commit()
    assert position.version > 0
    with pytest.raises(almadia.ClosedError):
        await txn.commit()
    async with await store.transaction() as txn:
        txn.delete(b"to")
        await txn.rollback()
    assert await store.get_many([b"from", b"to"]) == [None, b"30"]
    assert (await store.status()).live_snapshots == 0


async def test_conflicts_are_told(store: almadia.aio.Store) -> None:
    await store.put(b"k", b"1")
    with pytest.raises(almadia.ConflictError) as raised:
        async with store.transaction() as txn:
            await txn.get(b"k")
            await store.put(b"k", b"2")
            txn[b"k"] = b"3"
    assert (raised.value.key, raised.value.range) == (b"k", None)

    with pytest.raises(almadia.ConflictError) as raised:
        async with store.transaction() as txn:
            assert [key async for key in txn.keys(prefix=b"r/")] == []
            await store.put(b"r/1", b"2")
            txn[b"k"] = b"3"
    assert (raised.value.key, raised.value.range) == (None, (b"r/", b"r0"))

    async with store.transaction() as txn:
        await txn.get(b"k", exempt=True)
        assert [item async for item in txn.items(prefix=b"r/", exempt=True)] == [(b"r/1", b"2")]
        await store.put(b"k", b"4")
        await store.put(b"r/2", b"4")
        txn[b"k"] = b"5"
    assert await store.get(b"k") == b"5"


async def test_what_is_on_the_disk_is_read_too(tmp_path: Path) -> None:
    little = {"engine.memtable_bytes": 1 << 20, "engine.block_cache_bytes": 1 << 20}
    async with almadia.aio.open(tmp_path / "store", options=little) as store:
        for number in range(40):
            await store.put(b"%02d" % number, os.urandom(100_000))
        until = time.monotonic() + 30
        while in_memory(await store.transaction(), b"00"):
            assert time.monotonic() < until, "the engine keeps it in memory"
            await asyncio.sleep(0.01)

        txn = await store.transaction()
        assert len(await txn.get(b"00", b"")) == 100_000
        await store.put(b"00", b"w")
        txn[b"k"] = b"v"
        with pytest.raises(almadia.ConflictError) as raised:
            await txn.commit()
        assert raised.value.key == b"00"


def in_memory(txn: almadia.aio.Transaction, key: bytes) -> bool:
    try:
        return txn._core.get_from_memory(key, True) is not None
    except LookupError:
        return False


async def test_iterations_show_own_writes(store: almadia.aio.Store) -> None:
    async with store.batch() as batch:
        for number in range(100):
            batch[b"%02d" % number] = b"v"
    async with store.transaction() as txn:
        seen = []
        async for key in txn:
            seen.append(key)
            del txn[key]
            if key == b"49":
                txn.delete_range(b"50", b"60")
                txn[b"595"] = b"own"
        assert seen == [b"%02d" % number for number in range(50)] + [b"595"] + [
            b"%02d" % number for number in range(60, 100)
        ]
        assert [key async for key in txn.keys(reverse=True)] == []
    async with store.snapshot() as snapshot:
        assert [key async for key in snapshot] == []


async def test_what_an_iteration_has_not_reached_may_change(store: almadia.aio.Store) -> None:
    async with store.batch() as batch:
        for number in range(100):
            batch[b"%02d" % number] = b"v"
    async with store.transaction() as txn:
        async for key in txn.keys():
            assert key == b"00"
            break
        await store.put(b"01", b"w")
        txn[b"k"] = b"v"
    assert await store.get(b"k") == b"v"


async def test_transact_runs_again_until_it_commits(store: almadia.aio.Store) -> None:
    runs = []

    async def body(txn: almadia.aio.Transaction) -> int:
        runs.append(await add(txn, b"n", 1))
        if len(runs) < 3:
            await store.put(b"n", b"%d" % (10 * len(runs)))
        return runs[-1]

    assert await store.transact(body, timeout=20) == 21
    assert runs == [1, 11, 21]
    assert await store.get(b"n") == b"21"

    def plain(txn: almadia.aio.Transaction) -> str:
        txn[b"n"] = b"plain"
        return "returned"

    assert await store.transact(plain) == "returned"
    assert await store.get(b"n") == b"plain"
    assert await store.transact(lambda txn: txn.rollback()) is None

    async def fail(txn: almadia.aio.Transaction) -> None:
        txn[b"n"] = b"failed"
        raise LookupError

    with pytest.raises(LookupError):
        await store.transact(fail)
    assert await store.get(b"n") == b"plain"
    assert (await store.status()).live_snapshots == 0


async def test_transact_gives_up_at_its_deadline(store: almadia.aio.Store) -> None:
    runs = []

    async def body(txn: almadia.aio.Transaction) -> None:
        runs.append(await txn.get(b"n"))
        await store.put(b"n", b"%d" % len(runs))
        txn[b"n"] = b"never"

    for _ in range(20):
        runs.clear()
        with pytest.raises(almadia.AlmadiaError) as raised:
            await store.transact(body, timeout=0.3)
        if isinstance(raised.value, almadia.ConflictError):
            break
        # The time may also be up while a transaction begins or commits.
        assert isinstance(raised.value, TimeoutError)
    assert f"it was tried {len(runs)} times before the deadline" in str(raised.value)
    assert len(runs) > 1
    with pytest.raises(ValueError, match="timeout must be 0 seconds or more"):
        await store.transact(body, timeout=-1)


async def test_a_decorated_function_takes_a_store_or_a_transaction(store: almadia.aio.Store) -> None:
    @almadia.transactional
    async def transfer(txn: almadia.aio.Transaction, source: bytes, target: bytes, *, amount: int) -> int:
        await add(txn, source, -amount)
        return await add(txn, target, amount)

    @almadia.transactional
    async def transfer_twice(txn: almadia.aio.Transaction) -> int:
        await transfer(txn, b"a", b"b", amount=1)
        return await transfer(txn, b"a", b"b", amount=2)

    assert await transfer(store, b"a", b"b", amount=5) == 5
    assert await transfer_twice(store) == 8
    async with store.transaction() as txn:
        await transfer(txn, b"a", b"b", amount=1)
        await txn.rollback()
    assert await store.get_many([b"a", b"b"]) == [b"-8", b"8"]
    wrong: Any = 5
    with pytest.raises(TypeError, match="is a store or a transaction, not int"):
        await transfer(wrong, b"a", b"b", amount=1)


async def test_a_cancelled_task_rolls_back(store: almadia.aio.Store) -> None:
    entered = asyncio.Event()
    kept: list[almadia.aio.Transaction] = []

    async def body(txn: almadia.aio.Transaction) -> None:
        kept.append(txn)
        txn[b"k"] = b"v"
        entered.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(store.transact(body))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert kept[0].closed
    assert await store.get(b"k") is None
    assert (await store.status()).live_snapshots == 0


async def test_a_commit_that_is_cancelled_leaves_nothing_behind(store: almadia.aio.Store) -> None:
    async with store.batch() as batch:
        for number in range(1000):
            batch[b"%03d" % number] = b"v" * 1000
    for _ in range(20):
        txn = await store.transaction()
        assert len([key async for key in txn]) >= 1000
        txn[b"k"] = b"v"
        task = asyncio.create_task(txn.commit())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert txn.closed
    until = time.monotonic() + 30
    while (status := await store.status()).in_flight or status.live_snapshots:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


async def test_the_loop_runs_while_a_large_commit_is_prepared(store: almadia.aio.Store) -> None:
    for part in range(8):
        async with store.batch() as batch:
            for number in range(1000):
                batch[b"%d/%03d" % (part, number)] = bytes(7000)

    async def longest_stall_of_a_commit() -> float:
        txn = await store.transaction()
        assert len([key async for key in txn.keys(prefix=b"")]) >= 8000
        txn[b"k"] = b"v"
        stalls = [0.0]

        async def watch() -> None:
            while True:
                began = time.monotonic()
                await asyncio.sleep(0)
                stalls.append(time.monotonic() - began)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        began = time.monotonic()
        await txn.commit()
        watching.cancel()
        return max(stalls) / (time.monotonic() - began)

    # Reading 56 MB again takes a good part of a commit. A busy machine may stall the loop too, but not each time.
    assert any([await longest_stall_of_a_commit() < 0.2 for _ in range(5)])


async def test_three_members_count(tmp_path: Path) -> None:
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

        async def count(store: almadia.aio.Store) -> None:
            async def body(txn: almadia.aio.Transaction) -> None:
                await add(txn, b"n", 1)
                await add(txn, b"of/%d" % store.node_id, 1)
                assert await txn.get(b"n") == b"%d" % sum([int(value) async for value in txn.values(prefix=b"of/")])

            for _ in range(15):
                await store.transact(body, timeout=60)

        await asyncio.gather(*(count(store) for store in stores for _ in range(2)))

        assert await stores[0].get(b"n") == b"90"
