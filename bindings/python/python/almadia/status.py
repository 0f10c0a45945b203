"""What a store says about itself, and the options it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from . import _almadia
from .errors import AlmadiaError, InvalidConfigError

OptionValue: TypeAlias = str | int | bool
"""What an option can be set to."""

Members: TypeAlias = str | Mapping[int, str]
"""The members of a cluster: `{1: "host:port", 2: ...}`, or as one text `"1=host:port,2=..."`."""


class Status(NamedTuple):
    """A moment's picture of a store. Where it speaks of a log it means that of the first region."""

    node: int
    """This member."""
    leader: int | None
    """The member it believes to lead; None while there is no leader."""
    role: str
    """This member's raft role: "leader", "follower", "candidate" or "pre_candidate"."""
    term: int
    """Current raft term."""
    commit_index: int
    """Highest log index this member knows to be committed."""
    applied_index: int
    """Highest log index whose effect this member can show."""
    last_index: int
    """Last log index this member holds."""
    in_flight: int
    """Calls accepted and not yet answered."""
    live_snapshots: int
    """Snapshots and iterators that keep old data from being cleaned up."""
    poisoned: AlmadiaError | None
    """The error that stopped the store, if one did."""


class RegionStatus(NamedTuple):
    """A moment's picture of one region on this member."""

    id: int
    """Number of the region."""
    start_key: bytes
    """Its first key."""
    end_key: bytes
    """The first key behind it; empty when there is none."""
    leader: int | None
    """The member this one believes to lead the region; None while there is no leader."""
    role: str
    """This member's raft role in the region."""
    term: int
    """Current raft term of the region."""
    commit_index: int
    """Highest index of the region's log this member knows to be committed."""
    applied_index: int
    """Highest index of the region's log whose effect this member can show."""
    last_index: int
    """Last index of the region's log this member holds."""


class Option(NamedTuple):
    """One option of a store."""

    name: str
    """Its name, as in `open(path, options={name: value})`."""
    kind: str
    """What it takes: "text", "number" or "switch"."""
    default: str
    """The value it has when it is not set."""
    least: int | None
    """The smallest number it takes."""
    most: int | None
    """The largest number it takes."""
    doc: str
    """What it does, with its unit."""


def options() -> list[Option]:
    """Every option a store can be opened with."""
    return [Option(*row) for row in _almadia.options()]


def option_list(
    node_id: int,
    initial_members: Members | None,
    timeout: float | None,
    named: Mapping[str, OptionValue] | None,
    keywords: Mapping[str, OptionValue],
) -> list[tuple[str, str]]:
    """The options as the compiled part takes them: names and texts."""
    chosen: dict[str, str] = {"cluster.node_id": str(int(node_id))}
    if initial_members is not None:
        chosen["cluster.initial_members"] = _members(initial_members)
    if timeout is not None:
        milliseconds = str(max(1, round(float(timeout) * 1000)))
        chosen["write.timeout_ms"] = chosen["read.timeout_ms"] = milliseconds
    names = {row.name.replace(".", "_"): row.name for row in options()}
    for name, value in keywords.items():
        chosen[names.get(name, name)] = _text(name, value)
    for name, value in (named or {}).items():
        chosen[name] = _text(name, value)
    return list(chosen.items())


def _members(given: Members) -> str:
    if isinstance(given, str):
        return given
    return ",".join(f"{int(node)}={address}" for node, address in given.items())


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise InvalidConfigError(f"{name}: expected text, a whole number, True or False, not {type(value).__name__}")


def split_keys(keys: Iterable[bytes]) -> str:
    """The text of the option `bootstrap.split_keys` for these keys."""
    return ",".join("".join(f"%{byte:02X}" for byte in key) for key in keys)
