"""The recipes, blocking and of asyncio, on one member: what they promise, also when outcomes are unknown."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import almadia
import almadia.recipes
import pytest
from almadia.recipes import ClaimLostError, NameTakenError, NotOwnerError

from .recipe_stores import APPLIED, LATE, LOST, Clock, Kit, a_loop

in_doubt = pytest.mark.parametrize("outcome", [APPLIED, LOST, LATE])


@pytest.fixture(params=["blocking", "asyncio"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    with ExitStack() as stack:
        store = stack.enter_context(almadia.open(tmp_path / "store"))
        kit = Kit(store, None if request.param == "blocking" else stack.enter_context(a_loop()))
        stack.callback(kit.close)
        yield kit
        assert store.status().live_snapshots == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the recipes."""
    clock = Clock()
    for module in ("_tasks", "_time", "aio", "documents", "names", "queue"):
        monkeypatch.setattr(f"almadia.recipes.{module}.time", clock)
    return clock


def unknown() -> Any:
    return pytest.raises(almadia.WriteTimeoutError, match="in doubt")


# The counter.


def test_a_counter_counts(kit: Kit) -> None:
    counter = kit.counter()

    assert counter.value() == 0
    assert [counter.add(), counter.add(41), counter.add(-44)] == [1, 42, -2]
    assert counter.value() == kit.counter().value() == -2
    assert kit.store.add(b"counter", 0) == -2
    kit.store[b"counter"] = b"text"
    for call in (counter.value, counter.add, lambda: counter.add_once(b"request")):
        with pytest.raises(almadia.NotANumberError):
            call()


def test_a_request_counts_once(kit: Kit) -> None:
    counter = kit.counter()

    assert [counter.add_once(b"a"), counter.add_once(b"a"), counter.add_once(b"b", 5)] == [True, False, True]
    assert counter.value() == 6
    counter.forget(b"a")
    counter.forget(b"b")
    assert kit.keys(b"counter") == [b""]
    assert counter.add_once(b"a")


