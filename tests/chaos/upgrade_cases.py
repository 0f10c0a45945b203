"""Clusters of an earlier build whose members are upgraded one after the other, while all of them write.

Owns the cases that need the programs of both builds; `scripts/test-upgrade.sh` makes them and runs these.
"""

from bench import Bench, require
from cluster import Cluster, Member, error_of, wait_for
from crash_cases import check_every_member, summary
from records import Records

WRITES_BETWEEN_STEPS = 1000
TRANSFERS_PER_STEP = 4


def members_are_upgraded_one_after_the_other_under_load(bench: Bench):
    """Nothing is lost, no write of a member that lives is unknown, what is new works once the last one is upgraded."""
    cluster = upgrade_all(bench, lambda member: member.stop())

    require(Records(cluster.records).count("U") == 0, f"writes are unknown to members that live: {summary(cluster)}")
    refuses_the_earlier_build(bench, cluster.members[0])
    cluster.start()
    check_every_member(cluster, "after an earlier build was refused")
    bench.note(summary(cluster))


def members_that_are_killed_are_upgraded_one_after_the_other(bench: Bench):
    cluster = upgrade_all(bench, lambda member: member.kill())

    bench.note(summary(cluster))


CASES = [
    members_are_upgraded_one_after_the_other_under_load,
    members_that_are_killed_are_upgraded_one_after_the_other,
]


def upgrade_all(bench: Bench, end) -> Cluster:
    cluster = Cluster(bench)
    for member in cluster.members:
        member.programs = bench.before
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(WRITES_BETWEEN_STEPS)
    earlier_level = cluster.members[0].ask("level")
    order = bench.rng.sample(cluster.members, len(cluster.members))
    for number, member in enumerate(order):
        end(member)
        cluster.wait_for_writes(WRITES_BETWEEN_STEPS)
        member.programs = bench.programs
        member.start()
        cluster.wait_until_caught_up(member)
        member.write()
        lead_by_turns(cluster)
        earlier = order[number + 1 :]
        if earlier:
            knows_who_is_missing(member, earlier, earlier_level)
    for member in cluster.members:
        wait_for(lambda: member.ask("level") > earlier_level, f"{member} to apply the level")
    for member in cluster.members:
        expect(member, f"absent 5000 p/{member.node}", "ALMADIA_OK")
        expect(member, "absent 5000 p/1", "ALMADIA_PRECONDITION_FAILED")
        expect(member, "change 5000 -9", "ALMADIA_INVALID_ARGUMENT")
    lead_by_turns(cluster)
    check_every_member(cluster, "after all were upgraded")
    return cluster


def lead_by_turns(cluster: Cluster):
    """Leaders of both builds take what members of both builds forward."""
    led = set()
    for _ in range(TRANSFERS_PER_STEP):
        leader = cluster.leader()
        led.add(leader)
        leader.result("transfer 5000")
        cluster.wait_for_writes(WRITES_BETWEEN_STEPS // TRANSFERS_PER_STEP)
    require(len(led) > 1, "the leadership has not moved")


def knows_who_is_missing(member: Member, earlier: list, level: str):
    """What the earlier build does not know is refused: conditions, or lists of members."""
    require(member.ask("level") == level, f"{member} is at another level, and {earlier[0]} was not upgraded")
    new = "absent 5000 p/early" if level == "level 0" else "change 5000 +9=127.0.0.1:9"
    message = expect(member, new, "ALMADIA_UNSUPPORTED")
    names = [f"node {other.node} runs an earlier release" for other in earlier]
    require(any(name in message for name in names), f"{member} blames others: {message}")


def refuses_the_earlier_build(bench: Bench, member: Member):
    member.programs = bench.before
    code, message = error_of(member.try_start())
    require(code == "ALMADIA_INCOMPATIBLE_FORMAT", f"{member} of the earlier build: {code} {message}")
    member.kill()
    member.programs = bench.programs


def expect(member: Member, command: str, code: str) -> str:
    got, _, message = member.result(command)
    require(got == code, f"{member}: {command}: {got} {message}")
    return message
