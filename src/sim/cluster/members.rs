//! A member's execution in virtual time.
//!
//! Owns when a member of a cluster runs a round, applies, flushes and receives messages, and what is checked
//! afterwards. What always holds: a paused member does nothing; a message sent after a sync leaves only when that sync
//! is done.

use bytes::Bytes;
use raft::eraftpb::MessageType;

use super::observer::Observer;
use super::{Cluster, Event, Host, Presence};
use crate::core::applier::Slice;
use crate::core::input::{Input, Introduction};
use crate::core::peer::Peer;
use crate::core::ports::PeerMessage;
use crate::sim::chosen::CallId;
use crate::sim::disk::digest;
use crate::sim::faults::{cut_off_sender, lose, lose_target};
use crate::sim::invariants::Check;
use crate::sim::member::End;
use crate::sim::network::{self, describe, of_raft};
use crate::time::Timestamp;
use crate::transport::protocol::Protocol;
use crate::types::RegionId;

/// How many messages of each sort are remembered for replay.
const REMEMBERED: usize = 60;

impl Cluster {
    pub(super) fn wake(&mut self, host: usize) {
        let next_turn = self.hosts[host].next_turn();
        if next_turn > self.now {
            return self.schedule(next_turn - self.now, Event::Wake(host));
        }
        if !self.hosts[host].member.is_running() {
            return;
        }
        self.run_round(host);
        let wait = self.hosts[host].clock.next_tick(self.now) - self.now;
        let late = self.random.within(0..self.pace.think_max);
        self.schedule(wait + late, Event::Wake(host));
    }

    pub(super) fn round(&mut self, host: usize) {
        let next_turn = self.hosts[host].next_turn();
        if next_turn > self.now {
            return self.schedule(next_turn - self.now, Event::Round(host));
        }
        self.hosts[host].round_is_due = false;
        self.run_round(host);
    }

    pub(super) fn run_round(&mut self, host: usize) {
        let now = self.now;
        let Host { member, clock, .. } = &mut self.hosts[host];
        if !member.is_running() {
            return;
        }
        let local = clock.local(now);
        let owed = clock.owed_ticks(now);
        member.owe_ticks(owed);
        if !member.has_inputs() && !member.has_more_to_propose() {
            return;
        }
        self.trace.say(|| format!("{} turns, {owed} ticks", host + 1));
        self.trace.mark(host as u64);
        let mut observer = Observer { ledger: &mut self.ledger, trace: &mut self.trace };
        let outcome = member.run_round(Timestamp(local), &mut observer);
        let took = self.send(host, outcome.sent, outcome.syncs);
        self.hosts[host].busy_until = now + took;
        for &region in &self.regions {
            if self.hosts[host].member.peer_of(region).is_some_and(Peer::is_installing) {
                self.calls.on_install(host, region);
            }
        }
        self.run_errands(host, outcome.errands);
        self.after_round(host, outcome.end);
    }

    pub(super) fn after_round(&mut self, host: usize, end: Option<End>) {
        if let Some(end) = end {
            return self.end(host, &end);
        }
        self.check(host);
        let member = &self.hosts[host].member;
        if member.has_more_to_propose() {
            self.schedule_round(host);
        }
        if self.hosts[host].member.has_to_apply() {
            self.schedule_apply(host);
        }
        if !self.hosts[host].flush_is_due && self.hosts[host].member.wants_flush().is_some() {
            self.hosts[host].flush_is_due = true;
            let wait = self.random.within(0..self.pace.flush_max);
            self.schedule(wait, Event::FlushWanted(host));
        }
    }

    /// Sends the messages of a round, each delayed by the syncs before it. Returns how long the syncs took.
    fn send(&mut self, host: usize, sent: Vec<(PeerMessage, u32)>, syncs: u32) -> u64 {
        let ends: Vec<_> = (0..syncs).map(|_| self.sync_time(host)).collect();
        let took = |after: u32| ends[..after as usize].iter().sum::<u64>();
        for (message, after) in &sent {
            self.send_message(host, message, took(*after));
        }
        took(syncs)
    }

