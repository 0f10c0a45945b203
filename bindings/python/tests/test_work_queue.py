"""The work queues of the recipes, blocking and of asyncio, on one member."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import almadia
import almadia.recipes
import pytest
from almadia.recipes import ClaimLostError

from .recipe_stores import APPLIED, Clock, Kit, in_doubt, unknown


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
