//! The Rust interface: one open handle, one member, one directory.
//!
//! Owns the path from a caller to the internal threads and back: admission, encoding, and the blocking and callback
//! forms of each call. What always holds: a call that returned an error has no effect and no callback; an accepted call
//! is answered exactly once, even if the store is poisoned or shut down; no asynchronous call waits for the disk, and a
//! blocking one reads it on its caller's thread. Every method may be called from any thread; blocking ones return
//! `WOULD_DEADLOCK` inside a callback. Opening a store is left to `assembly`, and closing it to `closing`.

pub(crate) mod admission;
mod assembly;
pub(crate) mod atomic;
mod bootstrap;
pub(crate) mod asynchronous;
pub(crate) mod batch;
mod closing;
pub(crate) mod conditions;
mod confirming;
mod counting;
mod joint_read;
mod leases;
mod lost_end;
pub(crate) mod members;
mod open_files;
mod pending_installs;
mod routing;
pub(crate) mod snapshot;
pub(crate) mod status;
mod latency;
mod threads;
pub(crate) mod transaction;
pub(crate) mod transfer;
pub(crate) mod values;

#[cfg(test)]
mod panic_tests;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::completion::call::{CallKind, CallRegions, Subject};
use crate::completion::deadlines::Deadlines;
use crate::completion::queue::CompletionQueue;
use crate::completion::{Completion, Position, Reply, Sink, Waiter, WriteEvent};
use crate::config::Config;
use crate::core::caller_write::CallerWrite;
use crate::core::input::Input;
use crate::core::peer_status::PeerStatus;
use crate::core::reads::Read;
use crate::core::transfer::TransferRequest;
use crate::error::{Code, Error, Result};
use crate::metrics::{CallType, Gauges, Metrics};
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::pollers::members::Members;
use crate::pollers::read_pool::ReadPool;
use crate::pollers::snapshots::{RaftSnapshotStage, RaftSnapshotStatus, Snapshots};
use crate::process::panics;
use crate::process::thread;
use crate::regions::{KeyRange, RegionMap, shown};
use crate::storage::engine::Engine;
use crate::store::admission::{Admission, Permit};
use crate::store::batch::Batch;
use crate::store::closing::Ending;
use crate::store::joint_read::JointRead;
use crate::store::latency::{Kind, Latency};
use crate::store::leases::Leases;
use crate::store::routing::region_of_batch;
use crate::store::snapshot::{Level, Snapshot, SnapshotOptions};
use crate::store::status::{RegionStatus, Status};
use crate::time::{Timestamp, now};
use crate::types::{BOOTSTRAP_EPOCH, LogIndex, NodeId, RegionId};

/// Options of a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Latest time at which the call is answered; none means the store's `write.timeout_ms`.
    pub timeout: Option<Duration>,
}

/// See the module. Dropping it shuts it down at once and waits for that as [`Store::shutdown`] does, unless it was
/// already shut down.
pub struct Store {
    inner: Arc<Inner>,
}

/// State shared by all callers.
struct Inner {
    node: NodeId,
    timeouts: Timeouts,
    regions: Arc<RegionMap>,
    leases: Leases,
    health: Arc<Health>,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    completions: Arc<CompletionQueue>,
    deadlines: Arc<Deadlines>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    read_pool: Arc<ReadPool>,
    /// None once the store is shut down, so that the directory is released with the last snapshot.
    engine: Mutex<Option<Engine>>,
    /// Set in a cluster of several, until the store is shut down.
    snapshots: Arc<OnceLock<Weak<Snapshots>>>,
    members: Arc<Members>,
    ending: Ending,
}

/// Of calls that name none, and of elections.
struct Timeouts {
    write: Duration,
    read: Duration,
    election: Duration,
}

