//! Reads the values of keys.
//!
//! Owns `get` and `get_many`, from the permission to read to the values. A blocking call reads on its caller's
//! thread. A call that must not block reads values in memory at once, and uses the read pool if the disk may be
//! needed; it stays open until the values are read, so that its deadline or its caller can end it. What always holds:
//! the values of several keys come from a single view, taken under the lease (`store/leases.rs`) or after the read
//! was confirmed. Confirming a read is left to the peers.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::Sender;

use crate::completion::call::Call;
use crate::completion::{Completion, Position, Sink};
use crate::error::{Code, Error, Result};
use crate::pollers::read_pool::Job;
use crate::process::panics;
use crate::regions::RegionMap;
use crate::storage::engine::{Engine, View};
use crate::store::asynchronous::Asynchronous;
use crate::store::latency::{Kind, Latency};
use crate::store::snapshot::{PinnedValue, SnapshotOptions};
use crate::store::{Store, refuse_in_callback, refuse_index_of_several};
use crate::types::RegionId;

/// With more keys, a read goes to the read pool even if they are in memory: an internal thread has other callers to
/// serve.
const KEYS_AT_ONCE_MAX: usize = 16;

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
    /// As [`Store::snapshot`] and [`crate::Snapshot::get`].
    pub fn get_with(&self, key: &[u8], options: &SnapshotOptions) -> Result<Option<PinnedValue>> {
        refuse_in_callback()?;
        refuse_range(options)?;
        let inner = &self.inner;
        let engine = inner.engine()?;
        let region = [inner.regions.region_of(key)];
        if let Some((value, _)) = inner.leased(&region, options.level, || engine.get(key))? {
            return value;
        }
        inner.confirm(&region, options)?;
        // A single value read later is as linearizable as one from a view, and cheaper.
        engine.get(key)
    }

    /// The values of several keys at one point in time, in the order of the keys. The range of `options` must be empty.
    ///
    /// # Errors
    /// As [`Store::get_with`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], options: &SnapshotOptions) -> Result<Values> {
        refuse_in_callback()?;
        refuse_range(options)?;
        let inner = &self.inner;
        let engine = inner.engine()?;
        let regions = regions_of_keys(&inner.regions, keys);
        refuse_index_of_several(&regions, options)?;
        let view = match inner.leased(&regions, options.level, || engine.view())? {
            Some((view, _)) => view,
            None => {
                inner.confirm(&regions, options)?;
                engine.view()
            }
        };
        view.get_many(keys)
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
        self.values(vec![key.to_vec()], options, move |found| {
            callback(found.map(|mut values| values.pop().expect("one value for one key")));
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
        self.values(keys.iter().map(|key| key.as_ref().to_vec()).collect(), options, callback)
    }

    fn values<F>(&self, keys: Vec<Vec<u8>>, options: &SnapshotOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Values>) + Send + 'static,
    {
        refuse_range(options)?;
        let inner = self.inner;
        let (engine, jobs) = (inner.engine()?, inner.read_pool.jobs()?);
        let regions = regions_of_keys(&inner.regions, &keys);
        refuse_index_of_several(&regions, options)?;
        let key_bytes = keys.iter().map(Vec::len).sum();
        let found = Arc::<OnceLock<Values>>::default();
        let values = Arc::clone(&found);
        let sink = self.sink_of(Kind::Other, None, move |answer: Result<Position>| {
            callback(answer.map(|_| taken(values)));
        })?;
        let leased = inner.leased(&regions, options.level, || engine.view())?;
        let confirming = leased.is_none().then(|| Latency::new(&inner.metrics, Kind::Read));
        self.accept(sink, |open| {
            let due = inner.read_due(&regions, options);
            let deadline = due.deadline;
            let answer = open(inner.admission.admit(key_bytes)?, due)?;
            let reading = Reading { answer, confirming, jobs, engine, keys, found };
            match leased {
                Some((view, _)) => {
                    reading.look(view);
                    Ok(())
                }
                None => inner.ask(&regions, options, deadline, Completion::new(Box::new(reading))),
            }
        })
    }
}

/// Takes the values that were stored before the answer.
fn taken(values: Arc<OnceLock<Values>>) -> Values {
    let values = Arc::into_inner(values).and_then(OnceLock::into_inner);
    values.expect("whoever answers has put them and let go of them")
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
struct Reading {
    answer: Completion,
    /// None for a read under a lease.
    confirming: Option<Latency>,
    jobs: Sender<Job>,
    engine: Engine,
    keys: Vec<Vec<u8>>,
    /// Receives the values, before the answer.
    found: Arc<OnceLock<Values>>,
}

impl Sink for Reading {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        panics::aside(|| self.confirming.iter().for_each(Latency::answered));
        match answer.and_then(|_| panics::catch(|| Ok(self.engine.view()))) {
            Ok(view) => self.look(view),
            Err(error) => self.finish(Err(error)),
        }
    }

    fn is_answered(&self) -> bool {
        self.answer.is_answered()
    }

    fn defused(self: Box<Self>) -> bool {
        self.answer.defuse()
    }
}

impl Reading {
    /// Answers with the values in memory, or leaves the read to the pool if it may take long.
    fn look(self, view: View) {
        let few = self.keys.len() <= KEYS_AT_ONCE_MAX;
        let in_memory = || if few { view.get_many_from_memory(&self.keys).transpose() } else { Ok(None) };
        match panics::catch(in_memory) {
            Ok(Some(values)) => self.finish(Ok(values)),
            Ok(None) => self.read(view),
            Err(error) => self.finish(Err(error)),
        }
    }

    fn read(self, view: View) {
        let jobs = self.jobs.clone();
        let read = move || {
            // After the disk has hung, many queued reads may no longer have a caller waiting.
            if !self.answer.is_answered() {
                let values = panics::catch(|| view.get_many(&self.keys));
                self.finish(values);
            }
        };
        if let Err(unsent) = jobs.send(Box::new(read)) {
            // The pool lives as long as any sender. If it ever does not, a slow answer is better than none.
            (unsent.into_inner())();
        }
    }

    fn finish(self, values: Result<Values>) {
        let Self { answer, found, .. } = self;
        let position = values.map(|values| {
            found.set(values).unwrap_or_else(|_| unreachable!("a read is finished once"));
            Position::default()
        });
        // The callback must be the only owner of the values.
        drop(found);
        answer.answer(position);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::Config;
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

    #[test]
    fn a_read_under_a_lease_is_not_counted_as_a_confirmed_read() {
        let directory = tempfile::tempdir().expect("there is room");
        let store = open(directory.path(), &[]);
        let region = [store.inner.regions.first()];
        let until = Instant::now() + TIMEOUT;
        store.put(b"k", b"v").expect("it leads");
        while store.inner.leased(&region, Level::Linearizable, || ()).expect("open").is_none() {
            assert!(Instant::now() < until, "no lease");
            std::thread::yield_now();
        }
        let before = store.inner.metrics.read_index.count();
        let (answered, answer) = mpsc::channel();

        let found = move |found: Result<Option<PinnedValue>>| {
            answered.send(found.is_ok()).expect("the test waits");
        };
        store.asynchronous().get(b"k", &SnapshotOptions::default(), found).expect("open");

        assert!(answer.recv_timeout(TIMEOUT).expect("answered"));
        assert_eq!(store.inner.metrics.read_index.count(), before);
    }
}
