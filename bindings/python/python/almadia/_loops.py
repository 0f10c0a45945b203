"""Awaiting the compiled part from event loops.

Owns, for each event loop, the queue of its answers and the descriptor by which the loop learns of them. What always
holds: a loop watches one descriptor, whatever the number of its stores; a call whose task is cancelled is cancelled
too; answers for a loop that was closed are dropped.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from . import _almadia

_Answer = TypeVar("_Answer")
_Arguments = TypeVarTuple("_Arguments")


def submitted(
    submit: Callable[[_almadia.Completions, asyncio.Future[_Answer], *_Arguments], _almadia.Pending],
    *arguments: *_Arguments,
) -> tuple[asyncio.Future[_Answer], _almadia.Pending]:
    """Submits a call for the running loop: the future of its answer, and what cancels it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Answer] = loop.create_future()
    return future, submit(_completions_of(loop), future, *arguments)


async def answer_of(
    submit: Callable[[_almadia.Completions, asyncio.Future[_Answer], *_Arguments], _almadia.Pending],
    *arguments: *_Arguments,
) -> _Answer:
    """Submits a call for the running loop and awaits its answer. Cancels the call when the task is cancelled."""
    future, pending = submitted(submit, *arguments)
    try:
        return await future
    except asyncio.CancelledError:
        pending.cancel()
        raise


async def answer_of_in_thread(
    submit: Callable[[_almadia.Completions, asyncio.Future[_Answer], *_Arguments], _almadia.Pending],
    *arguments: *_Arguments,
) -> _Answer:
    """As `answer_of`, for a call that takes a while to submit: that is done on a thread of the loop's executor."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Answer] = loop.create_future()
    submitting = loop.run_in_executor(None, submit, _completions_of(loop), future, *arguments)
    try:
        await asyncio.shield(submitting)
        return await future
    except asyncio.CancelledError:
        future.cancel()
        submitting.add_done_callback(_cancel)
        raise


def _cancel(submitting: asyncio.Future[_almadia.Pending]) -> None:
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()


async def in_thread(call: Callable[[*_Arguments], _Answer], *arguments: *_Arguments) -> _Answer:
    """The result of a call that blocks, on a thread of the loop's executor."""
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


class _LastLoop(threading.local):
    """The event loop that last ran in this thread, and its completions: found faster than in `_completions`."""

    loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    completions: _almadia.Completions


_last = _LastLoop()
_completions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _almadia.Completions] = weakref.WeakKeyDictionary()


def _completions_of(loop: asyncio.AbstractEventLoop) -> _almadia.Completions:
    """The completions of the running loop, which watches them from its first call on."""
    if _last.loop is None or _last.loop() is not loop:
        _abandon_those_of_closed_loops()
        _last.completions = _completions.get(loop) or _watch(loop)
        _last.loop = weakref.ref(loop)
    return _last.completions


def _watch(loop: asyncio.AbstractEventLoop) -> _almadia.Completions:
    completions = _almadia.Completions()
    loop.add_reader(completions.fileno(), completions.drain)
    _completions[loop] = completions
    return completions


def _abandon_those_of_closed_loops() -> None:
    for loop, completions in list(_completions.items()):
        if loop.is_closed():
            completions.abandon()
            del _completions[loop]
