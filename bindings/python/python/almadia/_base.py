"""The base classes of the blocking and the asyncio front end: what does not wait for an answer is here, once.

Owns the lifetime of an open store: it is counted for the log, it warns when it was never closed, and it is shut down
before the interpreter exits. What always holds: nothing here waits for other members. Calls that wait are left to
`store` and `aio`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

from . import _almadia
from ._almadia import Batch, Items
from .errors import AlmadiaError
from .status import RaftSnapshotStatus, RegionStatus, Status
from .typing import MISSING, BytesLike, Missing

if TYPE_CHECKING:
    from .log import Forwarder
    from .membership import Change, MemberTable

CLOSE_SECONDS = 5.0
"""Default timeout of closing a store."""

StoreT = TypeVar("StoreT", bound="BaseStore")
ItemIterator = TypeVar("ItemIterator", covariant=True)
"""Iterates over pairs of a key and a value, with `for` or with `async for`."""
EntryIterator = TypeVar("EntryIterator", covariant=True)
"""Iterates over triples of a key, a value and a version, with `for` or with `async for`."""
BytesIterator = TypeVar("BytesIterator", covariant=True)
"""Iterates over keys or values, with `for` or with `async for`."""


class BaseStore:
    """An open store: one member of a cluster, one directory."""

    __slots__ = ("__weakref__", "_closed", "_core", "_forwarder", "_path")
    _core: _almadia.Store
    _path: str
    _closed: bool
    _forwarder: Forwarder

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("use almadia.open(path) or almadia.aio.open(path)")

    @classmethod
    def _open(cls, path: str, options: list[tuple[str, str]]) -> Self:
        # Imported late: logging would be a third of the time that importing almadia takes.
        from .log import forwarder

        # Records logged while a store opens, or fails to, are shown too.
        forwarder.begin()
        try:
            return cls._of(_almadia.Store(path, options), path)
        finally:
            forwarder.end()

    @classmethod
    def _of(cls, core: _almadia.Store, path: str) -> Self:
        """A Python object for an open store; one store may have several."""
        from .log import forwarder

        store = cls.__new__(cls)
        store._core = core
        store._path = path
        store._closed = False
        store._forwarder = forwarder
        forwarder.begin()
        _open_stores.add(store)
        return store

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

    def _raft_snapshots(self) -> list[RaftSnapshotStatus]:
        return [RaftSnapshotStatus(*fields) for fields in self._core.raft_snapshots()]

    # almadia.membership is imported late: the dataclasses that it needs take longer to import than all else.

    def _members(self) -> MemberTable:
        from . import membership

        version, members, unsettled = self._core.members()
        return membership.MemberTable(version, tuple(membership.Member(*fields) for fields in members), unsettled)

    @staticmethod
    def _encoded(changes: tuple[Change, ...]) -> list[tuple[str, object, object, object, object]]:
        from . import membership

        return membership.encoded(changes)

    def _parts(
        self, start: BytesLike | Missing | None, end: BytesLike | Missing | None, prefix: BytesLike | None
    ) -> list[tuple[bytes, bytes]]:
        """The parts of a range that `delete_range` removes, one for each region, in the order of their keys."""
        if prefix is not None and start is MISSING and end is MISSING:
            return self._core.parts((prefix, None, None))
        if prefix is not None:
            raise ValueError("give a prefix, or a start and an end, not both")
        if start is MISSING or end is MISSING:
            raise TypeError(
                "delete_range takes a start and an end, or a prefix; delete_range(None, None) removes all keys"
            )
        return self._core.parts((None, start, end))

    def _close(self, timeout: float) -> None:
        self._core.close(timeout)
        if self._closed:
            return
        self._closed = True
        # Its last log records are shown before this returns.
        if reader := self._forwarder.end():
            reader.finish()

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        # Without its status: when the interpreter exits it is stopped already, although it was never closed.
        warnings.warn(f"unclosed <{self._identity()}>; use close() or with", ResourceWarning, source=self, stacklevel=2)
        self._closed = True
        # The thread that collects garbage may hold a lock that a log handler waits for, so this must not wait.
        self._forwarder.end()

    def __repr__(self) -> str:
        return f"<{self._identity()} {'closed' if self._closed else self._status_text()}>"

    def _identity(self) -> str:
        return f"{_public_name(type(self))} node={self.node_id} path={self._path!r}"

    def _status_text(self) -> str:
        try:
            status = self._status()
        except AlmadiaError as error:  # In a child process, for example.
            return f"({error})"
        poisoned = " poisoned" if status.poisoned else ""
        return f"role={status.role} leader={status.leader} term={status.term} applied={status.applied_index}{poisoned}"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Store cannot be pickled: it is open in this process; open one in each process")


class BaseSnapshot(Generic[ItemIterator, EntryIterator, BytesIterator]):
    """A view of a store that does not change."""

    __slots__ = ("__weakref__", "_core")
    _core: _almadia.Snapshot

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("use store.snapshot()")

    @classmethod
    def _of(cls, core: _almadia.Snapshot) -> Self:
        snapshot = cls.__new__(cls)
        snapshot._core = core
        return snapshot

    def items(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> ItemIterator:
        """Keys and values in order, read lazily. A snapshot of `almadia.aio` takes `async for` instead of `for`.

        `start` (included), `end` (excluded) and `prefix` restrict the range and can be combined; `reverse` iterates
        from the largest key to the smallest; `limit` is the maximum number of items. Closing the snapshot ends the
        iteration with `ClosedError` at the next item.
        """
        items: ItemIterator = self._iterate(self._core.iterate("items", (prefix, start, end), reverse, limit))
        return items

    def entries(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> EntryIterator:
        """Tuples of key, value and version in order; see `items`, and `Store.get_with_version` for versions."""
        entries: EntryIterator = self._iterate(self._core.iterate("entries", (prefix, start, end), reverse, limit))
        return entries

    def keys(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> BytesIterator:
        """The keys in order; see `items`."""
        keys: BytesIterator = self._iterate(self._core.iterate("keys", (prefix, start, end), reverse, limit))
        return keys

    def values(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> BytesIterator:
        """The values in the order of their keys; see `items`."""
        values: BytesIterator = self._iterate(self._core.iterate("values", (prefix, start, end), reverse, limit))
        return values

    @staticmethod
    def _iterate(items: Items) -> Any:
        """The iterator that a caller gets."""
        raise NotImplementedError

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

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<{_public_name(type(self))} index={self.index} term={self.term}{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot cannot be pickled: it belongs to a store of this process")


class BaseBatchBlock(Generic[StoreT]):
    """A block that fills a batch, which is written when the block ends without an exception."""

    __slots__ = ("_batch", "_store", "_timeout")

    def __init__(self, store: StoreT, timeout: float | None) -> None:
        self._store = store
        self._timeout = timeout
        self._batch = Batch()

    def _must_write(self, raised: type[BaseException] | None) -> bool:
        return raised is None and len(self._batch) > 0


def _public_name(cls: type) -> str:
    """The name by which users know a class: what `store` defines belongs to the package itself."""
    return f"{cls.__module__.removesuffix('.store')}.{cls.__name__}"


_open_stores: weakref.WeakSet[BaseStore] = weakref.WeakSet()


def _close_at_exit() -> None:
    """Answers every call in flight, and lets no other thread be inside a call when the interpreter exits."""
    for store in list(_open_stores):
        # A thread that a hung disk blocks ends with the process.
        with contextlib.suppress(AlmadiaError):
            store._core.close(0.0)
        store._forwarder.dismiss()
    _almadia.begin_exit()


atexit.register(_close_at_exit)
os.register_at_fork(after_in_child=_almadia.begin_child)
