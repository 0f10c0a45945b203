//! Transactions of one region.
//!
//! Owns what a transaction sees, its snapshot and its own writes over it, and its commit, which is one batch: what it has
//! read are the conditions, its writes the operations. What always holds: a transaction that is committed took effect at
//! one place of the region's log, and all that it had read was still so there; one that is refused with `CONFLICT` left
//! nothing behind. Running a function again until it commits is left to [`retry`].

mod iter;
pub(crate) mod merge;
mod reads;
pub(crate) mod retry;
#[cfg(test)]
mod tests;
mod writes;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

pub use iter::TransactionIter;

use crate::completion::call::{Call, CallKind};
use crate::completion::{Position, Reply};
use crate::error::{Code, Conflict, Error, Result};
use crate::metrics::CallType;
use crate::regions::{KeyRange, shown};
use crate::store::asynchronous::Asynchronous;
use crate::store::batch::{Batch, check_key, check_value, too_large};
use crate::store::conditions::check_range;
use crate::store::latency::Kind;
use crate::store::snapshot::{IterOptions, Level, PinnedValue, Snapshot, SnapshotOptions};
use crate::store::{Due, Inner, Store, WriteOptions};
use crate::types::{BATCH_BYTES_MAX, RegionId, TRANSACTION_WRITES_MAX, Version};
use merge::Merge;
use reads::Reads;
use writes::Writes;

/// How a transaction is begun.
#[derive(Clone, Debug, Default)]
pub struct TransactionOptions {
    /// Latest time at which its beginning is answered; none means the store's `read.timeout_ms`. For
    /// [`Store::transact`] it is the time for everything, and none means `write.timeout_ms`.
    pub timeout: Option<Duration>,
    /// What it sees. [`Level::Local`] saves the question whether this member is up to date, so it is more likely to be
    /// refused; what it commits is no weaker.
    pub level: Level,
    /// Any key of the region in which all its keys are. By default the first region, in most stores the only one.
    pub key: Vec<u8>,
}

/// Reads and writes that take effect together, as if nothing else happened in between, or not at all.
///
/// It sees the data as they were when it began, and its own writes over them. Nothing of it can be seen before it commits,
/// and it waits for nobody until then. At its commit all that it has read must be unchanged, else it is refused with
/// `CONFLICT`; reads of which this is not wanted are exempt (`_exempt`). What is read counts as read: a key whether or not
/// it exists, and of an iteration the keys and gaps that were really walked over, also those it has written itself.
///
/// It may move between threads, but only one may use it at a time. Dropping it ends it without effect. It keeps what a
/// snapshot keeps until it ends, so it should be short.
///
/// Limits: 2,048 keys and separate ranges read; 65,536 keys or 64 MiB iterated over; 32,768 keys and ranges written, and
/// what a batch may have, 8 MiB. All keys must be in one region. `add` and other computed operations belong into batches.
pub struct Transaction {
    inner: Arc<Inner>,
    snapshot: Snapshot,
    level: Level,
    range: KeyRange,
    common: Arc<Common>,
}

/// What a transaction and its iterators share, and whether it is over, which nobody waits to say.
#[derive(Debug, Default)]
struct Common {
    shared: Mutex<Shared>,
    is_over: AtomicBool,
}

impl Common {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing of others runs under this lock; what a panic of ours left half done is not committed by who drops it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// What it has read and written.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) reads: Reads,
    pub(crate) writes: Writes,
    /// An iterator was ended by this: the transaction has not seen all that it asked for, and cannot be committed.
    failed: Option<Error>,
}

/// A value that a transaction was shown.
#[derive(Debug)]
pub struct TransactionValue {
    value: Held,
}

#[derive(Debug)]
enum Held {
    Stored(PinnedValue),
    Own(Bytes),
}

impl Store {
    /// Begins a transaction, and waits until its snapshot is there.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn begin(&self, options: &TransactionOptions) -> Result<Transaction> {
        let snapshot = self.inner.snapshot_options(options);
        Ok(Transaction::new(&self.inner, self.snapshot(&snapshot)?, snapshot))
    }
}