impl Store {
    /// Opens the member whose directory is `path`, creating the directory at the first start. Its parent must exist.
    /// Returns as soon as the member is recovered; use [`Store::wait_leader`] to wait for a leader.
    ///
    /// A relative path is resolved against the current working directory, which may change afterwards; the directory
    /// itself must stay at its path while the store is open. Any of standard input, output and error that is closed
    /// is opened as /dev/null and stays open.
    ///
    /// # Errors
    /// `INVALID_CONFIG`, `INVALID_ARGUMENT`, `LOCKED`, `WRONG_CLUSTER`, `INCOMPATIBLE_FORMAT`, `CORRUPTION`,
    /// `PERMISSION`, `NETWORK`, `NO_SPACE`, `IO`; each names the option, file or address and says what to do. `IO` with
    /// errno EAGAIN when the operating system refuses a thread; `FORKED` in a child of a process that had opened a store.
    pub fn open(path: impl AsRef<Path>, config: &Config) -> Result<Self> {
        crate::process::panics::catch(|| assembly::open(path.as_ref(), config)).map(|inner| Self { inner })
    }

    /// Applies `batch` on a majority and waits for it. On success the batch is then empty; on error it is unchanged.
    /// All its keys must belong to one region; see [`Store::regions`].
    ///
    /// A batch without operations costs no entry of the log: it is answered as a linearizable read of the first region,
    /// with a position that covers every write acknowledged before the call.
    ///
    /// # Errors
    /// Category 3 when it was certainly not applied, category 4 when that is unknown; and as [`Store::write_async`].
    /// Without operations as [`Store::snapshot`].
    pub fn write(&self, batch: &mut Batch, options: &WriteOptions) -> Result<Reply> {
        self.inner.write(batch, options)
    }

