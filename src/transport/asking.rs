//! How a member that is to be asks to be let in.
//!
//! Owns the asking: one address after the other, again and again, until a member lets it in. What always holds: it speaks
//! the newest version of the protocol only; an answer that waiting cannot change ends the asking at once, and otherwise it
//! ends when its time is up, or soon after the list of its sockets is closed. What is said is that of [`joining`](super::joining), in the form of a part of a handshake; a
//! refusal is that of a handshake.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::info;

use super::deadlined::Deadlined;
use super::dial::{CONNECT_TIMEOUT, Lookup};
use super::handshake::{self, DEADLINE, HandshakeError, KIND_JOIN, KIND_WELCOME, Part, Reason, Refusal};
use super::joining::{
    ADDRESS_BYTES_MAX, JoinRequest, NAME_BYTES_MAX, WELCOME_BYTES, Welcome, is_announceable, request_body,
    welcome_body,
};
use super::protocol::Protocol;
use super::sockets::{OpenSockets, new_socket};
use crate::error::{Code, Error};
use crate::time::{self, Timestamp};

/// How long to wait before all addresses are tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long an attempt may take at least, however little time is left.
const ATTEMPT_MIN: Duration = Duration::from_millis(50);

/// What is sent to ask.
fn request_bytes(request: &JoinRequest) -> Vec<u8> {
    handshake::part_bytes(KIND_JOIN, Protocol::NEWEST, &request_body(request))
}

/// What is sent to let a member in; `None` when that is too long.
pub(super) fn welcome_bytes(welcome: &Welcome) -> Option<Vec<u8>> {
    welcome_body(welcome).map(|body| handshake::part_bytes(KIND_WELCOME, Protocol::NEWEST, &body))
}

/// Reads what a member answers.
///
/// # Errors
/// A refusal, and whatever else is no welcome.
fn read_answer(stream: &mut impl Read) -> Result<Welcome, HandshakeError> {
    let is_answer = |kind, len, protocol| match kind {
        KIND_WELCOME => protocol >= Protocol::Seven && WELCOME_BYTES.contains(&len),
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
/// `give_up_at`, within the time that an attempt at one address may take; and at once, but for a lookup of a name, when
/// `sockets` are closed.
///
/// # Errors
/// `NETWORK` when the time is up, with what came of each address; `REMOVED` if this member was removed before it came;
/// `INVALID_CONFIG` for any other refusal that waiting does not change; `CANCELLED` when `sockets` are closed.
pub(crate) fn ask(
    addresses: &[String],
    request: &JoinRequest,
    give_up_at: Timestamp,
    sockets: &OpenSockets,
) -> Result<Welcome, Error> {
    check(request)?;
    let asking = Asking { request, give_up_at, sockets };
    let mut reasons = vec!["it was not asked yet".to_owned(); addresses.len()];
    loop {
        for (address, reason) in addresses.iter().zip(&mut reasons) {
            match asking.attempt(address) {
                Ok(welcome) => return Ok(welcome),
                Err(error) => {
                    if let HandshakeError::Refused(refusal) = &error
                        && let Some(code) = final_code(refusal.reason)
                    {
                        let text =
                            format!("the member at {address} refuses node {}: {refusal}", request.node);
                        return Err(Error::with_detail(code, text));
                    }
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

/// Looks at what is known without asking anybody.
fn check(request: &JoinRequest) -> Result<(), Error> {
    let text = if !is_announceable(&request.announced) {
        format!(
            "'{}' is no address that others can use: set transport.announce to 'host:port', at most \
             {ADDRESS_BYTES_MAX} bytes",
            request.announced.escape_debug()
        )
    } else if request.cluster_name.len() > NAME_BYTES_MAX {
        format!("cluster.name has more than {NAME_BYTES_MAX} bytes: no member is let in to such a cluster")
    } else {
        return Ok(());
    };
    Err(Error::with_detail(Code::InvalidConfig, text))
}

/// The error when no member ever answers otherwise, as long as nobody corrects an option.
fn final_code(reason: Reason) -> Option<Code> {
    match reason {
        Reason::Version | Reason::Cluster | Reason::ElectionTimeout | Reason::Tick => {
            Some(Code::InvalidConfig)
        }
        Reason::Removed => Some(Code::Removed),
        Reason::WrongNode | Reason::UnknownNode | Reason::Instance | Reason::Other => None,
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
    sockets: &'a OpenSockets,
}

impl Asking<'_> {
    fn check_wanted(&self) -> Result<(), Error> {
        if self.sockets.is_closed() { Err(Error::new(Code::Cancelled)) } else { Ok(()) }
    }

    /// How long something may take that takes no longer than `most`; never nothing, which to the system is no limit.
    fn at_most(&self, most: Duration) -> Duration {
        self.give_up_at.since(time::now()).clamp(ATTEMPT_MIN, most)
    }

    /// Asks once at each socket address of `address`, until one answers.
    fn attempt(&self, address: &str) -> Result<Welcome, HandshakeError> {
        let found = Lookup::begin(address)?.wait(&|| self.sockets.is_closed())??;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address").into();
        for address in found {
            match self.ask_at(address) {
                Err(error @ HandshakeError::Io(_)) => failure = error,
                answered => return answered,
            }
        }
        Err(failure)
    }

    fn ask_at(&self, address: SocketAddr) -> Result<Welcome, HandshakeError> {
        let no_more = || io::Error::new(io::ErrorKind::Interrupted, "nobody is asked any more");
        // Registered before it connects, so that closing ends this wait too.
        let socket = self.sockets.register(Arc::new(new_socket(address)?)).ok_or_else(no_more)?;
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
        self.sockets.pause(self.give_up_at.since(time::now()).min(PAUSE));
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
pub(super) fn fuzz_answer(stream: &mut impl Read, bytes: &[u8]) {
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
#[path = "asking_tests.rs"]
mod tests;
