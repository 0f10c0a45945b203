//! One raft snapshot on its way to one member.
//!
//! Owns the connections of a sending, one after the other, and what is written on them. What always holds: it ends soon
//! after it was cancelled, or the peer closed, whatever the other side does; rows are asked for only when there is
//! room for them; and the receiver is believed only in what it can know. Whether to dial again is left to
//! [`Attempts`](super::attempts::Attempts).

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{info, warn};
use socket2::Socket;

use super::super::dial::{Dialer, is_about_versions};
use super::super::frame::FrameBuffer;
use super::super::handshake::{HandshakeError, Reason};
use super::super::notices::Topic;
use super::super::peer::Peer;
use super::super::sockets::has_bytes;
use super::super::{Network, lock, warn_once};
use super::Sending;
use super::attempts::{Attempts, Trouble};
use super::frames::{
    ACCEPTOR_KINDS, ANSWER_BYTES_MAX, Answer, Begin, Broken, CHUNK_BYTES, CHUNK_BYTES_MAX, Resume, Said,
    chunk_header,
};
use super::window::Window;
use crate::error::Error;
use crate::time::{self, Timestamp};

/// How often a wait for the other side, or for the next dial, checks whether the sending was cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// Why a connection, or an attempt to make one, did not deliver the raft snapshot.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Unreachable(HandshakeError),
    #[error("it is busy: {0}")]
    Busy(String),
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error("it is refused: {0}")]
    Refused(String),
    #[error("it cannot be staged there: {0}")]
    Failed(String),
    #[error("its data cannot be read: {0}")]
    Source(Error),
    #[error("it was cancelled")]
    Cancelled,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl Stop {
    /// What it is to the next attempt; none if there is no point in one.
    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Unreachable(HandshakeError::Io(_) | HandshakeError::Foreign(_)) | Self::Busy(_) => {
                Some(Trouble::NotNow)
            }
            Self::Broken(_) => Some(Trouble::Broken),
            Self::Unreachable(_) | Self::Refused(_) | Self::Failed(_) | Self::Source(_) | Self::Cancelled => {
                None
            }
        }
    }
}

/// Sends it, over as many connections as it takes. True when the receiver has all of it.
pub(super) fn run(network: &Network, sending: &mut Sending) -> bool {
    // It was a peer when this was queued.
    let Some(peer) = network.peers.find(sending.message.to) else { return false };
    let head = &sending.message.head;
    let what = format!(
        "the raft snapshot of region {} at {} for node {}",
        head.region.id, head.state.index, peer.node
    );
    info!("sending {what}, about {} bytes", sending.bytes_estimate);
    let mut dialer = Dialer::new(network, &peer);
    let mut attempts = Attempts::new();
    loop {
        let stop = match attempt(network, &peer, &mut dialer, sending, &mut attempts) {
            Ok(()) => {
                info!("{what} has arrived");
                return true;
            }
            Err(stop) => stop,
        };
        let pause = stop.trouble().and_then(|trouble| attempts.failed(time::now(), trouble));
        let Some(pause) = pause.filter(|_| !is_over(&peer, sending)) else {
            tell(&peer, &stop, &what);
            return false;
        };
        info!("{what} is delayed; trying again: {stop}");
        rest(&peer, sending, pause);
    }
}

fn attempt(
    network: &Network,
    peer: &Peer,
    dialer: &mut Dialer<'_>,
    sending: &mut Sending,
    attempts: &mut Attempts,
) -> Result<(), Stop> {
    #[cfg(test)]
    crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
    if is_over(peer, sending) {
        return Err(Stop::Cancelled);
    }
    let socket = dialer.dial_for_snapshot().map_err(Stop::Unreachable)?;
    lock(&peer.snapshot_notices).dialed();
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(LOOK))?;
    let frames = FrameBuffer::of_kinds(ACCEPTOR_KINDS, ANSWER_BYTES_MAX);
    let window = Window::default();
    Connection { network, peer, socket: &socket, frames, window, moved_at: time::now(), sending }
        .deliver(attempts)
}

/// Whether nobody wants it any more.
fn is_over(peer: &Peer, sending: &Sending) -> bool {
    sending.cancelled.load(Ordering::Acquire) || peer.sockets.is_closed()
}

/// Waits until the next dial is due or nobody wants it any more.
fn rest(peer: &Peer, sending: &Sending, pause: Duration) {
    let until = time::now() + pause;
    while !is_over(peer, sending) {
        let left = until.since(time::now());
        if left.is_zero() {
            return;
        }
        peer.sockets.pause(left.min(LOOK));
    }
}

fn tell(peer: &Peer, stop: &Stop, what: &str) {
    match stop {
        Stop::Unreachable(error) if is_about_versions(error) => {
            let node = peer.node;
            let text = format!(
                "cannot send {what}: node {node} runs an earlier release of the library, which takes no raft \
                 snapshots, and its log is too far behind for anything else: run the current release on node {node}"
            );
            warn_once(&peer.snapshot_notices, Topic::DialRefusal(Reason::Version), text);
        }
        Stop::Cancelled => info!("{what} was cancelled"),
        _ => warn!("{what} was not delivered: {stop}"),
    }
}

/// A connection for one raft snapshot, of which this is the dialer.
struct Connection<'a> {
    network: &'a Network,
    peer: &'a Peer,
    socket: &'a Socket,
    frames: FrameBuffer,
    window: Window,
    /// When bytes last went one way or the other.
    moved_at: Timestamp,
    sending: &'a mut Sending,
}

