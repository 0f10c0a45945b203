//! How a member that is to be learns what it is to be a member of.
//!
//! Owns what it asks and what it is answered, as bytes, and the asking: one address after the other, again and again,
//! until a member lets it in. What always holds: it speaks the newest version of the protocol only; what another cluster
//! says does not end up in its directory; an answer that waiting cannot change ends the asking at once, and otherwise it
//! ends when its time is up; no length that was received sizes an allocation. Who is let in is decided by
//! [`Inbound::welcome`](super::Inbound::welcome), what to make of the answer by the store.
//!
//! ```text
//! join request: node, level, election timeout ms, tick ms: u64 each; announced address, name of the cluster
//! welcome:      cluster, election timeout ms, tick ms: u64 each;
//!               number of regions u32, each: id u64, version u64, start key, end key;
//!               number of members u32, each: node u64, address
//! ```
//!
//! A text or key comes after its length u32. A refusal is that of a handshake.

use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use log::info;
use socket2::Socket;

use super::deadlined::Deadlined;
use super::dial::{CONNECT_TIMEOUT, Lookup};
use super::handshake::{
    self, ADDRESS_BYTES_MAX, DEADLINE, HandshakeError, KIND_JOIN, KIND_WELCOME, Part, Reason, Refusal, Times,
    is_announceable,
};
use super::protocol::Protocol;
use super::sockets::new_socket;
use super::wire::{CodecError, Cursor};
use crate::error::{Code, Error};
use crate::time::{self, Timestamp};
use crate::types::{ClusterId, InstanceId, NodeId, RegionId};

/// The longest name of a cluster that crosses.
const NAME_BYTES_MAX: usize = 255;
const REQUEST_HEAD_BYTES: usize = 48;
/// How long the body of a request may be.
pub(super) const REQUEST_BYTES: RangeInclusive<usize> =
    REQUEST_HEAD_BYTES..=REQUEST_HEAD_BYTES + ADDRESS_BYTES_MAX + NAME_BYTES_MAX;
const WELCOME_BYTES_MIN: usize = 32;
/// How long the body of a welcome may be.
const WELCOME_BYTES_MAX: usize = 16 << 20;

/// How long to wait before all addresses are tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often that wait checks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

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

impl JoinRequest {
    pub(super) fn times(&self) -> Times {
        let Self { node, election_timeout_ms, tick_ms, .. } = *self;
        Times { node, election_timeout_ms, tick_ms }
    }

