#!/usr/bin/env python3
"""Three processes, one key-value store, a leader that is killed: `make demo`.

    demo.py MEMBER PYTHON    where MEMBER is the program built from examples/c/member.c, and PYTHON an interpreter that
                             has the package almadia

Loads every file of this machine's Python standard library (path -> content) into a cluster of three processes on
loopback, through the leader and a follower at once; kills the leader with SIGKILL half-way, continues with the two that
are left, restarts the killed one, compares every key and the SHA-256 of every value on each of the three with the
files, and reads on the leader and on a follower. Then two of the members are stopped and their directories opened by
Python programs, one blocking and one with asyncio: each writes a part of the files again and compares everything.

At last all three members, a C program and two in Python, count in one counter and take tasks from one queue, and each
time the leader is killed half-way; then they do it again while leadership moves all the time. No increment may be lost
or counted twice, and no task be left or done twice.

Then a second cluster begins with one member that has half of the files, grows to three while the rest is written, loses one
of them with its disk for good, and gets another in its place, again while files are written. Its three members are compared
with the files.

Exits with 1 when anything differs. Leaves no process running and no file behind.

The members do the work; this program only chooses which member to use. Any will do: followers forward writes, and all
wait for a new leader by themselves.
"""

import argparse
import hashlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

VALUE_BYTES_MAX = 4 << 20  # a longer file (some Python builds have one of 45 MB) is stored in parts
STEP_TIMEOUT_S = 60  # longer than any step takes on a healthy machine
READING_MS = 1000
INCREMENTS = 300
TASKS = 150
BAR_WIDTH = 40
# Written while this program runs, or not part of the library.
SKIPPED_DIRECTORIES = {"__pycache__", "site-packages", "dist-packages"}


class Item(NamedTuple):
    """One pair to store: the value is `bytes` bytes of `file` from `offset`."""

    key: bytes
    file: str
    offset: int
    bytes: int
    sha256: str


class DemoFailed(Exception):
    """The text says what failed."""


class Member:
    """One process of the cluster. A thread reads its answers into the queue shared by all members."""

    def __init__(self, node: int, command: list, arguments: list, answers: queue.Queue, log: Path):
        self.node = node
        self.command = command
        self.arguments = arguments  # the arguments of every program of this member
        self.answers = answers
        self.log = log
        self.process = None

    def start(self):
        with open(self.log, "ab") as errors:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=errors)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process):
        for line in process.stdout:
            self.answers.put((self, line.decode().split()))
        self.answers.put((self, ["ended"]))

    def send(self, command: str):
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise DemoFailed(f"member {self.node} has ended: {self.log.read_text(errors='replace')}") from None

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Cluster:
    """Three members and the queue of their answers."""

    def __init__(self, program: str, items_path: Path, directory: Path, options: list):
        self.answers = queue.Queue()
        self.reserved = reserve_ports(3)
        ports = [bound.getsockname()[1] for bound in self.reserved]
        addresses = ",".join(f"{node}=127.0.0.1:{port}" for node, port in enumerate(ports, 1))
        self.members = []
        for node in (1, 2, 3):
            arguments = [directory / f"member-{node}", str(node), addresses, items_path]
            command = [program, *arguments, *options]
            self.members.append(Member(node, command, arguments, self.answers, directory / f"member-{node}.log"))

    def start(self):
        for member in self.members:
            member.start()
            self.expect(member, "ready")  # opening does not wait for other members

    def kill(self):
        for member in self.members:
            member.kill()

    def next(self, seconds: float = STEP_TIMEOUT_S):
        try:
            member, words = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise DemoFailed(f"no member answered for {seconds} seconds") from None
        if words[0] == "error":
            raise DemoFailed(f"member {member.node}: {' '.join(words[1:])}")
        return member, words

    def expect(self, member: Member, word: str) -> list:
        """The answer of `member` that begins with `word`; for use while nothing else is in progress.

        A load may still report that it ended, and a restarted member that it is ready. Any other answer would be lost
        here.
        """
        while True:
            speaker, words = self.next()
            if speaker is member and words[0] == word:
                return words[1:]
            refuse_end(speaker, words)
            if words[0] not in ("loaded", "ready"):
                answer = " ".join(words)
                raise DemoFailed(f"member {speaker.node} answered {answer}; expected {word} from {member.node}")

    def status(self, member: Member) -> dict:
        member.send("status")
        role, leader, term, commit, applied, poisoned = self.expect(member, "status")
        return {"role": role, "term": int(term), "commit": int(commit), "applied": int(applied)}

    def highest_term(self) -> int:
        return max(self.status(member)["term"] for member in self.members)

    def find_leader(self, among: list) -> Member:
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline:
            reports = [(self.status(member), member) for member in among]
            leaders = [(status["term"], member) for status, member in reports if status["role"] == "leader"]
            if leaders:
                return max(leaders, key=lambda pair: pair[0])[1]
            time.sleep(0.01)
        raise DemoFailed(f"no leader was elected in {STEP_TIMEOUT_S} seconds")


