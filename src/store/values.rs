//! Reads the values of keys.
//!
//! Owns `get` and `get_many`, from the permission to read to the values, and the position of the state they are from. A
//! blocking call reads on its caller's thread. A call that must not block reads values in memory at once, and uses the
//! read pool if the disk may be needed; it stays open until the values are read, so that its deadline or its caller can
//! end it. What always holds: the values of several keys come from a single view, taken under the lease
//! (`store/leases.rs`) or after the read was confirmed. Confirming a read is left to the peers. A write without
//! operations is a read of no keys.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::Sender;

use crate::completion::call::Call;
use crate::completion::{Completion, Position, Reply};
use crate::error::{Code, Error, Result};
use crate::metrics::CallType;
use crate::pollers::read_pool::Job;
use crate::process::panics;
use crate::regions::RegionMap;
use crate::storage::engine::{Engine, View};
use crate::store::asynchronous::Asynchronous;
use crate::store::confirming::{Confirming, Viewer, taken};
use crate::store::latency::Kind;
use crate::store::snapshot::{PinnedValue, SnapshotOptions};
use crate::store::{Inner, Store, WriteOptions, refuse_in_callback, refuse_index_of_several};
use crate::types::RegionId;

/// With more keys, a read goes to the read pool even if they are in memory: an internal thread has other callers to
/// serve.
pub(super) const KEYS_AT_ONCE_MAX: usize = 16;

/// The values of the given keys, in the same order; none for a key that does not exist.
pub type Values = Vec<Option<PinnedValue>>;

impl Store {
    /// The linearizable value of one key; none if the key does not exist.
    ///
    /// # Errors
    /// As [`Store::snapshot`] and [`crate::Snapshot::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.get_with(key, &SnapshotOptions::default())
    }

    /// The value of one key; none if the key does not exist. The range of `options` must be empty.
    ///
    /// # Errors
    /// As [`Store::snapshot`] and [`crate::Snapshot::get`]; `INVALID_ARGUMENT` for a range.
    pub fn get_with(&self, key: &[u8], options: &SnapshotOptions) -> Result<Option<PinnedValue>> {
        let inner = &self.inner;
        inner.counted(options.call_type(), || {
            refuse_in_callback()?;
            refuse_range(options)?;
            let engine = inner.engine()?;
            let region = [inner.regions.region_of(key)];
            // A single value read after the confirmation is as recent as one from a view, and cheaper.
            let (value, _) = inner.read(&engine, &region, options, || engine.get(key))?;
            value
        })
    }

    /// As [`Store::get_with`], with the position of the state that was read: of the last entry in the log of the key's
    /// region that the value, or its absence, reflects. As [`SnapshotOptions::min_index`] of a later read on any member
    /// it makes sure that this shows no older state.
    ///
    /// # Errors
    /// As [`Store::get_with`].
    pub fn get_with_position(
        &self,
        key: &[u8],
        options: &SnapshotOptions,
    ) -> Result<(Option<PinnedValue>, Position)> {
        self.inner.counted(options.call_type(), || {
            refuse_in_callback()?;
            refuse_range(options)?;
            let (engine, region) = (self.inner.engine()?, self.inner.regions.region_of(key));
            // Only a view shows a value together with its position.
            let view = self.inner.confirmed_view(&engine, &[region], options)?;
            Ok((view.get(key)?, view.apply_state(region)?.into()))
        })
    }

    /// The values of several keys at one point in time, in the order of the keys. The range of `options` must be empty.
    ///
    /// # Errors
    /// As [`Store::get_with`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], options: &SnapshotOptions) -> Result<Values> {
        let inner = &self.inner;
        inner.counted(options.call_type(), || {
            refuse_in_callback()?;
            refuse_range(options)?;
            let engine = inner.engine()?;
            let regions = regions_of_keys(&inner.regions, keys);
            refuse_index_of_several(&regions, options)?;
            inner.confirmed_view(&engine, &regions, options)?.get_many(keys)
        })
    }
}

impl Inner {
    /// A view of the data that every one of `regions` has confirmed.
    fn confirmed_view(
        &self,
        engine: &Engine,
        regions: &[RegionId],
        options: &SnapshotOptions,
    ) -> Result<View> {
        self.read(engine, regions, options, || engine.view()).map(|(view, _)| view)
    }

    /// The answer to a write without operations: a position that covers every write acknowledged before.
    pub(super) fn confirmed_position(&self, options: &WriteOptions) -> Result<Position> {
        let (engine, region) = (self.engine()?, self.regions.first());
        let view = self.confirmed_view(&engine, &[region], &self.read_for_write(options))?;
        Ok(view.apply_state(region)?.into())
    }

