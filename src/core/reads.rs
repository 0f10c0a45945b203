//! Reads that wait for a read index.
//!
//! A *question* is a read index request, a MsgReadIndex: of this member's own raft node, or of a follower to its
//! leader.
//!
//! Owns the queue of this member's reads in one region. What always holds: reads that arrived in one round share one
//! read index with one id; an id is used for reads that began before it was first sent (except those that a leader lets
//! join, see below), so no answer to it can be too old for them; reads leave in the order they came. An id is (node,
//! boot, counter): no id of an earlier boot or another member can confirm a read here.
//!
//! An answer to a later id also resolves everything before it: the later confirmation happened after all of them began.
//! So a lost answer is repaired by any later one, and asking again for the newest unresolved reads is enough. Asking
//! again takes a new id: the leader's raft confirms with an id all that it was asked before it, so late
//! acknowledgements of an id that it had already answered, and was asked again, would confirm requests that were queued
//! in between. Answers that come twice, out of order or to nobody change nothing.
//!
//! A leader under a lease may let a read join a question that is under way ([`Reads::join`]; whether it may is the
//! lease's decision), and asks without any read when it only wants its lease renewed.

use std::collections::VecDeque;

use crate::completion::Completion;
use crate::core::boots::Boots;
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId, Term};

/// One read.
#[derive(Debug)]
pub(crate) struct Read {
    /// When the caller is answered at the latest.
    pub deadline: Timestamp,
    /// Its answer.
    pub completion: Completion,
    /// A local read waits until this much is applied.
    pub min_index: LogIndex,
}

impl Read {
    /// True when its deadline has passed, or its caller was answered.
    fn is_due(&self, now: Timestamp) -> bool {
        self.deadline <= now || self.completion.is_answered()
    }
}

/// Length of an encoded read id.
pub(crate) const READ_ID_BYTES: usize = 24;

/// Reads that share one read index.
#[derive(Debug)]
struct Group {
    /// Counter of the first id; later ids belong to this group until the next one begins.
    counter: u64,
    /// Term and clock when the id was first sent.
    asked: Asked,
    /// Wanted for the lease, whether a read waits or not.
    renews: bool,
    /// The confirmed read index.
    index: Option<LogIndex>,
    reads: Vec<Read>,
}

/// When a read index was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The term of the asker.
    pub term: Term,
    /// Its clock, before the question left.
    pub at: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reads {
    node: NodeId,
    boot: u64,
    counter: u64,
    /// Arrived since the last group was made.
    fresh: Vec<Read>,
    groups: VecDeque<Group>,
    /// Reads that need no confirmation, each with the index they wait for.
    local: Vec<(LogIndex, Read)>,
    /// Confirmed by the lease in this round.
    leased: Vec<Read>,
    asked_at: Timestamp,
}

impl Reads {
    /// An empty queue. `boot` differs in every boot of this member.
    #[must_use]
    pub(crate) fn new(node: NodeId, boot: u64) -> Self {
        let (counter, fresh, groups, local) = (0, Vec::new(), VecDeque::new(), Vec::new());
        let leased = Vec::new();
        Self { node, boot, counter, fresh, groups, local, leased, asked_at: Timestamp::default() }
    }

    /// Adds a read to the group of this round.
    pub(crate) fn push(&mut self, read: Read) {
        self.fresh.push(read);
    }

    /// Adds a read to the newest question, if one is under way and `may_join` allows it; else gives it back.
    ///
    /// # Errors
    /// The read.
    pub(crate) fn join(&mut self, read: Read, may_join: impl FnOnce(Asked) -> bool) -> Result<(), Read> {
        match self.groups.back_mut() {
            Some(newest) if newest.index.is_none() && may_join(newest.asked) => {
                newest.reads.push(read);
                Ok(())
            }
            _ => Err(read),
        }
    }

    /// Adds a read that needs no confirmation, only that `index` and its own least index are applied. It waits for no
    /// other read.
    pub(crate) fn push_local(&mut self, read: Read, index: LogIndex) {
        self.local.push((index.max(read.min_index), read));
    }

