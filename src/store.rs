//! The Rust interface: one open handle, one member, one directory.
//!
//! Owns the way from a caller into the engine room and back: admission, encoding, the blocking and the callback
//! form of each call, and the order in which a store comes up (`assembly`) and goes down. What always holds: a
//! call that returned an error has no effect and no callback; a call that was accepted is answered exactly once,
//! also when the store is poisoned or shut down; no call blocks on the disk. Every method may be called from any
//! thread; blocking ones return `WOULD_DEADLOCK` inside a callback.

pub mod admission;
mod assembly;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::batch::Batch;
use crate::completion::{Completion, CompletionQueue, Position, Sink, Waiter};
use crate::config::Config;
use crate::core::input::{Input, Propose};
use crate::core::reads::Read;
use crate::error::{Code, Error, Result};
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::snapshot::{Level, PinnedValue, Snapshot, SnapshotOptions};
use crate::status::Status;
use crate::storage::engine::Engine;
use crate::store::admission::{Admission, Permit};
use crate::store::assembly::Threads;
use crate::thread;
use crate::time::now;
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, NodeId, RegionId};

/// How much longer than its deadline a blocking call waits for its answer, which only a stalled disk can delay.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// How a write is made.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// When the call is answered at the latest; none means the store's `write.timeout_ms`.
    pub timeout: Option<Duration>,
}

/// See the module. Dropping it shuts it down at once.
pub struct Store {
    inner: Arc<Inner>,
}

/// What callers share.
struct Inner {
    node: NodeId,
    write_timeout: Duration,
    read_timeout: Duration,
    health: Arc<Health>,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    completions: Arc<CompletionQueue>,
    admission: Arc<Admission>,
    /// None once the store is shut down, so that the directory is free as soon as the last snapshot is.
    engine: Mutex<Option<Engine>>,
    /// None once they are joined.
    threads: Mutex<Option<Threads>>,
}

impl Store {
    /// Opens the member whose directory is `path`, creating it at the first start. Its parent must exist. Returns
    /// as soon as the member is recovered; whether there is a leader is [`Store::wait_leader`]'s business.
    ///
    /// # Errors
    /// `INVALID_CONFIG`, `LOCKED`, `WRONG_CLUSTER`, `INCOMPATIBLE_FORMAT`, `CORRUPTION`, `PERMISSION`, `NETWORK`,
    /// `NO_SPACE`, `IO`; each names the option, file or address and what to do.
    pub fn open(path: impl AsRef<Path>, config: &Config) -> Result<Self> {
        crate::panics::catch(|| assembly::open(path.as_ref(), config)).map(|inner| Self { inner })
    }

    /// Applies `batch` on a majority and waits for it. On success the batch is empty, on error as it was.
    ///
    /// # Errors
    /// Category 3 when it was certainly not applied, category 4 when that is unknown; and as
    /// [`Store::write_async`].
    pub fn write(&self, batch: &mut Batch, options: &WriteOptions) -> Result<Position> {
        refuse_in_callback()?;
        let timeout = options.timeout.unwrap_or(self.inner.write_timeout);
        let waiter = Arc::new(Waiter::default());
        let data = self.inner.propose(batch, timeout, |permit| waiting(&waiter, permit))?;
        wait(&waiter, timeout, Code::Timeout).inspect_err(|_| *batch = Batch::unseal(data))
    }

    /// Applies `batch` on a majority; `callback` learns the outcome, exactly once, on the thread "almadia-cb". When
    /// this returns an error the callback never runs and the batch is as it was.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn write_async<F>(&self, batch: &mut Batch, options: &WriteOptions, callback: F) -> Result<()>
    where
        F: FnOnce(Result<Position>) + Send + 'static,
    {
        let timeout = options.timeout.unwrap_or(self.inner.write_timeout);
        let queue = Arc::clone(&self.inner.completions);
        let sink = |permit| Completion::new(Box::new(Callback { permit, queue, callback }));
        self.inner.propose(batch, timeout, sink).map(drop)
    }

