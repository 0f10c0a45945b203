//! The disk as the log store sees it: a flat directory of files, and nothing more.
//!
//! Owns the port between the log store and the operating system, and its real implementation. What always
//! holds: every file is private to its owner (mode 0600) and closed on exec; a call interrupted by a signal
//! is repeated here, any other error is returned unchanged and never retried. When to sync what is left to
//! the callers: only the creation of the directory syncs by itself.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use crate::storage::open_directory::{Access, OpenDirectory};

/// Tries to open a file without a descriptor to spare, and the pause between two: together shorter than the shortest
/// sensible election timeout, because the thread that sends heartbeats waits.
const OPEN_TRIES: u32 = 20;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// A flat directory. Names are plain file names. All methods may be called from any thread.
pub trait Files: Send + Sync {
    /// The names of all regular files, in any order.
    ///
    /// # Errors
    /// What the operating system reports, as for every method here.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As [`Files::list`].
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Creates a file that must not exist yet. Its name survives a power loss after [`Files::sync_dir`].
    ///
    /// # Errors
    /// As [`Files::list`].
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Renames a file, replacing `to`. Survives a power loss after [`Files::sync_dir`]; open handles remain valid.
    ///
    /// # Errors
    /// As [`Files::list`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// As [`Files::list`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all creations, renames and removals so far durable.
    ///
    /// # Errors
    /// As [`Files::list`].
    fn sync_dir(&self) -> io::Result<()>;
    /// The path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// A number that nobody who writes values can predict.
    fn salt(&self) -> u64;
}

/// An open file. All methods may be called from any thread.
pub trait LogFile: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the operating system reports, as for every method here.
    fn size(&self) -> io::Result<u64>;
    /// Makes the file `bytes` long with disk space behind every byte; new bytes read as zero.
    ///
    /// # Errors
    /// As [`LogFile::size`].
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// As [`LogFile::size`], and `UnexpectedEof` past the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`. Survives a power loss after [`LogFile::sync`].
    ///
    /// # Errors
    /// As [`LogFile::size`]; how much was written is then unknown.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written so far durable. After an error nothing is known about any byte written since the
    /// last success, and another call may report a success that means nothing.
    ///
    /// # Errors
    /// As [`LogFile::size`].
    fn sync(&self) -> io::Result<()>;
}

/// A directory of a real file system, identified by its descriptor, so that its files stay in it when it is moved.
pub(crate) struct DiskFiles {
    dir: OpenDirectory,
}

impl DiskFiles {
    /// Opens `dir`, creating it with mode 0700 when it does not exist; its own name is durable on return.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let dir = &path::absolute(dir)?;
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Also when the directory existed: the process that created it may have crashed before it synced this.
        if let Some(parent) = dir.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self { dir: OpenDirectory::open(dir)? })
    }
}

impl Files for DiskFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not UTF-8 is not ours.
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(DiskFile { file: when_descriptors_allow(|| self.dir.open_file(name, Access::Write))? }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(DiskFile { file: when_descriptors_allow(|| self.dir.open_file(name, Access::Create))? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.dir.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.dir.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn salt(&self) -> u64 {
        // The keys of std's hash maps come from the operating system's random source.
        RandomState::new().build_hasher().finish()
    }
}

/// Opens a file, and tries again for a moment when the process or the machine has run out of descriptors: a host that
/// takes the last ones often gives some back soon, and before a file is open nothing is promised that an error could
/// break.
fn when_descriptors_allow<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..OPEN_TRIES {
        match open() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                std::thread::sleep(OPEN_PAUSE);
            }
            result => return result,
        }
    }
    open()
}

struct DiskFile {
    file: fs::File,
}

impl LogFile for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match reserve(&self.file, bytes) {
            // Some file systems cannot reserve space; a sparse file works, but a full disk is noticed only later.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                self.file.set_len(bytes)
            }
            result => result,
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Reserves disk space for the first `bytes` bytes of `file` and makes it that long.
#[allow(unsafe_code)] // std has no way to reserve disk space.
fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed, and the call touches no memory.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_created_file_is_private_allocated_and_reads_as_zero() {
        let dir = tempfile::tempdir().unwrap();
        let files = DiskFiles::open(&dir.path().join("log")).unwrap();

        let file = files.create("a").unwrap();
        file.allocate(8192).unwrap();
        file.write_all_at(b"xyz", 4096).unwrap();
        file.sync().unwrap();
        files.sync_dir().unwrap();

        let mut bytes = [1; 5];
        file.read_exact_at(&mut bytes, 4095).unwrap();
        assert_eq!(&bytes, b"\0xyz\0");
        assert_eq!(file.size().unwrap(), 8192);
        assert_eq!(fs::metadata(files.path("a")).unwrap().permissions().mode() & 0o777, 0o600);
        let dir_mode = fs::metadata(dir.path().join("log")).unwrap().permissions().mode();
        assert_eq!(dir_mode & 0o777, 0o700);
        assert_eq!(files.create("a").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn names_are_listed_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = DiskFiles::open(dir.path()).unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();

        files.create("a").unwrap();
        files.create("b").unwrap();
        files.rename("a", "c").unwrap();
        files.remove("b").unwrap();

        assert_eq!(files.list().unwrap(), ["c"]);
        assert_eq!(files.open("a").err().unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_open_file_is_closed_on_exec() {
        let dir = tempfile::tempdir().unwrap();
        let files = DiskFiles::open(dir.path()).unwrap();
        let _file = files.create("a").unwrap();

        for fd in open_descriptors_of(dir.path()) {
            let flags = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let line = flags.lines().find(|line| line.starts_with("flags:")).unwrap();
            let bits = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 8).unwrap();
            assert_ne!(bits & 0o2_000_000, 0, "O_CLOEXEC is set on descriptor {fd}");
        }
        assert!(files.dir.file().as_raw_fd() > 2);
    }

    fn open_descriptors_of(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
            if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(dir)) {
                found.push(entry.file_name().into_string().unwrap());
            }
        }
        assert!(found.len() >= 2, "the directory and the file are open");
        found
    }

    #[test]
    fn salts_differ() {
        let dir = tempfile::tempdir().unwrap();
        let files = DiskFiles::open(dir.path()).unwrap();

        assert_ne!(files.salt(), files.salt());
    }
}
