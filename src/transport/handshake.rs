//! The first bytes of a connection: who are you, and do we agree?
//!
//! Owns the hello both sides send, the refusal, and the comparison. The dialer speaks first; the acceptor
//! answers with its own hello or with a refusal; then the dialer compares too. A member that is to be speaks otherwise:
//! see [`asking`](super::asking), whose two parts are read and written here too. What always holds: no message
//! is delivered from, or sent to, a member whose cluster, number, election timeout or tick differs from what
//! this one expects; the whole handshake has one deadline, however slowly bytes arrive; no length that was received
//! sizes an allocation before it is checked. Every refusal names the option to correct. Whether a member's instance
//! is the right one is decided by [`Inbound::admit`](super::Inbound::admit).
//!
//! A member answers in the version of the protocol that it is spoken to in, if it knows it: see
//! [`protocol`](super::protocol).
//!
//! Equal timeouts are a matter of safety, not of preference: a leader's lease relies on its followers refusing
//! votes for an election timeout of the same length (core/lease.rs, rules 1 and 2).
//!
//! ```text
//! preamble (24): magic (8), protocol version u32, kind u32, body length u32,
//!                crc32c of kind, length and body u32
//! hello:         cluster, from, to, instance, election timeout ms, tick ms, boot count, boot, lost end (0 or 1),
//!                feature level, purpose: u64 each; then the announced address and the version of the build, each after
//!                its length u32; of version 6 without these two (88), of version 5 without the purpose too (80), of
//!                version 4 without the level too (72)
//! refusal:       code u32, text
//! ```
//!
//! Magic and version keep their places in every later version, so that members of different versions can tell each
//! other why they refuse.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::Socket;

use super::deadlined::Deadlined;
use super::joining::{self, ADDRESS_BYTES_MAX, JoinRequest, Welcome, is_announceable};
use super::protocol::Protocol;
use crate::types::{ClusterId, InstanceId, NodeId};

/// How long a whole handshake may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

const MAGIC: [u8; 8] = *b"almadia\n";
const PREAMBLE_BYTES: usize = 24;
/// Without the announced address and the version of the build.
const HELLO_BYTES: usize = 88;
/// What two texts take that are empty.
const LENGTHS_BYTES: usize = 8;
/// The longest version of a build that crosses.
const BUILD_BYTES_MAX: usize = 64;
const HELLO_BYTES_WITHOUT_PURPOSE: usize = 80;
const HELLO_BYTES_WITHOUT_LEVEL: usize = 72;
const TEXT_BYTES_MAX: usize = 1000;
const KIND_HELLO: u32 = 1;
const KIND_REFUSAL: u32 = 2;
pub(super) const KIND_JOIN: u32 = 3;
pub(super) const KIND_WELCOME: u32 = 4;

/// What a member says about itself and about the member it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The member the sender believes it is talking to.
    pub to: NodeId,
    /// Identifies the sender's directory.
    pub instance: InstanceId,
    /// The sender's election timeout, in milliseconds.
    pub election_timeout_ms: u64,
    /// The sender's tick, in milliseconds.
    pub tick_ms: u64,
    /// How many times the sender has been started.
    pub boot_count: u64,
    /// Differs in every boot of the sender.
    pub boot: u64,
    /// The sender's log has lost its end and does not have it back yet.
    pub lost_end: bool,
    /// The highest feature level that the sender knows; the lowest where the version of the hello has no place for it.
    pub level: u16,
    /// What the connection is for. The acceptor repeats it.
    pub purpose: Purpose,
    /// Where the sender says that it can be reached; empty if it does not, or the version of the hello has no place for
    /// it.
    pub announced: String,
    /// The version of the sender's build, such as "1.2.3"; empty if the version of the hello has no place for it.
    pub build: String,
}

/// What a connection is for. The number crosses the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Messages of the dialer; the only purpose there was before version 6.
    Messages = 0,
    /// One raft snapshot of the dialer.
    Snapshot = 1,
}

impl Purpose {
    fn of_number(number: u64) -> Option<Self> {
        [Self::Messages, Self::Snapshot].into_iter().find(|known| *known as u64 == number)
    }
}

