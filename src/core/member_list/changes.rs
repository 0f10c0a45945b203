//! Changes of the list of members, as callers ask for them.
//!
//! Owns [`MemberChange`] and what changes make of a list. What always holds: changes that contradict the list, or each
//! other, are refused as a whole, with a reason; what comes out may follow the list
//! ([`MemberList::check_successor`]).

use super::{ADDRESS_BYTES_MAX, FOUNDER, ListedMember, MemberList, MemberRole, NOT_JOINED};
use crate::address::Address;
use crate::types::{InstanceId, MEMBERS_MAX, NodeId};

/// One change of the members of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member, which is started with `cluster.join` and an empty directory.
    Add {
        /// Its number: higher than that of any member that there ever was.
        node: NodeId,
        /// Where its peers reach it, as `host:port`.
        address: String,
        /// What it is to do.
        role: MemberRole,
    },
    /// A member goes. Its number never comes back.
    Remove {
        /// Its number.
        node: NodeId,
    },
    /// A new member takes the place and the role of another, which goes, for good.
    Replace {
        /// Who goes.
        node: NodeId,
        /// The number of the new one, as in [`Add`](Self::Add).
        by: NodeId,
        /// Where its peers reach it, as `host:port`.
        address: String,
    },
    /// A learner is to vote.
    Promote {
        /// Its number.
        node: NodeId,
    },
    /// A voter is to learn only.
    Demote {
        /// Its number.
        node: NodeId,
    },
    /// A member is reached at another address.
    Move {
        /// Its number.
        node: NodeId,
        /// Where its peers reach it, as `host:port`.
        address: String,
    },
    /// A voter is to lead rather than others, or no more than others.
    Prefer {
        /// Its number.
        node: NodeId,
        /// Whether it is preferred.
        is_preferred: bool,
    },
    /// A member is not to lead as long as others can, as before it is taken down for long, or may lead again.
    Drain {
        /// Its number.
        node: NodeId,
        /// Whether it is drained.
        is_drained: bool,
    },
}

impl MemberList {
    /// What stands in for a list as long as nobody has changed the members: those of the configuration.
    #[must_use]
    pub(crate) fn of_founders(members: impl Iterator<Item = (NodeId, bool, String)>) -> Self {
        let founder = |(node, votes, address)| {
            let role = if votes { MemberRole::Voter } else { MemberRole::Learner };
            ListedMember { node, instance: FOUNDER, address, role, is_preferred: false, is_drained: false }
        };
        let mut members: Vec<_> = members.map(founder).collect();
        members.sort_by_key(|member| member.node);
        assert!(members.windows(2).all(|pair| pair[0].node != pair[1].node), "a member is listed once");
        let highest = members.last().map_or(NodeId(0), |last| last.node);
        Self { version: 0, highest, members }
    }

    /// The next list, with these changes.
    ///
    /// # Errors
    /// Why there can be no such list.
    pub(crate) fn changed(&self, changes: &[MemberChange]) -> Result<Self, String> {
        let mut next = self.clone();
        for change in changes {
            next.change(change)?;
        }
        next.version += 1;
        assert!(next.highest >= self.highest, "numbers never come back");
        if next.voters().next().is_none() {
            return Err("no member would be left to vote".to_owned());
        }
        if next.members.len() > MEMBERS_MAX {
            return Err(format!("a cluster has at most {MEMBERS_MAX} members"));
        }
        // What members could not read would stop all of them.
        if !next.is_well_formed() {
            return Err("a member's number or address is no possible one".to_owned());
        }
        Ok(next)
    }

    /// The next list, in which `node` is the directory `instance`.
    pub(crate) fn joined(&self, node: NodeId, instance: InstanceId) -> Self {
        let mut next = self.clone();
        let at = next.members.iter_mut().find(|member| member.node == node).expect("who joins is listed");
        assert_eq!(at.instance, NOT_JOINED, "a number is joined once");
        assert!(![NOT_JOINED, FOUNDER].contains(&instance), "a directory has an instance of its own");
        at.instance = instance;
        next.version += 1;
        next
    }