    /// Adds a read that the lease confirms.
    pub(crate) fn push_leased(&mut self, read: Read) {
        self.leased.push(read);
    }

    /// The lease confirms at once what the open questions would confirm later.
    pub(crate) fn confirm_by_lease(&mut self) {
        for group in &mut self.groups {
            self.leased.append(&mut group.reads);
        }
        self.leased.append(&mut self.fresh);
        self.groups.retain(|group| group.renews && group.index.is_none());
    }

    /// Takes out the local reads that may be answered with `applied`.
    pub(crate) fn take_local(&mut self, applied: LogIndex) -> Vec<Read> {
        self.local.extract_if(.., |(index, _)| *index <= applied).map(|(_, read)| read).collect()
    }

    /// Takes out the completions of local reads whose deadline has passed, and the index that each waited for.
    pub(crate) fn expire_local(&mut self, now: Timestamp) -> Vec<(Completion, LogIndex)> {
        let due = self.local.extract_if(.., |(_, read)| read.is_due(now));
        due.map(|(_, read)| (read.completion, read.min_index)).collect()
    }

    /// The id to ask a read index for: of the reads that arrived in this round.
    pub(crate) fn ask_fresh(&mut self, asked: Asked) -> Option<Vec<u8>> {
        let reads = std::mem::take(&mut self.fresh);
        (!reads.is_empty()).then(|| self.ask_for(reads, false, asked))
    }

    /// The id to ask a read index for although nobody reads; none while a question is under way.
    pub(crate) fn ask_renewal(&mut self, asked: Asked) -> Option<Vec<u8>> {
        let under_way = self.groups.back().is_some_and(|newest| newest.index.is_none());
        (!under_way).then(|| self.ask_for(Vec::new(), true, asked))
    }

    /// True while a question is under way.
    #[must_use]
    pub(crate) fn is_asking(&self) -> bool {
        self.groups.iter().any(|group| group.index.is_none())
    }

    /// The id to ask for the newest unresolved reads again, when they were last asked for before `asked_before`.
    pub(crate) fn ask_again(&mut self, asked_before: Timestamp, now: Timestamp) -> Option<Vec<u8>> {
        (self.is_asking() && self.asked_at <= asked_before).then(|| self.ask(now))
    }

    /// Takes an answer: the reads of this id and of all earlier ones may show the state at `index`. Unknown ids
    /// change nothing. Returns when the newest of them were first asked for, if this is the first answer to them.
    pub(crate) fn resolve(&mut self, id: &[u8], index: LogIndex) -> Option<Asked> {
        let counter = self.parse(id)?;
        let answered = self.groups.iter().rfind(|group| group.counter <= counter)?;
        let news = answered.index.is_none().then_some(answered.asked);
        for group in self.groups.iter_mut().take_while(|group| group.counter <= counter) {
            group.index.get_or_insert(index);
        }
        news
    }

    /// Forgets the answers that nobody waits for: those that were asked for the lease alone.
    pub(crate) fn drop_answered(&mut self) {
        assert!(self.is_empty(), "nobody waits for any");
        self.groups.retain(|group| group.index.is_none());
    }

    /// Forgets what was only asked for the lease.
    pub(crate) fn drop_renewals(&mut self) {
        self.groups.retain(|group| !group.reads.is_empty());
    }

