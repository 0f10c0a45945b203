"""The relays between the members of a test cluster."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from almadia._almadia import Relay

from .conftest import run_python
from .waiting import wait_until


class Ends:
    """A listener, a relay that leads to it, and the connections a test makes through it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.listener.settimeout(10)
        self.relay = Relay("127.0.0.1:{1}".format(*self.listener.getsockname()))
        stack.callback(self.relay.set_mode, "closed")

    def dial(self) -> socket.socket:
        host, port = self.relay.address.split(":")
        near = self._stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        near.settimeout(10)
        return near

    def accept(self) -> socket.socket:
        far = self._stack.enter_context(self.listener.accept()[0])
        far.settimeout(10)
        return far


@pytest.fixture
def ends() -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(stack)


def read_all(end: socket.socket) -> bytes:
    received = b""
    while chunk := end.recv(1 << 16):
        received += chunk
    return received


def relay_threads() -> int:
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return sum(name.startswith("almadia-relay") for name in names)


def test_an_open_relay_passes_bytes_in_both_directions_and_their_ends(ends: Ends) -> None:
    near, far = ends.dial(), ends.accept()
    sent = os.urandom(100_000)

    near.sendall(sent)
    near.shutdown(socket.SHUT_WR)
    received = read_all(far)
    far.sendall(b"answer")
    far.close()

    assert received == sent
    assert read_all(near) == b"answer"


def test_a_cut_relay_breaks_what_is_there_and_what_comes(ends: Ends) -> None:
    near, far = ends.dial(), ends.accept()
    near.sendall(b"x")
    far.recv(1)

    ends.relay.set_mode("cut")
    later = ends.dial()

    assert far.recv(1) == b""
    assert near.recv(1) == b""
    assert later.recv(1) == b""


def test_a_silent_relay_keeps_what_it_is_sent_until_it_is_open(ends: Ends) -> None:
    near, far = ends.dial(), ends.accept()
    near.sendall(b"1")
    far.recv(1)

    ends.relay.set_mode("silent")
    near.sendall(b"2")
    later = ends.dial()
    later.sendall(b"3")
    far.settimeout(0.1)
    with pytest.raises(TimeoutError):
        far.recv(1)
    far.settimeout(10)
    ends.relay.set_mode("open")

    assert far.recv(1) == b"2"
    assert ends.accept().recv(1) == b"3"


def test_a_silent_relay_that_is_cut_delivers_nothing(ends: Ends) -> None:
    near, far = ends.dial(), ends.accept()
    near.sendall(b"1")
    far.recv(1)
    ends.relay.set_mode("silent")
    near.sendall(b"2")

    ends.relay.set_mode("cut")

    assert far.recv(1) == b""


def test_a_relay_to_nobody_breaks_the_connection() -> None:
    with socket.socket() as bound, ExitStack() as stack:
        bound.bind(("127.0.0.1", 0))
        relay = Relay("127.0.0.1:{1}".format(*bound.getsockname()))
        host, port = relay.address.split(":")
        near = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))

        assert near.recv(1) == b""


def test_a_silent_relay_holds_a_bounded_number_of_connections(ends: Ends) -> None:
    ends.relay.set_mode("silent")
    near = [ends.dial() for _ in range(80)]

    # The oldest connections are broken to make room; the other 64 stay open.
    assert [end.recv(1) for end in near[:16]] == [b""] * 16
    assert select.select(near[16:], [], [], 0)[0] == []


def test_a_closed_relay_leaves_no_thread(ends: Ends) -> None:
    # A thread takes a moment to set its name, and the system a moment to remove a thread that has ended.
    wait_until(lambda: relay_threads() == 1)
    more = [Relay("127.0.0.1:{1}".format(*ends.listener.getsockname())) for _ in range(5)]
    wait_until(lambda: relay_threads() == 6)

    for relay in more[:4]:
        relay.set_mode("closed")
    del more, relay

    wait_until(lambda: relay_threads() == 1)


def test_what_is_no_address_or_mode_is_refused(ends: Ends) -> None:
    with pytest.raises(ValueError, match="'nowhere' is not an address"):
        Relay("nowhere")
    with pytest.raises(ValueError, match="'ajar' is not a relay mode"):
        ends.relay.set_mode("ajar")


def test_a_child_process_leaves_the_relay_of_its_parent_alone() -> None:
    program = """
import os, almadia
from almadia._almadia import Relay
relay = Relay("127.0.0.1:9")
if os.fork() == 0:
    try:
        relay.set_mode("closed")
    except almadia.ForkedError:
        del relay
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
relay.set_mode("closed")
"""
    ended = run_python(program)

    assert (ended.stdout, ended.stderr) == ("7\n", "")