    /// Looks at what is known without asking anybody.
    fn check(&self) -> Result<(), Error> {
        let text = if !is_announceable(&self.announced) {
            format!(
                "'{}' is no address that others can use: set transport.announce to 'host:port', at most \
                 {ADDRESS_BYTES_MAX} bytes",
                self.announced.escape_debug()
            )
        } else if self.cluster_name.len() > NAME_BYTES_MAX {
            format!(
                "cluster.name has more than {NAME_BYTES_MAX} bytes: no member is let in to such a cluster"
            )
        } else {
            return Ok(());
        };
        Err(Error::with_detail(Code::InvalidConfig, text))
    }
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

/// What is sent to ask.
pub(super) fn request_bytes(request: &JoinRequest) -> Vec<u8> {
    let JoinRequest { node, instance, level, election_timeout_ms, tick_ms, announced, cluster_name } =
        request;
    let mut body = Vec::new();
    let head = [node.get(), instance.get(), u64::from(*level), *election_timeout_ms, *tick_ms];
    put_words(&mut body, &head);
    put_prefixed(&mut body, announced.as_bytes());
    put_prefixed(&mut body, cluster_name.as_bytes());
    handshake::part_bytes(KIND_JOIN, Protocol::NEWEST, &body)
}

/// The request that is all of `body`. A level beyond all numbers of levels is a high one.
pub(super) fn parse_request(body: Vec<u8>) -> Result<JoinRequest, HandshakeError> {
    let body = Bytes::from(body);
    let request = read_request(&mut Cursor::new(&body)).ok().flatten();
    request.ok_or(HandshakeError::Foreign("its request to join is malformed"))
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

/// What is sent to let a member in; `None` when that is too long.
pub(super) fn welcome_bytes(welcome: &Welcome) -> Option<Vec<u8>> {
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
    let is_possible = body.len() <= WELCOME_BYTES_MAX;
    is_possible.then(|| handshake::part_bytes(KIND_WELCOME, Protocol::NEWEST, &body))
}

/// The welcome that is all of `body`.
pub(super) fn parse_welcome(body: Vec<u8>) -> Result<Welcome, HandshakeError> {
    let body = Bytes::from(body);
    let welcome = read_welcome(&mut Cursor::new(&body)).ok().flatten();
    welcome.ok_or(HandshakeError::Foreign("what it lets this member in to is malformed"))
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
    Ok(Some(Welcome { cluster, election_timeout_ms, tick_ms, regions, members }))
}

/// Reads what a member answers.
///
/// # Errors
/// A refusal, and whatever else is no welcome.
fn read_answer(stream: &mut impl std::io::Read) -> Result<Welcome, HandshakeError> {
    let is_answer = |kind, len, protocol| match kind {
        KIND_WELCOME => protocol >= Protocol::Seven && (WELCOME_BYTES_MIN..=WELCOME_BYTES_MAX).contains(&len),
        _ => handshake::is_possible_refusal(kind, len),
    };
    match handshake::read_part_if(stream, is_answer)? {
        Part::Welcome(welcome) => Ok(welcome),
        Part::Refusal(refusal) => Err(HandshakeError::Refused(refusal)),
        Part::OtherVersion(version) => Err(HandshakeError::Refused(handshake::version_refusal(version))),
        Part::Hello(..) | Part::Join(_) => unreachable!("no such kind is an answer"),
    }
}

/// Asks the members at `addresses`, one after the other and again and again, to let this one in. Returns soon after
/// `give_up_at`, or after `is_cancelled` says so: within the time that an attempt at one address may take.
///
/// # Errors
/// `NETWORK` when the time is up, with what came of each address; `INVALID_CONFIG` for a refusal that waiting does not
/// change; `CANCELLED`.
#[allow(dead_code)] // Until members can be added.
pub(crate) fn ask(
    addresses: &[String],
    request: &JoinRequest,
    give_up_at: Timestamp,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Welcome, Error> {
    request.check()?;
    let asking = Asking { request, give_up_at, is_cancelled };
    let mut reasons = vec!["it was not asked yet".to_owned(); addresses.len()];
    loop {
        for (address, reason) in addresses.iter().zip(&mut reasons) {
            match asking.attempt(address) {
                Ok(welcome) => return Ok(welcome),
                Err(HandshakeError::Refused(refusal)) if is_final(refusal.reason) => {
                    let text = format!("the member at {address} refuses node {}: {refusal}", request.node);
                    return Err(Error::with_detail(Code::InvalidConfig, text));
                }
                Err(error) => {
                    let new = error.to_string();
                    if *reason != new {
                        info!("node {} is not let in by {address} yet: {new}", request.node);
                        *reason = new;
                    }
                }
            }
            asking.check_wanted()?;
        }
        asking.pause();
        asking.check_wanted()?;
        if time::now() >= give_up_at {
            return Err(timed_out(request, addresses, &reasons));
        }
    }
}

/// Whether no member ever answers otherwise, as long as nobody corrects an option.
fn is_final(reason: Reason) -> bool {
    match reason {
        Reason::Version | Reason::Cluster | Reason::ElectionTimeout | Reason::Tick | Reason::Removed => true,
        Reason::WrongNode | Reason::UnknownNode | Reason::Instance | Reason::Other => false,
    }
}

fn timed_out(request: &JoinRequest, addresses: &[String], reasons: &[String]) -> Error {
    let each = addresses.iter().zip(reasons).map(|(address, reason)| format!("{address}: {reason}"));
    let text = format!(
        "no member has let node {} in within cluster.join_timeout_ms: add it with change_members on a member, and name \
         members that run in cluster.join. What came of each: {}",
        request.node,
        each.collect::<Vec<_>>().join("; ")
    );
    Error::with_detail(Code::Network, text)
}

/// One [`ask`].
struct Asking<'a> {
    request: &'a JoinRequest,
    give_up_at: Timestamp,
    is_cancelled: &'a dyn Fn() -> bool,
}

impl Asking<'_> {
    fn check_wanted(&self) -> Result<(), Error> {
        if (self.is_cancelled)() { Err(Error::new(Code::Cancelled)) } else { Ok(()) }
    }

    /// How long something may take that takes no longer than `most`; never nothing, which to the system is no limit.
    fn at_most(&self, most: Duration) -> Duration {
        self.give_up_at.since(time::now()).clamp(LOOK, most)
    }

    /// Asks once at each socket address of `address`, until one answers.
    fn attempt(&self, address: &str) -> Result<Welcome, HandshakeError> {
        let found = Lookup::begin(address)?.wait(self.is_cancelled)??;
        let mut failure = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address").into();
        for address in found {
            match self.ask_at(address) {
                Err(error @ HandshakeError::Io(_)) => failure = error,
                answered => return answered,
            }
        }
        Err(failure)
    }

    fn ask_at(&self, address: SocketAddr) -> Result<Welcome, HandshakeError> {
        let socket: Socket = new_socket(address)?;
        socket.connect_timeout(&address.into(), self.at_most(CONNECT_TIMEOUT))?;
        let mut stream = Deadlined::new(&socket, self.at_most(DEADLINE));
        stream.write_all(&request_bytes(self.request))?;
        let welcome = read_answer(&mut stream)?;
        self.check_times(&welcome)?;
        Ok(welcome)
    }

    /// The member has compared them too; leases rely on it.
    fn check_times(&self, welcome: &Welcome) -> Result<(), HandshakeError> {
        let theirs = (welcome.election_timeout_ms, welcome.tick_ms);
        let own = (self.request.election_timeout_ms, self.request.tick_ms);
        if theirs == own {
            return Ok(());
        }
        let text = format!(
            "its election timeout and tick are {} and {} ms, those of node {} are {} and {} ms: set \
             raft.election_timeout_ms and raft.tick_ms to the same values on all members",
            theirs.0, theirs.1, self.request.node, own.0, own.1
        );
        Err(HandshakeError::Refused(Refusal { reason: Reason::ElectionTimeout, text }))
    }

    /// Waits before the next round.
    fn pause(&self) {
        let until = self.give_up_at.min(time::now() + PAUSE);
        while !(self.is_cancelled)() {
            let left = until.since(time::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

/// What came as the beginning of `bytes` is the one form of this request, except for a level beyond all of them.
#[cfg(any(test, feature = "simulation"))]
pub(super) fn check_fuzzed(request: &JoinRequest, bytes: &[u8]) {
    let again = request_bytes(request);
    assert!(request.level == u16::MAX || bytes.starts_with(&again), "a request has one encoding");
}

/// Lets a member that asked receive what is left in `stream`, of all the `bytes`.
///
/// # Panics
/// When what it makes of them is not what they say.
#[cfg(any(test, feature = "simulation"))]
pub(super) fn fuzz_answer(stream: &mut impl std::io::Read, bytes: &[u8]) {
    match read_answer(stream) {
        Ok(welcome) => {
            let again = welcome_bytes(&welcome).expect("no longer than what came");
            assert!(bytes.starts_with(&again), "a welcome has one encoding");
        }
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "it goes to a log: {error:?}")
        }
    }
}

#[cfg(test)]
#[path = "joining_tests.rs"]
mod tests;
