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
    snapshots_sending: int
    """Raft snapshots that this member sends at this moment; `raft_snapshots()` of the store has more."""
    snapshots_receiving: int
    """Raft snapshots that this member receives at this moment."""
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
    installing: bool
    """Whether this member takes in a raft snapshot of the region: nothing is read here until that is done."""
    helped: int
    """How many members this one, as the region's leader, helps with a raft snapshot until they have caught up."""


class RaftSnapshotStatus(NamedTuple):
    """A raft snapshot at one moment.

    It is the data of a region on their way to a member that needs entries that the log of its leader has no more.
    """

    region: int
    """Number of the region."""
    sender: int | None
    """The member that sends it; None when it came before the store was opened."""
    receiver: int
    """The member that gets it."""
    log_index: int
    """Up to here the region's log is in it; 0 while it is made."""
    bytes: int
    """How much of it the receiver has taken."""
    bytes_estimate: int
    """About how much there will be; 0 while that is unknown."""
    stage: str
    """"making", "sending", "receiving", or "installing": all of it is here and takes the place of what was."""