def refuse_end(member: Member, words: list):
    if words[0] == "ended":
        raise DemoFailed(f"member {member.node} ended: {member.log.read_text(errors='replace')}")


class Load:
    """The items still to be written, the members they were assigned to, and the times of acknowledgements.

    Times are of the clock that all processes of a machine share.
    """

    def __init__(self, items: list):
        self.items = items
        self.unassigned = set(range(len(items)))
        self.assigned = {}  # member -> its items without an answer
        self.latencies_us = []
        self.acknowledged_at_us = []
        self.bytes = 0
        self.failed = {"not-applied": 0, "unknown": 0}
        self.progress = Progress(len(items))

    def assign(self, members: list):
        """Assigns equal parts of the unassigned items to these members, which are idle."""
        unassigned = sorted(self.unassigned)
        for at, member in enumerate(members):
            part = unassigned[at :: len(members)]
            self.assigned[member] = set(part)
            if part:
                member.send("load " + ranges(part))
        self.unassigned.clear()

    def record(self, member: Member, words: list):
        """Records an answer of a loading member."""
        if words[0] == "ok":
            self.acknowledge(member, *(int(word) for word in words[1:]))
        elif words[0] == "failed":
            # It is not retried: while its member lives a put is applied, through every change of leader.
            self.failed[words[2]] += 1
            self.progress.interrupt()
            raise DemoFailed(f"member {member.node} answered a put with {words[3]} ({words[2]})")
        elif words[0] == "loaded":
            self.assign([member])

    def acknowledge(self, member: Member, number: int, latency_us: int, at_us: int):
        self.assigned[member].remove(number)
        self.latencies_us.append(latency_us)
        self.acknowledged_at_us.append(at_us)
        self.bytes += self.items[number].bytes
        self.progress.show(self.done())

    def lose(self, member: Member):
        """What a killed member has not acknowledged may or may not be there: it must be written again."""
        self.unassigned |= self.assigned.pop(member)

    def done(self) -> int:
        return len(self.latencies_us)

    def longest_pause_ms(self, since_us: float) -> float:
        """The longest time between two acknowledgements that ended after `since_us`."""
        times = sorted(self.acknowledged_at_us)
        return max(later - earlier for earlier, later in zip(times, times[1:]) if later > since_us) / 1000


class Progress:
    """A bar on a terminal, otherwise a line for every tenth."""

    def __init__(self, total: int):
        self.total = total
        self.shown = 0
        self.steps = 100 if sys.stdout.isatty() else 10

    def show(self, done: int):
        step = self.steps * done // self.total
        if step == self.shown:
            return
        self.shown = step
        text = f"{done} of {self.total} writes acknowledged"
        if sys.stdout.isatty():
            filled = BAR_WIDTH * done // self.total
            end = "\n" if done == self.total else ""
            print(f"\r\033[K[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {text}", end=end, flush=True)
        else:
            print(f"  {text}", flush=True)

    def interrupt(self):
        if sys.stdout.isatty():
            print()


def main() -> int:
    arguments = parse_arguments()
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, frame: sys.exit(128 + number))
    directory = Path(tempfile.mkdtemp(prefix="almadia-demo-"))
    cluster = None
    try:
        items = collect_items()
        write_list(directory / "items", items)
        cluster = Cluster(arguments.member, directory / "items", directory, arguments.options)
        return run(cluster, items, arguments.python)
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    finally:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)  # nothing may interrupt the clean-up
        if cluster is not None:
            cluster.kill()
        shutil.rmtree(directory)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("member", help="the program built from examples/c/member.c")
    parser.add_argument("python", help="an interpreter that has the package almadia")
    parser.add_argument("options", nargs="*", help="further options of every member, as name=value")
    return parser.parse_args()


