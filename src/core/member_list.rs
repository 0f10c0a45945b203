//! The members that a cluster is to have.
//!
//! Owns [`MemberList`], its encoding, and when one may follow another. What always holds: numbers of members only grow, so
//! one that is not in the list and not above its highest number was removed for good; a number belongs to one directory,
//! from when it joins; somebody votes; a list follows the
//! one before it by the rules of [`MemberList::check_successor`], which look at both lists and at nothing else, so every
//! member accepts the same ones. How a region follows the list is left to [`next_change`](crate::core::next_change).

mod changes;

pub use changes::MemberChange;

use crate::types::{InstanceId, MEMBERS_MAX, NodeId};

const FORMAT: u8 = 1;
/// Longest address of a member in bytes: a host name of 253, brackets and a port.
pub(crate) const ADDRESS_BYTES_MAX: usize = 300;

/// The instance of a member that has not joined yet.
pub(crate) const NOT_JOINED: InstanceId = InstanceId(0);
/// The instance of a member that there was before the first list: nobody joins in its place.
pub(crate) const FOUNDER: InstanceId = InstanceId(u64::MAX);

/// What a member does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MemberRole {
    /// It votes: its copy counts towards the majority that a write needs, and it may lead.
    #[default]
    Voter = 0,
    /// It has all data and serves its program, and does not count towards a majority.
    Learner = 1,
}

/// A member of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMember {
    /// Its number.
    pub node: NodeId,
    /// Its directory: [`NOT_JOINED`] until it has joined, [`FOUNDER`] for one that never had to.
    pub instance: InstanceId,
    /// Where its peers reach it, as `host:port`; empty for a member that has no address.
    pub address: String,
    /// What it is to do.
    pub role: MemberRole,
    /// Whether it is to lead rather than others.
    pub is_preferred: bool,
    /// Whether it is not to lead, as long as others can.
    pub is_drained: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList {
    /// Grows by one with each change; the first has 1.
    pub version: u64,
    /// The highest number that a member ever had.
    pub highest: NodeId,
    /// In order of their numbers.
    pub members: Vec<ListedMember>,
}

/// Why a list does not follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotASuccessor {
    /// Another one came before it.
    Version,
    /// It breaks a rule.
    Rule,
}

impl MemberList {
    /// The member with this number.
    #[must_use]
    pub(crate) fn get(&self, node: NodeId) -> Option<&ListedMember> {
        let at = self.members.binary_search_by_key(&node, |member| member.node).ok()?;
        Some(&self.members[at])
    }

    /// Whether `node` was a member, or could have been one, and is none any more: it never comes back.
    #[must_use]
    pub(crate) fn is_removed(&self, node: NodeId) -> bool {
        node <= self.highest && self.get(node).is_none()
    }

    /// The members that are to vote.
    pub(crate) fn voters(&self) -> impl Iterator<Item = NodeId> {
        let votes = |member: &&ListedMember| member.role == MemberRole::Voter;
        self.members.iter().filter(votes).map(|member| member.node)
    }

    /// Whether this list may follow `before`, or may be the first of a region whose configuration has these `members`.
    pub(crate) fn check_successor(
        &self,
        before: Option<&Self>,
        members: &[NodeId],
    ) -> Result<(), NotASuccessor> {
        if self.version != before.map_or(0, |list| list.version) + 1 {
            return Err(NotASuccessor::Version);
        }
        let highest_before =
            before.map_or_else(|| members.iter().copied().max().unwrap_or_default(), |list| list.highest);
        let was_there = |node| match before {
            Some(list) => list.get(node).is_some(),
            None => members.contains(&node),
        };
        let is_new_or_was_there =
            |member: &ListedMember| member.node > highest_before || was_there(member.node);
        // Nobody joins twice: a second directory of the same number has nothing of what the first one promised to keep.
        let joins_once = |member: &ListedMember| {
            let bound = match before {
                Some(list) => list.get(member.node).map_or(NOT_JOINED, |known| known.instance),
                None if was_there(member.node) => return member.instance == FOUNDER,
                None => NOT_JOINED,
            };
            bound == NOT_JOINED || bound == member.instance
        };
        let highest = self.members.last().map_or(highest_before, |last| last.node.max(highest_before));
        let obeys = self.is_well_formed()
            && self.members.iter().all(|member| is_new_or_was_there(member) && joins_once(member))
            && self.highest == highest;
        if obeys { Ok(()) } else { Err(NotASuccessor::Rule) }
    }

    /// What holds for every list by itself.
    fn is_well_formed(&self) -> bool {
        let is_ascending = self.members.windows(2).all(|pair| pair[0].node < pair[1].node);
        let is_fit = |member: &ListedMember| {
            member.node.get() > 0
                && member.node.get() < u64::MAX
                && member.address.len() <= ADDRESS_BYTES_MAX
                && (member.role == MemberRole::Voter || !member.is_preferred)
        };
        is_ascending
            && self.members.len() <= MEMBERS_MAX
            && self.members.iter().all(is_fit)
            && self.voters().next().is_some()
            && self.members.last().is_some_and(|last| last.node <= self.highest)
    }

