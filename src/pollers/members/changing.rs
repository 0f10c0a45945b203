//! Changes of the list of members that somebody waits for.
//!
//! Owns the thread "almadia-members" and the way of a change: read the list, write the next one, wait until every region
//! has followed. What always holds: a change that meets another one is made again, from the list that the other left; a
//! change is written only from a list that this member has applied; each is answered once, by its deadline at the latest
//! (by whoever keeps those). Members that join are put into the list in the same way, and so is this member's own address
//! when it is another than the list has.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Known, Members, open_plaintext, spreading};
use crate::address::Address;
use crate::completion::{Completion, Position, Reply, Sink};
use crate::core::caller_write::CallerWrite;
use crate::core::command::seal_members;
use crate::core::input::Input;
use crate::core::member_list::{MemberChange, MemberList, NOT_JOINED};
use crate::error::{Code, Error, Result};
use crate::pollers::health::{in_flight_at, poisoned_by};
use crate::process::{panics, thread};
use crate::time::{Timestamp, now};
use crate::types::{BOOTSTRAP_REGION, InstanceId, NodeId};

/// How long the thread sleeps while something is to be looked at again, and nobody tells it when.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a member waits before it asks for its own address to be listed, again and again.
const OWN_PAUSE: Duration = Duration::from_secs(2);
/// How long a change of this member's own has, before it is looked at again whether it is still wanted.
const OWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A change of the list.
pub(super) struct Task {
    goal: Goal,
    deadline: Timestamp,
    caller: Arc<Caller>,
    stage: Stage,
}

/// Who waits for a change. Shared with the write of the list: only when that begins has the change begun.
struct Caller(Mutex<Option<Completion>>);

