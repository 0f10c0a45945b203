//! One region's state machine: committed entries in, engine writes and answers out.
//!
//! Owns the order in which committed entries of a region take effect, and the proposals of this member that
//! wait for them. What always holds: entries are applied in index order without a gap; the apply state moves in
//! the batch of the data it describes; what an entry does depends on the entry and the region alone, never on
//! time, queue lengths or the member it runs on. Writing the batch, reporting back to the peer and firing the
//! answers are the apply poller's (or the simulator's), in that order.

pub(crate) mod batch;
mod installing;
mod verdicts;

use std::collections::VecDeque;

use raft::eraftpb::{Entry, EntryType};

use crate::completion::{Completion, Position};
use crate::core::applied_write::AppliedWrite;
use crate::core::change::OwnedChange;
use crate::core::command::{Command, CommandError, Operation, Write, is_conditional, is_level};
use crate::core::forwarding::Origin;
use crate::core::forwarding::tags::{self, TagsError};
use crate::core::judge::{Judged, Overlay, ReadAhead, Room, judge};
use crate::core::member_list::{MemberList, NotASuccessor};
use crate::core::membership;
use crate::core::planted::{self, Fault};
use crate::core::proposals::{CommittedProposal, Requester};
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::core::stored::Stored;
use crate::effects::Effects;
use crate::error::{Code, Error, Refusal, Result};
use crate::types::{
    ApplyState, BOOTSTRAP_REGION, CONDITIONS_LEVEL, LogIndex, MEMBERS_LEVEL, RegionId, Term, Version,
};

use installing::{Install, InstallStage};
use verdicts::Verdicts;

pub(crate) use self::batch::{Applied, ApplyBatch, Slice};

/// Committed entries on their way to the applier.
#[derive(Debug)]
pub(crate) struct ApplyTask {
    /// Whose entries.
    pub region: RegionId,
    /// A raft snapshot, whose data take the place of all that was applied before.
    pub install: Option<Box<SnapshotHead>>,
    /// The data of the last snapshot are in their place.
    pub is_installed: bool,
    /// In index order, following the snapshot or the last task's.
    pub entries: Vec<Entry>,
    /// In index order; each index is one of `entries`.
    pub proposals: Vec<CommittedProposal>,
}

impl ApplyTask {
    /// A raft snapshot alone.
    #[must_use]
    pub(crate) fn install(head: SnapshotHead) -> Self {
        Self { install: Some(Box::new(head.clone())), ..Self::of(head.region.id) }
    }

    /// The data of the last snapshot of `region` are in their place.
    #[must_use]
    pub(crate) fn installed(region: RegionId) -> Self {
        Self { is_installed: true, ..Self::of(region) }
    }

    /// Nothing of `region` yet.
    #[must_use]
    pub(crate) fn of(region: RegionId) -> Self {
        Self { region, install: None, is_installed: false, entries: Vec::new(), proposals: Vec::new() }
    }
}

/// What a batch leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing waits.
    Idle,
    /// The slice is used up; the rest waits and goes before anything newer.
    Yielded,
    /// The next entry needs a batch that holds little before it: it goes first into the next one.
    Postponed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Applier {
    /// This boot of this member.
    origin: Origin,
    /// The highest feature level that this build knows.
    known_level: u16,
    region: Region,
    state: ApplyState,
    entries: VecDeque<Entry>,
    proposals: VecDeque<CommittedProposal>,
    /// A raft snapshot that comes before all of them.
    install: Option<Install>,
}

impl Applier {
    /// An applier that continues behind `state`, of a build that knows feature levels up to `known_level`.
    #[must_use]
    pub(crate) fn new(origin: Origin, known_level: u16, region: Region, state: ApplyState) -> Self {
        assert!(region.level <= known_level, "a build that knows less opens no such directory");
        let (entries, proposals) = (VecDeque::new(), VecDeque::new());
        Self { origin, known_level, region, state, entries, proposals, install: None }
    }