impl Connection<'_> {
    /// Returns when the receiver has all of it.
    fn deliver(mut self, attempts: &mut Attempts) -> Result<(), Stop> {
        let Resume { after, rows, crc } = self.begin()?;
        attempts.resumed(rows);
        self.sending.source.seek(after.as_deref(), rows, crc).map_err(Stop::Source)?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
            self.check_wanted()?;
            chunk.clear();
            let total = self.sending.source.fill(&mut chunk, CHUNK_BYTES).map_err(Stop::Source)?;
            if let Some((rows, crc)) = total {
                assert!(chunk.is_empty(), "a source without rows appends none");
                return self.end(rows, crc);
            }
            self.send_chunk(&chunk)?;
            if chunk.capacity() > 4 * CHUNK_BYTES {
                // A long row comes seldom.
                chunk = Vec::with_capacity(CHUNK_BYTES);
            }
        }
    }

    fn begin(&mut self) -> Result<Resume, Stop> {
        let Sending { message, number, bytes_estimate, .. } = &*self.sending;
        let (boot, number, bytes_estimate) = (self.network.options.boot, *number, *bytes_estimate);
        let begin = Begin { boot, number, bytes_estimate, message: message.clone() };
        self.say(&Said::Begin(Box::new(begin)))?;
        match self.wait_for_answer()? {
            Answer::Resume(resume) => Ok(resume),
            Answer::Busy(text) => Err(Stop::Busy(text)),
            Answer::Refused(text) => Err(Stop::Refused(text)),
            Answer::Ack(_) | Answer::Done | Answer::Failed(_) => Err(out_of_turn()),
        }
    }

    fn send_chunk(&mut self, chunk: &[u8]) -> Result<(), Stop> {
        assert!(!chunk.is_empty(), "a source that has rows left appends one at least");
        assert!(chunk.len() <= CHUNK_BYTES_MAX as usize, "no row is that long: {} bytes", chunk.len());
        while !self.window.has_room(chunk.len()) {
            let answer = self.wait_for_answer()?;
            self.on_answer(answer)?;
        }
        self.window.send(chunk.len());
        self.write(&chunk_header(chunk))?;
        for slice in chunk.chunks(self.network.departures.slice_bytes()) {
            let wait = self.network.departures.take(slice.len());
            rest(self.peer, self.sending, wait);
            self.check_wanted()?;
            self.write(slice)?;
        }
        self.hear_answers()
    }

    /// Without waiting, so that the receiver is never held up by answers that nobody reads.
    fn hear_answers(&mut self) -> Result<(), Stop> {
        loop {
            while let Some(answer) = self.next_answer()? {
                self.on_answer(answer)?;
            }
            if !has_bytes(self.socket)? {
                return Ok(());
            }
            self.read()?;
        }
    }

    fn end(&mut self, rows: u64, crc: u32) -> Result<(), Stop> {
        self.say(&Said::End(rows, crc))?;
        loop {
            match self.wait_for_answer()? {
                Answer::Done => return Ok(()),
                answer => self.on_answer(answer)?,
            }
        }
    }

    /// While chunks are under way.
    fn on_answer(&mut self, answer: Answer) -> Result<(), Stop> {
        match answer {
            Answer::Ack(bytes) => {
                let new = self.window.acknowledge(bytes).ok_or_else(out_of_turn)?;
                self.sending.progress.fetch_add(new, Ordering::AcqRel);
                Ok(())
            }
            Answer::Failed(text) => Err(Stop::Failed(text)),
            Answer::Resume(_) | Answer::Busy(_) | Answer::Refused(_) | Answer::Done => Err(out_of_turn()),
        }
    }

    fn wait_for_answer(&mut self) -> Result<Answer, Stop> {
        loop {
            if let Some(answer) = self.next_answer()? {
                return Ok(answer);
            }
            self.read()?;
        }
    }

    /// What has come already.
    fn next_answer(&mut self) -> Result<Option<Answer>, Broken> {
        self.frames.next_of_any_kind()?.map(Answer::parse).transpose()
    }

    /// Reads once, if something comes soon.
    fn read(&mut self) -> Result<(), Stop> {
        let mut socket = self.socket;
        match self.frames.fill(&mut socket) {
            Ok(0) => Err(Broken::Closed.into()),
            Ok(_) => {
                self.moved_at = time::now();
                Ok(())
            }
            Err(error) => self.judge(error),
        }
    }

    fn say(&mut self, said: &Said) -> Result<(), Stop> {
        let mut out = Vec::new();
        said.put(&mut out);
        self.write(&out)
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let mut socket = self.socket;
            match socket.write(bytes) {
                Ok(0) => return Err(Broken::Closed.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.moved_at = time::now();
                }
                Err(error) => self.judge(error)?,
            }
        }
        Ok(())
    }

    /// A read or write did nothing. It is tried again unless it failed, the other side is silent for too long, or nobody
    /// wants it any more.
    fn judge(&self, error: io::Error) -> Result<(), Stop> {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            return Err(error.into());
        }
        self.check_wanted()?;
        if time::now().since(self.moved_at) < self.network.snapshot_timeout() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver neither takes nor says anything").into())
    }

    fn check_wanted(&self) -> Result<(), Stop> {
        if is_over(self.peer, self.sending) { Err(Stop::Cancelled) } else { Ok(()) }
    }
}

fn out_of_turn() -> Stop {
    Stop::Broken(Broken::Malformed("the receiver answers what it was not asked"))
}
