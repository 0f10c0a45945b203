//! Who runs the rounds.
//!
//! Owns the peers of the store, the round's connection to the world, and the thread "almadia-raft". The thread runs a
//! round whenever there is something to do, and at every tick. Another internal thread that brings an input while no
//! round is running may run one itself ([`RaftPoller::enter`]): the wake-up it saves costs more than a small round.
//! What always holds: one thread runs rounds at a time, under the round lock, and takes the inputs under that lock, so
//! that they are handled in their order; the clock is read once a round; ticks that are owed go before everything else;
//! after an error no message leaves and nothing is promised any more, and everyone who waits or still comes is
//! answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::completion::queue::CompletionQueue;
use crate::completion::{Answer, Completion, Position, Reply, WriteEvent};
use crate::core::applier::ApplyTask;
use crate::core::input::Input;
use crate::core::peers::Peers;
use crate::core::ports::{Errand, LogWrite, PeerMessage, RoundIo};
use crate::core::region_members::RegionMembers;
use crate::core::round::{Inputs, round};
use crate::core::tick_clock::TickClock;
use crate::error::{Code, Error, Result};
use crate::metrics::Metrics;
use crate::pollers::apply_poller::ApplyPoller;
use crate::pollers::health::{Health, in_flight_at, poisoned_by};
use crate::pollers::mailbox::Mailbox;
use crate::pollers::members::Members;
use crate::pollers::snapshots::Snapshots;
use crate::pollers::worker::{FlushRequest, WorkerJob};
use crate::process::{panics, thread};
use crate::storage::log_store::LogStore;
use crate::time::{Timestamp, now};
use crate::transport::Transport;
use crate::types::{LogIndex, RegionId};

/// Rounds that a thread other than `almadia-raft` runs at most; the rest is left to that thread.
const ROUNDS_MAX: usize = 3;

/// How long synced frames may stay uncovered by a mark, and the pause between two steps that give space back. Ten more
/// syncs a second while writes come and none when none do, against half a per cent of the syncs of a busy member.
const UNMARKED_MAX: Duration = Duration::from_millis(100);

/// How a round reaches the world.
pub(crate) struct PollerIo {
    /// The raft log.
    pub log: Arc<LogStore>,
    /// Other members; none in a cluster of one.
    pub transport: Option<Arc<Transport>>,
    /// How long a sync takes.
    pub metrics: Arc<Metrics>,
    /// A sync that takes so long is worth a warning.
    pub slow_sync: Duration,
    /// Since when the log's end is not on record, or space of it waits to be given back.
    pub unmarked_since: Option<Timestamp>,
    /// What the round hands to the applier, at its end.
    pub tasks: Vec<ApplyTask>,
    /// What the round left to others about raft snapshots.
    pub errands: Vec<Errand>,
    /// Knows the members.
    pub members: Arc<Members>,
    /// Answers of the round, delivered in one burst at its end.
    pub answers: Vec<Answer>,
}

impl RoundIo for PollerIo {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        let Some(transport) = &self.transport else { return };
        let mut rest = messages;
        while let Some(first) = rest.first() {
            let to = first.to();
            let (same, others) = rest.into_iter().partition(|message| message.to() == to);
            transport.send(to, same);
            rest = others;
        }
    }

    fn append(&mut self, writes: &[LogWrite]) -> Result<()> {
        let begun = now();
        let appended = self.log.append(writes);
        let took = now().since(begun);
        self.metrics.sync.record(took);
        self.publish_log_size();
        self.unmarked_since.get_or_insert(begun);
        if took >= self.slow_sync {
            log::warn!(
                "writing and syncing the raft log took {} ms; the other members replace a leader that they do not hear for \
                 raft.election_timeout_ms",
                took.as_millis()
            );
        }
        appended
    }

    fn apply(&mut self, task: ApplyTask) {
        self.tasks.push(task);
    }

    fn run(&mut self, errand: Errand) {
        self.errands.push(errand);
    }

    fn members_moved(&mut self, region: RegionId, members: RegionMembers) {
        self.members.on_moved(region, members);
    }

    fn happened(&mut self, completion: &Completion, event: WriteEvent, position: Position) {
        completion.happened(event, position);
    }

    fn answer(&mut self, completion: Completion, answer: Result<Reply>) {
        self.answers.push((completion, answer));
    }
}

impl PollerIo {
    /// Lets callers see how large the log is.
    pub(crate) fn publish_log_size(&self) {
        let stats = self.log.stats();
        self.metrics.log_size.publish(stats.bytes, stats.live_bytes, stats.segments as u64);
    }

