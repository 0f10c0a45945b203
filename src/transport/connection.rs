//! The life of the connection to one peer, as a state machine.
//!
//! Owns when to dial and when to dial again, when to look (to check whether an open connection still is open), and what
//! the core and the operator are told about all that. No lock, no clock and no socket: time is an argument, and whoever
//! has the socket says what came of each dial and look. What always holds:
//! - A connection that lasted is dialed again at once; otherwise a pause comes first. Pauses double, up to a bound,
//!   until a connection has lasted. A peer that connects to this member ends a pause.
//! - Connections and their ends are reported in turn, each once.
//! - After a gap in which a connection may have been closed unnoticed, nobody writes without a look.
//! - The operator is told that a peer cannot be reached once that has lasted: members are not started, nor restarted,
//!   all at the same moment.
//!
//! ```text
//!              dial due                opened
//!   Pausing ------------> Dialing -----------------> Open
//!      ^                     | failed                  | lost
//!      '---------------------+-------------------------'
//! ```

use std::time::Duration;

use super::direct::GAP_MAX;
use super::notices::{Notices, Topic};
use crate::time::Timestamp;

/// The first pause between two dials: a peer that restarts is soon back.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest: a peer that is away costs no more than two dials a second.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A look comes so many ticks after the last write. Longer than the pause between two heartbeats, each of which is
/// written after a look: so a connection that carries nothing else is watched without waking the sender thread.
const LOOK_TICKS: u32 = 3;

/// A connection that lasted longer was a good one: its loss is no reason to wait.
pub(super) const GOOD_AFTER: Duration = Duration::from_secs(1);

/// See the head of this file.
pub(super) struct Connection {
    phase: Phase,
    /// The next pause.
    pause: Duration,
    /// The peer has connected to this member, since the last pause and the last connection.
    is_hurried: bool,
    /// How long after the last write a look is due.
    look_interval: Duration,
    /// Since when there has been no connection.
    apart_since: Timestamp,
    /// How long that may last before the operator is told.
    patience: Duration,
    /// What is to be reported to the core.
    report: Option<Report>,
    notices: Notices,
}

enum Phase {
    Pausing { until: Timestamp },
    Dialing,
    Open(Open),
}

struct Open {
    since: Timestamp,
    /// When the last write began, by whatever thread.
    written_at: Timestamp,
    /// When to look whether the last write went into a connection that was closed already; `None` once done.
    look_due: Option<Timestamp>,
    looks: Looks,
}

/// How often a look is due while a connection is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Once after the last write, until there is another.
    AfterWrites,
    /// Again and again: what this member or the peer said about itself in the handshake may change.
    Always,
}

/// What the core is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// There is a connection.
    Connected,
    /// There is none, yet or any more.
    Disconnected,
    /// Messages were lost.
    Unreachable,
}

/// What is to be done about a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Dial; [`Connection::opened`] or [`Connection::failed`] is to follow.
    Dial,
    /// Look; if it is not open any more, [`Connection::lost`] is to follow.
    Look,
}

impl Connection {
    /// Not connected, which is to be reported, and to be dialed at once.
    pub(super) fn new(now: Timestamp, tick: Duration, patience: Duration) -> Self {
        Self {
            phase: Phase::Pausing { until: now },
            pause: PAUSE_MIN,
            is_hurried: false,
            look_interval: LOOK_TICKS * tick.max(GAP_MAX),
            apart_since: now,
            patience,
            report: Some(Report::Disconnected),
            notices: Notices::default(),
        }
    }

