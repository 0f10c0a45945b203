//! Clients in virtual time.
//!
//! Owns when clients call, which route their calls take, and when readers look at the data. What always holds: the four
//! steps of a lease read ([`PublishedRegion`]) are separate events, so that anything may happen between them.

use super::{Cluster, Event, Host};
use crate::completion::Completion;
use crate::core::caller_write::CallerWrite;
use crate::core::input::Input;
use crate::core::lease::{Glimpse, PublishedRegion};
use crate::core::planted::{self, Fault};
use crate::core::reads::Read;
use crate::core::transfer::TransferRequest;
use crate::sim::calls::{Address, Next, Request, Seen};
use crate::sim::checker::{Action, Level};
use crate::sim::chosen::CallId;
use crate::sim::keys;
use crate::sim::load::Load;
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId, RegionId};

/// Deadline, in election timeouts, of a call that checks progress.
const PROBE_TIMEOUTS: u64 = 5;

/// A read that its caller attempts under the lease.
#[derive(Debug)]
pub(crate) struct LeaseRead {
    call: CallId,
    glimpse: Glimpse,
    /// Set by the second step.
    seen: Option<Seen>,
    /// Set by the third step.
    clock: Option<Timestamp>,
}

impl Cluster {
    pub(super) fn client(&mut self, client: usize) {
        if !self.is_rough {
            return;
        }
        if self.open_calls[client] < self.plan.load.outstanding_max {
            let region = self.random.pick(&self.regions);
            let host = self.choose_host(region);
            let id = self.calls.next_id();
            let shown = self.calls.shown(region);
            let mut request = self.load.draw(client, id, (region, shown), &mut self.random);
            let believed = self.hosts[self.conditions.index(self.hosts.len())].member.engine().data();
            self.load.make_conditional(&mut request, (id, region), believed, &mut self.conditions);
            let life = self.random.within(self.plan.load.deadline.clone());
            if let Some(call) = self.call(host, region, request, life) {
                self.consider_giving_up(call, life);
            }
        }
        let wait = self.random.wait(self.plan.load.pause);
        self.schedule(wait, Event::Client(client));
    }

    /// Some callers cancel, most of them early.
    fn consider_giving_up(&mut self, call: CallId, life: u64) {
        let percent = self.plan.load.impatient_percent;
        if self.impatience.percent(percent) {
            let most = self.impatience.weighted(&[(60, self.pace.think_max + 1), (40, life)]);
            let wait = self.impatience.within(0..most);
            self.schedule(wait, Event::Cancel(call));
        }
    }

    pub(super) fn cancel(&mut self, call: CallId) {
        let Address { host, region, .. } = self.calls.get(call).address;
        if self.hosts[host].stands_still(self.now) || !self.is_same_run(call) {
            // The caller is in the same process.
            return;
        }
        self.trace.say_of(region, || format!("call {call} is cancelled"));
        self.calls.cancel(call);
        self.take_answers();
    }

    fn choose_host(&mut self, region: RegionId) -> usize {
        let anyone = self.any_host();
        if self.random.percent(self.plan.load.leader_percent) {
            self.leader(region).unwrap_or(anyone)
        } else {
            anyone
        }
    }

    /// The running member that leads a region in the highest term.
    pub(crate) fn leader(&self, region: RegionId) -> Option<usize> {
        let leads = |host: &Host| {
            let status = host.member.peer_of(region)?.status();
            (status.leader == Some(NodeId(host.member.node))).then_some(status.term)
        };
        let leaders = self.hosts.iter().enumerate().filter_map(|(at, host)| Some((leads(host)?, at)));
        leaders.max().map(|(_, at)| at)
    }

    /// Calls a member; none when it is not running. The call is answered after at most `life` by the member's clock.
    fn call(&mut self, host: usize, region: RegionId, request: Request, life: u64) -> Option<CallId> {
        let machine = &self.hosts[host];
        if !machine.member.is_running() {
            return None;
        }
        let deadline = Timestamp(machine.clock.local(self.now) + life);
        let address = Address { host, boot: machine.member.boot(), region, deadline };
        let call = self.calls.next_id();
        self.trace.mark(call as u64);
        self.trace.say(|| describe_call(call, address, &request));
        if let Some(open) = self.open_calls.get_mut(request.client) {
            *open += 1;
        }
        let input = match &request.action {
            Action::Write(changes) if changes.is_empty() => self.ask_for_transfer(address, request),
            Action::Write(_) | Action::Transaction { .. } => self.ask_for_write(address, request),
            Action::Read { .. } => return Some(self.ask_for_read(address, request)),
        };
        self.submit(address, input);
        Some(call)
    }

