"""Members that are added, removed and replaced while all members write, and some are killed.

Owns the rounds, and what is compared at their end. What always holds: a number and an address are used once; a member whose
disk is lost never comes back; a change is waited for, and after it no member that it removed is needed. At the end every
acknowledged write is on every member, also those of members that are gone.
"""

import shutil
from collections import Counter

from bench import Bench, case, require
from cluster import Cluster, Member, reserve_ports, wait_for
from crash_cases import check_every_member, summary
from records import Records

VOTERS_MIN = 3
VOTERS_MAX = 5
WRITES_BETWEEN_ROUNDS = 150
CHANGE_TIMEOUT_MS = 120_000
CHANGE_TIMEOUT_S = CHANGE_TIMEOUT_MS / 1000 + 10
# In every so manieth round a member is killed while the members change, and comes back.
KILL_EVERY = 3
# It has the time in between for several elections.
REOPENED_EVERY = 4
# Not so many that a cluster that grows with each round is compared for long.
ROUNDS_OF_A_CLUSTER = 10
SHORT_LOGS = {"log__behind_bytes": 256 << 10, "log__retain_bytes": 64 << 10, "log__segment_bytes": 64 << 10}


@case
def members_added_removed_and_replaced_under_load_lose_nothing_acknowledged(bench: Bench):
    counts = Counter()
    for first in range(0, bench.cycles, ROUNDS_OF_A_CLUSTER):
        cluster = Growing(bench, counts)
        for number in range(first, min(first + ROUNDS_OF_A_CLUSTER, bench.cycles)):
            cluster.round(number)
        require(Records(cluster.records).count("A") > 0, "nothing was acknowledged")
        check_every_member(cluster, f"after {dict(counts)}")
    bench.note(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    bench.note(summary(cluster))


@case
def a_removed_member_at_the_door_disturbs_nobody(bench: Bench):
    """It is there, calls and is refused, for as long as others elect and write; it never asks for a vote in a new term.

    On a busy machine the members themselves may elect another leader meanwhile: whoever makes a new term has it first.
    """
    cluster = Growing(bench, Counter())
    gone = next(member for member in cluster.members if member is not cluster.leader())
    cluster.change("removed", gone=[gone], ends=False)
    wait_for(lambda: gone.result("put 1000")[0] == "ALMADIA_REMOVED", f"{gone} to learn that it was removed")
    before = gone.status()["term"]
    for cycle in range(bench.cycles):
        cluster.wait_for_writes(WRITES_BETWEEN_ROUNDS)
        if cycle % REOPENED_EVERY == 0:
            gone.kill()
            answer = gone.try_start()
            require(answer == "ready", f"{gone} keeps its files, and opens them: {answer}")
            wait_for(lambda: gone.result("put 1000")[0] == "ALMADIA_REMOVED", f"{gone} to learn it again")
        after = gone.status()["term"]
        require(after == before, f"{gone}, which was removed, came from term {before} to {after}")
    bench.note(f"the members are in term {cluster.leader().status()['term']}, and it is in {before}")
    gone.kill()
    check_every_member(cluster, "after a removed member was at the door")
    bench.note(f"{bench.cycles} cycles; {summary(cluster)}")


class Growing(Cluster):
    """A cluster that begins with one member, to which two are added."""

    def __init__(self, bench: Bench, counts: Counter):
        super().__init__(bench, count=1, **SHORT_LOGS)
        self.counts = counts
        self.highest = 1
        self.members[0].options = [f"transport.announce={address_of(self.ports[0])}"]
        self.members[0].joins = True
        self.start()
        self.members[0].write()
        self.change("grown", come=2)

    def round(self, number: int):
        self.wait_for_writes(WRITES_BETWEEN_ROUNDS)
        voters = len(self.members)
        choices = ["replaced", "lost"]
        choices += ["added"] * (voters < VOTERS_MAX) + ["removed"] * (voters > VOTERS_MIN)
        what = self.bench.rng.choice(choices)
        going = [] if what == "added" else [self.bench.rng.choice(self.members)]
        come = 0 if what == "removed" else 1
        if what == "lost":
            lose(going[0])
        others = [member for member in self.members if member not in going]
        # Of three, one of which is lost, both others are needed.
        may_kill = number % KILL_EVERY == 0 and not (what == "lost" and voters == VOTERS_MIN)
        victim = self.bench.rng.choice(others) if may_kill else None
        asked = self.bench.rng.choice([member for member in others if member is not victim])
        self.change(what, come, going, asked, victim)

    def change(self, what: str, come: int = 0, gone=(), asked: Member | None = None, victim: Member | None = None,
               ends: bool = True):
        """Changes the members; `victim` is killed meanwhile, and comes back."""
        asked = asked or self.leader()
        newcomers = [self.newcomer() for _ in range(come)]
        words = [f"+{member.node}={member.address}" for member in newcomers] + [f"-{member.node}" for member in gone]
        asked.send(f"change {CHANGE_TIMEOUT_MS} {' '.join(words)}")
        for member in newcomers:
            member.launch()
        if victim is not None:
            victim.kill()
            self.counts["killed"] += 1
            victim.start()
            victim.write()
        for member in newcomers:
            answer = member.receive(CHANGE_TIMEOUT_S)
            require(answer == "ready", f"{member} did not start: {answer}; {member.errors()}")
            code, _, message = member.result(f"ready {CHANGE_TIMEOUT_MS}", CHANGE_TIMEOUT_S)
            require(code == "ALMADIA_OK", f"{member} has no data: {code} {message}")
            member.write()
        word, code, _, message = asked.receive(CHANGE_TIMEOUT_S).split(" ", 3)
        require((word, code) == ("result", "ALMADIA_OK"), f"{what}, asked {asked}: {code} {message}")
        self.counts[what] += 1
        self.members += newcomers
        self.leave(gone, ends)
        self.check_list(asked if asked in self.members else self.members[0])

    def newcomer(self) -> Member:
        self.highest += 1
        (bound,) = reserve_ports(1)
        self.reserved.append(bound)
        member = Member(self.bench, self, self.highest)
        member.address = address_of(bound.getsockname()[1])
        member.joins = True
        joined = ",".join(other.address for other in self.members if other.is_alive()) or self.members[0].address
        member.options = [f"transport.announce={member.address}", f"cluster.join={joined}"]
        return member

    def start(self):
        self.members[0].address = address_of(self.ports[0])
        super().start()

    def leave(self, gone, ends: bool):
        """Members that were removed end at once, unless they are to stay: nobody needs them any more."""
        for member in gone:
            self.members.remove(member)
            if not ends:
                continue
            if member.is_alive() and self.bench.rng.random() < 0.5:
                require(member.ask("pause") == "paused", f"{member} did not pause")
            member.kill()

    def check_list(self, asked: Member):
        words = asked.ask("members").split(" ", 2)
        require(words[0] == "members", f"{asked}: {words}")
        expected = ",".join(str(member.node) for member in sorted(self.members, key=lambda member: member.node))
        require(words[1] == expected, f"{asked} lists {words[1]}, and the members are {expected}")


def lose(member: Member):
    """A member and its disk are gone."""
    member.kill()
    shutil.rmtree(member.root)


def address_of(port: int) -> str:
    return f"127.0.0.1:{port}"
