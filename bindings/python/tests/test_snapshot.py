"""Snapshots: reads of one point in time."""

from __future__ import annotations

import gc
import itertools
import threading
import warnings
from pathlib import Path
from typing import Any

import almadia
import pytest


@pytest.fixture
def letters(store: almadia.Store) -> almadia.Store:
    with store.batch() as batch:
        for letter in b"abcdef":
            batch[bytes([letter])] = bytes([letter]).upper()
    return store


def test_a_snapshot_does_not_change(letters: almadia.Store) -> None:
    with letters.snapshot() as snapshot:
        letters[b"a"] = b"new"
        del letters[b"b"]

        assert snapshot[b"a"] == b"A"
        assert b"b" in snapshot
        assert b"x" not in snapshot
        assert snapshot.get(b"x", 1) == 1
        assert snapshot.get_many([b"f", b"x", b"a"]) == [b"F", None, b"A"]
        with pytest.raises(almadia.KeyNotFound):
            snapshot[b"x"]
    assert letters[b"a"] == b"new"


def test_a_snapshot_is_reversible_and_a_store_says_that_it_is_not(letters: almadia.Store) -> None:
    with letters.snapshot(end=b"d") as snapshot:
        assert list(reversed(snapshot)) == [b"c", b"b", b"a"]
    unordered: Any = letters
    with pytest.raises(TypeError, match="'Store' object is not reversible"):
        reversed(unordered)


@pytest.mark.parametrize(
    ("bounds", "keys"),
    [
        ({}, b"abcdef"),
        ({"start": b"c"}, b"cdef"),
        ({"end": b"c"}, b"ab"),
        ({"start": b"b", "end": b"d"}, b"bc"),
        ({"start": b"b", "end": b"d", "reverse": True}, b"cb"),
        ({"prefix": b"c"}, b"c"),
        ({"prefix": b""}, b"abcdef"),
        ({"prefix": b"c", "start": b"d"}, b""),
        ({"prefix": b"\xff"}, b""),
        ({"start": b"d", "end": b"b"}, b""),
        ({"limit": 2}, b"ab"),
        ({"limit": 2, "reverse": True}, b"fe"),
        ({"limit": 0}, b""),
        ({"limit": 100}, b"abcdef"),
    ],
)
def test_a_walk_keeps_to_its_bounds(letters: almadia.Store, bounds: dict[str, Any], keys: bytes) -> None:
    expected = [bytes([key]) for key in keys]

    with letters.snapshot() as snapshot:
        assert list(snapshot.keys(**bounds)) == expected
        assert list(snapshot.values(**bounds)) == [key.upper() for key in expected]
        assert list(snapshot.items(**bounds)) == [(key, key.upper()) for key in expected]
        assert [entry[:2] for entry in snapshot.entries(**bounds)] == list(snapshot.items(**bounds))


def test_a_snapshot_shows_the_versions_of_its_time(store: almadia.Store) -> None:
    old = store.put(b"a", b"1").version
    with store.snapshot() as snapshot:
        new = store.put(b"a", b"2").version

        assert new > old
        assert snapshot.get_with_version(b"a") == (b"1", old)
        assert snapshot.get_with_version(b"x") == (None, 0)
        assert list(snapshot.entries()) == [(b"a", b"1", old)]
    with pytest.raises(almadia.ClosedError):
        snapshot.get_with_version(b"a")
    with store.snapshot() as later:
        assert list(later.entries()) == [(b"a", b"2", new)]


def test_entries_are_items_with_versions(store: almadia.Store) -> None:
    # Several chunks, each key with a version of its own.
    versions = {b"%04d" % number: store.put(b"%04d" % number, b"v" * (number % 7)).version for number in range(200)}

    with store.snapshot() as snapshot:
        for bounds in ({}, {"reverse": True}, {"start": b"0050", "end": b"0150"}, {"prefix": b"01", "limit": 90}):
            items = list(snapshot.items(**bounds))
            entries = list(snapshot.entries(**bounds))

            assert [(key, value) for key, value, _ in entries] == items
            assert {key: version for key, _, version in entries} == {key: versions[key] for key, _ in items}


