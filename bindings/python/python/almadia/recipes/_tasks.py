"""What the work queues have in common, whether their calls block or are awaited: where a task is, and who may have it.

What always holds, since every change of a task is one batch: a task exists as long as its record under `task/`, and
then its id stands either under `waiting/` or under `claimed/`. The value of a claim is unlike that of any other, and
its holder alone writes it; whoever removes it, or replaces it, ends the claim. Nothing here waits.
"""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from almadia import Batch, BytesLike, KeyNotFound

Entry = tuple[bytes, bytes, int]
"""A key, its value and its version."""

HEADS = 16
"""How many of the first waiting tasks a taker looks at. Takers that met at the first one choose among these."""

CLAIMS = 64
"""How many claims a taker looks at each time, so that taking a task costs the same however many are claimed."""

ATTEMPTS = 4
"""How many tasks a taker tries to claim before it looks again: what it saw grows old."""

_CLAIM = struct.Struct(">16sQI")
"""A claim: the taker's token, made for this claim; its timeout in milliseconds; how often the task was taken."""

_NUMBER = struct.Struct(">I")
"""How often a task was taken that waits again; nothing stands for never."""

_MILLISECONDS_MAX = 1 << 53


class Task(NamedTuple):
    """A task that a taker has claimed. Made by `WorkQueue.take`."""

    id: bytes
    """What tells it from all other tasks of the queue; tasks that were put later have larger ones."""
    payload: bytes
    """What was put."""
    attempts: int
    """How often it was taken, this time included: more than 1 if a taker gave it back or lost its claim."""
    claim: bytes
    """The claim of this taker, as it is stored."""


class Attempt(NamedTuple):
    """A task to claim, and the key that shows that nobody else has: waiting, or a claim that was abandoned."""

    task: Task
    seen: bytes
    version: int

    def with_payload(self, payload: bytes | None) -> Attempt:
        """The same with what was put."""
        if payload is None:
            raise KeyNotFound(f"task {self.task.id.hex()} has no record: others have written to the keys of the queue")
        return self._replace(task=self.task._replace(payload=payload))


class Piece(NamedTuple):
    """Some of the claims, to be looked at next."""

    number: int
    start: bytes | None
    """The first key; None for the first of all claims."""


