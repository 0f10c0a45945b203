"""The options a store is opened with."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from . import _almadia
from .errors import InvalidConfigError
from .typing import Members, OptionValue


class Option(NamedTuple):
    """One option of a store."""

    name: str
    """Its name, as in `open(path, options={name: value})`."""
    kind: str
    """The kind of its values: "text", "number" or "switch"."""
    default: str
    """Its value when it is not set."""
    least: int | None
    """The smallest number it accepts."""
    most: int | None
    """The largest number it accepts."""
    doc: str
    """What it does, with its unit."""


def options() -> list[Option]:
    """Every option a store can be opened with."""
    return [Option(*row) for row in _almadia.options()]


def option_list(
    node_id: int | None,
    initial_members: Members | None,
    timeout: float | None,
    named: Mapping[str, OptionValue] | None,
    keywords: Mapping[str, OptionValue],
) -> list[tuple[str, str]]:
    """The options as the compiled part takes them: names and texts. Rejects an option that is set twice."""
    rows = {row.name: row for row in options()}
    chosen = _Chosen()
    if node_id is not None:
        chosen.add("cluster.node_id", "node_id=", str(_int("node_id", node_id)))
    if initial_members is not None:
        chosen.add("cluster.initial_members", "initial_members=", _members(initial_members))
    if timeout is not None:
        for name in ("write.timeout_ms", "read.timeout_ms"):
            chosen.add(name, "timeout=", _milliseconds(timeout, rows[name].most))
    by_keyword = {name.replace(".", "_"): name for name in rows}
    for keyword, value in keywords.items():
        chosen.add(by_keyword.get(keyword, keyword), f"{keyword}=", _text(keyword, value))
    for name, value in _named(named).items():
        chosen.add(name, f"options={{{name!r}: ...}}", _text(name, value))
    return [(name, text) for name, (_, text) in chosen.items()]


class _Chosen(dict[str, tuple[str, str]]):
    """For each option by name: the argument that sets it, and its text."""

    def add(self, name: str, argument: str, text: str) -> None:
        """Sets an option; raises if another argument has set it."""
        if name in self:
            raise InvalidConfigError(f"{self[name][0]} and {argument} both set {name}: give only one of them")
        self[name] = argument, text


def _named(given: object) -> Mapping[str, OptionValue]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise TypeError(f"options is a dict of names and values, such as {{'raft.tick_ms': 10}}, not {kind}")
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"options: the name {name!r} must be a str, not {type(name).__name__}")
    return given


def _milliseconds(timeout: object, most: int | None) -> str:
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout is a number of seconds or None, not {type(timeout).__name__}")
    try:
        seconds = float(timeout)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise ValueError(f"timeout must be a finite number of seconds above 0, not {seconds}")
    milliseconds = max(1, round(seconds * 1000))
    if most is not None and milliseconds > most:
        raise ValueError(f"timeout must be at most {most // 1000} seconds, not {seconds}")
    return str(milliseconds)


def _members(given: Members) -> str:
    if isinstance(given, str):
        return given
    members = [_member(*member) for member in _pairs(given)]
    if not members:
        raise InvalidConfigError("initial_members names no member: leave it out for a cluster of this member alone")
    return ",".join(members)


def _pairs(given: object) -> Iterable[tuple[object, object]]:
    if isinstance(given, Mapping):
        return given.items()
    raise TypeError(
        f"initial_members is a dict of numbers and addresses, such as {{1: '127.0.0.1:7001'}}, or a text such as "
        f"'1=127.0.0.1:7001', not {type(given).__name__}"
    )


def _member(node: object, address: object) -> str:
    number = _int("a number in initial_members", node)
    if not isinstance(address, str):
        raise TypeError(
            f"initial_members: the address of member {number} is a str such as '127.0.0.1:7001', "
            f"not {type(address).__name__}"
        )
    if "," in address:
        raise InvalidConfigError(f"initial_members: member {number} has more than one address: {address!r}")
    return f"{number}={address}"


def _int(name: str, number: object) -> int:
    try:
        return int(operator.index(number))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(number).__name__}") from None


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise InvalidConfigError(f"{name}: expected text, a whole number, True or False, not {type(value).__name__}")
