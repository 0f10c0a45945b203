"""The members of a cluster: who they are, and how one changes them while the cluster serves.

    from almadia.membership import Add, Remove, Replace

    store.change_members(Add(4, "10.0.0.4:7001"), Remove(2), timeout=600)

A member that is added is opened on its own machine, with its new number and an empty directory:

    almadia.open("data-4", node_id=4, cluster_join="10.0.0.1:7001,10.0.0.3:7001", transport_announce="10.0.0.4:7001")

Either may come first: opening it asks to be let in for `cluster.join_timeout_ms`, and the change waits for it.

Owns what `Store.members` returns and the changes that `Store.change_members` takes. What always holds: objects of this
module do not change, and none of them belongs to a store. Whether changes fit the members that there are is left to the
store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Add",
    "Change",
    "Demote",
    "Drain",
    "Member",
    "MemberTable",
    "Move",
    "Prefer",
    "Promote",
    "Remove",
    "Replace",
    "Role",
]

Role: TypeAlias = Literal["voter", "learner"]
"""What a member does.

A voter's copy counts towards the majority that a write needs, and it may lead. A learner has all data and serves its
program, and does not count.
"""

_Encoded: TypeAlias = tuple[str, object, object, object, object]


@dataclass(frozen=True)
class Member:
    """A member, as the store that was asked sees it."""

    node: int
    """Its number."""
    address: str
    """Where its peers reach it, as "host:port"; empty if that is not known."""
    role: Role
    """What it is to do: "voter" or "learner"."""
    is_preferred: bool
    """Whether it is to lead rather than others."""
    is_drained: bool
    """Whether it is not to lead, as long as others can."""
    settled_regions: int
    """In how many regions it does what it is to do, as far as the store that was asked has applied."""
    seen_regions: int
    """Of how many regions that store knows how far this member has come, because it leads them; 0 of itself."""
    is_live: bool
    """Whether it was heard of lately in each of these; always true of that store itself."""
    lag_entries: int
    """How many entries of the log it lacks, of all of these."""
    led_regions: int
    """How many regions it leads, as far as that store knows."""
    last_heard: float | None
    """For how many seconds that store has heard nothing of it, on any connection; 0 of itself.

    None if it never has since it was opened, or is closed. Members of which neither leads may have nothing to say to
    each other for long.
    """
    version: str
    """The version of the library that it runs, as it said when it connected last.

    Empty if it has not since that store was opened, if that is closed, and if it runs a release that does not say.
    """


@dataclass(frozen=True)
class MemberTable:
    """The members of a cluster, as the store that was asked sees them."""

    version: int
    """Counts the changes, among them that a new member has come; 0 as long as there was none."""
    members: tuple[Member, ...]
    """In order of their numbers."""
    unsettled: tuple[str, ...]
    """What the regions wait for that have not followed the last change yet, in words.

    Empty when all have, as far as that store knows.
    """


class Change:
    """A change of the members: `Add`, `Remove`, `Replace`, `Promote`, `Demote`, `Move`, `Prefer` or `Drain`."""

    def _encoded(self) -> _Encoded:
        """As the compiled part takes it: kind, member, new member, address, and a choice."""
        raise TypeError("a change of the members is Add, Remove, Replace, Promote, Demote, Move, Prefer or Drain")


@dataclass(frozen=True)
class Add(Change):
    """A new member, which is opened with `cluster_join` and an empty directory."""

    node: int
    """Its number: higher than that of any member that there ever was."""
    address: str
    """Where its peers reach it, as "host:port": its `transport_announce`."""
    role: Role = "voter"
    """What it is to do."""

    def _encoded(self) -> _Encoded:
        return "add", self.node, 0, self.address, self.role


@dataclass(frozen=True)
class Remove(Change):
    """A member goes. Its number never comes back, and its calls raise `almadia.Removed` from then on."""

    node: int
    """Its number."""

    def _encoded(self) -> _Encoded:
        return "remove", self.node, 0, "", None


@dataclass(frozen=True)
class Replace(Change):
    """A new member takes the place and the role of another, which goes, for good: its machine or its disk is lost."""

    node: int
    """Who goes."""
    by: int
    """The number of the new one: higher than that of any member that there ever was."""
    address: str
    """Where the peers of the new one reach it, as "host:port"."""

    def _encoded(self) -> _Encoded:
        return "replace", self.node, self.by, self.address, None


@dataclass(frozen=True)
class Promote(Change):
    """A learner is to vote."""

    node: int
    """Its number."""

    def _encoded(self) -> _Encoded:
        return "promote", self.node, 0, "", None


@dataclass(frozen=True)
class Demote(Change):
    """A voter is to learn only."""

    node: int
    """Its number."""

    def _encoded(self) -> _Encoded:
        return "demote", self.node, 0, "", None


@dataclass(frozen=True)
class Move(Change):
    """A member is reached at another address."""

    node: int
    """Its number."""
    address: str
    """Where its peers reach it, as "host:port"."""

    def _encoded(self) -> _Encoded:
        return "move", self.node, 0, self.address, None


@dataclass(frozen=True)
class Prefer(Change):
    """A voter is to lead rather than others, or no more than others."""

    node: int
    """Its number."""
    is_preferred: bool = True
    """Whether it is preferred."""

    def _encoded(self) -> _Encoded:
        return "prefer", self.node, 0, "", self.is_preferred


@dataclass(frozen=True)
class Drain(Change):
    """A member is not to lead as long as others can, as before it is taken down for long, or may lead again."""

    node: int
    """Its number."""
    is_drained: bool = True
    """Whether it is drained."""

    def _encoded(self) -> _Encoded:
        return "drain", self.node, 0, "", self.is_drained


def encoded(changes: Iterable[object]) -> list[_Encoded]:
    """Changes as the compiled part takes them. Internal."""
    rows = []
    for change in changes:
        if not isinstance(change, Change):
            raise TypeError(f"a change of the members is an object such as Add or Remove, not {type(change).__name__}")
        rows.append(change._encoded())
    return rows
