"""`store.mapping(prefix)`: the keys under a prefix as a `collections.abc.MutableMapping`, for code that takes one.

Owns what a mapping promises beyond the calls of a store. What always holds: `setdefault`, `pop`, `popitem` and `del`
are decided where they are applied, so that of all members one wins; an iteration shows one snapshot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from ._almadia import Batch
from .errors import KeyNotFound, PreconditionFailedError, TooLargeError
from .typing import MISSING, BytesLike, Missing

if TYPE_CHECKING:
    from .store import Store

_Default = TypeVar("_Default")

_BATCH_OPERATIONS = 1000
"""Operations of a batch of `update`: from here on a larger one costs as much for each of them."""

_BATCH_BYTES = 1 << 20
"""Bytes after which a batch of `update` is written: others wait while it takes effect."""


class StoreMapping(MutableMapping[bytes, bytes]):
    """The keys of a store that begin with a prefix, without it, as a mapping. Made by `store.mapping(prefix)`.

    It is a `collections.abc.MutableMapping` of bytes to bytes, for code that takes one, such as `shelve.Shelf`. It
    holds no data and need not be closed: any number of them, on any member, show the same keys. A call waits at most
    for the store's default timeout, and raises what calls of a store raise; a key or value that is not bytes-like is
    a `TypeError`.

    * Keys are in order. An iteration, of `keys()`, `values()`, `items()` or the mapping, forwards or `reversed`, is one
      pass over one snapshot, taken at its first item: what is written meanwhile, also in the loop, is not seen. The
      snapshot is closed at the end, or when the iterator is dropped.
    * `setdefault`, `pop`, `popitem` and `del` are atomic over all members: one of those that add a key sets it, and one
      of those that remove it gets it. `mapping[key] += value` is a read and a write, as with any mapping: see
      `store.compare_and_set`, `store.add` and `almadia.recipes.update`.
    * After an unknown outcome (`Outcome.UNKNOWN`), assignment, `update`, `clear` and `setdefault` may be repeated where
      nobody else writes these keys. What `pop` or `popitem` took is lost then, and a repeated `del` may find nothing.
    * `len` reads all keys, and `list(mapping)` begins with it, as with the length of any iterable that has one; `bool`
      reads one key. `dict(mapping.items())` reads once, `dict(mapping)` gets each key by itself.

    If the store has several regions (`bootstrap.split_keys`), a prefix may lie across them. Iterations, `len` and `==`
    then show each region as it was at one moment, not all of them at the same; `update` and `clear` are one write or
    more for each; `popitem` takes from the first region that has a key. What concerns one key is the same as ever.
    """

    __slots__ = ("__weakref__", "_prefix", "_store")

    def __init__(self, store: Store, prefix: BytesLike = b"") -> None:
        self._store = store
        self._prefix = _as_bytes(prefix)

    @property
    def prefix(self) -> bytes:
        """What its keys begin with in the store."""
        return self._prefix

    # One key. `in` and `get` are those of `Mapping`.

    def __getitem__(self, key: BytesLike) -> bytes:
        value = self._store.get(self._whole(key))
        if value is None:
            raise self._not_found(key)
        return value

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self._store.put(self._whole(key), value)

    def __delitem__(self, key: BytesLike) -> None:
        whole = self._whole(key)
        batch = Batch()
        batch.if_present(whole)
        batch.delete(whole)
        try:
            self._store.write(batch)
        except PreconditionFailedError:
            raise self._not_found(key) from None

    def setdefault(self, key: BytesLike, default: BytesLike) -> bytes:
        """The value of `key`, which is set to `default` if it does not exist: by one of all that call this at once."""
        whole = self._whole(key)
        while (value := self._store.get(whole)) is None:
            try:
                self._store.put_if_absent(whole, default)
            except PreconditionFailedError:
                continue  # Another was first, and may have removed it again.
            return _as_bytes(default, "values")
        return value

    @overload
    def pop(self, key: BytesLike) -> bytes: ...
    @overload
    def pop(self, key: BytesLike, default: _Default) -> bytes | _Default: ...
    def pop(self, key: BytesLike, default: _Default | Missing = MISSING) -> bytes | _Default:
        """Removes `key` and returns its value, to one caller only; without one `default`, or else raises `KeyError`."""
        value = self._store.pop(self._whole(key), None)
        if value is not None:
            return value
        if isinstance(default, Missing):
            raise self._not_found(key)
        return default

    def popitem(self) -> tuple[bytes, bytes]:
        """Removes the first key, in order, and returns it with its value, to one caller only; or raises `KeyError`.

        A `dict` returns the item that was added last; this is in the order of iteration, as `MutableMapping` has it.
        """
        for start, end in self._store._parts(MISSING, MISSING, self._prefix):
            taken = self._store.take_first(start=start, end=end)
            if taken is not None:
                return taken[0][len(self._prefix) :], taken[1]
        raise KeyNotFound(f"popitem(): there is no key under {self._prefix!r}")

    # Many keys.

    def clear(self) -> None:
        """Removes all keys that begin with the prefix, at once: see `store.delete_range`."""
        self._store.delete_range(prefix=self._prefix)

    def update(self, other: _Updates = (), /, **more: BytesLike) -> None:
        """Sets the keys and values of a mapping, or of pairs, in batches of up to 1,000.

        A batch is applied as a whole; all of them are not. An exception leaves those that were written before.
        """
        if more:
            raise TypeError(f"keys are bytes, not str: give {', '.join(more)} in a mapping")
        starts = [region.start_key for region in self._store.regions()]
        batches: dict[int, Batch] = {}
        for key, value in _pairs(other):
            whole = self._whole(key)
            region = bisect_right(starts, whole)
            batch = batches[region] if region in batches else batches.setdefault(region, Batch())
            self._put(batch, whole, value)
            if len(batch) >= _BATCH_OPERATIONS or batch.encoded_bytes >= _BATCH_BYTES:
                self._store.write(batch)
        for batch in batches.values():
            if batch:
                self._store.write(batch)

    def _put(self, batch: Batch, whole: bytes, value: BytesLike) -> None:
        try:
            batch.put(whole, value)
        except TooLargeError:
            if not batch:
                raise
            self._store.write(batch)
            batch.put(whole, value)

    def __len__(self) -> int:
        with self._store.snapshot(prefix=self._prefix) as snapshot:
            return sum(1 for _ in snapshot)

    def __bool__(self) -> bool:
        with self._store.snapshot(prefix=self._prefix) as snapshot:
            return any(True for _ in snapshot.keys(limit=1))

    def __iter__(self) -> Iterator[bytes]:
        return self._keys(reverse=False)

    def __reversed__(self) -> Iterator[bytes]:
        return self._keys(reverse=True)

    def keys(self) -> _Keys:
        """A view of the keys, in order."""
        return _Keys(self)

    def values(self) -> _Values:
        """A view of the values, in the order of their keys."""
        return _Values(self)

    def items(self) -> _Items:
        """A view of the keys with their values, in order."""
        return _Items(self)

    def _keys(self, reverse: bool) -> Iterator[bytes]:
        begin = len(self._prefix)
        with self._store.snapshot(prefix=self._prefix) as snapshot:
            for key in snapshot.keys(reverse=reverse):
                yield key[begin:]

    def _items(self, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        begin = len(self._prefix)
        with self._store.snapshot(prefix=self._prefix) as snapshot:
            for key, value in snapshot.items(reverse=reverse):
                yield key[begin:], value

    def _values(self, reverse: bool) -> Iterator[bytes]:
        with self._store.snapshot(prefix=self._prefix) as snapshot:
            yield from snapshot.values(reverse=reverse)

    def __repr__(self) -> str:
        return f"<almadia.StoreMapping prefix={self._prefix!r} of {self._store!r}>"

    def _whole(self, key: BytesLike) -> bytes:
        """A key as it is in the store."""
        return self._prefix + _as_bytes(key)

    def _not_found(self, key: BytesLike) -> KeyNotFound:
        return KeyNotFound(f"there is no key {_as_bytes(key)!r} under {self._prefix!r}")


class _Keys(KeysView[bytes]):
    """Keys of a mapping; also `reversed`, as those of a dictionary."""

    _mapping: StoreMapping

    def __reversed__(self) -> Iterator[bytes]:
        return self._mapping._keys(reverse=True)


class _Items(ItemsView[bytes, bytes]):
    """Pairs of a mapping, read in one pass."""

    _mapping: StoreMapping

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping._items(reverse=False)

    def __reversed__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping._items(reverse=True)


class _Values(ValuesView[bytes]):
    """Values of a mapping, read in one pass."""

    _mapping: StoreMapping

    def __contains__(self, value: object) -> bool:
        return any(value == found for found in self)

    def __iter__(self) -> Iterator[bytes]:
        return self._mapping._values(reverse=False)

    def __reversed__(self) -> Iterator[bytes]:
        return self._mapping._values(reverse=True)


class _KeysAndGetItem(Protocol):
    """What `update` takes besides pairs."""

    def keys(self) -> Iterable[Any]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


_Updates = _KeysAndGetItem | Iterable[tuple[BytesLike, BytesLike]]


def _pairs(other: _Updates) -> Iterable[tuple[BytesLike, BytesLike]]:
    """Keys and values, told apart as `MutableMapping.update` does it."""
    if isinstance(other, Mapping):
        return other.items()
    if hasattr(other, "keys"):
        mapping: Any = other
        return ((key, mapping[key]) for key in mapping.keys())  # noqa: SIM118 - it need not be iterable itself.
    return other


def _as_bytes(given: BytesLike, what: str = "keys") -> bytes:
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        raise TypeError(f"{what} are bytes, not str: use .encode()")
    try:
        return memoryview(given).tobytes()
    except TypeError:
        raise TypeError(f"{what} are bytes or bytes-like, not {type(given).__name__}") from None