    /// Treats every pending question as confirmed at `index`: a planted fault.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn confirm_all(&mut self, index: LogIndex) {
        for group in &mut self.groups {
            group.index.get_or_insert(index);
        }
    }

    /// The first id of the newest unresolved reads once more: a planted fault.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn ask_again_under_the_same_id(
        &mut self,
        asked_before: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        let first = self.groups.iter().rfind(|group| group.index.is_none())?.counter;
        let newest = std::mem::replace(&mut self.counter, first - 1);
        let id = self.ask_again(asked_before, now);
        self.counter = newest;
        id
    }

    /// Takes out the reads that may be answered now, in order. `served_up_to` is the applied index, or none when
    /// every state this member can show is recent enough for any confirmed read (a leader that has applied
    /// an entry of its term).
    pub(crate) fn take_answerable(&mut self, served_up_to: Option<LogIndex>) -> Vec<Read> {
        let mut ready = std::mem::take(&mut self.leased);
        while let Some(index) = self.groups.front().and_then(|group| group.index) {
            if served_up_to.is_some_and(|applied| applied < index) {
                break;
            }
            ready.append(&mut self.groups.pop_front().expect("just seen").reads);
        }
        ready
    }

    /// Takes out the completions whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Completion> {
        let mut expired = Vec::new();
        for reads in self.groups.iter_mut().map(|group| &mut group.reads).chain([&mut self.fresh]) {
            expired.extend(reads.extract_if(.., |read| read.is_due(now)).map(|read| read.completion));
        }
        self.groups.retain(|group| group.renews || !group.reads.is_empty());
        expired
    }

    /// Empties the queue.
    pub(crate) fn abandon(&mut self) -> Vec<Completion> {
        let groups = self.groups.drain(..).flat_map(|group| group.reads);
        let local = self.local.drain(..).map(|(_, read)| read);
        let confirmed = self.leased.drain(..);
        groups.chain(self.fresh.drain(..)).chain(local).chain(confirmed).map(|read| read.completion).collect()
    }

    /// True when no read waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
            && self.leased.is_empty()
            && self.local.is_empty()
            && self.groups.iter().all(|group| group.reads.is_empty())
    }

    /// Looks at what always holds. Local reads see what is `applied`, unless nothing may be seen.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, applied: Option<LogIndex>) {
        assert!(self.fresh.is_empty(), "a round asks for its reads");
        assert!(self.leased.is_empty(), "what the lease confirms leaves in its round");
        let may_leave = |index: LogIndex| applied.is_some_and(|applied| index <= applied);
        assert!(!self.local.iter().any(|(index, _)| may_leave(*index)), "a local read leaves once it can");
        let groups = || self.groups.iter();
        assert!(groups().is_sorted_by(|one, next| one.counter < next.counter), "ids rise");
        assert!(groups().all(|group| group.counter <= self.counter), "ids are given once");
        assert!(groups().is_sorted_by_key(|group| group.asked.term), "terms rise");
        assert!(groups().is_sorted_by_key(|group| group.asked.at), "time passes");
        assert!(groups().all(|group| group.asked.at <= self.asked_at), "the last question is the newest");
        assert!(
            groups().is_sorted_by_key(|group| group.index.is_none()),
            "a later answer resolves earlier reads"
        );
        assert!(groups().all(|group| group.renews || !group.reads.is_empty()), "somebody waits for each");
    }

    fn ask_for(&mut self, reads: Vec<Read>, renews: bool, asked: Asked) -> Vec<u8> {
        assert!(renews || !reads.is_empty(), "somebody waits for the answer");
        self.groups.push_back(Group { counter: self.counter + 1, asked, renews, index: None, reads });
        self.ask(asked.at)
    }

    /// A new id, which stands for everything that waits.
    fn ask(&mut self, now: Timestamp) -> Vec<u8> {
        assert!(now >= self.asked_at, "time does not go back");
        self.asked_at = now;
        self.counter += 1;
        [self.node.get(), self.boot, self.counter].iter().flat_map(|part| part.to_le_bytes()).collect()
    }

    fn parse(&self, id: &[u8]) -> Option<u64> {
        let (of, counter) = parse(id)?;
        (of == (self.node, self.boot) && counter <= self.counter).then_some(counter)
    }
}

/// The boot of a member that an id belongs to, and its counter there.
fn parse(id: &[u8]) -> Option<((NodeId, u64), u64)> {
    let part = |at: usize| Some(u64::from_le_bytes(id.get(at..at + 8)?.try_into().ok()?));
    (id.len() == READ_ID_BYTES).then_some(((NodeId(part(0)?), part(8)?), part(16)?))
}

/// The questions that a leader has taken from others in its term. None is taken twice, however often it arrives: see
/// [`Reads`] for what its late acknowledgements would confirm.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// The newest counter of each asker's boot.
    newest: Boots<u64>,
}

