"""Members that get raft snapshots and are killed, or lose power, at a chosen step of taking one in.

Owns the steps, the cycles, and what is compared after each. What always holds: a member is away until no other has the
log that it needs, which is seen by the files of their logs and not by time; the others write all the while; the process
ends, or stands still, by a signal that it sends itself at the step (tests/shim/steps.c), so no cycle depends on who is
faster. At the end of a cycle the member has caught up, its `incoming/` is empty, and it shows what the others show.
"""

import filecmp
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bench import Bench, Failed, case, require
from cluster import Cluster, Member, wait_for
from crash_cases import summary
from powerloss import MODES, lose_power
from records import Records

SHORT_LOGS = {
    "log__segment_bytes": 64 << 10,
    "log__retain_bytes": 64 << 10,
    "log__behind_bytes": 256 << 10,
    "engine__memtable_bytes": 1 << 20,
}
# A cluster keeps all that was ever written, and all of it is compared after each cycle.
CYCLES_OF_A_CLUSTER = 6
# Of each of the two others.
WRITERS = 1
# One more kill before the member may go on, in every so manieth cycle.
AGAIN_EVERY = 3
# It only ends a hang. A leader gives up the help for a member that is silent after 12 seconds.
CATCH_UP_TIMEOUT_S = 120
END_TIMEOUT_S = 10

PLACE = "*/incoming/*-*-*"
STAGED = f"after-rename:{PLACE}/manifest,after-sync:{PLACE}"
RESET = f"{STAGED},after-sync:*/log/*.log"
LINKED = f"{RESET},after-link:*/data/*.sst"
UNLINKED = f"{LINKED},after-unlink:{PLACE}/*.link"
FLUSHING = f"{UNLINKED},before-open:*/data/*.sst"


class Step(NamedTuple):
    name: str
    steps: str  # for tests/shim/steps.c


ARRIVING = [
    Step("a place is made", f"after-mkdir:{PLACE}"),
    Step("a file of rows is made", f"after-open:{PLACE}/*.rows"),
    Step("rows are written", f"after-write:{PLACE}/*.rows"),
    Step("progress is on record", f"after-rename:{PLACE}/progress"),
    Step("before the manifest", f"before-rename:{PLACE}/manifest"),
    Step("the manifest has its name", f"after-rename:{PLACE}/manifest"),
    Step("the manifest is durable", STAGED),
]
INSTALLING = [
    Step("before the log's reset", f"{STAGED},before-write:*/log/*.log"),
    Step("the reset is written", f"{STAGED},after-write:*/log/*.log"),
    Step("the reset is durable", RESET),
    Step("the clear is in a table", f"{RESET},after-sync:*/data/*.sst"),
    Step("the clear is durable", f"{RESET},after-sync:*/data/*.sst,after-sync:*/data/MANIFEST-*"),
    Step("the files have other names", f"{RESET},after-link:{PLACE}/*.link"),
    Step("the engine has linked a file", LINKED),
    Step("before the links are on record", f"{LINKED},before-sync:*/data/MANIFEST-*"),
    Step("the links are on record", f"{LINKED},after-sync:*/data/MANIFEST-*"),
    Step("the other names are gone", UNLINKED),
    Step("before the rows' batch is flushed", FLUSHING),
    Step("the rows' batch is in a table", f"{FLUSHING},after-sync:*/data/*.sst"),
    Step("the rows' batch is flushed", f"{FLUSHING},after-sync:*/data/MANIFEST-*"),
    Step("before the manifest is removed", f"before-unlink:{PLACE}/manifest"),
    Step("the manifest is removed", f"after-unlink:{PLACE}/manifest"),
    Step("the place is removed", f"after-rmdir:{PLACE}"),
]
RESET_IS_DURABLE = next(step for step in INSTALLING if step.steps == RESET)
# Lines of the library's log, at which the process is killed from outside.
ANEW = "the log begins anew behind"
INSTALLED = "of a raft snapshot up to entry"
BEGUN = "begins to send a raft snapshot"
LINES = [Step("the log says that it begins anew", ANEW), Step("the log says that it is installed", INSTALLED)]


