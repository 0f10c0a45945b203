//! The two records of a staged raft snapshot: how far it has come, and that it is complete.
//!
//! Owns their forms. What always holds: both are replaced as a whole ([`record`](crate::storage::directory::record)); a
//! manifest is written last, so a directory with one is complete; a damaged manifest is told from none, while a damaged
//! record of progress is as good as none.
//!
//! ```text
//! progress:   version u8 = 1 | source u64, u64, u64 | 0, or 1 and the last key's length u32 and the last key | what both have
//! manifest:   version u8 = 1 | what both have
//! both:       rows u64 | crc32c of the rows u32 | files u32 | bytes of each file u64 | SnapshotHead::encode
//! ```

use std::path::Path;

use crate::core::raft_snapshot::SnapshotHead;
use crate::error::{Code, Error, Result};
use crate::storage::directory::record::{self, Format, HEADER_BYTES};
use crate::storage::open_directory::OpenDirectory;
use crate::varint::Reader;

/// Its name in the directory of a raft snapshot.
pub(super) const MANIFEST: &str = "manifest";
const MANIFEST_MAGIC: [u8; 8] = *b"almisnap";
const PROGRESS: &str = "progress";
const PROGRESS_MAGIC: [u8; 8] = *b"almiprog";
const VERSION: u8 = 1;

/// What has been staged of a raft snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contents {
    pub head: SnapshotHead,
    pub rows: u64,
    /// Of these rows.
    pub crc: u32,
    /// The lengths of the files, in order.
    pub files: Vec<u64>,
}

impl Contents {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        let files = u32::try_from(self.files.len()).expect("files are large, and few");
        out.extend_from_slice(&files.to_le_bytes());
        self.files.iter().for_each(|bytes| out.extend_from_slice(&bytes.to_le_bytes()));
        out.extend_from_slice(&self.head.encode());
    }

    fn decode(mut reader: Reader<'_>) -> Option<Self> {
        let rows = fixed_u64(&mut reader)?;
        let crc = reader.fixed_u32()?;
        let files = u64::from(reader.fixed_u32()?);
        let mut lengths = Reader::new(reader.take(files * 8)?);
        let files = (0..files).map(|_| fixed_u64(&mut lengths)).collect::<Option<_>>()?;
        Some(Self { head: SnapshotHead::decode(reader.rest())?, rows, crc, files })
    }
}

/// A raft snapshot that is not complete.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Progress {
    /// Of which sending it is: the sender's node and boot, and the sending's number.
    pub source: [u64; 3],
    /// Of the files that are complete; none while there are no rows.
    pub last_key: Option<Vec<u8>>,
    pub contents: Contents,
}

impl Progress {
    /// Replaces the record; when this returns, it and the files beside it are durable if their bytes are.
    pub(super) fn write(&self, directory: &OpenDirectory) -> Result<()> {
        record::write(directory, PROGRESS, PROGRESS_MAGIC, Format::Current, &self.encode())
    }

