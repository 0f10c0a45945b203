//! One region's state machine: committed entries in, engine writes and answers out.
//!
//! Owns the order in which committed entries of a region take effect, and the proposals of this member that
//! wait for them. What always holds: entries are applied in index order without a gap; the apply state moves in
//! the batch of the data it describes; what an entry does depends on the entry and the region alone, never on
//! time, queue lengths or the member it runs on. Writing the batch, reporting back to the peer and firing the
//! answers are the driver's, in that order.

use std::collections::VecDeque;

use raft::eraftpb::{ConfChangeV2, Entry, EntryType};

use crate::completion::{Completion, Position};
use crate::core::command::{Command, CommandError, Write};
use crate::core::membership;
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::types::{ApplyState, LogIndex, RegionId, Term};

/// A proposal of this member whose entry is committed.
#[derive(Debug)]
pub struct CommittedProposal {
    /// Where its entry stands.
    pub index: LogIndex,
    /// Its answer. None when the caller was answered before, at its deadline.
    pub completion: Option<Completion>,
}

/// Committed entries on their way to the applier.
#[derive(Debug)]
pub struct ApplyTask {
    /// Whose entries.
    pub region: RegionId,
    /// In index order, following the last task's.
    pub entries: Vec<Entry>,
    /// In index order; each index is one of `entries`.
    pub proposals: Vec<CommittedProposal>,
}

/// What the peer learns after its entries took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Whose entries.
    pub region: RegionId,
    /// The new apply state.
    pub state: ApplyState,
    /// The log may be dropped up to here once the engine has flushed beyond it.
    pub truncate_to: Option<LogIndex>,
    /// Accepted membership changes for the raft node, in order. A refused one is over once it is applied.
    pub conf_changes: Vec<ConfChangeV2>,
}

/// Effects of one apply round over any number of regions, in the order in which they must happen:
/// write the data, states and regions as one engine batch, then report, then answer. (An answer before the report
/// would let its caller start a follower read that the peer confirms for an applied index from before the answer.)
#[derive(Debug, Default)]
pub struct ApplyBatch {
    /// Data, in order.
    pub writes: Vec<Write>,
    /// New apply states, one a region.
    pub states: Vec<(RegionId, ApplyState)>,
    /// Regions whose stored form changed.
    pub regions: Vec<Region>,
    /// What the peers learn.
    pub reports: Vec<Applied>,
    /// Answers in log order.
    pub answers: Vec<(Completion, Result<Position>)>,
    encoded_bytes: usize,
}

impl ApplyBatch {
    /// True when there is nothing to write, answer or report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Size of the commands in this batch.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }
}

/// How much one region may take of one round before others get their turn.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Entries at most.
    pub entries: usize,
    /// Stop after the entry that makes the batch reach this many bytes.
    pub bytes: usize,
}

/// What is left after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing waits.
    Idle,
    /// The slice is used up; the rest waits and goes before anything newer.
    Yielded,
}

/// See the module.
#[derive(Debug)]
pub struct Applier {
    region: Region,
    state: ApplyState,
    entries: VecDeque<Entry>,
    proposals: VecDeque<CommittedProposal>,
}

impl Applier {
    /// An applier that continues behind `state`.
    #[must_use]
    pub fn new(region: Region, state: ApplyState) -> Self {
        Self { region, state, entries: VecDeque::new(), proposals: VecDeque::new() }
    }

    /// Takes over committed entries; they wait behind those that are already here.
    pub fn queue(&mut self, task: ApplyTask) {
        assert_eq!(task.region, self.region.id, "the router knows whose task this is");
        self.entries.extend(task.entries);
        self.proposals.extend(task.proposals);
    }

