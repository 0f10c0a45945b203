"""Clusters of chaos_member processes: start, kill, send commands.

Owns the processes and their line protocol. What always holds: every command has a deadline, every process that was
started is in `bench.members` and ends with the case, each start of a member is a separate run with its own record file,
and a member's directory is inside a directory of its own, so that the power-loss shim sees its creation too.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time

from bench import Bench, Failed, require

# Elections take a small part of a cycle, and every cycle has flushes, truncations and reused segments.
FAST = {
    "raft.tick_ms": 10,
    "raft.heartbeat_ms": 30,
    "raft.election_timeout_ms": 200,
    "log.segment_bytes": 256 << 10,
    "log.retain_bytes": 128 << 10,
    "engine.memtable_bytes": 1 << 20,
}
HANG_TIMEOUT_S = 30
WRITERS = 2


class Member:
    """One member: a directory and, while it runs, a process."""

    def __init__(self, bench: Bench, cluster: "Cluster", node: int):
        self.bench = bench
        self.cluster = cluster
        self.node = node
        self.root = bench.fresh_directory(f"{cluster.name}/member-{node}")
        self.undo = bench.fresh_directory(f"{cluster.name}/member-{node}-undo")
        self.directory = self.root / "store"
        self.log = bench.directory / cluster.name / f"member-{node}.log"
        self.programs = bench.programs  # those of the build that it runs
        self.preload = {}  # environment of a shim other than the one for power loss
        self.joins = False  # or begins alone: it has no initial members
        self.options = []  # beside those of the cluster
        self.run = None
        self.process = None
        self.frozen = False
        self.unread = b""

    def __str__(self):
        return f"member {self.node}"

    def start(self, environment=None):
        """Starts the process and waits until its store is open; `environment` adds to the shim's."""
        answer = self.try_start(environment)
        require(answer == "ready", f"{self} did not start: {answer}; {self.errors()}")

    def try_start(self, environment=None) -> str:
        """Starts the process and returns its first line."""
        self.launch(environment)
        return self.receive()

    def launch(self, environment=None):
        self.run = self.cluster.next_run()
        command = [self.programs / "chaos_member", self.directory, str(self.node), "" if self.joins else self.cluster.addresses]
        command += [self.cluster.records / f"{self.run}-{self.node}", str(self.run)]
        command += [*self.cluster.options, *self.options]
        with open(self.log, "ab") as errors:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, env=self._environment(environment or {})
            )
        self.unread = b""
        self.bench.members.append(self)

    def _environment(self, more: dict) -> dict:
        if not self.cluster.shim:
            return os.environ | self.preload | more
        shim = {
            "LD_PRELOAD": str(self.bench.programs / "powerloss.so"),
            "POWERLOSS_DIR": str(self.root),
            "POWERLOSS_UNDO": str(self.undo),
        }
        return os.environ | shim | more

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.frozen = False
            with contextlib.suppress(BrokenPipeError):  # a command that it did not live to take
                self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def freeze(self):
        """Suspends the process, as a debugger or a paused machine would."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def stop(self):
        answer = self.ask("stop")
        require(answer == "stopped", f"{self} did not stop: {answer}")
        status = self.process.wait(HANG_TIMEOUT_S)
        require(status == 0, f"{self} ended with {status}; {self.errors()}")
        self.kill()

    def ask(self, command: str, seconds: float = HANG_TIMEOUT_S) -> str:
        self.send(command)
        return self.receive(seconds)

    def send(self, command: str):
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self} has ended; {self.errors()}") from None

    def has_answered(self) -> bool:
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def receive(self, seconds: float = HANG_TIMEOUT_S) -> str:
        deadline = time.monotonic() + seconds
        while b"\n" not in self.unread:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            require(ready, f"{self} did not answer for {seconds} s; {self.errors()}")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise Failed(f"{self} ended with {self.process.wait()}; {self.errors()}")
            self.unread += chunk
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode(errors="replace")

    def errors(self) -> str:
        text = self.log.read_text(errors="replace").strip()
        return f"it printed: {text[-2000:]}" if text else "it printed nothing"

    def status(self) -> dict:
        words = self.ask("status").split()
        require(words[0] == "status" and len(words) == 9, f"{self}: {' '.join(words)}")
        names = ("role", "leader", "term", "commit", "applied", "poisoned", "in_flight", "acknowledged")
        return {name: int(word) if word.isdigit() else word for name, word in zip(names, words[1:])}

    def result(self, command: str, seconds: float = HANG_TIMEOUT_S):
        """The code, the milliseconds and the message of a blocking call."""
        words = self.ask(command, seconds).split(" ", 3)
        require(words[0] == "result", f"{self}: {' '.join(words)}")
        return words[1], int(words[2]), words[3]

    def write(self, writers: int = WRITERS):
        require(self.ask(f"write {writers}") == "writing", f"{self} does not write")


class Cluster:
    """Three members, or another number, and the records of all their runs."""

    def __init__(self, bench: Bench, count: int = 3, shim: bool = False, **options):
        self.bench = bench
        self.name = f"cluster-{bench.next_cluster()}"
        self.shim = shim
        self.reserved = reserve_ports(count)
        self.ports = [bound.getsockname()[1] for bound in self.reserved]
        self.addresses = ",".join(f"{node}=127.0.0.1:{port}" for node, port in enumerate(self.ports, 1))
        merged = FAST | {name.replace("__", "."): value for name, value in options.items()}
        self.options = [f"{name}={value}" for name, value in merged.items()]
        self.records = bench.fresh_directory(f"{self.name}/records")
        self.runs = 0
        self.members = [Member(bench, self, node) for node in range(1, count + 1)]

    def next_run(self) -> int:
        self.runs += 1
        return self.runs

    def start(self):
        for member in self.members:
            member.launch()
        for member in self.members:
            answer = member.receive()
            require(answer == "ready", f"{member} did not start: {answer}; {member.errors()}")

    def write(self):
        for member in self.members:
            member.write()

    def pause(self):
        for member in self.alive():
            require(member.ask("pause") == "paused", f"{member} did not pause")

    def alive(self) -> list:
        """The members that run and are not frozen."""
        return [member for member in self.members if member.is_alive() and not member.frozen]

    def leader(self) -> Member:
        """Waits for a leader; returns that of the highest term among the members that run."""

        def find():
            reports = [(member.status(), member) for member in self.alive()]
            leaders = [(status["term"], member) for status, member in reports if status["role"] == "leader"]
            return max(leaders, key=lambda pair: pair[0])[1] if leaders else None

        return wait_for(find, "a leader")

    def acknowledged(self) -> int:
        return sum(member.status()["acknowledged"] for member in self.alive())

    def wait_for_writes(self, count: int):
        """Waits until the running members have acknowledged `count` more writes."""
        least = self.acknowledged() + count
        wait_for(lambda: self.acknowledged() >= least, f"{count} more acknowledged writes")

    def wait_until_caught_up(self, member: Member):
        target = self.leader().status()["commit"]
        wait_for(lambda: member.status()["applied"] >= target, f"{member} to apply up to {target}")

    def dump(self, member: Member, prefix: str = "") -> dict:
        """A linearizable snapshot on a member: key -> ok, bad, or a register's number."""
        return self.read_dump(member, member.ask(self.dump_command(prefix)))

    def dump_command(self, prefix: str = "") -> str:
        return f"dump {self.bench.directory / self.name / 'dump'} {prefix}"

    def read_dump(self, member: Member, answer: str) -> dict:
        path = self.bench.directory / self.name / "dump"
        require(answer.startswith("dumped "), f"{member}: {answer}")
        with open(path) as file:
            pairs = dict(line.split() for line in file)
        require(len(pairs) == int(answer.split()[1]), f"{member} shows a key twice")
        return pairs


def wait_for(question, what: str, seconds: float = HANG_TIMEOUT_S):
    """Polls until the result is true and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        require(time.monotonic() < deadline, f"waited {seconds} s for {what}")
        time.sleep(0.005)  # between two polls of other processes


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


def error_of(answer: str):
    """The code and the message of a member that refused to start."""
    word, code, message = answer.split(" ", 2)
    require(word == "error", f"expected a refusal, got: {answer}")
    return code, message