    /// Applies `batch` on a majority; `callback` receives the outcome exactly once, on the thread "almadia-cb". If
    /// this returns an error, the callback never runs and the batch is unchanged. A batch without operations is a read,
    /// as in [`Store::write`]: its answer may overtake those of earlier writes.
    ///
    /// # Errors
    /// `BATCH_ACROSS_REGIONS`, `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn write_async<F>(&self, batch: &mut Batch, options: &WriteOptions, callback: F) -> Result<()>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        self.asynchronous().write(batch, options, callback).map(drop)
    }

    /// Sets one key and waits for it.
    ///
    /// # Errors
    /// As [`Store::write`] and [`Batch::put`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Reply> {
        self.put_with(key, value, &WriteOptions::default())
    }

    /// As [`Store::put`], with options.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_with(&self, key: &[u8], value: &[u8], options: &WriteOptions) -> Result<Reply> {
        let mut batch = Batch::new();
        self.inner.counted_if_refused(CallType::Write, || batch.put(key, value))?;
        self.write(&mut batch, options)
    }

    /// Removes one key and waits for it.
    ///
    /// # Errors
    /// As [`Store::write`] and [`Batch::delete`].
    pub fn delete(&self, key: &[u8]) -> Result<Reply> {
        self.delete_with(key, &WriteOptions::default())
    }

    /// As [`Store::delete`], with options.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn delete_with(&self, key: &[u8], options: &WriteOptions) -> Result<Reply> {
        let mut batch = Batch::new();
        self.inner.counted_if_refused(CallType::Write, || batch.delete(key))?;
        self.write(&mut batch, options)
    }

    /// Takes a snapshot and waits for it. It is a single view of this member's data in the requested range, taken
    /// after each region in the range has confirmed it.
    ///
    /// Across several regions it is linearizable for each of them, but not for all together. It contains everything
    /// acknowledged before the call; of writes made to different regions during the call, it may contain a later one
    /// and lack an earlier one. So two snapshots taken on different members at the same time may show two such writes
    /// in opposite orders. Data that must be seen in one order belongs in one region.
    ///
    /// # Errors
    /// `NO_LEADER` or `READ_TIMEOUT` at the deadline, `OVERLOADED`, `CLOSED` or `POISONED`; `INVALID_ARGUMENT` when
    /// the range ends before it starts, or when `min_index` is given for several regions.
    pub fn snapshot(&self, options: &SnapshotOptions) -> Result<Snapshot> {
        self.inner.counted(options.call_type(), || {
            refuse_in_callback()?;
            let regions = self.inner.regions_of(options)?;
            let engine = self.inner.engine()?;
            let (view, position) = self.inner.read(&engine, regions, options, || engine.view())?;
            Ok(Snapshot::new(view, position, &options.range))
        })
    }

    /// Takes a snapshot; `callback` receives it exactly once, on the thread "almadia-cb". If this returns an error,
    /// the callback never runs.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`; `INVALID_ARGUMENT` as [`Store::snapshot`].
    pub fn snapshot_async<F>(&self, options: &SnapshotOptions, callback: F) -> Result<()>
    where
        F: FnOnce(Result<Snapshot>) + Send + 'static,
    {
        self.asynchronous().snapshot(options, callback).map(drop)
    }

    /// A momentary view of the store and its first region. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let peer = inner.peer_status(inner.regions.first());
        let poisoned = inner.health.poisoned().cloned();
        let (role, leader) = status::part(peer, poisoned.is_some());
        let (log_bytes, _, log_segments) = inner.metrics.log_size.get();
        let snapshots = self.raft_snapshots();
        Status {
            node: inner.node,
            leader,
            role,
            term: peer.term,
            commit_index: peer.commit_index,
            applied_index: peer.applied_index,
            last_index: peer.last_index,
            in_flight: inner.admission.in_flight(),
            live_snapshots: inner.engine().map_or(0, |engine| engine.live_views() as u64),
            log_bytes,
            log_segments,
            log_holder: inner.health.log_holder(),
            snapshots_sending: count(&snapshots, RaftSnapshotStage::Sending),
            snapshots_receiving: count(&snapshots, RaftSnapshotStage::Receiving),
            poisoned,
        }
    }

    /// A momentary view of each region, in key order. Never blocks.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionStatus<'_>> {
        (0..self.region_count()).filter_map(|index| self.region_at(index)).collect()
    }

    /// Number of regions.
    #[must_use]
    pub fn region_count(&self) -> usize {
        self.inner.regions.ids().len()
    }

    /// A momentary view of the region at `index` in key order; none if there are fewer regions. Never blocks.
    #[must_use]
    pub fn region_at(&self, index: usize) -> Option<RegionStatus<'_>> {
        let Inner { regions, health, .. } = &*self.inner;
        let id = *regions.ids().get(index)?;
        let poisoned = health.poisoned().is_some();
        Some(RegionStatus::new(id, regions.range_at(index), self.inner.peer_status(id), poisoned))
    }

    /// The raft snapshots that this member makes, sends, receives and installs at this moment, in no certain order. Never
    /// blocks.
    #[must_use]
    pub fn raft_snapshots(&self) -> Vec<RaftSnapshotStatus> {
        let snapshots = self.inner.snapshots.get().and_then(Weak::upgrade);
        snapshots.map_or_else(Vec::new, |snapshots| snapshots.list())
    }

    /// Waits until this member knows the leader of every region, and returns that of the first.
    ///
    /// # Errors
    /// `NO_LEADER` after `timeout`, `CLOSED` or `POISONED`.
    pub fn wait_leader(&self, timeout: Duration) -> Result<NodeId> {
        refuse_in_callback()?;
        self.inner.health.wait_leaders(self.inner.regions.ids(), timeout)
    }

    /// Stops accepting calls, lets those in flight finish, hands over the leaderships of this member, answers the
    /// remaining calls and ends every thread, all within `timeout`. The last second of it, or its last half if that
    /// is less, is reserved for ending the threads; with a timeout of zero, calls are cut off at once and the threads
    /// have five seconds. On success, every callback has returned and none will ever run again.
    ///
    /// Calling it again, whether or not it succeeded before, waits for the end again; callers on several threads all
    /// wait.
    ///
    /// # Errors
    /// `SHUTTING_DOWN` when the time is up, because a hung disk or a callback that does not return still holds a
    /// thread. Even then, every call has been answered and no more are accepted; callbacks may still run, and the
    /// directory stays locked, until that thread ends. `WOULD_DEADLOCK` inside a callback.
    pub fn shutdown(&self, timeout: Duration) -> Result<()> {
        refuse_in_callback()?;
        self.inner.shutdown(timeout)
    }

    /// This store's metrics, as text for Prometheus. Never blocks.
    #[must_use]
    pub fn metrics(&self) -> String {
        let status = self.status();
        let mut gauges = Gauges::default();
        let leader = status.leader.map_or(0, NodeId::get);
        gauges.gauge("almadia_node_id", "Number of this member.", status.node.get());
        gauges.gauge("almadia_leader_id", "Who leads the first region, 0 for nobody known.", leader);
        gauges.gauge("almadia_term", "Raft term of the first region.", status.term.get());
        gauges.gauge(
            "almadia_commit_index",
            "Decided entries of the first region.",
            status.commit_index.get(),
        );
        gauges.gauge(
            "almadia_applied_index",
            "Applied entries of the first region.",
            status.applied_index.get(),
        );
        gauges.gauge("almadia_in_flight", "Accepted calls whose answer was not taken.", status.in_flight);
        gauges.gauge("almadia_live_snapshots", "Snapshots and iterators not freed.", status.live_snapshots);
        let (log_bytes, log_live_bytes, log_segments) = self.inner.metrics.log_size.get();
        gauges.gauge("almadia_log_bytes", "Length of the raft log's files, of all regions.", log_bytes);
        gauges.gauge(
            "almadia_log_live_bytes",
            "About how much of it holds entries still needed.",
            log_live_bytes,
        );
        gauges.gauge("almadia_log_segments", "Files of the raft log.", log_segments);
        gauges.gauge(
            "almadia_log_holder_id",
            "The member for which this leader keeps more log than it is to retain, 0 for none.",
            status.log_holder.map_or(0, NodeId::get),
        );
        let snapshots = self.raft_snapshots();
        let stages = [
            ("making", RaftSnapshotStage::Making),
            ("sending", RaftSnapshotStage::Sending),
            ("receiving", RaftSnapshotStage::Receiving),
            ("installing", RaftSnapshotStage::Installing),
        ];
        let help = "Raft snapshots under way on this member, by how far they have come.";
        let now = stages.map(|(what, stage)| (what, count(&snapshots, stage)));
        gauges.gauges("almadia_raft_snapshots_now", help, now);
        let poisoned = u64::from(status.poisoned.is_some());
        gauges.gauge("almadia_poisoned", "1 when the store stopped after an error.", poisoned);
        self.inner.metrics.text(&gauges)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.inner.let_go();
    }
}