    /// The options of the read that answers a write without operations.
    fn read_for_write(&self, options: &WriteOptions) -> SnapshotOptions {
        let timeout = Some(options.timeout.unwrap_or(self.timeouts.write));
        SnapshotOptions { timeout, ..SnapshotOptions::default() }
    }
}

impl Asynchronous<'_> {
    /// The value of one key; `callback` receives it, or none if the key does not exist. The range of `options` must
    /// be empty.
    ///
    /// # Errors
    /// As [`Asynchronous::snapshot`].
    pub fn get<F>(&self, key: &[u8], options: &SnapshotOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Option<PinnedValue>>) + Send + 'static,
    {
        self.values(vec![key.to_vec()], options, None, move |read| {
            callback(read.map(|(values, _)| only(values)));
        })
    }

    /// As [`Asynchronous::get`], with the position that [`Store::get_with_position`] returns.
    ///
    /// # Errors
    /// As [`Asynchronous::get`].
    pub fn get_with_position<F>(&self, key: &[u8], options: &SnapshotOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<(Option<PinnedValue>, Position)>) + Send + 'static,
    {
        let region = self.inner.regions.region_of(key);
        self.values(vec![key.to_vec()], options, Some(region), move |read| {
            callback(read.map(|(values, position)| (only(values), position)));
        })
    }

    /// The values of several keys at one point in time, in the order of the keys; `callback` receives them. The range
    /// of `options` must be empty. Every region that owns one of the keys must confirm the read.
    ///
    /// # Errors
    /// As [`Asynchronous::snapshot`].
    pub fn get_many<K, F>(&self, keys: &[K], options: &SnapshotOptions, callback: F) -> Result<Call>
    where
        K: AsRef<[u8]>,
        F: FnOnce(Result<Vec<Option<PinnedValue>>>) + Send + 'static,
    {
        let keys = keys.iter().map(|key| key.as_ref().to_vec()).collect();
        self.values(keys, options, None, move |read| callback(read.map(|(values, _)| values)))
    }

    /// As [`Inner::confirmed_position`].
    pub(super) fn confirmed_position<F>(&self, options: &WriteOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        let (options, region) = (self.inner.read_for_write(options), self.inner.regions.first());
        self.submit_values(CallType::Write, Vec::new(), &options, Some(region), move |read| {
            callback(read.map(|(_, position)| position.into()));
        })
    }

    /// Reads the values of `keys`; with them the position in the log of `position_of`, if a region is given.
    fn values<F>(
        &self,
        keys: Vec<Vec<u8>>,
        options: &SnapshotOptions,
        position_of: Option<RegionId>,
        callback: F,
    ) -> Result<Call>
    where
        F: FnOnce(Result<(Values, Position)>) + Send + 'static,
    {
        let call = options.call_type();
        self.inner.counted_if_refused(call, || self.submit_values(call, keys, options, position_of, callback))
    }

    fn submit_values<F>(
        &self,
        call: CallType,
        keys: Vec<Vec<u8>>,
        options: &SnapshotOptions,
        position_of: Option<RegionId>,
        callback: F,
    ) -> Result<Call>
    where
        F: FnOnce(Result<(Values, Position)>) + Send + 'static,
    {
        refuse_range(options)?;
        let inner = self.inner;
        let (engine, jobs) = (inner.engine()?, inner.read_pool.jobs()?);
        let regions = regions_of_keys(&inner.regions, &keys);
        refuse_index_of_several(&regions, options)?;
        let key_bytes = keys.iter().map(Vec::len).sum();
        let found = Arc::<OnceLock<Values>>::default();
        let values = Arc::clone(&found);
        let sink = self.sink_of(call, Kind::Other, None, move |answer: Result<Reply>| {
            callback(answer.map(|reply| (taken(values), reply.position)));
        })?;
        let seen = inner.at_once(&engine, &regions, options, || engine.view())?;
        self.accept(sink, |open| {
            let due = inner.read_due(&regions, options);
            let answer = open(inner.admission.admit(key_bytes)?, due.clone())?;
            let reading = PendingGet { answer, jobs, keys, position_of, found };
            match seen {
                Some((view, _)) => {
                    reading.look(view);
                    Ok(())
                }
                None => Confirming::ask(inner, engine, due, reading),
            }
        })
    }
}

/// The value of the only key.
fn only(mut values: Values) -> Option<PinnedValue> {
    values.pop().expect("one value for one key")
}

fn refuse_range(options: &SnapshotOptions) -> Result<()> {
    if options.range.is_everything() {
        return Ok(());
    }
    Err(Error::with_detail(Code::InvalidArgument, "a read of keys takes no range"))
}