    /// How long the log's end may stay off the record.
    fn until_mark(&self, now: Timestamp) -> Duration {
        self.unmarked_since.map_or(Duration::MAX, |since| (since + UNMARKED_MAX).since(now))
    }

    /// Records the log's end and gives space back when that is due: behind everything that somebody waits for. A store
    /// that becomes idle has all of its space back some time later, two segments at a time.
    fn tidy_log(&mut self, now: Timestamp) -> Result<()> {
        if !self.until_mark(now).is_zero() {
            return Ok(());
        }
        let has_more = self.log.reclaim_space()?;
        self.publish_log_size();
        self.unmarked_since = has_more.then_some(now);
        self.log.mark()
    }
}

/// See the module.
pub(crate) struct RaftPoller {
    /// Where everything comes from.
    pub mailbox: Arc<Mailbox<(RegionId, Input)>>,
    /// Where committed entries go.
    pub apply: Arc<ApplyPoller>,
    /// Tells the apply poller whether a peer waits for its report.
    pub reports_awaited: Arc<AtomicBool>,
    /// Answers with callbacks.
    pub completions: Arc<CompletionQueue>,
    /// Failures and published status.
    pub health: Arc<Health>,
    /// The round lock.
    pub state: Mutex<PollerState>,
}

/// What the round lock guards.
pub(crate) struct PollerState {
    /// All regions of this store.
    pub peers: Peers,
    /// How effects leave.
    pub io: PollerIo,
    /// Flushes for truncation.
    pub worker: Sender<WorkerJob>,
    /// Raft snapshots; none in a cluster of one.
    pub snapshots: Option<Arc<Snapshots>>,
    /// When ticks are due.
    pub clock: TickClock,
    /// What the rounds so far have left open.
    pub leftover: Leftover,
}

impl RaftPoller {
    /// Starts the thread; it ends when the mailbox is closed, and answers everyone before.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let poller = Arc::clone(self);
        thread::spawn("almadia-raft", move || match panics::catch(|| poller.run()) {
            Ok(()) => poller.close(),
            Err(error) => poller.fail(&error),
        })
    }

    /// The right to run rounds, if nobody has it. While it is held nobody is woken for new inputs; [`RoundGuard::run`]
    /// sees them.
    #[must_use]
    pub(crate) fn enter(&self) -> Option<RoundGuard<'_>> {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.mailbox.hold_wakeups();
        Some(RoundGuard { poller: self, state })
    }

    fn run(&self) -> Result<()> {
        let mut wait_max = Duration::ZERO;
        while self.mailbox.wait(wait_max) {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
            let mut guard = RoundGuard { poller: self, state: self.lock() };
            self.mailbox.hold_wakeups();
            wait_max = guard.catch(|guard| guard.round().map(|()| guard.state.wait_max()))?;
        }
        Ok(())
    }

    fn close(&self) {
        // A log that ends earlier at the next open was damaged meanwhile.
        if let Err(error) = self.lock().io.log.mark() {
            log::warn!("the end of the raft log could not be recorded: {error}");
        }
        self.end(&Error::new(Code::ShutdownInFlight), &Error::new(Code::Closed));
    }

    fn fail(&self, error: &Error) {
        self.health.poison(error.clone());
        let cause = self.health.poisoned().expect("poisoned above or before").clone();
        // The apply poller must not go on alone.
        self.apply.tasks.nudge();
        if let Some(transport) = &self.lock().io.transport {
            // Whoever forwarded writes here must not wait for answers that nobody gives any more.
            transport.close();
        }
        self.end(&in_flight_at(&cause), &poisoned_by(&cause));
    }

    /// Answers all that waits, and all that still comes until the mailbox is closed.
    fn end(&self, unknown: &Error, refused: &Error) {
        let mut state = self.lock();
        // A round that failed may have left some. The apply poller, which has failed too, tells their callers why.
        self.apply.tasks.push_all(std::mem::take(&mut state.io.tasks));
        deliver_rest(&mut state);
        for peer in state.peers.as_they_are() {
            peer.abandon(unknown, refused)
                .into_iter()
                .for_each(|(completion, answer)| completion.answer(answer));
        }
        let mut inputs = Vec::new();
        while self.mailbox.wait(Duration::MAX) {
            self.mailbox.take(&mut inputs);
            inputs.drain(..).for_each(|(_, input)| input.refuse(refused));
        }
    }

    fn lock(&self) -> MutexGuard<'_, PollerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run rounds, until it is dropped.
pub(crate) struct RoundGuard<'a> {
    poller: &'a RaftPoller,
    state: MutexGuard<'a, PollerState>,
}

