"""The types of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""Keys and values. Any other object with the buffer protocol works too."""

Level: TypeAlias = Literal["linearizable", "local"]
"""How recent a read must be."""

OptionValue: TypeAlias = str | int | bool
"""The value of an option."""

Members: TypeAlias = str | Mapping[int, str]
"""The members of a cluster: `{1: "host:port", 2: ...}`, or as one text `"1=host:port,2=..."`."""