impl Caller {
    fn new(completion: Completion) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(completion))))
    }

    fn answer(&self, answer: Result<Reply>) {
        let completion = self.lock().take();
        if let Some(completion) = completion {
            completion.answer(answer);
        }
    }

    fn is_answered(&self) -> bool {
        self.lock().as_ref().is_none_or(Completion::is_answered)
    }

    fn start(&self) -> bool {
        self.lock().as_ref().is_some_and(Completion::start)
    }

    fn undo_start(&self) {
        if let Some(completion) = &*self.lock() {
            completion.undo_start();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Completion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Goal {
    /// What a caller asks for; nothing at all to wait until every region has followed what was asked for before.
    Changes(Vec<MemberChange>),
    /// A listed member joins as this directory.
    Join(NodeId, InstanceId),
}

enum Stage {
    /// To be written, not before this.
    Waiting(Timestamp),
    /// The list of this version is being written.
    Writing(u64, Arc<Written>),
    /// The list of this version is written, and the regions are to follow.
    Following(u64),
}

impl Members {
    /// Changes the list of members. `completion` is answered when every region has followed.
    pub(crate) fn change(&self, changes: Vec<MemberChange>, deadline: Timestamp, completion: Completion) {
        let mut known = self.lock();
        if known.is_closing {
            drop(known);
            return completion.answer(Err(Error::new(Code::Closed)));
        }
        let stage = Stage::Waiting(Timestamp(0));
        let caller = Caller::new(completion);
        known.tasks.push(Task { goal: Goal::Changes(changes), deadline, caller, stage });
        drop(known);
        self.news.notify_all();
    }

    /// Starts the thread; it ends when [`close`](Self::close) is called.
    ///
    /// # Errors
    /// When the operating system cannot create another thread.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let members = Arc::clone(self);
        thread::spawn("almadia-members", move || {
            let ran = panics::catch(|| {
                members.run();
                Ok(())
            });
            if let Err(error) = ran {
                members.health.poison(error);
                members.raft.nudge();
                members.close();
            }
        })
    }

    /// Ends the thread. What waits is answered.
    pub(crate) fn close(&self) {
        let mut known = self.lock();
        known.is_closing = true;
        let tasks = std::mem::take(&mut known.tasks);
        drop(known);
        self.asking.close();
        self.news.notify_all();
        for Task { caller, stage, .. } in tasks {
            let code = match stage {
                Stage::Waiting(_) => Code::Closed,
                Stage::Writing(..) | Stage::Following(_) => Code::ShutdownInFlight,
            };
            caller.answer(Err(Error::new(code)));
        }
    }

    fn run(self: &Arc<Self>) {
        self.find_others();
        let (mut spread_at, mut turn) = (now() + spreading::INTERVAL, 0);
        let mut known = self.lock();
        while !known.is_closing {
            if known.is_refused {
                known = self.dial_refused(known);
            }
            let tasks = std::mem::take(&mut known.tasks);
            let mut answers = Vec::new();
            for task in tasks {
                let stepped = self.step(&known, task);
                match stepped {
                    Ok(task) => known.tasks.push(task),
                    Err(answer) => answers.push(answer),
                }
            }
            self.follow_own_address(&mut known);
            if !answers.is_empty() {
                drop(known);
                for (caller, answer) in answers {
                    caller.answer(answer);
                }
                known = self.lock();
                continue;
            }
            known = self.rest(known);
            if now() >= spread_at {
                spread_at = now() + spreading::INTERVAL;
                turn += 1;
                self.spread_leaders(&known, turn);
            }
        }
    }

    /// Sleeps until there is news, or something is to be looked at again.
    fn rest<'a>(&self, known: MutexGuard<'a, Known>) -> MutexGuard<'a, Known> {
        let pause = match () {
            () if !known.tasks.is_empty() || known.is_refused => PAUSE,
            () if self.may_spread(&known) => spreading::INTERVAL,
            () => return self.news.wait(known).unwrap_or_else(PoisonError::into_inner),
        };
        self.news.wait_timeout(known, pause).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The task after the next step, or its answer.
    fn step(
        self: &Arc<Self>,
        known: &Known,
        mut task: Task,
    ) -> std::result::Result<Task, (Arc<Caller>, Result<Reply>)> {
        // A caller was answered at its deadline; of what nobody waits for, the next attempt begins anew.
        if task.caller.is_answered() || task.deadline + PAUSE < now() {
            return Err((task.caller, Err(Error::new(Code::Timeout))));
        }
        if let Err(removed) = self.health.check_member() {
            // This member is dropped by the first region, which is the last, and there by the last step but those that
            // drop others. So all that was asked for with its removal has come about.
            let answer = match task.stage {
                Stage::Waiting(_) => Err(removed),
                // The list, or another one, may be what removed it, and nobody tells it any more.
                Stage::Writing(_, written) => match written.take() {
                    None => Err(in_flight_at(&removed)),
                    Some(Err(error)) if error.code() != Code::Conflict => Err(error),
                    Some(Err(_)) => Err(removed),
                    Some(Ok(_)) => Ok(Reply::default()),
                },
                Stage::Following(_) => Ok(Reply::default()),
            };
            return Err((task.caller, answer));
        }
        if let Some(cause) = self.health.poisoned() {
            let is_written = !matches!(task.stage, Stage::Waiting(_));
            let error = if is_written { in_flight_at(cause) } else { poisoned_by(cause) };
            return Err((task.caller, Err(error)));
        }
        match task.stage {
            Stage::Waiting(until) if now() < until => Ok(task),
            Stage::Waiting(_) => self.write(known, task),
            Stage::Writing(version, ref written) => match written.take() {
                None => Ok(task),
                Some(Ok(_)) => {
                    task.stage = Stage::Following(version);
                    self.step(known, task)
                }
                Some(Err(error)) if error.code() == Code::Conflict => {
                    task.caller.undo_start();
                    task.stage = Stage::Waiting(now() + PAUSE);
                    Ok(task)
                }
                Some(Err(error)) => Err((task.caller, Err(error))),
            },
            Stage::Following(version) => match self.has_followed(known, version, &task.goal) {
                true => Err((task.caller, Ok(Position::default().into()))),
                false => Ok(task),
            },
        }
    }

    /// Writes the list that the task is for.
    fn write(
        self: &Arc<Self>,
        known: &Known,
        mut task: Task,
    ) -> std::result::Result<Task, (Arc<Caller>, Result<Reply>)> {
        let base = known.base(&self.own, &self.before.configured);
        if base.members.is_empty() {
            // This member has joined, and knows of nobody yet.
            task.stage = Stage::Waiting(now() + PAUSE);
            return Ok(task);
        }
        let next = next_list(&base, &task.goal).and_then(|next| self.check_addresses(next));
        let next = match next {
            Ok(Some(next)) => next,
            Ok(None) => {
                task.stage = Stage::Following(base.version);
                return self.step(known, task);
            }
            Err(reason) => {
                return Err((task.caller, Err(Error::with_detail(Code::InvalidArgument, reason))));
            }
        };
        let (answer, members) = (Mutex::new(None), Arc::downgrade(self));
        let written = Arc::new(Written { answer, members, caller: Arc::clone(&task.caller) });
        let completion = Completion::new(Box::new(WrittenSink(Arc::clone(&written))));
        let write = CallerWrite {
            data: seal_members(&next),
            deadline: task.deadline,
            completion,
            was_proposed: false,
        };
        // A closed mailbox drops it, which answers it.
        drop(self.raft.push((BOOTSTRAP_REGION, Input::Write(write))));
        task.stage = Stage::Writing(next.version, written);
        Ok(task)
    }

    fn check_addresses(&self, next: Option<MemberList>) -> std::result::Result<Option<MemberList>, String> {
        let Some(list) = &next else { return Ok(next) };
        let is_lonely = list.members.len() == 1;
        if let Some(member) = list.members.iter().find(|member| member.address.is_empty() && !is_lonely) {
            return Err(format!(
                "node {} has no address where others reach it: open it with transport.announce",
                member.node
            ));
        }
        let is_open = |address: &&String| !Address::parse(address).is_ok_and(|parsed| parsed.is_loopback());
        match list.members.iter().map(|member| &member.address).find(is_open) {
            Some(address) if !self.own.insecure && !is_lonely => Err(open_plaintext(address)),
            _ => Ok(next),
        }
    }

    /// Whether what `goal` asked for with the list of this version has come about. A later list counts: it has the change
    /// in it, or somebody has taken it back.
    fn has_followed(&self, known: &Known, version: u64, goal: &Goal) -> bool {
        let Some(list) = &known.list else { return version == 0 };
        let drains = |change: &MemberChange| matches!(change, MemberChange::Drain { is_drained: true, .. });
        let is_settled = || match goal {
            Goal::Join(..) => true,
            Goal::Changes(changes) => {
                // A member that places its leaders by hand does not wait for others to do it.
                let waits = changes.iter().any(drains) && self.own.spread_leaders;
                let is_drained = !waits || self.is_drained(known, list);
                is_drained && known.regions.values().all(|region| region.settled_version >= version)
            }
        };
        list.version >= version && is_settled()
    }

    /// Has the list changed if this member is reached elsewhere than it says. Once: what it says later is what somebody
    /// wants, perhaps of the next start of this member.
    fn follow_own_address(&self, known: &mut Known) {
        let (node, address) = (self.own.node, &self.own.address);
        if known.has_own_address || address.is_empty() {
            return;
        }
        let Some(listed) = known.list.as_ref().and_then(|list| list.get(node)) else { return };
        if listed.address == *address {
            known.has_own_address = true;
        } else if self.health.check().is_ok() && !known.tasks.iter().any(|task| task.is_move_of(node)) {
            let change = MemberChange::Move { node, address: address.clone() };
            // Not at once: it may have been refused just now.
            known.ask(Goal::Changes(vec![change]), now() + OWN_PAUSE);
        }
    }
}

