//! Heartbeats as bytes.
//!
//! Owns the bodies that say what raft says of many regions. What always holds, as in [`codec`](super::codec): every
//! value has one encoding, and no length is trusted before its bytes are there.
//!
//! ```text
//! heartbeats, answers   to, from, said, count, { how far the region is above the last one, conf_ver, version, said }*
//! said                  reads u8, term, commit, [read id, 24 bytes]
//! ```
//! The first is said of the region that the message names. Regions rise, so none is said twice of.

use std::mem::size_of;

use super::wire::{CodecError, Cursor, put_varint, read_count};
use crate::core::heartbeats::{Heartbeat, HeartbeatKind, Heartbeats, OfRegion};
use crate::types::{LogIndex, NodeId, RegionEpoch, RegionId, Term};

/// Bytes of the shortest one beside the first.
const OTHER_BYTES_MIN: usize = 6;

/// The memory behind [`Heartbeats`]; their encoding is never longer than this and the struct.
pub(super) fn heartbeats_bytes(heartbeats: &Heartbeats) -> usize {
    // Five numbers of the greatest length, a flag and a read id take 75 bytes.
    heartbeats.others.len() * (size_of::<OfRegion>() + 8)
}

/// Whether the regions rise, from the one that the message names.
pub(super) fn check_regions(named: RegionId, heartbeats: &Heartbeats) -> Result<(), CodecError> {
    let regions = std::iter::once(named).chain(heartbeats.others.iter().map(|other| other.region));
    if regions.is_sorted_by(|one, next| one < next) { Ok(()) } else { Err(CodecError::Regions) }
}

pub(super) fn put_heartbeats(named: RegionId, heartbeats: &Heartbeats, out: &mut Vec<u8>) {
    let Heartbeats { from, to, first, others, .. } = heartbeats;
    put_varint(out, to.get());
    put_varint(out, from.get());
    put_said(first, out);
    put_varint(out, others.len() as u64);
    let mut last = named;
    for OfRegion { region, epoch, heartbeat } in others {
        for number in [region.get() - last.get(), epoch.conf_ver, epoch.version] {
            put_varint(out, number);
        }
        put_said(heartbeat, out);
        last = *region;
    }
}

fn put_said(said: &Heartbeat, out: &mut Vec<u8>) {
    out.push(u8::from(said.read.is_some()));
    put_varint(out, said.term.get());
    put_varint(out, said.commit.get());
    if let Some(id) = &said.read {
        out.extend_from_slice(id);
    }
}

pub(super) fn read_heartbeats(
    cursor: &mut Cursor<'_>,
    named: RegionId,
    kind: HeartbeatKind,
    entries_left: &mut usize,
) -> Result<Heartbeats, CodecError> {
    let (to, from) = (NodeId(cursor.varint()?), NodeId(cursor.varint()?));
    let first = read_said(cursor)?;
    let count = read_count(cursor, OTHER_BYTES_MIN, entries_left)?;
    // The vector grows with those that are really there: a wrong count costs nothing.
    let mut others = Vec::with_capacity(count.min(256));
    let mut last = named;
    for _ in 0..count {
        let above = cursor.varint()?;
        last =
            last.get().checked_add(above).filter(|_| above > 0).map(RegionId).ok_or(CodecError::Regions)?;
        let epoch = RegionEpoch { conf_ver: cursor.varint()?, version: cursor.varint()? };
        others.push(OfRegion { region: last, epoch, heartbeat: read_said(cursor)? });
    }
    Ok(Heartbeats { from, to, kind, first, others })
}

