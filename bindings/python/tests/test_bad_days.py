"""The guarantees, checked under many faults in a row."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import almadia
import pytest
from almadia.testing import Cluster

SECONDS = 6.0


class Register:
    """A key that one thread counts up until the outcome of a write is unknown.

    Such a write may be applied much later, even after later writes through other members, so that a read no longer
    proves anything.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.acknowledged = 0
        self.tried = 0
        self.seen = 0
        self.refused: set[int] = set()

    def count_up(self, store: almadia.Store) -> None:
        self.tried += 1
        store.put(self.key, b"%d" % self.tried, timeout=0.5)
        self.acknowledged = self.tried

    def read(self, store: almadia.Store) -> str | None:
        """What is wrong with the value that a read returns; None if nothing is.

        It is at least what was acknowledged, or returned by another read, before this one began; at most what was
        tried before it ended; and never a value that was certainly not applied.
        """
        least = max(self.acknowledged, self.seen)
        value = int(store.get(self.key, timeout=0.5) or 0)
        most = self.tried
        if least <= value <= most and value not in self.refused:
            self.seen = max(self.seen, value)
            return None
        return f"{self.key!r} on member {store.node_id}: {value} is not from {least} to {most}, or was refused"


class Users:
    """Threads that increment and read a register, through any member that is up."""

    def __init__(self, cluster: Cluster, name: bytes, seed: int) -> None:
        self._cluster = cluster
        self._name = name
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.registers = [Register(b"%s/0" % name)]
        self.acknowledged = 0
        self.reads = 0
        self.broken: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(role,)) for role in (self._write, self._read, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, role: Callable[[almadia.Store], None]) -> None:
        while not self._over.is_set():
            members = self._cluster.members
            if members:
                role(self._random.choice(members))

    def _write(self, store: almadia.Store) -> None:
        register = self.registers[-1]
        try:
            register.count_up(store)
            self.acknowledged += 1
        except almadia.AlmadiaError as error:
            if error.outcome is almadia.Outcome.UNKNOWN:
                self.registers.append(Register(b"%s/%d" % (self._name, len(self.registers))))
            else:
                register.refused.add(register.tried)

    def _read(self, store: almadia.Store) -> None:
        # The last one, or an earlier one that nobody writes any more.
        register = self._random.choice(self.registers[-3:])
        try:
            if wrong := register.read(store):
                self.broken.append(wrong)
            self.reads += 1
        except almadia.AlmadiaError as error:
            if error.outcome is almadia.Outcome.UNKNOWN:
                self.broken.append(f"a read has no unknown outcome: {error}")


def one_fault(cluster: Cluster, chance: random.Random) -> None:
    """A fault of the cluster; most faults leave a majority."""
    number = chance.choice(cluster.numbers)
    up = {store.node_id for store in cluster.members}
    fault = chance.choice(["isolate", "cut", "kill", "restart", "partition", "heal"])
    if fault == "isolate":
        cluster.isolate(number, silent=chance.random() < 0.5)
    elif fault == "cut":
        cluster.cut(number, 1 + number % 3, silent=chance.random() < 0.5)
    elif fault == "kill" and number in up:
        cluster.kill(number)
    elif fault == "restart":
        cluster.restart(number)
    elif fault == "partition":
        cluster.partition({number}, silent=chance.random() < 0.5)
    else:
        cluster.heal()


@pytest.mark.parametrize("seed", [1, 2])
def test_reads_stay_linearizable_and_acknowledged_writes_stay(almadia_cluster: Cluster, seed: int) -> None:
    chance = random.Random(seed)
    users = [Users(almadia_cluster, b"user%d" % n, seed + n) for n in range(2)]
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            one_fault(almadia_cluster, chance)
            # The effect of a fault lasts as long as an election.
            time.sleep(chance.uniform(0.05, 0.6))
        almadia_cluster.heal()
        for number in set(almadia_cluster.numbers) - {store.node_id for store in almadia_cluster}:
            almadia_cluster.restart(number)
        before = [(user.acknowledged, user.reads) for user in users]
        almadia_cluster.wait_until(
            lambda: all(
                user.acknowledged > writes and user.reads > reads
                for user, (writes, reads) in zip(users, before, strict=True)
            ),
            waiting_for="writes and reads after the faults",
        )
    finally:
        for user in users:
            user.end()

    assert [user.broken for user in users] == [[], []]
    for register in (register for user in users for register in user.registers):
        assert [register.read(store) for store in almadia_cluster] == [None] * 3
