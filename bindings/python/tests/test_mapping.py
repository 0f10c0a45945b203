"""`store.mapping()`: Python's own suites for mappings and shelves, and what a mapping promises over many members."""

from __future__ import annotations

import inspect
import pickle
import shelve
import tempfile
import textwrap
import threading
import unittest
from collections.abc import Callable, Iterator, MutableMapping
from itertools import count
from pathlib import Path
from typing import Any

import almadia
import pytest

# Debian has them in a package of their own, which scripts/install-needs.sh installs.
import test.mapping_tests as mapping_suite  # type: ignore[import-not-found]
import test.test_shelve as shelve_suite  # type: ignore[import-not-found]

from .test_conditions import on_all


class Stored:
    """A store for the suites, and mappings of it that are empty."""

    directory: tempfile.TemporaryDirectory[str]
    store: almadia.Store
    numbers: Iterator[int]

    @classmethod
    def setUpClass(cls) -> None:
        Stored.directory = tempfile.TemporaryDirectory()
        Stored.store = almadia.open(Path(Stored.directory.name) / "store")
        Stored.numbers = count()

    @classmethod
    def tearDownClass(cls) -> None:
        Stored.store.close()
        Stored.directory.cleanup()

    @staticmethod
    def empty() -> almadia.StoreMapping:
        return Stored.store.mapping(b"%d/" % next(Stored.numbers))


def adapted(function: Callable[..., Any], changes: dict[str, str], **names: object) -> Callable[..., Any]:
    """A test of Python's, with other words where it has keys or dictionaries that it makes itself."""
    source = textwrap.dedent(inspect.getsource(function))
    for word, other in changes.items():
        assert word in source, f"{function.__qualname__} has no {word!r} any more"
        source = source.replace(word, other)
    scope = {**function.__globals__, **names}
    exec(compile(source, inspect.getsourcefile(function) or "", "exec"), scope)
    made: Callable[..., Any] = scope[function.__name__]
    return made


class TestMappingProtocol(Stored, mapping_suite.BasicTestMappingProtocol):  # type: ignore[misc]
    """`test.mapping_tests` on the mapping itself, whose keys and values are bytes."""

    type2test = almadia.StoreMapping

    def _reference(self) -> dict[bytes, bytes]:
        return {b"1": b"2", b"key1": b"value1", b"key2": b""}

    def _empty_mapping(self) -> almadia.StoreMapping:
        return self.empty()

    test_update = adapted(
        mapping_suite.BasicTestMappingProtocol.test_update,
        {"return 'a'": "return b'a'", "chr(self.i)": "b'%c' % self.i"},
    )


class ShelfProtocol(Stored, shelve_suite.TestShelveBase):  # type: ignore[misc]
    """What `test.test_shelve` runs over a dictionary, over a mapping of a store."""

    _args: dict[str, Any]

    def _empty_mapping(self) -> shelve.Shelf[Any]:
        return shelve.Shelf(self.empty(), **self._args)


for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    name = f"TestProto{protocol}StoreShelve"
    bases = (ShelfProtocol, mapping_suite.BasicTestMappingProtocol)
    globals()[name] = type(name, bases, {"_args": {"protocol": protocol}, "__module__": __name__})


MADE = {"byteskeydict()": "Stored.empty()", "= {}": "= Stored.empty()", "Shelf({})": "Shelf(Stored.empty())"}
"""How the tests of shelves make a dictionary, and what makes a mapping instead."""


class TestShelve(Stored, unittest.TestCase):
    """The tests of `test.test_shelve` that make a shelf of a dictionary; its others are about files."""


for name, function in vars(shelve_suite.TestCase).items():
    if name.startswith("test_"):
        words = {word: other for word, other in MADE.items() if word in inspect.getsource(function)}
        if words:
            setattr(TestShelve, name, adapted(function, words, Stored=Stored))


def test_the_tests_of_shelves_are_found() -> None:
    assert {"test_close", "test_in_memory_shelf", "test_mutable_entry", "test_keyencoding", "test_with"} < set(
        vars(TestShelve)
    )


