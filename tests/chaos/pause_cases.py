"""Paused members: a follower costs the others nothing, a leader that resumes serves no stale reads."""

from bench import Bench, case, require
from cluster import Cluster, Member
from crash_cases import check_every_member, summary
from intruder_cases import usage
from records import Records

FROZEN_WRITES = 6000
# Cached entries, messages queued for the frozen member, and memory that the allocator keeps.
MEMORY_MORE_KIB_MAX = 96 * 1024
PAUSES_MAX = 10
WRITES_BETWEEN_PAUSES = 200


@case
def a_paused_follower_costs_bounded_memory_and_the_others_continue(bench: Bench):
    limits = {"log.cache_bytes": 4 << 20, "transport.queue_bytes": 8 << 20}
    cluster = Cluster(bench, **{name.replace(".", "__"): value for name, value in limits.items()})
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(WRITES_BETWEEN_PAUSES)
    leader = cluster.leader()
    victim = next(member for member in cluster.members if member is not leader)
    others = [member for member in cluster.members if member is not victim]
    before = {member.node: usage(member)[1] for member in others}

    victim.freeze()
    cluster.wait_for_writes(FROZEN_WRITES)
    grown = max(usage(member)[1] - before[member.node] for member in others)
    require(grown <= MEMORY_MORE_KIB_MAX, f"a member grew by {grown} KiB while {victim} was paused")

    victim.thaw()
    cluster.wait_until_caught_up(victim)
    check_every_member(cluster, "after a follower stood still")
    bench.note(f"{FROZEN_WRITES} writes meanwhile, at most {grown} KiB more; {summary(cluster)}")


@case
def a_leader_paused_for_longer_than_its_lease_serves_no_stale_read(bench: Bench):
    """It is asked for a snapshot before it resumes, so that it answers before it learns of its successor."""
    # Writes forwarded to a paused leader are answered at their deadlines.
    cluster = Cluster(bench, write__timeout_ms=500)
    cluster.start()
    cluster.write()
    for pause in range(min(bench.cycles, PAUSES_MAX)):
        cluster.wait_for_writes(WRITES_BETWEEN_PAUSES)
        leader = cluster.leader()
        # Its own writers would continue while it answers.
        require(leader.ask("pause") == "paused", f"{leader} did not pause")
        shown = snapshot_after_pause(cluster, leader)
        Records(cluster.records).check(shown, f"pause {pause}, {leader}")
        cluster.write()
    check_every_member(cluster, "after leaders stood still")
    bench.note(summary(cluster))


def snapshot_after_pause(cluster: Cluster, leader: Member) -> dict:
    """The first snapshot of `leader` after it was paused and another member was elected."""
    leader.freeze()
    cluster.wait_for_writes(WRITES_BETWEEN_PAUSES)
    cluster.pause()
    leader.send(cluster.dump_command())
    leader.thaw()
    return cluster.read_dump(leader, leader.receive())