impl Known {
    /// A listed member joins.
    pub(super) fn let_in(&mut self, node: NodeId, instance: InstanceId) {
        let is_asked = |task: &Task| matches!(task.goal, Goal::Join(other, _) if other == node);
        if !self.tasks.iter().any(is_asked) {
            self.ask(Goal::Join(node, instance), Timestamp(0));
        }
    }

    /// Something that no caller waits for.
    fn ask(&mut self, goal: Goal, not_before: Timestamp) {
        let caller = Caller::new(Completion::new(Box::new(Nobody)));
        let stage = Stage::Waiting(not_before);
        self.tasks.push(Task { goal, deadline: now() + OWN_TIMEOUT, caller, stage });
    }
}

impl Task {
    fn is_move_of(&self, node: NodeId) -> bool {
        let Goal::Changes(changes) = &self.goal else { return false };
        matches!(changes[..], [MemberChange::Move { node: moved, .. }] if moved == node)
    }
}

/// The list that a goal is for; none if there is nothing to write.
fn next_list(base: &MemberList, goal: &Goal) -> std::result::Result<Option<MemberList>, String> {
    match goal {
        Goal::Changes(changes) if changes.is_empty() => Ok(None),
        Goal::Changes(changes) => base.changed(changes).map(Some),
        Goal::Join(node, instance) => match base.get(*node) {
            Some(member) if member.instance == NOT_JOINED => Ok(Some(base.joined(*node, *instance))),
            _ => Ok(None),
        },
    }
}

/// What became of a written list.
struct Written {
    answer: Mutex<Option<Result<Reply>>>,
    members: Weak<Members>,
    caller: Arc<Caller>,
}

impl Written {
    fn take(&self) -> Option<Result<Reply>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct WrittenSink(Arc<Written>);

impl Sink for WrittenSink {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        if let Some(members) = self.0.members.upgrade() {
            members.news.notify_all();
        }
    }

    fn start(&self) -> bool {
        self.0.caller.start()
    }

    fn undo_start(&self) {
        self.0.caller.undo_start();
    }

    fn is_answered(&self) -> bool {
        self.0.caller.is_answered()
    }
}

/// Whom nobody waits behind.
struct Nobody;

impl Sink for Nobody {
    fn deliver(self: Box<Self>, _: Result<Reply>) {}
}