class Tasks:
    """The keys of a queue, the batches that change them, and what a taker remembers."""

    def __init__(self, prefix: BytesLike) -> None:
        self.prefix = bytes(prefix)
        self.waiting = self.prefix + b"waiting/"
        self.claimed = self.prefix + b"claimed/"
        self.once = self.prefix + b"once/"
        self._records = self.prefix + b"task/"
        self.watch = ClaimWatch()
        self.doubts: deque[Attempt] = deque()
        """Attempts of which nobody knows yet whether they were applied."""

    def record(self, task: bytes) -> bytes:
        """Where the payload of a task stands: it was put by the operation behind that of the key of its id."""
        return self._records + (int.from_bytes(task, "big") + 1).to_bytes(len(task), "big")

    def put(self, payload: BytesLike, request: BytesLike | None = None) -> Batch:
        """Puts a task, unless one was put for the same request."""
        batch = Batch()
        if request is not None:
            batch.if_absent(self.once + request)
            batch.put(self.once + request, b"")
        batch.put_versioned(self.waiting, b"")
        batch.put_versioned(self._records, payload)
        return batch

    def attempts(self, waiting: list[Entry], abandoned: list[Entry], milliseconds: int) -> list[Attempt]:
        """What to try to claim, in this order: abandoned claims, which are the oldest tasks, then the first that waits.

        Behind that come others, in case somebody else is faster with these.
        """
        behind = [self._waiting_attempt(entry, milliseconds) for entry in waiting]
        first = [self._abandoned_attempt(entry, milliseconds) for entry in abandoned]
        random.shuffle(first)
        rest = behind[1:]
        random.shuffle(rest)
        return [*first, *behind[:1], *rest][:ATTEMPTS]

    def _waiting_attempt(self, entry: Entry, milliseconds: int) -> Attempt:
        key, value, version = entry
        taken = _NUMBER.unpack(value)[0] if value else 0
        return self._attempt(key[len(self.waiting) :], taken, key, version, milliseconds)

    def _abandoned_attempt(self, entry: Entry, milliseconds: int) -> Attempt:
        key, value, version = entry
        return self._attempt(key[len(self.claimed) :], _CLAIM.unpack(value)[2], key, version, milliseconds)

    def _attempt(self, task: bytes, taken: int, seen: bytes, version: int, milliseconds: int) -> Attempt:
        claim = _CLAIM.pack(os.urandom(16), milliseconds, taken + 1)
        return Attempt(Task(task, b"", taken + 1, claim), seen, version)

    def claim(self, attempt: Attempt) -> Batch:
        """Claims a task, if nobody has touched it since. May be repeated: it is applied once at most."""
        claimed = self.claimed + attempt.task.id
        batch = Batch()
        batch.if_version(attempt.seen, attempt.version)
        if attempt.seen != claimed:
            batch.delete(attempt.seen)
        batch.put(claimed, attempt.task.claim)
        return batch

    def extend(self, task: Task) -> Batch:
        """Writes a claim again as it is: others see its new version."""
        batch = self._held(task)
        batch.put(self.claimed + task.id, task.claim)
        return batch

    def done(self, task: Task, also: Callable[[Batch], object] | None) -> Batch:
        """Removes a task, and applies what else belongs to its completion."""
        batch = self._held(task)
        batch.delete(self.claimed + task.id)
        batch.delete(self.record(task.id))
        if also is not None:
            also(batch)
            # Once more, since behind an `otherwise` a condition is refused: a lost claim must not pass for a success.
            batch.if_value(self.claimed + task.id, task.claim)
        return batch

    def give_back(self, task: Task) -> Batch:
        """Lets a task wait again, in its place."""
        batch = self._held(task)
        batch.delete(self.claimed + task.id)
        batch.put(self.waiting + task.id, _NUMBER.pack(task.attempts))
        return batch

    def _held(self, task: Task) -> Batch:
        """A batch with a first condition: the claim is still that of this taker."""
        batch = Batch()
        batch.if_value(self.claimed + task.id, task.claim)
        return batch


class ClaimWatch:
    """How long the claims of a queue have been as they are, by this process's own clock.

    Looks at them piece by piece, one pass after the other. What it remembers is bounded by the number of claims.
    """

    def __init__(self) -> None:
        self._piece = Piece(0, None)
        self._last_pass: dict[bytes, tuple[int, float]] = {}
        self._this_pass: dict[bytes, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def piece(self) -> Piece:
        """Where to look next, for up to `CLAIMS` claims."""
        return self._piece

    def abandoned(self, piece: Piece, claims: list[Entry], before: float) -> list[Entry]:
        """Those of the claims of a piece that have outlived their timeouts unchanged.

        `before` is the time before they were read. What counts is the time from after a claim was first seen until
        before it was last seen: it was certainly the same for that long.
        """
        with self._lock:
            if piece is not self._piece:
                return []  # Another thread has looked at it in the meantime.
            now = time.monotonic()
            found = []
            for key, value, version in claims:
                seen, since = self._last_pass.get(key, (0, now))
                since = since if seen == version else now
                self._this_pass[key] = (version, since)
                if before - since >= _CLAIM.unpack(value)[1] / 1000:
                    found.append((key, value, version))
            if len(claims) < CLAIMS:
                self._piece = Piece(piece.number + 1, None)
                self._last_pass, self._this_pass = self._this_pass, {}
            else:
                self._piece = Piece(piece.number + 1, claims[-1][0] + b"\0")
            return found


def milliseconds_of(visibility_timeout: float) -> int:
    """The timeout of a claim as it is stored."""
    if not visibility_timeout > 0:
        raise ValueError(f"visibility_timeout must be above 0 seconds, not {visibility_timeout}")
    return max(1, round(min(visibility_timeout * 1000, _MILLISECONDS_MAX)))