    fn submit(&mut self, address: Address, input: Input) {
        self.hosts[address.host].member.feed_to(address.region, input);
        self.schedule_round(address.host);
        self.schedule_timer(address.host);
    }

    /// Hands the call to its member.
    fn open(&mut self, call: CallId) -> Completion {
        let host = &self.hosts[self.calls.get(call).address.host];
        let deadlines = host.member.deadlines().expect("a member that runs was called");
        self.calls.open(call, deadlines, host.local(self.now))
    }

    fn ask_for_write(&mut self, address: Address, request: Request) -> Input {
        let bytes = self.plan.load.value_bytes.clone();
        let (region, id) = (address.region, self.calls.next_id());
        let data = match (&request.action, &request.conditional) {
            (_, Some(conditional)) => {
                keys::encode_conditional(region, id, conditional, bytes, &mut self.conditions)
            }
            (Action::Write(changes), None) => keys::encode(region, changes, bytes, &mut self.random),
            other => unreachable!("{other:?} is no write"),
        };
        let call = self.calls.begin(address, request);
        Input::Write(CallerWrite {
            data,
            deadline: address.deadline,
            completion: self.open(call),
            was_proposed: false,
        })
    }

    fn ask_for_transfer(&mut self, address: Address, request: Request) -> Input {
        let anyone = NodeId(1 + self.random.below(self.hosts.len() as u64));
        let target = self.random.percent(70).then_some(anyone);
        let call = self.calls.begin(address, request);
        let (deadline, completion) = (address.deadline, self.open(call));
        Input::Transfer(TransferRequest { target, deadline, completion })
    }

    /// A linearizable read starts with a check of the lease; without a lease, and for any other read, the peer is
    /// asked.
    fn ask_for_read(&mut self, address: Address, mut request: Request) -> CallId {
        let Action::Read { level: judged_as, .. } = &mut request.action else {
            unreachable!("the caller saw a read")
        };
        let level = *judged_as;
        if self.plan.may_reads_be_stale() {
            *judged_as = Level::Local;
        }
        let min_index = request.min_index;
        let call = self.calls.begin(address, request);
        if level == Level::Local {
            let (deadline, completion) = (address.deadline, self.open(call));
            self.submit(address, Input::LocalRead(Read { deadline, completion, min_index }));
            return call;
        }
        let lease = self.hosts[address.host].member.published_lease(address.region);
        match lease.and_then(PublishedRegion::glimpse) {
            Some(glimpse) => self.schedule_lease_read(LeaseRead { call, glimpse, seen: None, clock: None }),
            None => self.ask_peer(call),
        }
        call
    }

    fn ask_peer(&mut self, call: CallId) {
        let address = self.calls.get(call).address;
        let (deadline, completion, min_index) = (address.deadline, self.open(call), LogIndex(0));
        self.submit(address, Input::Read(Read { deadline, completion, min_index }));
    }

    fn schedule_lease_read(&mut self, read: LeaseRead) {
        let timeout = self.plan.election_timeout();
        let most = self.random.weighted(&[(70, 1), (24, self.pace.view_max), (6, 4 * timeout)]);
        let wait = self.random.within(0..most);
        self.schedule(wait, Event::LeaseRead(Box::new(read)));
    }

