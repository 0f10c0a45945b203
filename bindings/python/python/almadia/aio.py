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
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from . import _aio_transactions, _almadia, _conditions
from ._aio_transactions import Transaction, TransactionContext
from ._almadia import Batch, Items, Position, RangeDigest
from ._base import CLOSE_SECONDS, BaseBatchBlock, BaseSnapshot, BaseStore
from ._loops import answer_of, in_thread, submitted
from .options import option_list
from .status import RaftSnapshotStatus, RegionStatus, Status
from .store import not_found
from .typing import MISSING, BytesLike, Level, Members, Missing, OptionValue

if TYPE_CHECKING:
    from .membership import Change, MemberTable

__all__ = ["BatchBlock", "Snapshot", "Store", "Transaction", "TransactionContext", "open"]

_Default = TypeVar("_Default")
_Returned = TypeVar("_Returned")
_Opened = TypeVar("_Opened", bound="Store | Snapshot")


def open(  # noqa: A001 - as the built-in: it opens something.
    path: str | os.PathLike[str],
    *,
    node_id: int | None = None,
    initial_members: Members | None = None,
    timeout: float | None = None,
    options: Mapping[str, OptionValue] | None = None,
    **more_options: OptionValue,
) -> AwaitableContext[Store]:
    """As `almadia.open`; await it, or use it in `async with`."""
    chosen = option_list(node_id, initial_members, timeout, options, more_options)

    async def open_store() -> Store:
        return await in_thread(Store._open, os.fsdecode(path), chosen)

    return AwaitableContext(open_store)


class AwaitableContext(Generic[_Opened]):
    """A store or snapshot that is opened when this is awaited, or for the duration of an `async with` block."""

    __slots__ = ("_open", "_opened")

    def __init__(self, open_it: Callable[[], Awaitable[_Opened]]) -> None:
        self._open = open_it
        self._opened: _Opened | None = None

    def __await__(self) -> Generator[Any, None, _Opened]:
        return self._open().__await__()

    async def __aenter__(self) -> _Opened:
        self._opened = opened = await self._open()
        return opened

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.close()