    /// Entries that wait.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.entries.len()
    }

    /// Moves up to one slice of waiting entries into `batch`.
    ///
    /// # Errors
    /// `INCOMPATIBLE_FORMAT` or `CORRUPTION` for an entry this version cannot read. The state machine must stop
    /// here: skipping it would make this member differ from the others.
    pub fn fill(&mut self, batch: &mut ApplyBatch, slice: Slice) -> Result<Progress> {
        if self.entries.is_empty() {
            return Ok(Progress::Idle);
        }
        let mut report = Applied {
            region: self.region.id,
            state: self.state,
            truncate_to: None,
            conf_changes: Vec::new(),
        };
        for _ in 0..slice.entries.max(1) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.apply(entry, batch, &mut report)?;
            if batch.encoded_bytes >= slice.bytes {
                break;
            }
        }
        report.state = self.state;
        batch.states.push((self.region.id, self.state));
        batch.reports.push(report);
        Ok(if self.entries.is_empty() { Progress::Idle } else { Progress::Yielded })
    }

    /// Gives back every proposal that waits, for the caller to answer. The applier is of no use afterwards.
    pub fn abandon(&mut self) -> impl Iterator<Item = Completion> {
        self.entries.clear();
        std::mem::take(&mut self.proposals).into_iter().filter_map(|proposal| proposal.completion)
    }

    fn apply(&mut self, entry: Entry, batch: &mut ApplyBatch, report: &mut Applied) -> Result<()> {
        let position = Position { index: LogIndex(entry.index), term: Term(entry.term) };
        assert_eq!(position.index, self.state.index.next(), "entries are applied without a gap");
        assert!(position.term >= self.state.term, "terms never go back in a log");

        let verdict = match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => Ok(()),
            EntryType::EntryNormal => self.apply_command(entry, batch, report)?,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                self.apply_conf_change(&entry, batch, report)
            }
        };
        self.state = ApplyState { index: position.index, term: position.term };
        if let Some(completion) = self.take_proposal(position.index) {
            batch.answers.push((completion, verdict.map(|()| position)));
        }
        Ok(())
    }

    /// The outer result ends the state machine, the inner one is the command's own verdict.
    fn apply_command(
        &self,
        entry: Entry,
        batch: &mut ApplyBatch,
        report: &mut Applied,
    ) -> Result<Result<()>> {
        let index = entry.index;
        match Command::parse(entry.data).map_err(|error| unreadable(index, error))? {
            Command::Write(write) if write.epoch_version() != self.region.epoch.version => {
                return Ok(Err(Error::new(Code::RegionChanged)));
            }
            Command::Write(write) => {
                batch.encoded_bytes += write.encoded_bytes();
                batch.writes.push(write);
            }
            Command::Truncate(index) => report.truncate_to = report.truncate_to.max(Some(index)),
        }
        Ok(Ok(()))
    }

    fn apply_conf_change(
        &mut self,
        entry: &Entry,
        batch: &mut ApplyBatch,
        report: &mut Applied,
    ) -> Result<()> {
        let refused = |why: String| Error::with_detail(Code::InvalidArgument, why);
        let change = membership::parse(entry).ok_or_else(|| refused("malformed membership change".into()))?;
        let members = membership::changed(&self.region.members, &change)
            .map_err(|error| refused(format!("membership change refused: {error}")))?;
        self.region.members = members;
        self.region.epoch.conf_ver += 1;
        batch.regions.retain(|region| region.id != self.region.id);
        batch.regions.push(self.region.clone());
        report.conf_changes.push(change);
        Ok(())
    }

    fn take_proposal(&mut self, index: LogIndex) -> Option<Completion> {
        let front = self.proposals.front()?;
        assert!(front.index >= index, "every proposal of a task has its entry in the task");
        if front.index > index {
            return None;
        }
        self.proposals.pop_front()?.completion
    }
}

fn unreadable(index: u64, error: CommandError) -> Error {
    let code = match error {
        CommandError::Version(_) => Code::IncompatibleFormat,
        CommandError::Malformed => Code::Corruption,
    };
    Error::with_detail(code, format!("raft log entry {index}: {error}"))
}
