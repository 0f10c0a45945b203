//! A file descriptor that signals "something is waiting".
//!
//! Owns one eventfd. What always holds: it never blocks, it is closed on exec, it is above the standard descriptors,
//! and it is readable from [`WakeFd::raise`] to the next [`WakeFd::lower`]. Who raises and lowers it, and under which
//! lock, is left to the queue it belongs to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::process::descriptors::above_standard;

/// See the module.
#[derive(Debug)]
pub(crate) struct WakeFd {
    file: File,
}

impl WakeFd {
    /// Creates a lowered one.
    ///
    /// # Errors
    /// When the process or the system has run out of descriptors.
    #[allow(unsafe_code)] // Named corner: std has no call for an eventfd.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just made this descriptor, so nobody else owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { file: above_standard(File::from(owned))? })
    }

    /// The descriptor, only for polling.
    #[must_use]
    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Makes it readable.
    pub(crate) fn raise(&self) {
        // It fails only when the counter is full, and then it is already readable.
        let _ = (&self.file).write(&1_u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub(crate) fn lower(&self) {
        // It fails only when the counter is zero, and then it is already unreadable.
        let _ = (&self.file).read(&mut [0; 8]);
    }
}
