"""The options a store is opened with."""

from __future__ import annotations

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
    chosen: dict[str, str] = {"cluster.node_id": str(_whole("node_id", node_id))}
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
    if not isinstance(given, Mapping):
        raise TypeError(
            f"initial_members is a dict of numbers and addresses, such as {{1: '127.0.0.1:7001'}}, or a text such as "
            f"'1=127.0.0.1:7001', not {type(given).__name__}"
        )
    return ",".join(f"{_whole('a number in initial_members', node)}={address}" for node, address in given.items())


def _whole(name: str, number: object) -> int:
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(number).__name__}") from None


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise InvalidConfigError(f"{name}: expected text, a whole number, True or False, not {type(value).__name__}")


def split_keys(keys: Iterable[bytes]) -> str:
    """The text of the option `bootstrap.split_keys` for these keys."""
    return ",".join("".join(f"%{byte:02X}" for byte in key) for key in keys)
