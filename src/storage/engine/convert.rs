//! Gives the values of a directory of the format before their trailers.
//!
//! Owns the walk over the data in the order of the keys that stores each value again, with [`Version::UNKNOWN`] behind it.
//! What always holds: a value gets one trailer, wherever a crash ends the walk. For a row in `meta` says up to which key
//! the walk has come, it is written in the batch of the values, and both column families are flushed together, so what a
//! crash leaves is the data and the row of one moment. The row is on the disk before the directory is marked as one that
//! is being converted, and until all values are; so to a marked directory no row means that nothing is left to do, and
//! not that nothing was done.
//!
//! Nobody else reads or writes meanwhile. When each step is due, and that the directory is marked, is left to the opening
//! of a store.

use std::time::{Duration, Instant};

use rocksdb::properties::ESTIMATE_NUM_KEYS;
use rocksdb::{ReadOptions, WriteBatch};

use super::{Engine, damaged, errors, stall, trailer};
use crate::error::{Code, Error, Result};
use crate::regions::shown;
use crate::storage::keys::{self, Walked};
use crate::types::Version;

/// A batch ends with the value that brings it to so many bytes. Each begins with a search for its first key, which a
/// thousand values make cheap, and none of it holds memory or old files for long.
const BATCH_BYTES: usize = 1 << 20;
/// Reading the clock costs little beside so many values that are only looked at.
const CHECKED_TOGETHER: usize = 1 << 10;
/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(5);

impl Engine {
    /// Notes durably that no value has a trailer yet. Builds of the format before overlook the note.
    ///
    /// # Errors
    /// `CORRUPTION` when some have one: the directory was marked as one that is being converted, and the mark is lost.
    /// Else as [`Engine::flush`].
    pub(crate) fn prepare_conversion(&self) -> Result<()> {
        match self.walked()? {
            None => {}
            Some(Walked::Nothing) => return Ok(()),
            Some(Walked::UpTo(key)) => {
                let key = shown(&key);
                let detail =
                    format!("the values up to '{key}' are converted, and the ident file does not know");
                return Err(Error::with_detail(Code::Corruption, detail));
            }
        }
        let mut batch = WriteBatch::default();
        batch.put_cf(self.meta(), keys::WALKED, Walked::Nothing.encode());
        self.write_encoded(&batch)?;
        self.flush()
    }

    /// Converts what is not converted yet. When this returns, all of it is durable, and the note of
    /// [`Engine::prepare_conversion`] gone.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION`; open the directory again to go on from there.
    pub(crate) fn convert(&self) -> Result<()> {
        let Some(mut walked) = self.walked()? else { return Ok(()) };
        let mut progress = Progress::begin(self, &walked)?;
        while let Some(batch) = self.next_values(&walked, BATCH_BYTES)? {
            self.write_encoded(&batch.encoded)?;
            progress.advance(batch.values);
            walked = batch.walked;
        }
        self.finish_walk(&mut progress)
    }

    fn finish_walk(&self, progress: &mut Progress) -> Result<()> {
        self.flush()?;
        progress.begin_check();
        self.check_converted(progress)?;
        let mut batch = WriteBatch::default();
        batch.delete_cf(self.meta(), keys::WALKED);
        self.write_encoded(&batch)?;
        self.flush()?;
        progress.end();
        Ok(())
    }

    pub(super) fn walked(&self) -> Result<Option<Walked>> {
        let stored = self.database.db.get_pinned_cf(self.meta(), keys::WALKED).map_err(errors::failed)?;
        let decode = |stored: &[u8]| Walked::decode(stored).ok_or_else(|| damaged("walked", &keys::WALKED));
        stored.map(|stored| decode(&stored)).transpose()
    }

    /// The next values in their new form, one at least and up to about `bytes_max`; none when there are no more.
    pub(super) fn next_values(&self, walked: &Walked, bytes_max: usize) -> Result<Option<Converted>> {
        let mut old = self.database.db.raw_iterator_opt(passing(bytes_max));
        match walked {
            Walked::Nothing => old.seek_to_first(),
            Walked::UpTo(key) => old.seek([key, &[0][..]].concat()),
        }
        let (mut encoded, mut buffer, mut last) = (WriteBatch::default(), Vec::new(), Vec::new());
        let has_room = |batch: &WriteBatch| batch.is_empty() || batch.size_in_bytes() < bytes_max;
        while let Some((key, value)) = old.item().filter(|_| has_room(&encoded)) {
            encoded.put(key, trailer::seal(value, Version::UNKNOWN, &mut buffer));
            last.clear();
            last.extend_from_slice(key);
            old.next();
        }
        old.status().map_err(errors::failed)?;
        if encoded.is_empty() {
            return Ok(None);
        }
        let (values, walked) = (encoded.len(), Walked::UpTo(last));
        encoded.put_cf(self.meta(), keys::WALKED, walked.encode());
        Ok(Some(Converted { encoded, values, walked }))
    }

    /// Looks at every value as it is on the disk.
    fn check_converted(&self, progress: &mut Progress) -> Result<()> {
        let mut new = self.database.db.raw_iterator_opt(passing(BATCH_BYTES));
        new.seek_to_first();
        let mut passed = 0;
        while let Some((key, stored)) = new.item() {
            if trailer::split(stored).is_none_or(|(_, version)| version != Version::UNKNOWN) {
                let detail = format!("engine, key {key:02x?}: its value was not converted");
                return Err(Error::with_detail(Code::Corruption, detail));
            }
            new.next();
            passed += 1;
            if passed == CHECKED_TOGETHER {
                progress.advance(std::mem::take(&mut passed));
            }
        }
        progress.advance(passed);
        new.status().map_err(errors::failed)
    }

    pub(super) fn write_encoded(&self, batch: &WriteBatch) -> Result<()> {
        self.database.writer.write(&self.database.db, || Ok(WriteBatch::from_data(batch.data())))
    }
}

/// One step of the walk.
pub(super) struct Converted {
    pub encoded: WriteBatch,
    values: usize,
    /// How far the walk has come with it.
    walked: Walked,
}

/// How to read what nobody reads a second time.
fn passing(readahead_bytes: usize) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(readahead_bytes);
    options
}

/// Tells how far the walk has come.
struct Progress {
    directory: String,
    doing: &'static str,
    began: Instant,
    told: Instant,
    values: u64,
    /// Roughly.
    all: u64,
}

impl Progress {
    fn begin(engine: &Engine, walked: &Walked) -> Result<Self> {
        let db = &engine.database.db;
        let (directory, all) = (db.path().display().to_string(), stall::property(db, ESTIMATE_NUM_KEYS)?);
        let from = match walked {
            Walked::Nothing => String::new(),
            Walked::UpTo(key) => format!(", from behind '{}', where it was ended", shown(key)),
        };
        log::info!("{directory}: converting about {all} values to the format of this version{from}");
        let now = Instant::now();
        Ok(Self { directory, doing: "converted", began: now, told: now, values: 0, all })
    }

    fn advance(&mut self, values: usize) {
        self.values += values as u64;
        if self.told.elapsed() < TOLD_EVERY {
            return;
        }
        self.told = Instant::now();
        let Self { directory, doing, values, all, .. } = self;
        log::info!("{directory}: {doing} {values} values of about {all}");
    }

    fn begin_check(&mut self) {
        (self.doing, self.values) = ("checked", 0);
    }

    fn end(&self) {
        let Self { directory, values, .. } = self;
        log::info!("{directory}: all {values} values are converted, after {:.1?}", self.began.elapsed());
    }
}
