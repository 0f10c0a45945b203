//! Table files that are written outside of the database, to become part of it later.
//!
//! Owns one while it is written. What always holds: it has the form of the tables of data; when [`TableFile::finish`]
//! returns, its bytes are durable; writing it makes nobody else's sync wait for more than a few mebibytes. That the keys
//! rise, and that its directory is synced, is left to the caller.

use std::fs::File;
use std::path::{Path, PathBuf};

use rocksdb::{Options, SstFileWriter};
use self_cell::self_cell;

use super::at_exit::Alive;
use super::{errors, options};
use crate::error::{Error, Result};

/// A sync of the raft log may have to wait for what is written here and not yet on the disk.
const SYNCED_BYTES: u64 = 8 << 20;

self_cell!(
    struct WriterCell {
        owner: Options,
        #[covariant]
        dependent: SstFileWriter,
    }
);

/// See the module. It may move between threads. One that is dropped before it is finished leaves a useless file.
pub(in crate::storage) struct TableFile {
    // Invariant: before what must outlive it.
    writer: WriterCell,
    _alive: Alive,
    /// The same file.
    file: File,
    path: PathBuf,
    synced_bytes: u64,
}

impl TableFile {
    /// Creates the file at `path`, and replaces one that is there.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`, as for every method here.
    pub(in crate::storage) fn create(path: PathBuf) -> Result<Self> {
        let alive = Alive::new();
        let writer = WriterCell::try_new(options::table_file()?, |options| {
            let writer = SstFileWriter::create(options);
            writer.open(&path).map(|()| writer)
        });
        let writer = writer.map_err(|error| failed(&path, error))?;
        let file = File::open(&path).map_err(|error| Error::io("open", &path, &error))?;
        Ok(Self { writer, _alive: alive, file, path, synced_bytes: 0 })
    }

    /// Appends a row, whose key is larger than the one before.
    pub(in crate::storage) fn put(&mut self, key: &[u8], stored: &[u8]) -> Result<()> {
        let put = self.writer.with_dependent_mut(|_, writer| writer.put(key, stored));
        put.map_err(|error| failed(&self.path, error))?;
        let bytes = self.bytes();
        if bytes - self.synced_bytes >= SYNCED_BYTES {
            self.sync()?;
            self.synced_bytes = bytes;
        }
        Ok(())
    }

    /// About how long it is.
    pub(in crate::storage) fn bytes(&self) -> u64 {
        self.writer.borrow_dependent().file_size()
    }

    /// Completes it, which must have a row, and returns its exact length.
    pub(in crate::storage) fn finish(mut self) -> Result<u64> {
        let finished = self.writer.with_dependent_mut(|_, writer| writer.finish());
        finished.map_err(|error| failed(&self.path, error))?;
        self.sync()?;
        let metadata = self.file.metadata().map_err(|error| Error::io("inspect", &self.path, &error))?;
        Ok(metadata.len())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("sync", &self.path, &error))
    }
}

fn failed(path: &Path, error: rocksdb::Error) -> Error {
    errors::failed(error).at(path)
}