@pytest.mark.parametrize("value_bytes", [0, 10, 5000, 300_000])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_long_walk_shows_every_pair_once(store: almadia.Store, value_bytes: int, reverse: bool) -> None:
    count = 30 if value_bytes > 100_000 else 3000
    pairs = [(b"%06d" % number, b"%06d" % number * (value_bytes // 6)) for number in range(count)]
    for chunk in range(0, count, 20):
        with store.batch() as batch:
            for key, value in pairs[chunk : chunk + 20]:
                batch[key] = value

    with store.snapshot() as snapshot:
        assert list(snapshot.items(reverse=reverse)) == (pairs[::-1] if reverse else pairs)
        for limit in (15, 16, 17, 80, 81):
            assert len(list(snapshot.items(limit=limit))) == min(limit, count)


def test_a_walk_reads_as_it_goes(letters: almadia.Store) -> None:
    with letters.snapshot() as snapshot:
        walk = snapshot.items()

        assert next(walk) == (b"a", b"A")
        assert list(itertools.islice(walk, 2)) == [(b"b", b"B"), (b"c", b"C")]
        assert len(list(walk)) == 3
        assert list(walk) == []


def test_threads_share_a_walk_and_each_pair_comes_once(store: almadia.Store) -> None:
    with store.batch() as batch:
        for number in range(5000):
            batch[b"%05d" % number] = b""
    seen: list[list[bytes]] = [[] for _ in range(4)]

    with store.snapshot() as snapshot:
        walk = snapshot.keys()
        threads = [threading.Thread(target=mine.extend, args=(walk,)) for mine in seen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(itertools.chain(*seen)) == [b"%05d" % number for number in range(5000)]


def test_a_view_shows_a_value_without_a_copy_and_outlives_everything(tmp_path: Path) -> None:
    value = bytes(range(256)) * 4096
    store = almadia.open(tmp_path / "store")
    store[b"k"] = value
    snapshot = store.snapshot()

    view = snapshot.get_view(b"k")
    assert snapshot.get_view(b"x") is None
    snapshot.close()
    store.close()
    del snapshot, store
    gc.collect()

    assert view is not None
    assert view.readonly
    assert view.nbytes == len(value)
    assert view == value
    assert bytes(view[256:258]) == b"\x00\x01"
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(almadia.LockedError):
        almadia.open(tmp_path / "store")
    view.release()
    almadia.open(tmp_path / "store").close()


def test_two_views_of_a_large_value_are_the_same_memory(store: almadia.Store) -> None:
    store[b"k"] = bytes(1 << 20)
    with store.snapshot() as snapshot:
        view = snapshot.get_view(b"k")
        assert view is not None
        exporter: Any = view.obj
        again = memoryview(exporter)

        assert again.nbytes == 1 << 20
        view.release()
        assert bytes(again[:4]) == bytes(4)


def test_a_closed_snapshot_says_so_and_ends_its_walks(letters: almadia.Store) -> None:
    snapshot = letters.snapshot()
    walk = snapshot.items()
    snapshot.close()
    snapshot.close()

    assert snapshot.closed
    assert "closed" in repr(snapshot)
    with pytest.raises(almadia.ClosedError, match="this snapshot was closed"):
        snapshot.get(b"a")
    with pytest.raises(almadia.ClosedError):
        next(walk)
    with pytest.raises(StopIteration):
        next(walk)


def test_a_snapshot_outlives_its_store(tmp_path: Path) -> None:
    store = almadia.open(tmp_path / "store")
    store[b"k"] = b"v"
    snapshot = store.snapshot()
    store.close()

    assert snapshot[b"k"] == b"v"
    assert list(snapshot) == [b"k"]
    snapshot.close()
    almadia.open(tmp_path / "store").close()


def test_a_snapshot_of_a_range_shows_nothing_else(letters: almadia.Store) -> None:
    with letters.snapshot(start=b"b", end=b"d") as snapshot:
        assert list(snapshot) == [b"b", b"c"]
        with pytest.raises(almadia.InvalidArgumentError, match="key 'd' is outside"):
            snapshot[b"d"]
    with letters.snapshot(prefix=b"e") as snapshot:
        assert list(snapshot.items()) == [(b"e", b"E")]
    with pytest.raises(ValueError, match="a prefix, or a start and an end"):
        letters.snapshot(prefix=b"e", end=b"f")


def test_a_local_snapshot_waits_for_its_least_index(letters: almadia.Store) -> None:
    position = letters.put(b"k", b"v")

    with letters.snapshot(level="local", min_index=position.index) as snapshot:
        assert snapshot.index >= position.index
        assert snapshot[b"k"] == b"v"
    with pytest.raises(almadia.ReadTimeoutError) as raised:
        letters.snapshot(level="local", min_index=position.index + 1000, timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.retryable
    with pytest.raises(ValueError, match="level is 'linearizable' or 'local'"):
        letters.snapshot(level="eventual")  # type: ignore[arg-type]


def test_open_snapshots_are_counted(letters: almadia.Store) -> None:
    first, second = letters.snapshot(), letters.snapshot()
    assert letters.status().live_snapshots == 2

    first.close()
    del second

    assert letters.status().live_snapshots == 0


@pytest.mark.parametrize("part", ["items", "keys", "values"])
def test_a_walk_that_has_read_ahead_ends_when_its_snapshot_is_closed(letters: almadia.Store, part: str) -> None:
    snapshot = letters.snapshot()
    walk = getattr(snapshot, part)()
    next(walk)
    snapshot.close()

    with pytest.raises(almadia.ClosedError, match=r"^this snapshot was closed; take a new one \[CLOSED\]$"):
        next(walk)
    assert list(walk) == []


def test_a_walk_that_is_over_stays_over_when_its_snapshot_is_closed(letters: almadia.Store) -> None:
    snapshot = letters.snapshot()
    walk = snapshot.keys(limit=2)
    assert list(walk) == [b"a", b"b"]
    snapshot.close()

    assert list(walk) == []


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda snapshot, _: snapshot.keys(limit=-1), ValueError, "limit must be 0 or more"),
        (lambda snapshot, _: snapshot.keys(limit=1 << 64), ValueError, "limit must be at most"),
        (lambda snapshot, _: snapshot.keys(limit="1"), TypeError, "limit is a whole number or None, not str"),
        (lambda _, store: store.snapshot(min_index=-1), ValueError, "min_index must be 0 or more"),
        (lambda _, store: store.snapshot(min_index=1 << 64), ValueError, "min_index must be at most"),
        (lambda _, store: store.snapshot(min_index=1.5), TypeError, "min_index is a whole number or a Position, not"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_name(
    letters: almadia.Store, call: Any, kind: Any, message: str
) -> None:
    with letters.snapshot() as snapshot, pytest.raises(kind, match=message) as raised:
        call(snapshot, letters)

    assert not isinstance(raised.value, almadia.AlmadiaError)


def test_a_snapshot_waits_for_a_position_as_for_its_index(letters: almadia.Store) -> None:
    position = letters.put(b"k", b"v")

    with letters.snapshot(level="local", min_index=position) as snapshot:
        assert snapshot.index >= position.index
    with pytest.raises(almadia.ReadTimeoutError):
        letters.snapshot(level="local", min_index=almadia.Position(position.index + 1000, position.term), timeout=0.05)


def test_a_snapshot_that_is_dropped_open_does_not_warn(letters: almadia.Store) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert letters.snapshot().get_many([b"a"]) == [b"A"]

    assert warned == []
    assert letters.status().live_snapshots == 0