    /// None when there is none that can be used.
    ///
    /// # Errors
    /// `IO` from the disk.
    pub(super) fn read(directory: &OpenDirectory) -> Result<Option<Self>> {
        match record::read(directory, PROGRESS, PROGRESS_MAGIC) {
            Ok(read) => Ok(read.and_then(|record| Self::decode(&record.body))),
            Err(error) if matches!(error.code(), Code::Corruption | Code::IncompatibleFormat) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.source.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.push(u8::from(self.last_key.is_some()));
        if let Some(key) = &self.last_key {
            out.extend_from_slice(&u32::try_from(key.len()).expect("keys are small").to_le_bytes());
            out.extend_from_slice(key);
        }
        self.contents.encode(&mut out);
        out
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        (reader.byte()? == VERSION).then_some(())?;
        let mut number = || fixed_u64(&mut reader);
        let source = [number()?, number()?, number()?];
        let last_key = match reader.byte()? {
            0 => None,
            1 => {
                let length = reader.fixed_u32()?;
                Some(reader.take(length.into())?.to_vec())
            }
            _ => return None,
        };
        Some(Self { source, last_key, contents: Contents::decode(reader)? })
    }
}

/// Writes the manifest, durably.
///
/// # Errors
/// `IO`, `NO_SPACE` or `PERMISSION`; whether it is there is then unknown.
pub(super) fn write_manifest(directory: &OpenDirectory, contents: &Contents) -> Result<()> {
    let mut body = vec![VERSION];
    contents.encode(&mut body);
    record::write(directory, MANIFEST, MANIFEST_MAGIC, Format::Current, &body)
}

/// The manifest; none when there is none.
///
/// # Errors
/// `CORRUPTION` when it is damaged, `INCOMPATIBLE_FORMAT` when it is of a newer version, `IO` from the disk.
pub(super) fn read_manifest(directory: &OpenDirectory) -> Result<Option<Contents>> {
    let Some(record) = record::read(directory, MANIFEST, MANIFEST_MAGIC)? else { return Ok(None) };
    let path = &directory.path().join(MANIFEST);
    let mut reader = Reader::new(&record.body);
    match reader.byte() {
        Some(VERSION) => {}
        Some(newer) => return Err(unknown_version(path, newer)),
        None => return Err(Error::corruption(path, HEADER_BYTES as u64, "it is empty")),
    }
    let contents = Contents::decode(reader);
    let damaged = || Error::corruption(path, HEADER_BYTES as u64, "the content makes no sense");
    contents.map(Some).ok_or_else(damaged)
}

fn unknown_version(path: &Path, version: u8) -> Error {
    let shown = path.display();
    let detail = format!("{shown} has version {version}, this library reads {VERSION}; use a newer one");
    Error::with_detail(Code::IncompatibleFormat, detail).at(path)
}

fn fixed_u64(reader: &mut Reader<'_>) -> Option<u64> {
    let bytes = reader.take(8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::raft_snapshot::rows;
    use crate::core::region::Region;
    use crate::types::{ApplyState, LogIndex, NodeId, Term};

    fn contents() -> Contents {
        let state = ApplyState { index: LogIndex(60), term: Term(6) };
        let head = SnapshotHead { region: Region::bootstrap(&[NodeId(1)]), state };
        let crc = rows::checksum(0, b"a", &[b'1', 0, 0, 7, 0, 0, 0, 0, 0, 0]);
        Contents { head, rows: 1, crc, files: vec![1000] }
    }

    /// As `docs/disk-format.md` has it.
    const MANIFEST_FRONT: [u8; 62] = [
        0x61, 0x6c, 0x6d, 0x69, 0x73, 0x6e, 0x61, 0x70, 3, 0, 0, 0, 0x6e, 0, 0, 0, 0xa8, 0xd4, 0x6e, 0x3c, 1,
        1, 0, 0, 0, 0, 0, 0, 0, 0x1c, 0x63, 0x89, 0xeb, 1, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0, 1, 60, 0, 0,
        0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn a_manifest_is_stored_as_documented() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let directory = OpenDirectory::open(place.path()).expect("it exists");

        write_manifest(&directory, &contents()).expect("a healthy disk");

        let stored = std::fs::read(place.path().join(MANIFEST)).expect("just written");
        let (front, region) = stored.split_at(MANIFEST_FRONT.len());
        assert_eq!(front, MANIFEST_FRONT);
        assert_eq!(region, contents().head.region.encode());
        assert_eq!(read_manifest(&directory).expect("it is whole"), Some(contents()));
    }

    #[test]
    fn progress_survives_the_round_trip_and_any_cut_of_it_is_none() {
        for last_key in [None, Some(Vec::new()), Some(b"key".to_vec())] {
            let progress = Progress { source: [2, u64::MAX, 1], last_key, contents: contents() };
            let body = progress.encode();

            assert_eq!(Progress::decode(&body), Some(progress));
            assert!((0..body.len()).all(|length| Progress::decode(&body[..length]).is_none()));
        }
    }
}