impl Inner {
    /// See [`Store::write`].
    fn write(&self, batch: &mut Batch, options: &WriteOptions) -> Result<Reply> {
        self.counted(CallType::Write, || {
            refuse_in_callback()?;
            if batch.is_empty() {
                return self.confirmed_position(options).map(Reply::from);
            }
            let waiter = Arc::new(Waiter::default());
            let data = self.submit_write(batch, options, |permit, due| {
                self.waiting(&waiter, Kind::Write, permit, due)
            })?;
            waiter.answer().inspect_err(|_| *batch = Batch::unseal(data))
        })
    }

    /// Takes the batch and returns its sealed form; on error the batch is unchanged.
    fn submit_write(
        &self,
        batch: &mut Batch,
        options: &WriteOptions,
        open: impl FnOnce(Permit, Due) -> Result<Completion>,
    ) -> Result<Bytes> {
        self.health.check()?;
        let permit = self.admission.admit(batch.encoded_bytes())?;
        let data = std::mem::take(batch).seal(BOOTSTRAP_EPOCH.version);
        let timeout = options.timeout.unwrap_or(self.timeouts.write);
        let pushed = region_of_batch(&self.regions, &data).and_then(|region| {
            let due = Due::within(timeout, CallKind::Write, &[region]);
            let (data, deadline) = (data.clone(), due.deadline);
            let completion = open(permit, due)?;
            self.push(region, Input::Write(CallerWrite { data, deadline, completion, was_proposed: false }))
        });
        match pushed {
            Ok(()) => Ok(data),
            Err(error) => {
                *batch = Batch::unseal(data);
                Err(error)
            }
        }
    }

