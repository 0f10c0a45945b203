//! Small files that are replaced as a whole.
//!
//! Owns how a few dozen bytes that a member cannot live without are stored. What always holds: after a crash at
//! any point the file holds the old bytes or the new ones; damaged files and files of an unknown version are recognized,
//! distinguished and never used. The meaning of the bytes is left to the caller.
//!
//! ```text
//! magic [8] | format version u32 | body length u32 | crc32c of all the rest u32 | body      (little-endian)
//! ```
//! This header never changes, so that every version can name what it cannot read.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::storage::open_directory::{Access, OpenDirectory};

/// A version of everything in a member's directory. The records themselves are the same in all that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Format {
    /// The values in the engine have no versions.
    Unversioned = 2,
    /// What this library writes.
    Current = 3,
}

impl Format {
    fn of(number: u64) -> Option<Self> {
        [Self::Unversioned, Self::Current].into_iter().find(|format| *format as u64 == number)
    }
}

/// A record as it was read.
pub(in crate::storage) struct Record {
    pub format: Format,
    pub body: Vec<u8>,
}

/// Bytes in front of the body.
pub(in crate::storage) const HEADER_BYTES: usize = 20;
const CRC_AT: usize = 16;
const BODY_BYTES_MAX: usize = 1 << 20;

/// The temporary file that holds the new bytes of `name` until they replace the old ones.
pub(in crate::storage) fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}

/// Replaces the record `name` of `directory`; when this returns it is durable.
///
/// # Errors
/// `IO`, `NO_SPACE` or `PERMISSION`; the file then holds the old or the new record.
pub(in crate::storage) fn write(
    directory: &OpenDirectory,
    name: &str,
    magic: [u8; 8],
    format: Format,
    body: &[u8],
) -> Result<()> {
    assert!(body.len() <= BODY_BYTES_MAX, "records are small");
    let temporary = temporary(name);
    let failed = |what| {
        let path = directory.path().join(&temporary);
        move |error| Error::io(what, &path, &error)
    };
    let written = directory.open_file(&temporary, Access::Replace).and_then(|mut file| {
        file.write_all(&encode(magic, format, body))?;
        file.sync_all()
    });
    written.map_err(failed("write"))?;
    directory.rename(&temporary, name).map_err(failed("rename"))?;
    sync_directory(directory)
}

/// The record `name` of `directory`; none when there is no such file.
///
/// # Errors
/// `INCOMPATIBLE_FORMAT` when it has an unknown version, `CORRUPTION` when it is damaged, else as [`write`].
pub(in crate::storage) fn read(
    directory: &OpenDirectory,
    name: &str,
    magic: [u8; 8],
) -> Result<Option<Record>> {
    let path = directory.path().join(name);
    let mut bytes = Vec::new();
    let read = directory.open_file(name, Access::Read).and_then(|mut file| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => decode(&path, magic, &bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, &error)),
    }
}

/// Creates a directory that only its owner may enter.
pub(in crate::storage) fn create_directory(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| Error::io("create directory", path, &error))
}

/// Makes the directory entries of `directory` durable.
pub(in crate::storage) fn sync_directory(directory: &OpenDirectory) -> Result<()> {
    directory.sync().map_err(|error| Error::io("sync directory", directory.path(), &error))
}

fn encode(magic: [u8; 8], format: Format, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("records are small");
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&(format as u32).to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    let crc = checksum(&bytes, body);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn decode(path: &Path, magic: [u8; 8], bytes: &[u8]) -> Result<Record> {
    let damaged = |offset: usize, what: &str| Error::corruption(path, offset as u64, what);
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(damaged(bytes.len(), "the file ends inside its header"));
    };
    if header[..8] != magic {
        return Err(damaged(0, "the file does not begin as it must"));
    }
    if number(header, 12) != body.len() as u64 {
        return Err(damaged(12, "the length does not match the file"));
    }
    if number(header, CRC_AT) != u64::from(checksum(&header[..CRC_AT], body)) {
        return Err(damaged(CRC_AT, "checksum mismatch"));
    }
    let version = number(header, 8);
    let format = Format::of(version).ok_or_else(|| unknown(path, version))?;
    Ok(Record { format, body: body.to_vec() })
}

fn unknown(path: &Path, version: u64) -> Error {
    let (oldest, newest) = (Format::Unversioned as u64, Format::Current as u64);
    let remedy =
        if version > newest { "use a newer one" } else { "open it with the earlier version that wrote it" };
    let shown = path.display();
    let detail = format!("{shown} has format {version}, this library reads {oldest} and {newest}; {remedy}");
    Error::with_detail(Code::IncompatibleFormat, detail)
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), body)
}

fn number(header: &[u8], at: usize) -> u64 {
    u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")).into()
}