    /// The version of the protocol that both ends of a link know.
    fn spoken_on(&self, (from, to): (usize, usize)) -> Protocol {
        let level = |host: usize| self.hosts[host].member.known_level();
        Protocol::of_level(level(from).min(level(to)))
    }

    fn sync_time(&mut self, host: usize) -> u64 {
        let stall = self.random.within(0..self.hosts[host].sync_delay);
        stall + self.random.within(self.pace.sync.clone())
    }

    fn send_message(&mut self, host: usize, message: &PeerMessage, delay: u64) {
        let link = (host, message.to().get() as usize - 1);
        if link.1 >= self.hosts.len() || !self.may_talk(link) {
            return;
        }
        let bytes = network::encode(message, self.spoken_on(link));
        self.trace.mark(digest(&bytes));
        self.remember(link, message, &bytes);
        let late = self.lateness(message).unwrap_or_default();
        if late > 0 && self.random.percent(70) {
            let timeout_now = type_of(message) == Some(MessageType::MsgTimeoutNow);
            return self.send_late(link, delay + late, bytes, timeout_now);
        }
        let delay = delay + late;
        let (connection, boot) = (self.links.connection(link), self.hosts[link.0].member.boot());
        for arrival in self.links.arrivals(link, self.now + delay, &mut self.random) {
            let bytes = bytes.clone();
            self.schedule(arrival - self.now, Event::Deliver { link, connection, boot, bytes });
        }
    }

    /// Messages that skip or grant a vote are dangerous when late, and so are those that move a leader back in its log.
    fn lateness(&mut self, message: &PeerMessage) -> Option<u64> {
        use MessageType::{
            MsgAppendResponse, MsgHeartbeatResponse, MsgReadIndexResp, MsgRequestPreVote,
            MsgRequestPreVoteResponse, MsgRequestVote, MsgRequestVoteResponse, MsgTimeoutNow,
        };
        let percent = match type_of(message)? {
            MsgTimeoutNow => self.plan.network.late_timeout_now_percent,
            MsgRequestVote | MsgRequestVoteResponse | MsgRequestPreVote | MsgRequestPreVoteResponse => {
                self.plan.network.late_votes_percent
            }
            MsgReadIndexResp => self.plan.network.late_answers_percent,
            MsgHeartbeatResponse if confirms(message) => self.plan.network.late_answers_percent,
            MsgAppendResponse if message.raft()?.reject => self.plan.network.late_rejections_percent,
            _ => return None,
        };
        let late = self.is_rough && self.random.percent(percent);
        let most = self.plan.election_timeout() * self.random.pick(&[5, 8]) / 2;
        late.then(|| self.random.below(most))
    }

    /// Sends a message that is already in flight, unaffected by anything sent or cut later.
    fn send_late(&mut self, link: (usize, usize), delay: u64, bytes: Bytes, timeout_now: bool) {
        if self.links.is_cut(link) {
            return;
        }
        let bad = timeout_now && self.random.percent(self.plan.network.bad_moments_percent);
        if bad {
            lose_target(self, link);
        }
        let boot = self.hosts[link.0].member.boot();
        self.schedule(delay, Event::Late { link, boot, bytes, bad });
    }

    /// After `wait`, the ends of `link` lose contact, and perhaps its second end and `other` do.
    pub(crate) fn lose_later(&mut self, wait: u64, link: (usize, usize), other: usize) {
        self.schedule(wait, Event::Lose { link, other });
    }

    pub(super) fn lose_each_other(&mut self, link: (usize, usize), other: usize) {
        if self.is_rough {
            lose(self, link, other);
        }
    }

    pub(super) fn deliver_late(&mut self, link: (usize, usize), boot: u64, bytes: &Bytes, bad: bool) {
        if bad && self.is_rough {
            cut_off_sender(self, link.0);
        }
        self.receive(link, boot, bytes);
    }

