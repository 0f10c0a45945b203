"""What members that run cost while one of them is dead.

Owns the load that overwrites the same keys as fast as it is answered, and the bounds of files, memory and descriptors. What
always holds: how long it lasts is a number of writes and not a time; what is kept for the dead member is much less than
what is written while it is dead. At the end it comes back and shows what the others show.
"""

import filecmp
import os
from typing import NamedTuple

from bench import Bench, case, require
from cluster import Cluster, Member, wait_for

MIB = 1 << 20
SEGMENT_BYTES = 1 * MIB
BEHIND_BYTES = 8 * MIB
MEMTABLE_BYTES = 2 * MIB
OPTIONS = {
    "log__segment_bytes": SEGMENT_BYTES,
    "log__retain_bytes": 2 * MIB,
    "log__behind_bytes": BEHIND_BYTES,
    "engine__memtable_bytes": MEMTABLE_BYTES,
    # Leaders look at their logs every twenty ticks, and a fast machine fills segments in a second.
    "raft__tick_ms": 10,
}
# Of each of four writers, on both members the same: 4 MB in all.
KEYS = 3000
WRITES_OF_A_CYCLE = 3_000
# Behind what is kept: the segment that is written, the spare one, those that one look at the log finds together.
LOG_BYTES_MAX = BEHIND_BYTES + 10 * SEGMENT_BYTES
# Several versions of all keys that are not compacted yet, and what a compaction writes before it removes anything.
DATA_BYTES_MAX = 80 * MIB
MEMORY_BYTES_MAX = 200 * MIB
DESCRIPTORS_MAX = 200
CATCH_UP_TIMEOUT_S = 120


class Cost(NamedTuple):
    log_bytes: int
    data_bytes: int
    memory_bytes: int
    descriptors: int

    def __str__(self):
        return (
            f"log {self.log_bytes / MIB:.0f} MiB, data {self.data_bytes / MIB:.0f} MiB, "
            f"memory {self.memory_bytes / MIB:.0f} MiB, {self.descriptors} descriptors"
        )


MOST = Cost(LOG_BYTES_MAX, DATA_BYTES_MAX, MEMORY_BYTES_MAX, DESCRIPTORS_MAX)


@case
def a_member_that_stays_dead_costs_the_others_no_more_with_time(bench: Bench):
    cluster = Cluster(bench, **OPTIONS)
    cluster.start()
    dead = next(member for member in cluster.members if member is not cluster.leader())
    others = [member for member in cluster.members if member is not dead]
    dead.kill()
    for member in others:
        require(member.ask(f"overwrite {KEYS}") == "writing", f"{member} does not write")
    costs = []
    for cycle in range(bench.cycles):
        cluster.wait_for_writes(WRITES_OF_A_CYCLE)
        now = [cost_of(member) for member in others]
        within = all(cost <= most for cost, most in zip(most_of(now), MOST))
        require(within, f"after {cycle + 1} cycles: {most_of(now)}; allowed are {MOST}")
        costs += now
    written = cluster.acknowledged()
    cluster.pause()
    dead.start()
    wait_for(lambda: is_back(cluster, dead), f"{dead} to catch up", CATCH_UP_TIMEOUT_S)
    check(cluster)
    third = max(1, len(costs) // 3)
    bench.note(f"{written} writes; at most, in the first third: {most_of(costs[:third])}")
    bench.note(f"in the last: {most_of(costs[-third:])}")


def most_of(costs: list) -> Cost:
    return Cost(*(max(column) for column in zip(*costs)))


def cost_of(member: Member) -> Cost:
    process = f"/proc/{member.process.pid}"
    with open(f"{process}/status") as file:
        memory = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))
    log, data = (bytes_on_disk(member.directory / part) for part in ("log", "data"))
    return Cost(log, data, memory, len(os.listdir(f"{process}/fd")))


def bytes_on_disk(directory) -> int:
    total = 0
    for entry in os.scandir(directory):
        try:
            total += entry.stat().st_blocks * 512
        except FileNotFoundError:  # removed meanwhile
            pass
    return total


def is_back(cluster: Cluster, member: Member) -> bool:
    return member.status()["applied"] >= cluster.leader().status()["commit"]


def check(cluster: Cluster):
    """All members show the same: keys, values and versions."""
    target = max(member.status()["commit"] for member in cluster.members)
    paths = []
    for member in cluster.members:
        paths.append(member.root.parent / f"shown-{member.node}")
        answer = member.ask(f"show {paths[-1]} {target}", CATCH_UP_TIMEOUT_S)
        require(answer.startswith("dumped "), f"{member}: {answer}")
    for path in paths[1:]:
        require(filecmp.cmp(paths[0], path, shallow=False), f"{paths[0]} and {path} differ")