    /// A peer's last published status, updated with the engine's progress since.
    fn peer_status(&self, region: RegionId) -> PeerStatus {
        let mut status = self.health.status(region);
        status.applied_index = status.applied_index.max(self.leases.applied(region));
        status.commit_index = status.commit_index.max(status.applied_index);
        status.last_index = status.last_index.max(status.commit_index);
        status
    }

    /// The regions that must confirm a snapshot.
    fn regions_of(&self, options: &SnapshotOptions) -> Result<&[RegionId]> {
        let KeyRange { start, end } = &options.range;
        if start > end && !end.is_empty() {
            let detail = format!("the range from '{}' to '{}' is reversed", shown(start), shown(end));
            return Err(Error::with_detail(Code::InvalidArgument, detail));
        }
        let regions = self.regions.regions_in(&options.range);
        refuse_index_of_several(regions, options)?;
        Ok(regions)
    }

    /// Asks the regions of a read; the completion is answered when all have answered.
    fn ask(&self, due: &Due, completion: Completion) -> Result<()> {
        let Due { subject: Subject { kind, regions }, deadline } = due;
        let deadline = *deadline;
        let ask = |completion| match *kind {
            CallKind::LocalRead { min_index } => Input::LocalRead(Read { deadline, completion, min_index }),
            CallKind::Read => Input::Read(Read { deadline, completion, min_index: LogIndex(0) }),
            CallKind::Write | CallKind::Transfer => unreachable!("it is a read"),
        };
        match regions.as_slice() {
            [only] => self.push(*only, ask(completion)),
            several => self.push_joint(several, completion, ask),
        }
    }

    /// The deadline and subject of a read that starts now.
    fn read_due(&self, regions: &[RegionId], options: &SnapshotOptions) -> Due {
        let kind = match options.level {
            Level::Linearizable => CallKind::Read,
            Level::Local => CallKind::LocalRead { min_index: options.min_index },
        };
        Due::within(options.timeout.unwrap_or(self.timeouts.read), kind, regions)
    }

    fn push_joint(
        &self,
        regions: &[RegionId],
        completion: Completion,
        ask: impl Fn(Completion) -> Input,
    ) -> Result<()> {
        let joint = JointRead::new(regions.len(), completion);
        let mut open = false;
        // A closed mailbox never runs this iterator, so either all parts are created or none.
        self.raft.push_all(regions.iter().map(|&region| {
            open = true;
            (region, ask(joint.part()))
        }));
        if open {
            return Ok(());
        }
        if joint.defuse() { Err(Error::new(Code::Closed)) } else { Ok(()) }
    }

    fn push(&self, region: RegionId, input: Input) -> Result<()> {
        let Err((_, refused)) = self.raft.push((region, input)) else { return Ok(()) };
        let (Input::Write(CallerWrite { completion, .. })
        | Input::Transfer(TransferRequest { completion, .. })
        | Input::Read(Read { completion, .. })
        | Input::LocalRead(Read { completion, .. })) = refused
        else {
            unreachable!("the mailbox gives back what it was given, a call of a caller")
        };
        // A call that was answered in the meantime counts as accepted.
        if completion.defuse() { Err(Error::new(Code::Closed)) } else { Ok(()) }
    }

    /// The result of `look`, run on this thread: under the leases of `regions`, or for a local read if this member has
    /// applied enough and has whole data. None if the peers must be asked.
    fn at_once<T>(
        &self,
        engine: &Engine,
        regions: &[RegionId],
        options: &SnapshotOptions,
        look: impl FnOnce() -> T,
    ) -> Result<Option<(T, Position)>> {
        self.health.check()?;
        Ok(match options.level {
            Level::Linearizable => self.leases.read(regions, look),
            Level::Local => {
                let local = || {
                    let position = self.local_position(engine, regions, options.min_index)?;
                    Ok(position.map(|position| (look(), position)))
                };
                self.leases.whole(regions, local).transpose()?.flatten()
            }
        })
    }

