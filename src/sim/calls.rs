//! Calls made by clients, and the answers they got.
//!
//! Owns the calls of a run from their first event to their last, and the checks that need only the calls and the chosen
//! log. What always holds: a call is recorded before its member sees it; times are event numbers; a read is finished
//! when its reader has looked at the data, not when it was allowed to.

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use answers::{
    comes_after_what_was_known, not_applied_is_never_seen, ok_is_where_it_says, only_an_end_drops_calls,
    refused_is_refused, unknown_is_what_had_no_time, waited_for_its_index,
};

use crate::completion::call::{CallKind, CallRegions, Subject};
use crate::completion::deadlines::Deadlines;
use crate::completion::{Completion, Reply, Sink};
use crate::effects::Effects;
use crate::error::{Code, Error, Outcome, Refusal, Result};
use crate::sim::checker::{Action, Change, Key, Level, Observed, Operation, Verdict};
use crate::sim::chosen::{CallId, call_of_number};
use crate::sim::conditional::{Conditional, Numbers, Shown};
use crate::sim::invariants::{Check, Ledger};
use crate::sim::keys::{look, version_at};
use crate::sim::member::Member;
use crate::time::Timestamp;
use crate::types::{LogIndex, RegionId, Version};

/// An answer comes at most this long after its deadline, by its member's clock: the timer's pause between two checks
/// plus its lateness ([`crate::sim::cluster`]), on a clock that runs at double speed.
pub(crate) const LATE_MAX: Duration = Duration::from_millis(20);

/// Which member a call goes to, and its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// The member.
    pub host: usize,
    /// The boot of that member in which the call was made.
    pub boot: u64,
    /// The region.
    pub region: RegionId,
    /// The latest time at which the caller is answered, by the member's clock.
    pub deadline: Timestamp,
}

/// One call of a client.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who called.
    pub client: usize,
    /// Which member it goes to.
    pub address: Address,
    /// The keys a read looks at.
    keys: Vec<Key>,
    transfers: bool,
    /// What a local read waits for.
    min_index: LogIndex,
    /// Last log index that any caller could know of when the call was made.
    floor: u64,
    /// The record for the checker.
    operation: Operation,
    /// When its member must have answered it.
    due: Timestamp,
    answered: bool,
    /// For cancelling it.
    handle: Option<crate::completion::call::Call>,
    /// What a conditional write asks for.
    conditional: Option<Conditional>,
    /// What a write was told where it was judged.
    told: Option<Told>,
    /// The versions of the registers that a read showed.
    versions: Vec<Version>,
    /// It has conditions, and not every member knew them.
    came_too_early: bool,
}

/// The verdict on a write, as told to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// It was applied, and what it set has this version.
    Applied(Version, Effects),
    Refused(Refusal),
}

impl Call {
    fn subject(&self) -> Subject {
        let kind = match &self.operation.action {
            Action::Write(_) if self.transfers => CallKind::Transfer,
            Action::Write(_) | Action::Transaction { .. } => CallKind::Write,
            Action::Read { level: Level::Local, .. } => CallKind::LocalRead { min_index: self.min_index },
            Action::Read { .. } => CallKind::Read,
        };
        Subject { kind, regions: CallRegions::One(self.address.region) }
    }

    /// Notes the numbers behind the versions that the caller was told.
    fn note_numbers(&self, numbers: &mut Numbers) {
        for ((key, observed), version) in self.operation.observed().iter().zip(&self.versions) {
            if let Observed::Register(Some(number)) = observed {
                numbers.insert((*key, *version), *number);
            }
        }
        let Some(Told::Applied(version, effects)) = &self.told else { return };
        let changes = match &self.conditional {
            Some(conditional) => conditional.shown_by(effects, &Numbers::new()).changes,
            None => self.operation.changes().to_vec(),
        };
        for (key, change) in changes {
            if let Change::Set(number) = change {
                numbers.insert((key, *version), number);
            }
        }
    }

