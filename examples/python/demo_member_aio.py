"""One member of a cluster, with asyncio: `make demo` replaces a C member with it.

    demo_member_aio.py DIRECTORY NODE MEMBERS LIST

Accepts these commands of examples/c/member.c: load A-B,C,... / status / verify / stop. One thread keeps many writes in
flight.
"""

from __future__ import annotations

import asyncio
import sys
import time

import almadia
import almadia.aio
from demo_items import Comparison, Item, parse_ranges, read_items

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
                case ["stop"]:
                    break
    print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
