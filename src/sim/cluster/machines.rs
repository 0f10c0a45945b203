//! Machines that fail and restart.
//!
//! Owns the end of a member's boot and the start of its next: what a crash leaves of the engine, which connections it
//! breaks, when the machine restarts. What always holds: only the disk survives.

use super::{Cluster, Event, Presence, new_clock};
use crate::core::input::Input;
use crate::core::planted::{self, Fault};
use crate::sim::member::End;
use crate::sim::plan::SECOND;
use crate::types::{BOOTSTRAP_INDEX, NEWEST_LEVEL, NodeId};

impl Cluster {
    /// Cuts a member's power.
    pub(crate) fn crash(&mut self, host: usize) {
        if self.hosts[host].member.is_running() {
            self.trace.say(|| format!("{} crashes", host + 1));
            self.end(host, &End::Crash);
        }
    }

    /// Ends a member of the build before; it comes back as one of the newest.
    pub(crate) fn upgrade(&mut self, host: usize) {
        if self.hosts[host].member.known_level() < NEWEST_LEVEL {
            self.trace.say(|| format!("{} is upgraded", host + 1));
            self.crash(host);
            self.hosts[host].member.run_build(NEWEST_LEVEL);
            (self.hosts[host].is_yet_to_be_upgraded, self.hosts[host].went_back) = (false, false);
        }
    }

    /// Upgrades a member, but not before all others know of those that went back that they did: until then these count as
    /// upgraded, and the level would rise with the last of the others. That is what operators are asked to wait for.
    pub(super) fn upgrade_in_turn(&mut self, host: usize) {
        let is_unknown = |other: usize| {
            other != host && self.hosts[other].went_back && !self.is_introduced_everywhere(other)
        };
        if (0..self.hosts.len()).any(is_unknown) {
            let wait = self.plan.election_timeout();
            return self.schedule(wait, Event::Upgrade(host));
        }
        self.upgrade(host);
    }

    /// Ends a member of the newest build, which comes back as one of the build before, while another member was not
    /// upgraded yet: so the level has not risen, and no log has what that build cannot read.
    pub(super) fn go_back(&mut self, host: usize) {
        let is_newest = self.hosts[host].member.known_level() == NEWEST_LEVEL;
        let may_go_back = self.hosts.iter().any(|other| other.is_yet_to_be_upgraded);
        if is_newest && may_go_back && host < self.plan.members {
            self.trace.say(|| format!("{} goes back to the build before", host + 1));
            self.crash(host);
            let before = self.plan.level_before();
            self.hosts[host].member.run_build(before);
            self.hosts[host].went_back = true;
            self.went_back += 1;
        }
    }

    /// Whether the boot of `host` that runs has introduced itself to every other member.
    fn is_introduced_everywhere(&self, host: usize) -> bool {
        let member = &self.hosts[host].member;
        let knows = |other: usize| self.hosts[other].introduced[host].0 == member.boot();
        member.is_running() && (0..self.plan.members).all(|other| other == host || knows(other))
    }

    /// Cuts a member's power and corrupts the tail of its log. This happens to one member at a time, where the others
    /// are enough to elect a leader, and while each of them has its entire log: entries lost by a majority, or
    /// preceding the start of the leader's log, could not be recovered from anyone.
    pub(crate) fn lose_end(&mut self, host: usize) {
        if self.hosts.len() < 3 || self.lacks_an_end() || self.has_a_log_begun_anew() {
            return;
        }
        self.crash(host);
        let (frames, machine) = (1 + self.random.index(4), &mut self.hosts[host]);
        if machine.member.lose_end(frames) {
            machine.lost_end_in = machine.member.boot();
            self.ledger.on_lost_end(host as u64 + 1);
            self.trace.say(|| format!("{} loses the end of its log", host + 1));
        }
    }

    /// Whether any member's log lacks its tail.
    pub(crate) fn lacks_an_end(&self) -> bool {
        let lacks = |region| self.hosts.iter().any(|host| host.member.log().lacks_end(region));
        self.regions.iter().any(|&region| lacks(region))
    }

