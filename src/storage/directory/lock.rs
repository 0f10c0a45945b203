//! Who has a directory open.
//!
//! Owns the LOCK file. What always holds: at most one [`LockGuard`] of a directory exists, in this process and
//! in all others; the operating system ends the lock with its holder, so there is never a stale one; a child process
//! of the holder's, which has the same open file until it ends or becomes another program, does not give it up, and
//! keeps it only when the holder was killed. The pid in the file is only for the reader of an error message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process;

use crate::descriptors::above_standard;
use crate::error::{Code, Error, Result};
use crate::fork::Home;

/// Keeps a directory locked until it is dropped.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
    home: Home,
}

impl LockGuard {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// `LOCKED` with the holder's pid, `IO`, `NO_SPACE` or `PERMISSION` from the disk.
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let opened = options.open(path).and_then(above_standard);
        let mut file = opened.map_err(|error| Error::io("open", path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(path, &mut file)),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, &error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .map_err(|error| Error::io("write", path, &error))?;
        Ok(Self { file, home: Home::here() })
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.home.is_here() {
            // To close it would not do: the lock is that of the open file, which a child may have too. Should it fail,
            // closing is what is left.
            let _ = self.file.unlock();
        }
    }
}

fn locked(path: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    // The holder may not have written its pid yet; the lock is held all the same.
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = match pid {
        Some(pid) if pid == process::id() => format!("this process ({pid})"),
        Some(pid) if Path::new("/proc").join(pid.to_string()).exists() => format!("process {pid}"),
        Some(pid) => format!("a child of process {pid}, which was killed"),
        None => "another process".to_owned(),
    };
    let directory = path.parent().expect("LOCK lies in a directory").display();
    let detail =
        format!("{directory} is in use by {holder}; close that store first, or wait for its last reader");
    Error::with_detail(Code::Locked, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_guard_though_a_child_has_the_same_open_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("LOCK");
        let guard = LockGuard::acquire(&path).expect("nobody has it");
        let of_child = guard.file.try_clone().expect("a descriptor is free");

        assert_eq!(LockGuard::acquire(&path).expect_err("it is held").code(), Code::Locked);
        drop(guard);

        assert!(LockGuard::acquire(&path).is_ok());
        drop(of_child);
    }

    #[test]
    fn a_holder_that_was_killed_left_a_child_with_its_lock() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("LOCK");
        let _of_child = LockGuard::acquire(&path).expect("nobody has it");
        std::fs::write(&path, "4194305\n").expect("more than any process has");

        let error = LockGuard::acquire(&path).expect_err("it is held");

        assert!(error.detail().contains("in use by a child of process 4194305, which was killed"), "{error}");
    }
}
