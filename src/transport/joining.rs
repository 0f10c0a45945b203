//! What a member that is to be asks, and what it is told, as bytes.
//!
//! Owns both, and what an address is that crosses. What always holds: each has one encoding, except that levels beyond all
//! numbers of levels are one; no length that was received sizes an allocation; a text in it is UTF-8, and an address is
//! one. Who asks whom is left to [`asking`](super::asking), who is let in to [`Inbound::welcome`](super::Inbound::welcome),
//! and what to make of the answer to the store.
//!
//! ```text
//! join request: node, instance, level, election timeout ms, tick ms: u64 each; announced address, name of the cluster
//! welcome:      cluster, election timeout ms, tick ms: u64 each;
//!               number of regions u32, each: id u64, version u64, start key, end key;
//!               number of members u32, each: node u64, address
//! ```
//!
//! A text or key comes after its length u32.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::wire::{CodecError, Cursor};
use crate::address::Address;
use crate::types::{ClusterId, InstanceId, MEMBERS_MAX, NodeId, RegionId};

/// The longest address that crosses: no name of a host is longer than 253 bytes.
pub(super) const ADDRESS_BYTES_MAX: usize = 300;
/// The longest name of a cluster that crosses.
pub(super) const NAME_BYTES_MAX: usize = 255;
const REQUEST_HEAD_BYTES: usize = 48;
/// How long the body of a request may be.
pub(super) const REQUEST_BYTES: RangeInclusive<usize> =
    REQUEST_HEAD_BYTES..=REQUEST_HEAD_BYTES + ADDRESS_BYTES_MAX + NAME_BYTES_MAX;
/// How long the body of a welcome may be.
pub(super) const WELCOME_BYTES: RangeInclusive<usize> = 32..=16 << 20;

/// What a member that is to be says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinRequest {
    /// Its number.
    pub node: NodeId,
    /// Identifies its directory.
    pub instance: InstanceId,
    /// The highest feature level that it knows.
    pub level: u16,
    /// Its election timeout, in milliseconds.
    pub election_timeout_ms: u64,
    /// Its tick, in milliseconds.
    pub tick_ms: u64,
    /// Where it can be reached; empty if it does not say.
    pub announced: String,
    /// The cluster that it is to be a member of.
    pub cluster_name: String,
}

/// What a member is to know of its cluster before it has anything of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// The cluster.
    pub cluster: ClusterId,
    /// The election timeout of its members, in milliseconds.
    pub election_timeout_ms: u64,
    /// The tick of its members, in milliseconds.
    pub tick_ms: u64,
    /// Its regions, in the order of the one that answers.
    pub regions: Vec<WelcomeRegion>,
    /// Its members with their addresses.
    pub members: Vec<(NodeId, String)>,
}

/// A region that a member is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WelcomeRegion {
    /// Which one.
    pub id: RegionId,
    /// The version of its range.
    pub version: u64,
    /// The first key of its range.
    pub start_key: Vec<u8>,
    /// The first key after it; empty means no end.
    pub end_key: Vec<u8>,
}

/// Whether a member may say that it can be reached there; nothing says that it does not say where.
pub(super) fn is_announceable(text: &str) -> bool {
    let is_reachable = || Address::parse(text).is_ok_and(|address| address.port() != 0);
    text.is_empty() || (text.len() <= ADDRESS_BYTES_MAX && is_reachable())
}

/// Appends `bytes` after their length.
pub(super) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("it is short").to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_words(out: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).expect("fewer than bytes").to_le_bytes());
}

/// The request as bytes.
pub(super) fn request_body(request: &JoinRequest) -> Vec<u8> {
    let JoinRequest { node, instance, level, election_timeout_ms, tick_ms, announced, cluster_name } =
        request;
    let mut body = Vec::new();
    let head = [node.get(), instance.get(), u64::from(*level), *election_timeout_ms, *tick_ms];
    put_words(&mut body, &head);
    put_prefixed(&mut body, announced.as_bytes());
    put_prefixed(&mut body, cluster_name.as_bytes());
    body
}