    /// Whether a member's log starts after the first entry of all. In runs that lose log tails, logs are not truncated,
    /// so such a log lost more than its engine had.
    fn has_a_log_begun_anew(&self) -> bool {
        let first = BOOTSTRAP_INDEX.get();
        let begins_late = |region| self.hosts.iter().any(|host| host.member.log().truncated(region) > first);
        self.regions.iter().any(|&region| begins_late(region))
    }

    pub(super) fn end(&mut self, host: usize, end: &End) {
        if let End::Core(error) = end {
            self.ledger.note(Err(format!("member {}: its core reports {error:?}", host + 1)));
        }
        let unflushed = self.hosts[host].member.engine().unflushed();
        let kept = if self.random.percent(50) { 0 } else { self.random.within(0..unflushed as u64 + 1) };
        self.trace.say(|| format!("{} keeps {kept} of {unflushed} engine writes", host + 1));
        self.hosts[host].member.crash_keeping(kept as usize);
        self.ended = Some(host);
        if planted::has(Fault::CompletionTwiceAtClose) {
            self.calls.answer_again(host);
        }
        self.check(host);
        self.take_answers();
        self.lose_connections(host);
        let down = self.random.wait(self.plan.fault_length_max / 2);
        self.schedule(down, Event::Restart(host));
    }

    pub(super) fn lose_connections(&mut self, host: usize) {
        let count = self.hosts.len();
        for other in (0..count).filter(|&other| other != host) {
            if self.random.percent(50) {
                self.break_connection(other, host);
            }
        }
    }

    /// Drops everything in flight on a link; the sender is notified.
    pub(crate) fn break_connection(&mut self, from: usize, to: usize) {
        self.links.break_connection((from, to));
        let node = NodeId(to as u64 + 1);
        for &region in &self.regions {
            self.hosts[from].member.feed_to(region, Input::Unreachable(node));
            self.hosts[from].member.feed_to(region, Input::Disconnected(node));
            self.hosts[from].member.feed_to(region, Input::Connected(node));
        }
        self.schedule_round(from);
    }

    pub(super) fn restart(&mut self, host: usize) {
        let may_start = !self.hosts[host].stays_down && self.hosts[host].presence == Presence::Here;
        if !may_start || self.hosts[host].member.is_running() {
            return;
        }
        self.trace.say(|| format!("{} restarts", host + 1));
        self.trace.mark(!(host as u64));
        let local = self.random.below(1_000 * SECOND);
        let machine = &mut self.hosts[host];
        machine.clock = new_clock(&self.plan, self.now, local);
        machine.member.restart();
        machine.introduced.fill((0, false));
        self.begin_ticking(host);
        self.restart_timer(host);
        self.check(host);
    }

    /// Starts it now, whatever it is waiting for.
    pub(crate) fn bring_back(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        (machine.stays_down, machine.paused_until) = (false, self.now);
        self.restart(host);
        self.restart_timer(host);
    }

    pub(super) fn begin_ticking(&mut self, host: usize) {
        for &region in &self.regions {
            let member = &mut self.hosts[host].member;
            let peer = member.peer_of(region).expect("it was just started");
            self.calls.on_start(host, region, peer.status().commit_index.get());
            if peer.is_only_voter() {
                member.feed_to(region, Input::Campaign);
            }
        }
        let wait = self.hosts[host].clock.next_tick(self.now) - self.now;
        self.schedule(wait, Event::Wake(host));
        let boot = self.hosts[host].member.boot();
        for other in (0..self.hosts.len()).filter(|&other| other != host) {
            self.schedule(self.plan.network.delay.end, Event::Connect { link: (host, other), boot });
            // It has forgotten the boots of the others, too.
            let known = self.hosts[other].member.boot();
            self.schedule(self.plan.network.delay.end, Event::Connect { link: (other, host), boot: known });
        }
    }
}