    /// What the checker is told about the call. A conditional write that may have done one thing or another is one
    /// operation for each; what it certainly did not do is one that was not applied.
    fn recorded(&self, numbers: &Numbers) -> Vec<Operation> {
        let Some(conditional) = &self.conditional else { return vec![self.operation.clone()] };
        let one = |action, verdict| Operation { action, verdict, ..self.operation.clone() };
        let linearizable = |observed| Action::Read { level: Level::Linearizable, observed };
        let (shown, happened) = match &self.told {
            None => {
                let parts = conditional.possible().into_iter().map(Action::Write);
                return parts.map(|part| one(part, self.operation.verdict)).collect();
            }
            Some(Told::Applied(_, effects)) => {
                let Shown { observed, changes, left_out } = conditional.shown_by(effects, numbers);
                let action = match changes.is_empty() {
                    true => linearizable(observed),
                    false => Action::Transaction { observed, changes },
                };
                (left_out, one(action, Verdict::Ok))
            }
            Some(Told::Refused(refusal)) => {
                let found = refusal.precondition.expect("it was refused for what was found");
                let about = (found.operation, found.exists, found.version);
                let Shown { observed, left_out, .. } = conditional.shown_by_refusal(about, numbers);
                (left_out, one(linearizable(observed), Verdict::Ok))
            }
        };
        // A read's index says less than that of a write.
        let index = happened.index.filter(|_| happened.is_write());
        let left_out = one(Action::Write(shown), Verdict::NotApplied);
        [Operation { index, ..happened }, Operation { index: None, ..left_out }].into()
    }

    /// True when no further event can concern this call.
    pub(crate) fn is_over(&self) -> bool {
        self.operation.completed.is_some()
    }

    /// True when it succeeded.
    pub(crate) fn is_ok(&self) -> bool {
        self.operation.completed.is_some() && self.operation.verdict == Verdict::Ok
    }
}

/// What a call asks for.
pub(crate) struct Request {
    /// Who calls.
    pub client: usize,
    /// The action; a write without operations stands for a transfer of leadership.
    pub action: Action,
    /// What a conditional write asks for.
    pub conditional: Option<Conditional>,
    /// The keys a read looks at.
    pub keys: Vec<Key>,
    /// The lowest index that a local read may show.
    pub min_index: LogIndex,
}

/// What a reader's view showed.
#[derive(Debug)]
pub(crate) struct Seen {
    observed: Vec<(Key, Observed)>,
    /// The versions of registers.
    versions: Vec<Version>,
    index: u64,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: this client is free again.
    Over(usize),
    /// The reader opens its view of the data.
    Look(CallId),
}

/// Number of calls by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Writes that took effect.
    pub written: u64,
    /// Reads that were confirmed and returned data.
    pub read: u64,
    /// Writes whose outcome the caller does not know.
    pub unknown: u64,
    /// Writes that certainly had no effect, and reads that were refused.
    pub refused: u64,
    /// Of these, writes with conditions that not every member knew.
    pub too_early: u64,
    /// Of the writes that took effect, those with conditions.
    pub conditional: u64,
}

type Answers = Arc<Mutex<Vec<(CallId, Result<Reply>)>>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    events: u64,
    answers: Answers,
    /// Scratch buffer for draining answers; kept to reuse its allocation.
    taken: Vec<(CallId, Result<Reply>)>,
    /// Host -> (due time, call) of unanswered calls.
    pending: BTreeMap<usize, BTreeSet<(Timestamp, CallId)>>,
    /// Client, host, boot and region -> the last call that took effect.
    in_effect: BTreeMap<(usize, usize, u64, RegionId), CallId>,
    /// Same key -> the last write that was answered with success.
    succeeded: BTreeMap<(usize, usize, u64, RegionId), CallId>,
    /// Region -> the highest index that any caller knows of.
    shown: BTreeMap<RegionId, u64>,
    /// Host and region -> the commit index on disk when the member started.
    recorded: BTreeMap<(usize, RegionId), u64>,
    /// Host and region -> the first call that was made after the member last took in a raft snapshot.
    overtaken: BTreeMap<(usize, RegionId), CallId>,
}

impl Calls {
    /// Number of the next call.
    pub(crate) fn next_id(&self) -> CallId {
        self.calls.len()
    }

    /// A call.
    pub(crate) fn get(&self, call: CallId) -> &Call {
        &self.calls[call]
    }