class Away:
    """The member that is away again and again, in a cluster of its own."""

    def __init__(self, bench: Bench, node: int, counts: Counter):
        self.bench = bench
        self.counts = counts
        self.cluster = Cluster(bench, **SHORT_LOGS)
        self.member = self.cluster.members[node - 1]
        self.others = [member for member in self.cluster.members if member is not self.member]
        self.log = self.member.root.parent / f"member-{node}.library"
        self.full = self.member.root.parent / "full"
        self.log_begin = 0
        for member in self.others:
            member.preload = {"CHAOS_LOG": str(member.root.parent / f"member-{member.node}.library")}
        preload = (bench.programs / "steps.so", bench.programs / "powerloss.so")
        self.member.preload = {
            "LD_PRELOAD": " ".join(str(path) for path in preload),
            "POWERLOSS_DIR": str(self.member.root),
            "POWERLOSS_UNDO": str(self.member.undo),
            "CHAOS_LOG": str(self.log),
        }

    def start(self):
        self.cluster.start()
        self.go_on()
        self.cluster.leader()

    def go_away(self):
        """Ends the member, and waits until no other has the log that it needs."""
        self.member.kill()
        heads = {member: max(segments(member)) for member in self.others}

        def are_gone():
            # What it needs first may be the first in the next file.
            return all(min(segments(member), default=0) > head + 1 for member, head in heads.items())

        wait_for(are_gone, f"the logs of the others to begin behind what {self.member} has", CATCH_UP_TIMEOUT_S)

    def launch(self, steps: str = "", then: str = "kill", full: bool = False):
        self.log_begin = self.log.stat().st_size if self.log.exists() else 0
        environment = {"STEPS": steps, "STEPS_THEN": then} if steps else {}
        if full:
            environment |= {"STEPS_FULL": "*/incoming/*", "STEPS_FULL_WHILE": str(self.full)}
        self.member.launch(environment)

    def said(self) -> str:
        """What the library's log has since the last start."""
        with open(self.log, "rb") as file:
            file.seek(self.log_begin)
            return file.read().decode(errors="replace")

    def wait_for_end(self, step: Step):
        """Waits until the process has ended itself at the step."""
        process = self.member.process
        wait_for(lambda: process.poll() is not None, f"{self.member} to reach: {step.name}", CATCH_UP_TIMEOUT_S)
        self.check_end(step)

    def check_end(self, step: Step):
        status = self.member.process.returncode
        require(status == -signal.SIGKILL, f"{self.member} ended with {status}: {self.member.errors()}")
        self.member.kill()
        self.counts[step.name] += 1

    def wait_until_stopped(self, step: Step):
        stat = f"/proc/{self.member.process.pid}/stat"

        def state():
            with open(stat) as file:
                return file.read().rsplit(")", 1)[1].split()[0]

        wait_for(lambda: state() in "TZ", f"{self.member} to stop at: {step.name}", CATCH_UP_TIMEOUT_S)
        require(self.member.is_alive(), f"{self.member} has ended: {self.member.errors()}")
        self.member.frozen = True
        self.counts[step.name] += 1

    def lose_power(self):
        mode, strict = self.bench.rng.choice(MODES), self.bench.rng.random() < 0.5
        lose_power(self.member.root, self.member.undo, mode, strict, self.bench.rng)
        self.counts["power lost"] += 1

    def is_back(self) -> bool:
        target = self.cluster.leader().status()["commit"]
        return self.member.status()["applied"] >= target and not self.staged()

    def staged(self) -> list:
        return os.listdir(self.member.directory / "incoming")

    def ends_before_it_is_back(self) -> bool:
        """Waits for one or the other: it may have gone on behind the step at which it would end."""
        try:
            self.wait_until_back()
            return False
        except Failed:
            # What has ended does not answer.
            try:
                self.member.process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
            if self.member.is_alive():
                raise
            return True

    def wait_until_open(self):
        answer = self.member.receive()
        require(answer == "ready", f"{self.member} did not start: {answer}; {self.member.errors()}")

    def wait_until_back(self):
        self.wait_until_open()
        self.wait_until_caught_up()

    def wait_until_caught_up(self):
        wait_for(self.is_back, f"{self.member} to catch up, and to remove what was staged", CATCH_UP_TIMEOUT_S)

    def come_back(self):
        """Starts it; notes whether it had to be sent a raft snapshot, and whether it began with one."""
        self.launch()
        self.wait_until_back()
        said = self.said()
        if INSTALLED in said.split(ANEW)[0]:
            self.counts["installed at the start"] += 1
        if BEGUN in said:
            self.counts["sent again"] += 1

    def check(self):
        """All members show the same: keys, values and versions."""
        self.cluster.pause()
        target = max(member.status()["commit"] for member in self.cluster.members)
        paths = []
        for member in self.cluster.members:
            path = self.shown_by(member)
            answer = member.ask(f"show {path} {target}", CATCH_UP_TIMEOUT_S)
            require(answer.startswith("dumped "), f"{member}: {answer}")
            poisoned = member.status()["poisoned"]
            require(poisoned == "ALMADIA_OK", f"{member} is poisoned: {poisoned}")
            paths.append(path)
        for path in paths[1:]:
            require(filecmp.cmp(paths[0], path, shallow=False), f"{paths[0]} and {path} differ")

    def shown_by(self, member: Member) -> Path:
        return member.root.parent / f"shown-{member.node}"

    def go_on(self):
        for member in self.others:
            member.write(WRITERS)

    def end(self):
        """After a check: every acknowledged write is there, and all else is as it was answered."""
        records = Records(self.cluster.records)
        require(records.count("A") > 0, "nothing was acknowledged")
        with open(self.shown_by(self.member)) as file:
            shown = dict(line.split()[:2] for line in file)
        records.check(shown, "after the last cycle, all members")
        # One that it does not need any more may have arrived just now.
        wait_for(lambda: not self.staged(), f"{self.member} to remove what was staged", CATCH_UP_TIMEOUT_S)
        for member in self.cluster.members:
            member.kill()


