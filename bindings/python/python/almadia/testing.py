"""Clusters for tests: several members in this process, with a network between them that a test can break.

    from almadia.testing import Cluster

    with Cluster(tmp_path) as cluster:
        leader = cluster.leader()
        leader[b"k"] = b"v"
        cluster.isolate(leader)
        assert cluster.leader()[b"k"] == b"v"   # another member leads now

With pytest no import is needed: the fixtures `almadia_store`, `almadia_cluster` and `almadia_aio_cluster` come with the
package. The marker and the options of the plugin:

* `@pytest.mark.almadia(members=5, options={"bootstrap.split_keys": "m"})` - the number of members, and the options of
  each, by the names of `almadia.options()`.
* `--almadia-log-level=LEVEL` - the log level of the members: trace, debug, info, warning or error.
* `--almadia-keep-data` - keeps the directories of all tests; those of failed tests are always kept.

Members are real stores that communicate over TCP; only their timeouts are shorter than usual (`FAST`). They start and
elect a leader quickly, and tests can run in parallel: every port is reserved for the lifetime of the cluster. Tests
that start members in separate processes get such ports from a context manager:
`with reserved_addresses(3) as addresses:`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from . import aio
from ._almadia import Position
from ._members import FAST, POLL_SECONDS, ClusterTimeout, Member, Members
from ._network import reserved_addresses
from .store import Store
from .typing import BytesLike, OptionValue

__all__ = ["FAST", "AioCluster", "Cluster", "ClusterTimeout", "Member", "reserved_addresses"]

_TIMEOUT = 10.0
"""Default timeout of a cluster's waits, in seconds: many times what an election takes, even on a busy machine."""

_SETTLE_SECONDS = 2.0
"""Seconds that calls may still take when their test has ended."""