    /// Records a call that is about to be made.
    pub(crate) fn begin(&mut self, address: Address, request: Request) -> CallId {
        let call = self.next_id();
        let Request { client, action, conditional, keys, min_index } = request;
        let transfers = action == Action::Write(Vec::new());
        let operation = Operation {
            client: client as u32,
            invoked: self.event(),
            completed: None,
            verdict: Verdict::Unknown,
            action,
            index: None,
        };
        let Address { host, region, .. } = address;
        let known = if operation.is_local() {
            self.recorded.get(&(host, region)).copied()
        } else {
            self.shown.get(&region).copied()
        };
        let floor = known.unwrap_or_default().max(min_index.get());
        let (answered, handle) = (false, None);
        let due = address.deadline;
        self.calls.push(Call {
            client,
            address,
            keys,
            transfers,
            min_index,
            floor,
            operation,
            due,
            answered,
            handle,
            conditional,
            told: None,
            versions: Vec::new(),
            came_too_early: false,
        });
        call
    }

    /// Hands the call to its member, which registers it with its `deadlines` at its `local` time and now owes it an
    /// answer.
    pub(crate) fn open(&mut self, call: CallId, deadlines: &Arc<Deadlines>, local: Timestamp) -> Completion {
        let Address { host, deadline, .. } = self.calls[call].address;
        // A reader may have spent more time on its lease check than its deadline allows.
        let due = deadline.max(local);
        self.calls[call].due = due;
        self.pending.entry(host).or_default().insert((due, call));
        let sink = Box::new(Heard { call, answers: Arc::clone(&self.answers) });
        let known = &mut self.calls[call];
        let subject = known.subject();
        let opened = deadlines.accept(subject, deadline, sink, Arc::new(()));
        let (completion, handle) = opened.expect("a member that runs takes calls");
        known.handle = Some(handle);
        completion
    }

    /// The caller cancels the call if it is still waiting.
    pub(crate) fn cancel(&mut self, call: CallId) {
        if let Some(handle) = self.calls[call].handle.take() {
            handle.cancel();
        }
    }

    /// The highest index of a region that any caller knows of.
    pub(crate) fn shown(&self, region: RegionId) -> u64 {
        self.shown.get(&region).copied().unwrap_or_default()
    }

    /// Delivers the last answer of `host` a second time.
    pub(crate) fn answer_again(&mut self, host: usize) {
        let answered = |call: &Call| call.address.host == host && call.answered;
        if let Some(call) = self.calls.iter().rposition(answered) {
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((call, Ok(Reply::default())));
        }
    }

    /// A member started with this commit index on disk: its local reads show nothing older.
    pub(crate) fn on_start(&mut self, host: usize, region: RegionId, commit: u64) {
        self.recorded.insert((host, region), commit);
    }

    /// The member takes in a raft snapshot: of calls made so far it may never learn the outcome.
    pub(crate) fn on_install(&mut self, host: usize, region: RegionId) {
        self.overtaken.insert((host, region), self.calls.len());
    }

    /// A call took effect in the log.
    pub(crate) fn on_effective(&mut self, region: RegionId, call: CallId) -> Check {
        let Some(known) = self.calls.get(call) else { return Err(format!("nobody made call {call}")) };
        if known.address.region != region {
            let made = known.address.region;
            return Err(format!("call {call} took effect in region {region}, but was made in region {made}"));
        }
        if known.answered && known.operation.verdict == Verdict::NotApplied {
            return Err(format!("call {call} took effect, but was answered with certainly not applied"));
        }
        let thread = (known.client, known.address.host, known.address.boot, region);
        match self.in_effect.insert(thread, call) {
            Some(before) if before > call => {
                Err(format!("call {call} took effect behind the later call {before} of the same client"))
            }
            _ => Ok(()),
        }
    }

