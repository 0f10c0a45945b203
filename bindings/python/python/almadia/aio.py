"""The asyncio front end: `almadia.aio.open`, with the same names as the blocking one, but awaitable.

    import asyncio
    import almadia.aio

    async def main():
        async with almadia.aio.open("hello-store") as store:
            await store.put(b"greeting", b"hello, world")
            print(await store.get(b"greeting"))
            async with store.snapshot(prefix=b"g") as snapshot:
                async for key, value in snapshot.items():
                    print(key, value)

    asyncio.run(main())

A store may be used by several event loops, also in several threads: it is bound to none. All answers of one loop
arrive through one descriptor that the loop watches, many per wake-up.

Cancelling a task that awaits a call cancels the call. A cancelled write may still be applied, at any later time: see
`almadia.Outcome`. `except TimeoutError` catches both an expired `asyncio.timeout` and an expired deadline of the store,
such as `almadia.WriteTimeoutError`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar, overload

from . import _almadia
from ._almadia import Batch, Position
from .options import option_list
from .status import RegionStatus, Status
from .store import CLOSE_SECONDS, Handle
from .typing import BytesLike, Level, Members, OptionValue

__all__ = ["BatchBlock", "Snapshot", "Store", "open"]

_Default = TypeVar("_Default")
_Made = TypeVar("_Made", bound="Store | Snapshot")
_Answer = TypeVar("_Answer")


def open(  # noqa: A001 - as the built-in: it opens something.
    path: str | os.PathLike[str],
    *,
    node_id: int | None = None,
    initial_members: Members | None = None,
    timeout: float | None = None,
    options: Mapping[str, OptionValue] | None = None,
    **more_options: OptionValue,
) -> Coming[Store]:
    """As `almadia.open`; await it, or use it in `async with`."""
    chosen = option_list(node_id, initial_members, timeout, options, more_options)

    async def opened() -> Store:
        return await _in_thread(Store._open, os.fsdecode(path), chosen)

    return Coming(opened)


class Coming(Generic[_Made]):
    """A store or snapshot that is opened when this is awaited, or for the duration of an `async with` block."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Awaitable[_Made]]) -> None:
        self._make = make
        self._made: _Made | None = None

    def __await__(self) -> Generator[Any, None, _Made]:
        return self._make().__await__()

    async def __aenter__(self) -> _Made:
        self._made = made = await self._make()
        return made

    async def __aexit__(self, *_: object) -> None:
        if self._made is not None:
            await self._made.close()


