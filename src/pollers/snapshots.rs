//! Raft snapshots between peers, engine, disk and network.
//!
//! Owns what a peer's [errands](crate::core::ports::Errand) come to: the exports that were made for others, how many there
//! may be, and their sendings; and, for what arrives, the way from the network to the staging directory and from there
//! into the engine, on the thread "almadia-install". What always holds: a peer hears what became of every export that it
//! asked for and of every sending that it ordered; at most [`EXPORTS_MAX`] views are held for others; a raft snapshot that is
//! to be installed is, or the store stops. When one is made, offered and sent is decided by the peers, how it travels by
//! the transport.

mod incoming;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::core::applier::ApplyTask;
use crate::core::input::Input;
use crate::core::ports::Errand;
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage, rows};
use crate::error::{Code, Error, Result};
use crate::metrics::Metrics;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::pollers::snapshots::incoming::{Incoming, Listed};
use crate::process::{panics, thread};
use crate::storage::engine::{Engine, Export, Rows};
use crate::storage::staging::{StagedWriter, Staging};
use crate::transport::{Sending, SnapshotSink, SnapshotSource, Transport};
use crate::types::{ApplyState, LogIndex, NodeId, RegionId};

/// Exports that may exist at a time, waiting to be sent or sent. Each keeps old data on the disk.
const EXPORTS_MAX: usize = 2;

/// Whom an export is for.
type Place = (RegionId, NodeId);

/// How far a raft snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftSnapshotStage {
    /// This member, which leads, makes it for another one, or it waits for its turn.
    Making,
    /// This member sends it.
    Sending,
    /// This member receives it.
    Receiving,
    /// This member has all of it, and puts it in the place of what it had of the region.
    Installing,
}

/// A momentary view of one raft snapshot: the data of a region on their way to a member that needs entries that the log of
/// its leader has no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftSnapshotStatus {
    /// The region.
    pub region: RegionId,
    /// The member that sends it; none when it came before the store was opened.
    pub from: Option<NodeId>,
    /// The member that gets it.
    pub to: NodeId,
    /// Up to here the region's log is in it; 0 while it is made.
    pub index: LogIndex,
    /// How much of it the receiver has taken.
    pub bytes: u64,
    /// About how much there will be; 0 while that is unknown.
    pub bytes_estimate: u64,
    /// How far it has come.
    pub stage: RaftSnapshotStage,
}

/// See the module.
pub(crate) struct Snapshots {
    node: NodeId,
    engine: Engine,
    staging: Arc<Staging>,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// Set once it runs. Weak, because it calls back.
    transport: OnceLock<Weak<Transport>>,
    /// To the thread that installs, until the store closes.
    installs: Mutex<Option<Sender<Box<SnapshotHead>>>>,
    state: Mutex<State>,
    incoming: Arc<Incoming>,
}

#[derive(Default)]
struct State {
    /// Exports that wait until there may be another one.
    waiting: VecDeque<Place>,
    current: BTreeMap<Place, Current>,
    /// Sendings are numbered.
    number: u64,
}

/// One export, from when it is its turn until nobody needs it.
#[derive(Default)]
struct Current {
    export: Option<Arc<Export>>,
    sending: Option<Underway>,
}

/// A sending of it.
struct Underway {
    number: u64,
    cancelled: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    told: u64,
}

impl Underway {
    /// How many bytes the member has taken in all, if it has taken more since this was last asked.
    fn moved(&mut self, metrics: &Metrics) -> Option<u64> {
        let bytes = self.progress.load(Ordering::Relaxed);
        let more = bytes.checked_sub(self.told).filter(|more| *more > 0)?;
        self.told = bytes;
        metrics.raft_snapshots.sent_bytes.fetch_add(more, Ordering::Relaxed);
        Some(bytes)
    }
}

/// What is to be done about raft snapshots that touches the disk, on "almadia-worker".
#[derive(Debug)]
pub(crate) enum SnapshotJob {
    /// Make one.
    Export(RegionId, NodeId),
    /// Remove what is staged.
    Discard(RegionId, ApplyState),
}