/// Why two members do not talk to each other. The number crosses the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(crate) enum Reason {
    /// They speak different versions of the protocol, or one knows too little of what is in the other's log.
    Version = 1,
    /// They belong to different clusters.
    Cluster = 2,
    /// The address leads to another member.
    WrongNode = 3,
    /// The sender is not in the list of members, or has the number of another.
    UnknownNode = 4,
    /// Their election timeouts differ.
    ElectionTimeout = 5,
    /// Their ticks differ.
    Tick = 6,
    /// The member is not the one that was known under its number.
    Instance = 7,
    /// A reason of a later version.
    Other = 8,
    /// The sender was removed from the cluster.
    Removed = 9,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::Version,
        Self::Cluster,
        Self::WrongNode,
        Self::UnknownNode,
        Self::ElectionTimeout,
        Self::Tick,
        Self::Instance,
        Self::Other,
        Self::Removed,
    ];

    fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|reason| *reason as u32 == number).unwrap_or(Self::Other)
    }
}

/// A member's refusal to talk to another, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// What differs, and which option to correct.
    pub text: String,
}

/// Why a handshake did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The connection failed or the deadline passed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is not a handshake of this library.
    #[error("the other side is not a member of an Almadia cluster ({0})")]
    Foreign(&'static str),
    /// This member refuses the other one, which says it has this number.
    #[error("{1}")]
    Refusing(NodeId, Refusal),
    /// The other member refuses this one.
    #[error("refused: {0}")]
    Refused(Refusal),
}

impl Hello {
    /// Compares what the other side said with what this side says. The first difference that matters wins.
    ///
    /// # Errors
    /// The refusal to send, worded for an operator.
    pub(crate) fn check(&self, theirs: &Self) -> Result<(), Refusal> {
        self.check_cluster(theirs)?;
        self.check_nodes(theirs)?;
        self.times().check(theirs.times())
    }

    fn times(&self) -> Times {
        let Self { from: node, election_timeout_ms, tick_ms, .. } = *self;
        Times { node, election_timeout_ms, tick_ms }
    }

    fn check_cluster(&self, theirs: &Self) -> Result<(), Refusal> {
        if theirs.cluster == self.cluster {
            return Ok(());
        }
        refuse(
            Reason::Cluster,
            format!(
                "node {} belongs to cluster {:016x} and node {} to cluster {:016x}: set cluster.name and \
                 cluster.initial_members to the same values on all members",
                self.from,
                self.cluster.get(),
                theirs.from,
                theirs.cluster.get()
            ),
        )
    }

    fn check_nodes(&self, theirs: &Self) -> Result<(), Refusal> {
        if theirs.to != self.from {
            return refuse(
                Reason::WrongNode,
                format!(
                    "the address given for node {} is that of node {}: correct cluster.initial_members \
                     on node {}",
                    theirs.to, self.from, theirs.from
                ),
            );
        }
        if theirs.from != self.to {
            return refuse(
                Reason::WrongNode,
                format!(
                    "the address given for node {} is that of node {}: correct cluster.initial_members \
                     on node {}",
                    self.to, theirs.from, self.from
                ),
            );
        }
        Ok(())
    }
}

/// What has to be the same on all members for leases to be safe.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// Whose they are.
    pub(super) node: NodeId,
    pub(super) election_timeout_ms: u64,
    pub(super) tick_ms: u64,
}

impl Times {
    /// Those of a member that is to be.
    pub(super) fn of_request(request: &JoinRequest) -> Self {
        let JoinRequest { node, election_timeout_ms, tick_ms, .. } = *request;
        Self { node, election_timeout_ms, tick_ms }
    }

    /// Compares them with those of another member.
    pub(super) fn check(self, theirs: Self) -> Result<(), Refusal> {
        let (own, other) = (self.node, theirs.node);
        if theirs.election_timeout_ms != self.election_timeout_ms {
            return refuse(
                Reason::ElectionTimeout,
                format!(
                    "the election timeout is {} ms on node {own} and {} ms on node {other}: set \
                     raft.election_timeout_ms to the same value on all members",
                    self.election_timeout_ms, theirs.election_timeout_ms
                ),
            );
        }
        if theirs.tick_ms != self.tick_ms {
            return refuse(
                Reason::Tick,
                format!(
                    "the tick is {} ms on node {own} and {} ms on node {other}: set raft.tick_ms to the \
                     same value on all members",
                    self.tick_ms, theirs.tick_ms
                ),
            );
        }
        Ok(())
    }
}

fn refuse(reason: Reason, text: String) -> Result<(), Refusal> {
    Err(Refusal { reason, text })
}