    /// The next step that the caller takes on its own thread: take the view, read the clock, check the lease again.
    pub(super) fn lease_read(&mut self, mut read: LeaseRead) {
        let Address { host, region, .. } = self.calls.get(read.call).address;
        if self.hosts[host].stands_still(self.now) {
            let wait = self.hosts[host].paused_until - self.now;
            return self.schedule(wait, Event::LeaseRead(Box::new(read)));
        }
        if !self.is_same_run(read.call) {
            return self.lose(read.call);
        }
        let machine = &self.hosts[host];
        match (read.seen.take(), read.clock) {
            (None, _) => read.seen = Some(self.calls.see(read.call, &machine.member)),
            (Some(seen), None) => (read.seen, read.clock) = (Some(seen), Some(machine.local(self.now))),
            (Some(seen), Some(clock)) => {
                let lease = machine.member.published_lease(region).expect("it runs");
                let unseen = planted::has(Fault::ViewWithoutSecondLook);
                if unseen || lease.still_holds(read.glimpse, clock) {
                    return self.accept(read.call, seen);
                }
                return self.ask_peer(read.call);
            }
        }
        self.schedule_lease_read(read);
    }

    /// Requests a transfer of leadership.
    pub(super) fn call_for_transfer(&mut self, host: usize, region: RegionId) {
        let life = self.random.within(self.plan.load.deadline.clone());
        self.call(host, region, Load::transfer(usize::MAX), life);
    }

    /// Makes a write through `host`.
    pub(crate) fn probe_write(&mut self, host: usize, region: RegionId) -> Option<CallId> {
        let request = self.load.probe_write(usize::MAX, self.calls.next_id(), region);
        self.call(host, region, request, PROBE_TIMEOUTS * self.plan.election_timeout())
    }

    /// Makes a read on `host`.
    pub(crate) fn probe_read(&mut self, host: usize, region: RegionId) -> Option<CallId> {
        let life = PROBE_TIMEOUTS * self.plan.election_timeout();
        self.call(host, region, Load::probe_read(usize::MAX), life)
    }

    pub(super) fn take_answers(&mut self) {
        let mut next = std::mem::take(&mut self.next);
        let check = self.calls.take_answers(self.ended.take(), &self.ledger, &mut next);
        self.ledger.note(check);
        for next in next.drain(..) {
            match next {
                Next::Over(client) => self.client_is_free(client),
                Next::Look(call) => {
                    let wait = self.random.within(0..self.pace.view_max);
                    self.schedule(wait, Event::Look(call));
                }
            }
        }
        self.next = next;
    }

    pub(super) fn look(&mut self, call: CallId) {
        let Address { host, region, .. } = self.calls.get(call).address;
        let lease = self.hosts[host].member.published_lease(region);
        let is_replaced = lease.is_some_and(|lease| lease.data().is_none());
        if is_replaced && !planted::has(Fault::ReadWhileInstalling) {
            // Its caller asks again.
            return self.lose(call);
        }
        if self.is_same_run(call) {
            let seen = self.calls.see(call, &self.hosts[self.calls.get(call).address.host].member);
            self.accept(call, seen);
        } else {
            self.lose(call);
        }
    }

    fn accept(&mut self, call: CallId, seen: Seen) {
        let region = self.calls.get(call).address.region;
        self.trace.say_of(region, || format!("call {call} shows {seen:?}"));
        let check = self.calls.accept(call, seen, &self.ledger);
        self.ledger.note(check);
        self.client_is_free(self.calls.get(call).client);
    }

    fn lose(&mut self, call: CallId) {
        self.calls.lose(call);
        self.client_is_free(self.calls.get(call).client);
    }

    fn is_same_run(&self, call: CallId) -> bool {
        let Address { host, boot, .. } = self.calls.get(call).address;
        let member = &self.hosts[host].member;
        member.is_running() && member.boot() == boot
    }

    fn client_is_free(&mut self, client: usize) {
        if let Some(open) = self.open_calls.get_mut(client) {
            *open -= 1;
        }
    }
}

fn describe_call(call: CallId, address: Address, request: &Request) -> String {
    let Request { client, action, conditional, keys, .. } = request;
    let client = if *client == usize::MAX { "probe".to_owned() } else { format!("client {client}") };
    let what = match action {
        Action::Write(changes) if changes.is_empty() => "hand over".to_owned(),
        Action::Write(changes) => format!("write {changes:?}"),
        Action::Transaction { .. } => format!("write {conditional:?}"),
        Action::Read { level, .. } => format!("read {level:?} {keys:?}"),
    };
    format!("{client} calls {} in region {}: call {call} {what}", address.host + 1, address.region)
}
