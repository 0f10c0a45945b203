"""Three members of one cluster in this process."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import almadia
import pytest

from .conftest import FAST, close_at_once, free_addresses
from .waiting import wait_until


def test_every_member_takes_writes_and_shows_those_of_the_others(members: list[almadia.Store]) -> None:
    for number, store in enumerate(members):
        store[b"from/%d" % number] = b"x"

    for store in members:
        with store.snapshot(prefix=b"from/") as snapshot:
            assert list(snapshot) == [b"from/0", b"from/1", b"from/2"]


def test_a_follower_shows_what_was_written_elsewhere_without_asking(members: list[almadia.Store]) -> None:
    position = members[0].put(b"k", b"v")

    for store in members:
        with store.snapshot(level="local", min_index=position.index, timeout=20) as snapshot:
            assert snapshot[b"k"] == b"v"


def test_leadership_is_handed_over(members: list[almadia.Store]) -> None:
    leader = members[0].wait_leader(timeout=20)
    target = leader % 3 + 1

    def handed_over() -> bool:
        try:
            members[leader - 1].transfer_leader(target, timeout=20)
        except almadia.LaggingError:
            return False  # The leader's connection to the target may come up after its election.
        return True

    wait_until(handed_over)
    with pytest.raises(almadia.NotLeaderError) as raised:
        members[leader - 1].transfer_leader(leader, timeout=20)

    assert raised.value.leader == target
    # The status of a member may change a moment after it has informed the others.
    while members[target - 1].status().role != "leader":
        pass


def test_two_of_three_go_on(members: list[almadia.Store]) -> None:
    leader = members[0].wait_leader(timeout=20)
    left = [store for store in members if store.node_id != leader]

    members[leader - 1].close()

    left[0].put(b"k", b"v", timeout=20)
    assert left[1].get(b"k", timeout=20) == b"v"


def test_one_of_three_says_that_it_wrote_nothing(members: list[almadia.Store]) -> None:
    close_at_once(members[0])
    close_at_once(members[1])

    with pytest.raises(almadia.AlmadiaError) as raised:
        members[2].put(b"k", b"v", timeout=1)

    # The outcome is unknown if the member led and appended the write to its log, and not applied otherwise.
    assert raised.value.category in (3, 4)
    assert (raised.value.outcome is almadia.Outcome.UNKNOWN) == (raised.value.category == 4)


def test_a_raft_snapshot_is_seen_on_its_way_to_a_member_that_was_away(tmp_path: Path) -> None:
    addresses = free_addresses(3)
    short = {"log.retain_bytes": 64 << 10, "log.behind_bytes": 256 << 10, "log.segment_bytes": 64 << 10}
    # So slow that it is seen.
    options = {**FAST, **short, "raft_snapshot.bytes_per_second": 512 << 10}

    with ExitStack() as stack:

        def start(node: int) -> almadia.Store:
            store = almadia.open(tmp_path / str(node), node_id=node, initial_members=addresses, options=options)
            stack.callback(close_at_once, store)
            return store

        stores = [start(node) for node in (1, 2, 3)]
        close_at_once(stores.pop())
        for number in range(300):
            stores[0].put(b"%d" % number, bytes([number % 256]) * 10_000, timeout=20)
        wait_until(lambda: all(store.status().log_bytes < 2 << 20 for store in stores))

        back = start(3)
        wait_until(lambda: back.status().snapshots_receiving == 1)
        wait_until(lambda: any(it.bytes > 0 and it.stage == "receiving" for it in back.raft_snapshots()))
        seen = [it for store in stores for it in store.raft_snapshots()]
        position = stores[0].put(b"last", b"", timeout=20)
        assert back.get(b"299", level="local", min_index=position.index, timeout=60) == bytes([43]) * 10_000

        assert [(it.receiver, it.region, it.stage) for it in seen] == [(3, 1, "sending")]
        assert seen[0].sender in (1, 2)
        assert seen[0].log_index > 0
        assert seen[0].bytes_estimate > 0
        wait_until(lambda: sum(store.regions()[0].helped for store in stores) == 0)
        wait_until(lambda: not back.raft_snapshots() and not back.regions()[0].installing)
        assert 'almadia_raft_snapshots_total{what="installed"} 0' not in back.metrics()
