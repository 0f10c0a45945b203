"""The recipes on three members, in threads, tasks and processes, while leaders change and takers die."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import almadia
import almadia.aio
import almadia.recipes
import almadia.recipes.aio
import pytest
from almadia.recipes import ClaimLostError, Counter, Names, NameTakenError, WorkQueue, update

from .conftest import free_addresses
from .test_conditions import on_all
from .waiting import wait_until

TASKS = 60


@contextmanager
def leaders_that_change(members: list[almadia.Store]) -> Iterator[None]:
    """Transfers leadership to the next member again and again, and at least once."""
    over = threading.Event()
    led: list[int] = []

    def transfer() -> None:
        while not over.is_set():
            with suppress(almadia.AlmadiaError):
                leader = members[0].wait_leader(timeout=5)
                members[leader - 1].transfer_leader(leader % len(members) + 1, timeout=5)
                led.append(leader)
            # Not too often: a transfer stops all writes for a moment.
            over.wait(0.05)

    thread = threading.Thread(target=transfer)
    thread.start()
    try:
        yield
        wait_until(lambda: bool(led))
    finally:
        over.set()
        thread.join()


def until_answered(call: Callable[..., Any], *arguments: Any, chance: random.Random) -> Any:
    """Repeats a call, which is often given so little time that its outcome is unknown, until it is answered."""
    while True:
        try:
            return call(*arguments, timeout=chance.choice([0.0005, 0.002, 0.005, 20]))
        except almadia.AlmadiaError as error:
            if not may_be_repeated(error):
                raise


def may_be_repeated(error: almadia.AlmadiaError) -> bool:
    return error.outcome is almadia.Outcome.UNKNOWN or error.retryable


def counted(task: almadia.recipes.Task) -> Callable[[almadia.Batch], None]:
    """What counts that a task is completed."""
    return lambda batch: batch.add(b"done/" + task.payload)


def test_every_increment_is_there_while_leaders_change(members: list[almadia.Store]) -> None:
    def count(store: almadia.Store) -> None:
        chance = random.Random(store.node_id)
        counter = Counter(store, b"n")
        for number in range(TASKS):
            # Two members at least count each request, and both until they are answered.
            until_answered(counter.add_once, b"%d" % number, 7, chance=chance)
            until_answered(counter.add_once, b"%d/%d" % (store.node_id, number), chance=chance)

    with leaders_that_change(members):
        on_all(members, count)

    assert Counter(members[0], b"n").value() == TASKS * 7 + 3 * TASKS


def test_every_update_is_there_while_leaders_change(members: list[almadia.Store]) -> None:
    def append(store: almadia.Store) -> None:
        chance = random.Random(store.node_id)
        for number in range(20):
            line = b"%d/%d\n" % (store.node_id, number)

            def change(value: bytes | None, line: bytes = line) -> bytes:
                return (value or b"") + line

            def call(timeout: float, line: bytes = line, change: Any = change) -> object:
                return update(store, b"log", change, once=b"once/" + line, timeout=timeout)

            while True:
                with suppress(almadia.ConflictError):
                    until_answered(call, chance=chance)
                    break

    with leaders_that_change(members):
        on_all(members, append)

    lines = members[0][b"log"].split()
    assert sorted(lines) == sorted(b"%d/%d" % (node, number) for node in (1, 2, 3) for number in range(20))
    for node in (1, 2, 3):
        own = [line for line in lines if line.startswith(b"%d/" % node)]
        assert own == [b"%d/%d" % (node, number) for number in range(20)]


def test_every_name_has_one_owner_while_leaders_change(members: list[almadia.Store]) -> None:
    won: list[tuple[bytes, int]] = []

    def reserve(store: almadia.Store) -> None:
        chance = random.Random(store.node_id)
        names = Names(store, b"names/")
        me = b"owner/%d" % store.node_id
        for number in range(TASKS):
            with suppress(NameTakenError):
                until_answered(names.reserve, b"%d" % number, me, chance=chance)
                until_answered(names.rename, b"%d" % number, b"of/%d" % number, me, chance=chance)
                won.append((b"%d" % number, store.node_id))

    with leaders_that_change(members):
        on_all(members, reserve)

    # A name that was changed is free again, and the new one taken: nobody else gets it.
    assert sorted(name for name, _ in won) == sorted(b"%d" % number for number in range(TASKS))
    for name, node in won:
        assert Names(members[0], b"names/").owner(b"of/" + name) == b"owner/%d" % node


def test_every_task_is_completed_once_while_leaders_change_and_takers_die(members: list[almadia.Store]) -> None:
    died: list[bytes] = []

    def put_and_work(store: almadia.Store) -> None:
        queue = WorkQueue(store, b"queue/")
        chance = random.Random(store.node_id)
        for number in range(TASKS):
            until_answered(queue.put_once, b"%d" % number, b"%d" % number, chance=chance)
        workers = [threading.Thread(target=work, args=(store, queue, store.node_id * 10 + n)) for n in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def work(store: almadia.Store, shared: WorkQueue, seed: int) -> None:
        chance = random.Random(seed)
        while shared.counts(timeout=20) != (0, 0):
            try:
                task = shared.take(1.0, wait=0.2, timeout=chance.choice([0.005, 20]))
            except almadia.AlmadiaError as error:
                if may_be_repeated(error):
                    continue
                raise
            if task is None:
                continue
            what = chance.random()
            if what < 0.15 and len(died) < TASKS // 4:
                died.append(task.payload)  # And forgets the task.
            elif what < 0.3:
                with suppress(ClaimLostError):
                    until_answered(shared.give_back, task, chance=chance)
            else:
                if what < 0.5:
                    with suppress(ClaimLostError):
                        until_answered(shared.extend, task, chance=chance)
                with suppress(ClaimLostError):
                    until_answered(shared.done, task, counted(task), chance=chance)

    with leaders_that_change(members):
        on_all(members, put_and_work)

    assert_completed_once(members[1])
    assert died


def assert_completed_once(store: almadia.Store) -> None:
    done = {key: int.from_bytes(value, "little") for key, value in store.mapping(b"done/").items()}
    assert done == {b"%d" % number: 1 for number in range(TASKS)}
    left = Tally(key.split(b"/")[0] for key in store.mapping(b"queue/"))
    assert left == {b"once": TASKS}


@pytest.mark.asyncio
async def test_tasks_of_asyncio_complete_every_task_once(members: list[almadia.Store]) -> None:
    stores = [almadia.aio.Store._of(store._core, store.path) for store in members]

    async def work(seed: int) -> None:
        chance = random.Random(seed)
        queue = almadia.recipes.aio.WorkQueue(stores[seed % 3], b"queue/")
        while await queue.counts(timeout=20) != (0, 0):
            try:
                # Cancelled as often as not.
                async with asyncio.timeout(chance.choice([0.001, 0.003, 0.01, 20])):
                    task = await queue.take(1.0, wait=0.2, timeout=20)
            except TimeoutError:
                continue
            if task is not None and chance.random() > 0.1:
                with suppress(ClaimLostError):
                    await queue.done(task, counted(task), timeout=20)

    for number in range(TASKS):
        queue = almadia.recipes.aio.WorkQueue(stores[number % 3], b"queue/")
        await queue.put_once(b"%d" % number, b"%d" % number, timeout=20)
    with leaders_that_change(members):
        await asyncio.gather(*(work(seed) for seed in range(9)))

    assert_completed_once(members[0])
    for store in stores:
        await store.close()


@pytest.mark.asyncio
async def test_a_take_that_is_cancelled_at_any_moment_loses_no_task(tmp_path: Path) -> None:
    chance = random.Random(1)
    async with almadia.aio.open(tmp_path / "store") as store:
        queue = almadia.recipes.aio.WorkQueue(store, b"queue/")
        cancelled = 0
        for number in range(80):
            await queue.put(b"%d" % number)
            taking = asyncio.create_task(queue.take(3600))
            await asyncio.sleep(chance.uniform(0, 0.004))
            taking.cancel()
            task = None
            try:
                task = await taking
            except asyncio.CancelledError:
                cancelled += 1
            task = task or await queue.take(3600)

            assert task is not None
            assert task.payload == b"%d" % number
            await queue.done(task)
        assert await queue.counts() == (0, 0)
        assert cancelled > 0


MEMBER = """
import sys, threading
import almadia
from almadia.recipes import ClaimLostError, Counter, WorkQueue