    /// Takes over committed entries; they wait behind those that are already here.
    pub(crate) fn queue(&mut self, task: ApplyTask) {
        assert_eq!(task.region, self.region.id, "the router knows whose task this is");
        self.check_task(&task);
        if task.is_installed {
            self.finish_install();
        }
        if let Some(head) = task.install {
            self.take_install(head);
        }
        let rest = self.entries.len();
        self.entries.extend(task.entries);
        self.proposals.extend(task.proposals);
        if planted::has(Fault::NewerBeforeTheRest) {
            self.entries.rotate_left(rest);
        }
    }

    fn check_task(&self, task: &ApplyTask) {
        let (Some(first), Some(last)) = (task.entries.first(), task.entries.last()) else {
            return assert!(task.proposals.is_empty(), "a proposal is one of the entries");
        };
        let begun = task.install.as_ref().or(self.install.as_ref().map(|install| &install.head));
        let begun = begun.map_or(self.state.index, |head| head.state.index);
        let is_newest = |entry: &&Entry| task.install.is_none() || entry.index > begun.get();
        let newest =
            self.entries.back().filter(is_newest).map_or(begun.get(), |entry| entry.index.max(begun.get()));
        assert!(first.index == newest + 1 || planted::is_any(), "a task follows the one before");
        let indices = first.index..=last.index;
        let proposals = task.proposals.iter().map(|proposal| proposal.index.get());
        assert!(
            proposals.clone().is_sorted_by(|one, next| one < next),
            "proposals are in the order of the log"
        );
        assert!(proposals.clone().all(|index| indices.contains(&index)), "a proposal is one of the entries");
    }

    /// What waits and could be applied: entries, and the steps of a raft snapshot.
    #[must_use]
    pub(crate) fn backlog(&self) -> usize {
        match self.install_stage() {
            Some(InstallStage::Running) => 0,
            Some(_) => self.entries.len() + 1,
            None => self.entries.len(),
        }
    }

    /// Moves one slice of waiting entries into `batch`: one entry at least if that is empty. `stored` are the data
    /// without the batch.
    ///
    /// # Errors
    /// `INCOMPATIBLE_FORMAT` or `CORRUPTION` for an entry this version cannot read, and those of `stored`. The state
    /// machine must stop here: skipping the entry would make this member differ from the others.
    pub(crate) fn fill(
        &mut self,
        batch: &mut ApplyBatch,
        slice: Slice,
        stored: &dyn Stored,
    ) -> Result<Progress> {
        if self.backlog() == 0 {
            return Ok(Progress::Idle);
        }
        assert!(!batch.is_closed, "nothing more goes in");
        let mut report = Applied {
            region: self.region.id,
            state: self.state,
            installed: false,
            truncate_to: None,
            conf_changes: Vec::new(),
            raised: None,
            list: None,
            settled: None,
            forwarded_to_here: Vec::new(),
            forwarded_from_here: Vec::new(),
        };
        let end = Slice {
            entries: slice.entries.saturating_add(batch.entries),
            bytes: slice.bytes.saturating_add(batch.encoded_bytes),
            operations: slice.operations.saturating_add(batch.operations),
        };
        let has_stepped = self.step_install(batch);
        while !has_stepped && let Some(entry) = self.take_entry() {
            let waits_for_judge = is_conditional(&entry.data) && batch.would_be_noted();
            // What was written before the level rose shows another version from there on, also to conditions.
            let shares = planted::has(Fault::LevelSharesItsBatch);
            if waits_for_judge || (is_level(&entry.data) && batch.entries > 0 && !shares) {
                assert!(!batch.is_empty() || self.state != report.state, "there is something before it");
                self.entries.push_front(entry);
                break;
            }
            self.apply(entry, batch, &mut report, stored)?;
            batch.entries += 1;
            if end.left_by(batch).is_used_up() {
                break;
            }
        }
        if has_stepped && self.state == report.state {
            // The rest waits until the new data are there.
            return Ok(Progress::Idle);
        }
        if self.state == report.state {
            assert!(!batch.is_empty(), "an empty batch takes an entry");
            return Ok(Progress::Postponed);
        }
        (report.state, report.installed) = (self.state, has_stepped);
        let nobody_waits = self.proposals.is_empty();
        assert!(!self.entries.is_empty() || nobody_waits, "whoever waits, waits for an entry");
        batch.states.push((self.region.id, self.state));
        batch.reports.push(report);
        Ok(if self.backlog() == 0 { Progress::Idle } else { Progress::Yielded })
    }

