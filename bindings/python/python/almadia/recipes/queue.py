"""A work queue: every task is completed by one taker, also when takers die and outcomes are unknown."""

from __future__ import annotations

import time
from collections.abc import Callable

from almadia import Batch, BytesLike, PreconditionFailedError, Store

from ._tasks import CLAIMS, HEADS, Attempt, Task, Tasks, milliseconds_of
from ._time import SECONDS, Deadline, pause
from .errors import ClaimLostError

__all__ = ["Task", "WorkQueue"]


class WorkQueue:
    """Tasks that any member puts and takes, at keys that begin with `prefix`.

        queue = WorkQueue(store, b"mail/")
        queue.put(b"to ada")
        while (task := queue.take(30, wait=60)) is not None:
            send(task.payload)
            queue.done(task)

    Tasks are taken in the order in which they were put; takers that meet at the first one take others of the first
    16. A taker claims a task for `visibility_timeout` seconds: others do not get it until then, and it extends the
    claim as long as it works. If it dies, or forgets to, another takes the task. So the work may be begun more than
    once, but the task is completed once: `done` is refused to a taker that has lost its claim. What must happen
    exactly once with the task is applied by the same write: see `done`.

    No clocks are compared. A claim whose version has not changed for its timeout, as measured by another taker on its
    own clock from when it first saw it, is taken over if that version is still the same then. So a lost task is noticed
    only by those that look again and again, in `take`, with the same object, which remembers the versions: keep one in
    each process. A taker that counts the timeout from when it sent its last extension knows how long it certainly has
    the task.

    To take a task costs one write, and reads that do not grow with the queue. A queue may be used by many threads, its
    tasks by any process that opens the same prefix. All keys under the prefix are in one region, and no one else's.

    Calls that changed nothing, or whose outcome is unknown (`Outcome.UNKNOWN`), may be repeated as each says.
    `timeout` is in seconds and bounds the whole call.
    """

    def __init__(self, store: Store, prefix: BytesLike) -> None:
        self._store = store
        self._tasks = Tasks(prefix)

    def put(self, payload: BytesLike, *, timeout: float = SECONDS) -> bytes:
        """Puts a task at the end of the queue and returns its id.

        Those who put never wait for each other. After an unknown outcome a repetition may put it twice: see `put_once`.
        """
        batch = self._tasks.put(payload)
        self._store.write(batch, timeout=timeout)
        key: bytes = batch.results[0]
        return key[len(self._tasks.waiting) :]

    def put_once(self, request: BytesLike, payload: BytesLike, *, timeout: float = SECONDS) -> bool:
        """Puts a task unless one was put for the id `request` before; returns whether it was put now.

        It may be repeated, with the same id, after every error and by any process: one task is put, also if it has been
        completed in the meantime. The id is kept until it is removed by `forget`.
        """
        try:
            self._store.write(self._tasks.put(payload, request), timeout=timeout)
        except PreconditionFailedError:
            return False
        return True

    def forget(self, request: BytesLike, *, timeout: float = SECONDS) -> None:
        """Removes the id of a request, which takes space until then.

        Only when every attempt of it was answered, or else late: one whose outcome is unknown may still put its task.
        """
        self._store.delete(self._tasks.once + request, timeout=timeout)

    def take(self, visibility_timeout: float, *, wait: float = 0.0, timeout: float = SECONDS) -> Task | None:
        """Claims a task for `visibility_timeout` seconds; None if there is none to be had for `wait` seconds.

        It looks again and again while it waits, at least every 0.1 seconds and the time that a look takes. `timeout` is
        what the calls of the store may take besides.

        After an unknown outcome, or any other exception, the task may be claimed. The next `take` of this object finds
        that out first, and returns the task if so. If there is no next one, others take the task when its time has
        passed.
        """
        milliseconds = milliseconds_of(visibility_timeout)
        patience, deadline = Deadline(wait), Deadline(wait + timeout)
        looks = 0
        while True:
            task = self._undecided(deadline)
            if task is not None:
                return task
            task, others = self._look(milliseconds, deadline)
            if task is not None:
                return task
            # Where others were faster there may be more tasks; where there are none it is the caller who waits.
            left = (deadline if others else patience).left()
            if left == 0:
                return None
            time.sleep(min(pause(looks), left))
            looks += 1

    def extend(self, task: Task, *, timeout: float = SECONDS) -> None:
        """Keeps the claim for another `visibility_timeout` seconds, from now on; `ClaimLostError` if it is lost.

        It may be repeated. Extend at a third of the timeout, so that there is time for a second attempt.
        """
        self._write_as_holder(self._tasks.extend(task), task, timeout)

    def done(self, task: Task, also: Callable[[Batch], object] | None = None, *, timeout: float = SECONDS) -> None:
        """Completes a task; `ClaimLostError` if the claim is lost.

        `also` may add operations and conditions, but no `otherwise`, to the batch that completes the task. They are
        applied if and only if the task is completed by this call, and so exactly once for the task, on keys of the same
        region:

            queue.done(task, lambda batch: batch.put(b"result/" + task.id, result))

        If a condition of `also` is false, `PreconditionFailedError` is raised, and the task is still claimed.

        It may be repeated after an unknown outcome. If it raises `ClaimLostError` then, `error.completed` says whether
        the task is completed, by the first attempt or by another taker; what `also` wrote tells by which.
        """
        self._write_as_holder(self._tasks.done(task, also), task, timeout)

    def give_back(self, task: Task, *, timeout: float = SECONDS) -> None:
        """Lets others take the task at once, in its old place; `ClaimLostError` if the claim is lost.

        It may be repeated after an unknown outcome: `ClaimLostError` may mean then that it was given back. A task that
        fails whoever takes it should be put elsewhere and be `done` after some `attempts`, since it comes first again.
        """
        self._write_as_holder(self._tasks.give_back(task), task, timeout)

    def counts(self, *, timeout: float = SECONDS) -> tuple[int, int]:
        """How many tasks wait, and how many are claimed. Reads all their ids."""
        tasks = self._tasks
        with self._store.snapshot(prefix=tasks.prefix, timeout=timeout) as snapshot:
            waiting = sum(1 for _ in snapshot.keys(prefix=tasks.waiting))
            return waiting, sum(1 for _ in snapshot.keys(prefix=tasks.claimed))

    def _look(self, milliseconds: int, deadline: Deadline) -> tuple[Task | None, bool]:
        """Tries to claim one of the first tasks. Without one: whether there were some that others got."""
        tasks = self._tasks
        before = time.monotonic()
        piece = tasks.watch.piece()
        with self._store.snapshot(prefix=tasks.prefix, timeout=deadline.left()) as snapshot:
            waiting = list(snapshot.entries(prefix=tasks.waiting, limit=HEADS))
            claims = list(snapshot.entries(prefix=tasks.claimed, start=piece.start, limit=CLAIMS))
            abandoned = tasks.watch.abandoned(piece, claims, before)
            attempts = tasks.attempts(waiting, abandoned, milliseconds)
            for attempt in attempts:
                found = attempt.with_payload(snapshot.get(tasks.record(attempt.task.id)))
                if self._claim(found, deadline):
                    return found.task, False
        return None, bool(attempts)

    def _claim(self, attempt: Attempt, deadline: Deadline) -> bool:
        """Whether the task could be claimed. If that is not known, the attempt is remembered."""
        try:
            self._store.write(self._tasks.claim(attempt), timeout=deadline.left())
        except PreconditionFailedError:
            return False
        except BaseException:
            self._tasks.doubts.append(attempt)
            raise
        return True

    def _undecided(self, deadline: Deadline) -> Task | None:
        """A task that an earlier attempt has claimed, of which nobody knew."""
        while self._tasks.doubts:
            try:
                attempt = self._tasks.doubts.popleft()
            except IndexError:
                break  # Another thread has it.
            # The same write again: it is applied if the first one was not. If it is refused, neither can be any more.
            if self._claim(attempt, deadline) or self._still_holds(attempt, deadline):
                return attempt.task
        return None

    def _still_holds(self, attempt: Attempt, deadline: Deadline) -> bool:
        try:
            self._store.write(self._tasks.extend(attempt.task), timeout=deadline.left())
        except PreconditionFailedError:
            return False
        except BaseException:
            self._tasks.doubts.append(attempt)
            raise
        return True

    def _write_as_holder(self, batch: Batch, task: Task, timeout: float) -> None:
        """Writes a batch that begins with the condition that the task is claimed by this taker."""
        deadline = Deadline(timeout)
        try:
            self._store.write(batch, timeout=deadline.left())
        except PreconditionFailedError as refused:
            if refused.operation != 0:
                raise  # A condition of the caller's own.
            record = self._store.get(self._tasks.record(task.id), timeout=deadline.left())
            raise ClaimLostError._about(task.id, record is None) from None
