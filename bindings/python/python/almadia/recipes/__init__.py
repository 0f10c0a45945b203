"""Recipes: what programs build from a store's conditions, so that nobody has to get it right again.

* `Counter` - counts from all members without a lock; `add_once` counts once also when an outcome was unknown.
* `WorkQueue` - hands out tasks; one whose taker dies is taken by another, and every task is completed once.
* `Names` - unique names: reserved, released and renamed by their owners.
* `update` - changes a value that others change too.

They use the public calls of a store and nothing else, and each says what it promises and what a retry may assume.
Each owns the keys that begin with its prefix; these must lie in one region (`bootstrap.split_keys`). Any number of
objects, in any processes, may work on the same keys.

    from almadia.recipes import Counter, WorkQueue

    queue = WorkQueue(store, b"mail/")
    queue.put(b"to ada")
    if (task := queue.take(30)) is not None:
        queue.done(task)

`almadia.recipes.aio` has the same names for stores of `almadia.aio`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .counter import Counter
from .documents import update
from .errors import ClaimLostError, NameTakenError, NotOwnerError
from .names import Names
from .queue import Task, WorkQueue

if TYPE_CHECKING:
    from . import aio as aio
else:

    def __getattr__(name):
        """Imports `almadia.recipes.aio` on first use."""
        if name == "aio":
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ClaimLostError", "Counter", "NameTakenError", "Names", "NotOwnerError", "Task", "WorkQueue", "update"]
