"""A store of one member, used like a mapping."""

from __future__ import annotations

import array
import copy
import errno
import os
import pickle
import weakref
from pathlib import Path
from typing import Any

import almadia
import almadia.aio
import pytest

from .conftest import run_python


def test_a_store_is_used_like_a_mapping(store: almadia.Store) -> None:
    store[b"k"] = b"v"

    assert store[b"k"] == b"v"
    assert b"k" in store
    del store[b"k"]
    assert b"k" not in store


def test_a_missing_key_is_a_key_error_or_a_default(store: almadia.Store) -> None:
    with pytest.raises(KeyError) as raised:
        store[b"no\x00such"]

    assert isinstance(raised.value, almadia.KeyNotFound)
    assert str(raised.value) == r"there is no key b'no\x00such' [NOT_FOUND]"
    assert store.get(b"no") is None
    assert store.get(b"no", 7) == 7
    del store[b"no"]


def test_empty_keys_and_values_and_every_byte_are_kept(store: almadia.Store) -> None:
    every_byte = bytes(range(256))
    store[b""] = b""
    store[every_byte] = every_byte

    assert store[b""] == b""
    assert store.get(b"", b"default") == b""
    assert store[every_byte] == every_byte


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_keys_and_values_are_anything_bytes_like(store: almadia.Store, kind: Any) -> None:
    store.put(kind(b"key"), kind(b"value"))

    assert store[kind(b"key")] == b"value"
    assert store.get_many([kind(b"key")]) == [b"value"]
    with store.snapshot(prefix=kind(b"k")) as snapshot:
        assert snapshot[kind(b"key")] == b"value"
        assert list(snapshot.items(start=kind(b"k"), end=kind(b"l"))) == [(b"key", b"value")]


