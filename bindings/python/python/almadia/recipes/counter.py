"""A counter: no lock, no lost increment, and none that counts twice."""

from __future__ import annotations

from almadia import Batch, BytesLike, NotANumberError, PreconditionFailedError, Store

from ._time import SECONDS

__all__ = ["Counter"]


class Counter:
    """A number that any member and thread adds to.

        visits = Counter(store, b"visits")
        visits.add()
        visits.add_once(b"request/4711")  # However often it is repeated.

    It is the number at `key` that `store.add` works on. `add_once` keeps the ids of requests at keys that begin with
    `key` and `/once/`.

    An addition is applied where it stands in the log, so that none is lost and callers never wait for each other. The
    outcome of an `add` may be unknown (`Outcome.UNKNOWN`: after a deadline, a cancellation, a failure of this member);
    then it must not be repeated, since it may count twice. Where that matters, use `add_once`.
    """

    def __init__(self, store: Store, key: BytesLike) -> None:
        self._store = store
        self._key = bytes(key)

    def add(self, delta: int = 1, *, timeout: float = SECONDS) -> int:
        """Adds `delta` and returns the sum. Not to be repeated after an unknown outcome."""
        return self._store.add(self._key, delta, timeout=timeout)

    def add_once(self, request: BytesLike, delta: int = 1, *, timeout: float = SECONDS) -> bool:
        """Adds `delta` unless that was done for the id `request` before; returns whether it was added now.

        The id is set in the same write, if it is not there yet. So the call may be repeated, with the same id, after
        every error and by any process, until it returns: the addition counts once. Choose the id before the first
        attempt, and keep it where a repetition finds it: a random number, or the number of the order that is counted.
        """
        try:
            self._store.write(once_batch(self._key, bytes(request), delta), timeout=timeout)
        except PreconditionFailedError:
            return False
        return True

    def value(self, *, timeout: float = SECONDS) -> int:
        """The sum of all additions."""
        return number(self._store.get(self._key, timeout=timeout))

    def forget(self, request: BytesLike, *, timeout: float = SECONDS) -> None:
        """Removes the id of a request, which takes space until then.

        After that an addition with this id counts again, also an earlier attempt whose outcome was unknown: it may be
        applied at any later time. So forget only requests of which every attempt was answered, or else late.
        """
        self._store.delete(once_key(self._key, bytes(request)), timeout=timeout)


def once_key(key: bytes, request: bytes) -> bytes:
    """Where the id of a request stands."""
    return key + b"/once/" + request


def once_batch(key: bytes, request: bytes, delta: int) -> Batch:
    """Adds `delta` if the id of the request is not there yet, and sets it."""
    batch = Batch()
    batch.if_absent(once_key(key, request))
    batch.put(once_key(key, request), b"")
    batch.add(key, delta)
    return batch


def number(value: bytes | None) -> int:
    """The number in the value of a counter; `NotANumberError` if it is none."""
    if value is not None and len(value) != 8:
        raise NotANumberError(f"the value of the counter has {len(value)} bytes, not 8")
    return int.from_bytes(value or b"", "little", signed=True)
