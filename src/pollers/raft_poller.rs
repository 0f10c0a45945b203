//! The thread that turns the crank.
//!
//! Owns "almadia-raft", the peers of the store and the round's connection to the world. What always holds: the
//! clock is read once a round; ticks that are owed go before everything else; after an error no message leaves and
//! nothing is promised any more, and everyone who waits or still comes is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::completion::{Completion, CompletionQueue, Position};
use crate::core::applier::ApplyTask;
use crate::core::input::Input;
use crate::core::peer::Answer;
use crate::core::ports::{LogWrite, PeerMessage};
use crate::core::round::{Inputs, Peers, RoundIo, round};
use crate::error::{Code, Error, Result};
use crate::pollers::health::{Health, in_flight_at, poisoned_by};
use crate::pollers::mailbox::Mailbox;
use crate::pollers::worker::FlushOrder;
use crate::storage::log_store::LogStore;
use crate::time::{Timestamp, now};
use crate::transport::Transport;
use crate::types::{LogIndex, RegionId};
use crate::{panics, thread};

/// How a round reaches the world.
pub struct PollerIo {
    /// The raft log.
    pub log: Arc<LogStore>,
    /// Other members; none in a cluster of one.
    pub transport: Option<Arc<Transport>>,
    /// The apply poller.
    pub apply: Arc<Mailbox<ApplyTask>>,
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
        self.log.append(writes)
    }

    fn apply(&mut self, task: ApplyTask) {
        self.apply.push_all([task]);
    }

    fn answer(&mut self, completion: Completion, answer: Result<Position>) {
        self.answers.push((completion, answer));
    }
}

/// See the module.
pub struct RaftPoller {
    /// Where everything comes from.
    pub mailbox: Arc<Mailbox<(RegionId, Input)>>,
    /// All regions of this store.
    pub peers: Peers,
    /// How effects leave.
    pub io: PollerIo,
    /// Tells the apply poller whether a peer waits for its report.
    pub reports_awaited: Arc<AtomicBool>,
    /// Answers with callbacks.
    pub completions: Arc<CompletionQueue>,
    /// Flushes for truncation.
    pub worker: Sender<FlushOrder>,
    /// Failures and published status.
    pub health: Arc<Health>,
    /// Length of a tick.
    pub tick: Duration,
    /// More owed ticks than this are forgotten: an election timeout that passed in a pause need not pass twice.
    pub owed_ticks_max: u32,
}