    /// Waits until every region of a read has confirmed it as linearizable, or has applied what a local read asks for,
    /// which nobody confirms.
    fn await_confirmation(&self, due: &Due, permit: Permit) -> Result<Position> {
        let waiter = Arc::new(Waiter::default());
        let completion = self.waiting(&waiter, Kind::Read, permit, due.clone())?;
        self.ask(due, completion)?;
        Ok(waiter.answer()?.position)
    }

    /// The position that a local read can show now, without asking the peers.
    fn local_position(
        &self,
        engine: &Engine,
        regions: &[RegionId],
        min_index: LogIndex,
    ) -> Result<Option<Position>> {
        let [only] = regions else {
            let may_read = self.health.is_each(regions, |status| status.replayed);
            return Ok(may_read.then(Position::default));
        };
        let status = self.health.status(*only);
        if !status.replayed {
            return Ok(None);
        }
        if status.applied_index >= min_index {
            return Ok(Some(Position { index: status.applied_index, term: status.applied_term }));
        }
        // Peers publish their status later than writes are answered: the caller may have this index from one of these.
        let is_applied = self.leases.applied(*only) >= min_index;
        is_applied.then(|| engine.apply_state(*only).map(Position::from)).transpose()
    }

    /// Accepts a call whose caller waits on `waiter`.
    fn waiting(&self, waiter: &Arc<Waiter>, kind: Kind, permit: Permit, due: Due) -> Result<Completion> {
        // The permit is shared: a call answered at its deadline counts until the internal threads drop it.
        let (waiter, permit) = (Arc::clone(waiter), Arc::new(permit));
        let (latency, kept) = (Latency::new(&self.metrics, kind), Arc::clone(&permit));
        let waiting = Box::new(Waiting { waiter, permit, latency });
        self.deadlines.accept(due.subject, due.deadline, waiting, kept).map(|(completion, _)| completion)
    }

    fn engine(&self) -> Result<Engine> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.clone().ok_or_else(|| Error::new(Code::Closed))
    }
}

fn count(snapshots: &[RaftSnapshotStatus], stage: RaftSnapshotStage) -> u64 {
    snapshots.iter().filter(|snapshot| snapshot.stage == stage).count() as u64
}

fn refuse_index_of_several(regions: &[RegionId], options: &SnapshotOptions) -> Result<()> {
    if options.level == Level::Local && options.min_index > LogIndex(0) && regions.len() > 1 {
        let detail = format!(
            "min_index is a place in one region's log, and the read covers {} regions",
            regions.len()
        );
        return Err(Error::with_detail(Code::InvalidArgument, detail));
    }
    Ok(())
}

fn refuse_in_callback() -> Result<()> {
    if thread::is_callback_thread() { Err(Error::new(Code::WouldDeadlock)) } else { Ok(()) }
}

/// The subject of a call, and its deadline.
#[derive(Clone)]
struct Due {
    subject: Subject,
    deadline: Timestamp,
}

impl Due {
    /// A call of `kind` to `regions` that starts now.
    fn within(timeout: Duration, kind: CallKind, regions: &[RegionId]) -> Self {
        let subject = Subject { kind, regions: CallRegions::new(regions) };
        Self { subject, deadline: now() + timeout }
    }
}

/// Answers a blocked thread at once, without the completion queue.
struct Waiting {
    waiter: Arc<Waiter>,
    permit: Arc<Permit>,
    latency: Latency,
}

impl Sink for Waiting {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        let Self { waiter, permit, latency } = *self;
        panics::aside(|| {
            latency.answered();
            // Release the permit first, so that the woken caller is not refused because of it when it calls again.
            permit.answered();
        });
        waiter.set(answer);
    }

    fn happened(&self, event: WriteEvent, _: Position) {
        self.latency.happened(event);
    }
}