/// The regions of the keys, without duplicates and never empty: a read of no keys is confirmed by the first region.
fn regions_of_keys<K: AsRef<[u8]>>(regions: &RegionMap, keys: &[K]) -> Vec<RegionId> {
    let mut ids: Vec<_> = keys.iter().map(|key| regions.region_of(key.as_ref())).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        ids.push(regions.first());
    }
    ids
}

/// A read in progress. It is confirmed on an internal thread, which must not access the disk; the call itself is
/// answered when the values have been read, or at its deadline if the disk is too slow.
struct PendingGet {
    answer: Completion,
    jobs: Sender<Job>,
    keys: Vec<Vec<u8>>,
    /// The region whose position is wanted.
    position_of: Option<RegionId>,
    /// Receives the values, before the answer.
    found: Arc<OnceLock<Values>>,
}

impl Viewer for PendingGet {
    fn call(&self) -> &Completion {
        &self.answer
    }

    fn into_call(self) -> Completion {
        self.answer
    }

    fn go_on(self, seen: Result<(View, Position)>) {
        match seen {
            Ok((view, _)) => self.look(view),
            Err(error) => self.finish(Err(error)),
        }
    }
}

impl PendingGet {
    /// Answers with the values in memory, or leaves the read to the pool if it may take long.
    fn look(self, view: View) {
        let few = self.keys.len() <= KEYS_AT_ONCE_MAX;
        match panics::catch(|| if few { self.in_memory(&view) } else { Ok(None) }) {
            Ok(Some(read)) => self.finish(Ok(read)),
            Ok(None) => self.read(view),
            Err(error) => self.finish(Err(error)),
        }
    }

    /// None if the disk may be needed.
    fn in_memory(&self, view: &View) -> Result<Option<(Values, Position)>> {
        let Some(values) = view.get_many_from_memory(&self.keys).transpose()? else { return Ok(None) };
        let Some(region) = self.position_of else { return Ok(Some((values, Position::default()))) };
        Ok(view.apply_state_from_memory(region)?.map(|state| (values, state.into())))
    }

    fn wherever(&self, view: &View) -> Result<(Values, Position)> {
        let values = view.get_many(&self.keys)?;
        let state = self.position_of.map(|region| view.apply_state(region)).transpose()?;
        Ok((values, state.map(Position::from).unwrap_or_default()))
    }

    fn read(self, view: View) {
        let jobs = self.jobs.clone();
        let read = move || {
            // After the disk has hung, many queued reads may no longer have a caller waiting.
            if !self.answer.is_answered() {
                let read = panics::catch(|| self.wherever(&view));
                self.finish(read);
            }
        };
        if let Err(unsent) = jobs.send(Box::new(read)) {
            // The pool lives as long as any sender. If it ever does not, a slow answer is better than none.
            (unsent.into_inner())();
        }
    }