def segments(member: Member) -> list:
    """The numbers of the files of its log."""
    names = os.listdir(member.directory / "log")
    return [int(name.removesuffix(".log"), 16) for name in names if name.endswith(".log")]


@case
def a_member_that_dies_at_any_step_of_a_raft_snapshot_has_all_of_it_later(bench: Bench):
    cycles = plan(bench)
    counts = Counter()
    writes = []
    for begin in range(0, len(cycles), CYCLES_OF_A_CLUSTER):
        away = Away(bench, 1 + begin // CYCLES_OF_A_CLUSTER % 3, counts)
        away.start()
        for number, (cycle, step) in enumerate(cycles[begin : begin + CYCLES_OF_A_CLUSTER], begin):
            away.go_away()
            cycle(away, step, number)
            away.check()
            counts["cycles"] += 1
            away.go_on()
        away.check()
        away.end()
        writes.append(summary(away.cluster))
    require(counts["sent again"] > 0, f"no raft snapshot was sent again: {counts}")
    require(counts["installed at the start"] > 0, f"none was installed when a member started: {counts}")
    bench.note("; ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
    bench.note("; ".join(writes))


def plan(bench: Bench) -> list:
    """As many cycles as were asked for: in each turn all steps, and all else that happens to a member."""
    cycles = []
    steps = ARRIVING + INSTALLING
    for turn in range(bench.cycles):
        ways = (killed, without_power) if turn % 2 == 0 else (without_power, killed)
        some = [(ways[number % 2], step) for number, step in enumerate(steps)]
        some += [(killed_at_line, step) for step in LINES]
        some += [(with_full_disk, ARRIVING[number]) for number in (0, 1, 3)]
        some.append((without_its_leader, steps[turn * 5 % len(steps)]))
        bench.rng.shuffle(some)
        cycles += [(left_behind_again, RESET_IS_DURABLE), *some]
        if len(cycles) >= bench.cycles:
            break
    return cycles[: bench.cycles]


def killed(away: Away, step: Step, number: int):
    away.launch(step.steps)
    away.wait_for_end(step)
    die_again(away, number, lambda: None)
    away.come_back()


def left_behind_again(away: Away, step: Step, _: int):
    """When it starts, no other has the log that follows on the raft snapshot that it is to install."""
    away.launch(step.steps)
    away.wait_for_end(step)
    # The next leader keeps no log for it.
    away.cluster.leader().result("transfer 5000")
    away.go_away()
    away.counts["left behind again"] += 1
    away.come_back()


def without_power(away: Away, step: Step, number: int):
    away.launch(step.steps)
    away.wait_for_end(step)
    away.lose_power()
    die_again(away, number, away.lose_power)
    away.come_back()


def die_again(away: Away, number: int, then):
    """Kills the member once more, on the rest of its way; it may have gone on behind the step, and catch up."""
    if number % AGAIN_EVERY:
        return
    step = away.bench.rng.choice(ARRIVING + INSTALLING)
    away.launch(step.steps)
    if away.ends_before_it_is_back():
        away.check_end(step)
        away.counts["died again"] += 1
        then()
    else:
        away.member.kill()


def killed_at_line(away: Away, step: Step, _: int):
    away.launch()
    wait_for(lambda: step.steps in away.said(), f"the log to say '{step.steps}'", CATCH_UP_TIMEOUT_S)
    away.member.kill()
    away.counts[step.name] += 1
    away.come_back()


def with_full_disk(away: Away, step: Step, _: int):
    """The member's disk is full while it stages; it lives, and goes on when there is space."""
    hit = away.full.with_name(away.full.name + ".hit")
    hit.unlink(missing_ok=True)
    away.launch(step.steps, "stop", full=True)
    away.wait_until_stopped(step)
    away.full.touch()
    away.member.thaw()
    wait_for(hit.exists, f"{away.member} to find its disk full", CATCH_UP_TIMEOUT_S)
    away.full.unlink()
    away.counts["full disks"] += 1
    away.wait_until_back()


def without_its_leader(away: Away, step: Step, _: int):
    """The leader dies while the member is at the step."""
    away.launch(step.steps, "stop")
    away.wait_until_stopped(step)
    leader = away.cluster.leader()
    leader.kill()
    away.member.thaw()
    away.counts["leaders killed"] += 1
    away.wait_until_open()
    away.cluster.leader()
    leader.start()
    leader.write(WRITERS)
    away.wait_until_caught_up()