impl Snapshots {
    /// With the thread that installs, which ends after [`Snapshots::end`].
    ///
    /// # Errors
    /// When the operating system cannot create another thread.
    pub(crate) fn start(
        node: NodeId,
        engine: Engine,
        staging: Arc<Staging>,
        raft: Arc<Mailbox<(RegionId, Input)>>,
        apply: Arc<Mailbox<ApplyTask>>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let (installs, ordered) = unbounded();
        let (transport, state) = (OnceLock::new(), Mutex::default());
        let installs = Mutex::new(Some(installs));
        let incoming = Arc::<Incoming>::default();
        let installer = Installer {
            engine: engine.clone(),
            staging: Arc::clone(&staging),
            apply,
            raft: Arc::clone(&raft),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            incoming: Arc::clone(&incoming),
        };
        let snapshots = Arc::new(Self {
            node,
            engine,
            staging,
            raft,
            health,
            metrics,
            transport,
            installs,
            state,
            incoming,
        });
        let thread = thread::spawn("almadia-install", move || installer.run(&ordered))?;
        Ok((snapshots, thread))
    }

    /// Sendings go through `transport` from now on.
    pub(crate) fn connect(&self, transport: &Arc<Transport>) {
        self.transport.set(Arc::downgrade(transport)).expect("a store starts once");
    }

    /// Does what a round left to others. What touches the disk is returned, for a thread that may wait.
    pub(crate) fn run(self: &Arc<Self>, errand: Errand) -> Option<SnapshotJob> {
        match errand {
            Errand::Export(region, to) => {
                self.lock().waiting.push_back((region, to));
                self.next_export()
            }
            Errand::Send(message) => {
                self.send(*message);
                None
            }
            Errand::Cancel(region, to) => {
                self.cancel((region, to));
                self.next_export()
            }
            Errand::Discard(region, state) => Some(SnapshotJob::Discard(region, state)),
        }
    }

    /// Does a job, which may wait for the disk.
    ///
    /// # Errors
    /// Those of the engine. That something staged cannot be removed is no error: it is at the next start.
    pub(crate) fn work(&self, job: SnapshotJob) -> Result<()> {
        match job {
            SnapshotJob::Export(region, to) => self.export((region, to)),
            SnapshotJob::Discard(region, state) => {
                self.incoming.end(region, state.index);
                if let Err(error) = self.staging.remove(region, state) {
                    log::warn!(
                        "region {region}: what is left of a raft snapshot could not be removed: {error}"
                    );
                }
                Ok(())
            }
        }
    }

    /// Tells the peers how far their sendings have come.
    pub(crate) fn tell_progress(&self) {
        let mut state = self.lock();
        for (&(region, to), current) in &mut state.current {
            let Some(sending) = &mut current.sending else { continue };
            if let Some(bytes) = sending.moved(&self.metrics) {
                self.raft.push_quietly([(region, Input::SnapshotMoved(to, bytes))]);
            }
        }
    }

    /// The applier has emptied a region; what is staged is to take its place.
    pub(crate) fn install(&self, head: SnapshotHead) {
        self.incoming.install(&head);
        let installs = self.installs.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that ended has stopped the store, or the store is closing: it is installed at the next start.
        let _ = installs.as_ref().map(|installs| installs.send(Box::new(head)));
    }

    /// Nothing more is installed.
    pub(crate) fn end(&self) {
        self.installs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A member begins to send a raft snapshot.
    ///
    /// # Errors
    /// Why it cannot be taken now, for the operators of both sides.
    pub(crate) fn begin_arrival(
        &self,
        message: SnapshotMessage,
        source: [u64; 3],
        bytes_estimate: u64,
    ) -> std::result::Result<Box<dyn SnapshotSink>, String> {
        let region = message.head.region.id;
        if self.health.status(region).installing {
            return Err(format!("region {region} is being replaced by another raft snapshot"));
        }
        let writer = self.staging.begin(&message.head, source, bytes_estimate);
        let writer = writer.map_err(|error| error.to_string())?;
        log::info!(
            "region {region}: node {} begins to send a raft snapshot of about {bytes_estimate} bytes",
            message.from
        );
        let listed = self.incoming.begin(&message, writer.bytes(), bytes_estimate);
        let (raft, metrics) = (Arc::clone(&self.raft), Arc::clone(&self.metrics));
        Ok(Box::new(Arrival { writer, message, raft, metrics, listed }))
    }

    /// The raft snapshots under way, to others first.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<RaftSnapshotStatus> {
        let state = self.lock();
        let waiting = state.waiting.iter().map(|place| self.outgoing(*place, &Current::default()));
        let current = state.current.iter().map(|(place, current)| self.outgoing(*place, current));
        let mut all: Vec<_> = current.chain(waiting).collect();
        drop(state);
        all.extend(self.incoming.list(self.node));
        all
    }

