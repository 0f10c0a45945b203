//! A directory identified by its descriptor.
//!
//! Owns an open directory and every call that creates, opens, renames or removes a file in it. What always holds: these
//! calls reach the directory that was opened, wherever it has been moved since and whatever is at its path now; the
//! files are closed on exec, private to their owner when created here, and never standard input, output or error. The
//! path is for messages, and for the engine, which opens files by path only. When to sync what is left to the callers.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::process::descriptors::above_standard;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Must exist; read only.
    Read,
    /// Must exist; read and written.
    Write,
    /// Created unless it exists; read and written.
    WriteOrCreate,
    /// Must not exist yet; created, read and written.
    Create,
    /// Created, or truncated if it exists; written.
    Replace,
}

impl Access {
    fn flags(self) -> libc::c_int {
        match self {
            Self::Read => libc::O_RDONLY,
            Self::Write => libc::O_RDWR,
            Self::WriteOrCreate => libc::O_RDWR | libc::O_CREAT,
            Self::Create => libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
            Self::Replace => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
        }
    }
}

/// See the module. Any thread may use it.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    file: File,
    path: PathBuf,
}

impl OpenDirectory {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// What the operating system reports, as for every method here.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Self { file: above_standard(file)?, path: path.to_owned() })
    }

    /// Its path when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, to be locked.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether its path still leads to it.
    pub(crate) fn is_in_place(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the file `name`, a plain name.
    #[allow(unsafe_code)] // Named corner: std opens by path only.
    pub(crate) fn open_file(&self, name: &str, access: Access) -> io::Result<File> {
        let name = CString::new(name)?;
        let flags = access.flags() | libc::O_CLOEXEC;
        // SAFETY: the name is a C string, the descriptor is open as long as `self` is, and no other memory is touched.
        let call = || unsafe { libc::openat(self.file.as_raw_fd(), name.as_ptr(), flags, 0o600) };
        let fd = repeated(call)?;
        // SAFETY: the call just made this descriptor, so nobody else owns it.
        above_standard(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Renames a file, replacing `to`. Survives a power loss after [`OpenDirectory::sync`].
    #[allow(unsafe_code)] // As above.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (CString::new(from)?, CString::new(to)?);
        let fd = self.file.as_raw_fd();
        // SAFETY: as in `open_file`.
        repeated(|| unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) }).map(drop)
    }

    /// Removes a file. Survives a power loss after [`OpenDirectory::sync`].
    #[allow(unsafe_code)] // As above.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let name = CString::new(name)?;
        // SAFETY: as in `open_file`.
        repeated(|| unsafe { libc::unlinkat(self.file.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
    }

    /// Makes all creations, renames and removals so far durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Makes a system call and repeats it when a signal interrupts it.
fn repeated(call: impl Fn() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn files_go_to_a_moved_directory_and_not_to_the_one_at_its_old_path() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let (path, aside) = (parent.path().join("it"), parent.path().join("aside"));
        fs::create_dir(&path).expect("a new place");
        let directory = OpenDirectory::open(&path).expect("it exists");
        assert!(directory.is_in_place().expect("it exists"));

        fs::rename(&path, &aside).expect("it is ours");
        assert!(!directory.is_in_place().expect("nothing is there"));
        fs::create_dir(&path).expect("a new place");
        assert!(!directory.is_in_place().expect("another is there"));
        directory.open_file("a", Access::Create).expect("new").write_all(b"text").expect("a healthy disk");
        directory.open_file("b", Access::Create).expect("new");
        directory.rename("a", "c").expect("it exists");
        directory.remove("b").expect("it exists");
        directory.sync().expect("a healthy disk");

        assert_eq!(fs::read_dir(&path).expect("it exists").count(), 0);
        assert_eq!(fs::read_dir(&aside).expect("it exists").count(), 1);
        assert_eq!(fs::read(aside.join("c")).expect("it exists"), b"text");
    }

    #[test]
    fn access_decides_what_happens_to_an_existing_file() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = OpenDirectory::open(parent.path()).expect("it exists");
        let kind = |access| directory.open_file("a", access).err().map(|error| error.kind());
        let bytes = || fs::metadata(parent.path().join("a")).expect("it exists").len();

        assert_eq!(kind(Access::Read), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(Access::Write), Some(io::ErrorKind::NotFound));
        let mut file = directory.open_file("a", Access::WriteOrCreate).expect("made");
        file.write_all(b"text").expect("a healthy disk");
        assert_eq!(kind(Access::Create), Some(io::ErrorKind::AlreadyExists));
        assert_eq!([Access::Read, Access::Write, Access::WriteOrCreate].map(kind), [None; 3]);
        assert_eq!(bytes(), 4);
        assert_eq!(kind(Access::Replace), None);
        assert_eq!(bytes(), 0);
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");

        let error = OpenDirectory::open(file.path()).expect_err("not a directory");

        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
