"""Waiting: deadlines, Ctrl-C, threads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import almadia
import pytest
from almadia.membership import Remove

from .conftest import FAST, close_at_once, free_addresses

CALLS: list[Callable[[almadia.Store, float], Any]] = [
    lambda store, timeout: store.put(b"k", b"v", timeout=timeout),
    lambda store, timeout: store.delete(b"k", timeout=timeout),
    lambda store, timeout: store.delete_range(b"a", b"b", timeout=timeout),
    lambda store, timeout: store.get(b"k", timeout=timeout),
    lambda store, timeout: store.get(b"k", level="local", min_index=1 << 40, timeout=timeout),
    lambda store, timeout: store.get_with_position(b"k", timeout=timeout),
    lambda store, timeout: store.get_many([b"k"], timeout=timeout),
    lambda store, timeout: store.get_many([b"k"], level="local", min_index=1 << 40, timeout=timeout),
    lambda store, timeout: store.snapshot(timeout=timeout),
    lambda store, timeout: store.transaction(timeout=timeout),
    lambda store, timeout: store.transact(lambda txn: None, timeout=timeout),
    # One that begins without a leader waits when it commits.
    lambda store, timeout: store.transact(lambda txn: txn.put(b"k", b"v"), level="local", timeout=timeout),
    lambda store, timeout: in_a_block(store, timeout),
    lambda store, timeout: store.wait_leader(timeout=timeout),
]


def change_the_members(store: almadia.Store, timeout: float) -> None:
    store.change_members(Remove(3), timeout=timeout)


def in_a_block(store: almadia.Store, timeout: float) -> None:
    with store.transaction(level="local", timeout=timeout) as txn:
        txn[b"k"] = b"v"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("timeout", [0, 0.12])
def test_a_call_is_answered_by_its_deadline(alone: almadia.Store, call: Any, timeout: float) -> None:
    begun = time.monotonic()

    with pytest.raises(almadia.AlmadiaError) as raised:
        call(alone, timeout)

    assert raised.value.outcome is almadia.Outcome.NOT_APPLIED
    assert raised.value.retryable
    # Without the deadline it would take an hour; the margin is for a busy machine.
    assert timeout <= time.monotonic() - begun < 60


@pytest.mark.parametrize("call", [change_the_members, *CALLS])
def test_ctrl_c_ends_a_call_that_waits(alone: almadia.Store, call: Any) -> None:
    def press() -> None:
        # The call was accepted, so the main thread waits for its answer or is about to.
        while alone.status().in_flight == 0 and waits_as_a_call:
            pass
        signal.raise_signal(signal.SIGINT)

    waits_as_a_call = call is not CALLS[-1]
    pressing = threading.Thread(target=press)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pressing.start()
        call(alone, 3600)
    pressing.join()

    assert time.monotonic() - begun < 60


def test_a_store_has_a_timeout_of_its_own(tmp_path: Any) -> None:
    store = almadia.open(tmp_path / "s", initial_members=free_addresses(3), timeout=0.05, options=FAST)
    with pytest.raises(almadia.NoLeaderError):
        store[b"k"] = b"v"
    with pytest.raises(almadia.AlmadiaError, match="no leader"):
        store[b"k"]
    close_at_once(store)


def test_other_threads_run_while_one_waits(alone: almadia.Store) -> None:
    def wait() -> None:
        with pytest.raises(almadia.AlmadiaError):
            alone.put(b"k", b"v", timeout=3600)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while alone.status().in_flight == 0:
        pass

    # If the call held the GIL while it waits, this thread would not run for an hour.
    steps = sum(1 for _ in range(1000))

    assert waiting.is_alive()
    assert steps == 1000
    close_at_once(alone)
    waiting.join()


def test_many_threads_use_one_store(store: almadia.Store) -> None:
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(100):
                key = b"%d/%d" % (name, number)
                store[key] = key
                assert store[key] == key
                with store.snapshot(prefix=b"%d/" % name) as snapshot:
                    assert len(list(snapshot)) == number + 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_closing_while_others_wait_answers_them(alone: almadia.Store) -> None:
    answers: list[BaseException] = []

    def call() -> None:
        try:
            alone.put(b"k", b"v", timeout=600)
        except almadia.AlmadiaError as error:
            answers.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    while alone.status().in_flight < len(threads):
        pass
    close_at_once(alone)
    for thread in threads:
        thread.join()

    assert len(answers) == len(threads)
    with pytest.raises(almadia.ClosedError):
        alone.put(b"k", b"v")