    fn outgoing(&self, (region, to): Place, Current { export, sending }: &Current) -> RaftSnapshotStatus {
        let (is_sending, from) = (sending.is_some(), Some(self.node));
        RaftSnapshotStatus {
            region,
            from,
            to,
            index: export.as_ref().map_or(LogIndex(0), |export| export.head().state.index),
            bytes: sending.as_ref().map_or(0, |sending| sending.progress.load(Ordering::Relaxed)),
            bytes_estimate: export.as_ref().map_or(0, |export| export.bytes_estimate()),
            stage: if is_sending { RaftSnapshotStage::Sending } else { RaftSnapshotStage::Making },
        }
    }

    /// The next export, if there may be one.
    fn next_export(&self) -> Option<SnapshotJob> {
        let mut state = self.lock();
        if state.current.len() >= EXPORTS_MAX {
            return None;
        }
        let place = state.waiting.pop_front()?;
        state.current.insert(place, Current::default());
        Some(SnapshotJob::Export(place.0, place.1))
    }

    fn export(&self, place: Place) -> Result<()> {
        let (region, to) = place;
        let made = self.engine.export(region)?;
        let head = made.as_ref().map(|export| Box::new(export.head().clone()));
        let mut state = self.lock();
        // Nobody may need it any more.
        if let Some(current) = state.current.get_mut(&place) {
            current.export = made.map(Arc::new);
        }
        drop(state);
        self.raft.push_all([(region, Input::Exported(to, head))]);
        Ok(())
    }

    fn send(self: &Arc<Self>, message: SnapshotMessage) {
        let (region, to, index) = (message.head.region.id, message.to, message.head.state.index);
        let place = (region, to);
        let transport = self.transport.get().and_then(Weak::upgrade);
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        let made = state.current.get_mut(&place).filter(|current| current.sending.is_none());
        let export = made.and_then(|current| {
            let export = current.export.clone().filter(|export| *export.head() == message.head)?;
            let (cancelled, progress) = (Arc::default(), Arc::default());
            current.sending = Some(Underway { number, cancelled, progress, told: 0 });
            Some(export)
        });
        let (Some(export), Some(transport)) = (export, transport) else {
            drop(state);
            return self.tell_end(place, index, false);
        };
        let underway = state.current[&place].sending.as_ref().expect("just set");
        let (cancelled, progress) = (Arc::clone(&underway.cancelled), Arc::clone(&underway.progress));
        drop(state);
        let bytes_estimate = export.bytes_estimate();
        log::info!("region {region}: sending node {to} a raft snapshot of about {bytes_estimate} bytes");
        let this = Arc::downgrade(self);
        let ended = Box::new(move |is_delivered| {
            if let Some(this) = Weak::upgrade(&this) {
                this.on_ended(place, number, index, is_delivered);
            }
        });
        let source = Box::new(Source { rows: export.rows(None), export, count: 0, crc: 0, spare: None });
        transport.send_snapshot(Sending {
            message,
            number,
            bytes_estimate,
            source,
            progress,
            cancelled,
            ended,
        });
    }

    fn on_ended(&self, place: Place, number: u64, index: LogIndex, is_delivered: bool) {
        let mut state = self.lock();
        if let Some(current) = state.current.get_mut(&place)
            && let Some(mut sending) = current.sending.take_if(|sending| sending.number == number)
        {
            sending.moved(&self.metrics);
        }
        drop(state);
        self.tell_end(place, index, is_delivered);
    }

    fn tell_end(&self, (region, to): Place, index: LogIndex, is_delivered: bool) {
        self.metrics.raft_snapshots.count_end(is_delivered);
        self.health.tell_sent((region, to), index, is_delivered);
        self.raft.push_all([(region, Input::SnapshotEnded(to, index, is_delivered))]);
    }