    /// Gives back every caller that waits, to be answered. The applier is of no use afterwards.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Completion> {
        self.entries.clear();
        let requesters = std::mem::take(&mut self.proposals).into_iter().flat_map(|p| p.requesters);
        requesters.flatten().filter_map(|requester| match requester {
            Requester::Caller(completion) => Some(completion),
            // Its member finds it in its own log.
            Requester::Follower(_) => None,
        })
    }

    fn apply(
        &mut self,
        mut entry: Entry,
        batch: &mut ApplyBatch,
        report: &mut Applied,
        stored: &dyn Stored,
    ) -> Result<()> {
        let position = Position { index: LogIndex(entry.index), term: Term(entry.term) };
        assert_eq!(position.index, self.state.index.next(), "entries are applied without a gap");
        assert!(position.term >= self.state.term, "terms never go back in a log");

        let context = entry.take_context();
        let tags = tags::parse(&context, &entry.data).map_err(|error| untellable(entry.index, error))?;
        let mut verdicts = Verdicts {
            position,
            waiting: self.take_requesters(position.index).into_iter(),
            tags,
            origin: self.origin,
            own: None,
            place: 0,
            tells_versions: self.region.level >= CONDITIONS_LEVEL,
            told_bytes: 0,
        };
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => {
                verdicts.next(Ok(Effects::default()), batch, report);
            }
            EntryType::EntryNormal => self.apply_command(entry, &mut verdicts, batch, report, stored)?,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                let verdict = self.apply_conf_change(&entry, batch, report);
                verdicts.next(verdict.map(|()| Effects::default()), batch, report);
            }
        }
        assert!(verdicts.waiting.next().is_none(), "whoever waits for a write of an entry gets its verdict");
        self.state = ApplyState { index: position.index, term: position.term };
        Ok(())
    }

    fn apply_command(
        &mut self,
        entry: Entry,
        verdicts: &mut Verdicts<'_>,
        batch: &mut ApplyBatch,
        report: &mut Applied,
        stored: &dyn Stored,
    ) -> Result<()> {
        let index = entry.index;
        match Command::parse(entry.data).map_err(|error| unreadable(index, error))? {
            Command::Write(write) => {
                let verdict =
                    self.apply_write(write, (verdicts.version(), verdicts.room()), batch, stored)?;
                verdicts.next(verdict, batch, report);
            }
            Command::Group(writes) => {
                let ahead;
                let stored = match writes.iter().filter(|write| write.is_conditional()).count() {
                    0 | 1 => stored,
                    count => {
                        batch.overlay().reserve(count);
                        ahead = ReadAhead::of(&writes, batch.overlay(), stored)?;
                        &ahead
                    }
                };
                for write in writes {
                    let verdict =
                        self.apply_write(write, (verdicts.version(), verdicts.room()), batch, stored)?;
                    verdicts.next(verdict, batch, report);
                }
            }
            Command::Truncate(index) => report.truncate_to = report.truncate_to.max(Some(index)),
            Command::Level(level) => self.apply_level(level, LogIndex(index), batch, report)?,
            Command::Settled(version) => self.apply_settled(version, batch, report),
            Command::Members(list) => {
                let verdict = self.apply_members(list, LogIndex(index), batch, report)?;
                verdicts.next(verdict.map(|()| Effects::default()), batch, report);
            }
        }
        Ok(())
    }

    fn apply_settled(&mut self, version: u64, batch: &mut ApplyBatch, report: &mut Applied) {
        assert!(!self.region.lacks_data(), "who applies has data");
        // Nobody proposes what names a list that is yet to come, and all members must make the same of it if somebody did.
        if version > self.region.settled_version && self.region.may_have_settled(version) {
            self.region.settled_version = version;
            self.store_region(batch);
            report.settled = Some(version);
        }
    }

    /// The verdict on a list of members.
    fn apply_members(
        &mut self,
        list: MemberList,
        index: LogIndex,
        batch: &mut ApplyBatch,
        report: &mut Applied,
    ) -> Result<Result<()>> {
        if self.known_level < MEMBERS_LEVEL {
            return Err(not_known(index, self.known_level));
        }
        let may_have_lists = self.region.id == BOOTSTRAP_REGION && self.region.level >= MEMBERS_LEVEL;
        if !may_have_lists {
            // Nobody proposes it, and all members must make the same of it if somebody did.
            return Ok(Err(Error::new(Code::Unsupported)));
        }
        assert!(!self.region.lacks_data(), "who applies has data");
        let before = self.region.list.as_ref();
        Ok(match list.check_successor(before, &self.region.all_members()) {
            Ok(()) => {
                assert!(list.version > self.region.settled_version, "nobody has followed what is new");
                self.region.list = Some(list.clone());
                self.store_region(batch);
                report.list = Some(list);
                Ok(())
            }
            Err(NotASuccessor::Version) => Err(Error::new(Code::Conflict)),
            Err(NotASuccessor::Rule) => Err(Error::new(Code::InvalidArgument)),
        })
    }

    fn apply_level(
        &mut self,
        level: u16,
        index: LogIndex,
        batch: &mut ApplyBatch,
        report: &mut Applied,
    ) -> Result<()> {
        if level > self.known_level {
            return Err(not_known(index, self.known_level));
        }
        batch.is_closed = !planted::has(Fault::LevelSharesItsBatch);
        assert!(self.region.floor_index < index, "an entry is applied once");
        if self.region.raise_level(level, index) {
            self.store_region(batch);
            report.raised = Some((level, index));
        }
        Ok(())
    }

    /// The verdict on a write, whose changes go into `batch`.
    ///
    /// # Errors
    /// Those of `stored`, which are no verdict.
    fn apply_write(
        &self,
        write: Write,
        (version, room): (Version, Room),
        batch: &mut ApplyBatch,
        stored: &dyn Stored,
    ) -> Result<Result<Effects>> {
        if write.epoch_version() != self.region.epoch.version {
            return Ok(Err(Error::new(Code::RegionChanged)));
        }
        batch.charge(&write);
        if !write.is_conditional() {
            if let Some(overlay) = &mut batch.overlay {
                overlay.note(&write, version);
            }
            batch.writes.push(AppliedWrite::plain(write, version));
            return Ok(Ok(Effects::default()));
        }
        if self.known_level < CONDITIONS_LEVEL {
            return Err(not_known(version.index(), self.known_level));
        }
        if self.region.level < CONDITIONS_LEVEL {
            // Nobody proposes it, and all members must make the same of it if somebody did.
            return Ok(Err(Error::new(Code::Unsupported)));
        }
        self.apply_judged(&write, (version, room), batch, stored)
    }

    /// The same of a write with conditions.
    fn apply_judged(
        &self,
        write: &Write,
        (version, room): (Version, Room),
        batch: &mut ApplyBatch,
        stored: &dyn Stored,
    ) -> Result<Result<Effects>> {
        let is_second = !batch.states.is_empty();
        if planted::has(Fault::OverlayForgotten)
            || planted::has(Fault::ConditionJudgedAtPropose)
            || (is_second && planted::has(Fault::OverlayOfAnotherRegion))
        {
            batch.overlay = Some(Overlay::default());
        }
        match judge(write, version, room, batch.overlay(), stored)? {
            Judged::Applied { changes, effects } => {
                assert!(
                    effects.results.is_sorted_by_key(|(operation, _)| *operation),
                    "results are in order"
                );
                let wrong = planted::has(Fault::TrailerWithWrongOrdinal);
                let version = if wrong { Version::of(version.index(), 0) } else { version };
                batch.writes.push(AppliedWrite::judged(changes, version));
                Ok(Ok(effects))
            }
            Judged::Refused(refusal) => {
                if planted::has(Fault::RefusedBatchBumpsVersion) {
                    batch.writes.extend(bumped(write, version, refusal, stored)?);
                }
                Ok(Err(Error::refused(refusal)))
            }
        }
    }

    fn apply_conf_change(
        &mut self,
        entry: &Entry,
        batch: &mut ApplyBatch,
        report: &mut Applied,
    ) -> Result<()> {
        let refused = |why: String| Error::with_detail(Code::InvalidArgument, why);
        let change = membership::parse(entry).ok_or_else(|| refused("malformed membership change".into()))?;
        let version =
            membership::list_version(&change).ok_or_else(|| refused("malformed membership change".into()))?;
        let is_old = (1..self.region.followed_version()).contains(&version);
        if is_old && !planted::has(Fault::OlderListObeyed) {
            return Err(refused("the region has followed a newer list of members".into()));
        }
        let members = membership::changed(&self.region.members, &change)
            .map_err(|error| refused(format!("membership change refused: {error}")))?;
        assert!(!is_old || planted::is_any(), "a region goes back to no older list");
        self.region.members = members;
        self.region.list_version = self.region.list_version.max(version);
        self.region.epoch.conf_ver += 1;
        self.store_region(batch);
        report.conf_changes.push(change);
        Ok(())
    }

    fn store_region(&self, batch: &mut ApplyBatch) {
        batch.regions.retain(|region| region.id != self.region.id);
        batch.regions.push(self.region.clone());
    }

    fn take_requesters(&mut self, index: LogIndex) -> Vec<Option<Requester>> {
        let Some(front) = self.proposals.front() else { return Vec::new() };
        assert!(front.index >= index, "every proposal of a task has its entry in the task");
        if front.index > index {
            return Vec::new();
        }
        self.proposals.pop_front().expect("just seen").requesters
    }
}

