"""What a store says about itself."""

from __future__ import annotations

from typing import NamedTuple

from .errors import AlmadiaError


class Status(NamedTuple):
    """A moment's picture of a store. Where it speaks of a log it means that of the first region."""

    node: int
    """This member."""
    leader: int | None
    """The member it believes to lead; None while there is no leader."""
    role: str
    """This member's raft role: "leader", "follower" or "candidate"."""
    term: int
    """Current raft term."""
    commit_index: int
    """Highest log index this member knows to be committed."""
    applied_index: int
    """Highest log index whose effect this member can show."""
    last_index: int
    """Last log index this member holds."""
    in_flight: int
    """Calls accepted and not yet answered."""
    live_snapshots: int
    """Snapshots and iterators that keep old data from being cleaned up."""
    poisoned: AlmadiaError | None
    """The error that stopped the store, if one did."""


class RegionStatus(NamedTuple):
    """A moment's picture of one region on this member."""

    id: int
    """Number of the region."""
    start_key: bytes
    """Its first key."""
    end_key: bytes
    """The first key behind it; empty when there is none."""
    leader: int | None
    """The member this one believes to lead the region; None while there is no leader."""
    role: str
    """This member's raft role in the region."""
    term: int
    """Current raft term of the region."""
    commit_index: int
    """Highest index of the region's log this member knows to be committed."""
    applied_index: int
    """Highest index of the region's log whose effect this member can show."""
    last_index: int
    """Last index of the region's log this member holds."""