    fn finish(self, read: Result<(Values, Position)>) {
        let Self { answer, found, .. } = self;
        let position = read.map(|(values, position)| {
            found.set(values).unwrap_or_else(|_| unreachable!("a read is finished once"));
            position
        });
        // The callback must be the only owner of the values.
        drop(found);
        answer.answer(position.map(Reply::from));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::completion::Events;
    use crate::config::Config;
    use crate::store::batch::Batch;
    use crate::store::snapshot::Level;
    use crate::types::LogIndex;

    const TIMEOUT: Duration = Duration::from_secs(20);

    fn open(path: &Path, options: &[(&str, &str)]) -> Store {
        let mut config = Config::default();
        options.iter().for_each(|(name, value)| config.set(name, value).expect("in range"));
        let store = Store::open(path, &config).expect("a directory of its own");
        store.wait_leader(TIMEOUT).expect("it is alone");
        store
    }

    #[test]
    fn a_minimum_index_is_refused_for_keys_of_several_regions() {
        let directory = tempfile::tempdir().expect("there is room");
        let store = open(directory.path(), &[("bootstrap.split_keys", "m")]);
        let options =
            SnapshotOptions { level: Level::Local, min_index: LogIndex(1 << 40), ..Default::default() };

        let blocking = store.get_many(&["a", "z"], &options);
        let asynchronous = store.asynchronous().get_many(&["a", "z"], &options, |_| ());

        assert_eq!(blocking.expect_err("of which log?").code(), Code::InvalidArgument);
        assert_eq!(asynchronous.expect_err("of which log?").code(), Code::InvalidArgument);
    }

    fn from(min_index: LogIndex) -> SnapshotOptions {
        SnapshotOptions { level: Level::Local, min_index, ..Default::default() }
    }

    #[test]
    fn a_local_read_of_what_this_member_acknowledged_is_answered_at_once() {
        let directory = tempfile::tempdir().expect("there is room");
        let store = open(directory.path(), &[]);
        let confirmed = store.inner.metrics.read_index.count();
        let (answered, answer) = mpsc::channel();

        for number in 0..500_u32 {
            let written = store.put(b"k", &number.to_be_bytes()).expect("it leads").position;
            // So short a wait ends before anybody else can be asked.
            let options = SnapshotOptions { timeout: Some(Duration::ZERO), ..from(written.index) };
            let (value, read) = store.get_with_position(b"k", &options).expect("it is applied");
            assert_eq!(value.expect("there").as_ref(), number.to_be_bytes());
            assert!(read.index >= written.index && read.term >= written.term);
            let shown = store.snapshot(&options).expect("it is applied").position();
            assert!(shown.index >= written.index && shown.term >= written.term);

            let answered = answered.clone();
            let tell = move |found| answered.send(found).expect("the test waits");
            store.asynchronous().get_with_position(b"k", &from(written.index), tell).expect("open");
            let (value, read) = answer.recv_timeout(TIMEOUT).expect("answered").expect("it is applied");
            assert_eq!(value.expect("there").as_ref(), number.to_be_bytes());
            assert!(read.index >= written.index && read.term >= written.term);
        }

        assert_eq!(store.inner.metrics.read_index.count(), confirmed, "no peer was asked");
    }

    #[test]
    fn a_position_beyond_the_log_is_waited_for_until_the_deadline() {
        let directory = tempfile::tempdir().expect("there is room");
        let store = open(directory.path(), &[]);
        let written = store.put(b"k", b"v").expect("it leads").position;
        let in_vain = |min_index| SnapshotOptions {
            timeout: Some(Duration::from_millis(20)),
            ..from(LogIndex(min_index))
        };

        let beyond =
            store.get_with(b"k", &in_vain(written.index.get() + 1000)).expect_err("there is nothing");
        let linearizable = SnapshotOptions { level: Level::Linearizable, ..in_vain(u64::MAX) };
        let shown = store.get_with_position(b"k", &SnapshotOptions { timeout: None, ..linearizable });

        assert_eq!(beyond.code(), Code::ReadTimeout);
        assert!(beyond.detail().contains("min_index is"), "{beyond}");
        assert!(shown.expect("it waits for no index").1.index >= written.index);
    }

    #[test]
    fn a_batch_without_operations_costs_no_entry_and_covers_what_was_written() {
        let directory = tempfile::tempdir().expect("there is room");
        let store = open(directory.path(), &[("bootstrap.split_keys", "m")]);
        let written = store.put(b"k", b"v").expect("it leads").position;
        let (answered, answer) = mpsc::channel();

        let blocking = store.write(&mut Batch::new(), &WriteOptions::default()).expect("it leads");
        let tell = move |found| answered.send(found).expect("the test waits");
        let (options, never) = (WriteOptions::default(), |_, _| unreachable!("nothing is proposed"));
        let (empty, events) = (&mut Batch::new(), Events::ALL);
        store.asynchronous().write_with_events(empty, &options, events, never, tell).expect("open");
        let later = answer.recv_timeout(TIMEOUT).expect("answered").expect("it leads");

        assert_eq!((blocking, later), (written.into(), written.into()));
        assert_eq!(store.put(b"k", b"w").expect("it leads").position.index.get(), written.index.get() + 1);
        store.shutdown(TIMEOUT).expect("nothing holds it");
        assert_eq!(store.write(&mut Batch::new(), &options).expect_err("shut down").code(), Code::Closed);
    }

    #[test]
    fn a_read_under_a_lease_is_not_counted_as_a_confirmed_read() {
        let directory = tempfile::tempdir().expect("there is room");
        let store = open(directory.path(), &[]);
        let region = [store.inner.regions.first()];
        let until = Instant::now() + TIMEOUT;
        store.put(b"k", b"v").expect("it leads");
        let (engine, read) = (store.inner.engine().expect("open"), SnapshotOptions::default());
        while store.inner.at_once(&engine, &region, &read, || ()).expect("open").is_none() {
            assert!(Instant::now() < until, "no lease");
            std::thread::yield_now();
        }
        let before = store.inner.metrics.read_index.count();
        let (answered, answer) = mpsc::channel();

        let found = move |found: Result<Option<PinnedValue>>| {
            answered.send(found.is_ok()).expect("the test waits");
        };
        store.asynchronous().get(b"k", &read, found).expect("open");

        assert!(answer.recv_timeout(TIMEOUT).expect("answered"));
        assert_eq!(store.inner.metrics.read_index.count(), before);
    }
}
