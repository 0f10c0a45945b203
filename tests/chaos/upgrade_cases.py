"""Clusters of an earlier build whose members are upgraded one after the other, and taken back, while all of them write.

Owns the cases that need the programs of both builds; `scripts/test-upgrade.sh` makes them and runs these.
"""

from bench import Bench, require
from cluster import Cluster, Member, error_of, wait_for
from crash_cases import check_every_member, summary
from records import Records

WRITES_BETWEEN_STEPS = 1000
APPENDS_PER_STEP = 20
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


def members_are_taken_back_before_the_last_one_is_upgraded(bench: Bench):
    """Two of three are upgraded and go back; then all are upgraded. What was acknowledged is there, once."""
    cluster, earlier_level = cluster_of_the_earlier_build(bench)
    appended = Appended(cluster, earlier_level)
    *upgraded, last = bench.rng.sample(cluster.members, len(cluster.members))
    for number, member in enumerate(upgraded):
        upgrade(member, bench.rng.choice([Member.stop, Member.kill]))
        appended.append()
        knows_who_is_missing(member, [*upgraded[number + 1 :], last], earlier_level)
    back = [member for member in upgraded if takes_back(member, bench.rng.choice([Member.stop, Member.kill]), earlier_level)]
    appended.append()
    for member in cluster.members:
        require(level_of(member) == earlier_level, f"{member} is at a level that {last} does not know")

    for member in [*back, last]:
        upgrade(member, Member.stop)
    new_works(cluster, earlier_level)
    appended.append()
    lead_by_turns(cluster)
    appended.check()
    check_every_member(cluster, "after two were taken back and all were upgraded")
    for member in cluster.members:
        refuses_the_earlier_build(bench, member)
    cluster.start()
    appended.check()
    check_every_member(cluster, "after an earlier build was refused")
    bench.note(f"{len(back)} went back; {len(appended.keys)} appends; {summary(cluster)}")


def a_member_that_goes_back_too_late_waits_until_it_is_upgraded_again(bench: Bench):
    """It is down while the last one is upgraded: the level rises, and what it was before has no part in the cluster."""
    cluster, earlier_level = cluster_of_the_earlier_build(bench)
    late, *others = bench.rng.sample(cluster.members, len(cluster.members))
    upgrade(late, Member.stop)
    upgrade(others[0], Member.stop)
    late.stop()
    others[1].kill()  # alone, the other can do nothing
    others[1].programs = bench.programs
    others[1].start()
    others[1].write()
    lead_by_turns(cluster)  # only the first of them has heard of both others that they were upgraded
    for member in others:
        wait_for(lambda: level_of(member) > earlier_level, f"{member} to apply the level without {late}")

    if earlier_level == 0:
        refuses_the_earlier_build(bench, late)
    else:
        late.programs = bench.before
        late.start()
        code, _, message = late.result("put 1000")
        require(code != "ALMADIA_OK", f"{late} of the earlier build has a part in the cluster: {code} {message}")
    restart(late, Member.kill, bench.programs)
    new_works(cluster, earlier_level)
    check_every_member(cluster, "after one went back too late and was upgraded again")
    bench.note(summary(cluster))


CASES = [
    members_are_upgraded_one_after_the_other_under_load,
    members_that_are_killed_are_upgraded_one_after_the_other,
    members_are_taken_back_before_the_last_one_is_upgraded,
    a_member_that_goes_back_too_late_waits_until_it_is_upgraded_again,
]


class Appended:
    """Keys that are put where there must be none, each by one member and again by another: one of both appends it."""

    def __init__(self, cluster: Cluster, level: int):
        self.cluster = cluster
        self.works_from_the_beginning = level > 0  # conditions are what level 1 brought
        self.keys = []

    def append(self):
        members = self.cluster.alive()
        if not self.works_from_the_beginning and level_of(members[0]) == 0:
            return
        for number in range(APPENDS_PER_STEP):
            key = f"p/append/{len(self.keys)}"
            self._append(key, [members[number % len(members)], members[(number + 1) % len(members)]])
            self.keys.append(key)

    def _append(self, key: str, members: list):
        """An attempt that no member can judge, as its leader has changed meanwhile, is made again; it may have appended."""
        codes = []
        for member in members:
            wait_for(lambda: self._is_judged(member, key, codes), f"{member} to judge {key}")
        appends, attempts = codes.count("ALMADIA_OK"), len(codes)
        require(appends == 1 or (appends == 0 and attempts > len(members)), f"{key} was appended {appends} times: {codes}")

    def _is_judged(self, member: Member, key: str, codes: list) -> bool:
        codes.append(member.result(f"absent 5000 {key}")[0])
        return codes[-1] in ("ALMADIA_OK", "ALMADIA_PRECONDITION_FAILED")

    def check(self):
        require(self.keys, "nothing was appended")
        for member in self.cluster.alive():
            # A dump says "bad" of a value that is not the one of a writer.
            shown = sorted(self.cluster.dump(member, "p/append/"))
            require(shown == sorted(self.keys), f"{member} shows {len(shown)} of {len(self.keys)} appends")


