"""Prefork servers such as gunicorn: a master that holds the listening socket, and workers that are members.

What such a program has to do: import before the fork if it likes, open after it, give each worker a number of its own,
and give a new worker the number, and so the directory, of the one it replaces.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from almadia.testing import reserved_addresses

from .waiting import wait_until

MASTER = """
import contextlib, os, signal, socket, sys
import almadia

directory, members, fd = sys.argv[1:]
listener = socket.socket(fileno=int(fd))

def work(number):
    # As in gunicorn's post_fork hook: the store is opened here, in the worker.
    with almadia.open(f"{directory}/{number}", node_id=number, initial_members=members, timeout=20) as store:
        while True:
            connection, _ = listener.accept()
            with connection:
                verb, _, rest = connection.recv(1000).partition(b" ")
                if verb == b"PUT":
                    key, _, value = rest.partition(b"=")
                    store[key] = value
                connection.sendall(b"%d %d " % (number, os.getpid()) + store.get(rest.partition(b"=")[0], b"-"))

workers = {}
ended = False

def fork(number):
    # A signal between the fork and the lines below would be lost, or reach the wrong handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        try:
            work(number)
        finally:
            os._exit(0)
    workers[child] = number
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if ended:
        os.kill(child, signal.SIGTERM)

def end(*_):
    global ended
    ended = True
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):  # It ended by itself a moment ago.
            os.kill(worker, signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
for number in (1, 2, 3):
    fork(number)
while workers:
    child, status = os.wait()
    number = workers.pop(child)
    if not ended:
        fork(number)
    elif status != 0:
        sys.exit(f"worker {number}: {os.waitstatus_to_exitcode(status)}")
"""


def ask(listener: socket.socket, request: bytes) -> tuple[int, int, bytes]:
    """The number and process id of the worker that answered, and its answer."""
    with socket.create_connection(listener.getsockname(), timeout=60) as connection:
        connection.sendall(request)
        number, process, answer = connection.makefile("rb").read().split(b" ", 2)
    return int(number), int(process), answer


def test_workers_are_members_and_a_new_one_takes_the_place_of_a_dead_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, reserved_addresses() as addresses:
        members = ",".join(f"{number}={address}" for number, address in addresses.items())
        command = [sys.executable, "-c", MASTER, str(tmp_path), members, str(listener.fileno())]
        master = subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True)
        try:
            answers = [ask(listener, b"PUT %d=%d" % (n, n)) for n in range(30)]
            number, killed, _ = answers[-1]
            os.kill(killed, signal.SIGKILL)
            # Until it has ended it may accept one more connection and drop it.
            wait_until(lambda: not Path(f"/proc/{killed}").exists(), seconds=60)
            seen: dict[int, int] = {}

            def replaced() -> bool:
                by, process, answer = ask(listener, b"GET 7")
                assert answer == b"7"
                seen[by] = process
                return seen.get(number, killed) != killed

            wait_until(replaced, seconds=60)
        finally:
            master.terminate()
            _, errors = master.communicate(timeout=60)

    assert [answer for _, _, answer in answers] == [b"%d" % n for n in range(30)]
    assert (master.returncode, errors) == (0, "")
