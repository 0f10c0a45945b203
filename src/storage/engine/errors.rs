//! Maps RocksDB's errors to ours.
//!
//! Owns the mapping from RocksDB's statuses, which the binding returns as text, to our codes and to the operating
//! system's numbers. The text always stays in the error's detail.

use std::io;
use std::path::Path;

use rocksdb::ErrorKind;

use crate::error::{Code, Error};

/// An error of a read, a write or a flush.
pub(super) fn failed(error: rocksdb::Error) -> Error {
    let (code, errno) = (code(&error), errno(error.as_ref()));
    Error::with_detail(code, error.into_string()).with_errno(errno)
}

/// An error while opening `directory`. A missing file has been lost: whether a database must exist is known
/// before it is opened.
pub(super) fn open_failed(directory: &Path, error: rocksdb::Error) -> Error {
    let errno = errno(error.as_ref());
    let missing = errno == Some(libc::ENOENT)
        || error.as_ref().contains("No such file or directory")
        || error.as_ref().contains("does not exist (create_if_missing is false)");
    let code = if missing { Code::Corruption } else { code(&error) };
    Error::with_detail(code, format!("{}: {}", directory.display(), error.into_string())).with_errno(errno)
}

fn code(error: &rocksdb::Error) -> Code {
    // RocksDB wraps the cause of a stopped write ("Result incomplete: IO error: No space left on device: ...").
    let text = error.as_ref();
    match error.kind() {
        ErrorKind::Corruption => Code::Corruption,
        _ if text.contains("No space left on device") => Code::NoSpace,
        _ if text.contains("Corruption: ") => Code::Corruption,
        _ => Code::Io,
    }
}

/// The number of the operating system's error that caused it. The binding drops it, but RocksDB's text of such an error
/// ends with the C library's.
fn errno(text: &str) -> Option<i32> {
    /// Linux has no higher one.
    const ERRNO_MAX: i32 = 133;
    if text.contains("No space left on device") {
        return Some(libc::ENOSPC);
    }
    let (_, cause) = text.rsplit_once(": ")?;
    (1..=ERRNO_MAX).find(|&errno| {
        let known = io::Error::from_raw_os_error(errno).to_string();
        known.strip_suffix(&format!(" (os error {errno})")) == Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_is_that_of_the_text_at_the_end() {
        let too_large = "IO error: While appending to file: /a/b: c/000009.sst: File too large";
        let full =
            "Result incomplete: IO error: No space left on device: While appending to file: /a/9.sst: ...";

        assert_eq!(errno(too_large), Some(libc::EFBIG));
        assert_eq!(
            errno("IO error: While open a file for random read: /a: Too many open files"),
            Some(libc::EMFILE)
        );
        assert_eq!(errno(full), Some(libc::ENOSPC));
        assert_eq!(errno("Corruption: block checksum mismatch"), None);
        assert_eq!(errno("Shutdown in progress"), None);
    }
}
