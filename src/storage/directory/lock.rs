//! Who has a directory open.
//!
//! Owns the LOCK file. What always holds: at most one [`LockGuard`] of a directory exists, in this process and
//! in all others; the operating system ends the lock with its holder, so there is never a stale one. The pid in
//! the file is only for the reader of an error message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process;

use crate::error::{Code, Error, Result};

/// Keeps a directory locked until it is dropped.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

impl LockGuard {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// `LOCKED` with the holder's pid, `IO`, `NO_SPACE` or `PERMISSION` from the disk.
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(|error| Error::io("open", path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(path, &mut file)),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, &error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .map_err(|error| Error::io("write", path, &error))?;
        Ok(Self { _file: file })
    }
}

fn locked(path: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    // The holder may not have written its pid yet; the lock is held all the same.
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = match pid {
        Some(pid) if pid == process::id() => format!("this process ({pid})"),
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    let directory = path.parent().expect("LOCK lies in a directory").display();
    let detail =
        format!("{directory} is in use by {holder}; close that store first, or wait for its last reader");
    Error::with_detail(Code::Locked, detail)
}
