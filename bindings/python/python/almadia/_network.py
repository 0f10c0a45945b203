"""The loopback network between the members of a `testing.Cluster`, which tests can break.

Owns the ports: each member's own, and a relay for each ordered pair of members, through which the first dials the
second. What always holds: a port stays reserved from the creation of the network until it is closed, also while its
member is down, so that no other process can take it and no port has to be tried twice. Stores are left to `testing`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from ._almadia import Relay


@contextmanager
def reserved_addresses(members: int = 3) -> Iterator[dict[int, str]]:
    """Loopback addresses that are reserved for a cluster inside the `with` block, also while its members are down.

        with reserved_addresses(3) as addresses:
            ...  # Start processes that call almadia.open(..., initial_members=addresses), kill them, start them again.

    Each is the address of a socket that is bound but never listens: the kernel never picks its port, neither for a
    listener nor for a connection, while a store may listen on it any number of times.
    """
    with ExitStack() as held:
        addresses = {}
        for number in range(1, members + 1):
            bound = held.enter_context(socket.socket())
            # The stores' sockets set it too; otherwise they could not share the port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            addresses[number] = "{}:{}".format(*bound.getsockname())
        yield addresses


class Network:
    """Relays between members, and which of them are broken."""

    def __init__(self, members: int) -> None:
        self._held = ExitStack()
        self._own: Mapping[int, str] = self._held.enter_context(reserved_addresses(members))
        self._relays = {(a, b): Relay(self._own[b]) for a in self._own for b in self._own if a != b}
        self._broken: dict[tuple[int, int], str] = {}
        self._down: set[int] = set()
        # Tests break the network from one thread while another reads its state.
        self._lock = threading.RLock()

    def addresses_for(self, number: int) -> dict[int, str]:
        """The addresses of the members for member `number`: its own for itself, a relay's for each other member."""
        return {
            other: own if other == number else self._relays[number, other].address for other, own in self._own.items()
        }

    def set_broken(self, pairs: Iterable[tuple[int, int]], *, silent: bool) -> None:
        """Breaks the connections that the first of each pair dials to the second, and repairs all others."""
        with self._lock:
            self._broken = dict.fromkeys(pairs, "silent" if silent else "cut")
            for source, target in self._relays:
                self._apply(source, target)

    def cut(self, pairs: Iterable[tuple[int, int]], *, silent: bool) -> None:
        """Breaks the connections that the first of each pair dials to the second, in addition to earlier faults."""
        with self._lock:
            for source, target in pairs:
                self._broken[source, target] = "silent" if silent else "cut"
                self._apply(source, target)

    def heal(self, numbers: Iterable[int]) -> None:
        """Repairs the connections from and to `numbers`."""
        with self._lock:
            chosen = set(numbers)
            for pair in [pair for pair in self._broken if chosen.intersection(pair)]:
                del self._broken[pair]
                self._apply(*pair)

    def take_down(self, number: int) -> None:
        """Breaks all connections from and to a member until `bring_up`, whatever is broken or repaired meanwhile."""
        with self._lock:
            self._down.add(number)
            self._apply_around(number)

    def bring_up(self, number: int) -> None:
        """Ends `take_down`. Connections that a partition broke stay broken."""
        with self._lock:
            self._down.discard(number)
            self._apply_around(number)

    def is_open_between(self, a: int, b: int) -> bool:
        """Whether connections are open in both directions between two members."""
        return a == b or (self.mode(a, b) == "open" and self.mode(b, a) == "open")

    def mode(self, source: int, target: int) -> str:
        """The state of the connections `source` dials to `target`: "open", "cut" or "silent"."""
        with self._lock:
            if self._down.intersection((source, target)):
                return "cut"
            return self._broken.get((source, target), "open")

    def close(self) -> None:
        """Breaks every connection and releases the ports."""
        for relay in self._relays.values():
            relay.set_mode("closed")
        self._held.close()

    def _apply_around(self, number: int) -> None:
        for pair in self._relays:
            if number in pair:
                self._apply(*pair)

    def _apply(self, source: int, target: int) -> None:
        self._relays[source, target].set_mode(self.mode(source, target))