/// The dialer's side, in this version of the protocol. Returns what the acceptor said, which agrees with `own`.
///
/// # Errors
/// See [`HandshakeError`]. The connection is then to be closed.
pub(crate) fn dial(
    socket: &Socket,
    own: &Hello,
    protocol: Protocol,
    admit: impl Admit,
) -> Result<Hello, HandshakeError> {
    let mut stream = Deadlined::new(socket, DEADLINE);
    stream.write_all(&hello_bytes(own, protocol))?;
    let theirs = receive(&mut stream, own, protocol)?;
    own.check(&theirs).and_then(|()| admit(&theirs)).map_err(|no| HandshakeError::Refusing(own.to, no))?;
    Ok(theirs)
}

/// Who dialed.
#[derive(Debug)]
pub(crate) enum Caller {
    /// A member, which agrees and has been answered, in this version.
    Member(Hello, Protocol),
    /// One that is to be a member and waits for an answer: see [`asking`](super::asking).
    Newcomer(JoinRequest),
}

/// The acceptor's side. `own_for` makes this member's hello for the member that dialed, or refuses when there
/// is no such member.
///
/// # Errors
/// See [`HandshakeError`]. A dialer that speaks this protocol has then been told.
pub(crate) fn accept(
    socket: &Socket,
    own_for: impl Fn(NodeId) -> Result<Hello, Refusal>,
    admit: impl Admit,
) -> Result<Caller, HandshakeError> {
    let mut stream = Deadlined::new(socket, DEADLINE);
    let mut protocol = Protocol::NEWEST;
    match answer_to(&mut stream, &mut protocol, own_for, admit) {
        Ok(Heard::Hello { theirs, own }) => {
            stream.write_all(&hello_bytes(&own, protocol))?;
            Ok(Caller::Member(theirs, protocol))
        }
        Ok(Heard::Join(request)) => Ok(Caller::Newcomer(request)),
        Err(error) => {
            if let HandshakeError::Refusing(_, refusal) = &error {
                // The dialer may be gone by now; what is reported is the refusal.
                drop(stream.write_all(&refusal_bytes(refusal, protocol)));
            }
            Err(error)
        }
    }
}

/// What the acceptor is asked.
enum Heard {
    /// A member said `theirs`, which agrees with `own`, to be answered.
    Hello {
        theirs: Hello,
        own: Hello,
    },
    Join(JoinRequest),
}

/// Asks whether the member behind this hello may take part.
pub(crate) trait Admit: Fn(&Hello) -> Result<(), Refusal> {}
impl<F: Fn(&Hello) -> Result<(), Refusal>> Admit for F {}

/// What the dialer says, and the answer to its hello, which is to be in the version that `protocol` is set to.
fn answer_to(
    stream: &mut impl Read,
    protocol: &mut Protocol,
    own_for: impl Fn(NodeId) -> Result<Hello, Refusal>,
    admit: impl Admit,
) -> Result<Heard, HandshakeError> {
    let theirs = match read_part(stream)? {
        Part::Hello(theirs, spoken) => {
            *protocol = spoken;
            theirs
        }
        Part::Join(request) => return Ok(Heard::Join(request)),
        Part::Welcome(_) => return Err(out_of_turn()),
        Part::Refusal(refusal) => return Err(HandshakeError::Refused(refusal)),
        Part::OtherVersion(version) => {
            return Err(HandshakeError::Refusing(NodeId::default(), version_refusal(version)));
        }
    };
    let refusing = |refusal| HandshakeError::Refusing(theirs.from, refusal);
    let own = Hello { purpose: theirs.purpose, ..own_for(theirs.from).map_err(refusing)? };
    own.check(&theirs).and_then(|()| admit(&theirs)).map_err(refusing)?;
    Ok(Heard::Hello { theirs, own })
}

fn receive(stream: &mut impl Read, own: &Hello, protocol: Protocol) -> Result<Hello, HandshakeError> {
    match read_part(stream)? {
        Part::Hello(_, spoken) if spoken != protocol => {
            Err(HandshakeError::Foreign("it answers in another version of the protocol"))
        }
        Part::Hello(theirs, _) if theirs.purpose == own.purpose => Ok(theirs),
        Part::Hello(..) => Err(HandshakeError::Foreign("it takes the connection for one of another purpose")),
        Part::Join(_) | Part::Welcome(_) => Err(out_of_turn()),
        Part::Refusal(refusal) => Err(HandshakeError::Refused(refusal)),
        Part::OtherVersion(version) => Err(HandshakeError::Refusing(own.to, version_refusal(version))),
    }
}

