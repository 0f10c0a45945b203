//! A raft snapshot while it arrives.
//!
//! Owns its files while they are written, and when each is complete. What always holds: rows rise strictly and belong to
//! the region; a file that the record of progress counts is durable and whole, so the next connection goes on behind it;
//! the manifest is written after all rows were found to be those that the sender counted. An error ends this
//! transfer and nothing else: the writer is to be dropped then.

use std::fs;
use std::sync::Arc;

use super::records::{self, Contents, Progress};
use super::{Being, Places, Staged, file_name};
use crate::core::raft_snapshot::{SnapshotHead, rows};
use crate::error::{Code, Error, Result};
use crate::storage::engine::{TableFile, has_version};
use crate::storage::open_directory::OpenDirectory;

/// So many files are enough: each is opened, checked against the tables of the database, and later compacted.
const FILES: u64 = 8;

/// The shortest file: as long as the tables that the engine makes.
const FILE_BYTES_MIN: u64 = 64 << 20;

/// Where a sending is to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    /// Behind this key; none: at the first.
    pub after: Option<Vec<u8>>,
    /// So many rows are here,
    pub rows: u64,
    /// and this is their checksum.
    pub crc: u32,
}

/// See the module. It may move between threads.
pub(crate) struct StagedWriter {
    directory: OpenDirectory,
    /// What the files that are complete have.
    progress: Progress,
    /// The row behind which the next one goes.
    now: Resume,
    open: Option<TableFile>,
    file_bytes: u64,
    place: Occupied,
}

/// Nobody else writes to the same place. What was written counts as interrupted when this is dropped, unless forgotten.
pub(super) struct Occupied {
    pub places: Arc<Places>,
    pub name: String,
}

impl Occupied {
    fn forget(&self) {
        self.places.lock().remove(&self.name);
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        if let Some(being) = self.places.lock().get_mut(&self.name) {
            *being = Being::Interrupted;
        }
    }
}

impl StagedWriter {
    pub(super) fn new(
        directory: OpenDirectory,
        progress: Progress,
        bytes_estimate: u64,
        place: Occupied,
    ) -> Self {
        let Contents { rows, crc, .. } = progress.contents;
        let now = Resume { after: progress.last_key.clone(), rows, crc };
        let file_bytes = (bytes_estimate / FILES).max(FILE_BYTES_MIN);
        Self { directory, progress, now, open: None, file_bytes, place }
    }

    /// What is here, and is not to be sent again.
    #[must_use]
    pub(crate) fn resume(&self) -> Resume {
        self.now.clone()
    }

    /// How many bytes its complete files have.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.progress.contents.files.iter().sum()
    }

    /// Appends a row: a key, and the value in the form in which engines store it.
    ///
    /// # Errors
    /// `CORRUPTION` when the row cannot be the next one, `IO`, `NO_SPACE` or `PERMISSION` from the disk.
    pub(crate) fn put(&mut self, key: &[u8], stored: &[u8]) -> Result<()> {
        self.check(key, stored)?;
        if self.open.is_none() {
            let name = file_name(self.progress.contents.files.len());
            self.open = Some(TableFile::create(self.directory.path().join(name))?);
        }
        let open = self.open.as_mut().expect("just opened");
        open.put(key, stored)?;
        let after = self.now.after.get_or_insert_default();
        after.clear();
        after.extend_from_slice(key);
        self.now.rows += 1;
        self.now.crc = rows::checksum(self.now.crc, key, stored);
        if open.bytes() >= self.file_bytes_now() {
            self.complete_file()?;
        }
        Ok(())
    }

    /// Ends it: there were so many `rows` in all, with this checksum.
    ///
    /// # Errors
    /// `CORRUPTION` when there were others, and nothing of it is kept; `IO`, `NO_SPACE` or `PERMISSION` from the disk.
    pub(crate) fn finish(mut self, rows: u64, crc: u32) -> Result<Staged> {
        if (self.now.rows, self.now.crc) != (rows, crc) {
            return Err(self.refuse_all(rows));
        }
        self.complete_file()?;
        records::write_manifest(&self.directory, &self.progress.contents)?;
        // From here on it is not one of those that were interrupted, which are removed.
        self.place.forget();
        Ok(Staged { directory: self.directory.path().to_owned(), contents: self.progress.contents })
    }

    /// From here on a file is complete when it has about so many bytes: one row, if there are none.
    #[cfg(test)]
    pub(in crate::storage) fn divide_at(&mut self, bytes: u64) {
        self.file_bytes = bytes;
    }

    fn check(&self, key: &[u8], stored: &[u8]) -> Result<()> {
        let wrong = |what: &str| {
            let detail = format!(
                "raft snapshot in {}: key {key:02x?} after {} rows {what}; it was damaged on its way, or where it is from",
                self.directory.path().display(),
                self.now.rows
            );
            Err(Error::with_detail(Code::Corruption, detail))
        };
        if !self.head().region.contains(key) {
            return wrong("lies outside the region");
        }
        if self.now.after.as_deref().is_some_and(|after| key <= after) {
            return wrong("is not larger than the one before");
        }
        if !has_version(stored) {
            return wrong("has a value without its version");
        }
        Ok(())
    }

    /// The estimate may have been far too low.
    fn file_bytes_now(&self) -> u64 {
        let doublings = self.progress.contents.files.len() as u64 / FILES;
        self.file_bytes.saturating_mul(1 << doublings.min(32))
    }

    fn complete_file(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let bytes = file.finish()?;
        let Progress { last_key, contents, .. } = &mut self.progress;
        contents.files.push(bytes);
        (contents.rows, contents.crc) = (self.now.rows, self.now.crc);
        last_key.clone_from(&self.now.after);
        self.progress.write(&self.directory)
    }

    /// It is no use to go on behind rows that are wrong.
    #[cold]
    fn refuse_all(&mut self, rows: u64) -> Error {
        self.open = None;
        let path = self.directory.path();
        let detail = format!(
            "raft snapshot in {}: {} rows arrived of {rows}, or others than were sent; it is to be sent again",
            path.display(),
            self.now.rows
        );
        let error = Error::with_detail(Code::Corruption, detail).at(path);
        match fs::remove_dir_all(path) {
            Ok(()) => {
                self.place.forget();
                error
            }
            Err(failed) => error.and(&format!("and it cannot be removed: {failed}")),
        }
    }

    fn head(&self) -> &SnapshotHead {
        &self.progress.contents.head
    }
}
