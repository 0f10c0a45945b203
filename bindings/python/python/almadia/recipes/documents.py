"""Changing a value that others change too: read, compute, write if nobody was faster, else again."""

from __future__ import annotations

import time
from collections.abc import Callable

from almadia import Batch, BytesLike, ConflictError, PreconditionFailedError, Store

from ._time import SECONDS, Deadline, pause

__all__ = ["update"]

Change = Callable[[bytes | None], BytesLike | None]
"""Computes the new value of a key from the one that it has; None is no value."""


def update(
    store: Store, key: BytesLike, change: Change, *, once: BytesLike | None = None, timeout: float = SECONDS
) -> bytes | None:
    """Sets `key` to what `change` makes of its value, and returns that.

        update(store, b"config", lambda value: json.dumps({**json.loads(value or b"{}"), "colour": "red"}).encode())

    `change` is called with the value, or None when there is none, and returns the new one, or None to remove the key.
    It is called again, after a short random pause, whenever another write of the key came in between; so it should
    have no effect but its result. What it raises ends the call. If it changes nothing, nothing is written.

    What is written was computed from the very value that it replaces: the version of the key is compared where the
    write is applied, so that also a value that was set to something else and back is noticed. If others were faster
    until `timeout`, which is in seconds and bounds the whole call, `ConflictError` is raised, and nothing was
    applied.

    After an unknown outcome (`Outcome.UNKNOWN`) the change may have been applied, once, or may be at a later time as
    long as nobody else has written the key. A repeated call then applies `change` to what it finds, perhaps for the
    second time. Where that matters, either let `change` recognize its own work, and return the value as it is; or
    give `once`, a key that stands for this change and that belongs to the same region: it is set in the same write,
    if it does not exist. With the same `once` the call may be repeated after every error: the change is applied once,
    and a call that finds it done returns the value of the key. Remove that key when the change is surely not repeated
    any more.
    """
    race = Race(key, timeout)
    while True:
        value, version = store.get_with_version(key, timeout=race.left())
        changed = change(value)
        if changed == value and once is None:
            return value
        try:
            store.write(change_batch(key, version, changed, once), timeout=race.left())
        except PreconditionFailedError as refused:
            if was_done(refused, once):
                return store.get(key, timeout=race.left())
        else:
            return None if changed is None else bytes(changed)
        time.sleep(race.lost())


def change_batch(key: BytesLike, version: int, changed: BytesLike | None, once: BytesLike | None) -> Batch:
    """Sets or removes a key that has still this version; and `once`, if it is not there."""
    batch = Batch()
    if once is not None:
        batch.if_absent(once)
        batch.put(once, b"")
    batch.if_version(key, version)
    if changed is None:
        batch.delete(key)
    else:
        batch.put(key, changed)
    return batch


def was_done(refused: PreconditionFailedError, once: BytesLike | None) -> bool:
    """Whether a batch was refused because the change has been made already."""
    return once is not None and refused.operation == 0


class Race(Deadline):
    """The attempts of one update, until its deadline."""

    __slots__ = ("_key", "_lost", "_timeout")

    def __init__(self, key: BytesLike, timeout: float) -> None:
        super().__init__(timeout)
        self._key = key
        self._timeout = timeout
        self._lost = 0

    def lost(self) -> float:
        """Counts an attempt in which another was faster; returns the seconds to wait before the next one."""
        self._lost += 1
        return min(pause(self._lost), super().left())

    def left(self) -> float:
        """Seconds that are left. When there are none, and others were faster, `ConflictError`."""
        seconds = super().left()
        if seconds == 0 and self._lost:
            times = f"{self._lost} times others changed {bytes(self._key)!r} first"
            raise ConflictError(f"{times}, within {self._timeout:g} s")
        return seconds
