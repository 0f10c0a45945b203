"""The recipes, blocking and of asyncio, on one member: what they promise, also when outcomes are unknown."""

from __future__ import annotations

import almadia
import almadia.recipes
import pytest
from almadia.recipes import NameTakenError, NotOwnerError

from .recipe_stores import APPLIED, Clock, Kit, in_doubt, unknown

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
