"""What the tests of recipes need: stores whose outcomes are unknown, a clock, asyncio's recipes as blocking ones."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import almadia
import almadia.aio
import almadia.recipes
import almadia.recipes.aio
import pytest

_Result = TypeVar("_Result")

WRITES = {"write", "put_if_absent", "compare_and_delete", "add", "delete"}

APPLIED = "applied"
"""The write is applied, but nobody is told."""
LOST = "lost"
"""The write is not applied and never will be, but nobody knows."""
LATE = "late"
"""The write is applied when the test says so."""


class Doubtful:
    """A store, blocking or of asyncio, some of whose writes have an unknown outcome."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.outcomes: list[str | None] = []
        """Of the next writes; None for those that are answered as ever, like all behind these."""
        self.meanwhile: dict[str, list[Callable[[], Any]]] = {}
        """What others do just before the next calls of a name, one before each."""
        self._late: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        if self.meanwhile.get(name):
            self.meanwhile[name].pop(0)()
        real = getattr(self.store, name)
        if name not in WRITES:
            return real

        def write(*arguments: Any, **named: Any) -> Any:
            outcome = self.outcomes.pop(0) if self.outcomes else None
            call: Callable[[], Any] = lambda: real(*arguments, **named)  # noqa: E731
            if outcome is None:
                return call()
            if outcome == LATE:
                self._late.append(call)
            if inspect.iscoroutinefunction(real):
                return _in_doubt(call if outcome == APPLIED else None)
            if outcome == APPLIED:
                with suppress(almadia.PreconditionFailedError):
                    call()
            raise almadia.WriteTimeoutError("in doubt")

        return write

    def apply_late(self) -> None:
        """Applies what is late, if its conditions still hold."""
        for call in self._late:
            with suppress(almadia.PreconditionFailedError):
                call()
        self._late.clear()

    async def apply_late_async(self) -> None:
        """The same for a store of asyncio."""
        for call in self._late:
            with suppress(almadia.PreconditionFailedError):
                await call()
        self._late.clear()


async def _in_doubt(call: Callable[[], Awaitable[Any]] | None) -> None:
    if call is not None:
        with suppress(almadia.PreconditionFailedError):
            await call()
    raise almadia.WriteTimeoutError("in doubt")


class Clock:
    """A clock that goes only when it is told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Loop:
    """An event loop in a thread, for calls from outside."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, awaitable: Awaitable[_Result]) -> _Result:
        async def awaited() -> _Result:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(timeout=60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Blocking:
    """An object whose calls are awaitable, with calls that block."""

    def __init__(self, awaitable: Any, loop: Loop) -> None:
        self._awaitable = awaitable
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._awaitable, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._loop.run(method(*arguments, **named))

        return call


@contextmanager
def a_loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()


class Kit:
    """The recipes of one kind, blocking or of asyncio, over a store; all of its calls block."""

    def __init__(self, store: almadia.Store, loop: Loop | None) -> None:
        self.store = store
        self._loop = loop
        self._twin = None if loop is None else almadia.aio.Store._of(store._core, store.path)

    def doubtful(self) -> Doubtful:
        """The store, as the recipes take it; its next writes can be made to have an unknown outcome."""
        return Doubtful(self.store if self._twin is None else self._twin)

    def apply_late(self, store: Doubtful) -> None:
        if self._loop is None:
            store.apply_late()
        else:
            self._loop.run(store.apply_late_async())

    def queue(self, store: Doubtful | None = None, prefix: bytes = b"queue/") -> Any:
        return self._made("WorkQueue", store, prefix)

    def counter(self, store: Doubtful | None = None, key: bytes = b"counter") -> Any:
        return self._made("Counter", store, key)

    def names(self, store: Doubtful | None = None, prefix: bytes = b"names/") -> Any:
        return self._made("Names", store, prefix)

    def update(self, *arguments: Any, store: Doubtful | None = None, **named: Any) -> Any:
        store = store or self.doubtful()
        if self._loop is None:
            return almadia.recipes.update(store, *arguments, **named)  # type: ignore[arg-type]
        return self._loop.run(almadia.recipes.aio.update(store, *arguments, **named))  # type: ignore[arg-type]

    def keys(self, prefix: bytes) -> list[bytes]:
        """All keys of a recipe."""
        return list(self.store.mapping(prefix))

    def close(self) -> None:
        if self._loop is not None and self._twin is not None:
            self._loop.run(self._twin.close())

    def _made(self, name: str, store: Doubtful | None, prefix: bytes) -> Any:
        store = store or self.doubtful()
        if self._loop is None:
            return getattr(almadia.recipes, name)(store, prefix)
        return Blocking(getattr(almadia.recipes.aio, name)(store, prefix), self._loop)


in_doubt = pytest.mark.parametrize("outcome", [APPLIED, LOST, LATE])


def unknown() -> Any:
    """Expects what a `Doubtful` store raises."""
    return pytest.raises(almadia.WriteTimeoutError, match="in doubt")
