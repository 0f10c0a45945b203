"""The blocking front end: `open`, `Store`, `Snapshot`.

Every call releases the GIL while it waits and can be interrupted by Ctrl-C. A store and a snapshot may be used by many
threads at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar, overload

from . import _almadia
from ._almadia import Batch, Position
from .errors import AlmadiaError, KeyNotFound
from .options import option_list
from .status import RegionStatus, Status
from .typing import BytesLike, Level, Members, OptionValue

if TYPE_CHECKING:
    from .log import Shower

_Default = TypeVar("_Default")

CLOSE_SECONDS = 5.0


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
      `"1=10.0.0.1:7001,2=..."`. None is a cluster with this member only.
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


class Handle:
    """The common part of both front ends: the compiled store and its closing."""

    __slots__ = ("__weakref__", "_closed", "_core", "_path", "_shower")
    _core: _almadia.Store
    _path: str
    _closed: bool
    _shower: Shower

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("use almadia.open(path) or almadia.aio.open(path)")

    @classmethod
    def _open(cls, path: str, options: list[tuple[str, str]]) -> Self:
        # Imported late: logging would be a third of the time that importing almadia takes.
        from .log import shower

        # Records logged while a store opens, or fails to, are shown too.
        shower.begin()
        try:
            return cls._of(_almadia.Store(path, options), path)
        finally:
            shower.end()

    @classmethod
    def _of(cls, core: _almadia.Store, path: str) -> Self:
        """A handle of an open store, which may have several."""
        from .log import shower

        handle = cls.__new__(cls)
        handle._core = core
        handle._path = path
        handle._closed = False
        handle._shower = shower
        shower.begin()
        _open_handles.add(handle)
        return handle

    @property
    def path(self) -> str:
        """The directory."""
        return self._path

    @property
    def node_id(self) -> int:
        """The number of this member."""
        return self._core.node

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _status(self) -> Status:
        return Status(*self._core.status())

    def _regions(self) -> list[RegionStatus]:
        return [RegionStatus(*fields) for fields in self._core.regions()]

    def _close(self, timeout: float) -> None:
        self._core.close(timeout)
        if self._closed:
            return
        self._closed = True
        # Its last log records are shown before this returns.
        if thread := self._shower.end():
            thread.join()

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        # Without its status: when the interpreter exits it is stopped already, although it was never closed.
        warnings.warn(f"unclosed <{self._name()}>; use close() or with", ResourceWarning, source=self, stacklevel=2)
        self._closed = True
        # The thread that collects garbage may hold a lock that a log handler waits for, so this must not wait.
        self._shower.end()

    def __repr__(self) -> str:
        return f"<{self._name()} {'closed' if self._closed else self._status_text()}>"

    def _name(self) -> str:
        module = type(self).__module__.removesuffix(".store")
        return f"{module}.Store node={self.node_id} path={self._path!r}"

    def _status_text(self) -> str:
        try:
            status = self._status()
        except AlmadiaError as error:  # In a child process, for example.
            return f"({error})"
        poisoned = " poisoned" if status.poisoned else ""
        return f"role={status.role} leader={status.leader} term={status.term} applied={status.applied_index}{poisoned}"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Store cannot be pickled: it is open in this process; open one in each process")


class Store(Handle):
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
    def get(self, key: BytesLike, *, timeout: float | None = None) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: _Default, *, timeout: float | None = None) -> bytes | _Default: ...
    def get(
        self, key: BytesLike, default: _Default | None = None, *, timeout: float | None = None
    ) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key. Linearizable."""
        value = self._core.get(key, timeout)
        return default if value is None else value

    def put(self, key: BytesLike, value: BytesLike, *, timeout: float | None = None) -> Position:
        """Sets `key` to `value` on a majority of the members, and returns the log position of the write."""
        return self._core.put(key, value, timeout)

    def delete(self, key: BytesLike, *, timeout: float | None = None) -> Position:
        """Removes `key`; it is not an error if the key does not exist."""
        return self._core.delete(key, timeout)

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self._core.get(key, None)
        if value is None:
            raise not_found(key)
        return value

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self._core.put(key, value, None)

    def __delitem__(self, key: BytesLike) -> None:
        self._core.delete(key, None)

    def __contains__(self, key: BytesLike) -> bool:
        return self._core.get(key, None) is not None

    # Otherwise Python would try the keys 0, 1, 2 and so on. Iterate over a snapshot instead.
    __iter__ = None

    # Many keys.

    def get_many(self, keys: Iterable[BytesLike], *, timeout: float | None = None) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist.

        All are read at one moment on this member: what `snapshot` says about several regions applies.
        """
        return self._core.get_many(list(keys), timeout)

    def delete_range(self, start: BytesLike | None, end: BytesLike | None, *, timeout: float | None = None) -> Position:
        """Removes every key from `start` (included) to `end` (excluded).

        None as `start` is the first possible key, and as `end` no bound: `delete_range(None, None)` removes all keys.
        """
        return self._core.delete_range(start, end, timeout)

    def batch(self, *, timeout: float | None = None) -> BatchBlock:
        """A batch that is written at the end of a `with` block, unless an exception leaves the block.

        with store.batch() as batch:
            batch[b"from"] = b"70"
            batch[b"to"] = b"30"
        """
        return BatchBlock(self, timeout)

    def write(self, batch: Batch, *, timeout: float | None = None) -> Position:
        """Applies a batch atomically on a majority of the members. On success it is empty, on error unchanged."""
        return self._core.write(batch, timeout)

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
        * `min_index` - a local snapshot waits until this member has applied this index: the position that a write
          returned, on any member, or its `index`.
        """
        return Snapshot._of(self._core.snapshot((prefix, start, end), level, min_index, timeout))

    # The store itself.

    def status(self) -> Status:
        """The current status of this member. Never waits."""
        return self._status()

    def regions(self) -> list[RegionStatus]:
        """The current status of each region on this member, ordered by key. Never waits."""
        return self._regions()

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


