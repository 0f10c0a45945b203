"""Transactions of the asyncio front end.

Owns how they begin and commit without blocking the loop. What always holds: what is in memory is read at once, what
must be read from the disk on a thread of the loop's executor; so is what a commit reads again, which is what the
transaction has iterated over. What the blocking front end has too is in `_transactions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, cast, overload

from . import _almadia
from ._almadia import Items, Position
from ._loops import answer_of, answer_of_in_thread, in_thread
from ._transactions import BaseTransaction, Tries
from .errors import ConflictError
from .typing import BytesLike, Level

_Default = TypeVar("_Default")
_Returned = TypeVar("_Returned")


class Transaction(
    BaseTransaction[AsyncIterator[tuple[bytes, bytes]], AsyncIterator[tuple[bytes, bytes, int]], AsyncIterator[bytes]]
):
    """Reads and writes that take effect together, or not at all, as `almadia.Transaction` describes them.

    Made by `store.transaction()` and `store.transact(function)`. Reads and the commit are awaited; `put`, `delete`,
    `delete_range`, `txn[key] = value` and `del txn[key]` wait for nothing and are not. One task at a time uses it.

        async with store.transaction() as txn:
            txn[b"from"] = b"%d" % (int(await txn.get(b"from", 0)) - 30)
            txn[b"to"] = b"%d" % (int(await txn.get(b"to", 0)) + 30)
    """

    __slots__ = ()
    _name = "almadia.aio.Transaction"

    @classmethod
    async def _begin(
        cls, store: _almadia.Store, key: BytesLike, level: Level, begin: float | None, timeout: float | None
    ) -> Transaction:
        begun: Transaction = cls._of(await answer_of(_almadia.submit_begin, store, key, level, begin), store, timeout)
        return begun

    @overload
    async def get(self, key: BytesLike, *, exempt: bool = False) -> bytes | None: ...
    @overload
    async def get(self, key: BytesLike, default: _Default, *, exempt: bool = False) -> bytes | _Default: ...
    async def get(
        self, key: BytesLike, default: _Default | None = None, *, exempt: bool = False
    ) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key.

        It must be unchanged when the transaction commits, unless the read is `exempt`.
        """
        try:
            value = self._core.get_from_memory(key, exempt)
        except LookupError:
            value = await in_thread(self._core.get, key, exempt)
        return default if value is None else value

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.keys()

    @staticmethod
    async def _iterate(items: Items) -> AsyncIterator[Any]:
        while await in_thread(items.read_ahead):
            while (item := items.next_ahead()) is not None:
                yield item

    async def commit(self, *, timeout: float | None = None) -> Position:
        """Makes its writes take effect, waits for that, and returns their log position.

        As `almadia.Transaction.commit`. One whose task is cancelled meanwhile may be applied, at any later time.
        """
        submit = answer_of_in_thread if self._has_walked else answer_of
        try:
            return await submit(_almadia.submit_commit, self._store, self._core, self._for_commit(timeout))
        except asyncio.CancelledError:
            # The thread may not have begun yet.
            self._core.rollback()
            raise

    async def rollback(self) -> None:
        """Ends it without effect. Nothing happens when it is over already. Never waits."""
        self._core.rollback()

    async def __aenter__(self) -> Transaction:
        return self

    async def __aexit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if raised is not None:
            self._core.rollback()
        elif not self.closed:
            await self.commit()


class TransactionContext:
    """A transaction that begins when this is awaited, or for an `async with` block, at whose end it commits."""

    __slots__ = ("_begin", "_begun")

    def __init__(self, store: _almadia.Store, key: BytesLike, level: Level, timeout: float | None) -> None:
        self._begin: Callable[[], Coroutine[Any, Any, Transaction]]
        self._begin = lambda: Transaction._begin(store, key, level, timeout, timeout)
        self._begun: Transaction | None = None

    def __await__(self) -> Generator[Any, None, Transaction]:
        return self._begin().__await__()

    async def __aenter__(self) -> Transaction:
        self._begun = begun = await self._begin()
        return begun

    async def __aexit__(self, *raised: Any) -> None:
        if self._begun is not None:
            await self._begun.__aexit__(*raised)


async def transact(
    store: _almadia.Store,
    function: Callable[[Transaction], Awaitable[_Returned]] | Callable[[Transaction], _Returned],
    key: BytesLike,
    level: Level,
    timeout: float | None,
) -> _Returned:
    """Runs a function in a transaction again until that commits."""
    tries = Tries(store.write_seconds(timeout))
    while True:
        transaction = await Transaction._begin(store, key, level, tries.begin(), None)
        try:
            returned = function(transaction)
            if hasattr(type(returned), "__await__"):
                returned = await cast(Awaitable[_Returned], returned)
        except BaseException:
            transaction._core.rollback()
            raise
        if transaction.closed:
            return cast(_Returned, returned)
        try:
            await transaction.commit(timeout=tries.left())
        except ConflictError as conflict:
            pause = tries.pause_after(conflict)
        else:
            return cast(_Returned, returned)
        await asyncio.sleep(pause)
        level = "linearizable"  # This member lags behind what it met.
