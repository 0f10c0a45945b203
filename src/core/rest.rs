//! A peer at rest, as far as ticks and heartbeats concern it.
//!
//! Owns what a heartbeat, the answer to one or a tick may ask of a peer and leave in it, in a few words of memory: for a
//! store with many idle regions, going through the memory of every peer ten times a second costs more than all that is
//! done there. What always holds: what is said here is what raft would say; whatever is not certainly without news is
//! refused, and goes to the peer itself, which has caught up before. Which peers are at rest is the business of
//! [`peers`](crate::core::peers), when a peer may rest and how it catches up that of `peer/idling.rs`.

use crate::core::gathered::Gathered;
use crate::core::heartbeats::{Heartbeat, HeartbeatKind, Single};
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId, RegionEpoch, RegionId, Term};

/// A leader of more others than this is looked at on every tick.
pub(crate) const OTHERS_MAX: usize = 6;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    /// This member.
    pub node: NodeId,
    /// The region, as this member names it.
    pub epoch: RegionEpoch,
    /// The term, which is on disk.
    pub term: Term,
    /// What is committed, which is applied.
    pub commit: LogIndex,
    /// The tick after which the rest began.
    pub since: u64,
    /// The tick on which the peer itself has something to do, or may have.
    pub wakes_at: u64,
    /// After this moment a tick may have to renew the lease.
    pub renews_after: Timestamp,
    /// What it does meanwhile.
    pub role: RestRole,
}

/// What a peer at rest does.
#[derive(Clone, Debug)]
pub(crate) enum RestRole {
    /// It follows.
    Follower(Following),
    /// It leads.
    Leader(Leading),
}

/// A follower at rest.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    /// Whom it follows.
    pub leader: NodeId,
    /// So many ticks after it was last heard the follower campaigns.
    pub timeout_ticks: u64,
    /// The tick after which the leader was last heard, if it was since the rest began.
    pub heard_at: Option<u64>,
}

/// A leader at rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leading {
    /// The other members.
    others: [Other; OTHERS_MAX],
    count: usize,
}

/// Another member, to a leader at rest.
#[derive(Clone, Copy, Debug, Default)]
struct Other {
    node: NodeId,
    /// Up to where it is told to commit.
    commit: LogIndex,
    /// It has the whole log, so that its answer brings no news.
    has_all: bool,
    /// It has answered since the rest began.
    has_answered: bool,
}

impl Rest {
    /// Hears a heartbeat, or the answer to one, after the tick `now`. What is to be answered is gathered. False, and
    /// nothing is done, when there is more to it.
    #[must_use]
    pub(crate) fn hear(
        &mut self,
        region: RegionId,
        single: Single,
        now: u64,
        gathered: &mut Gathered,
    ) -> bool {
        let Single { from, to, kind, heartbeat: Heartbeat { term, commit, read } } = single;
        if to != self.node || term != self.term {
            return false;
        }
        match &mut self.role {
            RestRole::Follower(following) => {
                let is_news = kind != HeartbeatKind::Heartbeat || from != following.leader;
                if is_news || commit > self.commit {
                    return false;
                }
                following.heard_at = Some(now);
                self.wakes_at = now.saturating_add(following.timeout_ticks);
                let heartbeat = Heartbeat { term, commit: self.commit, read };
                let answer = Single { from: to, to: from, kind: HeartbeatKind::Answer, heartbeat };
                gathered.add(region, self.epoch, answer);
                true
            }
            RestRole::Leader(leading) => {
                let other = leading.others[..leading.count].iter_mut().find(|other| other.node == from);
                let other = other.filter(|other| other.has_all && kind == HeartbeatKind::Answer);
                // Nothing is asked of the quorum while a leader rests: whatever the answer repeats is no question any more.
                let Some(other) = other.filter(|_| commit == self.commit) else { return false };
                other.has_answered = true;
                true
            }
        }
    }

    /// Gathers the heartbeats of a leader.
    pub(crate) fn say_heartbeats(&self, region: RegionId, gathered: &mut Gathered) {
        let RestRole::Leader(leading) = &self.role else { panic!("only a leader has heartbeats") };
        for other in &leading.others[..leading.count] {
            let heartbeat = Heartbeat { term: self.term, commit: other.commit, read: None };
            let (from, to, kind) = (self.node, other.node, HeartbeatKind::Heartbeat);
            gathered.add(region, self.epoch, Single { from, to, kind, heartbeat });
        }
    }

    /// Whether it leads.
    #[must_use]
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, RestRole::Leader(_))
    }
}

impl Leading {
    /// Adds a member that is told to commit up to `commit`; false when there is no room for it.
    #[must_use]
    pub(crate) fn add(&mut self, node: NodeId, commit: LogIndex, has_all: bool) -> bool {
        let Some(free) = self.others.get_mut(self.count) else { return false };
        *free = Other { node, commit, has_all, has_answered: false };
        self.count += 1;
        true
    }

    /// Those who have answered since the rest began.
    pub(crate) fn answered(&self) -> impl Iterator<Item = NodeId> {
        self.others[..self.count].iter().filter(|other| other.has_answered).map(|other| other.node)
    }
}
