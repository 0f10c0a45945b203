"""Transactions of the blocking front end, and what the asyncio one has in common with it.

Owns what a program does with a transaction, when it commits, and when it is tried again. What always holds: only a
transaction that was refused with `ConflictError` is tried again, which is certainly not applied, so a function that
returns took effect once; a transaction holds no view of the data during a pause. Transactions of `almadia.aio` are in
`_aio_transactions`.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload

from . import _almadia
from ._almadia import Items, Position
from ._base import BaseStore, BytesIterator, EntryIterator, ItemIterator
from .errors import ConflictError, KeyNotFound
from .typing import MISSING, BytesLike, Level, Missing

if TYPE_CHECKING:
    from . import aio
    from .store import Store

_Default = TypeVar("_Default")
_Returned = TypeVar("_Returned")
_Arguments = ParamSpec("_Arguments")

_PAUSE_MIN = 0.001
"""The first pause between two tries, at most, in seconds."""
_PAUSE_MAX = 0.1
"""Any pause, at most."""


class BaseTransaction(Generic[ItemIterator, EntryIterator, BytesIterator]):
    """Reads and writes that take effect together, as if nothing else happened in between, or not at all."""

    __slots__ = ("__weakref__", "_core", "_has_walked", "_store", "_timeout")
    _name: ClassVar[str]
    _core: _almadia.Transaction
    _store: _almadia.Store
    _timeout: float | None
    _has_walked: bool

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("use store.transaction() or store.transact(function)")

    @classmethod
    def _of(cls, core: _almadia.Transaction, store: _almadia.Store, timeout: float | None) -> Any:
        transaction = cls.__new__(cls)
        transaction._core = core
        transaction._store = store
        transaction._timeout = timeout
        transaction._has_walked = False
        return transaction

    def put(self, key: BytesLike, value: BytesLike) -> None:
        """Sets `key` to `value` when the transaction commits; it sees that itself from now on. Never waits."""
        self._core.put(key, value)

    def delete(self, key: BytesLike) -> None:
        """Removes `key` when the transaction commits, if it exists then. Never waits."""
        self._core.delete(key)

    @overload
    def delete_range(self, start: BytesLike | None, end: BytesLike | None, *, prefix: None = None) -> None: ...
    @overload
    def delete_range(self, start: Missing = MISSING, end: Missing = MISSING, *, prefix: BytesLike) -> None: ...
    def delete_range(
        self,
        start: BytesLike | Missing | None = MISSING,
        end: BytesLike | Missing | None = MISSING,
        *,
        prefix: BytesLike | None = None,
    ) -> None:
        """Removes every key from `start` (included) to `end` (excluded), or those that begin with `prefix`.

        That happens when the transaction commits, also to keys that it has not seen. None as `start` is the first
        possible key, and as `end` no bound. The range must lie in the region of the transaction. Never waits.
        """
        bounds: dict[str, Any] = {"start": start, "end": end}
        self._core.delete_range(
            **{name: bound for name, bound in bounds.items() if bound is not MISSING}, prefix=prefix
        )

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self._core.put(key, value)

    def __delitem__(self, key: BytesLike) -> None:
        self._core.delete(key)

    def items(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
        exempt: bool = False,
    ) -> ItemIterator:
        """Keys and values in order, read lazily. A transaction of `almadia.aio` takes `async for` instead of `for`.

        `start` (included), `end` (excluded) and `prefix` restrict the range and can be combined; `reverse` iterates
        from the largest key to the smallest; `limit` is the maximum number of items. The range must lie in the region
        of the transaction.

        It also shows what the transaction writes while it iterates, where it has not been yet; the current key may be
        deleted. What it passes must be unchanged when the transaction commits, and no key may have been added there,
        unless it is `exempt`. It reads ahead, but never more than it has returned and one. The end of the transaction
        ends the iteration with `ClosedError` at the next item.
        """
        items: ItemIterator = self._walk("items", (prefix, start, end), reverse, limit, exempt)
        return items

    def entries(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
        exempt: bool = False,
    ) -> EntryIterator:
        """Tuples of key, value and version in order; see `items`. What the transaction has written has version 0."""
        entries: EntryIterator = self._walk("entries", (prefix, start, end), reverse, limit, exempt)
        return entries

    def keys(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
        exempt: bool = False,
    ) -> BytesIterator:
        """The keys in order; see `items`."""
        keys: BytesIterator = self._walk("keys", (prefix, start, end), reverse, limit, exempt)
        return keys

    def values(
        self,
        *,
        start: BytesLike | None = None,
        end: BytesLike | None = None,
        prefix: BytesLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
        exempt: bool = False,
    ) -> BytesIterator:
        """The values in the order of their keys; see `items`."""
        values: BytesIterator = self._walk("values", (prefix, start, end), reverse, limit, exempt)
        return values

    def _walk(
        self,
        part: str,
        keys: tuple[BytesLike | None, BytesLike | None, BytesLike | None],
        reverse: bool,
        limit: int | None,
        exempt: bool,
    ) -> Any:
        items = self._core.iterate(part, keys, reverse, limit, exempt)
        self._has_walked = self._has_walked or not exempt
        return self._iterate(items)

    @staticmethod
    def _iterate(items: Items) -> Any:
        """The iterator that a caller gets."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether it is over: committed, refused or rolled back."""
        return self._core.closed

    def _for_commit(self, timeout: float | None) -> float | None:
        """The timeout of the commit."""
        return self._timeout if timeout is None else timeout

    def __repr__(self) -> str:
        return f"<{self._name} {'closed' if self.closed else 'open'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transaction cannot be pickled: it belongs to a store of this process")