def cluster_of_the_earlier_build(bench: Bench):
    """A cluster that writes, and the level that it is at."""
    cluster = Cluster(bench)
    for member in cluster.members:
        member.programs = bench.before
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(WRITES_BETWEEN_STEPS)
    return cluster, level_of(cluster.members[0])


def upgrade_all(bench: Bench, end) -> Cluster:
    cluster, earlier_level = cluster_of_the_earlier_build(bench)
    order = bench.rng.sample(cluster.members, len(cluster.members))
    for number, member in enumerate(order):
        upgrade(member, end)
        earlier = order[number + 1 :]
        if earlier:
            knows_who_is_missing(member, earlier, earlier_level)
    new_works(cluster, earlier_level)
    lead_by_turns(cluster)
    check_every_member(cluster, "after all were upgraded")
    return cluster


def upgrade(member: Member, end):
    restart(member, end, member.bench.programs)


def restart(member: Member, end, programs):
    """Ends a member and starts it as one of this build; it catches up, writes, and leaders of both builds lead."""
    cluster = member.cluster
    end(member)
    cluster.wait_for_writes(WRITES_BETWEEN_STEPS)
    member.programs = programs
    member.start()
    cluster.wait_until_caught_up(member)
    member.write()
    lead_by_turns(cluster)


def takes_back(member: Member, end, earlier_level: int) -> bool:
    """Ends a member and starts it as one of the build before. A directory whose values have been given versions is
    refused by the builds before them, and the member goes on as it is; false then."""
    if earlier_level > 0:
        restart(member, end, member.bench.before)
        return True
    end(member)
    refuses_the_earlier_build(member.bench, member)
    restart(member, Member.kill, member.bench.programs)
    return False


def new_works(cluster: Cluster, earlier_level: int):
    """All members have been upgraded: the level rises, and each of them takes what is new."""
    for member in cluster.members:
        wait_for(lambda: level_of(member) > earlier_level, f"{member} to apply the level")
    for member in cluster.members:
        expect(member, f"absent 5000 p/{member.node}", "ALMADIA_OK")
        expect(member, "absent 5000 p/1", "ALMADIA_PRECONDITION_FAILED")
        expect(member, "change 5000 -9", "ALMADIA_INVALID_ARGUMENT")


def level_of(member: Member) -> int:
    """Builds without levels are at level 0; their programs do not know the question."""
    answer = member.ask("level")
    if answer == "error unknown command: level":
        return 0
    word, number = answer.split()
    require(word == "level", f"{member}: {answer}")
    return int(number)


def lead_by_turns(cluster: Cluster):
    """Leaders of both builds take what members of both builds forward."""
    led = set()
    for _ in range(TRANSFERS_PER_STEP):
        leader = cluster.leader()
        led.add(leader)
        leader.result("transfer 5000")
        cluster.wait_for_writes(WRITES_BETWEEN_STEPS // TRANSFERS_PER_STEP)
    require(len(led) > 1, "the leadership has not moved")


def knows_who_is_missing(member: Member, earlier: list, level: int):
    """What the earlier build does not know is refused: conditions, or lists of members."""
    require(level_of(member) == level, f"{member} is at another level, and {earlier[0]} was not upgraded")
    new = "absent 5000 p/early" if level == 0 else "change 5000 +9=127.0.0.1:9"
    message = expect(member, new, "ALMADIA_UNSUPPORTED")
    names = [f"node {other.node} runs an earlier release" for other in earlier]
    require(any(name in message for name in names), f"{member} blames others: {message}")


def refuses_the_earlier_build(bench: Bench, member: Member):
    member.programs = bench.before
    code, message = error_of(member.try_start())
    require(code == "ALMADIA_INCOMPATIBLE_FORMAT", f"{member} of the earlier build: {code} {message}")
    says_so = "has format 3, this library reads 2" in message or "is at feature level" in message
    require(says_so, f"{member} of the earlier build does not say why: {message}")
    member.kill()
    member.programs = bench.programs


def expect(member: Member, command: str, code: str) -> str:
    got, _, message = member.result(command)
    require(got == code, f"{member}: {command}: {got} {message}")
    return message