impl Asynchronous<'_> {
    /// Begins a transaction; `callback` receives it.
    ///
    /// # Errors
    /// As [`Asynchronous::snapshot`].
    pub fn begin<F>(&self, options: &TransactionOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Transaction>) + Send + 'static,
    {
        let (inner, options) = (Arc::clone(self.inner), self.inner.snapshot_options(options));
        self.snapshot(&options.clone(), move |snapshot| {
            callback(snapshot.map(|snapshot| Transaction::new(&inner, snapshot, options)));
        })
    }

    /// Commits a transaction as [`Transaction::commit`] does; `callback` learns the outcome. It may read from the disk
    /// again what the transaction has iterated over.
    ///
    /// # Errors
    /// As [`Asynchronous::write`], and those of [`Transaction::commit`] that are known at once; `INVALID_ARGUMENT` when the
    /// transaction is another store's. The transaction is over in any case.
    pub fn commit<F>(&self, transaction: Transaction, options: &WriteOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        self.submit_commit(transaction.prepare()?, options, callback)
    }

    /// As [`Asynchronous::commit`], when all that may need the disk is done.
    pub(crate) fn submit_commit<F>(
        &self,
        prepared: Prepared,
        options: &WriteOptions,
        callback: F,
    ) -> Result<Call>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        let Prepared { inner, region, ended } = prepared;
        if !Arc::ptr_eq(self.inner, &inner) {
            return Err(Error::with_detail(Code::InvalidArgument, "the transaction is another store's"));
        }
        match ended {
            Ended::Nothing(position) => self.inner.counted_if_refused(CallType::Write, || {
                let sink = self.sink_of(CallType::Write, Kind::Other, None, callback)?;
                self.accept(sink, |open| {
                    let timeout = options.timeout.unwrap_or(self.inner.timeouts.write);
                    let due = Due::within(timeout, CallKind::Write, &[region]);
                    open(self.inner.admission.admit(0)?, due)?.answer(Ok(position.into()));
                    Ok(())
                })
            }),
            Ended::Batch(mut batch, subjects) => self.write(&mut batch, options, move |answer| {
                callback(answer.map_err(|error| found(error, subjects)));
            }),
        }
    }
}

impl Inner {
    /// Those of the snapshot of a transaction.
    fn snapshot_options(&self, options: &TransactionOptions) -> SnapshotOptions {
        let TransactionOptions { timeout, level, key } = options;
        let (start, end) = self.regions.range_at(self.regions.place_of(key));
        let range = KeyRange { start: start.to_vec(), end: end.to_vec() };
        SnapshotOptions { timeout: *timeout, level: *level, range, ..SnapshotOptions::default() }
    }
}

/// A commit that only has to be submitted.
pub(crate) struct Prepared {
    inner: Arc<Inner>,
    region: RegionId,
    ended: Ended,
}

/// What a commit has to do.
enum Ended {
    /// All that was read was so at this position, and nothing was written.
    Nothing(Position),
    /// The conditions, each with its subject, and the writes.
    Batch(Batch, Vec<Conflict>),
}

impl Transaction {
    fn new(inner: &Arc<Inner>, snapshot: Snapshot, options: SnapshotOptions) -> Self {
        let SnapshotOptions { level, range, .. } = options;
        Self { inner: Arc::clone(inner), snapshot, level, range, common: Arc::default() }
    }

    /// The position in the log of its region that its snapshot shows, or an earlier one.
    #[must_use]
    pub fn position(&self) -> Position {
        self.snapshot.position()
    }