/// What a mistaken member would write: the key that a refusal is about, with its value and a new version.
fn bumped(
    write: &Write,
    version: Version,
    refusal: Refusal,
    stored: &dyn Stored,
) -> Result<Option<AppliedWrite>> {
    assert!(write.is_conditional(), "others are not refused for what they find");
    assert!(version != Version::NONE, "a write has a version");
    let about = refusal.precondition.and_then(|found| write.conditions().nth(found.operation as usize));
    let Some((_, Operation::IfAbsent { key } | Operation::IfVersion { key, .. })) = about else {
        return Ok(None);
    };
    let put = |value| OwnedChange::Put { key: write.share(key), value };
    Ok(stored.get(key)?.map(|(value, _)| AppliedWrite::judged(vec![put(value)], version)))
}

fn untellable(index: u64, error: TagsError) -> Error {
    let code = match error {
        TagsError::Version(_) => Code::IncompatibleFormat,
        TagsError::Malformed => Code::Corruption,
    };
    Error::with_detail(code, format!("raft log entry {index}: {error}"))
}

/// What stops a member whose build is older than an entry.
fn not_known(index: LogIndex, known_level: u16) -> Error {
    let detail = format!(
        "raft log entry {index} is of a later feature level than {known_level}, which this build knows"
    );
    Error::with_detail(Code::IncompatibleFormat, detail)
}

fn unreadable(index: u64, error: CommandError) -> Error {
    let code = match error {
        CommandError::Version(_) => Code::IncompatibleFormat,
        CommandError::Malformed => Code::Corruption,
    };
    Error::with_detail(code, format!("raft log entry {index}: {error}"))
}
