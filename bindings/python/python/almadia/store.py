"""The blocking front end: `open`, `Store`, `Snapshot`.

Every call releases the GIL while it waits and can be ended by Ctrl-C. A store and a snapshot may be used by many
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
    """Opens the member of a cluster whose directory is `path`, making the directory at the first start.

    Its parent must exist. Returns as soon as the member is recovered; calls wait for a leader by themselves.

    * `node_id` - number of this member, unique in the cluster and never reused; 1 by default.
    * `initial_members` - all members, the same on each: `{1: "10.0.0.1:7001", 2: "10.0.0.2:7001", ...}`, or the text
      `"1=10.0.0.1:7001,2=..."`. None is a cluster of this member alone.
    * `timeout` - seconds after which a call without a timeout of its own is answered, above 0; 5 by default.
    * `options` - any other options by their names, such as `{"raft.tick_ms": 10}`; `almadia.options()` lists them all.
      They may also be given as keyword arguments with an underscore for the dot: `raft_tick_ms=10`. An option
      that is set twice, in whatever ways, is refused.

    An argument of a wrong type raises `TypeError`, a `timeout` that makes no sense `ValueError`. Else it raises
    `InvalidConfigError` naming the option, `LockedError` when another process has the directory open,
    `WrongClusterError`, `NetworkError`, `PermissionDeniedError`, `CorruptionError`; each says what to do.
    """
    chosen = option_list(node_id, initial_members, timeout, options, more_options)
    return Store._open(os.fsdecode(path), chosen)


class Handle:
    """What both front ends share: the compiled store and how it ends."""

    __slots__ = ("__weakref__", "_closed", "_core", "_path", "_shower")
    _core: _almadia.Store
    _path: str
    _closed: bool
    _shower: Shower

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("use almadia.open(path) or almadia.aio.open(path)")

    @classmethod
    def _open(cls, path: str, options: list[tuple[str, str]]) -> Self:
        # logging is a third of the time that importing almadia would take.
        from .log import shower

        # What is said while a store opens, or fails to, is shown too.
        shower.begin()
        try:
            return cls._of(_almadia.Store(path, options), path)
        finally:
            shower.end()

    @classmethod
    def _of(cls, core: _almadia.Store, path: str) -> Self:
        """A handle of a store that is open; it may have several."""
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
        # Its last words are shown before it is gone.
        if thread := self._shower.end():
            thread.join()

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        # Not where it stands: at the end of the interpreter it is stopped already, and never was closed.
        warnings.warn(f"unclosed <{self._name()}>; use close() or with", ResourceWarning, source=self, stacklevel=2)
        self._closed = True
        # Whoever collects garbage may hold a lock that a log handler waits for: nobody is waited for here.
        self._shower.end()

    def __repr__(self) -> str:
        return f"<{self._name()} {'closed' if self._closed else self._standing()}>"

    def _name(self) -> str:
        module = type(self).__module__.removesuffix(".store")
        return f"{module}.Store node={self.node_id} path={self._path!r}"

    def _standing(self) -> str:
        try:
            status = self._status()
        except AlmadiaError as error:  # In a child process, for one.
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

    `timeout` is in seconds everywhere; None means the store's own. A write that was interrupted by Ctrl-C, or whose
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
        """Sets `key` to `value` on a majority of the members, and says where in the log that is."""
        return self._core.put(key, value, timeout)

    def delete(self, key: BytesLike, *, timeout: float | None = None) -> Position:
        """Removes `key`; removing a key that does not exist is no error."""
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

    # Python would try the keys 0, 1, 2 and so on. What is to be walked is a snapshot.
    __iter__ = None

    # Many keys.

    def get_many(self, keys: Iterable[BytesLike], *, timeout: float | None = None) -> list[bytes | None]:
        """The values of `keys`, in their order, each None when there is none.

        All are of one moment of this member: what `snapshot` says about several regions holds here too.
        """
        return self._core.get_many(list(keys), timeout)

    def delete_range(self, start: BytesLike | None, end: BytesLike | None, *, timeout: float | None = None) -> Position:
        """Removes every key from `start` up to but not including `end`.

        None as `start` is the first key there can be, and as `end` none: `delete_range(None, None)` removes all keys.
        """
        return self._core.delete_range(start, end, timeout)

    def batch(self, *, timeout: float | None = None) -> BatchBlock:
        """A batch that is written at the end of a `with` block; not when an exception leaves the block.

        with store.batch() as batch:
            batch[b"from"] = b"70"
            batch[b"to"] = b"30"
        """
        return BatchBlock(self, timeout)

    def write(self, batch: Batch, *, timeout: float | None = None) -> Position:
        """Applies a batch on a majority, all of it or nothing. On success it is empty, on error as it was."""
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
        """A picture of the store that does not change, of all keys or of a range. Close it, or use `with`.

        * `start`, `end`, `prefix` - which keys it shows: from `start` up to but not including `end`, or those that
          begin with `prefix`.
        * `level` - "linearizable" shows every write that any member acknowledged before this call; "local" what this
          member has applied, without asking anyone: it may be old. With several regions (`bootstrap.split_keys`) a
          linearizable snapshot is so for each of them, not for all together: of writes to different regions that are
          made during the call it may have a later one and lack an earlier one, and one on another member the other
          way round.
        * `min_index` - a local snapshot waits until this member has applied so much: the position that a write
          returned, on whatever member, or its `index`.
        """
        return Snapshot._of(self._core.snapshot((prefix, start, end), level, min_index, timeout))

    # The store itself.

    def status(self) -> Status:
        """A moment's picture of this member. Never waits."""
        return self._status()

    def regions(self) -> list[RegionStatus]:
        """A moment's picture of each region on this member, in the order of their keys. Never waits."""
        return self._regions()

    def metrics(self) -> str:
        """Counters and histograms of this member in the text format of Prometheus."""
        return self._core.metrics()

    def wait_leader(self, *, timeout: float | None = None) -> int:
        """Waits until this member knows a leader of every region, and returns that of the first."""
        return self._core.wait_leader(timeout)

    def transfer_leader(self, target: int | None = None, *, key: BytesLike = b"", timeout: float | None = None) -> None:
        """Hands the leadership over to member `target`, or to one the leader chooses. Only the leader can.

        `key` is any key of the region it is about; with one region it does not matter.
        """
        self._core.transfer_leader(target, key, timeout)

    def close(self, *, timeout: float = CLOSE_SECONDS) -> None:
        """Closes the store within `timeout` seconds. Doing it again does nothing.

        Accepts no more calls, lets those under way finish and hands over what this member leads; answers the rest. The
        last second of the timeout, or its last half if that is less, is kept for ending threads; a timeout of 0 cuts
        calls off at once and leaves the threads five seconds. `ShuttingDownError` says that they have not ended, since
        a disk hangs; the directory stays locked until it answers, and closing again waits for that.

        Snapshots stay usable, and keep the directory locked, until they are closed too.
        """
        self._close(timeout)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Snapshot:
    """A picture of a store that does not change. Made by `store.snapshot()`; close it, or use it in a `with` statement.

    While it is open, what was overwritten since stays on disk. It may outlive its store.

    One that is dropped without being closed does not warn, unlike a store: it is let go when its last reference goes,
    at once in CPython, so that `store.snapshot().get_many(keys)` leaves nothing behind. `status().live_snapshots`
    counts those that are left, and tests with the fixtures of almadia fail when there are some.
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

        It shows the value where the engine has it: without a copy once the value is in a block of a file; while it is
        still among the newest writes, in the engine's memtable, the engine copies it once.

        The view stays valid after the snapshot and the store are closed; until it is released it holds a little
        memory of the engine, and the directory.
        """
        return self._core.get_view(key)

    def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of `keys`, in their order, each None when there is none."""
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
        """Keys and values in order, read as you go.

        `prefix`, `start` (included) and `end` (not included) narrow it, together too; `reverse` goes from the largest
        key to the smallest; `limit` is how many come at most. Closing the snapshot ends it with
        `ClosedError` at the next item.
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
        """Lets go of what the snapshot holds. Doing it again does nothing."""
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
    """A `with` block at whose end a batch is written. Made by `store.batch()`."""

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
    """Answers every call that is still under way, and lets no other thread be inside when the interpreter goes."""
    for handle in list(_open_handles):
        # What a disk keeps ends with the process.
        with contextlib.suppress(AlmadiaError):
            handle._core.close(0.0)
        handle._shower.dismiss()
    _almadia.begin_exit()


atexit.register(_close_at_exit)
