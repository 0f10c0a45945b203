"""One member of a cluster, blocking: `make demo` replaces a C member with it.

    demo_member.py DIRECTORY NODE MEMBERS LIST

Accepts these commands of examples/c/member.c: load A-B,C,... / status / verify / count A-B / work / tally / stop. It
loads with threads, because each blocking call waits for a majority; the GIL is released meanwhile.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import almadia
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

WRITERS = 16


def load(store: almadia.Store, items: list[Item], numbers: list[int]) -> None:
    """Puts these items and reports the outcome of each."""

    def put(number: int) -> str:
        started = time.monotonic()
        try:
            store.put(items[number].key, items[number].value())
        except almadia.AlmadiaError as error:
            outcome = "unknown" if error.outcome is almadia.Outcome.UNKNOWN else "not-applied"
            return f"failed {number} {outcome} {error.name}"
        now = time.monotonic()
        return f"ok {number} {(now - started) * 1e6:.0f} {now * 1e6:.0f}"

    with ThreadPoolExecutor(WRITERS) as writers:
        for answer in writers.map(put, numbers):
            print(answer, flush=True)
    print("loaded", flush=True)


def verify(store: almadia.Store, items: list[Item]) -> None:
    """Compares every pair of one linearizable snapshot with the list."""
    started = time.monotonic()
    comparison = Comparison(items)
    with store.snapshot() as snapshot:
        taken = time.monotonic()
        for key, value in snapshot.items():
            comparison.add(key, value)
    total_us = (time.monotonic() - started) * 1e6
    print(f"verified {comparison} {(taken - started) * 1e6:.0f} {total_us:.0f}", flush=True)


def move_on(store: almadia.Store, done: int, moving: bool) -> None:
    """Every tenth time a member that leads hands over, if it is asked to; calls under way are answered all the same."""
    if moving and done % 10 == 0:
        with contextlib.suppress(almadia.AlmadiaError):
            store.transfer_leader()


def count(store: almadia.Store, node: str, numbers: range, moving: bool) -> None:
    """Counts each of these numbers, once."""
    for done, number in enumerate(numbers, 1):
        while True:
            try:
                store.write(increment(node, number))
            except almadia.PreconditionFailedError:
                break  # it was counted before
            except almadia.AlmadiaError as error:
                if not may_repeat(error):
                    raise
            else:
                break
        print(f"counted {number}", flush=True)
        move_on(store, done, moving)
    print("counting ended", flush=True)


@almadia.transactional
def take_task(transaction: almadia.Transaction, node: str) -> bytes | None:
    """Moves one of the first tasks to the done ones. Run again until nobody else was at the same one.

    They are looked at without being bound to them; the one that is chosen must be there still at the commit.
    """
    first = list(transaction.keys(prefix=TODO_PREFIX, limit=CHOICES, exempt=True))
    if not first:
        return None
    key = random.choice(first)
    transaction.get(key)
    transaction.delete(key)
    transaction.put(done_key(key), node.encode())
    return key


def work(store: almadia.Store, node: str, moving: bool) -> None:
    """Takes tasks until none is left."""
    done = 0
    while True:
        try:
            key = take_task(store, node)
        except almadia.AlmadiaError as error:
            # Taken, or not, and then somebody takes it.
            if not may_repeat(error) and not isinstance(error, almadia.ConflictError):
                raise
            continue
        if key is None:
            break
        print(f"took {key.removeprefix(TODO_PREFIX).decode()}", flush=True)
        done += 1
        move_on(store, done, moving)
    print("working ended", flush=True)


def tally(store: almadia.Store) -> None:
    """Reports the counter, the numbers that were counted, and the tasks."""
    with store.snapshot() as snapshot:
        total = int.from_bytes(snapshot[COUNT_KEY], "little")
        keys = (sum(1 for _ in snapshot.keys(prefix=prefix)) for prefix in (COUNTED_PREFIX, TODO_PREFIX, DONE_PREFIX))
        print("tally", total, *keys, flush=True)


def main() -> None:
    """Opens the store and executes commands."""
    directory, node, members, item_list = sys.argv[1:5]
    items = read_items(item_list)
    with almadia.open(directory, node_id=int(node), initial_members=members) as store:
        print("ready", flush=True)
        for line in sys.stdin:
            match line.split():
                case ["load", ranges]:
                    load(store, items, parse_ranges(ranges))
                case ["status"]:
                    status = store.status()
                    print(
                        f"status {status.role} {status.leader or 0} {status.term} {status.commit_index} "
                        f"{status.applied_index} {int(status.poisoned is not None)}",
                        flush=True,
                    )
                case ["verify"]:
                    verify(store, items)
                case ["count", numbers, *moving]:
                    count(store, node, parse_range(numbers), bool(moving))
                case ["work", *moving]:
                    work(store, node, bool(moving))
                case ["tally"]:
                    tally(store)
                case ["stop"]:
                    break
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
