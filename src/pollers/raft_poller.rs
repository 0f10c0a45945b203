//! Who turns the crank.
//!
//! Owns the peers of the store, the round's connection to the world, and the thread "almadia-raft". The thread turns
//! the crank whenever there is something to do, and ticks. Another internal thread that brings something while nobody
//! is at work may turn it itself ([`RaftPoller::enter`]): the wake-up it saves costs more than a small round. What
//! always holds: one thread turns at a time, and takes what waits while it holds the turn, so that inputs are handled
//! in their order; the clock is read once a round; ticks that are owed go before everything else; after an error no
//! message leaves and nothing is promised any more, and everyone who waits or still comes is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::completion::queue::CompletionQueue;
use crate::completion::{Completion, Position};
use crate::core::applier::ApplyTask;
use crate::core::input::Input;
use crate::core::peer::Answer;
use crate::core::ports::{LogWrite, PeerMessage};
use crate::core::round::{Inputs, Peers, RoundIo, round};
use crate::core::tick_clock::TickClock;
use crate::error::{Code, Error, Result};
use crate::metrics::Metrics;
use crate::pollers::apply_poller::ApplyPoller;
use crate::pollers::health::{Health, in_flight_at, poisoned_by};
use crate::pollers::mailbox::Mailbox;
use crate::pollers::worker::FlushRequest;
use crate::storage::log_store::LogStore;
use crate::time::{Timestamp, now};
use crate::transport::Transport;
use crate::types::{LogIndex, RegionId};
use crate::{panics, thread};

/// A thread with other things to do turns at most so often before it leaves the rest to the poller's own.
const ROUNDS_MAX: usize = 3;

/// What was synced may be missing from the record of the log's end for so long. Ten more syncs a second while writes come
/// and none when none do, against half a per cent of the syncs of a busy member.
const UNMARKED_MAX: Duration = Duration::from_millis(100);

/// How a round reaches the world.
pub struct PollerIo {
    /// The raft log.
    pub log: Arc<LogStore>,
    /// Other members; none in a cluster of one.
    pub transport: Option<Arc<Transport>>,
    /// How long a sync takes.
    pub metrics: Arc<Metrics>,
    /// A sync that takes so long is worth a warning.
    pub slow_sync: Duration,
    /// Since when the log's end is not on record.
    pub unmarked_since: Option<Timestamp>,
    /// What the round hands to the applier, at its end.
    pub tasks: Vec<ApplyTask>,
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

    fn answer(&mut self, completion: Completion, answer: Result<Position>) {
        self.answers.push((completion, answer));
    }
}

impl PollerIo {
    /// How long the log's end may stay off the record.
    fn until_mark(&self, now: Timestamp) -> Duration {
        self.unmarked_since.map_or(Duration::MAX, |since| (since + UNMARKED_MAX).since(now))
    }

    /// Records the log's end when that is due: behind everything that somebody waits for.
    fn mark_in_time(&mut self, now: Timestamp) -> Result<()> {
        if !self.until_mark(now).is_zero() {
            return Ok(());
        }
        self.unmarked_since = None;
        self.log.mark()
    }
}

/// See the module.
pub struct RaftPoller {
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
    /// What belongs to whoever has the turn.
    pub crank: Mutex<Crank>,
}

/// What belongs to whoever has the turn.
pub struct Crank {
    /// All regions of this store.
    pub peers: Peers,
    /// How effects leave.
    pub io: PollerIo,
    /// Flushes for truncation.
    pub worker: Sender<FlushRequest>,
    /// When ticks are due.
    pub clock: TickClock,
    /// What the rounds so far have left open.
    pub open: Open,
}