    fn cancel(&self, place: Place) {
        let mut state = self.lock();
        state.waiting.retain(|other| *other != place);
        let dropped = state.current.remove(&place);
        drop(state);
        if let Some(mut sending) = dropped.and_then(|current| current.sending) {
            sending.moved(&self.metrics);
            sending.cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What installs.
struct Installer {
    engine: Engine,
    staging: Arc<Staging>,
    apply: Arc<Mailbox<ApplyTask>>,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    incoming: Arc<Incoming>,
}

impl Installer {
    fn run(&self, ordered: &Receiver<Box<SnapshotHead>>) {
        for head in ordered {
            match panics::catch(|| self.install(&head)) {
                Ok(()) => {}
                // The store is closing; it is installed at the next start.
                Err(_) if self.engine.is_stopping() => return,
                Err(error) => {
                    self.health.poison(error);
                    self.raft.nudge();
                    return;
                }
            }
        }
    }

    fn install(&self, head: &SnapshotHead) -> Result<()> {
        let region = head.region.id;
        let staged = self.staging.find(region, head.state)?.ok_or_else(|| missing(head))?;
        self.engine.install(&staged)?;
        log::info!(
            "region {region}: the data of a raft snapshot up to entry {} are installed",
            head.state.index
        );
        self.apply.push_all([ApplyTask::installed(region)]);
        let from = self.incoming.end(region, head.state.index);
        self.metrics.raft_snapshots.installed.fetch_add(1, Ordering::Relaxed);
        self.health.tell_installed(region, from, head.state.index);
        Ok(())
    }
}

/// What is said of a raft snapshot that must be there.
pub(crate) fn missing(head: &SnapshotHead) -> Error {
    let (region, index) = (head.region.id, head.state.index);
    let detail =
        format!("region {region}: the raft snapshot up to entry {index} is gone from the store's directory");
    Error::with_detail(Code::Corruption, detail)
}

/// The rows of an export, in chunks.
struct Source {
    export: Arc<Export>,
    rows: Rows,
    count: u64,
    crc: u32,
    /// The encoded row that a chunk had no room for.
    spare: Option<Vec<u8>>,
}

impl SnapshotSource for Source {
    fn seek(&mut self, after: Option<&[u8]>, rows: u64, crc: u32) -> Result<()> {
        (self.rows, self.count, self.crc) = (self.export.rows(after), rows, crc);
        self.spare = None;
        Ok(())
    }

    fn fill(&mut self, chunk: &mut Vec<u8>, bytes: usize) -> Result<Option<(u64, u32)>> {
        chunk.extend(self.spare.take().unwrap_or_default());
        while chunk.len() < bytes {
            let Some((key, stored)) = self.rows.next()? else { break };
            let is_first = chunk.is_empty();
            let end = chunk.len();
            rows::put(chunk, key, stored);
            (self.count, self.crc) = (self.count + 1, rows::checksum(self.crc, key, stored));
            // A long row travels alone: the receiver takes frames up to a length.
            if !is_first && chunk.len() > 2 * bytes {
                self.spare = Some(chunk.split_off(end));
                break;
            }
        }
        Ok(chunk.is_empty().then_some((self.count, self.crc)))
    }
}

/// A raft snapshot that arrives.
struct Arrival {
    writer: StagedWriter,
    message: SnapshotMessage,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    metrics: Arc<Metrics>,
    listed: Listed,
}

impl SnapshotSink for Arrival {
    fn resume(&self) -> (Option<Vec<u8>>, u64, u32) {
        let resume = self.writer.resume();
        (resume.after, resume.rows, resume.crc)
    }

    fn take(&mut self, mut chunk: &[u8]) -> Result<()> {
        let bytes = chunk.len() as u64;
        while !chunk.is_empty() {
            let damaged =
                || Error::with_detail(Code::Corruption, "a raft snapshot: a row that makes no sense");
            let (key, stored) = rows::take(&mut chunk).ok_or_else(damaged)?;
            self.writer.put(key, stored)?;
        }
        self.listed.add(bytes);
        self.metrics.raft_snapshots.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn finish(self: Box<Self>, rows: u64, crc: u32) -> Result<()> {
        let Self { writer, message, raft, metrics, listed } = *self;
        writer.finish(rows, crc)?;
        listed.stage();
        metrics.raft_snapshots.received.fetch_add(1, Ordering::Relaxed);
        raft.push_all([(message.head.region.id, Input::Staged(Box::new(message)))]);
        Ok(())
    }
}
