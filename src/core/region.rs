//! A raft group and the key range it owns.
//!
//! Owns [`Region`] and its stored form. What always holds: the range is half open, an empty end key means
//! "to the end of all keys", the configuration lists each member once, and neither the feature level nor a version of a
//! list ever falls. Changing a configuration is left to `membership`, when to `peer/moving`, when the level rises to
//! `peer/level`.

use raft::eraftpb::ConfState;

use crate::core::command::{Operation, versioned_keys};
use crate::core::member_list::MemberList;
use crate::types::{
    BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, CONDITIONS_LEVEL, LogIndex, NEWEST_LEVEL, NodeId, RegionEpoch,
    RegionId,
};

/// The version that is written once the members were changed.
const VERSION: u8 = 3;
/// The one before has no list of members. It is written while there is nothing of that: then builds that know no lists can
/// read it.
const VERSION_WITHOUT_LIST: u8 = 2;
/// The one before that has no feature level.
const VERSION_WITHOUT_LEVEL: u8 = 1;

/// One region as stored in the engine, in the same batch as the apply state that made it so.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Never reused.
    pub id: RegionId,
    /// First key of the range.
    pub start_key: Vec<u8>,
    /// First key after the range; empty means no end.
    pub end_key: Vec<u8>,
    /// Which version of range and membership this is.
    pub epoch: RegionEpoch,
    /// What may be in the log from here on: every member knows it. See `peer/level`.
    pub level: u16,
    /// The entry that raised the level to 1 or beyond it; 0 if the region began so. What was written before
    /// has no version of its own, and is shown with this place.
    pub floor_index: LogIndex,
    /// The raft configuration: who votes, who learns, and both sides of a joint change. Without anyone on a member that
    /// has joined the cluster and has no data yet.
    pub members: ConfState,
    /// The version of the list of members by which the configuration was last changed; 0 if none was.
    pub list_version: u64,
    /// The version of the newest list that the configuration is known to follow: so many of its voters know that, that no
    /// leader can be elected by an earlier configuration.
    pub settled_version: u64,
    /// The members that the cluster is to have: in the first region, once somebody has changed them.
    pub list: Option<MemberList>,
}

impl Region {
    /// True when `node` alone decides elections.
    #[must_use]
    pub fn is_decided_by(&self, node: NodeId) -> bool {
        self.members.voters == [node.get()] && self.members.voters_outgoing.is_empty()
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        assert!(self.end_key.is_empty() || self.start_key < self.end_key, "a range has room for a key");
        let is_empty = self.lists().iter().all(|list| list.is_empty());
        assert!(is_empty || !self.members.voters.is_empty(), "somebody votes, or nobody is known");
        assert!(self.settled_version == 0 || !is_empty, "nobody settles an empty configuration");
        assert!(self.list.is_none() || self.id == BOOTSTRAP_REGION, "the first region has the list");
        for list in self.lists() {
            let is_double = |node| list.iter().filter(|other| *other == node).count() > 1;
            assert!(!list.iter().any(is_double), "a member is listed once");
        }
        let (voters, learners) = (&self.members.voters, &self.members.learners);
        assert!(!learners.iter().any(|node| voters.contains(node)), "a learner has no vote");
        assert!(self.level > 0 || self.floor_index == LogIndex(0), "nothing raised it to the lowest");
        assert!(self.epoch.version >= BOOTSTRAP_EPOCH.version, "versions rise");
        assert!(self.epoch.conf_ver >= BOOTSTRAP_EPOCH.conf_ver, "versions rise");
    }

    /// The one region a cluster begins with.
    #[must_use]
    pub fn bootstrap(voters: &[NodeId]) -> Self {
        let members =
            ConfState { voters: voters.iter().map(|node| node.get()).collect(), ..Default::default() };
        let (start_key, end_key) = (Vec::new(), Vec::new());
        let (level, floor_index) = (NEWEST_LEVEL, LogIndex(0));
        Self {
            id: BOOTSTRAP_REGION,
            start_key,
            end_key,
            epoch: BOOTSTRAP_EPOCH,
            level,
            floor_index,
            members,
            list_version: 0,
            settled_version: 0,
            list: None,
        }
    }