fn out_of_turn() -> HandshakeError {
    HandshakeError::Foreign("it says what is not due in a handshake")
}

pub(super) fn version_refusal(version: u32) -> Refusal {
    let [oldest, newest] = [Protocol::OLDEST, Protocol::NEWEST].map(Protocol::number);
    let text = format!(
        "one member speaks version {version} of the peer protocol, the other versions {oldest} to {newest}: run \
         the same release of the library on all members"
    );
    Refusal { reason: Reason::Version, text }
}

/// What one side sends.
pub(super) enum Part {
    Hello(Hello, Protocol),
    Refusal(Refusal),
    Join(JoinRequest),
    Welcome(Welcome),
    /// The rest has the form of another version of the protocol.
    OtherVersion(u32),
}

/// What the other side of a handshake says.
fn read_part(stream: &mut impl Read) -> Result<Part, HandshakeError> {
    read_part_if(stream, is_possible)
}

/// The same, if it has a kind and a length that are possible here.
pub(super) fn read_part_if(
    stream: &mut impl Read,
    is_possible: impl Fn(u32, usize, Protocol) -> bool,
) -> Result<Part, HandshakeError> {
    let mut preamble = [0; PREAMBLE_BYTES];
    // The magic is compared as soon as it is there: a foreign program may be waiting for an answer.
    fill(stream, &mut preamble[..MAGIC.len()])?;
    if preamble[..MAGIC.len()] != MAGIC {
        return Err(HandshakeError::Foreign("its first bytes are those of another protocol"));
    }
    fill(stream, &mut preamble[MAGIC.len()..])?;
    let word =
        |at: usize| u32::from_le_bytes([preamble[at], preamble[at + 1], preamble[at + 2], preamble[at + 3]]);
    let (version, kind, len, checksum) = (word(8), word(12), word(16) as usize, word(20));
    let Some(protocol) = Protocol::of_number(version) else { return Ok(Part::OtherVersion(version)) };
    if !is_possible(kind, len, protocol) {
        return Err(HandshakeError::Foreign("its handshake has an impossible length"));
    }
    let body = read_body(stream, len)?;
    if checksum_of(&preamble[12..20], &body) != checksum {
        return Err(HandshakeError::Foreign("the checksum of its handshake is wrong"));
    }
    Ok(match kind {
        KIND_HELLO => Part::Hello(parse_hello(&body)?, protocol),
        KIND_JOIN => Part::Join(
            joining::parse_request(body)
                .ok_or(HandshakeError::Foreign("its request to join is malformed"))?,
        ),
        KIND_WELCOME => Part::Welcome(
            joining::parse_welcome(body).ok_or(HandshakeError::Foreign("its welcome is malformed"))?,
        ),
        _ => Part::Refusal(parse_refusal(&body)),
    })
}

/// Reads as many bytes as fit.
fn fill(stream: &mut impl Read, bytes: &mut [u8]) -> io::Result<()> {
    stream.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => hung_up(),
        _ => error,
    })
}

/// Reads so many bytes. Memory follows those that come, whatever length was told.
fn read_body(stream: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    stream.take(len as u64).read_to_end(&mut body)?;
    if body.len() == len { Ok(body) } else { Err(hung_up()) }
}

/// The error of the standard library says nothing about connections.
fn hung_up() -> io::Error {
    let text = "the other side closed the connection during the handshake";
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

fn is_possible(kind: u32, len: usize, protocol: Protocol) -> bool {
    match kind {
        KIND_HELLO if protocol < Protocol::Seven => len == hello_length(protocol),
        KIND_HELLO => {
            let texts = len.checked_sub(HELLO_BYTES + LENGTHS_BYTES);
            texts.is_some_and(|bytes| bytes <= ADDRESS_BYTES_MAX + BUILD_BYTES_MAX)
        }
        KIND_JOIN => protocol >= Protocol::Seven && joining::REQUEST_BYTES.contains(&len),
        _ => is_possible_refusal(kind, len),
    }
}

pub(super) fn is_possible_refusal(kind: u32, len: usize) -> bool {
    kind == KIND_REFUSAL && (4..=4 + TEXT_BYTES_MAX).contains(&len)
}

/// Without the announced address and the version of the build.
fn hello_length(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Four => HELLO_BYTES_WITHOUT_LEVEL,
        Protocol::Five => HELLO_BYTES_WITHOUT_PURPOSE,
        Protocol::Six | Protocol::Seven => HELLO_BYTES,
    }
}

