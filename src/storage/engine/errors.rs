//! Maps RocksDB's errors to ours.
//!
//! Owns the mapping from RocksDB's statuses, which the binding returns as text, to our codes. The text
//! always stays in the error's detail.

use std::path::Path;

use rocksdb::ErrorKind;

use crate::error::{Code, Error};

/// An error of a read, a write or a flush.
pub(super) fn failed(error: rocksdb::Error) -> Error {
    let code = code(&error);
    // The binding drops RocksDB's status code; the text of this one is unambiguous.
    let errno = (code == Code::NoSpace).then_some(libc::ENOSPC);
    Error::with_detail(code, error.into_string()).with_errno(errno)
}

/// An error while opening `directory`. A missing file has been lost: whether a database must exist is known
/// before it is opened.
pub(super) fn open_failed(directory: &Path, error: rocksdb::Error) -> Error {
    let missing = error.as_ref().contains("No such file or directory")
        || error.as_ref().contains("does not exist (create_if_missing is false)");
    let code = if missing { Code::Corruption } else { code(&error) };
    Error::with_detail(code, format!("{}: {}", directory.display(), error.into_string()))
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