/// The request that is all of `body`, if it is one. A level beyond all numbers of levels is a high one.
pub(super) fn parse_request(body: Vec<u8>) -> Option<JoinRequest> {
    let body = Bytes::from(body);
    read_request(&mut Cursor::new(&body)).ok().flatten()
}

/// `None` when a text in it is none.
fn read_request(cursor: &mut Cursor<'_>) -> Result<Option<JoinRequest>, CodecError> {
    let (node, instance) = (NodeId(cursor.u64()?), InstanceId(cursor.u64()?));
    let level = u16::try_from(cursor.u64()?).unwrap_or(u16::MAX);
    let (election_timeout_ms, tick_ms) = (cursor.u64()?, cursor.u64()?);
    let texts = (text(&cursor.prefixed()?), text(&cursor.prefixed()?));
    cursor.finish()?;
    let (Some(announced), Some(cluster_name)) = texts else { return Ok(None) };
    let request =
        JoinRequest { node, instance, level, election_timeout_ms, tick_ms, announced, cluster_name };
    let is_possible = is_announceable(&request.announced) && request.cluster_name.len() <= NAME_BYTES_MAX;
    Ok(is_possible.then_some(request))
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The welcome as bytes; `None` when they are too many.
pub(super) fn welcome_body(welcome: &Welcome) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    put_words(&mut body, &[welcome.cluster.get(), welcome.election_timeout_ms, welcome.tick_ms]);
    put_count(&mut body, welcome.regions.len());
    for WelcomeRegion { id, version, start_key, end_key } in &welcome.regions {
        put_words(&mut body, &[id.get(), *version]);
        put_prefixed(&mut body, start_key);
        put_prefixed(&mut body, end_key);
    }
    put_count(&mut body, welcome.members.len());
    for (node, address) in &welcome.members {
        put_words(&mut body, &[node.get()]);
        put_prefixed(&mut body, address.as_bytes());
    }
    (body.len() <= *WELCOME_BYTES.end()).then_some(body)
}

/// The welcome that is all of `body`, if it is one.
pub(super) fn parse_welcome(body: Vec<u8>) -> Option<Welcome> {
    let body = Bytes::from(body);
    read_welcome(&mut Cursor::new(&body)).ok().flatten()
}

/// `None` when an address in it is none.
fn read_welcome(cursor: &mut Cursor<'_>) -> Result<Option<Welcome>, CodecError> {
    let cluster = ClusterId(cursor.u64()?);
    let (election_timeout_ms, tick_ms) = (cursor.u64()?, cursor.u64()?);
    // Each grows with what is there, not with the number that was told.
    let (mut regions, mut members) = (Vec::new(), Vec::new());
    for _ in 0..cursor.u32()? {
        let (id, version) = (RegionId(cursor.u64()?), cursor.u64()?);
        let (start_key, end_key) = (cursor.prefixed()?.to_vec(), cursor.prefixed()?.to_vec());
        regions.push(WelcomeRegion { id, version, start_key, end_key });
    }
    for _ in 0..cursor.u32()? {
        let (node, address) = (NodeId(cursor.u64()?), text(&cursor.prefixed()?));
        let Some(address) = address.filter(|text| is_announceable(text)) else { return Ok(None) };
        members.push((node, address));
    }
    cursor.finish()?;
    // Each of them gets a thread.
    let nodes: BTreeSet<_> = members.iter().map(|(node, _)| node.get()).collect();
    let are_members = nodes.iter().all(|node| (1..u64::MAX).contains(node)) && nodes.len() == members.len();
    if members.len() > MEMBERS_MAX || !are_members {
        return Ok(None);
    }
    Ok(Some(Welcome { cluster, election_timeout_ms, tick_ms, regions, members }))
}