def test_it_is_a_mutable_mapping_of_the_keys_under_a_prefix(store: almadia.Store) -> None:
    store[b"a"] = b"not in it"
    store[b"b/"] = b"empty"
    store[b"b/1"] = b"one"
    store[b"c"] = b"not in it"
    mapping = store.mapping(b"b/")

    assert isinstance(mapping, MutableMapping)
    assert mapping.prefix == b"b/"
    assert dict(mapping) == {b"": b"empty", b"1": b"one"}
    mapping[b"2"] = b"two"
    assert store[b"b/2"] == b"two"
    assert list(store.mapping().items()) == [
        (b"a", b"not in it"),
        (b"b/", b"empty"),
        (b"b/1", b"one"),
        (b"b/2", b"two"),
        (b"c", b"not in it"),
    ]
    mapping.clear()
    assert list(store.mapping()) == [b"a", b"c"]
    assert "b'b/'" in repr(mapping)
    assert "StoreMapping" in repr(mapping)


def test_keys_values_and_items_are_in_order_both_ways(store: almadia.Store) -> None:
    mapping = store.mapping(b"m/")
    mapping.update({b"%03d" % number: b"v%d" % number for number in reversed(range(50))})
    keys = [b"%03d" % number for number in range(50)]
    values = [b"v%d" % number for number in range(50)]

    assert list(mapping) == list(mapping.keys()) == keys
    assert list(mapping.values()) == values
    assert list(mapping.items()) == list(zip(keys, values, strict=True))
    assert list(reversed(mapping)) == list(reversed(mapping.keys())) == keys[::-1]
    assert list(reversed(mapping.values())) == values[::-1]
    assert list(reversed(mapping.items())) == list(zip(keys, values, strict=True))[::-1]
    assert (len(mapping), len(mapping.keys()), len(mapping.values())) == (50, 50, 50)
    assert b"v7" in mapping.values()
    assert b"v50" not in mapping.values()
    assert (b"007", b"v7") in mapping.items()
    assert (b"007", b"v8") not in mapping.items()
    assert mapping.keys() & {b"007", b"x"} == {b"007"}
    assert mapping == dict(zip(keys, values, strict=True))
    assert mapping != {}
    assert mapping == store.mapping(b"m/")


