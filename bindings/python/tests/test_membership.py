"""Members that come and go, between real stores."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import almadia
import almadia.aio
import pytest
from almadia.membership import Add, Change, Demote, MemberTable, Move, Prefer, Promote, Remove, Replace

from .conftest import FAST, close_at_once, free_addresses
from .waiting import wait_until

HANG_SECONDS = 120
"""Ends a hang only."""


class Growing:
    """A cluster that begins with one member."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.addresses = free_addresses(5)
        self.stores: dict[int, almadia.Store] = {}
        self.threads = ThreadPoolExecutor()
        self.stores[1] = almadia.open(directory / "1", transport_announce=self.addresses[1], options=FAST)

    def arguments(self, node: int) -> tuple[Path, dict[str, Any]]:
        """Those of `open`, for a member that was added."""
        others = ",".join(address for number, address in self.addresses.items() if number in {1, 2, 3} - {node})
        arguments = {"cluster_join": others, "transport_announce": self.addresses[node]}
        return self.directory / str(node), {"node_id": node, "options": FAST, **arguments}

    def open(self, node: int) -> almadia.Store:
        """Opens a member that was added, or was open before."""
        path, arguments = self.arguments(node)
        self.stores[node] = almadia.open(path, **arguments)
        return self.stores[node]

    def change_and_open(self, *changes: Change, opened: list[int], asked: int = 1) -> None:
        """Asks a member for changes that others are to be opened for, and opens them."""
        changed = self.threads.submit(self.stores[asked].change_members, *changes, timeout=HANG_SECONDS)
        for node in opened:
            self.open(node).wait_ready(timeout=HANG_SECONDS)
        changed.result(HANG_SECONDS)

    def grow(self, *nodes: int) -> None:
        self.change_and_open(*(Add(node, self.addresses[node]) for node in nodes), opened=list(nodes))

    def lose(self, node: int) -> None:
        """A member is gone, and so is its disk."""
        close_at_once(self.stores.pop(node))
        shutil.rmtree(self.directory / str(node))

    def close(self) -> None:
        for store in self.stores.values():
            close_at_once(store)
        self.threads.shutdown()


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    cluster = Growing(tmp_path)
    yield cluster
    cluster.close()


def roles(store: almadia.Store) -> dict[int, str]:
    return {member.node: member.role for member in store.members().members}


def put(store: almadia.Store, key: bytes, value: bytes) -> almadia.Position:
    """Writes a key again until it is acknowledged: its leader may be on its way."""
    until = time.monotonic() + HANG_SECONDS
    while True:
        try:
            return store.put(key, value, timeout=HANG_SECONDS)
        except almadia.AlmadiaError as error:
            if not error.retryable or time.monotonic() >= until:
                raise


def test_a_store_lists_itself_before_anybody_changed_the_members(store: almadia.Store) -> None:
    store.wait_leader(timeout=HANG_SECONDS)

    store.change_members()
    store.wait_ready(timeout=HANG_SECONDS)

    table = store.members()
    (own,) = table.members
    assert (table.version, table.unsettled) == (0, ())
    assert (own.node, own.role, own.is_preferred, own.is_live) == (1, "voter", False, True)
    assert (own.settled_regions, own.led_regions) == (1, 1)
    assert (own.last_heard, own.version) == (0, almadia.__version__)


def test_the_configured_members_are_listed(members: list[almadia.Store]) -> None:
    def is_seen_by(store: almadia.Store) -> bool:
        """Whether a member leads, has heard of all, and all have what it has."""
        others = [member for member in store.members().members if member.node != store.node_id]
        return all(member.seen_regions == 1 and member.is_live and member.lag_entries == 0 for member in others)

    wait_until(lambda: any(is_seen_by(store) for store in members), seconds=HANG_SECONDS)

    for store in members:
        table = store.members()
        assert [member.node for member in table.members] == [1, 2, 3]
        assert all(member.address.startswith("127.0.0.1:") and member.role == "voter" for member in table.members)
        assert sum(member.led_regions for member in table.members) == 1

    def have_all_met() -> bool:
        """Whether each has heard each, and knows what it runs."""
        listed = [member for store in members for member in store.members().members]
        return all(member.last_heard is not None and member.version == almadia.__version__ for member in listed)

    wait_until(have_all_met, seconds=HANG_SECONDS)


def test_one_becomes_three(growing: Growing) -> None:
    written = put(growing.stores[1], b"before", b"one")

    growing.grow(2, 3)

    table = growing.stores[3].members()
    assert [member.node for member in table.members] == [1, 2, 3]
    assert [member.address for member in table.members] == [growing.addresses[node] for node in (1, 2, 3)]
    assert {member.role for member in table.members} == {"voter"}
    assert table.version > 0
    for node in (2, 3):
        value = growing.stores[node].get(b"before", level="local", min_index=written, timeout=HANG_SECONDS)
        assert value == b"one"
    # All three vote: two of them serve without the first.
    close_at_once(growing.stores.pop(1))
    put(growing.stores[2], b"after", b"two")
    assert growing.stores[3].get(b"after", timeout=HANG_SECONDS) == b"two"


