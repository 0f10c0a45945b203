"""Tests the power-loss shim itself, against a model of a disk, before the other cases rely on it."""

import os
import signal
import subprocess

from bench import Bench, case, require
from powerloss import MODES, SECTOR_BYTES, lose_power

ROUNDS = 60
FILES = "abcdef"
WAYS = ("pwrite", "pwritev", "write", "writev", "duplicate")


class File:
    """An inode: every content it had since its last sync, the synced one first."""

    def __init__(self):
        self.versions = [b""]

    def now(self) -> bytes:
        return self.versions[-1]

    def write(self, offset: int, data: bytes):
        old = self.now().ljust(offset, b"\0")
        self.versions.append(old[:offset] + data + old[offset + len(data) :])

    def resize(self, size: int):
        self.versions.append(self.now()[:size].ljust(size, b"\0"))

    def sync(self):
        self.versions = [self.now()]


class Disk:
    """The expected state after the operations, and what of it is synced."""

    def __init__(self):
        self.entries = {}
        self.durable_entries = {}
        self.open = {}


@case
def the_shim_keeps_what_was_synced_and_loses_the_rest(bench: Bench):
    lost = {"writes": 0, "entries": 0}
    for number in range(ROUNDS):
        mode, strict = MODES[number % 3], number % 2 == 0
        disk, script = _random_script(bench.rng)
        data, undo = bench.fresh_directory("data"), bench.fresh_directory("undo")
        _run_probe(bench, script, data, undo, {})
        _check_nothing_lost_yet(disk, data)
        result = lose_power(data, undo, mode, strict, bench.rng)
        _check_loss(disk, data, mode, strict, f"round {number}, mode {mode}, strict {strict}:\n{script}")
        lost["writes"] += result["writes"]
        lost["entries"] += result["entries"]
    require(lost["writes"] > ROUNDS and lost["entries"] > ROUNDS / 2, f"hardly anything was lost: {lost}")
    bench.note(f"{ROUNDS} rounds, {lost['writes']} writes and {lost['entries']} entries lost")


@case
def unsynced_writes_of_a_killed_process_stay_unsynced_after_its_restart(bench: Bench):
    data, undo = bench.fresh_directory("data"), bench.fresh_directory("undo")
    _run_probe(bench, "open a\npwrite a 0 600 x\nfsync a\npwrite a 100 50 y\ndie\n", data, undo, {})
    _run_probe(bench, "open a\npwrite a 600 9 z\nopen b\nfsync b\nsyncdir\ndie\n", data, undo, {})
    lose_power(data, undo, "all", True, bench.rng)
    require((data / "a").read_bytes() == b"x" * 600, "an unsynced write of an earlier process survived")
    require((data / "b").exists(), "a synced entry was lost")


@case
def a_failed_sync_is_reported_once_and_its_writes_never_become_durable(bench: Bench):
    data, undo = bench.fresh_directory("data"), bench.fresh_directory("undo")
    script = "open a\npwrite a 0 9 x\nfsync a\npwrite a 9 9 y\nbadsync a\nfsync a\nopen b\npwrite b 0 9 z\nfsync b\n"
    fail = {"POWERLOSS_FAIL_SYNC": "/a:2"}
    _run_probe(bench, script + "syncdir\ndie\n", data, undo, fail)
    lose_power(data, undo, "all", True, bench.rng)
    require((data / "a").read_bytes() == b"x" * 9, "a write whose sync failed survived")
    require((data / "b").read_bytes() == b"z" * 9, "another file's synced write was lost")


@case
def a_process_ends_before_or_after_the_step_that_was_chosen(bench: Bench):
    script = "open a\npwrite a 0 9 x\nfsync a\nrename a 98\nopen a\npwrite a 0 9 y\nfsync a\nunlink a\ndie\n"
    moments = {
        "before-open:*/a": {},
        "after-open:*/a": {"a": b""},
        "after-write:*/a": {"a": b"x" * 9},
        "before-rename:*/b": {"a": b"x" * 9},
        "after-rename:*/b": {"b": b"x" * 9},
        "after-rename:*/b,before-write:*/a": {"a": b"", "b": b"x" * 9},
        "after-sync:*/a,after-sync:*/a": {"a": b"y" * 9, "b": b"x" * 9},
        "after-unlink:*/a": {"b": b"x" * 9},
    }
    for steps, left in moments.items():
        data, undo = bench.fresh_directory("data"), bench.fresh_directory("undo")
        preload = f"{bench.programs / 'steps.so'} {bench.programs / 'powerloss.so'}"
        _run_probe(bench, script, data, undo, {"LD_PRELOAD": preload, "STEPS": steps, "STEPS_THEN": "kill"})
        found = {path.name: path.read_bytes() for path in data.iterdir()}
        require(found == left, f"{steps}: {found}, expected {left}")


