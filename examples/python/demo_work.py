"""The counter and the queue of `make demo`, which C and Python members share: see examples/c/work.h.

Owns what one increment and one task are; how they are waited for is left to the members, blocking and with asyncio.
"""

from __future__ import annotations

import almadia

COUNT_KEY = b"work/count"
COUNTED_PREFIX = b"work/counted/"
TODO_PREFIX = b"work/todo/"
DONE_PREFIX = b"work/done/"
CHOICES = 8
"""Members that look for a task choose among so many, so that they seldom meet."""


def increment(node: str, number: int) -> almadia.Batch:
    """Counts one and notes that this number was counted, unless it was: so it may be repeated at will."""
    counted = COUNTED_PREFIX + b"%06d" % number
    batch = almadia.Batch()
    batch.if_absent(counted)
    batch.put(counted, node.encode())
    batch.add(COUNT_KEY, 1)
    return batch


def may_repeat(error: almadia.AlmadiaError) -> bool:
    """Whether a write that has no effect the second time should be repeated after this."""
    return error.retryable or error.outcome is almadia.Outcome.UNKNOWN


def done_key(todo_key: bytes) -> bytes:
    """Where a task is moved to."""
    return DONE_PREFIX + todo_key.removeprefix(TODO_PREFIX)


def parse_range(text: str) -> range:
    """The numbers that "1-3" stands for."""
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)