def test_what_a_caller_changes_later_was_not_written(store: almadia.Store) -> None:
    value = bytearray(b"before")
    batch = almadia.Batch()
    batch.put(b"k", value)
    value[:] = b"after!"

    store.write(batch)

    assert store[b"k"] == b"before"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.put("k", b"v"), "keys are bytes, not str: use .encode()"),
        (lambda store: store.put(b"k", "v"), "values are bytes, not str: use .encode()"),
        (lambda store: store["k"], "keys are bytes, not str: use .encode()"),
        (lambda store: "k" in store, "keys are bytes, not str"),
        (lambda store: store.get(7), "keys are bytes or bytes-like, not int"),
        (lambda store: store.put(b"k", None), "values are bytes or bytes-like, not NoneType"),
        (lambda store: store.get_many(["k"]), "keys are bytes, not str"),
        (lambda store: store.get(b"k", timeout="1"), "timeout is a number of seconds or None, not str"),
        (lambda store: store.get(b"k", level=1), "level is 'linearizable' or 'local', not int"),
        (lambda store: store.get_many([], min_index="1"), "min_index is a whole number or a Position, not str"),
        (lambda store: store.get_with_position("k"), "keys are bytes, not str"),
        (lambda store: store.get_with_version("k"), "keys are bytes, not str"),
        (lambda store: store.batch().__enter__().put("k", b"v"), "keys are bytes, not str"),
        (lambda store: store.snapshot(prefix="k"), "keys are bytes, not str"),
        (lambda store: iter(store), "not iterable"),
        (lambda store: almadia.Store(), "use almadia.open"),
        (lambda store: almadia.Snapshot(), "use store.snapshot()"),
    ],
)
def test_a_wrong_type_is_a_type_error_that_says_what_to_do(store: almadia.Store, call: Any, message: str) -> None:
    with pytest.raises(TypeError) as raised:
        call(store)

    assert message in str(raised.value)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(store: almadia.Store, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be 0 seconds or more"):
        store.get(b"k", timeout=timeout)


def test_a_timeout_may_be_as_long_as_one_likes(store: almadia.Store) -> None:
    store.put(b"k", b"v", timeout=float("inf"))

    assert store.get(b"k", timeout=1e30) == b"v"


def test_positions_grow_and_are_compared(store: almadia.Store) -> None:
    first = store.put(b"a", b"1")
    second = store.put(b"b", b"2")

    assert second > first
    assert second.index == first.index + 1
    assert repr(first) == f"Position(index={first.index}, term={first.term}, version={first.version})"
    assert repr(almadia.Position(7, 3)) == "Position(index=7, term=3)"
    assert len({first, second, store.put(b"c", b"3")}) == 3


def test_a_position_is_a_place_whatever_it_says_of_versions() -> None:
    of_a_write = almadia.Position(7, 3, 9)
    of_a_read = almadia.Position(7, 3)

    assert (of_a_write.version, of_a_read.version) == (9, 0)
    assert of_a_write == of_a_read
    assert hash(of_a_write) == hash(of_a_read)
    assert not of_a_write > of_a_read
    assert almadia.Position(7, 3, version=99) < almadia.Position(8, 3, version=1)
    assert almadia.Position(8, 3, 9) != of_a_write


def test_a_version_grows_with_each_write_and_is_told_by_it(store: almadia.Store) -> None:
    first = store.put(b"k", b"1")
    assert first.version > 0
    assert store.get_with_version(b"k") == (b"1", first.version)
    removed = store.delete(b"k")
    assert store.get_with_version(b"k") == (None, 0)
    second = store.put(b"k", b"")

    assert first.version < removed.version < second.version
    assert store.get_with_version(b"k", level="local", min_index=second, timeout=20) == (b"", second.version)
    assert store.get_with_position(b"k")[1].version == 0


def test_all_keys_of_a_batch_have_one_version(store: almadia.Store) -> None:
    batch = almadia.Batch()
    batch[b"a"] = b"1"
    batch[b"b"] = b"2"

    written = store.write(batch)

    assert batch.position is not None
    assert batch.position.version == written.version > 0
    assert store.get_with_version(b"a") == (b"1", written.version)
    assert store.get_with_version(b"b") == (b"2", written.version)
    assert store.write(batch).version == 0
    assert store.delete_range(None, None).version > written.version


def test_a_read_shows_at_least_the_position_that_it_is_given(store: almadia.Store) -> None:
    first = store.put(b"a", b"1")
    second = store.put(b"b", b"2")

    assert store.get(b"b", level="local", min_index=second) == b"2"
    assert store.get(b"x", 7, level="local", min_index=second.index) == 7
    assert store.get_many([b"a", b"x"], level="local", min_index=second) == [b"1", None]
    assert store.get(b"a", level="linearizable", min_index=1 << 40) == b"1"
    value, position = store.get_with_position(b"a", level="local", min_index=first)
    assert (value, position >= second) == (b"1", True)
    removed = store.delete(b"a")
    nothing, later = store.get_with_position(b"a")
    assert nothing is None
    assert position < removed <= later


def test_a_position_beyond_the_log_is_waited_for_until_the_deadline(store: almadia.Store) -> None:
    beyond = store.put(b"k", b"v").index + 1000

    def get_one_of_many(key: bytes, **options: Any) -> object:
        return store.get_many([key], **options)

    for read in (store.get, store.get_with_position, store.get_with_version, get_one_of_many):
        with pytest.raises(almadia.ReadTimeoutError, match=f"min_index is {beyond}") as raised:
            read(b"k", level="local", min_index=beyond, timeout=0.05)
        assert raised.value.retryable
        assert isinstance(raised.value, TimeoutError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "stale"}, "level is 'linearizable' or 'local', not 'stale'"),
        ({"min_index": -1}, "min_index must be 0 or more, not negative"),
        ({"min_index": 1 << 64}, "min_index must be at most"),
    ],
)
def test_options_of_a_read_that_make_no_sense_are_refused(store: almadia.Store, options: Any, message: str) -> None:
    def get_one_of_many(key: bytes, **given: Any) -> object:
        return store.get_many([key], **given)

    for read in (store.get, store.get_with_position, store.get_with_version, get_one_of_many):
        with pytest.raises(ValueError, match=message):
            read(b"k", **options)