def _run_probe(bench: Bench, script: str, data, undo, more):
    """Runs the script; the second program calls the 64-bit names (pwrite64, open64) of the same functions."""
    probe = bench.programs / bench.rng.choice(("powerloss_probe", "powerloss_probe64"))
    environment = os.environ | {
        "LD_PRELOAD": str(bench.programs / "powerloss.so"),
        "POWERLOSS_DIR": str(data),
        "POWERLOSS_UNDO": str(undo),
    } | more
    done = subprocess.run([probe], input=script, cwd=data, env=environment, capture_output=True, text=True)
    require(done.returncode == -signal.SIGKILL, f"the probe ended with {done.returncode}: {done.stderr}\n{script}")


def _random_script(rng):
    disk, lines = Disk(), []
    for _ in range(rng.randrange(5, 60)):
        lines.append(_random_step(disk, rng))
    return disk, "\n".join(lines) + "\ndie\n"


def _random_step(disk: Disk, rng) -> str:
    name = rng.choice(FILES)
    if name not in disk.entries or name not in disk.open:
        return _open(disk, name, rng.choice(("open", "open", "openw", "renew")))
    step = rng.choice(("write",) * 8 + ("sync",) * 3 + ("size", "syncdir", "rename", "unlink", "renew"))
    file = disk.open[name]
    if step == "write":
        offset, size = rng.randrange(2500), rng.choice((1, 30, 512, 1300))
        letter = rng.choice("xyzuvw")
        file.write(offset, letter.encode() * size)
        return f"{rng.choice(WAYS)} {name} {offset} {size} {letter}"
    if step == "sync":
        file.sync()
        return f"{rng.choice(('fsync', 'fdatasync'))} {name}"
    if step == "size":
        return _resize(file, name, rng)
    if step == "syncdir":
        disk.durable_entries = dict(disk.entries)
        return "syncdir"
    if step == "rename":
        return _rename(disk, name, rng.choice(FILES))
    if step == "unlink":
        del disk.entries[name], disk.open[name]
        return f"unlink {name}"
    return _open(disk, name, "renew")


def _open(disk: Disk, name: str, verb: str) -> str:
    file = disk.entries.setdefault(name, File())
    if verb == "renew" and file.now():
        file.resize(0)
    disk.open[name] = file
    return f"{verb} {name}"


def _resize(file: File, name: str, rng) -> str:
    size = rng.randrange(1, 4000)
    if size < len(file.now()) or rng.random() < 0.5:
        file.resize(size)
        return f"truncate {name} {size}"
    file.resize(size)
    return f"allocate {name} {size}"


def _rename(disk: Disk, old: str, new: str) -> str:
    if new != old:
        disk.entries[new] = disk.entries.pop(old)
        disk.open.pop(old)
        disk.open.pop(new, None)
    return f"rename {old} {ord(new)}"


def _check_nothing_lost_yet(disk: Disk, data):
    found = {path.name: path.read_bytes() for path in data.iterdir()}
    require(found == {name: file.now() for name, file in disk.entries.items()}, "the model is wrong")


def _check_loss(disk: Disk, data, mode: str, strict: bool, where: str):
    found = {path.name: path.read_bytes() for path in data.iterdir()}
    if not strict or mode == "all":
        expected = disk.durable_entries if strict else disk.entries
        require(set(found) == set(expected), f"entries {sorted(found)}, expected {sorted(expected)}; {where}")
        for name, file in expected.items():
            _check_content(file, found[name], mode, f"file {name}; {where}")


def _check_content(file: File, found: bytes, mode: str, where: str):
    if mode == "all":
        require(found == file.versions[0], f"the synced content changed: {where}")
        return
    sizes = [len(version) for version in file.versions]
    require(min(sizes) <= len(found) <= max(sizes), f"{len(found)} bytes, expected one of {sizes}: {where}")
    cuts = sorted({*range(0, len(found), SECTOR_BYTES), min(sizes[0], len(found)), len(found)})
    for begin, end in zip(cuts, cuts[1:]):
        possible = {version[begin:end].ljust(end - begin, b"\0") for version in file.versions}
        require(found[begin:end] in possible, f"the sector at {begin} was never written so: {where}")