class Transaction(BaseTransaction[Iterator[tuple[bytes, bytes]], Iterator[tuple[bytes, bytes, int]], Iterator[bytes]]):
    """Reads and writes that take effect together, as if nothing else happened in between, or not at all.

    Made by `store.transaction()` and `store.transact(function)`. It sees the data as they were when it began, and its
    own writes over them; nothing of it can be seen before it commits, and it waits for nobody until then. When it
    commits all that it has read must be unchanged, else `ConflictError` is raised and it was certainly not applied.
    What was asked for counts as read, whether or not it exists, and what was iterated over, unless the read was
    `exempt`.

    In a `with` statement it commits at the end of the block, or is rolled back if an exception leaves the block:

        with store.transaction() as txn:
            txn[b"from"] = b"%d" % (int(txn[b"from"]) - 30)
            txn[b"to"] = b"%d" % (int(txn[b"to"]) + 30)

    All its keys are in one region. It may read 2,048 keys and separate ranges, iterate over 65,536 keys or 64 MiB, and
    write 32,768 keys or 8 MiB, else `TooLargeError` is raised. One thread at a time uses it. It keeps what a snapshot
    keeps until it is over, so it should be short; dropped, it is rolled back.
    """

    __slots__ = ()
    _name = "almadia.Transaction"

    @classmethod
    def _begin(
        cls, store: _almadia.Store, key: BytesLike, level: Level, begin: float | None, timeout: float | None
    ) -> Transaction:
        begun: Transaction = cls._of(_almadia.Transaction(store, key, level, begin), store, timeout)
        return begun

    @overload
    def get(self, key: BytesLike, *, exempt: bool = False) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: _Default, *, exempt: bool = False) -> bytes | _Default: ...
    def get(self, key: BytesLike, default: _Default | None = None, *, exempt: bool = False) -> bytes | _Default | None:
        """The value of `key`, or `default` when there is no such key.

        It must be unchanged when the transaction commits, unless the read is `exempt`.
        """
        value = self._core.get(key, exempt)
        return default if value is None else value

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self._core.get(key, False)
        if value is None:
            raise KeyNotFound(f"there is no key {bytes(key)!r}")
        return value

    def __contains__(self, key: BytesLike) -> bool:
        return self._core.contains(key, False)

    def __iter__(self) -> Iterator[bytes]:
        return self.keys()

    def __reversed__(self) -> Iterator[bytes]:
        return self.keys(reverse=True)

    @staticmethod
    def _iterate(items: Items) -> Items:
        return items

    def commit(self, *, timeout: float | None = None) -> Position:
        """Makes its writes take effect, waits for that, and returns their log position.

        `timeout` is by default the one that the transaction began with. It is over, whatever comes of it.
        `ConflictError` tells what was changed that it had read: it was certainly not applied. Other errors are those of
        `Store.write`, and `TooLargeError`. One that wrote nothing costs no entry of the log, unless its level is
        "local".
        """
        return self._core.commit(self._store, self._for_commit(timeout))

    def rollback(self) -> None:
        """Ends it without effect. Nothing happens when it is over already."""
        self._core.rollback()

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if raised is not None:
            self.rollback()
        elif not self.closed:
            self.commit()