    /// Votes and the like are remembered for longer than the many messages with which a leader maintains its followers.
    fn remember(&mut self, link: (usize, usize), message: &PeerMessage, bytes: &Bytes) {
        use MessageType::{MsgAppend, MsgAppendResponse, MsgHeartbeat, MsgHeartbeatResponse};
        let common = [MsgAppend, MsgAppendResponse, MsgHeartbeat, MsgHeartbeatResponse];
        let common = type_of(message).is_some_and(|kind| common.contains(&kind));
        let boot = self.hosts[link.0].member.boot();
        let sent = &mut self.sent[usize::from(common)];
        if sent.len() >= REMEMBERED {
            sent.pop_front();
        }
        sent.push_back((link, boot, bytes.clone()));
    }

    pub(super) fn deliver(&mut self, link: (usize, usize), connection: u32, boot: u64, bytes: &Bytes) {
        if !self.links.is_cut(link) && self.links.connection(link) == connection {
            self.receive(link, boot, bytes);
        }
    }

    pub(super) fn receive(&mut self, link: (usize, usize), boot: u64, bytes: &Bytes) {
        if !self.hosts[link.1].member.is_running()
            || !self.may_talk(link)
            || !self.is_of_this_life(link, boot)
        {
            return;
        }
        let to = &mut self.hosts[link.1];
        let message = network::decode(bytes).expect("the codec reads what it wrote");
        self.trace.say_of(message.region, || format!("deliver {}", describe(&message)));
        to.member.feed_message(message);
        self.schedule_round(link.1);
    }

    /// Whether a message of this boot may arrive. A connection announces its sender's boot first, and after that
    /// nothing of an older boot is delivered. Nor does anything arrive that a sender promised before it lost the tail
    /// of its log.
    pub(super) fn is_of_this_life(&mut self, (from, to): (usize, usize), boot: u64) -> bool {
        if boot < self.hosts[to].introduced[from].0 || boot <= self.hosts[from].lost_end_in {
            return false;
        }
        self.introduce((from, to), boot);
        true
    }

    /// Announces the sender's boot, and whether its log is intact: a member that has recovered its log reconnects.
    fn introduce(&mut self, (from, to): (usize, usize), boot: u64) {
        let introduction = Introduction { boot_count: boot, boot, ..self.hosts[from].member.introduction() };
        let news = (boot, !introduction.lost_end);
        if news > self.hosts[to].introduced[from] {
            self.hosts[to].introduced[from] = news;
            for &region in &self.regions {
                self.hosts[to].member.feed_to(region, Input::Introduced(introduction));
            }
        }
    }

    /// A member that has nothing to send must still be noticed: it connects, and retries until it succeeds.
    pub(super) fn connect(&mut self, link: (usize, usize), boot: u64) {
        let is_there = |host: usize| self.hosts[host].presence == Presence::Here;
        if self.hosts[link.0].member.boot() != boot || !is_there(link.0) || !is_there(link.1) {
            return;
        }
        let is_open = !self.links.is_cut(link) && self.may_talk(link);
        if !is_open || !self.hosts[link.1].member.is_running() {
            return self.schedule(self.plan.election_timeout() / 4, Event::Connect { link, boot });
        }
        self.introduce(link, boot);
        self.schedule_round(link.1);
    }

    pub(super) fn schedule_round(&mut self, host: usize) {
        if !self.hosts[host].round_is_due {
            self.hosts[host].round_is_due = true;
            let busy = self.hosts[host].busy_until.saturating_sub(self.now);
            let think = self.random.within(0..self.pace.think_max);
            self.schedule(busy + think, Event::Round(host));
        }
    }

    pub(super) fn schedule_apply(&mut self, host: usize) {
        if !self.hosts[host].apply_is_due {
            self.hosts[host].apply_is_due = true;
            let delay = self.random.within(0..self.pace.apply_max + self.hosts[host].engine_delay);
            self.schedule(delay, Event::Apply(host));
        }
    }