impl RaftPoller {
    /// Starts the thread; it ends when the mailbox is closed, and answers everyone before.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let poller = Arc::clone(self);
        thread::spawn("almadia-raft", move || match panics::catch(|| poller.run()) {
            Ok(()) => poller.close(),
            Err(error) => poller.fail(&error),
        })
    }

    /// The turn, if nobody has it. While it is held nobody is woken for what comes; [`Turn::turn`] sees it.
    #[must_use]
    pub fn enter(&self) -> Option<Turn<'_>> {
        let crank = match self.crank.try_lock() {
            Ok(crank) => crank,
            Err(TryLockError::Poisoned(crank)) => crank.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.mailbox.attend();
        Some(Turn { poller: self, crank })
    }

    fn run(&self) -> Result<()> {
        let mut wait_max = Duration::ZERO;
        while self.mailbox.wait(wait_max) {
            #[cfg(test)]
            thread::planted::meet(thread::planted::Place::Loop);
            let mut turn = Turn { poller: self, crank: self.lock() };
            self.mailbox.attend();
            wait_max = turn.catch(|turn| turn.round().map(|()| turn.crank.wait_max()))?;
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
        let mut crank = self.lock();
        // A round that failed may have left some; a task that is dropped answers "unknown".
        settle_round(&mut crank);
        for peer in crank.peers.values_mut() {
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

    fn lock(&self) -> MutexGuard<'_, Crank> {
        self.crank.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to turn the crank, until it is dropped.
pub struct Turn<'a> {
    poller: &'a RaftPoller,
    crank: MutexGuard<'a, Crank>,
}

impl Turn<'_> {
    /// Turns the crank on this thread, once or a few times. What goes wrong stops the store; the poller's own thread sees to it.
    pub fn turn(mut self) {
        let turned = self.catch(|turn| {
            for _ in 0..ROUNDS_MAX {
                turn.round()?;
                if !turn.poller.mailbox.is_loud() {
                    break;
                }
            }
            Ok(turn.crank.wait_max())
        });
        if turned.is_ok_and(|wait_max| !wait_max.is_zero()) {
            return;
        }
        self.poller.mailbox.nudge();
    }

    /// Runs `body`. If it fails the store stops before the turn is given up: nobody may go on with peers that are half-way
    /// through a round.
    fn catch<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let health = &self.poller.health;
        panics::catch(|| body(self)).inspect_err(|error| health.poison(error.clone()))
    }

    fn round(&mut self) -> Result<()> {
        let Self { poller, crank } = self;
        let crank = &mut **crank;
        if let Some(cause) = poller.health.poisoned() {
            return Err(cause.clone());
        }
        let mut inputs = Vec::new();
        poller.mailbox.take(&mut inputs);
        #[cfg(test)]
        thread::planted::meet(thread::planted::Place::Turn);
        // After the inputs are taken, so that a message is heard later than every tick that is owed (core/lease.rs, rule 2).
        let now = now();
        let (ticks, again) = (crank.clock.owed(now), std::mem::take(&mut crank.open.more));
        let turned = round(&mut crank.peers, Inputs { ticks, inputs, again }, now, &mut crank.io);
        if let Ok(touched) = &turned {
            // Before the answers, so that whoever asks for the status after an answer finds it in there.
            poller.health.publish_all(touched.iter().map(|region| (*region, crank.peers[region].status())));
        }
        if !crank.io.answers.is_empty() {
            poller.completions.burst(crank.io.answers.drain(..));
        }
        let touched = turned?;
        touched.into_iter().for_each(|region| crank.look_after(region));
        poller.reports_awaited.store(!crank.open.awaiting.is_empty(), Ordering::SeqCst);
        if !crank.open.awaiting.is_empty() {
            // A report that came before this was said came quietly.
            poller.mailbox.nudge_if_any();
        }
        poller.apply.take_over(crank.io.tasks.drain(..));
        crank.io.mark_in_time(now)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.poller.mailbox.leave();
    }
}

impl Crank {
    /// How long nothing needs to be done if nothing comes.
    fn wait_max(&self) -> Duration {
        let now = now();
        let next = self.clock.until_next(now).min(self.io.until_mark(now));
        if self.open.more.is_empty() { next } else { Duration::ZERO }
    }

    /// What a region that had a part in the round leaves to do.
    fn look_after(&mut self, region: RegionId) {
        let (peer, open) = (&self.peers[&region], &mut self.open);
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
            let _ = self.worker.send(FlushRequest { region, index });
        }
    }
}

/// Delivers what a failed round still owed.
fn settle_round(crank: &mut Crank) {
    crank.io.tasks.clear();
    crank.io.answers.drain(..).for_each(|(completion, answer)| completion.answer(answer));
}

/// What the rounds so far have left open.
#[derive(Debug, Default)]
pub struct Open {
    /// Regions that had more to do than a round would take.
    more: Vec<RegionId>,
    /// Regions in which something waits for an apply report.
    awaiting: BTreeSet<RegionId>,
    /// What the worker was told to flush, so that it is told once.
    flush_requested: BTreeMap<RegionId, LogIndex>,
}
