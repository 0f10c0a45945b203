//! Raft snapshots that have arrived, or are arriving, until they are installed.
//!
//! Owns the directory `incoming/` of a store, with a directory in it for each region and apply state: files of
//! rows in the form of the engine's tables, and two records ([`records`]). What always holds: a raft snapshot is complete when
//! its manifest is there, and then all its files are there and durable; one that is not complete is only ever continued by
//! the sending that began it, and by none after a restart; a complete one stays until it is removed. Which of them are
//! needed is left to those who know the raft log, the writing of rows to [`writer`], what becomes of the files to the
//! engine.
//!
//! ```text
//! incoming/REGION-INDEX-TERM/   in decimal
//!   progress                    while it arrives; then without meaning
//!   manifest                    when it is complete
//!   N.rows                      file number N, from 0, in the order of the keys
//!   N.link                      another name of it, which the engine takes; without meaning after a crash
//! ```

mod records;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::records::{Contents, MANIFEST, Progress};
use self::writer::Occupied;
pub(crate) use self::writer::StagedWriter;
use crate::core::raft_snapshot::SnapshotHead;
use crate::error::{Code, Error, Result};
use crate::storage::directory::record;
use crate::storage::engine::Engine;
use crate::storage::open_directory::OpenDirectory;
use crate::types::{ApplyState, LogIndex, RegionId, Term};

const INCOMING: &str = "incoming";

/// See the module. Any thread may use it.
pub(crate) struct Staging {
    directory: OpenDirectory,
    places: Arc<Places>,
}

/// The directories that this process has begun and not completed.
#[derive(Default)]
struct Places(Mutex<BTreeMap<String, Being>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Being {
    Written,
    Interrupted,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Being>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `region` that nobody writes to.
    fn interrupted(&self, region: RegionId) -> Vec<String> {
        let places = self.lock();
        let interrupted = places.iter().filter(|(name, being)| {
            **being == Being::Interrupted && place_of(name).is_some_and(|(other, _)| other == region)
        });
        interrupted.map(|(name, _)| name.clone()).collect()
    }
}

impl Staging {
    /// Opens `incoming/` in `directory`, and makes it if there is none.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION`, as for every method here.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(INCOMING);
        let parent = open(directory)?;
        if !exists(&path)? {
            record::create_directory(&path)?;
            record::sync_directory(&parent)?;
        }
        Ok(Self { directory: open(&path)?, places: Arc::default() })
    }

    /// Begins to stage the raft snapshot of `head`, or goes on where the same `source`, which is a sender's node and boot and
    /// the number of its sending, was interrupted. What was interrupted otherwise of the region is removed.
    ///
    /// # Errors
    /// `OVERLOADED` while it is being written already, or when it is complete.
    pub(crate) fn begin(
        &self,
        head: &SnapshotHead,
        source: [u64; 3],
        bytes_estimate: u64,
    ) -> Result<StagedWriter> {
        let name = name_of(head.region.id, head.state);
        let place = self.occupy(&name)?;
        let path = self.directory.path().join(&name);
        if exists(&path.join(MANIFEST))? {
            self.places.lock().remove(&name);
            return Err(refused(&path, "is complete"));
        }
        for other in self.places.interrupted(head.region.id) {
            self.remove_place(&other)?;
        }
        if let Some((directory, progress)) = continued(&path, head, source)? {
            return Ok(StagedWriter::new(directory, progress, bytes_estimate, place));
        }
        remove_directory(&path)?;
        record::create_directory(&path)?;
        record::sync_directory(&self.directory)?;
        let contents = Contents { head: head.clone(), rows: 0, crc: 0, files: Vec::new() };
        let progress = Progress { source, last_key: None, contents };
        Ok(StagedWriter::new(open(&path)?, progress, bytes_estimate, place))
    }

    /// The complete raft snapshot of `region` at `state`.
    ///
    /// # Errors
    /// `CORRUPTION` when its manifest is damaged or one of its files is missing or has another length,
    /// `INCOMPATIBLE_FORMAT` when a newer version wrote it.
    pub(crate) fn find(&self, region: RegionId, state: ApplyState) -> Result<Option<Staged>> {
        Staged::read(&self.directory.path().join(name_of(region, state)), (region, state))
    }

    /// What there is of complete raft snapshots.
    ///
    /// # Errors
    /// As [`Staging::find`].
    #[cfg(test)]
    pub(crate) fn complete(&self) -> Result<Vec<SnapshotHead>> {
        let mut heads = Vec::new();
        for (name, place) in self.all()? {
            heads.extend(Staged::read(&self.directory.path().join(name), place)?.map(|it| it.contents.head));
        }
        Ok(heads)
    }

    /// Removes the raft snapshot of `region` at `state`, complete or not, if there is one. Nobody may be writing to it.
    pub(crate) fn remove(&self, region: RegionId, state: ApplyState) -> Result<()> {
        self.remove_place(&name_of(region, state))
    }

    /// Removes all that is complete and not `referred` to, and all that was left incomplete before the last start.
    pub(crate) fn keep_only(&self, referred: &[(RegionId, ApplyState)]) -> Result<()> {
        for (name, place) in self.all()? {
            let is_complete = exists(&self.directory.path().join(&name).join(MANIFEST))?;
            let is_kept =
                if is_complete { referred.contains(&place) } else { self.places.lock().contains_key(&name) };
            if !is_kept {
                self.remove_place(&name)?;
            }
        }
        Ok(())
    }

    fn occupy(&self, name: &str) -> Result<Occupied> {
        let mut places = self.places.lock();
        if places.get(name) == Some(&Being::Written) {
            return Err(refused(&self.directory.path().join(name), "is being written"));
        }
        places.insert(name.to_owned(), Being::Written);
        Ok(Occupied { places: Arc::clone(&self.places), name: name.to_owned() })
    }

    /// The manifest goes first: what is left after a crash is then incomplete, and not damaged.
    fn remove_place(&self, name: &str) -> Result<()> {
        let path = self.directory.path().join(name);
        if exists(&path.join(MANIFEST))? {
            let directory = open(&path)?;
            directory.remove(MANIFEST).map_err(|error| Error::io("remove from", &path, &error))?;
            record::sync_directory(&directory)?;
        }
        remove_directory(&path)?;
        self.places.lock().remove(name);
        record::sync_directory(&self.directory)
    }

    /// The directories, complete or not.
    fn all(&self) -> Result<Vec<(String, (RegionId, ApplyState))>> {
        let failed = |error: std::io::Error| Error::io("list", self.directory.path(), &error);
        let mut all = Vec::new();
        for entry in fs::read_dir(self.directory.path()).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().into_string();
            all.extend(name.ok().and_then(|name| place_of(&name).map(|place| (name, place))));
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }
}