class Snapshot:
    """A view of a store that does not change. Made by `store.snapshot()`; close it, or use it in a `with` statement.

    While it is open, values overwritten since stay on disk. It may outlive its store.

    One that is dropped without being closed does not warn, unlike a store: it is released with its last reference, at
    once in CPython, so that `store.snapshot().get_many(keys)` leaves nothing behind. `status().live_snapshots` counts
    those that are left, and tests that use almadia's fixtures fail when there are any.
    """

    __slots__ = ("__weakref__", "_core")
    _core: _almadia.Snapshot

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("use store.snapshot()")

    @classmethod
    def _of(cls, core: _almadia.Snapshot) -> Snapshot:
        snapshot = cls.__new__(cls)
        snapshot._core = core
        return snapshot

    @overload
    def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: _Default) -> bytes | _Default: ...
    def get(self, key: BytesLike, default: _Default | None = None) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key."""
        value = self._core.get(key)
        return default if value is None else value

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

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self._core.get(key)
        if value is None:
            raise not_found(key)
        return value

    def __contains__(self, key: BytesLike) -> bool:
        return self._core.contains(key)

    def __iter__(self) -> Iterator[bytes]:
        return self.keys()

    def items(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, read lazily.

        `prefix`, `start` (included) and `end` (excluded) restrict the range and can be combined; `reverse` iterates
        from the largest key to the smallest; `limit` is the maximum number of items. Closing the snapshot ends the
        iteration with `ClosedError` at the next item.
        """
        return self._core.walk("items", (prefix, start, end), reverse, limit)

    def keys(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[bytes]:
        """The keys in order; see `items`."""
        return self._core.walk("keys", (prefix, start, end), reverse, limit)

    def values(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[bytes]:
        """The values in the order of their keys; see `items`."""
        return self._core.walk("values", (prefix, start, end), reverse, limit)

    @property
    def index(self) -> int:
        """Index of the log position that was confirmed; 0 when the snapshot covers several regions."""
        return self._core.position.index

    @property
    def term(self) -> int:
        """Term of the log position that was confirmed; 0 when the snapshot covers several regions."""
        return self._core.position.term

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._core.closed

    def close(self) -> None:
        """Releases what the snapshot holds. Closing it again does nothing."""
        self._core.close()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<almadia.Snapshot index={self.index} term={self.term}{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot cannot be pickled: it belongs to a store of this process")


class BatchBlock:
    """A `with` block that writes a batch at its end. Made by `store.batch()`."""

    __slots__ = ("_batch", "_store", "_timeout")

    def __init__(self, store: Store, timeout: float | None) -> None:
        self._store = store
        self._timeout = timeout
        self._batch = Batch()

    def __enter__(self) -> Batch:
        return self._batch

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and len(self._batch) > 0:
            self._store.write(self._batch, timeout=self._timeout)


def not_found(key: BytesLike) -> KeyNotFound:
    """The exception for a key that does not exist."""
    return KeyNotFound(f"there is no key {bytes(key)!r}")


_open_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


def _close_at_exit() -> None:
    """Answers every call in flight, and lets no other thread be inside a call when the interpreter exits."""
    for handle in list(_open_handles):
        # A thread that a hung disk blocks ends with the process.
        with contextlib.suppress(AlmadiaError):
            handle._core.close(0.0)
        handle._shower.dismiss()
    _almadia.begin_exit()


atexit.register(_close_at_exit)
