"""Members that stand still: a follower costs the others nothing, a leader that wakes up shows nothing old."""

from bench import Bench, case, require
from cluster import Cluster, Member
from crash_cases import check_every_member, summary
from intruder_cases import usage
from records import Records

FROZEN_WRITES = 6000
# Entries in the caches, messages in the queue to the frozen member, and what the allocator keeps.
MEMORY_MORE_KIB_MAX = 96 * 1024
WAKE_UPS_MAX = 10
WRITES_BETWEEN_WAKE_UPS = 200


@case
def a_follower_that_stands_still_costs_bounded_memory_and_the_others_go_on(bench: Bench):
    limits = {"log.cache_bytes": 4 << 20, "transport.queue_bytes": 8 << 20}
    cluster = Cluster(bench, **{name.replace(".", "__"): value for name, value in limits.items()})
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(WRITES_BETWEEN_WAKE_UPS)
    leader = cluster.leader()
    victim = next(member for member in cluster.members if member is not leader)
    others = [member for member in cluster.members if member is not victim]
    before = {member.node: usage(member)[1] for member in others}

    victim.freeze()
    cluster.wait_for_writes(FROZEN_WRITES)
    grown = max(usage(member)[1] - before[member.node] for member in others)
    require(grown <= MEMORY_MORE_KIB_MAX, f"a member grew by {grown} KiB while {victim} stood still")

    victim.thaw()
    cluster.wait_until_caught_up(victim)
    check_every_member(cluster, "after a follower stood still")
    bench.note(f"{FROZEN_WRITES} writes meanwhile, at most {grown} KiB more; {summary(cluster)}")


@case
def a_leader_that_stood_still_for_longer_than_its_lease_shows_nothing_old(bench: Bench):
    """It is asked for a snapshot before it wakes up, so that it answers before it hears of its successor."""
    # What was forwarded to a leader that stands still is answered at its deadline.
    cluster = Cluster(bench, write__timeout_ms=500)
    cluster.start()
    cluster.write()
    for wake_up in range(min(bench.cycles, WAKE_UPS_MAX)):
        cluster.wait_for_writes(WRITES_BETWEEN_WAKE_UPS)
        leader = cluster.leader()
        # Its own writers would go on while it answers.
        require(leader.ask("pause") == "paused", f"{leader} did not pause")
        shown = snapshot_of_sleeper(cluster, leader)
        Records(cluster.records).check(shown, f"wake-up {wake_up}, {leader}")
        cluster.write()
    check_every_member(cluster, "after leaders stood still")
    bench.note(summary(cluster))


def snapshot_of_sleeper(cluster: Cluster, leader: Member) -> dict:
    """What `leader` shows first after it stood still and another member took its place."""
    leader.freeze()
    cluster.wait_for_writes(WRITES_BETWEEN_WAKE_UPS)
    cluster.pause()
    leader.say(cluster.dump_command())
    leader.thaw()
    return cluster.read_dump(leader, leader.hear())
