"""`almadia.testing.AioCluster`: the same as `Cluster`, awaited."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import almadia
import pytest
import uvloop
from almadia import aio
from almadia.testing import AioCluster, Cluster, ClusterTimeout


@pytest.mark.asyncio
async def test_when_the_leader_is_cut_off_the_others_elect_and_no_write_is_lost(
    almadia_aio_cluster: AioCluster,
) -> None:
    before = await almadia_aio_cluster.leader()
    await asyncio.gather(*(before.put(b"%03d" % n, b"v%d" % n) for n in range(100)))

    almadia_aio_cluster.isolate(before)
    after = await almadia_aio_cluster.leader()
    written = await after.put(b"k", b"new")
    almadia_aio_cluster.heal()
    await almadia_aio_cluster.wait_applied(written)

    assert after is not before
    assert isinstance(after, aio.Store)
    async with before.snapshot(level="local") as snapshot:
        assert [item async for item in snapshot.items(end=b"a")] == [(b"%03d" % n, b"v%d" % n) for n in range(100)]
        assert await snapshot.get(b"k") == b"new"


@pytest.mark.asyncio
async def test_a_read_on_a_member_that_lags_waits_for_the_position_of_a_write(
    almadia_aio_cluster: AioCluster,
) -> None:
    leader = await almadia_aio_cluster.leader()
    behind = (await almadia_aio_cluster.followers())[0]
    before = await leader.put(b"k", b"old")
    assert await behind.get(b"k", level="local", min_index=before, timeout=20) == b"old"
    almadia_aio_cluster.isolate(behind)
    written = await (await almadia_aio_cluster.leader()).put(b"k", b"new", timeout=20)

    with pytest.raises(almadia.ReadTimeoutError, match=f"min_index is {written.index}") as raised:
        await behind.get(b"k", level="local", min_index=written, timeout=0.1)
    assert raised.value.retryable
    stale, position = await behind.get_with_position(b"k", level="local")
    assert stale == b"old"
    assert before <= position < written
    waiting = [
        asyncio.create_task(behind.get_with_position(b"k", level="local", min_index=written, timeout=60)),
        asyncio.create_task(behind.get_with_position(b"none", level="local", min_index=written, timeout=60)),
    ]
    almadia_aio_cluster.heal()
    (value, at), (nothing, there) = await asyncio.gather(*waiting)

    assert (value, nothing) == (b"new", None)
    assert at >= written
    assert there >= written


@pytest.mark.asyncio
async def test_a_killed_member_comes_back_with_everything(almadia_aio_cluster: AioCluster) -> None:
    killed = await almadia_aio_cluster.leader()
    await killed.put(b"before", b"1")

    await almadia_aio_cluster.kill(killed)
    await (await almadia_aio_cluster.leader()).put(b"meanwhile", b"2")
    restarted = await almadia_aio_cluster.restart(killed.node_id)

    assert killed.closed
    assert restarted is almadia_aio_cluster[killed.node_id]
    assert await restarted.get_many([b"before", b"meanwhile"]) == [b"1", b"2"]
    with pytest.raises(almadia.ClosedError):
        await killed.get(b"before")


@pytest.mark.asyncio
async def test_what_never_happens_fails_with_the_statuses(almadia_aio_cluster: AioCluster) -> None:
    await almadia_aio_cluster.kill(2)

    async def never() -> bool:
        return False

    with pytest.raises(ClusterTimeout, match="member 2: down"):
        await almadia_aio_cluster.wait_until(never, timeout=0.01)
    with pytest.raises(ClusterTimeout, match="a leader that a majority follows"):
        almadia_aio_cluster.isolate(1)
        await almadia_aio_cluster.leader(timeout=0.01)


@pytest.mark.asyncio
async def test_a_call_of_a_cancelled_task_is_no_leak(almadia_aio_cluster: AioCluster) -> None:
    leader = await almadia_aio_cluster.leader()
    almadia_aio_cluster.isolate(leader, silent=True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await leader.put(b"k", b"v")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_needs_no_plugin(tmp_path: Path, run: object) -> None:
    async def main() -> bytes | None:
        async with AioCluster(tmp_path / "cluster") as cluster:
            await cluster[1].put(b"k", b"v")
            return await cluster[2].get(b"k")

    assert callable(run)
    assert run(main()) == b"v"


def test_both_kinds_of_cluster_have_the_same_names() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in methods if name[0] != "_"}

    blocking, awaited = public(Cluster), public(AioCluster)

    assert {name: awaited.get(name) for name in blocking} == blocking
    assert set(awaited) - set(blocking) == {"start", "stop"}
