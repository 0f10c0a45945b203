"""`almadia.testing.Cluster`: faults of the network and of processes."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from pathlib import Path

import almadia
import pytest
from almadia.testing import Cluster, ClusterTimeout

from .waiting import wait_until

SILENT_OR_NOT = pytest.mark.parametrize("silent", [False, True], ids=["broken", "silent"])


def held(store: almadia.Store, key: bytes) -> bytes | None:
    """The value that a member itself has applied, whoever leads."""
    with store.snapshot(level="local") as snapshot:
        return snapshot.get(key)


def test_a_cluster_is_ready_in_less_than_two_seconds(tmp_path: Path) -> None:
    took: list[float] = []
    while not took or min(took) >= 2.0:
        # The machine may be busy with something else, but not during every attempt.
        assert len(took) < 20, took
        begun = time.monotonic()
        with Cluster(tmp_path / str(len(took))) as cluster:
            cluster.leader()[b"k"] = b"v"
            took.append(time.monotonic() - begun)


def test_every_member_takes_writes_and_answers_reads(almadia_cluster: Cluster) -> None:
    for number in almadia_cluster.numbers:
        almadia_cluster[number][b"k%d" % number] = b"v%d" % number

    for store in almadia_cluster:
        assert store.get_many([b"k1", b"k2", b"k3"]) == [b"v1", b"v2", b"v3"]


@SILENT_OR_NOT
def test_when_the_leader_is_cut_off_the_others_elect_and_no_write_is_lost(
    almadia_cluster: Cluster, silent: bool
) -> None:
    before = almadia_cluster.leader()
    before[b"k"] = b"old"

    almadia_cluster.isolate(before, silent=silent)
    after = almadia_cluster.leader()
    kept = after[b"k"]
    written = after.put(b"k", b"new")
    almadia_cluster.heal()
    almadia_cluster.wait_applied(written)

    assert after is not before
    assert kept == b"old"
    assert [held(store, b"k") for store in almadia_cluster] == [b"new"] * 3
    assert before[b"k"] == b"new"


@SILENT_OR_NOT
def test_reads_of_a_leader_that_is_cut_off_do_not_go_stale(almadia_cluster: Cluster, silent: bool) -> None:
    old = almadia_cluster.leader()
    old[b"k"] = b"old"
    answers: list[tuple[float, bytes | None]] = []
    over = threading.Event()

    def read_without_end() -> None:
        while not over.is_set():
            begun = time.monotonic()
            try:
                with old.snapshot(timeout=0.2) as snapshot:
                    answers.append((begun, snapshot.get(b"k")))
            except almadia.AlmadiaError:
                answers.append((begun, None))

    reader = threading.Thread(target=read_without_end)
    reader.start()
    try:
        almadia_cluster.wait_until(lambda: any(value == b"old" for _, value in answers))
        almadia_cluster.isolate(old, silent=silent)
        almadia_cluster.leader()[b"k"] = b"new"
        acknowledged = time.monotonic()
        almadia_cluster.wait_until(lambda: answers[-1][0] > acknowledged, waiting_for="a read after the write")
    finally:
        over.set()
        reader.join()

    assert [value for begun, value in answers if begun > acknowledged and value is not None] == []
    assert held(old, b"k") == b"old", "only a local read may show it"


def test_a_write_on_a_leader_that_is_cut_off_has_an_unknown_outcome_and_all_agree_on_it(
    almadia_cluster: Cluster,
) -> None:
    def write_on_one_that_is_cut_off() -> almadia.Outcome | None:
        old = almadia_cluster.leader()
        almadia_cluster.isolate(old)
        with pytest.raises(almadia.AlmadiaError) as failure:
            old.put(b"k", b"perhaps", timeout=0.3)
        almadia_cluster.leader()[b"other"] = b"v"
        almadia_cluster.heal()
        almadia_cluster.wait_until(lambda: old.status().leader == almadia_cluster.leader().node_id)
        return failure.value.outcome

    # On a busy machine the leader may step down before the write reaches it, but not every time.
    outcomes = (write_on_one_that_is_cut_off() for _ in range(10))
    assert almadia.Outcome.UNKNOWN in outcomes
    assert len({store.get(b"k") for store in almadia_cluster}) == 1


def test_a_read_on_a_member_that_lags_waits_for_the_position_of_a_write(almadia_cluster: Cluster) -> None:
    leader = almadia_cluster.leader()
    behind = almadia_cluster.followers()[0]
    before = leader.put(b"k", b"old")
    assert behind.get(b"k", level="local", min_index=before, timeout=20) == b"old"
    almadia_cluster.isolate(behind)
    written = almadia_cluster.leader().put(b"k", b"new", timeout=20)

    with pytest.raises(almadia.ReadTimeoutError, match=f"min_index is {written.index}") as raised:
        behind.get(b"k", level="local", min_index=written, timeout=0.1)
    assert raised.value.retryable
    stale, position = behind.get_with_position(b"k", level="local")
    assert stale == b"old"
    assert before <= position < written
    found: list[tuple[bytes | None, almadia.Position]] = []
    wait = threading.Thread(
        target=lambda: found.append(behind.get_with_position(b"k", level="local", min_index=written, timeout=60))
    )
    wait.start()
    almadia_cluster.heal()
    wait.join()

    assert [(value, at >= written) for value, at in found] == [(b"new", True)]


def test_a_minority_answers_nothing_and_a_majority_goes_on(almadia_cluster: Cluster) -> None:
    almadia_cluster.partition({1}, {2, 3})
    leader = almadia_cluster.leader()
    leader[b"k"] = b"v"

    assert leader.node_id in {2, 3}
    assert almadia_cluster[5 - leader.node_id][b"k"] == b"v"
    with pytest.raises(almadia.AlmadiaError):
        almadia_cluster[1].snapshot(timeout=0.2)


def test_a_partition_replaces_the_one_before(almadia_cluster: Cluster) -> None:
    almadia_cluster.partition({1}, {2, 3})
    assert almadia_cluster.leader().node_id in {2, 3}

    almadia_cluster.partition({3})

    assert almadia_cluster.leader().node_id in {1, 2}
    assert "cut between 1 and 3, 2 and 3" in repr(almadia_cluster)


def test_a_follower_that_does_not_hear_the_leader_does_not_unseat_it(almadia_cluster: Cluster) -> None:
    leader = almadia_cluster.leader()
    deaf = almadia_cluster.followers()[0]
    term = leader.status().term

    almadia_cluster.cut(leader, deaf)
    almadia_cluster.wait_until(lambda: deaf.status().leader is None)
    leader[b"k"] = b"v"

    assert almadia_cluster.leader() is leader
    assert leader.status().term == term


@SILENT_OR_NOT
def test_without_a_majority_nothing_is_elected_until_it_heals(almadia_cluster: Cluster, silent: bool) -> None:
    almadia_cluster[1][b"k"] = b"v"

    almadia_cluster.partition({1}, {2}, {3}, silent=silent)
    almadia_cluster.wait_until(lambda: all(store.status().leader is None for store in almadia_cluster))
    with pytest.raises(ClusterTimeout):
        almadia_cluster.leader(timeout=0.1)
    almadia_cluster.heal()

    assert almadia_cluster.leader()[b"k"] == b"v"


def test_a_killed_member_comes_back_with_everything(almadia_cluster: Cluster) -> None:
    killed = almadia_cluster.leader()
    number = killed.node_id
    killed[b"before"] = b"1"

    almadia_cluster.kill(killed)
    written = almadia_cluster.leader().put(b"meanwhile", b"2")
    restarted = almadia_cluster.restart(number)
    almadia_cluster.wait_applied(written, members=[number])

    assert restarted is almadia_cluster[number]
    assert restarted is not killed
    assert held(restarted, b"before") == b"1"
    assert held(restarted, b"meanwhile") == b"2"
    with pytest.raises(almadia.ClosedError):
        killed.get(b"before")


def test_a_kill_hands_nothing_over(almadia_cluster: Cluster) -> None:
    took: list[float] = []
    while not took or max(took) <= 0.1:
        # After a transfer of leadership the next leader is elected at once. After a crash the others first miss
        # heartbeats; only on a busy machine may they have missed some before.
        assert len(took) < 5, took
        leader = almadia_cluster.leader()
        begun = time.monotonic()
        almadia_cluster.kill(leader)
        almadia_cluster.leader()
        took.append(time.monotonic() - begun)
        almadia_cluster.restart(leader.node_id)


def test_nothing_acknowledged_is_lost_when_all_are_killed(almadia_cluster: Cluster) -> None:
    for n in range(50):
        almadia_cluster[1 + n % 3][b"%03d" % n] = b"v%d" % n

    for number in almadia_cluster.numbers:
        almadia_cluster.kill(number)
    assert almadia_cluster.members == []
    for number in almadia_cluster.numbers:
        almadia_cluster.restart(number)

    with almadia_cluster.leader().snapshot() as snapshot:
        assert list(snapshot.items()) == [(b"%03d" % n, b"v%d" % n) for n in range(50)]


def test_a_partition_outlives_a_restart(almadia_cluster: Cluster) -> None:
    almadia_cluster.isolate(1)
    almadia_cluster.restart(1)
    almadia_cluster.leader()[b"k"] = b"v"

    assert almadia_cluster.leader().node_id != 1
    assert held(almadia_cluster[1], b"k") is None
    almadia_cluster.heal(1)
    almadia_cluster.wait_applied(members=[1])
    assert held(almadia_cluster[1], b"k") == b"v"


@pytest.mark.almadia(members=5)
def test_isolations_add_up(almadia_cluster: Cluster) -> None:
    first = almadia_cluster.leader()
    almadia_cluster.isolate(first)
    second = almadia_cluster.leader()
    almadia_cluster.isolate(second)
    third = almadia_cluster.leader()
    third[b"k"] = b"v"

    assert len({first.node_id, second.node_id, third.node_id}) == 3


@pytest.mark.almadia(options={"bootstrap.split_keys": "m"})
def test_each_region_has_a_leader_of_its_own(almadia_cluster: Cluster) -> None:
    for key in (b"a", b"z"):
        leader = almadia_cluster.leader(key=key)
        written = leader.put(key, b"v")
        almadia_cluster.wait_applied(written, key=key)

        assert [held(store, key) for store in almadia_cluster] == [b"v"] * 3


def test_what_a_cluster_says_about_itself(almadia_cluster: Cluster) -> None:
    leader = almadia_cluster.leader().node_id
    first, second = sorted(set(almadia_cluster.numbers) - {leader})
    almadia_cluster.kill(first)
    almadia_cluster.isolate(second)

    with pytest.raises(ClusterTimeout) as failure:
        almadia_cluster.wait_until(lambda: False, waiting_for="a miracle", timeout=0.01)
    lines = str(failure.value).splitlines()

    assert lines[0] == "timed out after 0.01 s waiting for a miracle"
    assert lines[first] == f"member {first}: down"
    assert lines[leader].startswith(f"member {leader}: leader, leader {leader}, term ")
    others = ", ".join(str(number) for number in sorted({leader, first}))
    assert lines[second].endswith(f"; cut off from {others}")
    assert f"{first}: down" in repr(almadia_cluster)
    assert f"{leader}: leader" in repr(almadia_cluster)
    assert f"cut between {min(leader, second)} and {max(leader, second)}" in repr(almadia_cluster)


def test_what_is_wrong_with_a_call_is_said(almadia_cluster: Cluster) -> None:
    almadia_cluster.kill(2)

    with pytest.raises(KeyError, match=r"member 2 is down; cluster\.restart\(2\) starts it again"):
        almadia_cluster[2]
    with pytest.raises(KeyError, match="there is no member 4, only 1, 2, 3"):
        almadia_cluster[4]
    with pytest.raises(KeyError, match="there is no member 0"):
        almadia_cluster.isolate(0)
    with pytest.raises(ValueError, match="one group only"):
        almadia_cluster.partition({1, 2}, {2, 3})
    with pytest.raises(ValueError, match="does not send to itself"):
        almadia_cluster.cut(1, 1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(almadia_cluster)


def test_a_port_stays_reserved_while_its_member_is_down(almadia_cluster: Cluster) -> None:
    port = int(almadia_cluster.address_of(1).split(":")[1])

    almadia_cluster.kill(1)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    almadia_cluster.restart(1)

    almadia_cluster.wait_until(lambda: almadia_cluster[1].status().leader is not None)


def test_clusters_beside_each_other_share_nothing(almadia_cluster: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path / "other") as other:
        other[1][b"k"] = b"other"
        almadia_cluster[1][b"k"] = b"own"

        assert other[2][b"k"] == b"other"
        assert almadia_cluster[2][b"k"] == b"own"
        with pytest.raises(KeyError, match="is not a member of this cluster"):
            almadia_cluster.isolate(other[1])


def test_what_a_test_left_open_is_found(almadia_cluster: Cluster) -> None:
    snapshot = almadia_cluster[2].snapshot()
    found = almadia_cluster.leaks()
    snapshot.close()

    assert found == ["member 2: 1 snapshots or iterators are not closed"]
    assert almadia_cluster.leaks() == []


def test_a_thread_that_still_waits_is_found(almadia_cluster: Cluster) -> None:
    store = almadia_cluster.leader()
    almadia_cluster.isolate(store)

    def put() -> None:
        with pytest.raises(almadia.AlmadiaError):
            store.put(b"k", b"v", timeout=30)

    thread = threading.Thread(target=put)
    thread.start()
    almadia_cluster.wait_until(lambda: store.status().in_flight == 1)
    found = almadia_cluster.leaks()
    almadia_cluster.kill(store)
    thread.join()

    assert found == [f"member {store.node_id}: 1 calls are not answered"]


def test_a_closed_cluster_leaves_no_thread_and_no_file_open(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def own_threads() -> list[str]:
        names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        return sorted(name for name in names if name.startswith("almadia"))

    with Cluster(tmp_path / "first") as cluster:
        cluster[1][b"k"] = b"v"
    files, threads = open_files(), own_threads()
    with Cluster(tmp_path / "second") as cluster:
        cluster.isolate(cluster.leader(), silent=True)
        cluster.leader()
        cluster.kill(3)
    cluster.close()

    assert open_files() == files
    # The system takes a moment to remove a thread that has ended.
    wait_until(lambda: own_threads() == threads)
    assert repr(cluster) == "<almadia.testing.Cluster of 3 members, closed>"


def test_a_closed_cluster_says_so_at_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", members=1)
    cluster.close()

    for call in (
        cluster.leader,
        cluster.followers,
        cluster.wait_applied,
        lambda: cluster[1],
        lambda: cluster.restart(1),
    ):
        begun = time.monotonic()
        with pytest.raises(almadia.ClosedError, match="this cluster is closed"):
            call()
        assert time.monotonic() - begun < 5.0


def test_a_cluster_waits_for_a_position_or_its_index(almadia_cluster: Cluster) -> None:
    position = almadia_cluster.leader().put(b"k", b"v")

    almadia_cluster.wait_applied(position)
    almadia_cluster.wait_applied(position.index)

    assert [held(store, b"k") for store in almadia_cluster] == [b"v", b"v", b"v"]


def test_a_killed_member_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []
    with Cluster(tmp_path / "data", members=1) as cluster:
        close = almadia.Store._close

        def slow_close(store: almadia.Store, timeout: float) -> None:
            timeouts.append(timeout)
            if timeout == 0:
                raise almadia.ShuttingDownError("it waits for the files of the engine")
            close(store, timeout)

        monkeypatch.setattr(almadia.Store, "_close", slow_close)
        cluster.kill(1)
        cluster.restart(1)

    assert timeouts == [0, 60.0, 0, 60.0]