node, path, addresses = int(sys.argv[1]), sys.argv[2], eval(sys.argv[3])
TASKS = int(sys.argv[4])
over = threading.Event()


def transfer(store):
    while not over.wait(0.1):
        try:
            store.transfer_leader(timeout=5)
        except almadia.AlmadiaError:
            pass


def repeated(call, *arguments):
    while True:
        try:
            return call(*arguments, timeout=20)
        except ClaimLostError:
            raise
        except almadia.AlmadiaError as error:
            assert error.outcome is almadia.Outcome.UNKNOWN or error.retryable, error


def work(store, queue):
    while repeated(queue.counts) != (0, 0):
        task = repeated(lambda timeout: queue.take(2, wait=0.2, timeout=timeout))
        if task is None:
            continue
        repeated(Counter(store, b"taken").add_once, task.id)
        try:
            repeated(queue.extend, task)
            repeated(queue.done, task, lambda batch: batch.add(b"done/" + task.payload))
        except ClaimLostError as lost:
            print("lost", lost.completed, flush=True)


with almadia.open(path, node_id=node, initial_members=addresses) as store:
    queue = WorkQueue(store, b"queue/")
    store.wait_leader(timeout=60)
    for number in range(TASKS):
        repeated(queue.put_once, b"%d" % number, b"%d" % number)
    threads = [threading.Thread(target=transfer, args=(store,))]
    if node == 3:
        for _ in range(TASKS // 4):
            assert repeated(lambda timeout: queue.take(2, timeout=timeout)) is not None
        print("holds", flush=True)
        sys.stdin.readline()  # Until it is killed.
    print("ready", flush=True)
    sys.stdin.readline()
    threads += [threading.Thread(target=work, args=(store, queue)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    over.set()
    threads[0].join()
    done = sorted((int(key), int.from_bytes(value, "little")) for key, value in store.mapping(b"done/").items())
    print("done", done == [(number, 1) for number in range(TASKS)], Counter(store, b"taken").value(), flush=True)
    sys.stdin.readline()  # The other needs it until then.
"""


def test_processes_complete_every_task_once_though_one_is_killed_with_claims(tmp_path: Path) -> None:
    addresses = free_addresses(3)
    members = {
        node: subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(node), str(tmp_path / str(node)), repr(addresses), str(TASKS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in addresses
    }
    try:
        assert line_of(members[3]) == "holds"
        assert [line_of(members[node]) for node in (1, 2)] == ["ready", "ready"]
        members[3].kill()
        for node in (1, 2):
            say(members[node])
        ends = {node: line_of(members[node]) for node in (1, 2)}
        for node in (1, 2):
            say(members[node])
        codes = {node: members[node].wait(timeout=60) for node in (1, 2)}
        assert codes == {1: 0, 2: 0}
        assert set(ends.values()) == {f"done True {TASKS}"}
    finally:
        for member in members.values():
            member.kill()
            member.communicate(timeout=60)


def line_of(member: subprocess.Popen[str]) -> str:
    """The next line of a member's output, without those about claims that were lost."""
    assert member.stdout is not None
    while (line := member.stdout.readline()).startswith("lost"):
        pass
    if not line:
        _, errors = member.communicate(timeout=60)
        raise AssertionError(f"the member has ended: {errors}")
    return line.strip()


def say(member: subprocess.Popen[str]) -> None:
    assert member.stdin is not None
    member.stdin.write("\n")
    member.stdin.flush()
