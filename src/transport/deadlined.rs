//! A socket on which all reads and writes together have one deadline.
//!
//! Owns how long each of them may take. What always holds: together they end in time, however slowly bytes arrive.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::Socket;

use crate::time::{self, Timestamp};

/// When a handshake must be over. It reads no clock: time is an argument.
#[derive(Clone, Copy)]
pub(super) struct Deadline(pub(super) Timestamp);

impl Deadline {
    /// How long a read or write that begins at `now` may take.
    pub(super) fn left(self, now: Timestamp) -> io::Result<Duration> {
        let left = self.0.since(now);
        // To the system less than a microsecond is zero, and zero is no limit.
        if left.is_zero() { Err(late()) } else { Ok(left.max(Duration::from_micros(1))) }
    }
}

/// A socket on which all reads and writes together have one deadline.
pub(super) struct Deadlined<'a> {
    socket: &'a Socket,
    deadline: Deadline,
}

impl<'a> Deadlined<'a> {
    /// One that has this long from now on.
    pub(super) fn new(socket: &'a Socket, within: Duration) -> Self {
        Self { socket, deadline: Deadline(time::now() + within) }
    }

    fn left(&self) -> io::Result<Duration> {
        self.deadline.left(time::now())
    }
}

impl Read for Deadlined<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        let mut socket = self.socket;
        socket.read(into).map_err(name_timeout)
    }
}

impl Write for Deadlined<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        let mut socket = self.socket;
        socket.write(bytes).map_err(name_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A passed socket timeout shows as "would block", which explains nothing.
fn name_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { late() } else { error }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer within the time a handshake may take")
}
