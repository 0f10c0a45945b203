"""Three members of one cluster in this process."""

from __future__ import annotations

import almadia
import pytest

from .conftest import close_at_once
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
