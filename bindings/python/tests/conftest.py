"""Fixtures of the tests: a store of one member, and three members in this process on loopback."""

from __future__ import annotations

import atexit
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import almadia
import almadia.testing
import pytest

from .recipe_stores import Clock, Kit, a_loop

FAST: dict[str, almadia.OptionValue] = {
    "raft.tick_ms": 10,
    "raft.heartbeat_ms": 20,
    "raft.election_timeout_ms": 2000,
}


_reserved = ExitStack()
atexit.register(_reserved.close)


def free_addresses(count: int) -> dict[int, str]:
    """Loopback addresses that stay reserved for the caller as long as this process lives."""
    return _reserved.enter_context(almadia.testing.reserved_addresses(count))


def close_at_once(store: almadia.Store) -> None:
    """Closes a store without waiting for calls in flight; its threads may take longer to end on a busy machine."""
    try:
        store.close(timeout=0)
    except almadia.ShuttingDownError:
        store.close(timeout=60)


def run_python(program: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a program in a separate Python process."""
    command = [sys.executable, *flags, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def without_slow_steps(stderr: str) -> str:
    """The stderr of a program in Python's development mode, without asyncio's warnings about slow steps.

    asyncio reports every step of its loop that takes 0.1 s or longer, and on a busy machine any step may.
    """
    return re.sub(r"^Executing <.*> took \d+\.\d+ seconds\n", "", stderr, flags=re.MULTILINE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[almadia.Store]:
    """A store of one member."""
    with almadia.open(tmp_path / "store") as store:
        yield store


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[almadia.Store]]:
    """Three members of one cluster, which has a leader."""
    addresses = free_addresses(3)
    with ExitStack() as stack:
        stores = [
            almadia.open(tmp_path / str(node), node_id=node, initial_members=addresses, options=FAST)
            for node in addresses
        ]
        for store in stores:
            # No call is in flight, so nothing is lost by not waiting for a leader that may already be closed.
            stack.callback(close_at_once, store)
        for store in stores:
            store.wait_leader(timeout=20)
        yield stores


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[almadia.Store]:
    """One of three members; the others are never started, so its calls wait for a leader in vain."""
    addresses = free_addresses(3)
    with almadia.open(tmp_path / "alone", node_id=1, initial_members=addresses, timeout=3600, options=FAST) as store:
        yield store
        close_at_once(store)


@pytest.fixture(params=["blocking", "asyncio"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    """The recipes of each kind, over a store of one member."""
    with ExitStack() as stack:
        store = stack.enter_context(almadia.open(tmp_path / "store"))
        kit = Kit(store, None if request.param == "blocking" else stack.enter_context(a_loop()))
        stack.callback(kit.close)
        yield kit
        assert store.status().live_snapshots == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the recipes."""
    clock = Clock()
    for module in ("_tasks", "_time", "aio", "documents", "names", "queue"):
        monkeypatch.setattr(f"almadia.recipes.{module}.time", clock)
    return clock