def test_a_position_is_one_of_its_region(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", bootstrap_split_keys="m") as store:
        store[b"a"] = b"1"
        position = [store.put(b"z", b"2") for _ in range(100)][-1]

        assert store.get(b"z", level="local", min_index=position) == b"2"
        with pytest.raises(almadia.ReadTimeoutError, match="region 1"):
            store.get(b"a", level="local", min_index=position, timeout=0.05)
        with pytest.raises(almadia.InvalidArgumentError, match="covers 2 regions"):
            store.get_many([b"a", b"z"], level="local", min_index=position)
        assert store.get_many([b"a", b"z"], level="local") == [b"1", b"2"]


def test_a_batch_is_written_at_the_end_of_its_block(store: almadia.Store) -> None:
    store[b"old"] = b"x"

    with store.batch() as batch:
        batch[b"a"] = b"1"
        batch.put(b"b", b"2")
        del batch[b"old"]
        assert store.get(b"a") is None
        assert len(batch) == 3

    assert store.get_many([b"a", b"b", b"old"]) == [b"1", b"2", None]
    assert batch.position is not None
    assert len(batch) == 0


def test_a_block_that_an_exception_leaves_writes_nothing(store: almadia.Store) -> None:
    with pytest.raises(ZeroDivisionError), store.batch() as batch:
        batch[b"a"] = b"1"
        raise ZeroDivisionError

    assert store.get(b"a") is None
    assert batch.position is None


def test_an_empty_batch_writes_nothing(store: almadia.Store) -> None:
    before = store.status().last_index

    with store.batch():
        pass

    assert store.status().last_index == before


def test_a_batch_that_was_refused_can_be_written_again(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "regions", bootstrap_split_keys="m") as store:
        batch = almadia.Batch()
        batch[b"a"] = b"1"
        batch[b"z"] = b"2"

        with pytest.raises(almadia.BatchAcrossRegionsError):
            store.write(batch)

        assert len(batch) == 2
        batch.clear()
        batch[b"a"] = b"1"
        store.write(batch)
        assert store[b"a"] == b"1"


def test_operations_of_a_batch_are_applied_in_their_order(store: almadia.Store) -> None:
    with store.batch() as batch:
        batch[b"a"] = b"1"
        batch[b"b"] = b"1"
        batch.delete_range(b"a", b"c")
        batch[b"b"] = b"2"

    assert store.get_many([b"a", b"b"]) == [None, b"2"]


def test_delete_range_removes_from_start_up_to_end(store: almadia.Store) -> None:
    with store.batch() as batch:
        for key in (b"a", b"b", b"c"):
            batch[key] = b"x"

    store.delete_range(b"a", b"c")

    with store.snapshot() as snapshot:
        assert list(snapshot) == [b"c"]


def keys_of(store: almadia.Store) -> list[bytes]:
    with store.snapshot() as snapshot:
        return list(snapshot)


def test_delete_range_takes_a_prefix_or_both_bounds(store: almadia.Store) -> None:
    for key in (b"a", b"a/1", b"a/2", b"b", b"c"):
        store[key] = b"v"

    store.delete_range(prefix=b"a/")
    with store.batch() as batch:
        batch.delete_range(prefix=b"b")
    with store.snapshot() as snapshot:
        assert list(snapshot) == [b"a", b"c"]
    store.delete_range(start=b"b", end=None)
    with store.snapshot() as snapshot:
        assert list(snapshot) == [b"a"]

    wrong: Any
    for wrong in (store.delete_range, almadia.Batch().delete_range):
        for arguments in ({}, {"start": b"a"}, {"end": None}):
            with pytest.raises(TypeError, match=r"a start and an end, or a prefix; delete_range\(None, None\) removes"):
                wrong(**arguments)
        with pytest.raises(ValueError, match="give a prefix, or a start and an end, not both"):
            wrong(b"a", b"b", prefix=b"a")
    assert store[b"a"] == b"v"


def test_a_range_over_several_regions_is_removed(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", bootstrap_split_keys="g,t") as store:
        for key in (b"a", b"f", b"g", b"m", b"t", b"z"):
            store[key] = b"v"

        store.delete_range(b"b", b"t")
        with store.snapshot() as snapshot:
            assert list(snapshot) == [b"a", b"t", b"z"]
        store.delete_range(b"t", b"t")
        with pytest.raises(almadia.InvalidArgumentError):
            store.delete_range(b"z", b"a")
        position = store.delete_range(None, None)

        with store.snapshot() as snapshot:
            assert list(snapshot) == []
        assert store.get(b"z", level="local", min_index=position) is None


def test_delete_range_without_bounds_reaches_the_ends(store: almadia.Store) -> None:
    with store.batch() as batch:
        for key in (b"", b"a", b"b", b"\xff" * 16384):
            batch[key] = b"x"

    store.delete_range(b"b", None)
    assert keys_of(store) == [b"", b"a"]

    with store.batch() as batch:
        batch.delete_range(None, None)
        batch[b"after"] = b"x"
    assert keys_of(store) == [b"after"]


def test_an_empty_bound_is_none_everywhere(store: almadia.Store) -> None:
    store[b"a"] = store[b"b"] = b"x"

    with store.snapshot(start=b"", end=b"") as snapshot:
        assert list(snapshot.keys(start=b"", end=b"")) == list(snapshot.keys(prefix=b"")) == [b"a", b"b"]
    store.delete_range(b"b", b"")
    assert keys_of(store) == [b"a"]


def test_limits_are_checked_when_an_operation_is_added(store: almadia.Store) -> None:
    batch = almadia.Batch()
    batch.put(b"k" * 16384, b"")

    with pytest.raises(almadia.TooLargeError, match="16385 bytes, the limit is 16384"):
        batch.put(b"k" * 16385, b"")
    with pytest.raises(ValueError, match="the value has"):
        store.put(b"k", bytes(9 << 20))

    assert repr(batch).startswith("<almadia.Batch operations=1 ")
    for _ in range(65_535):
        batch.delete(b"")
    with pytest.raises(almadia.TooLargeError, match="65536 operations, which is the limit"):
        batch.delete(b"")
    assert repr(batch).startswith("<almadia.Batch operations=65536 ")


def test_options_are_given_by_name_or_by_keyword(tmp_path: Path) -> None:
    named: dict[str, almadia.OptionValue] = {"raft.tick_ms": 10, "read.lease": False, "cluster.name": "x"}

    with almadia.open(tmp_path / "a", options=named, raft_heartbeat_ms=20, raft_election_timeout_ms=200) as store:
        store[b"k"] = b"v"

    rows = {row.name: row for row in almadia.options()}
    assert rows["raft.tick_ms"].kind == "number"
    assert rows["raft.tick_ms"].least == 5
    assert rows["read.lease"].kind == "switch"
    assert all(row.doc for row in rows.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"raft.tick": 5}, "there is no option 'raft.tick'; did you mean raft.tick_ms?"),
        ({"raft_tick": 5}, "there is no option 'raft_tick'; did you mean raft.tick_ms?"),
        ({"raft.tick_ms": 0}, "raft.tick_ms = '0': expected a whole number from 5 to 10000"),
        ({"raft.tick_ms": 5.5}, "raft.tick_ms: expected text, a whole number, True or False, not float"),
        ({"read.lease": "yes"}, "read.lease = 'yes': expected true or false"),
        ({"cluster.node_id": 2, "cluster.initial_members": "1=a:1"}, "does not name node 2"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_expected(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(almadia.InvalidConfigError) as raised:
        almadia.open(tmp_path / "store", options=options)

    assert message in str(raised.value)
    with pytest.raises(almadia.InvalidConfigError):
        almadia.open(tmp_path / "store", **{name.replace(".", "_"): value for name, value in options.items()})


def test_a_directory_is_opened_once(store: almadia.Store) -> None:
    with pytest.raises(almadia.LockedError) as raised:
        almadia.open(store.path)

    assert isinstance(raised.value, OSError)
    assert store.path in str(raised.value)


def test_what_the_operating_system_says_is_an_os_error_with_errno(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing") as raised:
        almadia.open(tmp_path / "missing" / "store")

    assert isinstance(raised.value, almadia.AlmadiaError)
    assert raised.value.errno == 2


def test_a_missing_parent_and_a_file_in_its_place_are_pythons_own_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(FileNotFoundError) as missing:
        almadia.open(tmp_path / "missing" / "store")
    with pytest.raises(NotADirectoryError) as no_directory:
        almadia.open(tmp_path / "file" / "store")

    assert isinstance(missing.value, almadia.IoError)
    assert (missing.value.errno, missing.value.strerror) == (errno.ENOENT, os.strerror(errno.ENOENT))
    assert missing.value.filename == str(tmp_path / "missing" / "store")
    assert isinstance(no_directory.value, almadia.IoError)
    assert (no_directory.value.errno, no_directory.value.filename) == (errno.ENOTDIR, str(tmp_path / "file" / "store"))


def test_the_directory_that_is_locked_is_the_filename(store: almadia.Store) -> None:
    with pytest.raises(almadia.LockedError) as raised:
        almadia.open(store.path)

    assert (raised.value.errno, raised.value.filename) == (errno.EWOULDBLOCK, store.path)
    assert raised.value.strerror == os.strerror(errno.EWOULDBLOCK)


def test_a_closed_store_answers_closed(tmp_path: Path) -> None:
    store = almadia.open(tmp_path / "store")
    store.close()
    store.close()

    for call in (
        lambda: store[b"k"],
        lambda: store.put(b"k", b"v"),
        lambda: store.snapshot(),
        lambda: store.wait_leader(),
    ):
        with pytest.raises(almadia.ClosedError):
            call()
    assert store.closed
    assert "closed" in repr(store)


def test_the_directory_is_free_after_close(tmp_path: Path) -> None:
    for round_ in range(3):
        with almadia.open(tmp_path / "store") as store:
            assert store.get(b"round", b"0") == str(round_).encode()
            store[b"round"] = str(round_ + 1).encode()


def test_the_status_has_names(store: almadia.Store) -> None:
    store.wait_leader()

    status = store.status()

    assert (status.node, status.leader, status.role, status.poisoned) == (1, 1, "leader", None)
    assert status.in_flight == 0
    assert store.regions() == [store.regions()[0]]
    assert store.regions()[0].start_key == b""
    assert store.regions()[0].feature_level == 2


def test_metrics_are_prometheus_text(store: almadia.Store) -> None:
    store[b"k"] = b"v"

    lines = store.metrics().splitlines()

    assert any(line.startswith("# TYPE almadia_") for line in lines)
    assert all(line.startswith("#") or len(line.rsplit(" ", 1)) == 2 for line in lines if line)


def test_a_repr_says_where_a_store_stands(store: almadia.Store) -> None:
    store.wait_leader()

    assert repr(store).startswith(f"<almadia.Store node=1 path={store.path!r} role=leader leader=1 term=")


def test_stores_and_snapshots_can_be_referenced_weakly_and_not_pickled(store: almadia.Store) -> None:
    with store.snapshot() as snapshot:
        assert weakref.ref(store)() is store
        assert weakref.ref(snapshot)() is snapshot
        for thing in (store, snapshot):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(thing)


def test_every_region_is_reported(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", bootstrap_split_keys="g,t") as store:
        store.wait_leader()

        assert [(region.start_key, region.end_key) for region in store.regions()] == [
            (b"", b"g"),
            (b"g", b"t"),
            (b"t", b""),
        ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"node_id": "1"}, "node_id must be a whole number, not str"),
        ({"initial_members": ["127.0.0.1:7001"]}, "initial_members is a dict"),
        ({"initial_members": {"1": "127.0.0.1:7001"}}, "must be a whole number, not str"),
    ],
)
def test_members_of_a_wrong_type_are_refused_by_name(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        almadia.open(tmp_path / "store", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"initial_members": {1: 7001}}, "initial_members: the address of member 1 is a str"),
        ({"initial_members": {1: None}}, "initial_members: the address of member 1 is a str"),
        ({"options": ["raft.tick_ms"]}, "options is a dict of names and values"),
        ({"options": {7: 5}}, "options: the name 7 must be a str, not int"),
        ({"timeout": "5"}, "timeout is a number of seconds or None, not str"),
        ({"timeout": True}, "timeout is a number of seconds or None, not bool"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused_by_name(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    for open_ in (almadia.open, almadia.aio.open):
        with pytest.raises(TypeError, match=message):
            open_(tmp_path / "store", **given)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan"), float("inf"), 10**400, 86_401])
def test_a_default_timeout_that_makes_no_sense_is_refused_by_name(tmp_path: Path, timeout: float) -> None:
    for open_ in (almadia.open, almadia.aio.open):
        with pytest.raises(ValueError, match=r"^timeout must be ") as raised:
            open_(tmp_path / "store", timeout=timeout)
        assert type(raised.value) is ValueError
    assert not (tmp_path / "store").exists()


def test_a_default_timeout_may_be_as_long_as_the_option_allows(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", timeout=86_400) as store:
        store[b"k"] = b"v"


@pytest.mark.parametrize(
    ("given", "both"),
    [
        ({"node_id": 1, "options": {"cluster.node_id": 1}}, ("node_id=", "options={'cluster.node_id': ...}")),
        ({"node_id": 1, "cluster_node_id": 2}, ("node_id=", "cluster_node_id=")),
        (
            {"initial_members": "1=127.0.0.1:1", "options": {"cluster.initial_members": "1=127.0.0.1:1"}},
            ("initial_members=", "options={'cluster.initial_members': ...}"),
        ),
        ({"timeout": 1, "write_timeout_ms": 1000}, ("timeout=", "write_timeout_ms=")),
        ({"timeout": 1, "read_timeout_ms": 5}, ("timeout=", "read_timeout_ms=")),
        ({"timeout": 1, "options": {"read.timeout_ms": 5}}, ("timeout=", "options={'read.timeout_ms': ...}")),
        ({"raft_tick_ms": 10, "options": {"raft.tick_ms": 20}}, ("raft_tick_ms=", "options={'raft.tick_ms': ...}")),
    ],
)
def test_an_option_that_is_set_twice_is_refused_with_both(
    tmp_path: Path, given: dict[str, Any], both: tuple[str, str]
) -> None:
    with pytest.raises(almadia.InvalidConfigError) as raised:
        almadia.open(tmp_path / "store", **given)

    assert f"{both[0]} and {both[1]} both set " in str(raised.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({1: "127.0.0.1:7001", 2: "127.0.0.1:7001"}, "members 1 and 2 have the same address 127.0.0.1:7001"),
        ("1=127.0.0.1:7001, 2=127.0.0.1:7001", "members 1 and 2 have the same address 127.0.0.1:7001"),
        ({1: "127.0.0.1:7001,2=127.0.0.1:7002"}, "member 1 has more than one address"),
        ({1: "a.example:7001", 2: "A.Example:07001"}, "members 1 and 2 have the same address"),
        ({1: "127.0.0.1:0"}, "'1=127.0.0.1:0': nobody can dial port 0"),
        ({1: "127.0.0.1: 7001"}, "' 7001' is no port"),
        ({}, "initial_members names no member: leave it out"),
        ("1=127.0.0.1:7001;2=127.0.0.1:7002", "such as '1=host:port,2=host:port'"),
        ("1=127.0.0.1:7001 2=127.0.0.1:7002", "such as '1=host:port,2=host:port'"),
        ("1=127.0.0.1:7001\n2=127.0.0.1:7002", "such as '1=host:port,2=host:port'"),
    ],
)
def test_members_that_contradict_each_other_are_refused(tmp_path: Path, members: Any, message: str) -> None:
    with pytest.raises(almadia.InvalidConfigError, match=message):
        almadia.open(tmp_path / "store", initial_members=members)
    assert not (tmp_path / "store").exists()


def test_the_number_of_a_member_may_be_an_option(tmp_path: Path) -> None:
    with almadia.open(tmp_path / "store", options={"cluster.node_id": 7}) as store:
        assert store.node_id == 7


def test_a_timeout_that_no_float_holds_is_refused_by_name(store: almadia.Store) -> None:
    with pytest.raises(ValueError, match="timeout is too large"):
        store.get(b"k", timeout=10**400)


def test_a_batch_is_true_when_it_holds_something() -> None:
    batch = almadia.Batch()
    assert not batch

    batch[b"k"] = b"v"

    assert batch


def test_a_position_crosses_processes(store: almadia.Store) -> None:
    position = store.put(b"k", b"v")

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps(position, protocol))
        assert (loaded, loaded.version) == (position, position.version)
    assert copy.deepcopy(position).version == position.version > 0
    assert almadia.Position(position.index, position.term) == position


@pytest.mark.parametrize("walk", [list, dict, iter, sorted], ids=lambda walk: walk.__name__)
def test_a_store_is_not_iterable(store: almadia.Store, walk: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        walk(store)


def test_the_type_of_a_default_is_known(store: almadia.Store) -> None:
    # mypy checks this test too.
    store[b"k"] = b"v"
    with store.snapshot() as snapshot:
        found: bytes = store.get(b"k", b"d")
        shown: bytes = snapshot.get(b"k", b"d")
        counted: bytes | int = store.get(b"none", 7)
        missing: bytes | None = store.get(b"none")

    assert (found, shown, counted, missing) == (b"v", b"v", 7, None)


def test_a_warning_of_a_store_that_is_not_closed_does_not_call_it_closed(tmp_path: Path) -> None:
    program = "import sys, almadia; store = almadia.open(sys.argv[1])"

    done = run_python(program, str(tmp_path / "store"), flags=("-W", "always"))

    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "ResourceWarning: unclosed" in line]
    assert len(warned) == 1
    assert warned[0].endswith(
        f"ResourceWarning: unclosed <almadia.Store node=1 path='{tmp_path}/store'>; use close() or with"
    )
