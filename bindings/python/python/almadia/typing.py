"""The types of arguments."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""Keys and values. Any other object with the buffer protocol works too."""


class Missing(enum.Enum):
    """The type of `MISSING`."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "<missing>"


MISSING: Final = Missing.MISSING
"""An argument that was not given, where None means something else."""

Level: TypeAlias = Literal["linearizable", "local"]
"""How recent a read must be."""

OptionValue: TypeAlias = str | int | bool
"""The value of an option."""

Members: TypeAlias = str | Mapping[int, str]
"""The members of a cluster: `{1: "host:port", 2: ...}`, or as one text `"1=host:port,2=..."`."""