def test_no_key_is_got_by_itself_while_a_mapping_is_read(store: almadia.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = store.mapping(b"m/")
    mapping.update({b"%d" % number: b"v" for number in range(100)})
    snapshots: list[object] = []
    snapshot = almadia.Store.snapshot

    def counted(*arguments: Any, **named: Any) -> almadia.Snapshot:
        snapshots.append(named)
        return snapshot(*arguments, **named)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a key is got by itself")

    monkeypatch.setattr(almadia.Store, "get", refused)
    monkeypatch.setattr(almadia.Store, "snapshot", counted)
    reads: list[Callable[[], object]] = [
        lambda: [*iter(mapping)],
        lambda: [*reversed(mapping)],
        lambda: [*iter(mapping.keys())],
        lambda: [*iter(mapping.values())],
        lambda: dict(mapping.items()),
        lambda: len(mapping),
        lambda: bool(mapping),
        lambda: mapping == {},
        lambda: b"x" in mapping.values(),
    ]
    for number, read in enumerate(reads, 1):
        read()
        assert len(snapshots) == number


def test_an_iteration_shows_one_snapshot_and_closes_it(store: almadia.Store) -> None:
    mapping = store.mapping(b"m/")
    mapping.update({b"%04d" % number: b"v" for number in range(3000)})

    seen = []
    for key in mapping:
        seen.append(key)
        if len(seen) % 100 == 0:
            mapping[key + b"/more"] = b"w"
        if len(seen) == 1500:
            del mapping[b"2500"]
            mapping.clear()
    assert len(seen) == 3000
    assert not any(key.endswith(b"/more") for key in seen)
    assert store.status().live_snapshots == 0

    mapping.clear()
    mapping.update({b"%04d" % number: b"v" for number in range(3000)})
    left = iter(mapping)
    assert next(left) == b"0000"
    assert store.status().live_snapshots > 0
    del left
    assert store.status().live_snapshots == 0


def test_a_missing_key_is_a_key_error_that_shows_the_key(store: almadia.Store) -> None:
    mapping = store.mapping(b"m/")
    calls: list[Callable[[], object]] = [
        lambda: mapping[b"k"],
        lambda: mapping.pop(b"k"),
        lambda: mapping.__delitem__(b"k"),
    ]
    for call in calls:
        with pytest.raises(KeyError, match="there is no key b'k' under b'm/'") as raised:
            call()
        assert isinstance(raised.value, almadia.KeyNotFound)
    with pytest.raises(almadia.KeyNotFound, match="no key under b'm/'"):
        mapping.popitem()
    assert mapping.get(b"k") is None
    assert mapping.pop(b"k", 7) == 7


@pytest.mark.parametrize(
    "call",
    [
        lambda mapping: mapping["k"],
        lambda mapping: "k" in mapping,
        lambda mapping: mapping.get(1),
        lambda mapping: mapping.__setitem__("k", b"v"),
        lambda mapping: mapping.__setitem__(b"k", "v"),
        lambda mapping: mapping.setdefault(b"k", None),
        lambda mapping: mapping.setdefault(b"k"),
        lambda mapping: mapping.update({"k": b"v"}),
        lambda mapping: mapping.update(k=b"v"),
        lambda mapping: mapping.pop("k", None),
        lambda mapping: mapping.__delitem__(None),
    ],
)
def test_what_is_not_bytes_is_a_type_error(store: almadia.Store, call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        call(store.mapping(b"m/"))
    assert not store.mapping()
    with pytest.raises(TypeError, match="keys are bytes, not str"):
        store.mapping("m/")  # type: ignore[arg-type]


def test_keys_and_prefixes_are_anything_bytes_like(store: almadia.Store) -> None:
    mapping = store.mapping(bytearray(b"m/"))

    mapping[bytearray(b"a")] = memoryview(b"1")
    assert mapping.setdefault(memoryview(b"xbx")[1:2], bytearray(b"2")) == b"2"

    assert dict(mapping.items()) == {b"a": b"1", b"b": b"2"}
    assert mapping.pop(memoryview(b"a")) == b"1"


def test_an_update_is_written_in_batches(store: almadia.Store) -> None:
    mapping = store.mapping(b"m/")
    before = store.put(b"x", b"y").index

    mapping.update((b"%06d" % number, b"v") for number in range(5000))

    assert len(mapping) == 5000
    assert store.status().last_index - before == 5


def test_an_update_with_large_values_is_written(store: almadia.Store) -> None:
    mapping = store.mapping(b"m/")
    large = bytes(8_323_072)

    mapping.update([(b"small", b"v"), (b"a", large), (b"b", large), (b"after", b"w"), (b"small", b"last")])

    assert {key: len(value) for key, value in mapping.items()} == {
        b"a": len(large),
        b"after": 1,
        b"b": len(large),
        b"small": 4,
    }
    with pytest.raises(almadia.TooLargeError):
        mapping.update({b"c": large + b"1"})


def test_an_update_that_fails_leaves_whole_batches(store: almadia.Store) -> None:
    mapping = store.mapping(b"m/")

    def pairs() -> Iterator[tuple[bytes, bytes]]:
        for number in range(1500):
            yield b"%04d" % number, b"v"
        raise LookupError("the source is broken")

    with pytest.raises(LookupError, match="the source is broken"):
        mapping.update(pairs())
    assert len(mapping) == 1000


def test_a_prefix_over_several_regions_works_but_not_as_one(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", options={"bootstrap.split_keys": "m/3,m/6"}) as store:
        mapping = store.mapping(b"m/")
        pairs = {b"%d" % number: b"v%d" % number for number in range(10)}
        store[b"l"] = store[b"n"] = b"others"

        mapping.update(pairs)
        assert dict(mapping.items()) == pairs
        assert (len(mapping), bool(mapping)) == (10, True)
        assert list(reversed(mapping)) == sorted(pairs, reverse=True)
        assert mapping.setdefault(b"7", b"x") == b"v7"
        assert mapping.pop(b"4") == b"v4"
        del mapping[b"5"]
        taken = [mapping.popitem()[0] for _ in range(6)]
        assert taken == [b"0", b"1", b"2", b"3", b"6", b"7"]
        mapping.clear()
        assert not mapping
        with pytest.raises(KeyError):
            mapping.popitem()
        assert list(store.mapping()) == [b"l", b"n"]


def test_one_of_all_members_wins(members: list[almadia.Store]) -> None:
    """Sets, removes and counts the same keys from three members at once."""
    numbers = range(30)
    members[0].mapping(b"pop/").update({b"%d" % number: b"v" for number in numbers})
    members[0].mapping(b"item/").update({b"%d" % number: b"v" for number in numbers})
    members[0].mapping(b"del/").update({b"%d" % number: b"v" for number in numbers})
    won: list[tuple[str, bytes]] = []

    def work(store: almadia.Store) -> None:
        mine = b"%d" % store.node_id
        for number in numbers:
            key = b"%d" % number
            if store.mapping(b"default/").setdefault(key, mine) == mine:
                won.append(("default", key))
            if store.mapping(b"pop/").pop(key, None) is not None:
                won.append(("pop", key))
            try:
                del store.mapping(b"del/")[key]
                won.append(("del", key))
            except KeyError:
                pass
        items = store.mapping(b"item/")
        while True:
            try:
                won.append(("item", items.popitem()[0]))
            except KeyError:
                return

    on_all(members, work)

    keys = sorted(b"%d" % number for number in numbers)
    for call in ("default", "pop", "del", "item"):
        assert sorted(key for name, key in won if name == call) == keys
    assert set(members[1].mapping(b"default/")) == set(keys)


def test_setdefault_sets_again_what_vanished_in_between(store: almadia.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = store.mapping(b"m/")
    put_if_absent = almadia.Store.put_if_absent
    tries: list[bytes] = []

    def late(self: almadia.Store, key: bytes, value: bytes) -> almadia.Position:
        """Another sets the key before the first attempt, and removes it after that."""
        tries.append(key)
        if len(tries) == 1:
            self.put(key, b"another")
        try:
            return put_if_absent(self, key, value)
        finally:
            if len(tries) == 1:
                self.delete(key)

    monkeypatch.setattr(almadia.Store, "put_if_absent", late)

    assert mapping.setdefault(b"k", b"mine") == b"mine"
    assert tries == [b"m/k", b"m/k"]
    assert store[b"m/k"] == b"mine"


def test_setdefault_returns_what_another_set_in_between(store: almadia.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put_if_absent = almadia.Store.put_if_absent

    def late(self: almadia.Store, key: bytes, value: bytes) -> almadia.Position:
        self.put(key, b"another")
        return put_if_absent(self, key, value)

    monkeypatch.setattr(almadia.Store, "put_if_absent", late)

    assert store.mapping(b"m/").setdefault(b"k", b"mine") == b"another"


def test_setdefault_and_pop_hand_over_a_key(store: almadia.Store) -> None:
    """A key that threads set and take all the time: each value that was set is taken by one of them."""
    mapping = store.mapping(b"m/")
    set_by: list[bytes] = []
    taken: list[bytes] = []

    def work(name: int) -> None:
        for number in range(50):
            value = b"%d/%d" % (name, number)
            if mapping.setdefault(b"k", value) == value:
                set_by.append(value)
            found = mapping.pop(b"k", None)
            if found is not None:
                taken.append(found)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken + list(mapping.values())) == sorted(set_by)
