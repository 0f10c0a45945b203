"""Hung disks: a leader whose log or engine hangs loses its leadership, and the others continue."""

import os

from bench import Bench, case
from cluster import Cluster, Member, wait_for
from crash_cases import check_every_member, summary

WRITES = 400
# The engine stalls when its memtables are full, two of a MiB each.
ENGINE = {"raft__apply_stall_ms": 1000}


@case
def a_leader_whose_log_hangs_is_replaced_by_the_others(bench: Bench):
    lose_leadership(bench, "/store/log/", Cluster(bench))


@case
def a_leader_whose_engine_hangs_hands_over(bench: Bench):
    lose_leadership(bench, "/store/data/", Cluster(bench, **ENGINE))


def lose_leadership(bench: Bench, files: str, cluster: Cluster):
    for member in cluster.members:
        member.preload = {
            "LD_PRELOAD": str(bench.programs / "hang.so"),
            "HANG_FILES": files,
            "HANG_WHILE": str(hanging(member)),
        }
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(WRITES)
    leader = cluster.leader()
    hanging(leader).touch()
    wait_for(lambda: cluster.leader() is not leader, f"another leader than {leader}, whose disk hangs")
    cluster.wait_for_writes(WRITES)
    os.unlink(hanging(leader))
    cluster.wait_until_caught_up(leader)
    check_every_member(cluster, "after a disk hung")
    bench.note(summary(cluster))


def hanging(member: Member):
    return member.root / "hangs"