class Cluster(Members[Store]):
    """Members of one cluster in this process. Use it in a `with` statement, or `close()` it.

    Members are stores, numbered from 1: `cluster[2]` is the store of member 2, and every method accepts a store or a
    number. A member that was killed and restarted has a new store, so keep numbers rather than stores where that
    matters: `leader.node_id`.

    * `directory` - contains a directory for each member, named by its number; created if missing.
    * `members` - the number of members.
    * `options` - options of each member, by the names of `almadia.options()`; they override those of `FAST`.

    The constructor returns once the members have elected a leader.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        members: int = 3,
        options: Mapping[str, OptionValue] | None = None,
    ) -> None:
        super().__init__(Store, directory, members, options)
        try:
            self._open_all()
            self.leader()
        except BaseException:
            self.close()
            raise

    def leader(self, *, key: BytesLike = b"", timeout: float = _TIMEOUT) -> Store:
        """Waits for a leader, and returns its store.

        It is the one that a majority follows over connections that are open both ways: never a leader that was cut off
        and has not noticed it yet. `key` is any key of the region concerned; with one region it does not matter. Raises
        `ClusterTimeout` when there is none in time, and `ClosedError` when the cluster is closed.
        """
        until = time.monotonic() + timeout
        while (number := self._elected(bytes(key))) is None:
            self._poll_again(until, "a leader that a majority follows", timeout)
        return self[number]

    def followers(self, *, key: BytesLike = b"", timeout: float = _TIMEOUT) -> list[Store]:
        """Waits for a leader, and returns the other members that are up."""
        leader = self.leader(key=key, timeout=timeout)
        return [store for store in self.members if store is not leader]

    def wait_until(
        self,
        condition: Callable[[], bool],
        *,
        waiting_for: str = "a condition of the test",
        timeout: float = _TIMEOUT,
    ) -> None:
        """Waits until `condition()` is true. On a timeout raises `ClusterTimeout` with the status of each member."""
        until = time.monotonic() + timeout
        while not condition():
            self._poll_again(until, waiting_for, timeout)

    def wait_applied(
        self,
        position: Position | int | None = None,
        *,
        members: Collection[Member] | None = None,
        key: BytesLike = b"",
        timeout: float = _TIMEOUT,
    ) -> None:
        """Waits until members have applied what was written, so that it is visible with level "local" too.

        * `position` - what a write returned, or its `index`; by default the highest index that any member that is up
          knows to be committed.
        * `members` - the members to wait for; by default all that are up.
        * `key` - any key of the region concerned; with one region it does not matter.
        """
        applied, named = self._applied(position, members, bytes(key))
        self.wait_until(applied, waiting_for=named, timeout=timeout)

    def _poll_again(self, until: float, waiting_for: str, timeout: float) -> None:
        if time.monotonic() >= until:
            raise self._timeout_error(waiting_for, timeout)
        time.sleep(POLL_SECONDS)

    def kill(self, member: Member) -> None:
        """Stops a member as a crash of its process would.

        It is cut off from the network, transfers no leadership and finishes nothing: its calls in flight are answered
        with an error. Its directory stays as it is, for `restart`; a snapshot of it that is still open keeps the
        directory locked.
        """
        self._kill(self._number(member))

    def restart(self, member: Member) -> Store:
        """Starts a member, killing it first if it is up, and returns its new store without waiting for the others."""
        number = self._number(member)
        self._restart(number)
        return self[number]

    def close(self) -> None:
        """Closes all members and releases the ports. Closing it again does nothing."""
        self._close()

    def leaks(self) -> list[str]:
        """What a test left behind: open snapshots, and calls of its threads that are still not answered after a moment.

        `AioCluster` leaves calls to asyncio, which reports tasks that nobody awaited.
        """
        until = time.monotonic() + _SETTLE_SECONDS
        while any(status.in_flight for _, status in self._statuses()) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        calls = [
            f"member {number}: {status.in_flight} calls are not answered"
            for number, status in self._statuses()
            if status.in_flight
        ]
        return [*super().leaks(), *calls]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AioCluster(Members[aio.Store]):
    """The same with stores of `almadia.aio` as members: methods that wait must be awaited.

        async with AioCluster(tmp_path) as cluster:
            leader = await cluster.leader()
            await leader.put(b"k", b"v")
            cluster.isolate(leader)
            assert await (await cluster.leader()).get(b"k") == b"v"

    The arguments are those of `Cluster`. It is bound to no event loop; `async with` or `start()` starts it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        members: int = 3,
        options: Mapping[str, OptionValue] | None = None,
    ) -> None:
        super().__init__(aio.Store, directory, members, options)

    def start(self) -> None:
        """Opens the members, blocking, without waiting for a leader. For fixtures that run outside any event loop."""
        try:
            self._open_all()
        except BaseException:
            self._close()
            raise

    def stop(self) -> None:
        """As `close`, but blocking. For fixtures that run outside any event loop."""
        self._close()

    async def leader(self, *, key: BytesLike = b"", timeout: float = _TIMEOUT) -> aio.Store:
        """As `Cluster.leader`."""
        until = time.monotonic() + timeout
        while (number := self._elected(bytes(key))) is None:
            await self._poll_again(until, "a leader that a majority follows", timeout)
        return self[number]

    async def followers(self, *, key: BytesLike = b"", timeout: float = _TIMEOUT) -> list[aio.Store]:
        """As `Cluster.followers`."""
        leader = await self.leader(key=key, timeout=timeout)
        return [store for store in self.members if store is not leader]

    async def wait_until(
        self,
        condition: Callable[[], bool | Awaitable[bool]],
        *,
        waiting_for: str = "a condition of the test",
        timeout: float = _TIMEOUT,
    ) -> None:
        """As `Cluster.wait_until`; the result of `condition()` is awaited if it is awaitable."""
        until = time.monotonic() + timeout
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await self._poll_again(until, waiting_for, timeout)

    async def wait_applied(
        self,
        position: Position | int | None = None,
        *,
        members: Collection[Member] | None = None,
        key: BytesLike = b"",
        timeout: float = _TIMEOUT,
    ) -> None:
        """As `Cluster.wait_applied`."""
        applied, named = self._applied(position, members, bytes(key))
        await self.wait_until(applied, waiting_for=named, timeout=timeout)

    async def _poll_again(self, until: float, waiting_for: str, timeout: float) -> None:
        if time.monotonic() >= until:
            raise self._timeout_error(waiting_for, timeout)
        await asyncio.sleep(POLL_SECONDS)

    async def kill(self, member: Member) -> None:
        """As `Cluster.kill`."""
        await asyncio.to_thread(self._kill, self._number(member))

    async def restart(self, member: Member) -> aio.Store:
        """As `Cluster.restart`."""
        number = self._number(member)
        await asyncio.to_thread(self._restart, number)
        return self[number]

    async def close(self) -> None:
        """As `Cluster.close`."""
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> AioCluster:
        await asyncio.to_thread(self.start)
        try:
            await self.leader()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