    /// A region of which a member that has just joined has nothing but its place among the others.
    #[must_use]
    pub(crate) fn without_data(id: RegionId, start_key: Vec<u8>, end_key: Vec<u8>, version: u64) -> Self {
        assert!(version >= BOOTSTRAP_EPOCH.version, "who told it was asked for no less");
        assert!(end_key.is_empty() || start_key < end_key, "a range has room for a key");
        let epoch = RegionEpoch { version, ..BOOTSTRAP_EPOCH };
        Self { id, start_key, end_key, epoch, level: 0, ..Self::bootstrap(&[]) }
    }

    /// True when this is the region of a member that has joined and was not given the data yet.
    #[must_use]
    pub(crate) fn lacks_data(&self) -> bool {
        self.members.voters.is_empty()
    }

    /// The newest list that the configuration is known to have followed, in part or as a whole: it follows no older one.
    #[must_use]
    pub(crate) fn followed_version(&self) -> u64 {
        self.list_version.max(self.settled_version)
    }

    /// Whether this may be the version of a list that the configuration follows: of the first region, which has the lists,
    /// no more than that of its own. The others have none to compare it with.
    #[must_use]
    pub(crate) fn may_have_settled(&self, version: u64) -> bool {
        let newest = self.list.as_ref().map_or(0, |list| list.version);
        self.id != BOOTSTRAP_REGION || version <= newest
    }

    /// All that are part of the configuration in any way, in order of their numbers.
    #[must_use]
    pub(crate) fn all_members(&self) -> Vec<NodeId> {
        let mut all: Vec<_> = self.lists().into_iter().flatten().map(|&node| NodeId(node)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.is_empty(), self.lacks_data(), "somebody votes, or nobody is known");
        all
    }

    /// Raises the level to `level` by the entry at `index`. False, and nothing is done, when it is as high already.
    #[must_use]
    pub(crate) fn raise_level(&mut self, level: u16, index: LogIndex) -> bool {
        if level <= self.level {
            return false;
        }
        assert!(index > self.floor_index, "a later entry raises it further");
        if self.level < CONDITIONS_LEVEL {
            self.floor_index = index;
        }
        self.level = level;
        assert!(self.floor_index <= index, "the floor is set by the first rise");
        true
    }

    /// True when `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start_key.as_slice() && (self.end_key.is_empty() || key < self.end_key.as_slice())
    }

    /// True when `operation` touches no key outside the range, whatever it finds.
    #[must_use]
    pub fn owns(&self, operation: Operation<'_>) -> bool {
        match operation {
            Operation::Put { key, .. } | Operation::Delete { key } => self.contains(key),
            Operation::Add { key, .. } | Operation::Pop { key } => self.contains(key),
            Operation::IfAbsent { key } | Operation::IfPresent { key } => self.contains(key),
            Operation::IfVersion { key, .. } | Operation::IfValue { key, .. } => self.contains(key),
            // The key is not known yet, and begins like all between these two.
            Operation::PutVersioned { prefix, .. } => {
                let [first, last] = versioned_keys(prefix);
                self.contains(&first) && self.contains(&last)
            }
            Operation::DeleteRange { begin, end } => begin >= end || self.spans(begin, end),
            // An empty end is that of all keys.
            Operation::TakeFirst { begin, end } | Operation::IfRange { begin, end, .. } => match end {
                [] => self.contains(begin) && self.end_key.is_empty(),
                _ => begin >= end || self.spans(begin, end),
            },
            Operation::Otherwise => true,
        }
    }

    fn spans(&self, begin: &[u8], end: &[u8]) -> bool {
        self.contains(begin) && (self.end_key.is_empty() || end <= self.end_key.as_slice())
    }

    /// True when `node` is part of the configuration in any way.
    #[must_use]
    pub fn has_member(&self, node: NodeId) -> bool {
        self.lists().iter().any(|list| list.contains(&node.get()))
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.end_key.is_empty() || self.start_key < self.end_key, "a range has room for a key");
        let has_no_list = self.list_version == 0 && self.settled_version == 0 && self.list.is_none();
        let version = if has_no_list { VERSION_WITHOUT_LIST } else { VERSION };
        let mut out = vec![version, u8::from(self.members.auto_leave)];
        for number in [self.id.get(), self.epoch.conf_ver, self.epoch.version] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.level.to_le_bytes());
        out.extend_from_slice(&self.floor_index.get().to_le_bytes());
        for key in [&self.start_key, &self.end_key] {
            put_length(&mut out, key.len());
            out.extend_from_slice(key);
        }
        for list in self.lists() {
            put_length(&mut out, list.len());
            list.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        }
        if version == VERSION {
            out.extend_from_slice(&self.list_version.to_le_bytes());
            out.extend_from_slice(&self.settled_version.to_le_bytes());
            let list = self.list.as_ref().map_or_else(Vec::new, MemberList::encode);
            put_length(&mut out, list.len());
            out.extend_from_slice(&list);
        }
        out
    }

    /// Reads the stored form; none when it is damaged or of a newer version.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(2)?;
        bytes = rest;
        if !(VERSION_WITHOUT_LEVEL..=VERSION).contains(&head[0]) {
            return None;
        }
        let id = RegionId(take_u64(&mut bytes)?);
        let epoch = RegionEpoch { conf_ver: take_u64(&mut bytes)?, version: take_u64(&mut bytes)? };
        let (level, floor_index) = match head[0] {
            VERSION_WITHOUT_LEVEL => (0, LogIndex(0)),
            _ => (take_u16(&mut bytes)?, LogIndex(take_u64(&mut bytes)?)),
        };
        let (start_key, end_key) = (take_bytes(&mut bytes)?, take_bytes(&mut bytes)?);
        let members = ConfState {
            voters: take_ids(&mut bytes)?,
            learners: take_ids(&mut bytes)?,
            voters_outgoing: take_ids(&mut bytes)?,
            learners_next: take_ids(&mut bytes)?,
            auto_leave: head[1] != 0,
            ..Default::default()
        };
        let (list_version, settled_version, list) = match head[0] {
            VERSION => (take_u64(&mut bytes)?, take_u64(&mut bytes)?, take_list(&mut bytes)?),
            _ => (0, 0, None),
        };
        let region = Self {
            id,
            start_key,
            end_key,
            epoch,
            level,
            floor_index,
            members,
            list_version,
            settled_version,
            list,
        };
        bytes.is_empty().then_some(region)
    }

    fn lists(&self) -> [&Vec<u64>; 4] {
        let members = &self.members;
        [&members.voters, &members.learners, &members.voters_outgoing, &members.learners_next]
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).expect("keys and member lists are small").to_le_bytes());
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_le_bytes(*head))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*head))
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*head)).ok()
}