class Store(BaseStore):
    """An open store: one member of a cluster, one directory. Made by `almadia.aio.open`.

    The methods are those of `almadia.Store`, awaitable. `timeout` is in seconds everywhere; None means the store's
    default.
    """

    __slots__ = ()

    # One key.

    @overload
    async def get(
        self,
        key: BytesLike,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> bytes | None: ...
    @overload
    async def get(
        self,
        key: BytesLike,
        default: _Default,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> bytes | _Default: ...
    async def get(
        self,
        key: BytesLike,
        default: _Default | None = None,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key.

        `level` and `min_index` are those of `almadia.Store.get`.
        """
        # Not through answer_of: another coroutine would make the two most frequent calls 5 % slower.
        future, pending = submitted(_almadia.submit_get, self._core, key, level, min_index, timeout)
        try:
            value = await future
        except asyncio.CancelledError:
            pending.cancel()
            raise
        return default if value is None else value

    async def get_with_position(
        self,
        key: BytesLike,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> tuple[bytes | None, Position]:
        """The value of `key`, or None, and the position of the state that was read.

        As `almadia.Store.get_with_position`.
        """
        return await answer_of(_almadia.submit_get_with_position, self._core, key, level, min_index, timeout)

    async def get_with_version(
        self,
        key: BytesLike,
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> tuple[bytes | None, int]:
        """The value of `key` and its version; None and 0 when there is no such key.

        As `almadia.Store.get_with_version`.
        """
        return await answer_of(_almadia.submit_get_with_version, self._core, key, level, min_index, timeout)

    async def put(self, key: BytesLike, value: BytesLike, *, timeout: float | None = None) -> Position:
        """Sets `key` to `value` on a majority of the members, and returns the log position of the write."""
        future, pending = submitted(_almadia.submit_put, self._core, key, value, timeout)
        try:
            return await future
        except asyncio.CancelledError:
            pending.cancel()
            raise

    async def delete(self, key: BytesLike, *, timeout: float | None = None) -> Position:
        """Removes `key`; it is not an error if the key does not exist."""
        return await answer_of(_almadia.submit_delete, self._core, key, timeout)

    # One key, judged or computed where the write is applied.

    async def put_if_absent(self, key: BytesLike, value: BytesLike, *, timeout: float | None = None) -> Position:
        """Sets `key` to `value` if it does not exist; else raises `PreconditionFailedError`, which has its version.

        As `almadia.Store.put_if_absent`.
        """
        return await answer_of(_almadia.submit_write, self._core, _conditions.put_if_absent(key, value), timeout)

    @overload
    async def compare_and_set(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        expected: BytesLike | None,
        version: None = None,
        timeout: float | None = None,
    ) -> Position: ...
    @overload
    async def compare_and_set(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        expected: Missing = MISSING,
        version: int,
        timeout: float | None = None,
    ) -> Position: ...
    async def compare_and_set(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        expected: BytesLike | Missing | None = MISSING,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Sets `key` to `value` if it is as expected; else raises `PreconditionFailedError`, which tells what it is.

        As `almadia.Store.compare_and_set`.
        """
        return await answer_of(
            _almadia.submit_write, self._core, _conditions.compare_and_set(key, value, expected, version), timeout
        )

    @overload
    async def compare_and_delete(
        self,
        key: BytesLike,
        *,
        expected: BytesLike | None,
        version: None = None,
        timeout: float | None = None,
    ) -> Position: ...
    @overload
    async def compare_and_delete(
        self,
        key: BytesLike,
        *,
        expected: Missing = MISSING,
        version: int,
        timeout: float | None = None,
    ) -> Position: ...
    async def compare_and_delete(
        self,
        key: BytesLike,
        *,
        expected: BytesLike | Missing | None = MISSING,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Removes `key` if it is as expected; else raises `PreconditionFailedError`, which tells what it is.

        As `almadia.Store.compare_and_delete`.
        """
        return await answer_of(
            _almadia.submit_write, self._core, _conditions.compare_and_delete(key, expected, version), timeout
        )

    @overload
    async def pop(self, key: BytesLike, *, timeout: float | None = None) -> bytes: ...
    @overload
    async def pop(self, key: BytesLike, default: _Default, *, timeout: float | None = None) -> bytes | _Default: ...
    async def pop(
        self, key: BytesLike, default: _Default | Missing = MISSING, *, timeout: float | None = None
    ) -> bytes | _Default:
        """Removes `key` and returns the value that it had; without one `default`, or else raises `KeyNotFound`.

        As `almadia.Store.pop`.
        """
        taken: tuple[bytes, bytes, int] | None = await answer_of(
            _almadia.submit_compute, self._core, _conditions.pop(key), timeout
        )
        if taken is not None:
            return taken[1]
        if isinstance(default, Missing):
            raise not_found(key)
        return default

    async def take_first(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        timeout: float | None = None,
    ) -> tuple[bytes, bytes, int] | None:
        """Removes the first key of a range and returns it with its value and version; None if there is none.

        As `almadia.Store.take_first`.
        """
        taken: tuple[bytes, bytes, int] | None = await answer_of(
            _almadia.submit_compute, self._core, _conditions.take_first(start, end, prefix), timeout
        )
        return taken

    async def add(self, key: BytesLike, delta: int = 1, *, timeout: float | None = None) -> int:
        """Adds `delta` to the number at `key` and returns the sum; a key that does not exist counts as 0.

        As `almadia.Store.add`.
        """
        total: int = await answer_of(_almadia.submit_compute, self._core, _conditions.add(key, delta), timeout)
        return total

    async def put_versioned(self, prefix: BytesLike, value: BytesLike, *, timeout: float | None = None) -> bytes:
        """Sets a new key that begins with `prefix` to `value`, and returns the key.

        As `almadia.Store.put_versioned`.
        """
        key: bytes = await answer_of(
            _almadia.submit_compute, self._core, _conditions.put_versioned(prefix, value), timeout
        )
        return key

    # Many keys.

    async def get_many(
        self,
        keys: Iterable[BytesLike],
        *,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist.

        All are read at one moment on this member: what `almadia.Store.snapshot` says about several regions applies.
        `level` and `min_index` are those of `almadia.Store.get_many`.
        """
        return await answer_of(_almadia.submit_get_many, self._core, list(keys), level, min_index, timeout)

    @overload
    async def delete_range(
        self,
        start: BytesLike | None,
        end: BytesLike | None,
        *,
        prefix: None = None,
        timeout: float | None = None,
    ) -> Position: ...
    @overload
    async def delete_range(
        self,
        start: Missing = MISSING,
        end: Missing = MISSING,
        *,
        prefix: BytesLike,
        timeout: float | None = None,
    ) -> Position: ...
    async def delete_range(
        self,
        start: BytesLike | Missing | None = MISSING,
        end: BytesLike | Missing | None = MISSING,
        *,
        prefix: BytesLike | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Removes every key from `start` (included) to `end` (excluded), or those that begin with `prefix`.

        None as `start` is the first possible key, and as `end` no bound. A range over several regions is not removed
        atomically, as `almadia.Store.delete_range` explains.
        """
        parts = self._parts(start, end, prefix)
        return [await answer_of(_almadia.submit_delete_range, self._core, *part, timeout) for part in parts][-1]

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
        fails, unless the batch has others by then. An empty batch is a read: see `almadia.Store.write`.
        """
        return await answer_of(_almadia.submit_write, self._core, batch, timeout)

    def snapshot(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        level: Level = "linearizable",
        min_index: int | Position = 0,
        timeout: float | None = None,
    ) -> AwaitableContext[Snapshot]:
        """A view of the store that does not change; await it, or use it in `async with`.

        The arguments are those of `almadia.Store.snapshot`.
        """

        async def take() -> Snapshot:
            keys = (prefix, start, end)
            core = await answer_of(_almadia.submit_snapshot, self._core, keys, level, min_index, timeout)
            return Snapshot._of(core)

        return AwaitableContext(take)

    # Transactions.

    def transaction(
        self, *, key: BytesLike = b"", level: Level = "linearizable", timeout: float | None = None
    ) -> TransactionContext:
        """A transaction; await it, or use it in `async with`, which commits it at the end of the block.

        As `almadia.Store.transaction`.
        """
        return TransactionContext(self._core, key, level, timeout)

    @overload
    async def transact(
        self,
        function: Callable[[Transaction], Awaitable[_Returned]],
        /,
        *,
        key: BytesLike = b"",
        level: Level = "linearizable",
        timeout: float | None = None,
    ) -> _Returned: ...
    @overload
    async def transact(
        self,
        function: Callable[[Transaction], _Returned],
        /,
        *,
        key: BytesLike = b"",
        level: Level = "linearizable",
        timeout: float | None = None,
    ) -> _Returned: ...
    async def transact(
        self,
        function: Callable[[Transaction], _Returned],
        /,
        *,
        key: BytesLike = b"",
        level: Level = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Runs `function(txn)` in a transaction and commits it, again until nothing that it read was changed meanwhile.

        The function may be `async` or not. As `almadia.Store.transact`.
        """
        return await _aio_transactions.transact(self._core, function, key, level, timeout)

    # The store itself.

    async def status(self) -> Status:
        """The current status of this member. Never waits."""
        return self._status()

    async def regions(self) -> list[RegionStatus]:
        """The current status of each region on this member, ordered by key. Never waits."""
        return self._regions()

    async def members(self) -> MemberTable:
        """The members of the cluster as this one knows them. Never waits."""
        return self._members()

    async def raft_snapshots(self) -> list[RaftSnapshotStatus]:
        """The raft snapshots that this member makes, sends, receives and installs at this moment. Never waits."""
        return self._raft_snapshots()

    async def metrics(self) -> str:
        """Counters and histograms of this member in the text format of Prometheus."""
        return self._core.metrics()

    async def wait_leader(self, *, timeout: float | None = None) -> int:
        """Waits until this member knows the leader of every region, and returns that of the first region."""
        return await in_thread(self._core.wait_leader, timeout)

    async def transfer_leader(
        self, target: int | None = None, *, key: BytesLike = b"", timeout: float | None = None
    ) -> None:
        """Transfers leadership to member `target`, or to one the leader chooses, as `almadia.Store.transfer_leader`."""
        await answer_of(_almadia.submit_transfer_leader, self._core, target, key, timeout)

    async def change_members(self, *changes: Change, timeout: float | None = None) -> None:
        """Changes the members of the cluster, and waits until every region has followed.

        As `almadia.Store.change_members`. A change that was cancelled may still be made, as any write.
        """
        await answer_of(_almadia.submit_change_members, self._core, self._encoded(changes), timeout)

    async def wait_ready(self, *, timeout: float | None = None) -> None:
        """Waits until this member, which has joined a cluster, has the data of every region.

        As `almadia.Store.wait_ready`.
        """
        await in_thread(self._core.wait_ready, timeout)

    async def close(self, *, timeout: float = CLOSE_SECONDS) -> None:
        """Closes the store within `timeout` seconds, as `almadia.Store.close` does. Closing it again does nothing."""
        await in_thread(self._close, timeout)

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Snapshot(
    BaseSnapshot[AsyncIterator[tuple[bytes, bytes]], AsyncIterator[tuple[bytes, bytes, int]], AsyncIterator[bytes]]
):
    """A view of a store that does not change. Made by `store.snapshot()`.

    While it is open, values overwritten since stay on disk. It may outlive its store, and does not warn when it is
    dropped without being closed: see `almadia.Snapshot`. What is in memory is read at once, what must be read from disk
    on a thread of the loop's executor.
    """

    __slots__ = ()

    @overload
    async def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: _Default) -> bytes | _Default: ...
    async def get(self, key: BytesLike, default: _Default | None = None) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key."""
        try:
            value = self._core.get_from_memory(key)
        except LookupError:
            value = await in_thread(self._core.get, key)
        return default if value is None else value

    async def get_with_version(self, key: BytesLike) -> tuple[bytes | None, int]:
        """The value of `key` and its version, as `Store.get_with_version`; None and 0 when there is no such key."""
        try:
            return self._core.get_with_version_from_memory(key)
        except LookupError:
            return await in_thread(self._core.get_with_version, key)

    async def get_view(self, key: BytesLike) -> memoryview | None:
        """The value of `key` as a read-only memoryview of engine memory; None when there is no such key.

        For how long it is valid, and when the engine copies the value, see `almadia.Snapshot.get_view`.
        """
        return await in_thread(self._core.get_view, key)

    async def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of `keys`, in the same order; None for each key that does not exist."""
        return await in_thread(self._core.get_many, list(keys))

    async def digest(
        self, *, start: BytesLike | None = None, end: BytesLike | None = None, prefix: BytesLike | None = None
    ) -> RangeDigest:
        """What a range of keys looks like, as `almadia.Snapshot.digest`."""
        return await in_thread(self._core.digest, (prefix, start, end))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.keys()

    @staticmethod
    async def _iterate(items: Items) -> AsyncIterator[Any]:
        while await in_thread(items.read_ahead):
            while (item := items.next_ahead()) is not None:
                yield item

    async def close(self) -> None:
        """Releases what the snapshot holds. Closing it again does nothing."""
        self._core.close()

    async def __aenter__(self) -> Snapshot:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class BatchBlock(BaseBatchBlock[Store]):
    """An `async with` block that writes a batch at its end. Made by `store.batch()`."""

    __slots__ = ()

    async def __aenter__(self) -> Batch:
        return self._batch

    async def __aexit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if self._must_write(raised):
            await self._store.write(self._batch, timeout=self._timeout)