    fn change(&mut self, change: &MemberChange) -> Result<(), String> {
        match change {
            MemberChange::Add { node, address, role } => self.add(*node, address, *role, false),
            MemberChange::Remove { node } => self.member(*node).map(|at| drop(self.members.remove(at))),
            MemberChange::Replace { node, by, address } => {
                let at = self.member(*node)?;
                let ListedMember { role, is_preferred, .. } = self.members.remove(at);
                self.add(*by, address, role, is_preferred)
            }
            MemberChange::Promote { node } => {
                let at = self.member(*node)?;
                self.members[at].role = MemberRole::Voter;
                Ok(())
            }
            MemberChange::Demote { node } => {
                let at = self.member(*node)?;
                (self.members[at].role, self.members[at].is_preferred) = (MemberRole::Learner, false);
                Ok(())
            }
            MemberChange::Move { node, address } => {
                let at = self.member(*node)?;
                self.check_address(*node, address)?;
                self.members[at].address.clone_from(address);
                Ok(())
            }
            MemberChange::Prefer { node, is_preferred } => {
                let at = self.member(*node)?;
                if self.members[at].role != MemberRole::Voter && *is_preferred {
                    return Err(format!("node {node} does not vote, and so never leads"));
                }
                self.members[at].is_preferred = *is_preferred;
                Ok(())
            }
            MemberChange::Drain { node, is_drained } => {
                let at = self.member(*node)?;
                self.members[at].is_drained = *is_drained;
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        node: NodeId,
        address: &str,
        role: MemberRole,
        is_preferred: bool,
    ) -> Result<(), String> {
        if self.get(node).is_some() {
            return Err(format!("node {node} is a member already"));
        }
        if node <= self.highest || node.get() == u64::MAX {
            return Err(format!(
                "the number {node} is used: numbers never come back, and the next free one is {}",
                self.highest.get() + 1
            ));
        }
        self.check_address(node, address)?;
        assert!(self.members.last().is_none_or(|last| last.node < node), "numbers grow");
        self.highest = node;
        self.members.push(ListedMember {
            node,
            instance: NOT_JOINED,
            address: address.to_owned(),
            role,
            is_preferred,
            is_drained: false,
        });
        Ok(())
    }

    /// The place of a member.
    fn member(&self, node: NodeId) -> Result<usize, String> {
        let at = self.members.binary_search_by_key(&node, |member| member.node);
        at.map_err(|_| format!("node {node} is no member"))
    }

    fn check_address(&self, node: NodeId, address: &str) -> Result<(), String> {
        if address.len() > ADDRESS_BYTES_MAX {
            return Err(format!(
                "an address has at most {ADDRESS_BYTES_MAX} bytes, this has {}",
                address.len()
            ));
        }
        let parsed = Address::parse(address)?;
        if parsed.port() == 0 {
            return Err(format!("'{address}': nobody can dial port 0"));
        }
        let is_same = |other: &&ListedMember| {
            other.node != node && Address::parse(&other.address).is_ok_and(|other| other == parsed)
        };
        match self.members.iter().find(is_same) {
            Some(other) => Err(format!("node {} has the address {address}", other.node)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founders() -> MemberList {
        let member = |node: u64| (NodeId(node), true, format!("host-{node}:1"));
        MemberList::of_founders([1, 2, 3].into_iter().map(member))
    }

    fn add(node: u64) -> MemberChange {
        MemberChange::Add { node: NodeId(node), address: format!("host-{node}:1"), role: MemberRole::Voter }
    }

    #[test]
    fn changes_lead_to_a_list_that_may_follow() {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let replace = MemberChange::Replace { node: NodeId(2), by: NodeId(4), address: "d:1".to_owned() };
        let prefer = MemberChange::Prefer { node: NodeId(4), is_preferred: true };
        let demote = MemberChange::Demote { node: NodeId(3) };
        let first = founders().changed(&[replace, prefer, demote]).expect("a list");

        assert_eq!(first.check_successor(None, &nodes), Ok(()));
        assert_eq!(first.voters().collect::<Vec<_>>(), [NodeId(1), NodeId(4)]);
        let second = first.changed(&[MemberChange::Remove { node: NodeId(3) }, add(5)]).expect("a list");
        assert_eq!(second.check_successor(Some(&first), &nodes), Ok(()));
        let third = second.joined(NodeId(5), InstanceId(7));
        assert_eq!(third.check_successor(Some(&second), &nodes), Ok(()));
    }

    #[test]
    fn what_contradicts_the_list_is_refused_with_a_reason() {
        let refused = |changes: &[MemberChange]| founders().changed(changes).expect_err("refused");
        let remove = |node| MemberChange::Remove { node: NodeId(node) };

        assert!(refused(&[add(2)]).contains("is a member already"));
        assert!(refused(&[add(0)]).contains("is used") && refused(&[add(u64::MAX)]).contains("is used"));
        assert!(refused(&[remove(3), add(3)]).contains("the next free one is 4"));
        assert!(refused(&[remove(4)]).contains("is no member"));
        assert!(refused(&[remove(1), remove(2), remove(3)]).contains("left to vote"));
        let moved = |address: &str| MemberChange::Move { node: NodeId(1), address: address.to_owned() };
        assert!(refused(&[moved("HOST-2.:1")]).contains("node 2 has the address"));
        assert!(refused(&[moved("a:0")]).contains("port 0"));
        assert!(refused(&[moved("nowhere")]).contains("no port"));
        assert!(refused(&[moved(&format!("{}:1", "a".repeat(300)))]).contains("at most 300 bytes"));
        let demote = MemberChange::Demote { node: NodeId(1) };
        let prefer = MemberChange::Prefer { node: NodeId(1), is_preferred: true };
        assert!(refused(&[demote, prefer]).contains("never leads"));
    }
}
