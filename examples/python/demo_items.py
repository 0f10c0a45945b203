"""The data of `make demo`: the list of items, and the comparison with it. Shared by its two Python members."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import NamedTuple


class Item(NamedTuple):
    """One pair: the value is `size` bytes of `file` from `offset`."""

    key: bytes
    sha256: str
    file: bytes
    offset: int
    size: int

    def value(self) -> bytes:
        """The content."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def read_items(path: str) -> list[Item]:
    """The records "SHA256 OFFSET LENGTH KEY_LENGTH KEY FILE", each ended by a NUL; a key may hold NULs too."""
    text = io.BytesIO(Path(path).read_bytes())
    items = []
    while sha256 := _until(text, b" "):
        offset, size, key_length = (int(_until(text, b" ")) for _ in range(3))
        key = text.read(key_length)
        text.read(1)
        items.append(Item(key, sha256.decode(), _until(text, b"\0"), offset, size))
    return items


def _until(text: io.BytesIO, end: bytes) -> bytes:
    word = bytearray()
    while (byte := text.read(1)) not in (b"", end):
        word += byte
    return bytes(word)


def parse_ranges(text: str) -> list[int]:
    """The numbers that "1-3,7" stands for: [1, 2, 3, 7]."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


class Comparison:
    """Compares the contents of a store, pair by pair, with what it should hold."""

    def __init__(self, items: list[Item]) -> None:
        self.missing = {item.key: item.sha256 for item in items}
        self.identical = self.different = self.extra = 0

    def add(self, key: bytes, value: bytes) -> None:
        """Compares one pair."""
        wanted = self.missing.pop(key, None)
        if wanted is None:
            self.extra += 1
        elif hashlib.sha256(value).hexdigest() == wanted:
            self.identical += 1
        else:
            self.different += 1

    def __str__(self) -> str:
        return f"{self.identical} {len(self.missing)} {self.different} {self.extra}"