    /// The value of `key`; none if it does not exist.
    ///
    /// # Errors
    /// `BATCH_ACROSS_REGIONS` when the key is in another region; `TOO_LARGE` when it has read as much as it may; `IO` or
    /// `CORRUPTION` as [`Snapshot::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<TransactionValue>> {
        self.look(key, false, |snapshot| snapshot.get(key).map(Some)).map(known)
    }

    /// As [`Transaction::get`], and the key may be changed before the commit.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_exempt(&self, key: &[u8]) -> Result<Option<TransactionValue>> {
        self.look(key, true, |snapshot| snapshot.get(key).map(Some)).map(known)
    }

    /// As [`Transaction::get`], or if `is_exempt` as [`Transaction::get_exempt`], without reading the disk: the outer
    /// option is none if the value may exist only there; the key does not count as read then. For threads that must not
    /// block.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_from_memory(&self, key: &[u8], is_exempt: bool) -> Result<Option<Option<TransactionValue>>> {
        self.look(key, is_exempt, |snapshot| snapshot.get_from_memory(key))
    }

    fn look(
        &self,
        key: &[u8],
        is_exempt: bool,
        read: impl FnOnce(&Snapshot) -> Result<Option<Option<PinnedValue>>>,
    ) -> Result<Option<Option<TransactionValue>>> {
        self.check(key)?;
        let mut shared = self.common.lock();
        if let Some(own) = shared.writes.look(key) {
            return Ok(Some(own.map(|value| TransactionValue { value: Held::Own(value.clone()) })));
        }
        let Some(stored) = read(&self.snapshot)? else { return Ok(None) };
        if !is_exempt {
            shared.reads.saw(key, stored.as_ref().map_or(Version::NONE, PinnedValue::version))?;
        }
        Ok(Some(stored.map(|value| TransactionValue { value: Held::Stored(value) })))
    }

    /// An iterator over what it sees between the bounds of `options`, which must be in its region. It has no position until
    /// its first seek.
    ///
    /// # Errors
    /// `BATCH_ACROSS_REGIONS` when a bound is in another region, or there is none and the region has a border there.
    pub fn iter(&self, options: IterOptions) -> Result<TransactionIter> {
        self.walk(options, false)
    }

    /// As [`Transaction::iter`], and the keys may be changed before the commit.
    ///
    /// # Errors
    /// As [`Transaction::iter`].
    pub fn iter_exempt(&self, options: IterOptions) -> Result<TransactionIter> {
        self.walk(options, true)
    }

    fn walk(&self, options: IterOptions, is_exempt: bool) -> Result<TransactionIter> {
        let lower = options.lower.clone().unwrap_or_default();
        let upper = options.upper.clone().unwrap_or_default();
        self.check_range("an iteration", &lower, &upper)?;
        let reverse = options.reverse;
        let IterOptions { lower, upper, .. } = self.snapshot.cut(options.clone());
        let source = self.snapshot.iter(IterOptions { reverse: false, ..options })?;
        let merge = Merge::new(source, lower.unwrap_or_default(), upper, is_exempt);
        Ok(TransactionIter::new(merge, reverse, Arc::clone(&self.common)))
    }

    /// Sets `key` to `value` at the commit; the transaction sees it from now on.
    ///
    /// # Errors
    /// `BATCH_ACROSS_REGIONS` when the key is in another region; `TOO_LARGE` when the key or the value is, or all that the
    /// transaction has read and written.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_value(value)?;
        self.touch(key, Some(value))
    }

    /// Removes `key` at the commit, if it exists then.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.touch(key, None)
    }

    fn touch(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.check(key)?;
        let mut shared = self.common.lock();
        let bytes = shared.writes.bytes_with(key, value.map_or(0, <[u8]>::len));
        let more = usize::from(!shared.writes.has_touched(key));
        shared.check_size(bytes, more)?;
        shared.writes.touch(key, value);
        Ok(())
    }

    /// Removes every key from `begin` up to but not including `end` at the commit, also those that the transaction does not
    /// see. An empty `end` means up to the last key.
    ///
    /// # Errors
    /// As [`Transaction::put`]; `INVALID_ARGUMENT` when `begin > end` and `end` is not empty.
    pub fn delete_range(&mut self, begin: &[u8], end: &[u8]) -> Result<()> {
        check_range(begin, end)?;
        self.check_range("delete_range", begin, end)?;
        if begin == end && !end.is_empty() {
            return Ok(());
        }
        let mut shared = self.common.lock();
        let bytes = shared.writes.bytes_with_range(begin, end);
        shared.check_size(bytes, 1)?;
        shared.writes.empty(begin, end);
        Ok(())
    }

    /// Makes its writes take effect, and waits for it. One that has written nothing is not written to the log: what it has
    /// read was so when it began. With [`Level::Local`] that has to be asked, in the log.
    ///
    /// # Errors
    /// `CONFLICT` when something that it has read was changed, which [`Error::conflict`] tells: it was certainly not
    /// applied. `TOO_LARGE` when it is more than a batch may be, or has iterated over more than it may. `IO` or
    /// `CORRUPTION` when the disk fails. Else as [`Store::write`].
    pub fn commit(self, options: &WriteOptions) -> Result<Reply> {
        let inner = Arc::clone(&self.inner);
        match self.end()? {
            Ended::Nothing(position) => Ok(position.into()),
            Ended::Batch(mut batch, subjects) => {
                inner.write(&mut batch, options).map_err(|error| found(error, subjects))
            }
        }
    }

    /// Ends it, and does what may need the disk.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`] that are known before anything is written.
    pub(crate) fn prepare(self) -> Result<Prepared> {
        let inner = Arc::clone(&self.inner);
        let region = inner.regions.region_of(&self.range.start);
        self.end().map(|ended| Prepared { inner, region, ended })
    }

    /// Ends it, and with it its snapshot.
    fn end(self) -> Result<Ended> {
        let mut shared = self.common.lock();
        self.common.end();
        if let Some(error) = shared.failed.take() {
            return Err(error);
        }
        if shared.writes.is_empty() && (shared.reads.is_empty() || self.level == Level::Linearizable) {
            return Ok(Ended::Nothing(self.position()));
        }
        let mut batch = Batch::new();
        let subjects = shared.reads.add_to(&mut batch, |begin, end| self.snapshot.digest(begin, end))?;
        shared.writes.add_to(&mut batch)?;
        Ok(Ended::Batch(batch, subjects))
    }

    fn check(&self, key: &[u8]) -> Result<()> {
        check_key(key)?;
        if self.range.contains(key) { Ok(()) } else { Err(self.outside(&format!("key '{}' is", shown(key)))) }
    }

    fn check_range(&self, what: &str, begin: &[u8], end: &[u8]) -> Result<()> {
        let KeyRange { start, end: border } = &self.range;
        let begins = begin >= &start[..];
        let ends = border.is_empty() || !end.is_empty() && end <= &border[..];
        if begins && ends {
            return Ok(());
        }
        let to = if end.is_empty() { "the end".to_owned() } else { format!("'{}'", shown(end)) };
        Err(self.outside(&format!("{what} from '{}' to {to} is partly", shown(begin))))
    }

    fn outside(&self, what: &str) -> Error {
        let KeyRange { start, end } = &self.range;
        let to = if end.is_empty() { "to the end".to_owned() } else { format!("to '{}'", shown(end)) };
        let detail = format!(
            "{what} outside the region of the transaction, which is from '{}' {to}; a transaction is about one region, the \
             one of the key it is begun with",
            shown(start)
        );
        Error::with_detail(Code::BatchAcrossRegions, detail)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.common.end();
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("position", &self.position())
            .field("shared", &*self.common.lock())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// An iterator has walked from `begin` to `end`. Where the transaction has emptied a range it has seen its own doing.
    ///
    /// # Errors
    /// As [`Reads::walks`].
    fn walks(&mut self, begin: &[u8], end: Option<&[u8]>) -> Result<()> {
        if !self.writes.has_emptied() {
            return self.reads.walks(begin, end);
        }
        let mut from = Bytes::copy_from_slice(begin);
        while end.is_none_or(|end| *from < *end) {
            match self.writes.emptied_around(&from) {
                Some((_, behind)) if behind.0.is_empty() => break,
                Some((_, behind)) => from = behind.0.clone(),
                None => {
                    let next = self.writes.emptied_behind(&from).cloned();
                    let next = next.filter(|next| end.is_none_or(|end| **next < *end));
                    self.reads.walks(&from, next.as_deref().or(end))?;
                    let Some(next) = next else { break };
                    from = next;
                }
            }
        }
        Ok(())
    }

    /// Whether its batch may have so many bytes of writes, and so many operations more.
    fn check_size(&self, bytes: usize, more: usize) -> Result<()> {
        if self.writes.operations() + more > TRANSACTION_WRITES_MAX {
            let detail =
                format!("the transaction has written {TRANSACTION_WRITES_MAX} keys, which is the limit");
            return Err(Error::with_detail(Code::TooLarge, detail));
        }
        let bytes = bytes.saturating_add(self.reads.bytes());
        if bytes > BATCH_BYTES_MAX { Err(too_large("transaction", bytes, BATCH_BYTES_MAX)) } else { Ok(()) }
    }

    /// An iterator was ended by `error`.
    fn fail(&mut self, error: &Error) {
        self.failed.get_or_insert_with(|| error.clone());
    }
}

impl TransactionValue {
    /// The version of the key; none for what the transaction has written itself, which gets one at the commit.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match &self.value {
            Held::Stored(value) => Some(value.version()),
            Held::Own(_) => None,
        }
    }
}

impl AsRef<[u8]> for TransactionValue {
    fn as_ref(&self) -> &[u8] {
        match &self.value {
            Held::Stored(value) => value.as_ref(),
            Held::Own(value) => value,
        }
    }
}

/// The answer to a batch of which each condition has its subject.
fn found(error: Error, subjects: Vec<Conflict>) -> Error {
    if error.code() != Code::PreconditionFailed {
        return error;
    }
    let place = error.precondition().map_or(usize::MAX, |failed| failed.operation as usize);
    // The first operations are the conditions, and nothing else is one; but the answer may come from another member.
    subjects.into_iter().nth(place).map_or_else(|| Error::new(Code::Conflict), Error::conflicting)
}

/// The answer of a read that may use the disk.
fn known(found: Option<Option<TransactionValue>>) -> Option<TransactionValue> {
    found.expect("only a read without the disk leaves it open")
}

/// What an iterator is told that outlives its transaction.
fn over() -> Error {
    Error::with_detail(Code::InvalidArgument, "the transaction of this iterator is over")
}