fn take_bytes(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let length = take_length(bytes)?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head.to_vec())
}

/// The list of members, if there is one. None of the outer when it is damaged.
fn take_list(bytes: &mut &[u8]) -> Option<Option<MemberList>> {
    let encoded = take_bytes(bytes)?;
    if encoded.is_empty() { Some(None) } else { MemberList::decode(&encoded).map(Some) }
}

fn take_ids(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let length = take_length(bytes)?;
    if length > bytes.len() / 8 {
        return None;
    }
    (0..length).map(|_| take_u64(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::RangeDigest;
    use crate::core::member_list::{FOUNDER, ListedMember, MemberRole};

    fn joint() -> Region {
        let mut region = Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)]);
        region.start_key = b"a".to_vec();
        region.end_key = b"m".to_vec();
        region.members.voters_outgoing = vec![1, 4];
        region.members.learners_next = vec![4];
        region.members.auto_leave = true;
        region
    }

    fn listed() -> Region {
        let member = |node| ListedMember {
            node: NodeId(node),
            instance: FOUNDER,
            address: "a:1".to_owned(),
            role: MemberRole::Voter,
            is_preferred: false,
            is_drained: false,
        };
        let list = MemberList { version: 3, highest: NodeId(4), members: vec![member(1), member(4)] };
        Region { list_version: 2, settled_version: 1, list: Some(list), ..joint() }
    }

    #[test]
    fn the_stored_form_comes_back() {
        assert_eq!(Region::decode(&joint().encode()), Some(joint()));
        assert_eq!(Region::decode(&listed().encode()), Some(listed()));
        let followed = Region { list: None, ..listed() };
        assert_eq!(Region::decode(&followed.encode()), Some(followed));
        let joined = Region::without_data(RegionId(2), b"a".to_vec(), Vec::new(), 1);
        assert_eq!(Region::decode(&joined.encode()), Some(joined));
    }

    /// As `docs/disk-format.md` has it.
    const FIRST_OF_ONE: [&str; 3] = [
        "02 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00",
        "02 00 00 00 00 00 00 00 00 00",
        "00 00 00 00 00 00 00 00 01 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    ];

    fn bytes(hex: &[&str]) -> Vec<u8> {
        let byte = |digits| u8::from_str_radix(digits, 16).expect("two digits");
        hex.iter().flat_map(|line| line.split(' ')).map(byte).collect()
    }

    #[test]
    fn the_first_region_of_a_cluster_of_one_is_stored_as_documented() {
        assert_eq!(Region::bootstrap(&[NodeId(1)]).encode(), bytes(&FIRST_OF_ONE));
    }

    #[test]
    fn a_record_of_the_build_before_is_read_as_one_of_the_lowest_level() {
        let [head, _, rest] = FIRST_OF_ONE;
        let mut stored = bytes(&[head, rest]);
        stored[0] = 1;

        let read = Region::decode(&stored).expect("it is whole");

        assert_eq!(read, Region { level: 0, ..Region::bootstrap(&[NodeId(1)]) });
        assert_eq!(Region::decode(&read.encode()), Some(read), "it is written in the newest form");
    }

    #[test]
    fn the_level_rises_and_never_falls() {
        let mut region = Region { level: 0, ..joint() };

        assert!(region.raise_level(1, LogIndex(9)));
        assert!(!region.raise_level(1, LogIndex(10)) && !region.raise_level(0, LogIndex(11)));
        assert_eq!((region.level, region.floor_index), (1, LogIndex(9)));
        // The floor is that of the first.
        assert!(region.raise_level(2, LogIndex(12)));
        assert_eq!((region.level, region.floor_index), (2, LogIndex(9)));
    }

    #[test]
    fn a_cut_or_longer_stored_form_is_refused() {
        for whole in [joint().encode(), listed().encode()] {
            assert!((0..whole.len()).all(|length| Region::decode(&whole[..length]).is_none()));
            assert!(Region::decode(&[whole, vec![0]].concat()).is_none());
        }
    }

    #[test]
    fn the_end_key_is_outside_and_an_empty_one_is_infinite() {
        let region = joint();

        assert!(region.contains(b"a"));
        assert!(region.contains(b"lzzz"));
        assert!(!region.contains(b"m"));
        assert!(Region::bootstrap(&[]).contains(&[0xff; 9]));
        assert!(region.has_member(NodeId(4)));
        assert!(!region.has_member(NodeId(5)));
    }

    #[test]
    fn an_operation_is_owned_when_all_its_keys_are() {
        let region = joint();
        let owns = |begin: &[u8], end: &[u8]| region.owns(Operation::DeleteRange { begin, end });

        assert!(region.owns(Operation::Put { key: b"a", value: b"" }));
        assert!(!region.owns(Operation::Delete { key: b"m" }));
        assert!(owns(b"a", b"m"), "its end is the first key behind it");
        assert!(!owns(b"a", b"ma"));
        assert!(!owns(b"A", b"b"));
        assert!(owns(b"z", b"z"), "no keys at all");
    }

    #[test]
    fn a_range_that_is_looked_at_is_owned_as_a_whole() {
        let (region, everything) = (joint(), Region::bootstrap(&[]));
        let takes = |region: &Region, begin: &[u8], end: &[u8]| {
            let taken = region.owns(Operation::TakeFirst { begin, end });
            let seen = &[0; RangeDigest::ENCODED_BYTES];
            assert_eq!(taken, region.owns(Operation::IfRange { begin, end, seen }));
            taken
        };

        assert!(takes(&region, b"a", b"m"));
        assert!(!takes(&region, b"a", b"ma"));
        assert!(!takes(&region, b"b", b""), "an empty end is that of all keys");
        assert!(takes(&everything, b"", b""));
        assert!(takes(&region, b"z", b"z"), "no keys at all");
    }

    #[test]
    fn a_prefix_is_owned_when_every_key_that_may_be_made_of_it_is() {
        let mut region = joint();
        let owns =
            |region: &Region, prefix: &[u8]| region.owns(Operation::PutVersioned { prefix, value: b"" });
        region.end_key = b"k\x00\x01".to_vec();

        assert!(owns(&region, b"j") && owns(&region, b"k\x00\x00"));
        assert!(!owns(&region, b"k"), "the border lies between its keys");
        assert!(!owns(&region, b"k\x00\x01") && !owns(&region, b"A"));
        region.end_key = Vec::new();
        assert!(owns(&region, &[0xff; 20]));
    }
}