    /// Unstalls an engine, at full speed.
    pub(crate) fn recover_engine(&mut self, host: usize) {
        (self.hosts[host].engine_delay, self.hosts[host].engine_stalls) = (0, false);
        if self.hosts[host].member.has_to_apply() {
            self.schedule_apply(host);
        }
    }

    /// One step of applying: answer, report or write, whichever is oldest.
    pub(super) fn apply(&mut self, host: usize) {
        if self.hosts[host].stands_still(self.now) {
            return self.schedule(self.hosts[host].paused_until - self.now, Event::Apply(host));
        }
        self.hosts[host].apply_is_due = false;
        if self.hosts[host].engine_stalls {
            return;
        }
        let slice = Slice { entries: self.pace.slice_entries, ..Slice::ALL };
        let mut observer = Observer { ledger: &mut self.ledger, trace: &mut self.trace };
        let member = &mut self.hosts[host].member;
        let mut reported = false;
        let end = if member.has_to_answer() {
            member.apply_answer(1 + self.random.index(8))
        } else if member.has_to_report() {
            reported = true;
            member.apply_report(&mut observer)
        } else {
            member.apply_write(slice)
        };
        if let Some(end) = end {
            return self.end(host, &end);
        }
        self.check(host);
        if reported {
            self.schedule_round(host);
        }
        if self.hosts[host].member.has_to_install() {
            self.schedule_install(host);
        }
        if self.hosts[host].member.has_to_apply() {
            self.schedule_apply(host);
        }
    }

    pub(super) fn flush_in_turn(&mut self, host: usize) {
        self.flush(host);
        let wait = self.random.wait(self.pace.flush_mean);
        self.schedule(wait, Event::Flush(host));
    }

    pub(super) fn flush(&mut self, host: usize) {
        self.hosts[host].flush_is_due = false;
        if self.hosts[host].member.is_running() {
            self.trace.say(|| format!("{} flushes", host + 1));
            self.hosts[host].member.flush();
            self.schedule_round(host);
        }
    }

    pub(super) fn check(&mut self, host: usize) {
        if !self.ledger.is_open() {
            return;
        }
        let mut check = Ok(());
        let calls = &mut self.calls;
        let mut effective = |region: RegionId, call: CallId| {
            if check.is_ok() {
                let effective = calls.on_effective(region, call);
                check = effective.map_err(|words| format!("region {region}: {words}"));
            }
        };
        self.ledger.on_step(&self.hosts[host].member, &mut effective);
        let leases = self.leases_exclude_other_leaders(host);
        self.ledger.note(check.and(leases));
    }

    /// While a member has a lease, nobody leads in a later term, in true time.
    fn leases_exclude_other_leaders(&self, moved: usize) -> Check {
        if self.plan.setup.lease_max.is_zero() || self.plan.may_reads_be_stale() {
            return Ok(());
        }
        for &region in &self.regions {
            let led = |host: usize| self.ledger.region(region).leads(host as u64 + 1);
            let Some(own) = led(moved) else { continue };
            for other in (0..self.hosts.len()).filter(|&other| other != moved) {
                let Some(theirs) = led(other) else { continue };
                let (earlier, later) = if own < theirs { (moved, other) } else { (other, moved) };
                if self.hosts[earlier].has_lease(region, self.now) {
                    let (later, earlier) = (later + 1, earlier + 1);
                    return Err(format!("region {region}: {later} leads while {earlier} has a lease"));
                }
            }
        }
        Ok(())
    }
}

/// What a message tells raft, if it does; of heartbeats, all of one type, in the region that they name first.
fn type_of(message: &PeerMessage) -> Option<MessageType> {
    of_raft(message).first().map(|(_, raft)| raft.get_msg_type())
}

/// Whether a message confirms a question, in any region.
fn confirms(message: &PeerMessage) -> bool {
    of_raft(message).iter().any(|(_, raft)| !raft.context.is_empty())
}
