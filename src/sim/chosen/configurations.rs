//! The configurations of a region, and the lists of members that it followed, as the chosen log makes them.
//!
//! Owns one record per entry that changed either. What always holds: it follows from the chosen entries alone, so it says
//! what any member that has applied an entry must have stored; an entry is judged as members judge it, and one that is
//! refused makes no record.

use raft::eraftpb::{Entry, EntryType};

use crate::core::command::Command;
use crate::core::member_list::MemberList;
use crate::core::membership;
use crate::core::region::Region;
use crate::types::{BOOTSTRAP_REGION, MEMBERS_LEVEL, NodeId};

/// See the module.
#[derive(Debug)]
pub(crate) struct Configurations {
    /// By the index of the entry that made each; the first one was there before all entries. Of each record the level is
    /// not looked at.
    records: Vec<(u64, Region)>,
}

impl Configurations {
    /// Of a region that begins so.
    pub(super) fn new(region: &Region) -> Self {
        Self { records: vec![(0, region.clone())] }
    }

    /// The newest one.
    pub(crate) fn newest(&self) -> &Region {
        &self.records.last().expect("it begins with one").1
    }

    /// How many there were so far; it grows with each.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// Whether `node` was part of one, and is not part of the newest.
    pub(crate) fn has_dropped(&self, node: NodeId) -> bool {
        !self.newest().has_member(node) && self.records.iter().any(|(_, record)| record.has_member(node))
    }

    /// The newest list of members, in the first region.
    pub(crate) fn list(&self) -> Option<&MemberList> {
        self.newest().list.as_ref()
    }

    /// Whether a list was chosen at some time.
    pub(crate) fn has_had(&self, list: &MemberList) -> bool {
        self.records.iter().any(|(_, record)| record.list.as_ref() == Some(list))
    }

    /// The one after the entry at `index`.
    pub(crate) fn at(&self, index: u64) -> &Region {
        let after = self.records.partition_point(|(made, _)| *made <= index);
        &self.records[after.max(1) - 1].1
    }

    /// Whether `holders` are a quorum: of the newest configuration, or of the one before, whose leader may have chosen an
    /// entry before it applied the newest.
    pub(crate) fn has_quorum(&self, holders: &dyn Fn(u64) -> bool) -> bool {
        let newest = self.newest();
        let before =
            self.records.iter().rev().find(|(_, record)| record.epoch.conf_ver < newest.epoch.conf_ver);
        is_quorum(newest, holders) || before.is_some_and(|(_, record)| is_quorum(record, holders))
    }

    /// Takes the next chosen entry, of a region that has this level in front of it.
    pub(super) fn take(&mut self, entry: &Entry, level: u16) {
        let after = match entry.get_entry_type() {
            EntryType::EntryNormal => self.with_list(entry, level),
            _ => self.changed_by(entry),
        };
        self.records.extend(after.map(|record| (entry.index, record)));
    }

    fn with_list(&self, entry: &Entry, level: u16) -> Option<Region> {
        let before = self.newest();
        let list = match Command::parse(entry.data.clone()) {
            Ok(Command::Members(list)) => list,
            Ok(Command::Settled(version)) if version > before.settled_version => {
                let newest = before.list.as_ref().map_or(0, |list| list.version);
                if before.id == BOOTSTRAP_REGION && version > newest {
                    return None;
                }
                return Some(Region { settled_version: version, ..before.clone() });
            }
            _ => return None,
        };
        let follows = list.check_successor(before.list.as_ref(), &before.all_members()).is_ok();
        let is_taken = before.id == BOOTSTRAP_REGION && level >= MEMBERS_LEVEL && follows;
        is_taken.then(|| Region { list: Some(list), ..before.clone() })
    }

    fn changed_by(&self, entry: &Entry) -> Option<Region> {
        let before = self.newest();
        let change = membership::parse(entry)?;
        let version = membership::list_version(&change)?;
        if version > 0 && version < before.list_version.max(before.settled_version) {
            return None;
        }
        let mut after = before.clone();
        after.members = membership::changed(&before.members, &change).ok()?;
        after.list_version = before.list_version.max(version);
        after.epoch.conf_ver += 1;
        Some(after)
    }
}

/// Whether `holders` are a majority of all that must agree by a region's configuration.
fn is_quorum(region: &Region, holders: &dyn Fn(u64) -> bool) -> bool {
    let is_majority = |voters: &[u64]| {
        let count = voters.iter().filter(|node| holders(**node)).count();
        voters.is_empty() || count > voters.len() / 2
    };
    is_majority(&region.members.voters) && is_majority(&region.members.voters_outgoing)
}