    /// Sets one key and waits.
    ///
    /// # Errors
    /// As [`Store::write`] and [`Batch::put`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Position> {
        let mut batch = Batch::new();
        batch.put(key, value)?;
        self.write(&mut batch, &WriteOptions::default())
    }

    /// Removes one key and waits.
    ///
    /// # Errors
    /// As [`Store::write`] and [`Batch::delete`].
    pub fn delete(&self, key: &[u8]) -> Result<Position> {
        let mut batch = Batch::new();
        batch.delete(key)?;
        self.write(&mut batch, &WriteOptions::default())
    }

    /// Takes a snapshot and waits for it.
    ///
    /// # Errors
    /// `NO_LEADER` or `READ_TIMEOUT` at the deadline, `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn snapshot(&self, options: &SnapshotOptions) -> Result<Snapshot> {
        refuse_in_callback()?;
        let engine = self.inner.engine()?;
        if let Some(position) = self.inner.local_position(options.level) {
            return Ok(Snapshot::new(engine.view(), position));
        }
        let timeout = options.timeout.unwrap_or(self.inner.read_timeout);
        let waiter = Arc::new(Waiter::default());
        self.inner.read(options.level, timeout, |permit| waiting(&waiter, permit))?;
        let position = wait(&waiter, timeout, Code::ReadTimeout)?;
        Ok(Snapshot::new(engine.view(), position))
    }

    /// Takes a snapshot; `callback` receives it, exactly once, on the thread "almadia-cb". When this returns an
    /// error the callback never runs.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn snapshot_async<F>(&self, options: &SnapshotOptions, callback: F) -> Result<()>
    where
        F: FnOnce(Result<Snapshot>) + Send + 'static,
    {
        let engine = self.inner.engine()?;
        let timeout = options.timeout.unwrap_or(self.inner.read_timeout);
        let callback = move |answer: Result<Position>| {
            callback(answer.map(|position| Snapshot::new(engine.view(), position)));
        };
        let queue = Arc::clone(&self.inner.completions);
        let sink = |permit| Completion::new(Box::new(Callback { permit, queue, callback }));
        self.inner.read(options.level, timeout, sink)
    }

    /// The linearizable value of one key; none when there is no such key.
    ///
    /// # Errors
    /// As [`Store::snapshot`] and [`Snapshot::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.snapshot(&SnapshotOptions::default())?.get(key)
    }

    /// A moment's picture of the store. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let peer = inner.health.status(BOOTSTRAP_REGION);
        let live = inner.engine().map_or(0, |engine| engine.live_views() as u64);
        Status::new(inner.node, peer, inner.admission.in_flight(), live, inner.health.poisoned().cloned())
    }

    /// Waits until this member knows a leader.
    ///
    /// # Errors
    /// `NO_LEADER` after `timeout`, `CLOSED` or `POISONED`.
    pub fn wait_leader(&self, timeout: Duration) -> Result<NodeId> {
        refuse_in_callback()?;
        self.inner.health.wait_leader(BOOTSTRAP_REGION, timeout)
    }

    /// Accepts no more calls, lets those in flight finish for at most `timeout`, answers the rest, and joins every
    /// thread. When it returns every callback has returned and none will ever run again. Doing it again does
    /// nothing; callers on several threads all wait.
    ///
    /// # Errors
    /// `WOULD_DEADLOCK` inside a callback.
    pub fn shutdown(&self, timeout: Duration) -> Result<()> {
        refuse_in_callback()?;
        self.inner.shutdown(timeout);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !thread::is_callback_thread() {
            return self.inner.shutdown(Duration::ZERO);
        }
        // The callback thread cannot join itself. The reaper owns what is left, the directory's lock included,
        // until it is done.
        let inner = Arc::clone(&self.inner);
        self.inner.health.begin_closing();
        if let Err(error) = thread::spawn("almadia-reaper", move || inner.shutdown(Duration::ZERO)) {
            log::error!("a store dropped inside a callback could not be torn down: {error}");
        }
    }
}

