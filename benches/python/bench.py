"""Measures calls from Python: `make bench` runs it with a wheel that has the feature `bench`.

    bench.py [JSON]     adds its rows to the file JSON, which the Rust benchmarks wrote

Rows: awaited puts of a store that does nothing (the round trip alone), awaited durable puts of one and of three members
in this process, and blocking calls; 16-byte keys, 100-byte values. CPU is that of the whole process, including all
members and this program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import almadia
import almadia.aio
import uvloop
from almadia import _almadia
from almadia._loops import answer_of

SECONDS = 3.0
VALUE = b"v" * 100


class Row(NamedTuple):
    """One measurement."""

    name: str
    in_flight: int
    members: int
    ops_per_s: float
    p50_us: float
    p99_us: float
    cpu_us_per_op: float
    goal: float | None


Call = Callable[[bytes], Awaitable[object]]


async def keep_in_flight(call: Call, in_flight: int) -> list[float]:
    """Keeps `in_flight` calls in flight for `SECONDS`; returns the latency of each in microseconds."""
    latencies: list[float] = []
    end = time.perf_counter() + SECONDS

    async def worker(number: int) -> None:
        count = 0
        now = time.perf_counter()
        while now < end:
            begun = now
            await call(b"%06d-%09d" % (number, count))
            now = time.perf_counter()
            latencies.append((now - begun) * 1e6)
            count += 1

    await asyncio.gather(*(worker(number) for number in range(in_flight)))
    return latencies


def cpu_s() -> float:
    """CPU time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(name: str, call: Call, in_flight: int, members: int, goal: float | None = None) -> Row:
    """Measures one row and prints it."""
    cpu, begun = cpu_s(), time.perf_counter()
    latencies = sorted(await keep_in_flight(call, in_flight))
    wall_s, used_s = time.perf_counter() - begun, cpu_s() - cpu
    count = len(latencies)
    p50, p99 = latencies[count // 2], latencies[count * 99 // 100]
    row = Row(name, in_flight, members, count / wall_s, p50, p99, used_s / count * 1e6, goal)
    show(row)
    return row


def show(row: Row) -> None:
    """Prints a row."""
    goal = "" if row.goal is None else f"  {row.ops_per_s / row.goal:5.2f} x {row.goal:,.0f}"
    print(
        f"  {row.name:<28}{row.members:>2} {row.in_flight:>5} {row.ops_per_s:>10,.0f}/s {row.p50_us:>8.0f} us "
        f"{row.p99_us:>8.0f} us {row.cpu_us_per_op:>6.1f} us CPU{goal}",
        flush=True,
    )


class Echo(Protocol):
    """A store that does nothing: `src/echo.rs` of the extension."""

    def submit_put(
        self, completions: _almadia.Completions, future: asyncio.Future[almadia.Position], key: bytes, value: bytes
    ) -> _almadia.Pending:
        """As `_almadia.submit_put`, without a store."""


def echo() -> Call:
    """Puts of a store that does nothing."""
    nothing: Echo = vars(_almadia)["Echo"]()

    async def put(key: bytes) -> object:
        return await answer_of(nothing.submit_put, key, VALUE)

    return put


def free_addresses(count: int) -> list[str]:
    """Loopback addresses that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{probe.getsockname()[1]}" for probe in sockets]


@contextlib.asynccontextmanager
async def cluster(directory: Path, members: int) -> AsyncIterator[almadia.aio.Store]:
    """Members in this process; yields the one that leads."""
    numbers = range(1, members + 1)
    names = dict(zip(numbers, free_addresses(members), strict=True)) if members > 1 else None
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(
                almadia.aio.open(directory / f"{members}-{number}", node_id=number, initial_members=names)
            )
            for number in numbers
        ]
        leader = await stores[0].wait_leader(timeout=30)
        yield stores[leader - 1]


async def awaited(directory: Path, loop: str) -> list[Row]:
    """All rows of awaited calls, in the running event loop."""
    rows = [await measure(f"awaited no-op ({loop})", echo(), in_flight, 0, goal) for in_flight, goal in NO_OPS]
    for members in (1, 3):
        async with cluster(directory, members) as store:

            async def put(key: bytes, store: almadia.aio.Store = store) -> object:
                return await store.put(key, VALUE)

            for in_flight in (1, 64, 1000):
                goal = 60_000.0 if (members, in_flight) == (3, 1000) else None
                rows.append(await measure(f"awaited put ({loop})", put, in_flight, members, goal))
    return rows


NO_OPS: list[tuple[int, float | None]] = [(1, None), (64, 100_000.0), (1000, 100_000.0)]


def blocking(directory: Path) -> Iterator[Row]:
    """All rows of blocking calls, from one thread."""
    with almadia.open(directory / "blocking") as store:
        store.wait_leader(timeout=30)

        async def put(key: bytes) -> object:
            return store.put(key, VALUE)

        async def get(key: bytes) -> object:
            return store.get(b"k")

        store[b"k"] = VALUE
        yield asyncio.run(measure("blocking put", put, 1, 1))
        yield asyncio.run(measure("blocking get, by lease", get, 1, 1))


def main() -> None:
    """Measures, prints, and adds the rows to the file."""
    directory = Path(tempfile.mkdtemp(prefix="almadia-bench-"))
    try:
        print("python                       members in flight        rate      p50         p99")
        rows = list(blocking(directory))
        for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
            stores = directory / loop
            stores.mkdir()
            rows += run(awaited(stores, loop))
    finally:
        shutil.rmtree(directory)
    if len(sys.argv) > 1:
        add_to(Path(sys.argv[1]), rows)


def add_to(file: Path, rows: list[Row]) -> None:
    """Adds rows to a file and replaces earlier rows of the same names. The object about the machine has no name."""
    added = [row._asdict() | {"name": f"python {row.name}/{row.members}/{row.in_flight}"} for row in rows]
    names = {row["name"] for row in added}
    before = [row for row in json.loads(file.read_text()) if row.get("name") not in names] if file.exists() else []
    file.write_text("[\n" + ",\n".join("  " + json.dumps(row) for row in before + added) + "\n]\n")


if __name__ == "__main__":
    main()
