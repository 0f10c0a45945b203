"""The asyncio front end: several loops, cancellation, closing, and the same names as the blocking one."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import almadia
import almadia.aio
import pytest
import pytest_asyncio
import uvloop
from almadia import _almadia

from .conftest import FAST, free_addresses


async def close_at_once(store: almadia.aio.Store) -> None:
    """Closes a store without waiting for calls in flight; its threads may take longer to end on a busy machine."""
    try:
        await store.close(timeout=0)
    except almadia.ShuttingDownError:
        await store.close(timeout=60)


@pytest_asyncio.fixture
async def aio_store(tmp_path: Path) -> AsyncIterator[almadia.aio.Store]:
    async with almadia.aio.open(tmp_path / "store") as store:
        yield store


@pytest_asyncio.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[almadia.aio.Store]:
    """One of three members; the others are never started."""
    store = await almadia.aio.open(tmp_path / "alone", initial_members=free_addresses(3), options=FAST)
    yield store
    await close_at_once(store)


@pytest.mark.asyncio
async def test_the_names_of_the_blocking_store_are_awaitable(aio_store: almadia.aio.Store) -> None:
    position = await aio_store.put(b"a", b"1")
    async with aio_store.batch() as batch:
        batch[b"b"] = b"2"
        batch[b"c"] = b"3"

    assert batch.position is not None
    assert batch.position > position
    assert await aio_store.get(b"a") == b"1"
    assert await aio_store.get(b"x") is None
    assert await aio_store.get(b"x", 7) == 7
    assert await aio_store.get_many([b"c", b"x", b"a"]) == [b"3", None, b"1"]
    assert await aio_store.get(b"a", level="local", min_index=batch.position) == b"1"
    assert await aio_store.get(b"x", 7, level="local", min_index=batch.position.index) == 7
    assert await aio_store.get_many([b"b", b"x"], level="local", min_index=batch.position) == [b"2", None]
    assert (await aio_store.get_with_position(b"a", min_index=batch.position))[1] >= batch.position
    assert await aio_store.get_with_version(b"a", min_index=batch.position) == (b"1", position.version)
    assert await aio_store.get_with_version(b"c", level="local") == (b"3", batch.position.version)
    assert await aio_store.get_with_version(b"x", level="local") == (None, 0)
    removed = await aio_store.delete(b"a")
    nothing, there = await aio_store.get_with_position(b"a", level="local", min_index=removed)
    assert nothing is None
    assert there >= removed
    await aio_store.delete_range(b"b", b"c")
    async with aio_store.snapshot() as snapshot:
        assert [key async for key in snapshot] == [b"c"]
        value, version = await snapshot.get_with_version(b"c")
        assert version > 0
        assert [entry async for entry in snapshot.entries()] == [(b"c", value, version)]
        assert await snapshot.get_with_version(b"x") == (None, 0)
    assert (await aio_store.status()).role == "leader"
    assert len(await aio_store.regions()) == 1
    assert await aio_store.wait_leader(timeout=20) == 1
    await aio_store.transfer_leader(1)
    assert repr(aio_store).startswith("<almadia.aio.Store node=1 ")


@pytest.mark.asyncio
async def test_a_range_over_several_regions_is_removed(tmp_path: Path) -> None:
    async with almadia.aio.open(tmp_path / "store", bootstrap_split_keys="g,t") as store:
        for key in (b"a", b"g/1", b"g/2", b"z"):
            await store.put(key, b"v")
        await store.delete_range(prefix=b"g/")
        async with store.snapshot() as snapshot:
            assert [key async for key in snapshot] == [b"a", b"z"]

        await store.delete_range(None, None)

        async with store.snapshot() as snapshot:
            assert [key async for key in snapshot] == []
        wrong: Any = store.delete_range
        with pytest.raises(TypeError, match="delete_range takes a start and an end, or a prefix"):
            await wrong()


@pytest.mark.asyncio
async def test_a_snapshot_is_read_and_walked(aio_store: almadia.aio.Store) -> None:
    pairs = [(b"%05d" % number, b"v%d" % number) for number in range(3000)]
    async with aio_store.batch() as batch:
        for key, value in pairs:
            batch[key] = value

    snapshot = await aio_store.snapshot(prefix=b"0")
    await aio_store.put(b"00000", b"new")

    assert await snapshot.get(b"00000") == b"v0"
    assert await snapshot.get(b"0x", 1) == 1
    assert await snapshot.get_many([b"00001", b"0x"]) == [b"v1", None]
    view = await snapshot.get_view(b"00002")
    assert view is not None
    assert bytes(view) == b"v2"
    assert [pair async for pair in snapshot.items()] == pairs
    assert [key async for key in snapshot.keys(reverse=True, limit=2)] == [b"02999", b"02998"]
    assert [value async for value in snapshot.values(start=b"00010", end=b"00012")] == [b"v10", b"v11"]
    walk = snapshot.items()
    await anext(walk)
    assert snapshot.index > 0
    await snapshot.close()
    assert snapshot.closed
    with pytest.raises(almadia.ClosedError):
        await snapshot.get(b"00000")
    with pytest.raises(almadia.ClosedError):
        _ = [pair async for pair in walk]


@pytest.mark.asyncio
async def test_a_block_that_an_exception_leaves_writes_nothing(aio_store: almadia.aio.Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with aio_store.batch() as batch:
            batch[b"a"] = b"1"
            raise ZeroDivisionError

    assert await aio_store.get(b"a") is None


@pytest.mark.asyncio
async def test_a_batch_that_was_refused_is_as_it_was(tmp_path: Path) -> None:
    async with almadia.aio.open(tmp_path / "store", bootstrap_split_keys="m") as store:
        batch = almadia.Batch()
        batch[b"a"] = b"1"
        batch[b"z"] = b"2"

        with pytest.raises(almadia.BatchAcrossRegionsError):
            await store.write(batch)

        assert len(batch) == 2


@pytest.mark.asyncio
async def test_a_batch_whose_write_failed_later_has_its_operations_again(lonely: almadia.aio.Store) -> None:
    batch = almadia.Batch()
    batch[b"a"] = b"1"

    with pytest.raises(almadia.NoLeaderError) as raised:
        await lonely.write(batch, timeout=0.05)

    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    assert raised.value.retryable
    assert len(batch) == 1


@pytest.mark.asyncio
async def test_thousands_of_calls_are_under_way_at_once_and_answered_in_order(aio_store: almadia.aio.Store) -> None:
    positions = await asyncio.gather(*(aio_store.put(b"%d" % number, b"") for number in range(5000)))

    assert positions == sorted(positions)
    values = await asyncio.gather(*(aio_store.get(b"%d" % number) for number in range(5000)))
    assert values == [b""] * 5000
    assert (await aio_store.status()).in_flight == 0


@pytest.mark.asyncio
async def test_a_refused_call_raises_at_once_and_leaves_nothing_behind(aio_store: almadia.aio.Store) -> None:
    wrong: Any = "text"
    with pytest.raises(TypeError, match="keys are bytes, not str"):
        await aio_store.put(wrong, b"")
    with pytest.raises(almadia.TooLargeError):
        await aio_store.put(bytes(20000), b"")
    with pytest.raises(almadia.InvalidArgumentError):
        await aio_store.snapshot(start=b"z", end=b"a")


@pytest.mark.asyncio
async def test_a_cancelled_task_gives_its_call_up(lonely: almadia.aio.Store) -> None:
    tasks = [
        asyncio.create_task(lonely.put(b"k", b"v", timeout=600)),
        asyncio.create_task(lonely.get(b"k", timeout=600)),
        asyncio.create_task(lonely.get_many([b"k"], timeout=600)),
        asyncio.create_task(lonely.get_with_position(b"k", level="local", min_index=1 << 40, timeout=600)),
        asyncio.create_task(lonely.get_with_version(b"k", timeout=600)),
        asyncio.ensure_future(lonely.snapshot(timeout=600)),
    ]
    while (await lonely.status()).in_flight < len(tasks):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()

    assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * len(tasks)


@pytest.mark.asyncio
async def test_a_cancelled_call_is_answered_once(lonely: almadia.aio.Store) -> None:
    loop = asyncio.get_running_loop()
    completions = _almadia.Completions()
    loop.add_reader(completions.fileno(), completions.drain)
    future = loop.create_future()
    pending = _almadia.submit_put(completions, future, lonely._core, b"k", b"v", 600)

    assert pending.cancel()
    assert not pending.cancel()
    with pytest.raises(almadia.CancelledError) as raised:
        await future

    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    loop.remove_reader(completions.fileno())


@pytest.mark.asyncio
async def test_asyncio_timeout_ends_a_call(lonely: almadia.aio.Store) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await lonely.put(b"k", b"v", timeout=600)


@pytest.mark.asyncio
async def test_answers_and_cancellations_that_cross_are_no_errors(aio_store: almadia.aio.Store) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    for round_ in range(50):
        tasks = [asyncio.create_task(aio_store.put(b"%d" % number, b"")) for number in range(40)]
        for _ in range(round_ % 5):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, (almadia.Position, asyncio.CancelledError)) for result in results)
    gc.collect()

    assert reported == []


@pytest.mark.asyncio
async def test_closing_answers_what_is_under_way(tmp_path: Path) -> None:
    store = await almadia.aio.open(tmp_path / "alone", initial_members=free_addresses(3), options=FAST)
    calls = [asyncio.create_task(store.put(b"%d" % number, b"", timeout=600)) for number in range(100)]
    while (await store.status()).in_flight < len(calls):
        await asyncio.sleep(0)

    await close_at_once(store)
    await store.close()

    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, almadia.AlmadiaError) for result in results)
    with pytest.raises(almadia.ClosedError):
        await store.put(b"k", b"v")


def run_in(loop: str, main: Any) -> Any:
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def _write_and_read(store: almadia.aio.Store, prefix: bytes) -> int:
    await asyncio.gather(*(store.put(prefix + b"%d" % number, b"v") for number in range(300)))
    async with store.snapshot(prefix=prefix) as snapshot:
        return len([key async for key in snapshot])


class TestLoops:
    """Event loops that the tests create themselves."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_a_program_runs(self, tmp_path: Path, loop: str) -> None:
        async def main() -> int:
            async with almadia.aio.open(tmp_path / "store") as store:
                return await _write_and_read(store, b"k")

        assert run_in(loop, main()) == 300

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_one_store_serves_two_loops_in_two_threads(self, tmp_path: Path, loop: str) -> None:
        store = run_in(loop, _open(tmp_path / "store"))
        counts: list[int] = []

        def serve(prefix: bytes) -> None:
            counts.append(run_in(loop, _write_and_read(store, prefix)))

        threads = [threading.Thread(target=serve, args=(prefix,)) for prefix in (b"a", b"b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run_in(loop, store.close())

        assert counts == [300, 300]

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_a_loop_that_is_closed_with_calls_under_way_harms_nobody(self, tmp_path: Path, loop: str) -> None:
        store: Any = None

        async def leave() -> None:
            nonlocal store
            store = await almadia.aio.open(tmp_path / "alone", initial_members=free_addresses(3), options=FAST)
            for number in range(50):
                # Only the loop refers to the task, so both are collected together.
                asyncio.ensure_future(store.put(b"%d" % number, b"", timeout=600))
            while (await store.status()).in_flight < 50:
                await asyncio.sleep(0)

        run_in(loop, leave())

        async def again() -> None:
            with pytest.raises(almadia.NoLeaderError):
                await store.put(b"k", b"v", timeout=0.05)
            await close_at_once(store)

        run_in(loop, again())

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_loops_that_come_and_go_leave_no_descriptor_behind(
        self, store: almadia.Store, tmp_path: Path, loop: str
    ) -> None:
        other = run_in(loop, _open(tmp_path / "other"))

        def descriptors() -> int:
            gc.collect()
            return len(os.listdir("/proc/self/fd"))

        run_in(loop, other.put(b"k", b"v"))
        before = descriptors()
        for _ in range(20):
            run_in(loop, other.put(b"k", b"v"))

        assert descriptors() <= before + 2
        run_in(loop, other.close())

    def test_a_call_outside_a_loop_is_a_runtime_error(self, tmp_path: Path) -> None:
        store = run_in("asyncio", _open(tmp_path / "store"))

        call = store.put(b"k", b"v")
        with pytest.raises(RuntimeError, match="no running event loop"):
            call.send(None)
        run_in("asyncio", store.close())

    @pytest.mark.parametrize("name", ["Store", "Snapshot", "Transaction", "BatchBlock"])
    def test_both_front_ends_have_the_same_names_and_arguments(self, name: str) -> None:
        blocking, awaitable = getattr(almadia, name), getattr(almadia.aio, name)
        # What a mapping of Python returns is no awaitable: docs/asyncio.md says what to use instead.
        public = [key for key in dir(blocking) if not key.startswith("_") and key != "mapping"]

        assert public == [key for key in dir(awaitable) if not key.startswith("_")]
        for key in public:
            one, other = getattr(blocking, key), getattr(awaitable, key)
            if callable(one):
                assert inspect.signature(one).parameters == inspect.signature(other).parameters, key

    def test_both_open_take_the_same_arguments(self) -> None:
        assert inspect.signature(almadia.open).parameters == inspect.signature(almadia.aio.open).parameters


async def _open(path: Path) -> almadia.aio.Store:
    return await almadia.aio.open(path)


@pytest.mark.asyncio
async def test_a_walk_that_has_read_ahead_ends_when_its_snapshot_is_closed(aio_store: almadia.aio.Store) -> None:
    for key in (b"a", b"b", b"c"):
        await aio_store.put(key, b"")
    snapshot = await aio_store.snapshot()
    walk = snapshot.keys()

    assert await anext(walk) == b"a"
    await snapshot.close()

    with pytest.raises(almadia.ClosedError, match=r"^this snapshot was closed"):
        await anext(walk)


@pytest.mark.asyncio
async def test_a_snapshot_waits_for_a_position_as_for_its_index(aio_store: almadia.aio.Store) -> None:
    position = await aio_store.put(b"k", b"v")

    async with aio_store.snapshot(level="local", min_index=position) as snapshot:
        found: bytes = await snapshot.get(b"k", b"d")
        again: bytes = await aio_store.get(b"k", b"d")

    assert (found, again) == (b"v", b"v")
    with pytest.raises(ValueError, match="min_index must be 0 or more"):
        await aio_store.snapshot(min_index=-1)


@pytest.mark.asyncio
async def test_a_store_is_not_iterable(aio_store: almadia.aio.Store) -> None:
    walked: Any = aio_store

    for walk in (list, dict, iter):
        with pytest.raises(TypeError, match="not iterable"):
            walk(walked)