    /// The encoded form: format u8 = 1 | version u64 | highest u64 | members u32 | each: node u64 | instance u64 |
    /// role u8 (bit 7: is preferred, bit 6: is drained) | length u32 and bytes of the address; little-endian.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.is_well_formed() && self.version > 0, "what nobody can read is written nowhere");
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.highest.get().to_le_bytes());
        put_length(&mut out, self.members.len());
        for member in &self.members {
            out.extend_from_slice(&member.node.get().to_le_bytes());
            out.extend_from_slice(&member.instance.get().to_le_bytes());
            out.push(
                member.role as u8 | u8::from(member.is_preferred) << 7 | u8::from(member.is_drained) << 6,
            );
            put_length(&mut out, member.address.len());
            out.extend_from_slice(member.address.as_bytes());
        }
        out
    }

    /// Reads that form; none when it is damaged, of a newer version, or no list by the rules.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&format, mut rest) = bytes.split_first()?;
        let version = take(&mut rest).map(u64::from_le_bytes)?;
        let highest = NodeId(take(&mut rest).map(u64::from_le_bytes)?);
        let count = take(&mut rest).map(u32::from_le_bytes)? as usize;
        if format != FORMAT || version == 0 || count > MEMBERS_MAX {
            return None;
        }
        let members = (0..count).map(|_| take_member(&mut rest)).collect::<Option<Vec<_>>>()?;
        let list = Self { version, highest, members };
        (rest.is_empty() && list.is_well_formed()).then_some(list)
    }
}

fn take_member(rest: &mut &[u8]) -> Option<ListedMember> {
    let node = NodeId(take(rest).map(u64::from_le_bytes)?);
    let instance = InstanceId(take(rest).map(u64::from_le_bytes)?);
    let [flags] = take::<1>(rest)?;
    let role = match flags & 0x3f {
        0 => MemberRole::Voter,
        1 => MemberRole::Learner,
        _ => return None,
    };
    let length = take(rest).map(u32::from_le_bytes)? as usize;
    let (address, after) = rest.split_at_checked(length)?;
    *rest = after;
    let address = std::str::from_utf8(address).ok()?.to_owned();
    Some(ListedMember {
        node,
        instance,
        address,
        role,
        is_preferred: flags & 0x80 != 0,
        is_drained: flags & 0x40 != 0,
    })
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).expect("lists are short").to_le_bytes());
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, role: MemberRole) -> ListedMember {
        let address = format!("host-{node}:1");
        ListedMember {
            node: NodeId(node),
            instance: FOUNDER,
            address,
            role,
            is_preferred: false,
            is_drained: false,
        }
    }

    fn list(version: u64, highest: u64, nodes: &[u64]) -> MemberList {
        let members = nodes.iter().map(|&node| member(node, MemberRole::Voter)).collect();
        MemberList { version, highest: NodeId(highest), members }
    }

    #[test]
    fn a_list_survives_the_round_trip_and_any_cut_of_it_is_refused() {
        let mut list = list(7, 9, &[1, 2, 9]);
        list.members[1].role = MemberRole::Learner;
        list.members[2].is_preferred = true;
        let bytes = list.encode();

        assert_eq!(MemberList::decode(&bytes), Some(list));
        assert!((0..bytes.len()).all(|length| MemberList::decode(&bytes[..length]).is_none()));
        assert!(MemberList::decode(&[bytes, vec![0]].concat()).is_none());
    }

    #[test]
    fn a_number_that_was_removed_never_comes_back() {
        let before = list(3, 5, &[1, 2, 3]);

        assert!(before.is_removed(NodeId(4)) && before.is_removed(NodeId(5)));
        assert!(!before.is_removed(NodeId(6)) && !before.is_removed(NodeId(1)));
        let follows = |after: MemberList| after.check_successor(Some(&before), &[]);
        assert_eq!(follows(list(4, 5, &[1, 2])), Ok(()));
        assert_eq!(follows(list(4, 6, &[1, 2, 6])), Ok(()));
        assert_eq!(follows(list(4, 5, &[1, 2, 5])), Err(NotASuccessor::Rule));
        assert_eq!(follows(list(4, 5, &[1, 2, 6])), Err(NotASuccessor::Rule), "its highest is too low");
        assert_eq!(follows(list(4, 4, &[1, 2])), Err(NotASuccessor::Rule), "nor does the highest fall");
        assert_eq!(follows(list(5, 5, &[1, 2])), Err(NotASuccessor::Version));
    }

    #[test]
    fn the_first_list_is_held_to_the_configuration() {
        let nodes = [NodeId(1), NodeId(3)];
        let follows = |mut after: MemberList| {
            let new = after.members.iter_mut().filter(|member| !nodes.contains(&member.node));
            new.for_each(|member| member.instance = NOT_JOINED);
            after.check_successor(None, &nodes)
        };

        assert_eq!(follows(list(1, 4, &[1, 3, 4])), Ok(()));
        assert_eq!(follows(list(1, 3, &[1, 2, 3])), Err(NotASuccessor::Rule), "2 may have been a member");
        assert_eq!(follows(list(2, 3, &[1, 3])), Err(NotASuccessor::Version));
    }

    #[test]
    fn a_number_is_joined_once() {
        let with = |version, instance| {
            let mut list = list(version, 2, &[1, 2]);
            list.members[1].instance = InstanceId(instance);
            list
        };

        assert_eq!(with(2, 70).check_successor(Some(&with(1, 0)), &[]), Ok(()));
        assert_eq!(with(2, 70).check_successor(Some(&with(1, 70)), &[]), Ok(()));
        assert_eq!(with(2, 71).check_successor(Some(&with(1, 70)), &[]), Err(NotASuccessor::Rule));
        assert_eq!(with(2, 0).check_successor(Some(&with(1, 70)), &[]), Err(NotASuccessor::Rule));
        assert_eq!(with(1, 70).check_successor(None, &[NodeId(1), NodeId(2)]), Err(NotASuccessor::Rule));
    }

    #[test]
    fn somebody_votes() {
        let mut after = list(2, 2, &[1, 2]);
        after.members.iter_mut().for_each(|member| member.role = MemberRole::Learner);

        assert_eq!(after.check_successor(Some(&list(1, 2, &[1, 2])), &[]), Err(NotASuccessor::Rule));
    }
}
