"""The status of a store."""

from __future__ import annotations

from typing import NamedTuple

from .errors import AlmadiaError


class Status(NamedTuple):
    """The status of a store at one moment. Log indexes are those of the first region."""

    node: int
    """This member."""
    leader: int | None
    """The member it believes to be the leader; None while there is no leader."""
    role: str
    """This member's raft role: "leader", "follower" or "candidate"."""
    term: int
    """Current raft term."""
    commit_index: int
    """Highest log index this member knows to be committed."""
    applied_index: int
    """Highest log index whose effect is visible on this member."""
    last_index: int
    """Last log index this member holds."""
    in_flight: int
    """Calls accepted and not yet answered."""
    live_snapshots: int
    """Open snapshots and iterators, which keep old data from being reclaimed."""
    log_bytes: int
    """Length of the raft log's files, of all regions, in bytes."""
    log_segments: int
    """How many files those are."""
    log_holder: int | None
    """The member that lags or is away, for which this leader keeps more log than `log.retain_bytes`, if any."""
    poisoned: AlmadiaError | None
    """The error that stopped the store, if one did."""


class RegionStatus(NamedTuple):
    """The status of one region on this member at one moment."""

    id: int
    """Number of the region."""
    start_key: bytes
    """Its first key."""
    end_key: bytes
    """The first key after it; empty when there is none."""
    leader: int | None
    """The member this one believes to be the region's leader; None while there is no leader."""
    role: str
    """This member's raft role in the region."""
    term: int
    """Current raft term of the region."""
    commit_index: int
    """Highest index of the region's log this member knows to be committed."""
    applied_index: int
    """Highest index of the region's log whose effect is visible on this member."""
    last_index: int
    """Last index of the region's log this member holds."""
    feature_level: int
    """What the region's log may hold, because the libraries of all members know it.

    0: a member runs a release that knows no conditions, or did a moment ago. 1: everything that this release offers.
    """