@in_doubt
def test_an_addition_in_doubt_is_repeated_and_counts_once(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    counter = kit.counter(store)
    store.outcomes = [outcome, outcome]

    for _ in range(2):
        with unknown():
            counter.add_once(b"request", 10)
    assert counter.add_once(b"request", 10) == (outcome != APPLIED)
    kit.apply_late(store)

    assert counter.value() == 10


# Documents.


def test_an_update_creates_changes_and_removes(kit: Kit) -> None:
    assert kit.update(b"k", lambda value: (value or b"0") + b"1") == b"01"
    assert kit.update(b"k", lambda value: bytearray(value + b"2")) == b"012"
    assert kit.store[b"k"] == b"012"
    assert kit.update(b"k", lambda value: None) is None
    assert b"k" not in kit.store


def test_an_update_that_changes_nothing_writes_nothing(kit: Kit) -> None:
    kit.store[b"k"] = b"v"
    before = kit.store.status().last_index

    assert kit.update(b"k", lambda value: value) == b"v"
    assert kit.update(b"none", lambda value: value) is None

    assert kit.store.status().last_index == before


def test_an_update_is_computed_again_when_others_were_faster(kit: Kit) -> None:
    seen = []

    def change(value: bytes | None) -> bytes:
        seen.append(value)
        if len(seen) <= 3:
            # The third time what it was before, which is another version all the same.
            kit.store[b"k"] = b"x" * (len(seen) % 3)
        return (value or b"") + b"!"

    assert kit.update(b"k", change) == b"!"
    assert seen == [None, b"x", b"xx", b""]


def test_an_update_that_others_always_disturb_ends_in_a_conflict(kit: Kit, clock: Clock) -> None:
    calls = []

    def change(value: bytes | None) -> bytes:
        calls.append(value)
        clock.sleep(1)
        kit.store.add(b"k")
        return b"12345678"

    with pytest.raises(almadia.ConflictError, match=r"2 times others changed b'k' first, within 2\.5 s") as raised:
        kit.update(b"k", change, timeout=2.5)

    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    assert (len(calls), kit.store.add(b"k", 0)) == (3, 3)


def test_what_a_change_raises_ends_the_update(kit: Kit) -> None:
    with pytest.raises(ZeroDivisionError):
        kit.update(b"k", lambda value: b"%d" % (1 // 0))
    with pytest.raises(TypeError):
        kit.update(b"k", lambda value: "text")


@in_doubt
def test_an_update_in_doubt_is_repeated_and_made_once(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    store.outcomes = [outcome]
    kit.store[b"k"] = b"0"

    def change(value: bytes | None) -> bytes:
        return (value or b"") + b"1"

    with unknown():
        kit.update(b"k", change, store=store, once=b"once/1")
    assert kit.update(b"k", change, store=store, once=b"once/1") == b"01"
    kit.apply_late(store)
    assert kit.update(b"k", change, store=store, once=b"once/1") == b"01"

    assert kit.store[b"k"] == b"01"
    assert kit.update(b"k", change, once=b"once/2") == b"011"


def test_a_change_that_changed_nothing_is_made_too(kit: Kit) -> None:
    assert kit.update(b"k", lambda value: value, once=b"once") is None
    kit.store[b"k"] = b"v"

    assert kit.update(b"k", lambda value: b"w", once=b"once") == b"v"


# Names.


def test_a_name_has_one_owner(kit: Kit) -> None:
    names = kit.names()

    version = names.reserve(b"ada", b"1")
    assert names.owner(b"ada") == b"1"
    assert names.reserve(b"ada", bytearray(b"1")) == version
    with pytest.raises(NameTakenError, match="b'ada' is reserved for b'1'") as raised:
        names.reserve(b"ada", b"2")
    assert (raised.value.owner, raised.value.outcome) == (b"1", almadia.Outcome.NOT_APPLIED)
    assert not names.release(b"ada", b"2")
    assert names.release(b"ada", b"1")
    assert not names.release(b"ada", b"1")
    assert names.owner(b"ada") is None
    assert names.reserve(b"ada", b"2") > version


def test_a_name_is_changed_for_another(kit: Kit) -> None:
    names = kit.names()
    names.reserve(b"old", b"1")
    names.reserve(b"taken", b"2")

    version = names.rename(b"old", b"new", b"1")
    assert (names.owner(b"old"), names.owner(b"new")) == (None, b"1")
    assert names.rename(b"old", b"new", b"1") == version
    assert names.rename(b"new", b"new", b"1") == version
    with pytest.raises(NameTakenError) as taken:
        names.rename(b"new", b"taken", b"1")
    assert taken.value.owner == b"2"
    for old, owner in ((b"taken", b"2"), (b"free", None)):
        with pytest.raises(NotOwnerError) as raised:
            names.rename(old, b"other", b"1")
        assert raised.value.owner == owner
    assert kit.keys(b"names/") == [b"new", b"taken"]


def test_a_name_that_others_change_meanwhile_is_looked_at_again(kit: Kit) -> None:
    store = kit.doubtful()
    names, others = kit.names(store), almadia.recipes.Names(kit.store, b"names/")
    first = names.reserve(b"old", b"1")

    # Another gets the new one between the look and the write.
    store.meanwhile = {"write": [lambda: others.reserve(b"new", b"2")]}
    with pytest.raises(NameTakenError) as taken:
        names.rename(b"old", b"new", b"1")
    assert taken.value.owner == b"2"
    # Another has the new one only for that moment.
    store.meanwhile = {
        "snapshot": [lambda: others.release(b"new", b"2"), lambda: others.release(b"new", b"2")],
        "write": [lambda: others.reserve(b"new", b"2")],
    }
    assert names.rename(b"old", b"new", b"1") > first
    # The old one is lost in that moment.
    store.meanwhile = {"write": [lambda: (others.release(b"new", b"1"), others.reserve(b"new", b"3"))]}
    with pytest.raises(NotOwnerError) as raised:
        names.rename(b"new", b"newest", b"1")
    assert raised.value.owner == b"3"
    # A name becomes free between the attempt that it refuses and the look at its owner.
    store.meanwhile = {"get_with_version": [lambda: others.release(b"new", b"3")]}
    assert names.reserve(b"new", b"1") > first
    # It is released when another has released it, and reserved it again: that is another reservation.
    store.meanwhile = {"compare_and_delete": [lambda: (others.release(b"new", b"1"), others.reserve(b"new", b"1"))]}
    assert not names.release(b"new", b"1")
    assert names.owner(b"new") == b"1"


@in_doubt
def test_names_in_doubt_are_asked_for_again(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    names = kit.names(store)

    store.outcomes = [outcome]
    with unknown():
        names.reserve(b"a", b"1")
    names.reserve(b"a", b"1")
    kit.apply_late(store)
    store.outcomes = [outcome]
    with unknown():
        names.rename(b"a", b"b", b"1")
    names.rename(b"a", b"b", b"1")
    kit.apply_late(store)
    assert kit.keys(b"names/") == [b"b"]
    store.outcomes = [outcome]
    with unknown():
        names.release(b"b", b"1")
    assert names.release(b"b", b"1") == (outcome != APPLIED)
    names.reserve(b"b", b"1")
    kit.apply_late(store)
    # The late release was of an earlier reservation.
    assert names.owner(b"b") == b"1"


# The queue.


def test_tasks_are_taken_in_the_order_in_which_they_were_put(kit: Kit) -> None:
    queue = kit.queue()
    ids = [queue.put(b"%d" % number) for number in range(20)]
    assert ids == sorted(ids)

    tasks = [queue.take(30) for _ in range(20)]

    assert [task.payload for task in tasks] == [b"%d" % number for number in range(20)]
    assert [task.id for task in tasks] == ids
    assert {task.attempts for task in tasks} == {1}
    assert queue.take(30) is None
    assert queue.counts() == (0, 20)
    for task in tasks:
        queue.done(task)
    assert kit.keys(b"queue/") == []


def test_takers_that_meet_at_a_task_take_others(kit: Kit) -> None:
    store = kit.doubtful()
    queue, others = kit.queue(store), almadia.recipes.WorkQueue(kit.store, b"queue/")
    for number in range(5):
        queue.put(b"%d" % number)
    taken: list[Any] = []
    # Whatever it tries first, or second, another gets it just before.
    store.meanwhile = {"write": [lambda: taken.append(others.take(30))] * 2}

    task = queue.take(30)

    assert [other.payload for other in taken] == [b"0", b"1"]
    assert task.payload in {b"2", b"3", b"4"}
    assert queue.counts() == (2, 3)


def test_a_taker_gives_up_when_others_are_always_faster(kit: Kit, clock: Clock) -> None:
    store = kit.doubtful()
    queue, others = kit.queue(store), almadia.recipes.WorkQueue(kit.store, b"queue/")
    queue.put(b"work")
    store.meanwhile = {"write": [lambda: others.take(30)]}

    assert queue.take(30, timeout=10) is None
    assert queue.counts() == (0, 1)


def test_queues_do_not_see_each_other(kit: Kit) -> None:
    kit.store[b"queu"] = kit.store[b"queue0"] = b"others"
    kit.queue(prefix=b"queue/a/").put(b"a")
    kit.queue(prefix=b"queue/b/").put(b"b")

    task = kit.queue(prefix=b"queue/b/").take(30)

    assert task.payload == b"b"
    assert kit.queue(prefix=b"queue/b/").take(30) is None
    kit.queue(prefix=b"queue/b/").done(task)
    assert kit.queue(prefix=b"queue/a/").counts() == (1, 0)


def test_a_task_that_nobody_keeps_is_taken_over(kit: Kit, clock: Clock) -> None:
    first, second = kit.queue(), kit.queue()
    first.put(b"work")
    lost = first.take(30)
    assert second.take(30) is None

    clock.sleep(29.9)
    assert second.take(30) is None
    clock.sleep(0.1)
    task = second.take(60)

    assert (task.id, task.payload, task.attempts) == (lost.id, b"work", 2)
    for call in (first.done, first.extend, first.give_back):
        with pytest.raises(ClaimLostError) as raised:
            call(lost)
        assert isinstance(raised.value, almadia.ConflictError)
        assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
        assert not raised.value.completed
    second.done(task)
    with pytest.raises(ClaimLostError) as raised:
        first.done(lost)
    assert raised.value.completed
    assert kit.keys(b"queue/") == []


def test_the_clock_of_a_claim_begins_when_a_taker_first_sees_it(kit: Kit, clock: Clock) -> None:
    holder, late = kit.queue(), kit.queue()
    holder.put(b"work")
    task = holder.take(30)
    clock.sleep(1000)

    assert late.take(30) is None
    clock.sleep(15)
    holder.extend(task)
    clock.sleep(15)
    assert late.take(30) is None
    clock.sleep(29)
    assert late.take(30) is None
    holder.done(task)
    clock.sleep(1)
    assert late.take(30) is None


def test_a_claim_that_is_extended_is_kept(kit: Kit, clock: Clock) -> None:
    holder, other = kit.queue(), kit.queue()
    holder.put(b"work")
    task = holder.take(30)

    for _ in range(20):
        assert other.take(30) is None
        clock.sleep(20)
        holder.extend(task)
    holder.done(task)


def test_a_lost_task_is_found_though_others_always_wait(kit: Kit, clock: Clock) -> None:
    dead, queue = kit.queue(), kit.queue()
    dead.put(b"lost")
    dead.take(30)
    for number in range(10):
        queue.put(b"%d" % number)

    taken = []
    for _ in range(11):
        task = queue.take(3000)
        taken.append(task.payload)
        queue.done(task)
        clock.sleep(10)

    assert taken == [b"0", b"1", b"2", b"lost", *(b"%d" % number for number in range(3, 10))]


def test_many_lost_tasks_are_found_piece_by_piece(kit: Kit, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_tasks", "queue", "aio"):
        monkeypatch.setattr(f"almadia.recipes.{module}.CLAIMS", 8)
    dead, queue = kit.queue(), kit.queue()
    for number in range(24):
        dead.put(b"%d" % number)
    for _ in range(24):
        dead.take(30)
    # Eight at each look: after three all were seen, and the fourth sees that there are no more.
    assert [queue.take(30) for _ in range(4)] == [None] * 4
    clock.sleep(30)

    taken = [task.payload for task in (queue.take(1000) for _ in range(100)) if task is not None]

    assert sorted(taken, key=int) == [b"%d" % number for number in range(24)]


def test_taking_reads_no_more_however_many_wait_or_are_claimed(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = kit.queue()
    for number in range(40):
        queue.put(b"%d" % number)
    for _ in range(20):
        queue.take(30)
    limits = []
    entries = almadia.Snapshot.entries

    def limited(*arguments: Any, **named: Any) -> Any:
        limits.append(named["limit"])
        return entries(*arguments, **named)

    monkeypatch.setattr("almadia._base.BaseSnapshot.entries", limited)
    before = kit.store.status().last_index

    assert queue.take(30).payload == b"20"
    assert limits == [16, 64]
    assert kit.store.status().last_index == before + 1


def test_a_task_that_is_given_back_comes_first_again(kit: Kit) -> None:
    queue = kit.queue()
    for number in range(3):
        queue.put(b"%d" % number)
    task = queue.take(30)
    queue.take(30)

    queue.give_back(task)
    again = queue.take(30)

    assert (again.id, again.payload, again.attempts) == (task.id, b"0", 2)
    with pytest.raises(ClaimLostError):
        queue.give_back(task)
    queue.give_back(again)
    assert queue.take(30).attempts == 3


def test_what_belongs_to_a_completion_is_applied_with_it(kit: Kit, clock: Clock) -> None:
    first, second = kit.queue(), kit.queue()
    first.put(b"work")
    lost = first.take(30)
    second.take(30)
    clock.sleep(30)
    task = second.take(30)

    with pytest.raises(ClaimLostError):
        first.done(lost, lambda batch: batch.add(b"done"))
    assert b"done" not in kit.store
    with pytest.raises(almadia.PreconditionFailedError) as raised:
        second.done(task, lambda batch: batch.if_present(b"none"))
    assert not isinstance(raised.value, ClaimLostError)
    with pytest.raises(almadia.InvalidArgumentError):
        second.done(task, lambda batch: batch.otherwise())
    second.done(task, lambda batch: (batch.add(b"done"), batch.put(b"result", b"r")))
    with pytest.raises(ClaimLostError):
        second.done(task, lambda batch: batch.add(b"done"))

    assert (kit.store.add(b"done", 0), kit.store[b"result"]) == (1, b"r")


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_visibility_timeout_that_makes_no_sense_is_refused(kit: Kit, timeout: float) -> None:
    with pytest.raises(ValueError, match="visibility_timeout must be above 0 seconds"):
        kit.queue().take(timeout)


def test_a_claim_may_last_for_ever(kit: Kit, clock: Clock) -> None:
    kit.queue().put(b"work")
    kit.queue().take(float("inf"))
    queue = kit.queue()
    for _ in range(3):
        assert queue.take(1) is None
        clock.sleep(1e9)


def test_a_taker_waits_for_a_task(kit: Kit) -> None:
    taken: list[Any] = []
    taker = threading.Thread(target=lambda: taken.append(kit.queue().take(30, wait=60)))
    taker.start()

    kit.queue().put(b"work")
    taker.join()

    assert taken[0].payload == b"work"


def test_the_keys_of_others_in_a_queue_are_noticed(kit: Kit) -> None:
    queue = kit.queue()
    queue.put(b"work")
    kit.store.delete_range(prefix=b"queue/task/")

    with pytest.raises(almadia.KeyNotFound, match="others have written to the keys of the queue"):
        queue.take(30)


@in_doubt
def test_a_task_whose_putting_is_in_doubt_is_put_once(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    queue = kit.queue(store)
    store.outcomes = [outcome]

    with unknown():
        queue.put_once(b"request", b"work")
    assert queue.put_once(b"request", b"work") == (outcome != APPLIED)
    kit.apply_late(store)

    task = queue.take(30)
    assert task.payload == b"work"
    assert queue.take(30) is None
    queue.done(task)
    assert not queue.put_once(b"request", b"work")
    queue.forget(b"request")
    assert kit.keys(b"queue/") == []


@in_doubt
def test_a_task_whose_taking_is_in_doubt_is_found_by_the_next_one(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    queue, other = kit.queue(store), kit.queue()
    for payload in (b"one", b"two"):
        queue.put(payload)
    store.outcomes = [outcome, outcome]

    for _ in range(2):
        with unknown():
            queue.take(30)
    task = queue.take(30)
    kit.apply_late(store)

    assert (task.payload, task.attempts) == (b"one", 1)
    assert other.take(30).payload == b"two"
    assert other.take(30) is None
    queue.done(task)


@in_doubt
def test_a_task_in_doubt_that_another_has_taken_is_left_to_it(kit: Kit, clock: Clock, outcome: str) -> None:
    store = kit.doubtful()
    queue, other = kit.queue(store), kit.queue()
    queue.put(b"work")
    store.outcomes = [outcome]
    with unknown():
        queue.take(30)

    early = other.take(30)
    clock.sleep(30)
    task = early or other.take(30)
    assert (task.payload, task.attempts) == (b"work", 2 if outcome == APPLIED else 1)
    kit.apply_late(store)
    assert queue.take(30) is None
    other.done(task)
    kit.apply_late(store)
    assert kit.keys(b"queue/") == []


@in_doubt
def test_a_completion_in_doubt_is_repeated_and_made_once(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    queue = kit.queue(store)
    queue.put(b"work")
    task = queue.take(30)
    store.outcomes = [outcome, outcome]

    for call in (queue.extend, lambda task: queue.done(task, lambda batch: batch.add(b"done"))):
        with unknown():
            call(task)
    if outcome == APPLIED:
        with pytest.raises(ClaimLostError) as raised:
            queue.done(task, lambda batch: batch.add(b"done"))
        assert raised.value.completed
    else:
        queue.extend(task)
        queue.done(task, lambda batch: batch.add(b"done"))
    kit.apply_late(store)

    assert kit.store.add(b"done", 0) == 1
    assert kit.keys(b"queue/") == []


@in_doubt
def test_a_task_whose_return_is_in_doubt_is_given_back_once(kit: Kit, outcome: str) -> None:
    store = kit.doubtful()
    queue, other = kit.queue(store), kit.queue()
    queue.put(b"work")
    task = queue.take(30)
    store.outcomes = [outcome]

    with unknown():
        queue.give_back(task)
    if outcome == APPLIED:
        with pytest.raises(ClaimLostError):
            queue.give_back(task)
    else:
        queue.give_back(task)
    taken = other.take(30)
    kit.apply_late(store)

    assert (taken.payload, taken.attempts) == (b"work", 2)
    assert other.take(30) is None
    other.done(taken)
    assert kit.keys(b"queue/") == []


def test_what_recipes_raise_crosses_processes(kit: Kit, clock: Clock) -> None:
    names, queue = kit.names(), kit.queue()
    names.reserve(b"n", b"1")
    queue.put(b"work")
    task = queue.take(30)
    queue.done(task)

    calls: list[tuple[Callable[[], object], str, object]] = [
        (lambda: names.reserve(b"n", b"2"), "owner", b"1"),
        (lambda: names.rename(b"n", b"m", b"2"), "owner", b"1"),
        (lambda: queue.done(task), "completed", True),
    ]
    for call, attribute, value in calls:
        with pytest.raises(almadia.AlmadiaError) as raised:
            call()
        copied = pickle.loads(pickle.dumps(raised.value))
        assert type(copied) is type(raised.value)
        assert (str(copied), getattr(copied, attribute)) == (str(raised.value), value)


def test_a_recipe_over_several_regions_is_refused(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", options={"bootstrap.split_keys": "q/u"}) as store:
        with pytest.raises(almadia.BatchAcrossRegionsError):
            almadia.recipes.WorkQueue(store, b"q/").put(b"work")
        assert not store.mapping()
        almadia.recipes.WorkQueue(store, b"q/a/").put(b"work")
