"""Crashes under load: every acknowledged write is on every member, and every answer was correct."""

import os

from bench import Bench, case, require
from cluster import Cluster, Member
from powerloss import MODES, lose_power
from records import Records

WRITES_BETWEEN_KILLS = 400
WRITES_BETWEEN_POWER_LOSSES_MAX = 2000
CHANGES_OF_LEADER = 200
WRITES_BETWEEN_CHANGES = 100
KILL_EVERY = 4


@case
def members_killed_under_load_lose_nothing_acknowledged(bench: Bench):
    cluster = Cluster(bench)
    cluster.start()
    cluster.write()
    leaders_killed = 0
    for cycle in range(bench.cycles):
        cluster.wait_for_writes(WRITES_BETWEEN_KILLS)
        leader = cluster.leader()
        victim = leader if bench.rng.random() < 0.5 else bench.rng.choice(cluster.members)
        leaders_killed += victim is leader
        victim.kill()
        cluster.wait_for_writes(WRITES_BETWEEN_KILLS)
        victim.start()
        cluster.wait_until_caught_up(victim)
        victim.write()
    require(bench.cycles < 10 or leaders_killed > 0, "no leader was killed")
    check_every_member(cluster, f"after {bench.cycles} kills")
    require(Records(cluster.records).count("U") == 0, f"writes are unknown to members that live: {summary(cluster)}")
    bench.note(f"{bench.cycles} kills, {leaders_killed} of a leader; {summary(cluster)}")


@case
def leaders_come_and_go_and_no_write_is_unknown(bench: Bench):
    """A write is applied exactly once while its member lives, whoever leads: no caller needs to retry."""
    cluster = Cluster(bench)
    cluster.start()
    cluster.write()
    changes = {"kills": 0, "transfers": 0}
    for change in range(CHANGES_OF_LEADER):
        cluster.wait_for_writes(WRITES_BETWEEN_CHANGES)
        leader = cluster.leader()
        if change % KILL_EVERY == 0:
            leader.kill()
            cluster.wait_for_writes(WRITES_BETWEEN_CHANGES)
            leader.start()
            cluster.wait_until_caught_up(leader)
            leader.write()
            changes["kills"] += 1
        else:
            code, _, message = leader.result("transfer 5000")
            changes["transfers"] += code == "ALMADIA_OK"
    cluster.pause()
    records = Records(cluster.records)
    require(records.count("U") == 0, f"writes are unknown to members that live: {summary(cluster)}")
    require(changes["transfers"] > CHANGES_OF_LEADER // 2, f"hardly any transfer succeeded: {changes}")
    check_every_member(cluster, f"after {changes}")
    bench.note(f"{changes['kills']} kills and {changes['transfers']} transfers of leaders; {summary(cluster)}")


@case
def power_lost_on_all_members_at_once_loses_nothing_acknowledged(bench: Bench):
    cluster = Cluster(bench, shim=True)
    lost = {"writes": 0, "files": 0, "entries": 0}
    for cycle in range(bench.cycles):
        mode, strict = MODES[cycle % len(MODES)], cycle % 2 == 0
        cluster.start()
        first_run = cluster.runs - len(cluster.members) + 1
        cluster.leader()
        if cycle > 0:
            check_last_runs(cluster, first_run - len(cluster.members), f"cycle {cycle - 1}")
        cluster.write()
        cluster.wait_for_writes(bench.rng.randrange(WRITES_BETWEEN_POWER_LOSSES_MAX))
        for name, count in cut_power(bench, cluster, mode, strict).items():
            lost[name] += count
    cluster.shim = False
    cluster.start()
    check_every_member(cluster, f"after {bench.cycles} power losses")
    require(lost["writes"] >= bench.cycles, f"the shim had hardly anything to lose: {lost}")
    bench.note(f"{bench.cycles} power losses; {lost['writes']} writes, {lost['entries']} entries lost; {summary(cluster)}")


@case
def members_start_after_power_loss_during_their_first_start(bench: Bench):
    """The first start creates directories and files; it must be possible to start over after a crash at any point."""
    for attempt in range(max(3, bench.cycles // 3)):
        cluster = Cluster(bench, count=1, shim=True)
        member = cluster.members[0]
        member.launch()
        wait_for_notes(member, bench.rng.randrange(1, 40))
        member.kill()
        lose_power(member.root, member.undo, MODES[attempt % 3], True, bench.rng)
        member.start()
        code, _, message = member.result("put 5000")
        require(code == "ALMADIA_OK", f"attempt {attempt}: {code} {message}")
        member.kill()


def wait_for_notes(member: Member, count: int):
    """Waits until the shim has recorded changes of `count` files and directories, or the member is open."""
    while len(os.listdir(member.undo)) < count and not member.has_answered():
        pass


def cut_power(bench: Bench, cluster: Cluster, mode: str, strict: bool) -> dict:
    for member in cluster.members:
        member.process.kill()
    for member in cluster.members:
        member.kill()
    total = {}
    for member in cluster.members:
        for name, count in lose_power(member.root, member.undo, mode, strict, bench.rng).items():
            total[name] = total.get(name, 0) + count
    return total


def check_last_runs(cluster: Cluster, first_run: int, where: str):
    """Checks only the runs of the last cycle, on one member, so that a failing cycle is found immediately."""
    runs = range(first_run, first_run + len(cluster.members))
    member = cluster.bench.rng.choice(cluster.members)
    shown = {}
    for run in runs:
        for kind in "kdr":
            shown |= cluster.dump(member, f"{kind}/{run:03}/")
    Records(cluster.records).check(shown, f"{where}, {member}", runs)


def check_every_member(cluster: Cluster, where: str):
    cluster.pause()
    records = Records(cluster.records)
    require(records.count("A") > 0, "nothing was acknowledged")
    for member in cluster.members:
        records.check(cluster.dump(member), f"{where}, {member}")
    for member in cluster.members:
        member.stop()


def summary(cluster: Cluster) -> str:
    records = Records(cluster.records)
    names = (("A", "applied"), ("N", "refused"), ("U", "unknown"), ("B", "unanswered"))
    codes = ", ".join(f"{count} {code}" for code, count in sorted(records.codes_of_unknown.items()))
    return ", ".join(f"{records.count(outcome)} {name}" for outcome, name in names) + (f" ({codes})" if codes else "")
