"""How long a recipe goes on, and how long it pauses before it tries again."""

from __future__ import annotations

import random
import time

SECONDS = 5.0
"""Default timeout of a recipe's call, as that of a store's."""

_PAUSE_FIRST = 0.001
"""Longest first pause, in seconds: about what a write takes."""

_PAUSE_MAX = 0.1
"""Longest pause, in seconds: what a taker of tasks may come late when it has found none for a while."""


class Deadline:
    """The end of a call that makes several calls of the store."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, 0 at least; the timeout of the next call of the store."""
        return max(0.0, self._end - time.monotonic())


def pause(attempt: int) -> float:
    """Seconds to wait after an attempt, counted from 0, that others got in the way of.

    Any time up to a bound that doubles: those that met once are unlikely to meet again.
    """
    return random.uniform(0, min(_PAUSE_MAX, _PAUSE_FIRST * 2 ** min(attempt, 16)))