    /// What is to be reported, once.
    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.report.take()
    }

    /// What is to be done now.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Due> {
        match &mut self.phase {
            Phase::Pausing { until } => {
                let is_hurried = std::mem::take(&mut self.is_hurried);
                let is_due = is_hurried || now >= *until;
                is_due.then(|| {
                    self.phase = Phase::Dialing;
                    Due::Dial
                })
            }
            Phase::Dialing => None,
            Phase::Open(open) => open.look_due.is_some_and(|due| now >= due).then(|| {
                open.look_due = open.next_look(now, self.look_interval);
                Due::Look
            }),
        }
    }

    /// When the next thing is to be done.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Pausing { until } => Some(*until),
            Phase::Dialing => None,
            Phase::Open(open) => open.look_due,
        }
    }

    /// A dial succeeded.
    pub(super) fn opened(&mut self, now: Timestamp, looks: Looks) {
        debug_assert!(matches!(self.phase, Phase::Dialing) && self.report.is_none());
        // Direct writes may come at any moment from now on.
        let look_due = Some(now + self.look_interval);
        self.phase = Phase::Open(Open { since: now, written_at: now, look_due, looks });
        self.report = Some(Report::Connected);
        self.notices.dialed();
    }

    /// A dial failed, for the reason `topic`. True when the operator is to be told.
    pub(super) fn failed(&mut self, now: Timestamp, topic: Topic) -> bool {
        debug_assert!(matches!(self.phase, Phase::Dialing));
        self.pause_from(now);
        let is_early = topic == Topic::Dial && now.since(self.apart_since) < self.patience;
        !is_early && self.is_news(topic)
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, now: Timestamp) {
        let Phase::Open(open) = &self.phase else { panic!("only an open connection is lost") };
        debug_assert!(self.report.is_none(), "it was reported before anything else was done with it");
        if now.since(open.since) > GOOD_AFTER {
            self.pause = PAUSE_MIN;
            self.phase = Phase::Pausing { until: now };
        } else {
            self.pause_from(now);
        }
        // The peer's own connection may be lost as well: if both sides lost one connection after another, neither would
        // ever pause.
        self.is_hurried = false;
        self.apart_since = now;
        self.report = Some(Report::Disconnected);
    }

    fn pause_from(&mut self, now: Timestamp) {
        self.phase = Phase::Pausing { until: now + self.pause };
        self.pause = PAUSE_MAX.min(2 * self.pause);
    }

    /// The peer has just connected to this member, so it can be reached: ends this pause, or else the next one, but not
    /// one that follows a connection which is open now.
    pub(super) fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// The sender thread is about to write. Returns how long ago the last write began.
    pub(super) fn writes(&mut self, now: Timestamp) -> Duration {
        let Phase::Open(open) = &mut self.phase else { panic!("only an open connection is written on") };
        let gap = now.since(open.written_at);
        open.written_at = now;
        open.look_due = Some(now + self.look_interval);
        gap
    }

    /// How long ago the last write began; `None` without a connection.
    pub(super) fn gap(&self, now: Timestamp) -> Option<Duration> {
        match &self.phase {
            Phase::Open(open) => Some(now.since(open.written_at)),
            Phase::Pausing { .. } | Phase::Dialing => None,
        }
    }

    /// A caller is about to write. That does not postpone the next look, so that there is one in every interval, unless
    /// the caller has just looked itself. True when no look was due, so that the sender thread does not know of it.
    pub(super) fn writes_directly(&mut self, now: Timestamp, has_looked: bool) -> bool {
        let Phase::Open(open) = &mut self.phase else { return false };
        let is_new = open.look_due.is_none();
        open.written_at = now;
        if has_looked {
            open.look_due = Some(now + self.look_interval);
        }
        is_new
    }

    /// True while there is a connection.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether the operator is to be told about `topic`.
    pub(super) fn is_news(&mut self, topic: Topic) -> bool {
        self.notices.is_news(topic)
    }

    /// What the operator was told.
    #[cfg(test)]
    pub(super) fn notices(&self) -> &Notices {
        &self.notices
    }
}

impl Open {
    /// When the look after the last write is due, if that is still to come. Otherwise none is needed: after so long a
    /// gap whoever writes looks before.
    fn next_look(&self, now: Timestamp, interval: Duration) -> Option<Timestamp> {
        if self.looks == Looks::Always {
            return Some(now + interval);
        }
        let due = self.written_at + interval;
        (due > now).then_some(due)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
