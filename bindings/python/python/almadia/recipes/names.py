"""Unique names: each belongs to one owner, whichever member is asked."""

from __future__ import annotations

import time

from almadia import Batch, BytesLike, PreconditionFailedError, Store

from ._time import SECONDS, Deadline, pause
from .errors import NameTakenError, NotOwnerError

__all__ = ["Names"]


class Names:
    """Names that are reserved for owners, at keys that begin with `prefix`.

        names = Names(store, b"users/by-name/")
        names.reserve(b"ada", owner=b"user/17")

    An owner is the id of whatever has the name, and of nothing else. Of all that reserve a name one gets it. Every
    call may be repeated after an unknown outcome (`Outcome.UNKNOWN`): it takes effect once, and the owner stored with
    the name tells whether it has.

    All names are in one region, or else those of one region cannot be renamed to those of another.
    """

    def __init__(self, store: Store, prefix: BytesLike) -> None:
        self._store = store
        self._prefix = bytes(prefix)

    def owner(self, name: BytesLike, *, timeout: float = SECONDS) -> bytes | None:
        """Who has the name; None if it is free."""
        return self._store.get(self._prefix + name, timeout=timeout)

    def reserve(self, name: BytesLike, owner: BytesLike, *, timeout: float = SECONDS) -> int:
        """Reserves the name and returns the version of the reservation; `NameTakenError` if another owner has it.

        If `owner` has it already, also by an attempt whose outcome was unknown, nothing changes. The version is the
        same as long as the name is reserved, and larger the next time: it can serve as a fencing token.

        An attempt whose outcome is unknown may be applied as long as the name is free, also after a release. Repeat it
        on the same store until it is answered: a member's writes of a key are applied in the order of its calls.
        """
        deadline = Deadline(timeout)
        while True:
            try:
                return self._store.put_if_absent(self._prefix + name, owner, timeout=deadline.left()).version
            except PreconditionFailedError:
                found, version = self._store.get_with_version(self._prefix + name, timeout=deadline.left())
            if found == owner:
                return version
            if found is not None:
                raise NameTakenError._about(bytes(name), found)
            # It was released in between.

    def release(self, name: BytesLike, owner: BytesLike, *, timeout: float = SECONDS) -> bool:
        """Frees the name if `owner` has it; returns whether this call did.

        Only the reservation that it found is removed. So an attempt whose outcome is unknown, and that is applied late,
        does not free a name that was reserved again since.
        """
        deadline = Deadline(timeout)
        found, version = self._store.get_with_version(self._prefix + name, timeout=deadline.left())
        if found != owner:
            return False
        try:
            self._store.compare_and_delete(self._prefix + name, version=version, timeout=deadline.left())
        except PreconditionFailedError:
            return False
        return True

    def rename(self, old: BytesLike, new: BytesLike, owner: BytesLike, *, timeout: float = SECONDS) -> int:
        """Frees `old` and reserves `new`, both or neither; returns the version of the new reservation.

        `NameTakenError` if `new` is not free; `NotOwnerError` if `owner` has neither of them. If it has `new` and not
        `old`, nothing is left to do: it was renamed before, perhaps by an attempt whose outcome was unknown.
        """
        deadline = Deadline(timeout)
        before, after = self._prefix + old, self._prefix + new
        attempt = 0
        while True:
            with self._store.snapshot(prefix=self._prefix, timeout=deadline.left()) as snapshot:
                has, wants = snapshot.get_with_version(before), snapshot.get_with_version(after)
            if (version := renamed(bytes(old), has, bytes(new), wants, owner)) is not None:
                return version
            try:
                batch = rename_batch(before, has[1], after, owner)
                return self._store.write(batch, timeout=deadline.left()).version
            except PreconditionFailedError:
                time.sleep(min(pause(attempt), deadline.left()))
                attempt += 1


Seen = tuple[bytes | None, int]
"""The owner of a name and the version of the reservation; None and 0 if it is free."""


def renamed(old: bytes, has: Seen, new: bytes, wants: Seen, owner: BytesLike) -> int | None:
    """The version of the new reservation, if there is nothing left to do; None if it can be made."""
    if has[0] != owner:
        if wants[0] == owner:
            return wants[1]
        raise NotOwnerError._about(old, has[0])
    if old == new:
        return has[1]
    if wants[0] is not None:
        raise NameTakenError._about(new, wants[0])
    return None


def rename_batch(before: bytes, version: int, after: bytes, owner: BytesLike) -> Batch:
    """Moves a reservation that is as it was seen to a name that is free."""
    batch = Batch()
    batch.if_version(before, version)
    batch.if_absent(after)
    batch.delete(before)
    batch.put(after, owner)
    return batch