fn parse_hello(body: &[u8]) -> Result<Hello, HandshakeError> {
    let (words, rest) = body.split_at(body.len().min(HELLO_BYTES));
    let (words, _) = words.as_chunks::<8>();
    let word = |at: usize| u64::from_le_bytes(words[at]);
    let purpose = Purpose::of_number(words.get(10).map_or(0, |word| u64::from_le_bytes(*word)))
        .ok_or(HandshakeError::Foreign("its connection is for a purpose that this version does not have"))?;
    let (announced, build) = if rest.is_empty() { Default::default() } else { parse_texts(rest)? };
    Ok(Hello {
        cluster: ClusterId(word(0)),
        from: NodeId(word(1)),
        to: NodeId(word(2)),
        instance: InstanceId(word(3)),
        election_timeout_ms: word(4),
        tick_ms: word(5),
        boot_count: word(6),
        boot: word(7),
        lost_end: word(8) != 0,
        level: words.get(9).map_or(0, |word| u16::try_from(u64::from_le_bytes(*word)).unwrap_or(u16::MAX)),
        purpose,
        announced,
        build,
    })
}

/// The announced address and the version of the build, which take all of `bytes`.
fn parse_texts(bytes: &[u8]) -> Result<(String, String), HandshakeError> {
    let texts = split_text(bytes).and_then(|(announced, rest)| Some((announced, split_text(rest)?)));
    match texts {
        Some((announced, _)) if !is_announceable(announced) => {
            Err(HandshakeError::Foreign("what it announces is no address"))
        }
        Some((announced, (build, []))) if is_build(build) => Ok((announced.to_owned(), build.to_owned())),
        _ => Err(HandshakeError::Foreign("its hello has an end that is malformed")),
    }
}

/// The text at the beginning of `bytes`, after its length u32, and what follows.
fn split_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Whether this can be the version of a build. It is shown to operators as it is.
fn is_build(text: &str) -> bool {
    text.len() <= BUILD_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn parse_refusal(body: &[u8]) -> Refusal {
    let reason = Reason::from_number(u32::from_le_bytes([body[0], body[1], body[2], body[3]]));
    // The text goes to a log: control characters in it must not reach a terminal.
    let text = String::from_utf8_lossy(&body[4..]).chars().filter(|c| !c.is_control()).collect();
    Refusal { reason, text }
}

fn hello_bytes(hello: &Hello, protocol: Protocol) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(HELLO_BYTES + LENGTHS_BYTES + hello.announced.len() + hello.build.len());
    let ids = [hello.cluster.get(), hello.from.get(), hello.to.get(), hello.instance.get()];
    let times = [hello.election_timeout_ms, hello.tick_ms, hello.boot_count, hello.boot];
    let rest = [u64::from(hello.lost_end), u64::from(hello.level), hello.purpose as u64];
    for word in ids.into_iter().chain(times).chain(rest) {
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.truncate(hello_length(protocol));
    if protocol >= Protocol::Seven {
        joining::put_prefixed(&mut body, hello.announced.as_bytes());
        joining::put_prefixed(&mut body, hello.build.as_bytes());
    }
    part_bytes(KIND_HELLO, protocol, &body)
}

pub(super) fn refusal_bytes(refusal: &Refusal, protocol: Protocol) -> Vec<u8> {
    let mut body = (refusal.reason as u32).to_le_bytes().to_vec();
    let text = refusal.text.as_bytes();
    body.extend_from_slice(&text[..text.len().min(TEXT_BYTES_MAX)]);
    part_bytes(KIND_REFUSAL, protocol, &body)
}

pub(super) fn part_bytes(kind: u32, protocol: Protocol, body: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&protocol.number().to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).expect("a handshake is short").to_le_bytes());
    let checksum = checksum_of(&out[12..20], body);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn checksum_of(kind_and_length: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(kind_and_length), body)
}

#[cfg(any(test, feature = "simulation"))]
#[path = "handshake_fuzz.rs"]
mod fuzz;
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub use fuzz::fuzz_handshake;

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