    /// Processes the answers given since the last call. `ended` is the host whose member stopped since then.
    ///
    /// # Errors
    /// The first answer that violates an invariant.
    pub(crate) fn take_answers(
        &mut self,
        ended: Option<usize>,
        ledger: &Ledger,
        next: &mut Vec<Next>,
    ) -> std::result::Result<(), String> {
        let mut taken = std::mem::take(&mut self.taken);
        std::mem::swap(&mut taken, &mut self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut check = Ok(());
        for (call, answer) in taken.drain(..) {
            let answered = self.on_answer(call, answer, ended, ledger, next);
            check = check.and(answered.map_err(|words| self.about(call, &words)));
        }
        self.taken = taken;
        check
    }

    fn on_answer(
        &mut self,
        call: CallId,
        answer: Result<Reply>,
        ended: Option<usize>,
        ledger: &Ledger,
        next: &mut Vec<Next>,
    ) -> Check {
        let known = &mut self.calls[call];
        if std::mem::replace(&mut known.answered, true) {
            return Err(format!("call {call} was answered twice"));
        }
        known.handle = None;
        let (Address { host, region, .. }, due) = (known.address, known.due);
        self.pending.get_mut(&host).expect("it was called").remove(&(due, call));
        let reply = match answer {
            Err(error) => {
                next.push(self.on_error(call, &error));
                if !ledger.is_open() {
                    return Ok(());
                }
                let chosen = ledger.region(region).chosen.outcome_of(call);
                if let Some(Told::Refused(refusal)) = self.calls[call].told {
                    let index = refused_is_refused(call, refusal, chosen)?;
                    return comes_after_what_was_known(call, &self.calls[call], index);
                }
                not_applied_is_never_seen(call, &self.calls[call], chosen)?;
                only_an_end_drops_calls(call, host, &error, ended)?;
                let overtaken = self.overtaken.get(&(host, region)).is_some_and(|first| call < *first);
                let may_be_unknown =
                    ended == Some(host) || (overtaken && error.code() == Code::SkippedInFlight);
                return unknown_is_what_had_no_time(call, &self.calls[call], &error, may_be_unknown);
            }
            Ok(reply) => reply,
        };
        let (position, version) = (reply.position, reply.version);
        let known = &mut self.calls[call];
        if known.transfers {
            next.push(Next::Over(known.client));
            self.finish(call, Verdict::Ok);
            return Ok(());
        }
        known.operation.index = Some(position.index.get());
        if !known.operation.is_write() {
            next.push(Next::Look(call));
            return waited_for_its_index(call, known, position.index);
        }
        known.told = Some(Told::Applied(version, reply.effects().cloned().unwrap_or_default()));
        let Call { client, address: Address { boot, .. }, .. } = *known;
        next.push(Next::Over(client));
        self.finish(call, Verdict::Ok);
        self.show(region, position.index.get());
        if let Some(before) = self.succeeded.insert((client, host, boot, region), call)
            && before > call
        {
            return Err(format!(
                "call {call} was answered behind the later call {before} of the same client"
            ));
        }
        if !ledger.is_open() {
            return Ok(());
        }
        let chosen = &ledger.region(region).chosen;
        let term = chosen.term_at(position.index.get());
        let has_version = chosen.has_versions_at(position.index);
        ok_is_where_it_says(call, (&reply, has_version), chosen.outcome_of(call), term)?;
        comes_after_what_was_known(call, &self.calls[call], position.index.get())
    }

    fn on_error(&mut self, call: CallId, error: &Error) -> Next {
        let verdict = match error.outcome() {
            Outcome::NotApplied => Verdict::NotApplied,
            Outcome::Unknown => Verdict::Unknown,
        };
        if error.precondition().is_some() {
            self.calls[call].told = Some(Told::Refused(Refusal::of(error)));
        }
        self.calls[call].came_too_early = error.code() == Code::Unsupported;
        self.finish(call, verdict);
        Next::Over(self.calls[call].client)
    }

    /// What the reader sees at `member` now.
    pub(crate) fn see(&self, call: CallId, member: &Member) -> Seen {
        let Call { address: Address { region, .. }, keys, .. } = &self.calls[call];
        let (state, _) = member.engine().state_and_digest(*region);
        let data = member.engine().data();
        let observed = keys.iter().map(|&key| (key, look(data, *region, key))).collect();
        let versions = keys.iter().map(|&key| version_at(data, *region, key)).collect();
        Seen { observed, versions, index: state.index.get() }
    }

    /// The reader accepts what it has seen as its answer.
    ///
    /// # Errors
    /// When the ledger shows that the reader should have seen more.
    pub(crate) fn accept(&mut self, call: CallId, seen: Seen, ledger: &Ledger) -> Check {
        let versions = self.versions_are_those_told(call, &seen);
        versions.map_err(|words| self.about(call, &words))?;
        if seen.index == 0 {
            return Err(self.about(call, &format!("call {call} shows data of no state")));
        }
        let known = &mut self.calls[call];
        known.versions = seen.versions;
        if let Action::Read { observed, .. } = &mut known.operation.action {
            *observed = seen.observed;
        }
        let region = known.address.region;
        self.finish(call, Verdict::Ok);
        if !self.calls[call].operation.is_local() {
            self.show(region, seen.index);
        }
        if !ledger.is_open() {
            return Ok(());
        }
        let check = comes_after_what_was_known(call, &self.calls[call], seen.index);
        check.map_err(|words| self.about(call, &words))
    }

    /// What a read shows has the version that its writer was told, if it was told one.
    fn versions_are_those_told(&self, call: CallId, seen: &Seen) -> Check {
        for ((key, observed), version) in seen.observed.iter().zip(&seen.versions) {
            let Observed::Register(Some(number)) = observed else { continue };
            let writer = call_of_number(*number);
            if let Some(Told::Applied(told, _)) = self.calls.get(writer).and_then(|call| call.told.as_ref())
                && told != version
                && *told != Version::UNKNOWN
            {
                return Err(format!(
                    "call {call} shows version {version:?} of key {key}, but call {writer}, which set it, was told {told:?}"
                ));
            }
        }
        Ok(())
    }

    /// A read is lost: its member stopped.
    pub(crate) fn lose(&mut self, call: CallId) {
        self.finish(call, Verdict::Unknown);
    }

    /// No call waits longer than its deadline plus [`LATE_MAX`], whatever its member is waiting for. To be checked when
    /// `host` has been awake for that long, with its local time.
    pub(crate) fn nothing_is_overdue(&self, host: usize, local: Timestamp) -> Check {
        let first = self.pending.get(&host).and_then(BTreeSet::first);
        match first {
            Some(&(due, call)) if due + LATE_MAX < local => {
                let late = local.since(due).as_millis();
                Err(self.about(call, &format!("call {call} was not answered {late} ms after its deadline")))
            }
            _ => Ok(()),
        }
    }

    /// Number of unanswered calls.
    pub(crate) fn pending(&self) -> usize {
        self.pending.values().map(BTreeSet::len).sum()
    }

    /// All calls in `region`, for the checker.
    pub(crate) fn history(&self, region: RegionId) -> Vec<Operation> {
        let of_region = || self.calls.iter().filter(|call| call.address.region == region && !call.transfers);
        let mut numbers = Numbers::new();
        of_region().for_each(|call| call.note_numbers(&mut numbers));
        of_region().flat_map(|call| call.recorded(&numbers)).collect()
    }

    /// Number of calls by outcome.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for call in self.calls.iter().filter(|call| !call.transfers) {
            let Call { operation, conditional, came_too_early, .. } = call;
            let is_applied = operation.is_write() && operation.verdict == Verdict::Ok;
            tally.conditional += u64::from(is_applied && conditional.is_some());
            tally.too_early += u64::from(*came_too_early);
            let count = match (operation.is_write(), operation.verdict) {
                (true, Verdict::Ok) => &mut tally.written,
                (false, Verdict::Ok) => &mut tally.read,
                (true, Verdict::Unknown) => &mut tally.unknown,
                _ => &mut tally.refused,
            };
            *count += 1;
        }
        tally
    }

    fn about(&self, call: CallId, words: &str) -> String {
        let Address { host, region, .. } = self.calls[call].address;
        format!("region {region}, member {}: {words}", host + 1)
    }

    fn finish(&mut self, call: CallId, verdict: Verdict) {
        let event = self.event();
        let operation = &mut self.calls[call].operation;
        (operation.completed, operation.verdict) = (Some(event), verdict);
    }

    fn show(&mut self, region: RegionId, index: u64) {
        let shown = self.shown.entry(region).or_default();
        *shown = (*shown).max(index);
    }

    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}

struct Heard {
    call: CallId,
    answers: Answers,
}

impl Sink for Heard {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((self.call, answer));
    }
}