def run(cluster: Cluster, items: list, python: str) -> int:
    total_bytes = sum(item.bytes for item in items)
    print(f"Python {sys.version.split()[0]}'s standard library: {len(items)} values, {megabytes(total_bytes)}")
    cluster.start()
    leader = cluster.find_leader(cluster.members)
    second, third = (member for member in cluster.members if member is not leader)
    print(f"three members run, member {leader.node} leads; members {leader.node} and {second.node} load")

    load = Load(items)
    load.assign([leader, second])
    follow(cluster, load, lambda *_: load.done() >= len(items) // 2)
    gap_ms = fail_over(cluster, load, leader, third)
    leader.start()
    print(f"member {leader.node} is restarted")
    follow(cluster, load, lambda *_: load.done() == len(items))
    print_failed(load)
    catch_up_s = wait_until_caught_up(cluster, leader)
    print(f"member {leader.node} has caught up")

    snapshots_ms = [verify(cluster, member, len(items)) for member in cluster.members]
    reads = read(cluster)
    python_rates = hand_over_to_python(cluster, python, items)
    snapshots_ms += [verify(cluster, member, len(items)) for member in cluster.members]
    count_together(cluster, 0, "")
    take_tasks_together(cluster, 0, "")
    terms = cluster.highest_term()
    count_together(cluster, INCREMENTS, " moving")
    take_tasks_together(cluster, TASKS, " moving")
    print(f"the last two while leadership moved from member to member, {cluster.highest_term() - terms} times")
    check_tallies(cluster, 2 * INCREMENTS, 2 * TASKS)
    stop(cluster.members, cluster)
    snapshots_ms += grow_and_replace(cluster, items)
    print_table(load, gap_ms, catch_up_s, snapshots_ms, reads, python_rates)
    return 0 if None not in snapshots_ms else 1


def follow(cluster: Cluster, load: Load, is_over):
    """Follows a load until `is_over(member, words)` is true for a recorded answer."""
    while True:
        member, words = cluster.next()
        refuse_end(member, words)
        load.record(member, words)
        if is_over(member, words):
            return


def fail_over(cluster: Cluster, load: Load, leader: Member, third: Member) -> float:
    """Kills the leader and lets the third member, which was idle, take over its part of the load.

    Returns the milliseconds without an acknowledgement.
    """
    killed_at_us = time.monotonic() * 1e6
    leader.kill()
    while True:  # answers it gave before it was killed count
        member, words = cluster.next()
        if member is leader and words[0] == "ended":
            break
        refuse_end(member, words)
        load.record(member, words)
    load.lose(leader)
    load.progress.interrupt()
    print(f"member {leader.node}, the leader, was killed (SIGKILL) after {load.done()} writes; "
          f"member {third.node} takes over its part")
    load.assign([third])
    # Nothing of the third member was sent to the old leader.
    follow(cluster, load, lambda member, words: member is third and words[0] == "ok")
    gap_ms = load.longest_pause_ms(killed_at_us)
    load.progress.interrupt()
    print(f"writes continue; there were none for {gap_ms:.0f} ms")
    return gap_ms


def print_failed(load: Load):
    unknown, not_applied = load.failed["unknown"], load.failed["not-applied"]
    print(f"answers of category 4, outcome unknown: {unknown}; not applied: {not_applied}; no client retried anything")


def wait_until_caught_up(cluster: Cluster, member: Member) -> float:
    started = time.monotonic()
    leader = cluster.find_leader(cluster.members)
    target = cluster.status(leader)["commit"]
    while cluster.status(member)["applied"] < target:
        if time.monotonic() - started > STEP_TIMEOUT_S:
            raise DemoFailed(f"member {member.node} did not catch up in {STEP_TIMEOUT_S} seconds")
        time.sleep(0.01)
    return time.monotonic() - started


def verify(cluster: Cluster, member: Member, expected: int):
    """Compares everything on one member; returns how long its snapshot took, or None when anything differs."""
    member.send("verify")
    identical, missing, different, extra, snapshot_us, _ = (int(word) for word in cluster.expect(member, "verified"))
    problems = [f"{n} {what}" for n, what in ((missing, "missing"), (different, "different"), (extra, "extra")) if n]
    print(f"member {member.node}: {identical} of {expected} identical" + "".join(f", {text}" for text in problems))
    return None if problems or identical != expected else snapshot_us / 1000


def read(cluster: Cluster) -> list:
    """Linearizable gets per second, on the leader and on a follower."""
    leader = cluster.find_leader(cluster.members)
    follower = next(member for member in cluster.members if member is not leader)
    rates = []
    for member in (leader, follower):
        member.send(f"read {READING_MS}")
        count, took_us = (int(word) for word in cluster.expect(member, "read"))
        rates.append(count / took_us * 1e6)
    return rates


def hand_over_to_python(cluster: Cluster, python: str, items: list) -> list:
    """Replaces two members with Python programs, and has each write a part of the files again.

    Returns their writes per second.
    """
    programs = [("blocking", "demo_member.py"), ("asyncio", "demo_member_aio.py")]
    places = cluster.members[:2]
    stop(places, cluster)
    for member, (kind, program) in zip(places, programs):
        member.command = [python, Path(__file__).parent / "python" / program, *member.arguments]
        member.start()
        cluster.expect(member, "ready")
        print(f"member {member.node} is now a Python program, {kind}")
    part = len(items) // 4
    rates = []
    for at, member in enumerate(places):
        member.send(f"load {at * part}-{(at + 1) * part - 1}")
        rates.append(follow_python(cluster, member, part))
    return rates


def count_together(cluster: Cluster, first: int, moving: str):
    """All members count, one is killed meanwhile, and a survivor counts the numbers of the killed one again.

    Again, because nobody knows which of them it has counted: that has no effect the second time.
    """
    part = INCREMENTS // len(cluster.members)
    begins = [first + at * part for at in range(len(cluster.members))]
    ranges = {member: f"{begin}-{begin + part - 1}" for member, begin in zip(cluster.members, begins)}
    work = Work(cluster, "increments", "counted", INCREMENTS)
    killed = work.through_a_kill({member: f"count {numbers}{moving}" for member, numbers in ranges.items()})
    other = next(member for member in cluster.members if member is not killed)
    other.send(f"count {ranges[killed]}{moving}")
    work.follow([other])
    if len(work.done) != INCREMENTS:
        raise DemoFailed(f"{len(work.done)} of {INCREMENTS} increments were acknowledged")
    work.restart(killed)


def take_tasks_together(cluster: Cluster, first: int, moving: str):
    """All members take tasks until none is left, and one is killed meanwhile."""
    planner = cluster.members[-1]  # the C program
    planner.send(f"plan {first}-{first + TASKS - 1}")
    cluster.expect(planner, "planned")
    work = Work(cluster, "tasks", "took", TASKS)
    killed = work.through_a_kill({member: f"work{moving}" for member in cluster.members})
    work.restart(killed)
    shares = Counter(work.done.values())
    print("tasks: " + ", ".join(f"{shares[member.node]} by member {member.node}" for member in cluster.members))


class Work:
    """What members have done of something that each may do, and none twice."""

    def __init__(self, cluster: Cluster, what: str, word: str, total: int):
        self.cluster = cluster
        self.what = what
        self.word = word  # begins the answer that says that one was done
        self.total = total
        self.done = {}  # what -> the node that has done it

    def through_a_kill(self, commands: dict) -> Member:
        """Sends the members their commands, kills the leader after a third, and follows the others to their end."""
        leader = self.cluster.find_leader(self.cluster.members)
        for member, command in commands.items():
            member.send(command)
        while len(self.done) < self.total // 3:
            self.record(*self.cluster.next())
        leader.kill()
        who = f"member {leader.node}" + ("" if "moving" in " ".join(commands.values()) else ", the leader,")
        print(f"{who} was killed (SIGKILL) after {len(self.done)} {self.what}")
        self.follow([member for member in commands if member is not leader])
        return leader

    def follow(self, members: list):
        """Until each of them says that it has ended."""
        busy = list(members)
        while busy:
            speaker, words = self.cluster.next()
            if words in (["counting", "ended"], ["working", "ended"]) and speaker in busy:
                busy.remove(speaker)
            elif speaker in busy:
                refuse_end(speaker, words)
            self.record(speaker, words)

    def record(self, speaker: Member, words: list):
        if words[0] == self.word and self.done.setdefault(words[1], speaker.node) != speaker.node:
            if self.word == "took":
                raise DemoFailed(f"task {words[1]} was taken twice")

    def restart(self, killed: Member):
        killed.start()
        while self.cluster.next()[1] != ["ready"]:
            pass  # the end of the process that was killed


def check_tallies(cluster: Cluster, increments: int, tasks: int):
    """Compares the counter and the queue on every member with what was asked for."""
    for member in cluster.members:
        member.send("tally")
        count, counted, todo, done = (int(word) for word in cluster.expect(member, "tally"))
        if (count, counted) != (increments, increments):
            raise DemoFailed(f"member {member.node} counted to {count} for {counted} of {increments} increments")
        if (todo, done) != (0, tasks):
            raise DemoFailed(f"on member {member.node} {todo} tasks are left and {done} of {tasks} are done")
        print(f"member {member.node}: {count} of {increments} increments, {done} of {tasks} tasks, "
              "nothing lost or done twice")


class Grown(Cluster):
    """A cluster that begins with one member; others are added to it."""

    def __init__(self, first: Cluster):
        self.answers = queue.Queue()
        self.reserved = reserve_ports(4)
        self.addresses = [f"127.0.0.1:{bound.getsockname()[1]}" for bound in self.reserved]
        self.program, *_ = first.members[-1].command
        self.directory = first.members[-1].log.parent / "grown"
        self.directory.mkdir()
        *_, self.items_path = first.members[-1].arguments
        self.members = [self.member(1, [])]

    def member(self, node: int, options: list) -> Member:
        """A member that founds the cluster, or joins the first one."""
        arguments = [self.directory / f"member-{node}", str(node), "", self.items_path]
        options = [f"transport.announce={self.addresses[node - 1]}", *options]
        log = self.directory / f"member-{node}.log"
        return Member(node, [self.program, *arguments, *options], arguments, self.answers, log)

    def change(self, come: list, gone: list = ()):
        """Asks the first member for a change, and starts those who come."""
        words = [f"+{node}={self.addresses[node - 1]}" for node in come] + [f"-{node}" for node in gone]
        self.members[0].send("change " + " ".join(words))
        for node in come:
            newcomer = self.member(node, [f"cluster.join={self.addresses[0]}"])
            self.members.append(newcomer)
            newcomer.start()

    def await_change_and_load(self, loading: Member):
        """Until the change is followed by every region, and `loading` has written its part."""
        awaited = {(self.members[0], "changed"), (loading, "loaded")}
        while awaited:
            member, words = self.next()
            if words[0] == "failed":
                raise DemoFailed(f"member {member.node} answered a put with {words[3]} ({words[2]})")
            if member in self.members:
                refuse_end(member, words)
            awaited.discard((member, words[0]))


def grow_and_replace(first: Cluster, items: list) -> list:
    """One member becomes three, and one of the three is replaced, under load. Returns the times of the snapshots."""
    cluster = Grown(first)
    founder = cluster.members[0]
    half, part = len(items) // 2, len(items) // 4
    try:
        founder.start()
        cluster.expect(founder, "ready")
        founder.send(f"load 0-{half - 1}")
        while cluster.next()[1] != ["loaded"]:
            pass
        cluster.change([2, 3])
        founder.send(f"load {half}-{half + part - 1}")
        cluster.await_change_and_load(founder)
        print("one member has become three, while it wrote")
        second, lost = cluster.members[1:]
        lost.kill()
        shutil.rmtree(cluster.directory / "member-3")
        cluster.members.remove(lost)
        cluster.change([4], gone=[3])
        second.send(f"load {half + part}-{len(items) - 1}")
        cluster.await_change_and_load(second)
        print("member 3 was lost with its disk, and member 4 has taken its place, while member 2 wrote")
        snapshots_ms = [verify(cluster, member, len(items)) for member in cluster.members]
        stop(cluster.members, cluster)
        return snapshots_ms
    finally:
        cluster.kill()


def follow_python(cluster: Cluster, member: Member, expected: int) -> float:
    """Follows a load of one member to its end; returns its writes per second."""
    started, written = time.monotonic(), 0
    while True:
        speaker, words = cluster.next()
        refuse_end(speaker, words)
        if words[0] == "failed":
            raise DemoFailed(f"member {speaker.node} could not write item {words[1]}: {words[2]}, {words[3]}")
        written += words[0] == "ok"
        if words[0] == "loaded":
            break
    if written != expected:
        raise DemoFailed(f"member {member.node} wrote {written} of {expected} items")
    return written / (time.monotonic() - started)


def stop(members: list, cluster: Cluster):
    for member in members:
        member.send("stop")
        cluster.expect(member, "stopped")
        cluster.expect(member, "ended")
        member.process.wait(STEP_TIMEOUT_S)


def print_table(load: Load, gap_ms: float, catch_up_s: float, snapshots_ms: list, reads: list, python: list):
    seconds = (max(load.acknowledged_at_us) - min(load.acknowledged_at_us)) / 1e6
    working = max(seconds - gap_ms / 1000, 1e-6)
    latencies = sorted(load.latencies_us)
    rows = [
        ("writes acknowledged", f"{len(latencies)}"),
        ("bytes", megabytes(load.bytes)),
        ("writes/s, failover left out", f"{len(latencies) / working:.0f}"),
        ("throughput, failover left out", f"{megabytes(load.bytes / working)}/s"),
        ("p50 latency, 2 x 128 in flight", f"{percentile(latencies, 0.50) / 1000:.1f} ms"),
        ("p99 latency, failover included", f"{percentile(latencies, 0.99) / 1000:.1f} ms"),
        ("failover: no writes for", f"{gap_ms:.0f} ms"),
        ("catching up after the load", f"{catch_up_s * 1000:.0f} ms"),
        ("gets/s under the leader's lease", f"{reads[0]:.0f}"),
        ("gets/s on a follower", f"{reads[1]:.0f}"),
        ("writes/s from Python, 16 threads", f"{python[0]:.0f}"),
        ("writes/s from asyncio, 128 in flight", f"{python[1]:.0f}"),
        ("linearizable snapshot", " / ".join("-" if ms is None else f"{ms:.2f}" for ms in snapshots_ms) + " ms"),
    ]
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


def collect_items() -> list:
    """Every file of the standard library, sorted by key."""
    root = sysconfig.get_path("stdlib")
    items = []
    for directory, directories, names in os.walk(root):
        directories[:] = [name for name in directories if name not in SKIPPED_DIRECTORIES]
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and os.access(path, os.R_OK):
                items += items_of(path, os.fsencode(os.path.relpath(path, root)))
    if not items:
        raise DemoFailed(f"no standard library in {root}")
    return sorted(items)


def items_of(path: str, key: bytes) -> list:
    with open(path, "rb") as file:
        content = file.read()
    parts = range(0, max(len(content), 1), VALUE_BYTES_MAX)
    items = []
    for number, offset in enumerate(parts):
        part = content[offset : offset + VALUE_BYTES_MAX]
        part_key = key if len(parts) == 1 else key + b"\0%04d" % number
        items.append(Item(part_key, path, offset, len(part), hashlib.sha256(part).hexdigest()))
    return items


def write_list(path: Path, items: list):
    with open(path, "wb") as file:
        for item in items:
            head = f"{item.sha256} {item.offset} {item.bytes} {len(item.key)} "
            file.write(head.encode() + item.key + b" " + os.fsencode(item.file) + b"\0")


def ranges(numbers: list) -> str:
    """[1, 2, 3, 7] -> '1-3,7'."""
    runs = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in runs)


def reserve_ports(count: int) -> list:
    """`count` sockets that are bound to loopback ports and never listen.

    As long as they are open the system assigns their ports to no other socket, neither to a listener nor to a
    connection, while a member may listen there any number of times.
    """
    reserved = []
    for _ in range(count):
        bound = socket.socket()
        # Like the members' sockets, which could not share the port with it otherwise.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        reserved.append(bound)
    return reserved


def percentile(ordered: list, part: float):
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
