"""One member of a cluster, with asyncio: `make demo` replaces a C member with it.

    demo_member_aio.py DIRECTORY NODE MEMBERS LIST

Accepts these commands of examples/c/member.c: load A-B,C,... / status / verify / count A-B / work / tally / stop. One
thread keeps many writes in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time

import almadia
import almadia.aio
from demo_items import Comparison, Item, parse_ranges, read_items
from demo_work import (
    CHOICES,
    COUNT_KEY,
    COUNTED_PREFIX,
    DONE_PREFIX,
    TODO_PREFIX,
    done_key,
    increment,
    may_repeat,
    parse_range,
)

IN_FLIGHT_MAX = 128


async def load(store: almadia.aio.Store, items: list[Item], numbers: list[int]) -> None:
    """Puts these items, many concurrently, and reports the outcome of each."""
    places = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def put(number: int) -> None:
        async with places:
            started = time.monotonic()
            try:
                await store.put(items[number].key, items[number].value())
            except almadia.AlmadiaError as error:
                outcome = "unknown" if error.outcome is almadia.Outcome.UNKNOWN else "not-applied"
                print(f"failed {number} {outcome} {error.name}", flush=True)
            else:
                now = time.monotonic()
                print(f"ok {number} {(now - started) * 1e6:.0f} {now * 1e6:.0f}", flush=True)

    async with asyncio.TaskGroup() as writes:
        for number in numbers:
            writes.create_task(put(number))
    print("loaded", flush=True)


async def verify(store: almadia.aio.Store, items: list[Item]) -> None:
    """Compares every pair of one linearizable snapshot with the list."""
    started = time.monotonic()
    comparison = Comparison(items)
    async with store.snapshot() as snapshot:
        taken = time.monotonic()
        async for key, value in snapshot.items():
            comparison.add(key, value)
    total_us = (time.monotonic() - started) * 1e6
    print(f"verified {comparison} {(taken - started) * 1e6:.0f} {total_us:.0f}", flush=True)


async def move_on(store: almadia.aio.Store, done: int, moving: bool) -> None:
    """Every tenth time a member that leads hands over, if it is asked to; calls under way are answered all the same."""
    if moving and done % 10 == 0:
        with contextlib.suppress(almadia.AlmadiaError):
            await store.transfer_leader()


async def count(store: almadia.aio.Store, node: str, numbers: range, moving: bool) -> None:
    """Counts each of these numbers, once."""
    for done, number in enumerate(numbers, 1):
        while True:
            try:
                await store.write(increment(node, number))
            except almadia.PreconditionFailedError:
                break  # it was counted before
            except almadia.AlmadiaError as error:
                if not may_repeat(error):
                    raise
            else:
                break
        print(f"counted {number}", flush=True)
        await move_on(store, done, moving)
    print("counting ended", flush=True)


@almadia.transactional
async def take_task(transaction: almadia.aio.Transaction, node: str) -> bytes | None:
    """Moves one of the first tasks to the done ones. Run again until nobody else was at the same one.

    They are looked at without being bound to them; the one that is chosen must be there still at the commit.
    """
    first = [key async for key in transaction.keys(prefix=TODO_PREFIX, limit=CHOICES, exempt=True)]
    if not first:
        return None
    key = random.choice(first)
    await transaction.get(key)
    transaction.delete(key)
    transaction.put(done_key(key), node.encode())
    return key


async def work(store: almadia.aio.Store, node: str, moving: bool) -> None:
    """Takes tasks until none is left."""
    done = 0
    while True:
        try:
            key = await take_task(store, node)
        except almadia.AlmadiaError as error:
            # Taken, or not, and then somebody takes it.
            if not may_repeat(error) and not isinstance(error, almadia.ConflictError):
                raise
            continue
        if key is None:
            break
        print(f"took {key.removeprefix(TODO_PREFIX).decode()}", flush=True)
        done += 1
        await move_on(store, done, moving)
    print("working ended", flush=True)


async def tally(store: almadia.aio.Store) -> None:
    """Reports the counter, the numbers that were counted, and the tasks."""
    async with store.snapshot() as snapshot:
        total = int.from_bytes(await snapshot.get(COUNT_KEY) or b"", "little")
        keys = [[key async for key in snapshot.keys(prefix=it)] for it in (COUNTED_PREFIX, TODO_PREFIX, DONE_PREFIX)]
        print("tally", total, *(len(found) for found in keys), flush=True)


async def main() -> None:
    """Opens the store and executes commands."""
    directory, node, members, item_list = sys.argv[1:5]
    items = read_items(item_list)
    async with almadia.aio.open(directory, node_id=int(node), initial_members=members) as store:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            match line.split():
                case ["load", ranges]:
                    await load(store, items, parse_ranges(ranges))
                case ["status"]:
                    status = await store.status()
                    print(
                        f"status {status.role} {status.leader or 0} {status.term} {status.commit_index} "
                        f"{status.applied_index} {int(status.poisoned is not None)}",
                        flush=True,
                    )
                case ["verify"]:
                    await verify(store, items)
                case ["count", numbers, *moving]:
                    await count(store, node, parse_range(numbers), bool(moving))
                case ["work", *moving]:
                    await work(store, node, bool(moving))
                case ["tally"]:
                    await tally(store)
                case ["stop"]:
                    break
    print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