class Store(Handle):
    """An open store: one member of a cluster, one directory. Made by `almadia.aio.open`.

    The methods are those of `almadia.Store`, awaitable. `timeout` is in seconds everywhere; None means the store's
    default.
    """

    __slots__ = ()

    # One key.

    @overload
    async def get(self, key: BytesLike, *, timeout: float | None = None) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: _Default, *, timeout: float | None = None) -> bytes | _Default: ...
    async def get(
        self, key: BytesLike, default: _Default | None = None, *, timeout: float | None = None
    ) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key. Linearizable."""
        completions, future = _completions()
        pending = _almadia.submit_get(self._core, completions, future, key, timeout)
        try:
            value: bytes | None = await future
        except asyncio.CancelledError:
            pending.cancel()
            raise
        return default if value is None else value

    async def put(self, key: BytesLike, value: BytesLike, *, timeout: float | None = None) -> Position:
        """Sets `key` to `value` on a majority of the members, and returns the log position of the write."""
        completions, future = _completions()
        pending = _almadia.submit_put(self._core, completions, future, key, value, timeout)
        try:
            position: Position = await future
        except asyncio.CancelledError:
            pending.cancel()
            raise
        return position

    async def delete(self, key: BytesLike, *, timeout: float | None = None) -> Position:
        """Removes `key`; it is not an error if the key does not exist."""
        completions, future = _completions()
        pending = _almadia.submit_delete(self._core, completions, future, key, timeout)
        return await _answer(future, pending, Position)

    # Many keys.

    async def get_many(self, keys: Iterable[BytesLike], *, timeout: float | None = None) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist.

        All are read at one moment on this member: what `almadia.Store.snapshot` says about several regions applies.
        """
        completions, future = _completions()
        pending = _almadia.submit_get_many(self._core, completions, future, list(keys), timeout)
        return await _answer(future, pending, list)

    async def delete_range(
        self, start: BytesLike | None, end: BytesLike | None, *, timeout: float | None = None
    ) -> Position:
        """Removes every key from `start` (included) to `end` (excluded).

        None as `start` is the first possible key, and as `end` no bound: `delete_range(None, None)` removes all keys.
        """
        completions, future = _completions()
        pending = _almadia.submit_delete_range(self._core, completions, future, start, end, timeout)
        return await _answer(future, pending, Position)

    def batch(self, *, timeout: float | None = None) -> BatchBlock:
        """A batch that is written at the end of an `async with` block, unless an exception leaves the block.

        async with store.batch() as batch:
            batch[b"from"] = b"70"
            batch[b"to"] = b"30"
        """
        return BatchBlock(self, timeout)

    async def write(self, batch: Batch, *, timeout: float | None = None) -> Position:
        """Applies a batch atomically on a majority of the members.

        Its operations are taken out of it at once, so that it can be filled again; they are put back when the call
        fails, unless the batch has others by then.
        """
        completions, future = _completions()
        pending = _almadia.submit_write(self._core, completions, future, batch, timeout)
        return await _answer(future, pending, Position)

    def snapshot(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> Coming[Snapshot]:
        """A view of the store that does not change; await it, or use it in `async with`.

        The arguments are those of `almadia.Store.snapshot`.
        """

        async def taken() -> Snapshot:
            completions, future = _completions()
            pending = _almadia.submit_snapshot(
                self._core, completions, future, (prefix, start, end), level, min_index, timeout
            )
            return Snapshot._of(await _answer(future, pending, _almadia.Snapshot))

        return Coming(taken)

    # The store itself.

    async def status(self) -> Status:
        """The current status of this member. Never waits."""
        return self._status()

    async def regions(self) -> list[RegionStatus]:
        """The current status of each region on this member, ordered by key. Never waits."""
        return self._regions()

    async def metrics(self) -> str:
        """Counters and histograms of this member in the text format of Prometheus."""
        return self._core.metrics()

    async def wait_leader(self, *, timeout: float | None = None) -> int:
        """Waits until this member knows the leader of every region, and returns that of the first region."""
        return await _in_thread(self._core.wait_leader, timeout)

    async def transfer_leader(
        self, target: int | None = None, *, key: BytesLike = b"", timeout: float | None = None
    ) -> None:
        """Transfers leadership to member `target`, or to one the leader chooses. Only the leader can do it.

        `key` is any key of the region concerned; with one region it does not matter.
        """
        completions, future = _completions()
        pending = _almadia.submit_transfer_leader(self._core, completions, future, target, key, timeout)
        await _answer(future, pending, type(None))

    async def close(self, *, timeout: float = CLOSE_SECONDS) -> None:
        """Closes the store within `timeout` seconds. Closing it again does nothing.

        Accepts no more calls, lets those in flight finish, transfers leadership away from this member and answers the
        rest. The last second of the timeout, or its last half if that is less, is reserved for ending threads; a
        timeout of 0 aborts calls at once and gives the threads five seconds. Raises `ShuttingDownError` if a disk that
        hangs keeps them from ending; the directory stays locked until the disk responds, and closing again waits for
        that.

        Snapshots stay usable, and keep the directory locked, until they are closed too.
        """
        await _in_thread(self._close, timeout)

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Snapshot:
    """A view of a store that does not change. Made by `store.snapshot()`.

    While it is open, values overwritten since stay on disk. It may outlive its store, and does not warn when it is
    dropped without being closed: see `almadia.Snapshot`. What is in memory is read at once, what must be read from disk
    on a thread of the loop's executor.
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
    async def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: _Default) -> bytes | _Default: ...
    async def get(self, key: BytesLike, default: _Default | None = None) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key."""
        try:
            value = self._core.get_from_memory(key)
        except LookupError:
            value = await _in_thread(self._core.get, key)
        return default if value is None else value

    async def get_view(self, key: BytesLike) -> memoryview | None:
        """The value of `key` as a read-only memoryview; None when there is no such key.

        It exposes engine memory: without a copy once the value is in a block of a file; while the value is still among
        the newest writes, in the engine's memtable, the engine copies it once.

        The view stays valid after the snapshot and the store are closed; until it is released it holds a little
        memory of the engine, and the directory.
        """
        return await _in_thread(self._core.get_view, key)

    async def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist."""
        return await _in_thread(self._core.get_many, list(keys))

    def items(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """Keys and values in order, read lazily: `async for key, value in snapshot.items()`.

        `prefix`, `start` (included) and `end` (excluded) restrict the range and can be combined; `reverse` iterates
        from the largest key to the smallest; `limit` is the maximum number of items. Closing the snapshot ends the
        iteration with `ClosedError` at the next item.
        """
        return _walk(self._core.walk("items", (prefix, start, end), reverse, limit))

    def keys(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The keys in order; see `items`."""
        return _walk(self._core.walk("keys", (prefix, start, end), reverse, limit))

    def values(
        self,
        *,
        prefix: BytesLike | None = None,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The values in the order of their keys; see `items`."""
        return _walk(self._core.walk("values", (prefix, start, end), reverse, limit))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.keys()

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

    async def close(self) -> None:
        """Releases what the snapshot holds. Closing it again does nothing."""
        self._core.close()

    async def __aenter__(self) -> Snapshot:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<almadia.aio.Snapshot index={self.index} term={self.term}{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot cannot be pickled: it belongs to a store of this process")


class BatchBlock:
    """An `async with` block that writes a batch at its end. Made by `store.batch()`."""

    __slots__ = ("_batch", "_store", "_timeout")

    def __init__(self, store: Store, timeout: float | None) -> None:
        self._store = store
        self._timeout = timeout
        self._batch = Batch()

    async def __aenter__(self) -> Batch:
        return self._batch

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and len(self._batch) > 0:
            await self._store.write(self._batch, timeout=self._timeout)


async def _answer(future: asyncio.Future[Any], pending: _almadia.Pending, _: type[_Answer]) -> _Answer:
    try:
        answer: _Answer = await future
    except asyncio.CancelledError:
        pending.cancel()
        raise
    return answer


async def _walk(items: _almadia.Items) -> AsyncIterator[Any]:
    while await _in_thread(items.read_ahead):
        while (item := items.next_ahead()) is not None:
            yield item


async def _in_thread(call: Callable[..., _Answer], *arguments: Any) -> _Answer:
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


class _Here(threading.local):
    """The event loop that last ran in this thread, and its completions."""

    loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    completions: _almadia.Completions


_here = _Here()
_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _almadia.Completions] = weakref.WeakKeyDictionary()


def _completions() -> tuple[_almadia.Completions, asyncio.Future[Any]]:
    """The completions of the running loop, and a new future for one answer."""
    loop = asyncio.get_running_loop()
    if _here.loop is None or _here.loop() is not loop:
        _watch(loop)
    return _here.completions, loop.create_future()


def _watch(loop: asyncio.AbstractEventLoop) -> None:
    for known, completions in list(_all.items()):
        if known.is_closed():
            completions.abandon()
            del _all[known]
    completions = _all.get(loop) or _almadia.Completions()
    if loop not in _all:
        loop.add_reader(completions.fileno(), completions.drain)
        _all[loop] = completions
    _here.completions = completions
    _here.loop = weakref.ref(loop)