impl RoundGuard<'_> {
    /// Runs one round on this thread, or a few. An error stops the store; the poller's own thread sees to that.
    pub(crate) fn run(mut self) {
        let wait_max = self.catch(|guard| {
            for _ in 0..ROUNDS_MAX {
                guard.round()?;
                if !guard.poller.mailbox.has_work() {
                    break;
                }
            }
            Ok(guard.state.wait_max())
        });
        if wait_max.is_ok_and(|wait_max| !wait_max.is_zero()) {
            return;
        }
        self.poller.mailbox.nudge();
    }

    /// Runs `body`. If it fails the store stops before the guard is dropped: nobody may go on with peers that are
    /// half-way through a round.
    fn catch<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let health = &self.poller.health;
        let result = panics::catch(|| body(self));
        // raft panics, or goes on, when it cannot read its log. Why it could not is the better error.
        let unreadable = self.state.io.log.read_failure().cloned();
        unreadable.map_or(result, Err).inspect_err(|error| health.poison(error.clone()))
    }

    fn round(&mut self) -> Result<()> {
        let Self { poller, state } = self;
        let state = &mut **state;
        if let Some(cause) = poller.health.poisoned() {
            return Err(cause.clone());
        }
        let mut inputs = Vec::new();
        poller.mailbox.take(&mut inputs);
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Round);
        // After the inputs are taken, so that a message is heard later than every tick that is owed (core/lease.rs,
        // rule 2).
        let now = now();
        let (ticks, again) = (state.clock.owed(now), std::mem::take(&mut state.leftover.more));
        let touched = round(&mut state.peers, Inputs { ticks, inputs, again }, now, &mut state.io)?;
        // Before the answers, so that whoever asks for the status after an answer finds it in there.
        poller.health.publish_all(touched.iter().map(|region| (*region, state.peers[region].status())));
        if !state.io.answers.is_empty() {
            poller.completions.answer_all(state.io.answers.drain(..));
        }
        touched.into_iter().for_each(|region| state.look_after(region));
        poller.reports_awaited.store(!state.leftover.awaiting.is_empty(), Ordering::SeqCst);
        if !state.leftover.awaiting.is_empty() {
            // A report that came before this was said came quietly.
            poller.mailbox.nudge_if_any();
        }
        poller.apply.take_over(state.io.tasks.drain(..));
        state.run_errands(ticks > 0);
        state.io.tidy_log(now)
    }
}

impl Drop for RoundGuard<'_> {
    fn drop(&mut self) {
        self.poller.mailbox.release_wakeups();
    }
}

impl PollerState {
    /// How long nothing needs to be done if nothing comes.
    fn wait_max(&self) -> Duration {
        let now = now();
        let next = self.clock.until_next(now).min(self.io.until_mark(now));
        if self.leftover.more.is_empty() { next } else { Duration::ZERO }
    }

    /// Passes on what the round left to do about raft snapshots.
    fn run_errands(&mut self, has_ticked: bool) {
        let errands = self.io.errands.drain(..);
        let Some(snapshots) = &self.snapshots else { return };
        if has_ticked {
            snapshots.tell_progress();
        }
        for job in errands.filter_map(|errand| snapshots.run(errand)) {
            // As in `look_after`.
            let _ = self.worker.send(WorkerJob::Snapshot(job));
        }
    }

    /// What a region that had a part in the round leaves to do.
    fn look_after(&mut self, region: RegionId) {
        let (peer, open) = (&self.peers[&region], &mut self.leftover);
        if peer.has_more_to_propose() {
            open.more.push(region);
        }
        if peer.awaits_report() {
            open.awaiting.insert(region);
        } else {
            open.awaiting.remove(&region);
        }
        if let Some(index) = peer.wants_flush()
            && open.flush_requested.insert(region, index) != Some(index)
        {
            // A worker that ended leaves the log longer than it need be, and the store is closing anyway.
            let _ = self.worker.send(WorkerJob::Flush(FlushRequest { region, index }));
        }
    }
}

/// Delivers the answers that a failed round still owed.
fn deliver_rest(state: &mut PollerState) {
    state.io.answers.drain(..).for_each(|(completion, answer)| completion.answer(answer));
}

/// What the rounds so far have left open.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// Regions that had more to do than a round would take.
    more: Vec<RegionId>,
    /// Regions in which something waits for an apply report.
    awaiting: BTreeSet<RegionId>,
    /// What the worker was told to flush, so that it is told once.
    flush_requested: BTreeMap<RegionId, LogIndex>,
}