impl RaftPoller {
    /// Starts the thread; it ends when its mailbox is closed, and answers everyone before.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub fn start(mut self) -> io::Result<JoinHandle<()>> {
        thread::spawn("almadia-raft", move || match panics::catch(|| self.run()) {
            Ok(()) => self.end(&Error::new(Code::ShutdownInFlight), &Error::new(Code::Closed)),
            Err(error) => self.fail(&error),
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut clock = TickClock { next: now() + self.tick, tick: self.tick, owed_max: self.owed_ticks_max };
        let mut open = Open::default();
        let mut inputs = Vec::new();
        while self.mailbox.take_all(&mut inputs, open.patience(&clock)) {
            if let Some(cause) = self.health.poisoned() {
                let refused = poisoned_by(cause);
                inputs.drain(..).for_each(|(_, input)| refuse(input, &refused));
                return Err(cause.clone());
            }
            let now = now();
            let (inputs, again) = (std::mem::take(&mut inputs), std::mem::take(&mut open.more));
            let fed = Inputs { ticks: clock.owed(now), inputs, again };
            let turned = round(&mut self.peers, fed, now, &mut self.io);
            self.deliver_answers();
            let touched = turned?;
            self.health.publish_all(touched.iter().map(|region| (*region, self.peers[region].status())));
            touched.into_iter().for_each(|region| self.look_after(region, &mut open));
            self.reports_awaited.store(!open.awaiting.is_empty(), Ordering::SeqCst);
        }
        Ok(())
    }

    fn deliver_answers(&mut self) {
        if !self.io.answers.is_empty() {
            self.completions.burst(self.io.answers.drain(..));
        }
    }

    /// What a region that had a part in the round leaves to do.
    fn look_after(&self, region: RegionId, open: &mut Open) {
        let peer = &self.peers[&region];
        if peer.has_more_to_propose() {
            open.more.push(region);
        }
        if peer.awaits_report() {
            open.awaiting.insert(region);
        } else {
            open.awaiting.remove(&region);
        }
        if let Some(index) = peer.wants_flush()
            && open.ordered.insert(region, index) != Some(index)
        {
            // A worker that ended leaves the log longer than it need be, and the store is closing anyway.
            let _ = self.worker.send(FlushOrder { region, index });
        }
    }

    fn fail(&mut self, error: &Error) {
        self.health.poison(error.clone());
        let cause = self.health.poisoned().expect("poisoned above or before").clone();
        // The apply poller must not go on alone.
        self.io.apply.nudge();
        self.end(&in_flight_at(&cause), &poisoned_by(&cause));
    }

    /// Answers all that waits, and all that still comes until the mailbox is closed.
    fn end(&mut self, unknown: &Error, refused: &Error) {
        for peer in self.peers.values_mut() {
            peer.abandon(unknown, refused)
                .into_iter()
                .for_each(|(completion, answer)| completion.answer(answer));
        }
        let mut inputs = Vec::new();
        while self.mailbox.take_all(&mut inputs, Duration::MAX) {
            inputs.drain(..).for_each(|(_, input)| refuse(input, refused));
        }
    }
}

/// What the rounds so far have left open.
#[derive(Default)]
struct Open {
    /// Regions that had more to do than a round would take.
    more: Vec<RegionId>,
    /// Regions in which something waits for an apply report.
    awaiting: BTreeSet<RegionId>,
    /// What the worker was told to flush, so that it is told once.
    ordered: BTreeMap<RegionId, LogIndex>,
}

impl Open {
    /// How long to wait for inputs.
    fn patience(&self, clock: &TickClock) -> Duration {
        if self.more.is_empty() { clock.until_next(now()) } else { Duration::ZERO }
    }
}

/// Answers what never reached a peer.
fn refuse(input: Input, refused: &Error) {
    match input {
        Input::Propose(propose) => propose.completion.answer(Err(refused.clone())),
        Input::Read(read) | Input::LocalRead(read) => read.completion.answer(Err(refused.clone())),
        Input::Transfer(request) => request.completion.answer(Err(refused.clone())),
        _ => {}
    }
}

struct TickClock {
    next: Timestamp,
    tick: Duration,
    owed_max: u32,
}

impl TickClock {
    fn until_next(&self, now: Timestamp) -> Duration {
        self.next.since(now)
    }

    /// Ticks due at `now`.
    fn owed(&mut self, now: Timestamp) -> u32 {
        if now < self.next {
            return 0;
        }
        let late = now.since(self.next).as_nanos() / self.tick.as_nanos();
        let owed = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        self.next = if owed > self.owed_max { now + self.tick } else { self.next + self.tick * owed };
        owed.min(self.owed_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_nanos(10);

    #[test]
    fn every_elapsed_tick_is_owed_once() {
        let mut clock = TickClock { next: Timestamp(100), tick: TICK, owed_max: 30 };

        assert_eq!(clock.owed(Timestamp(99)), 0);
        assert_eq!(clock.owed(Timestamp(100)), 1);
        assert_eq!(clock.owed(Timestamp(109)), 0);
        assert_eq!(clock.owed(Timestamp(135)), 3);
        assert_eq!(clock.until_next(Timestamp(135)), Duration::from_nanos(5));
    }

    #[test]
    fn a_long_pause_owes_no_more_than_its_bound() {
        let mut clock = TickClock { next: Timestamp(100), tick: TICK, owed_max: 30 };

        assert_eq!(clock.owed(Timestamp(1_000_000)), 30);
        assert_eq!(clock.owed(Timestamp(1_000_000)), 0);
    }
}