fn read_said(cursor: &mut Cursor<'_>) -> Result<Heartbeat, CodecError> {
    let reads = match cursor.byte()? {
        0 => false,
        1 => true,
        _ => return Err(CodecError::Flag),
    };
    let (term, commit) = (Term(cursor.varint()?), LogIndex(cursor.varint()?));
    let read = if reads { Some(cursor.array()?) } else { None };
    Ok(Heartbeat { term, commit, read })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::codec::{decode, encode, weight_bytes};
    use super::super::protocol::Protocol;
    use super::*;
    use crate::core::ports::{Body, PeerMessage};

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 1..300_u64, Just(u64::MAX), any::<u64>()]
    }

    prop_compose! {
        fn said()(term in number(), commit in number(), read in any::<Option<[u8; 24]>>()) -> Heartbeat {
            Heartbeat { term: Term(term), commit: LogIndex(commit), read }
        }
    }

    prop_compose! {
        fn message()(numbers in vec(number(), 2), first in said(), answers in any::<bool>(),
                     others in vec((1..1_u64 << 60, number(), number(), said()), 0..8)) -> PeerMessage {
            let kind = if answers { HeartbeatKind::Answer } else { HeartbeatKind::Heartbeat };
            let mut region = RegionId(3);
            let others = others.into_iter().map(|(above, conf_ver, version, heartbeat)| {
                region = RegionId(region.get() + above);
                OfRegion { region, epoch: RegionEpoch { conf_ver, version }, heartbeat }
            });
            let (others, from, to) = (others.collect(), NodeId(numbers[0]), NodeId(numbers[1]));
            let body = Body::Heartbeats(Heartbeats { from, to, kind, first, others });
            PeerMessage { region: RegionId(3), epoch: RegionEpoch { conf_ver: 1, version: 2 }, body }
        }
    }

    fn encoded(message: &PeerMessage) -> Vec<u8> {
        let mut encoded = Vec::new();
        encode(message, Protocol::NEWEST, &mut encoded).expect("regions that rise");
        encoded
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(message in message()) {
            let encoded = Bytes::from(encoded(&message));

            prop_assert!(encoded.len() + 4 <= weight_bytes(&message));
            prop_assert_eq!(decode(&encoded, Protocol::NEWEST).expect("just encoded"), message);
            for length in 0..encoded.len() {
                prop_assert!(decode(&encoded.slice(..length), Protocol::NEWEST).is_err());
            }
        }
    }

    /// Of the regions 3 and 4.
    fn of_two() -> PeerMessage {
        let first = Heartbeat { term: Term(7), commit: LogIndex(9), read: None };
        let other = OfRegion {
            region: RegionId(4),
            epoch: RegionEpoch { conf_ver: 1, version: 1 },
            heartbeat: first,
        };
        let (from, to, kind) = (NodeId(1), NodeId(2), HeartbeatKind::Heartbeat);
        let body = Body::Heartbeats(Heartbeats { from, to, kind, first, others: vec![other] });
        PeerMessage { region: RegionId(3), epoch: RegionEpoch { conf_ver: 1, version: 1 }, body }
    }

    #[test]
    fn regions_that_do_not_rise_are_refused_on_both_sides() {
        let mut message = of_two();
        let mut bytes = encoded(&message);
        let above = bytes.len() - OTHER_BYTES_MIN;
        assert_eq!(bytes[above], 1);

        bytes[above] = 0;
        assert_eq!(decode(&Bytes::from(bytes), Protocol::NEWEST), Err(CodecError::Regions));
        message.region = RegionId(4);
        assert_eq!(encode(&message, Protocol::NEWEST, &mut Vec::new()), Err(CodecError::Regions));
        message.region = RegionId(u64::MAX);
        assert_eq!(encode(&message, Protocol::NEWEST, &mut Vec::new()), Err(CodecError::Regions));
    }

    #[test]
    fn regions_beyond_all_numbers_and_unknown_flags_are_refused() {
        let message = PeerMessage { region: RegionId(3), ..of_two() };
        let mut bytes = encoded(&message);
        let behind_the_head = bytes.split_off(1);
        let mut last_region = Vec::new();
        put_varint(&mut last_region, u64::MAX);
        assert_eq!(
            decode(&[last_region, behind_the_head].concat().into(), Protocol::NEWEST),
            Err(CodecError::Regions)
        );

        let mut bytes = encoded(&message);
        let flag = bytes.len() - 3;
        bytes[flag] = 2;
        assert_eq!(decode(&Bytes::from(bytes), Protocol::NEWEST), Err(CodecError::Flag));
    }
}
