//! The lock on a directory.
//!
//! Owns the lock on a directory. What always holds: at most one [`LockGuard`] of a directory exists, in this process
//! and in all others, whatever happens to the files in it; the operating system releases the lock when its holder
//! exits, so it is never stale; a forked child of the holder, which shares its open files until it exits or calls exec,
//! does not release it, and keeps it only if the holder was killed.
//!
//! It consists of two flock locks: on the directory itself, which cannot be removed while it has files, and on the file
//! LOCK. The second is for network file systems, which show other machines only locks on files, and for error messages,
//! which name the holder by the pid in it. Nothing in the directory is changed before the first is held, and nothing
//! but LOCK before both are.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process;

use super::LOCK;
use crate::error::{Code, Error, Result};
use crate::process::fork::ProcessId;
use crate::storage::open_directory::{Access, OpenDirectory};

/// Keeps a directory from other stores until it is dropped. It becomes a [`LockGuard`].
#[derive(Debug)]
pub(super) struct DirectoryLock {
    directory: OpenDirectory,
    process: ProcessId,
}

impl DirectoryLock {
    /// Opens and locks the directory at `path`.
    ///
    /// # Errors
    /// `LOCKED` with the holder's pid, if it can be found, or when another directory takes this one's place meanwhile;
    /// `IO` or `PERMISSION` from the disk.
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        let directory = OpenDirectory::open(path).map_err(|error| Error::io("open", path, &error))?;
        lock(directory.file(), path, &directory)?;
        let lock = Self { directory, process: ProcessId::current() };
        // If it was removed and created again between the two calls, this locks the old one and another store may open
        // the new one.
        match lock.directory.is_in_place() {
            Ok(true) => Ok(lock),
            Ok(false) => Err(Error::with_detail(
                Code::Locked,
                format!("{} was moved or replaced while it was opened; open it again", path.display()),
            )),
            Err(error) => Err(Error::io("inspect", path, &error)),
        }
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &OpenDirectory {
        &self.directory
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if self.process.is_current() {
            // Closing it is not enough: the lock belongs to the open file description, which a child may share. If this
            // fails, closing is all that is left.
            let _ = self.directory.file().unlock();
        }
    }
}

/// Keeps a directory locked until it is dropped.
#[derive(Debug)]
pub(crate) struct LockGuard {
    directory: DirectoryLock,
    file: File,
}

impl LockGuard {
    /// Takes the second lock, on the file LOCK, and leaves this process's pid there.
    ///
    /// # Errors
    /// `LOCKED` with the holder's pid, `IO`, `NO_SPACE` or `PERMISSION` from the disk.
    pub(super) fn acquire(directory: DirectoryLock) -> Result<Self> {
        let path = directory.directory().path().join(LOCK);
        let opened = directory.directory().open_file(LOCK, Access::WriteOrCreate);
        let mut file = opened.map_err(|error| Error::io("open", &path, &error))?;
        lock(&file, &path, directory.directory())?;
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .map_err(|error| Error::io("write", &path, &error))?;
        Ok(Self { directory, file })
    }

    /// The directory.
    pub(super) fn directory(&self) -> &OpenDirectory {
        self.directory.directory()
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.directory.process.is_current() {
            // As for the directory above.
            let _ = self.file.unlock();
        }
    }
}

/// Locks `file`, at `path`, which is `directory` or a file in it.
fn lock(file: &File, path: &Path, directory: &OpenDirectory) -> Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => locked(directory),
        TryLockError::Error(error) => Error::io("lock", path, &error),
    })
}

fn locked(directory: &OpenDirectory) -> Error {
    let holder = match holder_pid(directory) {
        Some(pid) if pid == process::id() => {
            format!("this process ({pid}), by a store that is open or still closing")
        }
        Some(pid) if Path::new("/proc").join(pid.to_string()).exists() => format!("process {pid}"),
        Some(pid) => format!("a child of process {pid}, which was killed"),
        None => "another store".to_owned(),
    };
    let path = directory.path();
    let shown = path.display();
    let detail =
        format!("{shown} is in use by {holder}; close that store first, or wait for its last reader");
    Error::with_detail(Code::Locked, detail).with_errno(Some(libc::EWOULDBLOCK)).at(path)
}

/// The pid in LOCK. The file may be gone, and the holder may not have written its pid yet; the lock is held all the
/// same.
fn holder_pid(directory: &OpenDirectory) -> Option<u32> {
    let mut text = String::new();
    directory.open_file(LOCK, Access::Read).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn acquire(path: &Path) -> Result<LockGuard> {
        DirectoryLock::acquire(path).and_then(LockGuard::acquire)
    }

    #[test]
    fn a_lock_ends_with_its_guard_although_a_child_shares_the_open_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let guard = acquire(directory.path()).expect("nobody has it");
        let of_child = [&guard.file, guard.directory().file()].map(File::try_clone);

        assert_eq!(acquire(directory.path()).expect_err("it is held").code(), Code::Locked);
        drop(guard);

        assert!(acquire(directory.path()).is_ok());
        drop(of_child);
    }

    #[test]
    fn a_first_lock_ends_with_its_holder_although_a_child_shares_the_open_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = DirectoryLock::acquire(directory.path()).expect("nobody has it");
        let _of_child = first.directory().file().try_clone().expect("a descriptor is free");

        drop(first);

        assert!(acquire(directory.path()).is_ok());
    }

    #[test]
    fn a_holder_that_was_killed_left_a_child_with_its_lock() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let _of_child = acquire(directory.path()).expect("nobody has it");
        fs::write(directory.path().join(LOCK), "4194305\n").expect("more than any process has");

        let error = acquire(directory.path()).expect_err("it is held");

        assert!(error.detail().contains("in use by a child of process 4194305, which was killed"), "{error}");
    }

    #[test]
    fn a_directory_stays_locked_without_the_file_and_a_refused_store_creates_none() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let _guard = acquire(directory.path()).expect("nobody has it");
        fs::remove_file(directory.path().join(LOCK)).expect("it is there");

        let error = acquire(directory.path()).expect_err("it is held");

        assert_eq!(error.code(), Code::Locked);
        assert!(error.detail().contains("in use by another store"), "{error}");
        assert!(!directory.path().join(LOCK).exists());
    }

    #[test]
    fn a_lock_on_the_file_alone_keeps_the_directory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = File::create(directory.path().join(LOCK)).expect("a healthy disk");
        file.try_lock().expect("nobody has it");

        assert_eq!(acquire(directory.path()).expect_err("it is held").code(), Code::Locked);
        drop(file);

        assert!(acquire(directory.path()).is_ok());
    }
}