impl Inner {
    /// Takes the batch and returns what it was sealed into; on error the batch is as it was.
    fn propose(
        &self,
        batch: &mut Batch,
        timeout: Duration,
        sink: impl FnOnce(Permit) -> Completion,
    ) -> Result<Bytes> {
        self.health.check()?;
        let permit = self.admission.admit(batch.encoded_bytes())?;
        let data = std::mem::take(batch).seal(BOOTSTRAP_EPOCH.version);
        let sealed = data.clone();
        let propose = Propose { data, deadline: now() + timeout, completion: sink(permit) };
        match self.raft.push((BOOTSTRAP_REGION, Input::Propose(propose))) {
            Ok(()) => Ok(sealed),
            Err((_, Input::Propose(refused))) => {
                refused.completion.defuse();
                *batch = Batch::unseal(sealed);
                Err(Error::new(Code::Closed))
            }
            Err(_) => unreachable!("the mailbox gives back what it was given"),
        }
    }

    fn read(&self, level: Level, timeout: Duration, sink: impl FnOnce(Permit) -> Completion) -> Result<()> {
        self.health.check()?;
        let permit = self.admission.admit(0)?;
        let read = Read { deadline: now() + timeout, completion: sink(permit) };
        let input = match level {
            Level::Linearizable => Input::Read(read),
            Level::Local => Input::LocalRead(read),
        };
        match self.raft.push((BOOTSTRAP_REGION, input)) {
            Ok(()) => Ok(()),
            Err((_, Input::Read(refused) | Input::LocalRead(refused))) => {
                refused.completion.defuse();
                Err(Error::new(Code::Closed))
            }
            Err(_) => unreachable!("the mailbox gives back what it was given"),
        }
    }

    /// What a local snapshot may show right now, without asking the peer.
    fn local_position(&self, level: Level) -> Option<Position> {
        let status = self.health.status(BOOTSTRAP_REGION);
        let ready = level == Level::Local && status.replayed && self.health.check().is_ok();
        ready.then_some(Position { index: status.applied_index, term: status.applied_term })
    }

    fn engine(&self) -> Result<Engine> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.clone().ok_or_else(|| Error::new(Code::Closed))
    }

    fn shutdown(&self, patience: Duration) {
        self.health.begin_closing();
        // Whoever comes second waits here for the first.
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = threads.take() else { return };
        self.admission.wait_idle(patience);
        threads.stop();
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn refuse_in_callback() -> Result<()> {
    if thread::is_callback_thread() { Err(Error::new(Code::WouldDeadlock)) } else { Ok(()) }
}

fn waiting(waiter: &Arc<Waiter>, permit: Permit) -> Completion {
    let waiter = Arc::clone(waiter);
    Completion::new(Box::new(Waiting { waiter, permit }))
}

fn wait(waiter: &Waiter, timeout: Duration, late: Code) -> Result<Position> {
    waiter.wait(timeout.saturating_add(ANSWER_GRACE)).unwrap_or_else(|| Err(Error::new(late)))
}

/// Answers a blocked thread, at once.
struct Waiting {
    waiter: Arc<Waiter>,
    permit: Permit,
}

impl Sink for Waiting {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        let Self { waiter, permit } = *self;
        // First, so that the woken caller does not meet its own permit when it calls again.
        drop(permit);
        waiter.set(answer);
    }
}

/// Answers a callback, on the completion thread.
struct Callback<F> {
    permit: Permit,
    queue: Arc<CompletionQueue>,
    callback: F,
}

impl<F: FnOnce(Result<Position>) + Send> Sink for Callback<F> {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        let Self { permit, callback, .. } = *self;
        // Before the callback, so that it may submit the next call even at the limit.
        drop(permit);
        callback(answer);
    }

    fn queue(&self) -> Option<Arc<CompletionQueue>> {
        Some(Arc::clone(&self.queue))
    }
}
