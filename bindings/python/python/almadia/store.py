"""The blocking front end: `open`, `Store`, `Snapshot`.

Every call releases the GIL while it waits and can be interrupted by Ctrl-C. A store and a snapshot may be used by many
threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar, overload

from . import _conditions
from ._almadia import Batch, Items, Position, RangeDigest
from ._base import CLOSE_SECONDS, BaseBatchBlock, BaseSnapshot, BaseStore
from ._transactions import Transaction, transact
from .errors import KeyNotFound
from .mapping import StoreMapping
from .options import option_list
from .status import RaftSnapshotStatus, RegionStatus, Status
from .typing import MISSING, BytesLike, Level, Members, Missing, OptionValue

if TYPE_CHECKING:
    from .membership import Change, MemberTable

_Default = TypeVar("_Default")
_Returned = TypeVar("_Returned")


def open(  # noqa: A001 - as the built-in: it opens something.
    path: str | os.PathLike[str],
    *,
    node_id: int | None = None,
    initial_members: Members | None = None,
    timeout: float | None = None,
    options: Mapping[str, OptionValue] | None = None,
    **more_options: OptionValue,
) -> Store:
    """Opens the member of a cluster whose directory is `path`, creating the directory on the first start.

    Its parent must exist. Returns once the member has recovered; calls wait for a leader by themselves.

    * `node_id` - number of this member, unique in the cluster and never reused; 1 by default.
    * `initial_members` - all members, the same on each: `{1: "10.0.0.1:7001", 2: "10.0.0.2:7001", ...}`, or the text
      `"1=10.0.0.1:7001,2=..."`. None is a cluster with this member only, or, with the option `cluster_join`, one that
      this member was added to with `change_members`.
    * `timeout` - default timeout of calls in seconds, above 0; 5 by default.
    * `options` - any other options by name, such as `{"raft.tick_ms": 10}`; `almadia.options()` lists them all.
      They may also be given as keyword arguments with an underscore for the dot: `raft_tick_ms=10`. Setting an option
      twice, in any form, is an error.

    An argument of a wrong type raises `TypeError`, a `timeout` out of range `ValueError`. Other errors are
    `InvalidConfigError`, which names the option, `LockedError` when another process has the directory open,
    `WrongClusterError`, `NetworkError`, `PermissionDeniedError`, `CorruptionError`; each says what to do.
    """
    chosen = option_list(node_id, initial_members, timeout, options, more_options)
    return Store._open(os.fsdecode(path), chosen)


class Store(BaseStore):
    """An open store: one member of a cluster, one directory. Made by `almadia.open`.

    It is used like a mapping from bytes to bytes - `store[b"k"] = b"v"`, `store[b"k"]`, `b"k" in store`,
    `del store[b"k"]` - and each of these is one linearizable call. Close it with `close()`, or use it in a
    `with` statement.

    `timeout` is in seconds everywhere; None means the store's default. A write that was interrupted by Ctrl-C, or whose
    exception says `Outcome.UNKNOWN`, may have been applied, or may be at any later time: see `almadia.Outcome`.
    """

    __slots__ = ()

    # One key.

    @overload
    def get(
        self,
        key: BytesLike,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> bytes | None: ...
    @overload
    def get(
        self,
        key: BytesLike,
        default: _Default,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> bytes | _Default: ...
    def get(
        self,
        key: BytesLike,
        default: _Default | None = None,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key.

        * `level` - "linearizable" shows every write that any member acknowledged before this call; "local" shows what
          this member has applied, without asking other members: it may be stale.
        * `min_index` - a local read waits until this member has applied at least this index of the key's region: the
          position that a write of that region returned, on any member, or its `index`. If it has not within `timeout`,
          `ReadTimeoutError` says how far it is. A linearizable read shows every acknowledged write anyway.
        """
        value = self._core.get(key, level, min_index, timeout)
        return default if value is None else value

    def get_with_position(
        self,
        key: BytesLike,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> tuple[bytes | None, Position]:
        """The value of `key`, or None when there is no such key, and the position of the state that was read.

        That is the last entry in the log of the key's region that the value, or its absence, reflects. Passed as
        `min_index` to a later read, on any member, it makes sure that this shows no older state. The arguments are
        those of `get`.
        """
        return self._core.get_with_position(key, level, min_index, timeout)

    def get_with_version(
        self,
        key: BytesLike,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> tuple[bytes | None, int]:
        """The value of `key` and its version; None and 0 when there is no such key.

        The version is the place, in the log of the key's region, of the write that set it, and what that write returned
        as `Position.version`. Versions of a key only grow, also when it is deleted in between and set again; those of
        keys of different regions have nothing to do with each other. The arguments are those of `get`.
        """
        return self._core.get_with_version(key, level, min_index, timeout)

    def put(self, key: BytesLike, value: BytesLike, *, timeout: float | None = None) -> Position:
        """Sets `key` to `value` on a majority of the members.

        Returns the log position of the write. Its `version` is the one that the key has now.
        """
        return self._core.put(key, value, timeout)

    def delete(self, key: BytesLike, *, timeout: float | None = None) -> Position:
        """Removes `key`; it is not an error if the key does not exist."""
        return self._core.delete(key, timeout)

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self._core.get(key, "linearizable", 0, None)
        if value is None:
            raise not_found(key)
        return value

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self._core.put(key, value, None)

    def __delitem__(self, key: BytesLike) -> None:
        self._core.delete(key, None)

    def __contains__(self, key: BytesLike) -> bool:
        return self._core.get(key, "linearizable", 0, None) is not None

    # Otherwise Python would try the keys 0, 1, 2 and so on. Iterate over a snapshot instead.
    __iter__ = None
    __reversed__ = None

    # One key, judged or computed where the write is applied.

    def put_if_absent(self, key: BytesLike, value: BytesLike, *, timeout: float | None = None) -> Position:
        """Sets `key` to `value` if it does not exist; else raises `PreconditionFailedError`, which has its version.

        It may be repeated after an unknown outcome if the value tells who wrote it: whoever finds its own value there
        has won.
        """
        return self._core.write(_conditions.put_if_absent(key, value), timeout)

    @overload
    def compare_and_set(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        expected: BytesLike | None,
        version: None = None,
        timeout: float | None = None,
    ) -> Position: ...
    @overload
    def compare_and_set(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        expected: Missing = MISSING,
        version: int,
        timeout: float | None = None,
    ) -> Position: ...
    def compare_and_set(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        expected: BytesLike | Missing | None = MISSING,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Sets `key` to `value` if it is as expected; else raises `PreconditionFailedError`, which tells what it is.

        Give either `expected`, the value that it must have, where None means that it must not exist, or `version`,
        which `get_with_version` or the position of a write told: nobody has written it since. Another write may have
        set the same value again, but never the same version.
        """
        return self._core.write(_conditions.compare_and_set(key, value, expected, version), timeout)

    @overload
    def compare_and_delete(
        self,
        key: BytesLike,
        *,
        expected: BytesLike | None,
        version: None = None,
        timeout: float | None = None,
    ) -> Position: ...
    @overload
    def compare_and_delete(
        self,
        key: BytesLike,
        *,
        expected: Missing = MISSING,
        version: int,
        timeout: float | None = None,
    ) -> Position: ...
    def compare_and_delete(
        self,
        key: BytesLike,
        *,
        expected: BytesLike | Missing | None = MISSING,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Removes `key` if it is as expected; else raises `PreconditionFailedError`, which tells what it is.

        `expected` and `version` are those of `compare_and_set`.
        """
        return self._core.write(_conditions.compare_and_delete(key, expected, version), timeout)

    @overload
    def pop(self, key: BytesLike, *, timeout: float | None = None) -> bytes: ...
    @overload
    def pop(self, key: BytesLike, default: _Default, *, timeout: float | None = None) -> bytes | _Default: ...
    def pop(
        self, key: BytesLike, default: _Default | Missing = MISSING, *, timeout: float | None = None
    ) -> bytes | _Default:
        """Removes `key` and returns the value that it had; without one `default`, or else raises `KeyNotFound`.

        Whoever ends before it has the answer has lost the value.
        """
        taken: tuple[bytes, bytes, int] | None = self._core.compute(_conditions.pop(key), timeout)
        if taken is not None:
            return taken[1]
        if isinstance(default, Missing):
            raise not_found(key)
        return default

    def take_first(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        timeout: float | None = None,
    ) -> tuple[bytes, bytes, int] | None:
        """Removes the first key of a range and returns it with its value and version; None if there is none.

        The range is from `start` (included) to `end` (excluded), or the keys that begin with `prefix`, all in one
        region. Whoever takes a task so and ends before it is done loses it: a queue whose takers may fail moves it to
        another key instead, in a batch with `if_version`, `delete` and `put`.
        """
        taken: tuple[bytes, bytes, int] | None = self._core.compute(_conditions.take_first(start, end, prefix), timeout)
        return taken

    def add(self, key: BytesLike, delta: int = 1, *, timeout: float | None = None) -> int:
        """Adds `delta` to the number at `key` and returns the sum; a key that does not exist counts as 0.

        The value is a signed number of 8 bytes, little-endian: `int.from_bytes(value, "little", signed=True)`. Raises
        `NotANumberError` if it has another length, or the sum does not fit. An addition whose outcome is unknown must
        not be repeated: it may be added twice.
        """
        total: int = self._core.compute(_conditions.add(key, delta), timeout)
        return total

    def put_versioned(self, prefix: BytesLike, value: BytesLike, *, timeout: float | None = None) -> bytes:
        """Sets a new key that begins with `prefix` to `value`, and returns the key.

        The key is `prefix`, the version of the write (8 bytes) and 2 bytes more, big-endian. So keys under a prefix are
        in the order of their writes, and writers never meet.
        """
        key: bytes = self._core.compute(_conditions.put_versioned(prefix, value), timeout)
        return key

    # Many keys.

    def get_many(
        self,
        keys: Iterable[BytesLike],
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist.

        All are read at one moment on this member: what `snapshot` says about several regions applies. `level` and
        `min_index` are those of `get`; with a `min_index`, a local read is of keys of one region.
        """
        return self._core.get_many(list(keys), level, min_index, timeout)

    @overload
    def delete_range(
        self,
        start: BytesLike | None,
        end: BytesLike | None,
        *,
        prefix: None = None,
        timeout: float | None = None,
    ) -> Position: ...
    @overload
    def delete_range(
        self,
        start: Missing = MISSING,
        end: Missing = MISSING,
        *,
        prefix: BytesLike,
        timeout: float | None = None,
    ) -> Position: ...
    def delete_range(
        self,
        start: BytesLike | Missing | None = MISSING,
        end: BytesLike | Missing | None = MISSING,
        *,
        prefix: BytesLike | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Removes every key from `start` (included) to `end` (excluded), or those that begin with `prefix`.

        None as `start` is the first possible key, and as `end` no bound: `delete_range(None, None)` removes all keys.

        A range within one region is removed atomically; there is one region unless the store was created with
        `bootstrap.split_keys`. A range over several is removed with one write for each region, in the order of their
        keys, each within `timeout`, and the position is that of the last one. If one of them fails, the regions before
        it have lost their keys already, whatever the error says about its own: removing the range again is harmless.
        """
        return [self._core.delete_range(*part, timeout) for part in self._parts(start, end, prefix)][-1]

    def batch(self, *, timeout: float | None = None) -> BatchBlock:
        """A batch that is written at the end of a `with` block, unless an exception leaves the block.

        with store.batch() as batch:
            batch[b"from"] = b"70"
            batch[b"to"] = b"30"
        """
        return BatchBlock(self, timeout)

    def write(self, batch: Batch, *, timeout: float | None = None) -> Position:
        """Applies a batch atomically on a majority of the members. On success it is empty, on error unchanged.

        All keys that it sets get one version, the `version` of the position. An empty batch costs no entry of the log:
        it is answered as a linearizable read is, and its position covers every write that was acknowledged before.
        """
        return self._core.write(batch, timeout)

    def mapping(self, prefix: BytesLike = b"") -> StoreMapping:
        """The keys that begin with `prefix`, without it, as a `collections.abc.MutableMapping` of bytes to bytes.

        For code that takes a mapping, such as `shelve.Shelf(store.mapping(b"shelf/"))`: see `StoreMapping`. Making one
        reads nothing.
        """
        return StoreMapping(self, prefix)

    def snapshot(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> Snapshot:
        """A view of the store, of all keys or of a range, that does not change. Close it, or use `with`.

        * `start`, `end`, `prefix` - which keys it shows: from `start` (included) to `end` (excluded), or those that
          begin with `prefix`.
        * `level` - "linearizable" shows every write that any member acknowledged before this call; "local" shows what
          this member has applied, without asking other members: it may be stale. With several regions
          (`bootstrap.split_keys`) a linearizable snapshot is linearizable for each region, not across regions: of
          writes to different regions made during the call it may show a later one and miss an earlier one, and a
          snapshot on another member may do the reverse.
        * `min_index` - a local snapshot waits until this member has applied at least this index: the position that a
          write returned, on any member, or its `index`. The range must lie within the region of that write.
        """
        return Snapshot._of(self._core.snapshot((prefix, start, end), level, min_index, timeout))

    # Transactions.

    def transaction(
        self, *, key: BytesLike = b"", level: Level = "linearizable", timeout: float | None = None
    ) -> Transaction:
        """Begins a transaction. In a `with` statement it commits at the end of the block, unless an exception leaves.

        with store.transaction() as txn:
            balance = int(txn.get(b"from", 0))
            txn[b"from"] = b"%d" % (balance - 30)

        `ConflictError`, at the end of the block, says that another write changed what was read: nothing was applied,
        and the whole block is to be done again. `transact` does that.

        * `key` - any key of the region in which all its keys are; by default the first region.
        * `level` - "local" saves asking whether this member is up to date, so it is more likely to be refused; what it
          commits is no weaker.
        * `timeout` - that of its beginning, and of its commit.
        """
        return Transaction._begin(self._core, key, level, timeout, timeout)

    def transact(
        self,
        function: Callable[[Transaction], _Returned],
        /,
        *,
        key: BytesLike = b"",
        level: Level = "linearizable",
        timeout: float | None = None,
    ) -> _Returned:
        """Runs `function(txn)` in a transaction and commits it, again until nothing that it read was changed meanwhile.

        Returns what the function returned the last time. What it does beside its transaction happens each time, so it
        should do nothing else. An exception that leaves it rolls the transaction back, and is raised; so does
        `txn.rollback()`, quietly. Between tries there are random pauses of up to 0.1 seconds.

        `timeout` is the time for everything, by default that of a write; `ConflictError` says that it is up, and that
        certainly nothing was applied. An unknown outcome is not tried again. `key` and `level` are those of
        `transaction`.
        """
        return transact(self._core, function, key, level, timeout)

    # The store itself.

    def status(self) -> Status:
        """The current status of this member. Never waits."""
        return self._status()

    def regions(self) -> list[RegionStatus]:
        """The current status of each region on this member, ordered by key. Never waits."""
        return self._regions()

    def members(self) -> MemberTable:
        """The members of the cluster as this one knows them. Never waits."""
        return self._members()

    def raft_snapshots(self) -> list[RaftSnapshotStatus]:
        """The raft snapshots that this member makes, sends, receives and installs at this moment. Never waits."""
        return self._raft_snapshots()

    def metrics(self) -> str:
        """Counters and histograms of this member in the text format of Prometheus."""
        return self._core.metrics()

    def wait_leader(self, *, timeout: float | None = None) -> int:
        """Waits until this member knows the leader of every region, and returns that of the first region."""
        return self._core.wait_leader(timeout)

    def transfer_leader(self, target: int | None = None, *, key: BytesLike = b"", timeout: float | None = None) -> None:
        """Transfers leadership to member `target`, or to one the leader chooses. Only the leader can do it.

        `key` is any key of the region concerned; with one region it does not matter.
        """
        self._core.transfer_leader(target, key, timeout)

    def change_members(self, *changes: Change, timeout: float | None = None) -> None:
        """Changes the members of the cluster, all at once, and waits until every region has followed.

        store.change_members(Add(4, "10.0.0.4:7001"), Remove(2), timeout=600)

        The changes are objects of `almadia.membership`. Any member may be asked. When it returns, those who come have
        the data, and those who go are needed no more. Without any change it waits for those before.

        The cluster goes on serving meanwhile. A region waits, for as long as it takes, for a new member to come and to
        catch up, and for a majority of live voters; `members().unsettled` says for whom. What was asked for is taken
        back by another change.

        `InvalidArgumentError` says why changes contradict the members or each other: nothing was changed.
        `WriteTimeoutError` says for what the regions wait that have not followed by then: they go on, and another call
        waits for them. It is a `DeadlineBeforeStartError` where there was nothing to change but to wait. Otherwise
        that, as a `NoLeaderError`, says that nothing was changed.
        `UnsupportedError` says that a member runs an earlier release.
        """
        self._core.change_members(self._encoded(changes), timeout)

    def wait_ready(self, *, timeout: float | None = None) -> None:
        """Waits until this member, which has joined a cluster, has the data of every region.

        One that has `initial_members`, or is alone, is ready as soon as it is open. `ReadTimeoutError` names a region
        whose data it has not; `Removed` says that it was removed meanwhile.
        """
        self._core.wait_ready(timeout)

    def close(self, *, timeout: float = CLOSE_SECONDS) -> None:
        """Closes the store within `timeout` seconds. Closing it again does nothing.

        Accepts no more calls, lets those in flight finish, transfers leadership away from this member and answers the
        rest. The last second of the timeout, or its last half if that is less, is reserved for ending threads; a
        timeout of 0 aborts calls at once and gives the threads five seconds. Raises `ShuttingDownError` if a disk that
        hangs keeps them from ending; the directory stays locked until the disk responds, and closing again waits for
        that.

        Snapshots stay usable, and keep the directory locked, until they are closed too.
        """
        self._close(timeout)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Snapshot(BaseSnapshot[Iterator[tuple[bytes, bytes]], Iterator[tuple[bytes, bytes, int]], Iterator[bytes]]):
    """A view of a store that does not change. Made by `store.snapshot()`; close it, or use it in a `with` statement.

    While it is open, values overwritten since stay on disk. It may outlive its store.

    One that is dropped without being closed does not warn, unlike a store: it is released with its last reference, at
    once in CPython, so that `store.snapshot().get_many(keys)` leaves nothing behind. `status().live_snapshots` counts
    those that are left, and tests that use almadia's fixtures fail when there are any.
    """

    __slots__ = ()

    @overload
    def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: _Default) -> bytes | _Default: ...
    def get(self, key: BytesLike, default: _Default | None = None) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key."""
        value = self._core.get(key)
        return default if value is None else value

    def get_with_version(self, key: BytesLike) -> tuple[bytes | None, int]:
        """The value of `key` and its version, as `Store.get_with_version`; None and 0 when there is no such key."""
        return self._core.get_with_version(key)

    def get_view(self, key: BytesLike) -> memoryview | None:
        """The value of `key` as a read-only memoryview; None when there is no such key.

        It exposes engine memory: without a copy once the value is in a block of a file; while the value is still among
        the newest writes, in the engine's memtable, the engine copies it once.

        The view stays valid after the snapshot and the store are closed; until it is released it holds a little
        memory of the engine, and the directory.
        """
        return self._core.get_view(key)

    def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist."""
        return self._core.get_many(list(keys))

    def digest(
        self, *, start: BytesLike | None = None, end: BytesLike | None = None, prefix: BytesLike | None = None
    ) -> RangeDigest:
        """What the keys from `start` (included) to `end` (excluded), or those that begin with `prefix`, look like.

        For `Batch.if_range`, which applies a batch only if none of them was changed since, and none added. All of them
        are read; more than 65,536 keys or 64 MiB raise TooLargeError.
        """
        return self._core.digest((prefix, start, end))

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self._core.get(key)
        if value is None:
            raise not_found(key)
        return value

    def __contains__(self, key: BytesLike) -> bool:
        return self._core.contains(key)

    def __iter__(self) -> Iterator[bytes]:
        return self.keys()

    def __reversed__(self) -> Iterator[bytes]:
        return self.keys(reverse=True)

    @staticmethod
    def _iterate(items: Items) -> Items:
        return items

    def close(self) -> None:
        """Releases what the snapshot holds. Closing it again does nothing."""
        self._core.close()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BatchBlock(BaseBatchBlock[Store]):
    """A `with` block that writes a batch at its end. Made by `store.batch()`."""

    __slots__ = ()

    def __enter__(self) -> Batch:
        return self._batch

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if self._must_write(raised):
            self._store.write(self._batch, timeout=self._timeout)


def not_found(key: BytesLike) -> KeyNotFound:
    """The exception for a key that does not exist."""
    return KeyNotFound(f"there is no key {bytes(key)!r}")
