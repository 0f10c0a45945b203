"""Simulates a power loss for a directory that was written under tests/shim/powerloss.c.

Owns the reading of the shim's notes and the three modes of losing what was not synced. What always holds:
bytes and entries whose sync returned are never touched. The caller has killed the writer before.

    all    every unsynced modification is gone
    part   of each file, and of each directory's entries, a prefix of the unsynced modifications survives,
           the last of a file's perhaps only up to a sector
    torn   in place each 512-byte sector survives or not independently, in any order; past the synced end as in `part`

A file's size never covers bytes that did not survive, as on ext4 in ordered mode and on XFS. (On a file system that
violates this, RocksDB's MANIFEST can be left with a record with a wrong checksum, and RocksDB refuses to open.) With
`strict`, created, renamed or unlinked entries are undone as well unless their directory was synced (all of them, or a
suffix of them); without, entries survive, as on file systems with ordered metadata.
"""

import os
import random
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

MODES = ("all", "part", "torn")
SECTOR_BYTES = 512
HEADER = struct.Struct("<Q")
DATA_RECORD = struct.Struct("<IIQQQQ")
DATA_MAGIC = 0x61746164
DIR_RECORD = struct.Struct("<IIQQQIIII")
DIR_MAGIC = 0x72726964
CREATED, UNLINKED, RENAMED, REMOVED_DIRECTORY = 1, 2, 3, 4


class DataRecord(NamedTuple):
    """Undoes one write of `bytes` bytes at `offset`, where `old` was, in a file of `old_size` bytes."""

    seq: int
    offset: int
    bytes: int
    old_size: int
    old: bytes


class DirRecord(NamedTuple):
    """Undoes one change of the entry `path`."""

    seq: int
    change: int
    limbo: int
    inode: int
    directory: str
    path: Path
    old_path: Path


def lose_power(data: Path, undo: Path, mode: str, strict: bool, rng: random.Random) -> dict:
    """Rebuilds `data` as it would be on the disk, empties `undo`, and returns what was lost."""
    assert mode in MODES, mode
    lost = {"writes": 0, "files": 0, "entries": 0}
    paths = _paths_by_inode([data, undo / "limbo"])
    for notes in sorted(undo.glob("*.data")):
        records = _read_data_records(notes)
        path = paths.get(int(notes.stem))
        if records and path is not None:
            lost["files"] += 1
            lost["writes"] += _lose_writes(path, records, mode, rng)
    if strict:
        lost["entries"] = _lose_entries(undo, mode, rng)
    shutil.rmtree(undo)
    undo.mkdir()
    return lost


def _paths_by_inode(roots):
    paths = {}
    for root in roots:
        for directory, _, names in os.walk(root):
            for name in names:
                path = os.path.join(directory, name)
                paths[os.lstat(path).st_ino] = path
    return paths


def _read_data_records(notes: Path):
    content = notes.read_bytes()
    at = HEADER.unpack_from(content)[0] if len(content) >= HEADER.size else len(content)
    records = []
    while at + DATA_RECORD.size <= len(content):
        magic, old_bytes, seq, offset, new_bytes, old_size = DATA_RECORD.unpack_from(content, at)
        assert magic == DATA_MAGIC, f"{notes}: no record at {at}"
        begin, at = at + DATA_RECORD.size, at + DATA_RECORD.size + old_bytes
        if at <= len(content):  # otherwise the writer was killed while recording, before it wrote
            records.append(DataRecord(seq, offset, new_bytes, old_size, content[begin:at]))
    return records


def _lose_writes(path: str, records, mode: str, rng: random.Random) -> int:
    """Undoes a file's unsynced writes; returns how many were lost, at least in part."""
    with open(path, "rb") as file:
        image = bytearray(file.read())
    sizes = [record.old_size for record in records] + [len(image)]
    survivors = 0 if mode == "all" else rng.randrange(len(records) + 1)
    size = sizes[survivors]
    longest = max(sizes + [record.offset + record.bytes for record in records])
    image.extend(bytes(longest - len(image)))
    in_order_from = 0
    if mode == "torn":
        in_order_from = sizes[0]
        _undo_sectors(image, records, in_order_from, rng)
    for record in reversed(records[survivors:]):
        _undo_range(image, record, in_order_from, longest)
    if mode != "all" and survivors < len(records):
        size = max(size, _redo_beginning(path, image, records[survivors:], in_order_from, rng))
    _write_image(path, image, size)
    return len(records) - survivors