class Tries:
    """The time that running a function until it commits may take, and the pauses between its tries."""

    __slots__ = ("_began", "_count", "_pause", "_until")

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._pause = _PAUSE_MIN
        self._count = 0
        self._began = 0.0

    def begin(self) -> float:
        """The seconds that are left for the next try."""
        self._count += 1
        self._began = time.monotonic()
        return self.left()

    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self._until - time.monotonic())

    def pause_after(self, conflict: ConflictError) -> float:
        """How many seconds to wait before the next try; raises the conflict if the time is up by then."""
        # Half of the pause to all of it: those who met should not meet again.
        pause = self._pause * (0.5 + int.from_bytes(os.urandom(4), "big") / 2**33)
        # The next one takes as long, and with less it would end in the middle, where nobody knows its outcome.
        took = time.monotonic() - self._began
        if pause + took >= self.left():
            conflict.args = (f"{conflict.args[0]}; it was tried {self._count} times before the deadline",)
            raise conflict
        self._pause = min(2 * self._pause, _PAUSE_MAX)
        return pause


def transact(
    store: _almadia.Store,
    function: Callable[[Transaction], _Returned],
    key: BytesLike,
    level: Level,
    timeout: float | None,
) -> _Returned:
    """Runs a function in a transaction again until that commits."""
    tries = Tries(store.write_seconds(timeout))
    while True:
        transaction = Transaction._begin(store, key, level, tries.begin(), None)
        try:
            returned = function(transaction)
            if hasattr(type(returned), "__await__"):
                raise _not_blocking(returned)
        except BaseException:
            transaction.rollback()
            raise
        if transaction.closed:
            return returned
        try:
            transaction.commit(timeout=tries.left())
        except ConflictError as conflict:
            pause = tries.pause_after(conflict)
        else:
            return returned
        time.sleep(pause)
        level = "linearizable"  # This member lags behind what it met.


def _not_blocking(returned: Any) -> TypeError:
    if hasattr(returned, "close"):
        returned.close()
    return TypeError("the function of a blocking store is not `async`: use almadia.aio")


@overload
def transactional(
    function: Callable[Concatenate[Transaction, _Arguments], _Returned], /
) -> Callable[Concatenate[Store | Transaction, _Arguments], _Returned]: ...
@overload
def transactional(
    function: Callable[Concatenate[aio.Transaction, _Arguments], Coroutine[Any, Any, _Returned]], /
) -> Callable[Concatenate[aio.Store | aio.Transaction, _Arguments], Coroutine[Any, Any, _Returned]]: ...
def transactional(function: Callable[..., Any], /) -> Callable[..., Any]:
    """Decorates a function whose first argument is a transaction, so that a store may be given instead.

        @almadia.transactional
        def transfer(txn, source, target, amount):
            txn[source] = b"%d" % (int(txn[source]) - amount)
            txn[target] = b"%d" % (int(txn[target]) + amount)

        transfer(store, b"from", b"to", 30)

    With a store it runs in a transaction of its own, again until that commits: see `Store.transact`. With a
    transaction, such as that of another function, it is a part of it, and does not commit. An `async def` takes stores
    and transactions of `almadia.aio`.
    """

    def run(first: Any, /, *arguments: Any, **named: Any) -> Any:
        if isinstance(first, BaseTransaction):
            return function(first, *arguments, **named)
        if not isinstance(first, BaseStore):
            name = getattr(function, "__qualname__", repr(function))
            raise TypeError(f"the first argument of {name} is a store or a transaction, not {type(first).__name__}")
        transact: Callable[..., Any] = getattr(first, "transact")  # noqa: B009 - either front end has it.
        return transact(lambda transaction: function(transaction, *arguments, **named))

    if not _is_async(function):
        return functools.wraps(function)(run)

    @functools.wraps(function)
    async def run_async(first: Any, /, *arguments: Any, **named: Any) -> Any:
        running = run(first, *arguments, **named)
        return await running

    return run_async


def _is_async(function: Callable[..., Any]) -> bool:
    # Imported late: it takes longer than all else here.
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function)
