"""The example kv_http.py: three processes; the leader is killed, and every byte is compared."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from almadia.testing import reserved_addresses

from .waiting import wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "python" / "kv_http.py"


class Process:
    """One process of the service."""

    def __init__(self, directory: Path, number: int, members: str) -> None:
        command = [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLE), str(directory), str(number), "0", members]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        serves = self._process.stdout.readline()
        assert serves.startswith(f"member {number} serves http://127.0.0.1:"), self._process.communicate()
        self._port = int(serves.rsplit(":", 1)[1].strip().strip("/"))

    def ask(
        self, method: str, path: str, body: bytes | None = None, length: int | None = None
    ) -> tuple[int, bytes, str | None]:
        """Status, body and Retry-After of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            headers = {} if length is None else {"Content-Length": str(length)}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers["Retry-After"]
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("GET", "/status")[1])
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> tuple[int, str]:
        """Asks it to end; returns its exit code and its output."""
        self._process.send_signal(signal.SIGTERM)
        _, errors = self._process.communicate(timeout=30)
        return self._process.returncode, errors


class Service:
    """Three processes, each with its own directory."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._directory = directory
        addresses = stack.enter_context(reserved_addresses())
        self._members = ",".join(f"{number}={address}" for number, address in addresses.items())
        self.processes: dict[int, Process] = {}
        for number in (1, 2, 3):
            self.start(number)

    def start(self, number: int) -> Process:
        process = self.processes[number] = Process(self._directory / str(number), number, self._members)
        return process

    def kill(self, number: int) -> None:
        self.processes.pop(number).kill()

    def leader(self) -> int:
        """Waits until all running processes agree on a running leader."""
        found: set[int | None] = set()

        def agreed() -> bool:
            found.clear()
            found.update(process.status()["leader"] for process in self.processes.values())
            return len(found) == 1 and found <= set(self.processes)

        wait_until(agreed, seconds=30)
        (leader,) = found
        assert leader is not None
        return leader


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        service = Service(stack, tmp_path)
        yield service
        for process in service.processes.values():
            process.kill()


def test_it_goes_on_when_the_process_of_the_leader_is_killed(service: Service) -> None:
    written: dict[str, str] = {}

    def write_through_all(name: str) -> None:
        for n in range(30):
            number = sorted(service.processes)[n % len(service.processes)]
            key, value = f"{name}/{n:02d}", os.urandom(20).hex()
            # A PUT is idempotent and may be sent again; during a long election the answer is 503 or 504.
            wait_until(
                lambda number=number, key=key, value=value: (  # type: ignore[misc]
                    service.processes[number].ask("PUT", f"/kv/{key}", value.encode())[0] == 204
                ),
                seconds=60,
            )
            written[key] = value

    write_through_all("before")
    killed = service.leader()
    service.kill(killed)
    write_through_all("without")
    service.start(killed)
    write_through_all("after")

    for process in service.processes.values():
        status, body, _ = process.ask("GET", "/kv?prefix=")
        assert status == 200
        assert json.loads(body) == written
    assert {n: process.end() for n, process in service.processes.items()} == dict.fromkeys((1, 2, 3), (0, ""))


def test_what_it_answers(service: Service) -> None:
    first, second, third = (service.processes[number] for number in (1, 2, 3))
    service.leader()

    assert first.ask("PUT", "/kv/fruit/apple", b"red")[:2] == (204, b"")
    assert second.ask("GET", "/kv/fruit/apple")[:2] == (200, b"red")
    assert third.ask("PUT", "/kv/fruit%2Fpear%FF", b"")[0] == 204
    assert first.ask("GET", "/kv/fruit%2Fpear%FF")[:2] == (200, b"")
    assert json.loads(second.ask("GET", "/kv?prefix=fruit/")[1]) == {"fruit/apple": "red", "fruit/pear\\xff": ""}
    assert json.loads(second.ask("GET", "/kv?prefix=vegetable/")[1]) == {}
    assert third.ask("DELETE", "/kv/fruit/apple")[0] == 204
    assert first.ask("GET", "/kv/fruit/apple")[0] == 404
    assert first.ask("GET", "/elsewhere")[0] == 404
    assert first.ask("PUT", "/kv/")[0] == 404
    assert first.ask("PUT", "/kv/" + "k" * 20_000, b"v")[0] == 400
    assert first.ask("PUT", "/kv/large", length=1 << 21)[0] == 413


def test_without_a_majority_a_read_may_be_sent_again_and_a_write_is_in_doubt(service: Service) -> None:
    leader = service.leader()
    assert service.processes[leader].ask("PUT", "/kv/k", b"v")[0] == 204

    for number in {1, 2, 3} - {leader}:
        service.kill(number)
    last = service.processes[leader]
    put, put_body, _ = last.ask("PUT", "/kv/k", b"w")
    wait_until(lambda: last.status()["leader"] is None, seconds=30)
    got, got_body, retry_after = last.ask("GET", "/kv/k")

    assert (put, b"read the key" in put_body) == (504, True)
    assert (got, retry_after, b"Send it again" in got_body) == (503, "1", True)