def _undo_range(image: bytearray, record: DataRecord, begin: int, end: int):
    """Restores the part of `record` in [begin, end); bytes past the old end are zeros."""
    begin, end = max(begin, record.offset), min(end, record.offset + record.bytes)
    if begin >= end:
        return
    old = record.old[begin - record.offset : end - record.offset]
    image[begin:end] = old + bytes(end - begin - len(old))


def _undo_sectors(image: bytearray, records, end: int, rng: random.Random):
    """Before `end` each sector independently keeps a prefix of the writes that touched it."""
    cuts = {}
    for number, record in reversed(list(enumerate(records))):
        first, last = record.offset // SECTOR_BYTES, (record.offset + record.bytes - 1) // SECTOR_BYTES
        for sector in range(first, last + 1):
            if sector not in cuts:
                cuts[sector] = rng.choice((0, len(records), rng.randrange(len(records) + 1)))
            if number >= cuts[sector]:
                _undo_range(image, record, sector * SECTOR_BYTES, min((sector + 1) * SECTOR_BYTES, end))


def _redo_beginning(path: str, image: bytearray, lost, begin: int, rng: random.Random) -> int:
    """Lets the first lost write survive from `begin` up to a sector; returns the least length of the file then."""
    record, later = lost[0], lost[1:]
    if record.bytes == 0 or any(_overlap(record, other) for other in later):
        return 0  # its bytes are no longer in the file
    first, last = record.offset // SECTOR_BYTES, (record.offset + record.bytes - 1) // SECTOR_BYTES
    begin, end = max(begin, record.offset), rng.randrange(first, last + 1) * SECTOR_BYTES
    if end <= begin:
        return 0
    with open(path, "rb") as file:
        file.seek(begin)
        new = file.read(end - begin)
    image[begin : begin + len(new)] = new
    return begin + len(new)


def _overlap(one: DataRecord, other: DataRecord) -> bool:
    return one.offset < other.offset + other.bytes and other.offset < one.offset + one.bytes


def _write_image(path: str, image: bytearray, size: int):
    with open(path, "r+b") as file:
        file.write(image[:size])
        file.truncate(size)


def _read_dir_records(notes: Path):
    content = notes.read_bytes()
    at = HEADER.unpack_from(content)[0] if len(content) >= HEADER.size else len(content)
    records = []
    while at + DIR_RECORD.size <= len(content):
        magic, change, seq, limbo, inode, *lengths = DIR_RECORD.unpack_from(content, at)
        assert magic == DIR_MAGIC, f"{notes}: no record at {at}"
        at += DIR_RECORD.size
        parts = []
        for length in lengths:
            parts.append(os.fsdecode(content[at : at + length]))
            at += length
        if at <= len(content):
            directory, name, old_directory, old_name = parts
            records.append(
                DirRecord(seq, change, limbo, inode, directory, Path(directory, name), Path(old_directory, old_name))
            )
    return records


def _lose_entries(undo: Path, mode: str, rng: random.Random) -> int:
    """Undoes the unsynced changes of directories, the newest first; returns how many."""
    lost = []
    for notes in sorted(undo.glob("*.dir")):
        records = _read_dir_records(notes)
        survivors = 0 if mode == "all" else rng.randrange(len(records) + 1)
        lost += [(int(notes.stem), record) for record in records[survivors:]]
    restored = {}  # directories whose removal is undone: the inode they had -> the one they have
    for inode, record in sorted(lost, key=lambda pair: -pair[1].seq):
        if _inode(record.path.parent) == restored.get(inode, inode):
            _undo_change(record, undo, restored)
        # Otherwise the directory is gone, perhaps with another one in its place, and nothing in it matters.
    return len(lost)


def _inode(path: Path):
    return path.stat().st_ino if path.is_dir() else None


def _undo_change(record: DirRecord, undo: Path, restored: dict):
    limbo = undo / "limbo" / str(record.limbo)
    if record.change == CREATED:
        _remove(record.path)
    elif record.change == REMOVED_DIRECTORY:
        record.path.mkdir(exist_ok=True)
        restored[record.inode] = _inode(record.path)
    elif record.change == RENAMED:
        if not record.path.exists() or record.path.stat().st_ino != record.inode:
            return  # the writer was killed before it renamed
        record.path.rename(record.old_path)
    if record.limbo and limbo.exists() and not record.path.exists():
        limbo.rename(record.path)


def _remove(path: Path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