/// A complete raft snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    directory: PathBuf,
    contents: Contents,
}

impl Staged {
    /// Of what it is.
    #[must_use]
    pub(crate) fn head(&self) -> &SnapshotHead {
        &self.contents.head
    }

    /// Other names of its files, in the order of their keys, for somebody who takes the names away.
    pub(in crate::storage) fn link_files(&self) -> Result<Vec<PathBuf>> {
        let link = |number: usize| {
            let file = self.directory.join(file_name(number));
            let link = file.with_extension("link");
            remove_file(&link)?;
            fs::hard_link(&file, &link).map_err(|error| Error::io("link", &file, &error))?;
            Ok(link)
        };
        (0..self.contents.files.len()).map(link).collect()
    }

    fn read(path: &Path, place: (RegionId, ApplyState)) -> Result<Option<Self>> {
        if !exists(path)? {
            return Ok(None);
        }
        let Some(contents) = records::read_manifest(&open(path)?)? else { return Ok(None) };
        if (contents.head.region.id, contents.head.state) != place {
            let what = "it is of another raft snapshot than its directory's name says";
            return Err(Error::corruption(&path.join(MANIFEST), record::HEADER_BYTES as u64, what));
        }
        for (number, bytes) in contents.files.iter().enumerate() {
            check_file(&path.join(file_name(number)), *bytes)?;
        }
        Ok(Some(Self { directory: path.to_owned(), contents }))
    }
}

impl Engine {
    /// Puts the staged rows in the place of their region's data, which was cleared before (`ApplyBatch::clears`), on any
    /// thread. Returns after they are durable; the staged files stay as they are, so it may be repeated.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION`, `CLOSED` when the store is closing. Nothing or all of it is visible then; clear the
    /// region, and install again.
    pub(crate) fn install(&self, staged: &Staged) -> Result<()> {
        self.install_files(&staged.head().region, || staged.link_files())
    }
}

/// What `source` left in `path`, ready to go on; none when nothing can be used.
fn continued(
    path: &Path,
    head: &SnapshotHead,
    source: [u64; 3],
) -> Result<Option<(OpenDirectory, Progress)>> {
    if !exists(path)? {
        return Ok(None);
    }
    let directory = open(path)?;
    let Some(progress) = Progress::read(&directory)? else { return Ok(None) };
    let files = progress.contents.files.iter().enumerate();
    let are_whole = || files.clone().all(|(at, bytes)| check_file(&path.join(file_name(at)), *bytes).is_ok());
    let is_same = progress.source == source && progress.contents.head == *head;
    Ok((is_same && are_whole()).then_some((directory, progress)))
}

fn check_file(path: &Path, bytes: u64) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.len() == bytes => Ok(()),
        Ok(found) => {
            Err(Error::corruption(path, found.len().min(bytes), &format!("it must have {bytes} bytes")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::corruption(path, 0, "this file of a raft snapshot is gone"))
        }
        Err(error) => Err(Error::io("inspect", path, &error)),
    }
}

fn refused(path: &Path, why: &str) -> Error {
    let detail = format!("the raft snapshot in {} {why}; it is not taken again now", path.display());
    Error::with_detail(Code::Overloaded, detail)
}

fn file_name(number: usize) -> String {
    format!("{number}.rows")
}

fn name_of(region: RegionId, state: ApplyState) -> String {
    format!("{}-{}-{}", region.get(), state.index.get(), state.term.get())
}

/// Of what a directory with this name is; none when it is not ours.
fn place_of(name: &str) -> Option<(RegionId, ApplyState)> {
    let mut numbers = name.split('-').map(|number| number.parse::<u64>().ok());
    let (region, index, term) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let state = ApplyState { index: LogIndex(index), term: Term(term) };
    // Another spelling of the numbers is not ours, and neither is what has more of them.
    (name_of(RegionId(region), state) == name).then_some((RegionId(region), state))
}

fn open(path: &Path) -> Result<OpenDirectory> {
    OpenDirectory::open(path).map_err(|error| Error::io("open directory", path, &error))
}

fn exists(path: &Path) -> Result<bool> {
    fs::exists(path).map_err(|error| Error::io("inspect", path, &error))
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
        _ => Ok(()),
    }
}
