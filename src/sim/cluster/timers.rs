//! The timer threads of the members.
//!
//! Owns when each timer thread checks its member's open calls, and when the simulator checks that all were answered in
//! time. What always holds: a timer is paused with its machine, and for no other reason; its punctuality is checked by
//! its member's clock, and only if it had time to run.

use std::time::Duration;

use super::{Cluster, Event, Host};
use crate::pollers::timer::PAUSE;
use crate::sim::calls::LATE_MAX;
use crate::time::Timestamp;

/// A timer thread runs at most this much late.
const LATENESS_MAX: u64 = 2_000_000;

/// The timer thread of one host. Times are true times.
#[derive(Debug, Default)]
pub(crate) struct HostTimer {
    /// When it checks next; none while no deadline is near.
    due: Option<u64>,
    /// It does not check again before this time.
    rests_until: u64,
    /// When its clock was last changed, or its member started.
    disturbed: u64,
}

impl Cluster {
    /// Schedules the timer of `host` for the next deadline, at the current rate of its clock.
    pub(super) fn schedule_timer(&mut self, host: usize) {
        let Host { member, clock, timer, .. } = &self.hosts[host];
        let Some(earliest) = member.deadlines().map(|deadlines| deadlines.earliest()) else { return };
        if earliest == Timestamp::NEVER {
            return;
        }
        let late = self.lateness.below(LATENESS_MAX);
        let at = clock.true_time(self.now, earliest.0).max(timer.rests_until) + late;
        if timer.due.is_none_or(|due| at < due) {
            self.hosts[host].timer.due = Some(at);
            self.schedule(at - self.now, Event::Timer(host));
        }
    }

    pub(super) fn run_timer(&mut self, host: usize) {
        let now = self.now;
        let Host { member, clock, timer, paused_until, .. } = &mut self.hosts[host];
        if timer.due != Some(now) {
            // It was rescheduled and has already checked earlier than first planned.
            return;
        }
        if *paused_until > now {
            timer.due = Some(*paused_until);
            let wait = *paused_until - now;
            return self.schedule(wait, Event::Timer(host));
        }
        timer.due = None;
        timer.rests_until = now + PAUSE.as_nanos() as u64;
        member.answer_late(Timestamp(clock.local(now)));
        self.schedule_timer(host);
    }

    /// The clock of `host` has changed its rate or time.
    pub(crate) fn clock_changed(&mut self, host: usize) {
        self.hosts[host].timer.disturbed = self.now;
        self.schedule_timer(host);
    }

    /// The machine of `host` resumes, or its member starts.
    pub(super) fn restart_timer(&mut self, host: usize) {
        self.hosts[host].timer.due = None;
        self.clock_changed(host);
    }

    /// Checks that every call was answered by its deadline, if its timer had time to run.
    pub(super) fn judge_deadlines(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            let awake_since = host.paused_until.max(host.timer.disturbed);
            if self.now > awake_since + LATE_MAX.as_nanos() as u64 {
                let check = self.calls.nothing_is_overdue(at, host.local(self.now));
                self.ledger.note(check);
            }
        }
        let tick: Duration = self.plan.setup.tick;
        self.schedule(tick.as_nanos() as u64, Event::Judge);
    }
}