impl Questions {
    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        self.newest.check_invariants();
    }

    /// A new term.
    pub(crate) fn begin_term(&mut self) {
        self.newest.clear();
    }

    /// Whether `id` may be taken: it comes from `asker`, and is newer than all that this boot of it asked before.
    /// `count_of` says which of its boots that is, counted over its life, and nothing of one that has ended, for which
    /// nobody waits.
    pub(crate) fn take(&mut self, id: &[u8], asker: NodeId, count_of: impl Fn(u64) -> Option<u64>) -> bool {
        let Some(((_, boot), counter)) = parse(id).filter(|((node, _), _)| *node == asker) else {
            return false;
        };
        let newest = count_of(boot).and_then(|count| self.newest.entry(asker, count, boot));
        newest.is_some_and(|newest| {
            let is_new = counter > *newest;
            *newest = counter.max(*newest);
            is_new
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::Waiter;
    use std::sync::Arc;

    fn read(deadline: u64) -> Read {
        Read {
            deadline: Timestamp(deadline),
            completion: Arc::new(Waiter::default()).completion(),
            min_index: LogIndex(0),
        }
    }

    fn asked(at: u64) -> Asked {
        Asked { term: Term(7), at: Timestamp(at) }
    }

    fn reads() -> Reads {
        Reads::new(NodeId(1), 42)
    }

    #[test]
    fn reads_of_one_round_share_one_id() {
        let mut reads = reads();
        reads.push(read(10));
        reads.push(read(10));

        let id = reads.ask_fresh(asked(1)).expect("two fresh reads");

        assert!(reads.ask_fresh(asked(1)).is_none());
        reads.resolve(&id, LogIndex(7));
        assert!(reads.take_answerable(Some(LogIndex(6))).is_empty());
        assert_eq!(reads.take_answerable(Some(LogIndex(7))).len(), 2);
        assert!(reads.is_empty());
    }

    #[test]
    fn a_later_answer_resolves_earlier_reads() {
        let mut reads = reads();
        reads.push(read(10));
        let lost = reads.ask_fresh(asked(1)).expect("fresh");
        reads.push(read(10));
        let answered = reads.ask_fresh(asked(2)).expect("fresh");

        reads.resolve(&answered, LogIndex(9));
        reads.resolve(&lost, LogIndex(8));

        assert_eq!(reads.take_answerable(Some(LogIndex(9))).len(), 2);
    }

    #[test]
    fn an_earlier_answer_does_not_resolve_later_reads() {
        let mut reads = reads();
        reads.push(read(10));
        let first = reads.ask_fresh(asked(1)).expect("fresh");
        reads.push(read(10));
        reads.ask_fresh(asked(2)).expect("fresh");

        reads.resolve(&first, LogIndex(9));

        assert_eq!(reads.take_answerable(None).len(), 1);
        assert!(!reads.is_empty());
    }

    #[test]
    fn an_id_of_another_boot_or_member_confirms_nothing() {
        let mut old_boot = Reads::new(NodeId(1), 41);
        old_boot.push(read(10));
        let old = old_boot.ask_fresh(asked(1)).expect("fresh");
        let mut reads = reads();
        reads.push(read(10));
        reads.ask_fresh(asked(1)).expect("fresh");

        reads.resolve(&old, LogIndex(9));
        reads.resolve(b"garbage", LogIndex(9));

        assert!(reads.take_answerable(None).is_empty());
    }

    #[test]
    fn only_unresolved_reads_are_asked_again_and_not_too_soon() {
        let mut reads = reads();
        reads.push(read(10));
        let id = reads.ask_fresh(asked(5)).expect("fresh");

        assert!(reads.ask_again(Timestamp(4), Timestamp(6)).is_none());
        let again = reads.ask_again(Timestamp(5), Timestamp(7)).expect("not answered");
        assert_ne!(again, id);
        assert_eq!(reads.resolve(&id, LogIndex(1)), Some(asked(5)));
        assert_eq!(reads.resolve(&again, LogIndex(1)), None, "it is answered");
        assert!(reads.ask_again(Timestamp(100), Timestamp(100)).is_none());
    }

    #[test]
    fn an_answer_to_the_second_asking_is_an_answer_and_no_later_read_shares_its_id() {
        let mut reads = reads();
        reads.push(read(10));
        reads.ask_fresh(asked(5)).expect("fresh");
        let again = reads.ask_again(Timestamp(5), Timestamp(7)).expect("not answered");
        reads.push(read(10));
        reads.ask_fresh(asked(8)).expect("fresh");

        assert_eq!(reads.resolve(&again, LogIndex(1)), Some(asked(5)));

        assert_eq!(reads.take_answerable(None).len(), 1);
        assert!(!reads.is_empty());
    }

    #[test]
    fn a_leader_takes_each_question_once_and_none_that_is_older() {
        let mut reads = reads();
        reads.push(read(10));
        let first = reads.ask_fresh(asked(5)).expect("fresh");
        let second = reads.ask_again(Timestamp(5), Timestamp(7)).expect("not answered");
        let mut questions = Questions::default();

        let count_of = |boot| (boot == 42).then_some(3);
        let mut takes = |id: &[u8]| questions.take(id, NodeId(1), count_of);

        assert!(takes(&second));
        assert!(!takes(&second) && !takes(&first) && !takes(b"garbage"));
        questions.begin_term();
        assert!(!questions.take(&first, NodeId(1), |_| None) && !questions.take(&first, NodeId(2), count_of));
        assert!(questions.take(&first, NodeId(1), count_of));
    }

    #[test]
    fn a_local_read_waits_for_its_index_and_for_no_other_read() {
        let mut reads = reads();
        reads.push(read(10));
        reads.ask_fresh(asked(1)).expect("fresh");
        reads.push_local(read(10), LogIndex(5));

        assert!(reads.take_local(LogIndex(4)).is_empty());
        assert_eq!(reads.take_local(LogIndex(5)).len(), 1);
        assert!(!reads.is_empty());
    }

    #[test]
    fn an_expired_read_leaves_the_others_in_place() {
        let mut reads = reads();
        reads.push(read(10));
        reads.push(read(20));
        reads.ask_fresh(asked(1)).expect("fresh");

        assert_eq!(reads.expire(Timestamp(10)).len(), 1);
        assert!(!reads.is_empty());
        assert_eq!(reads.expire(Timestamp(20)).len(), 1);
        assert!(reads.is_empty());
    }

    #[test]
    fn a_read_joins_the_newest_open_question_if_it_may() {
        let mut reads = reads();
        assert!(reads.join(read(10), |_| true).is_err(), "no question is under way");
        reads.push(read(10));
        let id = reads.ask_fresh(asked(1)).expect("fresh");

        assert!(reads.join(read(10), |_| false).is_err());
        assert!(reads.join(read(10), |asked| asked.at == Timestamp(1)).is_ok());

        assert_eq!(reads.resolve(&id, LogIndex(9)), Some(asked(1)));
        assert_eq!(reads.take_answerable(None).len(), 2);
        assert!(reads.join(read(10), |_| true).is_err(), "it is answered");
    }

    #[test]
    fn a_renewal_is_asked_for_once_and_waits_for_no_read() {
        let mut reads = reads();

        let id = reads.ask_renewal(asked(5)).expect("nothing is under way");
        assert!(reads.ask_renewal(asked(6)).is_none());
        assert!(reads.is_empty());

        assert_eq!(reads.resolve(&id, LogIndex(1)), Some(asked(5)));
        assert_eq!(reads.resolve(&id, LogIndex(1)), None, "the second answer is no news");
        assert!(reads.ask_renewal(asked(7)).is_some());
    }

    #[test]
    fn a_local_read_waits_for_its_own_least_index() {
        let mut reads = reads();
        reads.push_local(Read { min_index: LogIndex(8), ..read(10) }, LogIndex(5));

        assert!(reads.take_local(LogIndex(7)).is_empty());
        assert_eq!(reads.take_local(LogIndex(8)).len(), 1);
    }
}
