"""The common part of the clusters of `testing`, whether their tests block or `await`.

Owns the members' stores, their network and their directories. What always holds: the stores are those of the members
that are up, and a member that is down is cut off from the network; nothing here waits for members to agree. Waiting is
left to `testing`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Generic, NoReturn, TypeAlias, TypeVar

from ._almadia import Position
from ._base import BaseStore
from ._network import Network
from .errors import AlmadiaError, ClosedError, ShuttingDownError
from .options import option_list
from .status import RegionStatus, Status
from .typing import OptionValue

Member: TypeAlias = BaseStore | int
"""A member of a cluster: its store, or its number."""

FAST: Final[Mapping[str, OptionValue]] = {
    "raft.tick_ms": 20,
    "raft.heartbeat_ms": 40,
    "raft.election_timeout_ms": 1000,
    "log.segment_bytes": 4 << 20,
    "engine.memtable_bytes": 4 << 20,
    "engine.block_cache_bytes": 4 << 20,
}
"""The options of test clusters that differ from the defaults of `almadia.options()`: a quick election, small files."""

POLL_SECONDS = 0.002
"""Seconds between two checks of a condition."""

SHUTDOWN_SECONDS = 60.0
"""Seconds within which a member that was cut off must shut down: a busy machine may take longer than an idle one."""

_Store = TypeVar("_Store", bound=BaseStore)


class ClusterTimeout(TimeoutError):
    """A condition a test waited for was not met in time. The message has the status of each member."""


def _cut_off(store: BaseStore) -> None:
    """Closes a store without waiting for calls in flight."""
    try:
        store._close(0)
    except ShuttingDownError:
        store._close(SHUTDOWN_SECONDS)


class Members(Generic[_Store]):
    """The members of one cluster in this process, as stores of the class `_Store`."""

    def __init__(
        self,
        opened_as: type[_Store],
        directory: str | os.PathLike[str],
        members: int,
        options: Mapping[str, OptionValue] | None,
    ) -> None:
        if members < 1:
            raise ValueError(f"a cluster has at least 1 member, not {members}")
        self._opened_as = opened_as
        self._directory = Path(directory)
        self._options = {**FAST, **(options or {})}
        self._numbers = tuple(range(1, members + 1))
        self._stores: dict[int, _Store] = {}
        self._network = Network(members)
        self._closed = False

    # The members.

    @property
    def members(self) -> list[_Store]:
        """The members that are up, ordered by their numbers."""
        return [store for _, store in self._stores_now()]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all members, including those that are down."""
        return self._numbers

    @property
    def directory(self) -> Path:
        """The directory that contains the members' directories."""
        return self._directory

    def address_of(self, member: Member) -> str:
        """The address a member listens on, as "host:port". The others reach it through relays."""
        number = self._number(member)
        return self._network.addresses_for(number)[number]

    def __getitem__(self, number: int) -> _Store:
        self._check_open()
        store = self._stores.get(self._number(number))
        if store is None:
            raise KeyError(f"member {number} is down; cluster.restart({number}) starts it again")
        return store

    def __iter__(self) -> Iterator[_Store]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self._numbers)

    # The network.

    def partition(self, *groups: Collection[Member], silent: bool = False) -> None:
        """Partitions the network into groups that cannot reach each other, replacing earlier faults.

        `cluster.partition({1}, {2, 3})`. Members that no group names form one more group. Connections break at once
        and new ones are refused. With `silent` nothing breaks and nothing arrives, as in a network that drops packets:
        a member that is cut off notices it by its timeouts, and what was sent meanwhile arrives after `heal`.
        """
        given = [{self._number(member) for member in group} for group in groups]
        named = [number for group in given for number in group]
        if len(set(named)) < len(named):
            raise ValueError("a member can be in one group only")
        given.append(set(self._numbers).difference(named))
        group_of = {number: index for index, group in enumerate(given) for number in group}
        pairs = [(a, b) for a in self._numbers for b in self._numbers if group_of[a] != group_of[b]]
        self._network.set_broken(pairs, silent=silent)

    def isolate(self, member: Member, *, silent: bool = False) -> None:
        """Separates a member from all others, in addition to earlier faults. `silent` as in `partition`."""
        alone = self._number(member)
        pairs = [pair for other in self._numbers if other != alone for pair in ((alone, other), (other, alone))]
        self._network.cut(pairs, silent=silent)

    def cut(self, source: Member, target: Member, *, silent: bool = False) -> None:
        """Breaks one direction only: what `source` sends to `target`. `silent` as in `partition`."""
        pair = self._number(source), self._number(target)
        if pair[0] == pair[1]:
            raise ValueError(f"member {pair[0]} does not send to itself")
        self._network.cut([pair], silent=silent)

    def heal(self, *members: Member) -> None:
        """Repairs the network, or only the connections of these members. Members that are down stay down."""
        self._network.heal([self._number(member) for member in members] or self._numbers)

    # Its status.

    def describe(self) -> str:
        """The status of each member, one per line."""
        return "\n".join(f"member {number}: {self._describe(number)}" for number in self._numbers)

    def leaks(self) -> list[str]:
        """What a test forgot to close, one line per member."""
        if any(status.live_snapshots for _, status in self._statuses()):
            # A snapshot that only a reference cycle keeps alive is not a leak.
            gc.collect()
        return [
            f"member {number}: {status.live_snapshots} snapshots or iterators are not closed"
            for number, status in self._statuses()
            if status.live_snapshots
        ]

    def _statuses(self) -> list[tuple[int, Status]]:
        return [(number, store._status()) for number, store in self._stores_now()]

    def _stores_now(self) -> list[tuple[int, _Store]]:
        """The open stores; safe to call while another thread kills or restarts a member."""
        return sorted(self._stores.copy().items())

    def _describe(self, number: int) -> str:
        store = self._stores.get(number)
        if store is None:
            return "down"
        try:
            text = _status_text(store._status())
        except AlmadiaError as error:
            text = str(error)
        others = [other for other in self._numbers if not self._network.is_open_between(number, other)]
        cut_off = f"; cut off from {', '.join(map(str, others))}" if others else ""
        return text + cut_off

    def __repr__(self) -> str:
        name = f"almadia.testing.{type(self).__name__}"
        if self._closed:
            return f"<{name} of {len(self)} members, closed>"
        members = "; ".join(f"{number}: {self._role(number)}" for number in self._numbers)
        up = [number for number, _ in self._stores_now()]
        pairs = [(a, b) for a in up for b in up if a < b and not self._network.is_open_between(a, b)]
        broken = f"; cut between {', '.join(f'{a} and {b}' for a, b in pairs)}" if pairs else ""
        return f"<{name} {members}{broken}>"

    def _role(self, number: int) -> str:
        store = self._stores.get(number)
        return store._status().role if store else "down"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cluster cannot be pickled: its members are open in this process")

    # Starting and stopping members.

    def _open_all(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        # Opening a store waits for the disk, so all are opened at once.
        with ThreadPoolExecutor(len(self)) as threads:
            openings = {number: threads.submit(self._open, number) for number in self._numbers}
        # If one fails, the others are recorded, so that they get closed.
        self._stores.update(
            {number: opening.result() for number, opening in openings.items() if not opening.exception()}
        )
        for opening in openings.values():
            opening.result()

    def _open(self, number: int) -> _Store:
        # A single member has no peers to listen for.
        addresses = self._network.addresses_for(number) if len(self) > 1 else None
        options = option_list(number, addresses, None, self._options, {})
        return self._opened_as._open(str(self._directory / str(number)), options)

    def _kill(self, number: int) -> None:
        store = self[number]
        del self._stores[number]
        self._network.take_down(number)
        _cut_off(store)

    def _restart(self, number: int) -> None:
        self._check_open()
        if number in self._stores:
            self._kill(number)
        self._stores[number] = self._open(number)
        self._network.bring_up(number)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # All are cut off first, so that none starts an election when another ends.
        for number in self._numbers:
            self._network.take_down(number)
        for number, store in self._stores_now():
            del self._stores[number]
            _cut_off(store)
        self._network.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this cluster is closed")

    # Conditions to wait for.

    def _elected(self, key: bytes) -> int | None:
        """The number of the leader that a majority follows over connections open both ways; None if there is none."""
        self._check_open()
        views = {number: _region_of(store, key) for number, store in self._stores_now()}
        for number, view in views.items():
            following = [other for other, seen in views.items() if self._follows(other, seen, number, view)]
            if view.role == "leader" and 2 * len(following) > len(self):
                return number
        return None

    def _follows(self, other: int, seen: RegionStatus, leader: int, view: RegionStatus) -> bool:
        same = seen.leader == leader and seen.term == view.term
        return same and self._network.is_open_between(other, leader)

    def _applied(
        self, position: Position | int | None, members: Collection[Member] | None, key: bytes
    ) -> tuple[Callable[[], bool], str]:
        """A condition: whether members have applied what is at `position`; and its description."""
        self._check_open()
        numbers = (
            [self._number(member) for member in members]
            if members is not None
            else [number for number, _ in self._stores_now()]
        )
        if position is None:
            index = max((_region_of(store, key).commit_index for _, store in self._stores_now()), default=0)
        else:
            index = position if isinstance(position, int) else position.index

        def applied() -> bool:
            return all(_region_of(self[number], key).applied_index >= index for number in numbers)

        return applied, f"index {index} applied by member {', '.join(map(str, numbers))}"

    def _timeout_error(self, waiting_for: str, timeout: float) -> ClusterTimeout:
        return ClusterTimeout(f"timed out after {timeout:g} s waiting for {waiting_for}\n{self.describe()}")

    def _number(self, member: Member) -> int:
        if isinstance(member, BaseStore):
            if Path(member.path).parent != self._directory:
                raise KeyError(f"{member!r} is not a member of this cluster")
            return member.node_id
        if member not in self._numbers:
            raise KeyError(f"there is no member {member!r}, only {', '.join(map(str, self._numbers))}")
        return member


def _region_of(store: BaseStore, key: bytes) -> RegionStatus:
    """The status of the region that contains `key`: the last one that starts at it or before."""
    return [region for region in store._regions() if region.start_key <= key][-1]


def _status_text(status: Status) -> str:
    leader = f"leader {status.leader}" if status.leader else "no leader known"
    log = f"applied {status.applied_index}, committed {status.commit_index}, last index {status.last_index}"
    calls = f", {status.in_flight} calls in flight" if status.in_flight else ""
    snapshots = f", {status.live_snapshots} live snapshots" if status.live_snapshots else ""
    poisoned = f", stopped: {status.poisoned}" if status.poisoned else ""
    return f"{status.role}, {leader}, term {status.term}, {log}{calls}{snapshots}{poisoned}"
