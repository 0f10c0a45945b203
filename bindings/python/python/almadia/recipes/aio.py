"""The recipes of `almadia.recipes` for stores of `almadia.aio`: the same names and promises, as awaitables.

    from almadia.recipes.aio import WorkQueue

    queue = WorkQueue(store, b"mail/")
    await queue.put(b"to ada")
    if (task := await queue.take(30)) is not None:
        await queue.done(task)

A task of asyncio that is cancelled leaves the outcome of its call unknown: what each says of that applies. Both kinds
of objects may work on the same keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from almadia import Batch, BytesLike, PreconditionFailedError
from almadia.aio import Store

from ._tasks import CLAIMS, HEADS, Attempt, Task, Tasks, milliseconds_of
from ._time import SECONDS, Deadline, pause
from .counter import number, once_batch, once_key
from .documents import Change, Race, change_batch, was_done
from .errors import ClaimLostError, NameTakenError, NotOwnerError
from .names import rename_batch, renamed

__all__ = ["ClaimLostError", "Counter", "NameTakenError", "Names", "NotOwnerError", "Task", "WorkQueue", "update"]


class Counter:
    """A number that any member and task adds to: see `almadia.recipes.Counter`."""

    def __init__(self, store: Store, key: BytesLike) -> None:
        self._store = store
        self._key = bytes(key)

    async def add(self, delta: int = 1, *, timeout: float = SECONDS) -> int:
        """Adds `delta` and returns the sum. Not to be repeated after an unknown outcome."""
        return await self._store.add(self._key, delta, timeout=timeout)

    async def add_once(self, request: BytesLike, delta: int = 1, *, timeout: float = SECONDS) -> bool:
        """Adds `delta` unless that was done for the id `request` before; returns whether it was added now.

        As `almadia.recipes.Counter.add_once`.
        """
        try:
            await self._store.write(once_batch(self._key, bytes(request), delta), timeout=timeout)
        except PreconditionFailedError:
            return False
        return True

    async def value(self, *, timeout: float = SECONDS) -> int:
        """The sum of all additions."""
        return number(await self._store.get(self._key, timeout=timeout))

    async def forget(self, request: BytesLike, *, timeout: float = SECONDS) -> None:
        """Removes the id of a request: see `almadia.recipes.Counter.forget`."""
        await self._store.delete(once_key(self._key, bytes(request)), timeout=timeout)


class Names:
    """Names that are reserved for owners: see `almadia.recipes.Names`."""

    def __init__(self, store: Store, prefix: BytesLike) -> None:
        self._store = store
        self._prefix = bytes(prefix)

    async def owner(self, name: BytesLike, *, timeout: float = SECONDS) -> bytes | None:
        """Who has the name; None if it is free."""
        return await self._store.get(self._prefix + name, timeout=timeout)

    async def reserve(self, name: BytesLike, owner: BytesLike, *, timeout: float = SECONDS) -> int:
        """Reserves the name and returns the version of the reservation; `NameTakenError` if another owner has it.

        As `almadia.recipes.Names.reserve`.
        """
        deadline = Deadline(timeout)
        while True:
            try:
                return (await self._store.put_if_absent(self._prefix + name, owner, timeout=deadline.left())).version
            except PreconditionFailedError:
                found, version = await self._store.get_with_version(self._prefix + name, timeout=deadline.left())
            if found == owner:
                return version
            if found is not None:
                raise NameTakenError._about(bytes(name), found)

    async def release(self, name: BytesLike, owner: BytesLike, *, timeout: float = SECONDS) -> bool:
        """Frees the name if `owner` has it; returns whether this call did: see `almadia.recipes.Names.release`."""
        deadline = Deadline(timeout)
        found, version = await self._store.get_with_version(self._prefix + name, timeout=deadline.left())
        if found != owner:
            return False
        try:
            await self._store.compare_and_delete(self._prefix + name, version=version, timeout=deadline.left())
        except PreconditionFailedError:
            return False
        return True

    async def rename(self, old: BytesLike, new: BytesLike, owner: BytesLike, *, timeout: float = SECONDS) -> int:
        """Frees `old` and reserves `new`, both or neither; returns the version of the new reservation.

        As `almadia.recipes.Names.rename`.
        """
        deadline = Deadline(timeout)
        before, after = self._prefix + old, self._prefix + new
        attempt = 0
        while True:
            async with self._store.snapshot(prefix=self._prefix, timeout=deadline.left()) as snapshot:
                has, wants = await snapshot.get_with_version(before), await snapshot.get_with_version(after)
            if (version := renamed(bytes(old), has, bytes(new), wants, owner)) is not None:
                return version
            try:
                batch = rename_batch(before, has[1], after, owner)
                return (await self._store.write(batch, timeout=deadline.left())).version
            except PreconditionFailedError:
                await asyncio.sleep(min(pause(attempt), deadline.left()))
                attempt += 1


async def update(
    store: Store, key: BytesLike, change: Change, *, once: BytesLike | None = None, timeout: float = SECONDS
) -> bytes | None:
    """Sets `key` to what `change` makes of its value, and returns that: see `almadia.recipes.update`.

    `change` is a plain function.
    """
    race = Race(key, timeout)
    while True:
        value, version = await store.get_with_version(key, timeout=race.left())
        changed = change(value)
        if changed == value and once is None:
            return value
        try:
            await store.write(change_batch(key, version, changed, once), timeout=race.left())
        except PreconditionFailedError as refused:
            if was_done(refused, once):
                return await store.get(key, timeout=race.left())
        else:
            return None if changed is None else bytes(changed)
        await asyncio.sleep(race.lost())


class WorkQueue:
    """Tasks that any member puts and takes: see `almadia.recipes.WorkQueue`."""

    def __init__(self, store: Store, prefix: BytesLike) -> None:
        self._store = store
        self._tasks = Tasks(prefix)

    async def put(self, payload: BytesLike, *, timeout: float = SECONDS) -> bytes:
        """Puts a task at the end of the queue and returns its id: see `almadia.recipes.WorkQueue.put`."""
        batch = self._tasks.put(payload)
        await self._store.write(batch, timeout=timeout)
        key: bytes = batch.results[0]
        return key[len(self._tasks.waiting) :]

    async def put_once(self, request: BytesLike, payload: BytesLike, *, timeout: float = SECONDS) -> bool:
        """Puts a task unless one was put for the id `request` before; returns whether it was put now.

        As `almadia.recipes.WorkQueue.put_once`.
        """
        try:
            await self._store.write(self._tasks.put(payload, request), timeout=timeout)
        except PreconditionFailedError:
            return False
        return True

    async def forget(self, request: BytesLike, *, timeout: float = SECONDS) -> None:
        """Removes the id of a request: see `almadia.recipes.WorkQueue.forget`."""
        await self._store.delete(self._tasks.once + request, timeout=timeout)

    async def take(self, visibility_timeout: float, *, wait: float = 0.0, timeout: float = SECONDS) -> Task | None:
        """Claims a task for `visibility_timeout` seconds; None if there is none to be had for `wait` seconds.

        As `almadia.recipes.WorkQueue.take`, also if it is cancelled: the next `take` finds out whether a task was
        claimed, and returns it if so.
        """
        milliseconds = milliseconds_of(visibility_timeout)
        patience, deadline = Deadline(wait), Deadline(wait + timeout)
        looks = 0
        while True:
            task = await self._undecided(deadline)
            if task is not None:
                return task
            task, others = await self._look(milliseconds, deadline)
            if task is not None:
                return task
            left = (deadline if others else patience).left()
            if left == 0:
                return None
            await asyncio.sleep(min(pause(looks), left))
            looks += 1

    async def extend(self, task: Task, *, timeout: float = SECONDS) -> None:
        """Keeps the claim for another `visibility_timeout` seconds, from now on; `ClaimLostError` if it is lost.

        As `almadia.recipes.WorkQueue.extend`.
        """
        await self._write_as_holder(self._tasks.extend(task), task, timeout)

    async def done(
        self, task: Task, also: Callable[[Batch], object] | None = None, *, timeout: float = SECONDS
    ) -> None:
        """Completes a task, and applies what `also` adds to the batch; `ClaimLostError` if the claim is lost.

        As `almadia.recipes.WorkQueue.done`.
        """
        await self._write_as_holder(self._tasks.done(task, also), task, timeout)

    async def give_back(self, task: Task, *, timeout: float = SECONDS) -> None:
        """Lets others take the task at once: see `almadia.recipes.WorkQueue.give_back`."""
        await self._write_as_holder(self._tasks.give_back(task), task, timeout)

    async def counts(self, *, timeout: float = SECONDS) -> tuple[int, int]:
        """How many tasks wait, and how many are claimed. Reads all their ids."""
        tasks = self._tasks
        async with self._store.snapshot(prefix=tasks.prefix, timeout=timeout) as snapshot:
            waiting = len([key async for key in snapshot.keys(prefix=tasks.waiting)])
            return waiting, len([key async for key in snapshot.keys(prefix=tasks.claimed)])

    async def _look(self, milliseconds: int, deadline: Deadline) -> tuple[Task | None, bool]:
        tasks = self._tasks
        before = time.monotonic()
        piece = tasks.watch.piece()
        async with self._store.snapshot(prefix=tasks.prefix, timeout=deadline.left()) as snapshot:
            waiting = [entry async for entry in snapshot.entries(prefix=tasks.waiting, limit=HEADS)]
            claims = [entry async for entry in snapshot.entries(prefix=tasks.claimed, start=piece.start, limit=CLAIMS)]
            abandoned = tasks.watch.abandoned(piece, claims, before)
            attempts = tasks.attempts(waiting, abandoned, milliseconds)
            for attempt in attempts:
                found = attempt.with_payload(await snapshot.get(tasks.record(attempt.task.id)))
                if await self._claim(found, deadline):
                    return found.task, False
        return None, bool(attempts)

    async def _claim(self, attempt: Attempt, deadline: Deadline) -> bool:
        try:
            await self._store.write(self._tasks.claim(attempt), timeout=deadline.left())
        except PreconditionFailedError:
            return False
        except BaseException:
            self._tasks.doubts.append(attempt)
            raise
        return True

    async def _undecided(self, deadline: Deadline) -> Task | None:
        while self._tasks.doubts:
            attempt = self._tasks.doubts.popleft()
            if await self._claim(attempt, deadline) or await self._still_holds(attempt, deadline):
                return attempt.task
        return None

    async def _still_holds(self, attempt: Attempt, deadline: Deadline) -> bool:
        try:
            await self._store.write(self._tasks.extend(attempt.task), timeout=deadline.left())
        except PreconditionFailedError:
            return False
        except BaseException:
            self._tasks.doubts.append(attempt)
            raise
        return True

    async def _write_as_holder(self, batch: Batch, task: Task, timeout: float) -> None:
        deadline = Deadline(timeout)
        try:
            await self._store.write(batch, timeout=deadline.left())
        except PreconditionFailedError as refused:
            if refused.operation != 0:
                raise
            record = await self._store.get(self._tasks.record(task.id), timeout=deadline.left())
            raise ClaimLostError._about(task.id, record is None) from None
