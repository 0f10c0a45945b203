"""Compares the answers to writes with what a snapshot shows.

Owns the reading of record files (their format is in tests/c/chaos_member.c) and the rules. For write n of a writer:

    applied                 k/n is there with the right value; a batch is atomic, so d/n is gone once n + 32 is applied
                            too, and is there until n + 32 may have been applied
    certainly not applied   neither k/n nor d/n is there, ever
    unknown, or no answer   all of the batch or nothing of it
    never started           nothing is there

A register holds the number of a write that was applied or may have been, and not less than that of the last applied
one: the writes of one thread to one region keep their order.
"""

from collections import Counter, defaultdict
from pathlib import Path

from bench import require

DELETE_DISTANCE = 32


class Records:
    """The outcomes of every writer of every run: (run, node, writer) -> {n: outcome}."""

    def __init__(self, directory: Path):
        self.writers = defaultdict(dict)
        self.codes_of_unknown = Counter()
        for path in directory.iterdir():
            run, node = (int(part) for part in path.name.split("-"))
            self._read(path, run, node)

    def _read(self, path: Path, run: int, node: int):
        content = path.read_bytes()
        for line in content[: content.rfind(b"\n") + 1].decode().splitlines():
            outcome, writer, number, *code = line.split()
            outcomes = self.writers[(run, node, int(writer))]
            number = int(number)
            if outcome == "B":
                require(number not in outcomes, f"{path}: write {number} was started twice")
            else:
                require(outcomes.get(number) == "B", f"{path}: '{line}' answers no open write")
            outcomes[number] = outcome
            if outcome == "U":
                self.codes_of_unknown[code[0].removeprefix("ALMADIA_")] += 1

    def count(self, outcome: str) -> int:
        return sum(found == outcome for writer in self.writers.values() for found in writer.values())

    def of_run(self, run: int) -> list:
        return [outcome for (r, _, _), writer in self.writers.items() if r == run for outcome in writer.values()]

    def check(self, shown: dict, where: str, runs=None):
        """`shown` is a dump of all keys, or of those of `runs` alone."""
        present = _by_writer(shown)
        for key in present:
            require(key in self.writers, f"{where}: keys of a writer that never began: {key}")
        for writer, outcomes in self.writers.items():
            if runs is None or writer[0] in runs:
                _check_writer(outcomes, present.get(writer, _nothing()), f"{where}, run/member/writer {writer}")


def _nothing():
    return {"k": set(), "d": set(), "r": None}


def _by_writer(shown: dict) -> dict:
    present = defaultdict(_nothing)
    for key, value in shown.items():
        kind, *numbers = key.split("/")
        if kind == "p":
            continue
        run, node, writer, *number = (int(part) for part in numbers)
        if kind == "r":
            present[(run, node, writer)]["r"] = int(value)
        else:
            require(value == "ok", f"{key} has a wrong value")
            present[(run, node, writer)][kind].add(number[0])
    return present


def _check_writer(outcomes: dict, present: dict, where: str):
    for number, outcome in outcomes.items():
        in_k, in_d = number in present["k"], number in present["d"]
        deleter = outcomes.get(number + DELETE_DISTANCE)
        deleted = number + DELETE_DISTANCE in present["k"]
        if outcome == "A":
            require(in_k, f"{where}: the acknowledged write {number} is gone")
        if outcome == "N":
            require(not in_k, f"{where}: write {number}, reported as not applied, is there")
        if deleter == "A":
            require(not in_d, f"{where}: the acknowledged deletion of d/{number} is undone")
        require(in_d == (in_k and not deleted), f"{where}: batch {number} is there in part (k {in_k}, d {in_d})")
    strangers = (present["k"] | present["d"]) - outcomes.keys()
    require(not strangers, f"{where}: writes that never began: {sorted(strangers)[:5]}")
    _check_register(outcomes, present, where)


def _check_register(outcomes: dict, present: dict, where: str):
    last = max((number for number, outcome in outcomes.items() if outcome == "A"), default=None)
    newest = max(present["k"], default=None)
    require(present["r"] == newest, f"{where}: the register says {present['r']}, the last write there is {newest}")
    require(last is None or newest >= last, f"{where}: the register says {newest}, {last} was acknowledged")
