"""Batches for the calls that judge or compute, and change, one key.

Owns what the blocking and the asyncio front end have in common: which batch a call is. What always holds: nothing here
waits.
"""

from __future__ import annotations

from ._almadia import Batch
from .typing import MISSING, BytesLike, Missing


def put_if_absent(key: BytesLike, value: BytesLike) -> Batch:
    """Sets a key that does not exist."""
    batch = Batch()
    batch.if_absent(key)
    batch.put(key, value)
    return batch


def compare_and_set(
    key: BytesLike, value: BytesLike, expected: BytesLike | Missing | None, version: int | None
) -> Batch:
    """Sets a key that is as expected."""
    batch = _if_as("compare_and_set", key, expected, version)
    batch.put(key, value)
    return batch


def compare_and_delete(key: BytesLike, expected: BytesLike | Missing | None, version: int | None) -> Batch:
    """Removes a key that is as expected."""
    batch = _if_as("compare_and_delete", key, expected, version)
    batch.delete(key)
    return batch


def pop(key: BytesLike) -> Batch:
    """Removes a key, and tells what it was."""
    batch = Batch()
    batch.pop(key)
    return batch


def take_first(start: BytesLike | None, end: BytesLike | None, prefix: BytesLike | None) -> Batch:
    """Removes the first key of a range, and tells what it was."""
    batch = Batch()
    batch.take_first(start=start, end=end, prefix=prefix)
    return batch


def add(key: BytesLike, delta: int) -> Batch:
    """Adds to a number, and tells the sum."""
    batch = Batch()
    batch.add(key, delta)
    return batch


def put_versioned(prefix: BytesLike, value: BytesLike) -> Batch:
    """Sets a new key, and tells it."""
    batch = Batch()
    batch.put_versioned(prefix, value)
    return batch


def _if_as(call: str, key: BytesLike, expected: BytesLike | Missing | None, version: int | None) -> Batch:
    batch = Batch()
    if expected is MISSING and version is not None:
        batch.if_version(key, version)
    elif not isinstance(expected, Missing) and version is None:
        batch.if_value(key, expected)
    else:
        raise TypeError(f"{call} takes the expected value, where None is no key, or the expected version")
    return batch