def test_a_member_that_was_added_is_opened_again_as_it_was(growing: Growing) -> None:
    growing.grow(2)
    written = put(growing.stores[1], b"k", b"v")
    close_at_once(growing.stores.pop(2))

    growing.open(2).wait_ready(timeout=HANG_SECONDS)

    assert growing.stores[2].get(b"k", level="local", min_index=written, timeout=HANG_SECONDS) == b"v"
    assert roles(growing.stores[2]) == {1: "voter", 2: "voter"}


def test_a_member_that_is_lost_is_replaced_under_a_new_number(growing: Growing) -> None:
    growing.grow(2, 3)
    written = put(growing.stores[1], b"k", b"v")
    growing.lose(3)

    growing.change_and_open(Replace(3, 4, growing.addresses[4]), opened=[4], asked=2)

    assert roles(growing.stores[4]) == {1: "voter", 2: "voter", 4: "voter"}
    assert growing.stores[4].get(b"k", level="local", min_index=written, timeout=HANG_SECONDS) == b"v"
    close_at_once(growing.stores.pop(1))
    put(growing.stores[4], b"k", b"two of three serve")


def test_a_member_that_was_removed_says_so(growing: Growing) -> None:
    growing.grow(2, 3)

    growing.stores[2].change_members(Remove(3), timeout=HANG_SECONDS)

    assert roles(growing.stores[1]) == {1: "voter", 2: "voter"}
    gone = growing.stores[3]

    def is_told() -> bool:
        try:
            gone.wait_ready(timeout=0)
        except almadia.Removed:
            return True
        return False

    wait_until(is_told)
    calls: list[Callable[[], Any]] = [
        lambda: gone.put(b"k", b"v"),
        lambda: gone.get(b"k"),
        lambda: gone.change_members(Remove(1)),
    ]
    for call in calls:
        with pytest.raises(almadia.Removed, match="start another member under a new number") as raised:
            call()
        assert (raised.value.code, raised.value.name, raised.value.retryable) == (505, "REMOVED", False)
        assert raised.value.outcome is almadia.Outcome.NOT_APPLIED


def test_a_member_may_learn_and_vote_and_be_preferred(growing: Growing) -> None:
    growing.change_and_open(
        Add(2, growing.addresses[2], role="learner"), Add(3, growing.addresses[3]), opened=[2, 3], asked=1
    )
    first = growing.stores[1]
    assert roles(first) == {1: "voter", 2: "learner", 3: "voter"}

    first.change_members(Promote(2), Demote(3), Prefer(2), timeout=HANG_SECONDS)

    assert roles(first) == {1: "voter", 2: "voter", 3: "learner"}
    assert [member.node for member in first.members().members if member.is_preferred] == [2]
    first.change_members(Prefer(2, is_preferred=False), timeout=HANG_SECONDS)
    assert not any(member.is_preferred for member in first.members().members)


def test_a_change_that_nobody_follows_says_for_whom_it_waits_and_is_taken_back(growing: Growing) -> None:
    first = growing.stores[1]

    with pytest.raises(almadia.WriteTimeoutError) as raised:
        first.change_members(Add(2, growing.addresses[2]), Move(2, growing.addresses[3]), timeout=2)

    table = first.members()
    assert [member.address for member in table.members] == [growing.addresses[1], growing.addresses[3]]
    assert table.members[1].settled_regions == 0
    (unsettled,) = table.unsettled
    assert "node 2" in unsettled
    assert unsettled in str(raised.value)
    # Those before are waited for.
    with pytest.raises(almadia.DeadlineBeforeStartError, match="node 2"):
        first.change_members(timeout=0.1)
    first.change_members(Remove(2), timeout=HANG_SECONDS)
    assert (roles(first), first.members().unsettled) == ({1: "voter"}, ())
    with pytest.raises(almadia.InvalidArgumentError, match="numbers never come back, and the next free one is 3"):
        first.change_members(Add(2, growing.addresses[2]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([Add(1, "127.0.0.1:7001")], "node 1 is a member already"),
        ([Remove(7)], "node 7 is no member"),
        ([Promote(7)], "node 7 is no member"),
        ([Remove(1)], "no member would be left to vote"),
        ([Demote(1)], "no member would be left to vote"),
        ([Replace(1, 1, "127.0.0.1:7001")], "numbers never come back"),
        ([Add(2, "127.0.0.1:7001", role="learner"), Prefer(2)], "node 2 does not vote"),
        ([Add(2, "nowhere")], "no port"),
        ([Add(2, "127.0.0.1:0")], "port 0"),
        ([Add(2, "192.0.2.1:7001")], "transport.insecure"),
        ([Add(2, "127.0.0.1:7001"), Add(3, "127.0.0.1:7001")], "node 2 has the address"),
    ],
    ids=str,
)
def test_changes_that_contradict_are_refused_as_a_whole_with_a_reason(
    growing: Growing, changes: list[Change], reason: str
) -> None:
    with pytest.raises(almadia.InvalidArgumentError, match=reason) as raised:
        growing.stores[1].change_members(*changes, timeout=HANG_SECONDS)

    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    assert growing.stores[1].members().version == 0


