"""The surroundings of every chaos test: the programs, a directory of its own, seeded randomness.

Owns the list of cases and the failure type. A case is a function that takes a `Bench` and raises `Failed` (or
AssertionError) when the guarantee in its name does not hold.
"""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path


class Failed(Exception):
    """A guarantee did not hold; the text names it."""


@dataclass
class Bench:
    """The surroundings of one case. `rng` is seeded from the run's seed and the case's name alone."""

    programs: Path  # has chaos_member, powerloss.so and powerloss_probe
    directory: Path  # empty, the case's own
    seed: int
    cycles: int
    rng: random.Random
    before: Path | None = None  # the chaos_member of an earlier build, for the cases of upgrades
    members: list = field(default_factory=list)  # started processes; the runner ends those still alive
    clusters: int = 0
    notes: list = field(default_factory=list)  # figures for the case's line of output

    def note(self, text: str):
        self.notes.append(text)

    def next_cluster(self) -> int:
        self.clusters += 1
        return self.clusters

    def fresh_directory(self, name: str) -> Path:
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


CASES = []


def case(function):
    """Adds a test; its name is a sentence."""
    CASES.append(function)
    return function


def require(condition, text: str):
    if not condition:
        raise Failed(text)
