//! One connection on which a member sends a raft snapshot.
//!
//! Owns what is read from it and answered on it, from the end of the handshake on. What always holds: nothing is asked of
//! the core before the member has said in its own name what it sends to this one, and there is a place for it; DONE is
//! said only when the sink has finished; anything but the frames that are due ends the connection, and nothing else; what
//! was staged by then stays.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use log::{info, warn};
use socket2::Socket;

use super::super::deadlined::Deadlined;
use super::super::frame::FrameBuffer;
use super::super::handshake::{DEADLINE, Hello};
use super::super::notices::Topic;
use super::super::peer::Peer;
use super::super::{Network, spawn, warn_once};
use super::SnapshotSink;
use super::arrivals::{Arrivals, Place};
use super::frames::{Answer, BEGIN_BYTES_MAX, Begin, Broken, CHUNK_BYTES_MAX, DIALER_KINDS, Resume, Said};
use crate::error::Error;

/// What is read and thrown away after a failure, at most: what was under way when the sender could not know of it.
const DRAINED_BYTES_MAX: usize = 16 << 20;

/// Why a connection ended without all of a raft snapshot.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error("it was refused: {0}")]
    Refused(String),
    #[error("it cannot be staged: {0}")]
    Sink(Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// Hears what `theirs` sends on `socket`, and starts the thread that receives it if there is a place for it. Runs on the
/// thread of the handshake, and waits no longer than that may take.
pub(in crate::transport) fn take_over(
    network: &Arc<Network>,
    peer: &Arc<Peer>,
    socket: &Arc<Socket>,
    theirs: &Hello,
) {
    let mut frames = FrameBuffer::of_kinds(DIALER_KINDS, BEGIN_BYTES_MAX);
    let begin = hear_begin(socket, &mut frames, theirs).and_then(|begin| {
        let timeout = Some(network.snapshot_timeout());
        socket.set_read_timeout(timeout)?;
        socket.set_write_timeout(timeout)?;
        Ok(begin)
    });
    let begin = match begin {
        Ok(begin) => begin,
        Err(broken) => return tell(peer, &End::Broken(broken)),
    };
    let place = match Arrivals::enter(network, (peer.node, begin.message.head.region.id), socket) {
        Ok(place) => place,
        Err(text) => return refuse_for_now(peer, socket, text),
    };
    frames.take_bodies_of(CHUNK_BYTES_MAX);
    let owner = Arc::clone(peer);
    let name = format!("almadia-snapin-{}", peer.node);
    match spawn(network, &name, move |network| receive(network, &owner, place, frames, begin)) {
        Ok(thread) => network.arrivals.keep(thread),
        // The place went with the thread, and the connection with it: the sender comes again.
        Err(error) => warn!("cannot receive a raft snapshot: no thread could be started: {error}"),
    }
}

fn hear_begin(socket: &Socket, frames: &mut FrameBuffer, theirs: &Hello) -> Result<Box<Begin>, Broken> {
    let Said::Begin(begin) = next(&mut Deadlined::new(socket, DEADLINE), frames)? else {
        return Err(Broken::Malformed("it is not said what is sent"));
    };
    if (begin.message.from, begin.message.to) != (theirs.from, theirs.to) {
        return Err(Broken::Malformed("a raft snapshot of or for another member is sent"));
    }
    if begin.boot != theirs.boot {
        return Err(Broken::Malformed("a raft snapshot of another boot is sent"));
    }
    Ok(begin)
}

fn refuse_for_now(peer: &Peer, socket: &Socket, text: String) {
    info!("node {} is to send its raft snapshot later: {text}", peer.node);
    // It comes again in any case.
    drop(say(socket, &Answer::Busy(text)));
}

fn receive(network: &Network, peer: &Peer, place: Place, mut frames: FrameBuffer, begin: Box<Begin>) {
    let Some(open) = peer.sockets.register(Arc::clone(&place.socket)) else { return };
    let head = &begin.message.head;
    let what = format!(
        "the raft snapshot of region {} at {} from node {}",
        head.region.id, head.state.index, peer.node
    );
    match stage(network, &open, &mut frames, *begin) {
        Ok(rows) => info!("{what} is staged, {rows} rows"),
        Err(end) => {
            info!("receiving {what} has ended");
            tell(peer, &end);
        }
    }
}

/// Returns how many rows there are when all are staged and the sender was told.
fn stage(network: &Network, socket: &Socket, frames: &mut FrameBuffer, begin: Begin) -> Result<u64, End> {
    let source = [begin.message.from.get(), begin.boot, begin.number];
    let mut sink = match network.inbound.begin_snapshot(begin.message, source, begin.bytes_estimate) {
        Ok(sink) => sink,
        Err(text) => {
            say(socket, &Answer::Refused(text.clone()))?;
            return Err(End::Refused(text));
        }
    };
    let (after, rows, crc) = sink.resume();
    say(socket, &Answer::Resume(Resume { after, rows, crc }))?;
    match take_all(socket, frames, &mut *sink)? {
        Ok((rows, crc)) => match sink.finish(rows, crc) {
            Ok(()) => {
                say(socket, &Answer::Done)?;
                Ok(rows)
            }
            Err(error) => Err(fail(socket, error)),
        },
        Err(error) => {
            // What is staged is let go of before the sender can come again.
            drop(sink);
            Err(fail(socket, error))
        }
    }
}

/// Takes chunks until all have come; returns how many rows there are then, and their crc32c, or why the sink takes none.
fn take_all(
    mut socket: &Socket,
    frames: &mut FrameBuffer,
    sink: &mut dyn SnapshotSink,
) -> Result<Result<(u64, u32), Error>, Broken> {
    let mut taken = 0;
    loop {
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        match next(&mut socket, frames)? {
            Said::Chunk(rows) => {
                if let Err(error) = sink.take(&rows) {
                    return Ok(Err(error));
                }
                taken += rows.len() as u64;
                say(socket, &Answer::Ack(taken))?;
            }
            Said::End(rows, crc) => return Ok(Ok((rows, crc))),
            Said::Begin(_) => return Err(Broken::Malformed("a second raft snapshot on one connection")),
        }
    }
}

/// Tells the sender, and waits until it has heard: a connection that is closed with bytes unread takes with it what was
/// just said.
fn fail(socket: &Socket, error: Error) -> End {
    let said = say(socket, &Answer::Failed(error.to_string()));
    if said.is_ok() && socket.shutdown(Shutdown::Write).is_ok() {
        let mut stream = Deadlined::new(socket, DEADLINE);
        let mut drained = 0;
        let mut bytes = vec![0; 64 << 10];
        while drained < DRAINED_BYTES_MAX
            && let Ok(count @ 1..) = stream.read(&mut bytes)
        {
            drained += count;
        }
    }
    End::Sink(error)
}

/// What is said next.
fn next(stream: &mut impl Read, frames: &mut FrameBuffer) -> Result<Said, Broken> {
    loop {
        if let Some(frame) = frames.next_of_any_kind()? {
            return Said::parse(frame);
        }
        match frames.fill(stream) {
            Ok(0) => return Err(Broken::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(name_silence(error).into()),
        }
    }
}

fn say(mut socket: &Socket, answer: &Answer) -> Result<(), Broken> {
    let mut out = Vec::new();
    answer.put(&mut out);
    Ok(socket.write_all(&out).map_err(name_silence)?)
}

/// A passed socket timeout shows as "would block", which explains nothing.
fn name_silence(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(io::ErrorKind::TimedOut, "the sender neither takes nor says anything");
    }
    error
}

fn tell(peer: &Peer, end: &End) {
    let node = peer.node;
    match end {
        End::Broken(broken) if broken.is_malformed() => {
            let text = format!(
                "node {node} sent malformed data in place of a raft snapshot and its connection was closed: {end}. Does \
                 the network damage data, or does another program use its address?"
            );
            warn_once(&peer.snapshot_notices, Topic::BadFrame, text);
        }
        End::Sink(_) => warn!("a raft snapshot from node {node} is lost: {end}"),
        _ if peer.sockets.is_closed() => {}
        _ => info!("a raft snapshot from node {node} has not arrived yet: {end}"),
    }
}