# mypy refuses what the next test gives them.
add: Any = Add
remove: Any = Remove


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ("remove 2", TypeError, "an object such as Add or Remove, not str"),
        (("remove", 2, 0, "", None), TypeError, "an object such as Add or Remove, not tuple"),
        (Remove, TypeError, "an object such as Add or Remove, not type"),
        (Change(), TypeError, "Add, Remove, Replace"),
        (remove("2"), TypeError, "node is a whole number, not str"),
        (Remove(-1), ValueError, "node must be 0 or more"),
        (Replace(1, 1 << 64, "127.0.0.1:7001"), ValueError, "by must be at most"),
        (add(2, b"127.0.0.1:7001"), TypeError, "address is a str .*, not bytes"),
        (add(2, "127.0.0.1:7001", role="leader"), ValueError, "role is 'voter' or 'learner', not 'leader'"),
        (add(2, "127.0.0.1:7001", role=None), TypeError, "role is 'voter' or 'learner', not NoneType"),
    ],
)
def test_what_is_no_change_is_refused_before_anything_is_done(
    store: almadia.Store, change: Any, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        store.change_members(change)

    assert store.members().version == 0


def test_a_member_that_nobody_added_is_told_what_to_do(growing: Growing) -> None:
    path, arguments = growing.arguments(2)
    with pytest.raises(almadia.NetworkError, match="change_members"):
        almadia.open(path, cluster_join_timeout_ms=300, **arguments)

    with pytest.raises(almadia.InvalidConfigError, match=r"transport\.announce"):
        almadia.open(growing.directory / "other", node_id=2, cluster_join=growing.addresses[1])
    with pytest.raises(almadia.InvalidConfigError, match="set one of them"):
        almadia.open(path, initial_members=growing.addresses, **arguments)


def test_changes_and_tables_are_values() -> None:
    changes: list[Change] = [Promote(2), Promote(2), Demote(2), Promote(3)]
    assert len(set(changes)) == 3
    assert repr(Add(2, "a:1")) == "Add(node=2, address='a:1', role='voter')"
    assert pickle.loads(pickle.dumps(Replace(1, 2, "a:1"))) == Replace(1, 2, "a:1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Remove(2).node = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        MemberTable(0, (), ()).version = 1  # type: ignore[misc]


# The same for asyncio.


@pytest.mark.asyncio
async def test_awaited_changes_add_a_member_and_remove_it(tmp_path: Path) -> None:
    addresses = free_addresses(2)
    async with AsyncExitStack() as stack:
        opening = almadia.aio.open(tmp_path / "1", transport_announce=addresses[1], options=FAST)
        first = await stack.enter_async_context(opening)
        changing = asyncio.create_task(first.change_members(Add(2, addresses[2]), timeout=HANG_SECONDS))
        opening = almadia.aio.open(
            tmp_path / "2", node_id=2, cluster_join=addresses[1], transport_announce=addresses[2], options=FAST
        )
        second = await stack.enter_async_context(opening)
        await second.wait_ready(timeout=HANG_SECONDS)
        await changing
        assert [member.node for member in (await second.members()).members] == [1, 2]

        await first.change_members(Remove(2), timeout=HANG_SECONDS)
        await first.change_members()

        assert [member.node for member in (await first.members()).members] == [1]
        with pytest.raises(almadia.Removed):
            await keep_asking(second)
        with pytest.raises(almadia.Removed):
            await second.change_members(Remove(1))
        with pytest.raises(almadia.InvalidArgumentError, match="left to vote"):
            await first.change_members(Remove(1))
        with pytest.raises(TypeError, match="not str"):
            await first.change_members("remove 1")  # type: ignore[arg-type]


async def keep_asking(store: almadia.aio.Store) -> None:
    """Waits until a member is not ready any more, and raises why."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            await store.wait_ready(timeout=0)
            await asyncio.sleep(0.002)


@pytest.mark.asyncio
async def test_a_change_that_is_cancelled_is_waited_for_no_more_and_may_have_been_made(tmp_path: Path) -> None:
    addresses = free_addresses(2)
    async with (
        almadia.aio.open(tmp_path / "1", transport_announce=addresses[1], options=FAST) as store,
        asyncio.timeout(HANG_SECONDS),
    ):
        changing = asyncio.create_task(store.change_members(Add(2, addresses[2]), timeout=3600))
        while (await store.members()).version == 0:
            await asyncio.sleep(0.002)

        changing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await changing
        while (await store.status()).in_flight:
            await asyncio.sleep(0.002)
        assert [member.node for member in (await store.members()).members] == [1, 2]
        with pytest.raises(almadia.DeadlineBeforeStartError, match="node 2"):
            await store.change_members(timeout=0.1)
        await store.change_members(Remove(2), timeout=HANG_SECONDS)
