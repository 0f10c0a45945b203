//! A member's disk in memory.
//!
//! Owns a raft log and an engine that survive a crash of the member, as far as they were synced or flushed. What
//! always holds: `append` is durable when it returns, as the real one; the engine falls back to its last flush,
//! data and apply state together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft::eraftpb::{Entry, HardState};

use crate::core::applier::ApplyBatch;
use crate::core::command::Operation;
use crate::core::log::LogState;
use crate::core::ports::{LogReader, LogWrite};
use crate::core::region::Region;
use crate::error::Result;
use crate::types::{ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, LogIndex, RegionId, Term};

/// One region's durable log.
#[derive(Clone, Debug)]
pub struct DiskLog {
    content: Arc<Mutex<LogContent>>,
}

#[derive(Debug)]
struct LogContent {
    hard_state: HardState,
    truncated: (LogIndex, Term),
    entries: Vec<Entry>,
}

impl DiskLog {
    /// The log a member begins with.
    pub fn bootstrap() -> Self {
        let (term, commit) = (BOOTSTRAP_TERM.get(), BOOTSTRAP_INDEX.get());
        let hard_state = HardState { term, commit, ..HardState::default() };
        let truncated = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM);
        Self { content: Arc::new(Mutex::new(LogContent { hard_state, truncated, entries: Vec::new() })) }
    }

    /// What a member finds when it starts.
    pub fn recover(&self) -> LogState {
        let content = self.lock();
        let last = content.entries.last().map(|entry| (LogIndex(entry.index), Term(entry.term)));
        LogState {
            hard_state: content.hard_state.clone(),
            truncated: content.truncated,
            last: last.unwrap_or(content.truncated),
        }
    }

    /// Makes writes durable.
    pub fn append(&self, writes: &[LogWrite]) {
        for write in writes {
            self.lock().take(write);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LogContent> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogContent {
    fn take(&mut self, write: &LogWrite) {
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        if let Some((index, term)) = write.truncate_to {
            self.entries.retain(|entry| entry.index > index.get());
            self.truncated = (index, term);
        }
    }
}

impl LogReader for DiskLog {
    fn read(&self, _: RegionId, low: LogIndex, high: LogIndex, max_bytes: u64) -> Result<Vec<Entry>> {
        let content = self.lock();
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let fits = bytes == 0 || bytes + entry.data.len() as u64 <= max_bytes;
            bytes += entry.data.len() as u64;
            fits
        };
        let asked = content.entries.iter().filter(|entry| (low.get()..high.get()).contains(&entry.index));
        Ok(asked.take_while(within).cloned().collect())
    }

    fn term(&self, _: RegionId, index: LogIndex) -> Result<Term> {
        let content = self.lock();
        let entry = content.entries.iter().find(|entry| entry.index == index.get());
        Ok(entry.map_or(content.truncated.1, |entry| Term(entry.term)))
    }
}

/// User data and apply state of one region.
#[derive(Clone, Debug)]
pub struct DiskEngine {
    memory: EngineImage,
    flushed: EngineImage,
}

#[derive(Clone, Debug)]
struct EngineImage {
    data: BTreeMap<Vec<u8>, Vec<u8>>,
    state: ApplyState,
    region: Region,
}

impl DiskEngine {
    /// The engine a member begins with.
    pub fn bootstrap(region: Region) -> Self {
        let image = EngineImage { data: BTreeMap::new(), state: ApplyState::BOOTSTRAP, region };
        Self { memory: image.clone(), flushed: image }
    }

    /// Forgets what was not flushed.
    pub fn crash(&mut self) {
        self.memory = self.flushed.clone();
    }

    /// Makes everything written so far survive a crash.
    pub fn flush(&mut self) -> LogIndex {
        self.flushed = self.memory.clone();
        self.flushed.state.index
    }

    /// Region and apply state as they are now.
    pub fn state(&self) -> (Region, ApplyState) {
        (self.memory.region.clone(), self.memory.state)
    }

    /// The data as it is now.
    pub fn data(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.memory.data
    }

    /// Takes one batch whole.
    pub fn write(&mut self, batch: &ApplyBatch) {
        for operation in batch.writes.iter().flat_map(|write| write.operations()) {
            let data = &mut self.memory.data;
            match operation {
                Operation::Put { key, value } => drop(data.insert(key.to_vec(), value.to_vec())),
                Operation::Delete { key } => drop(data.remove(key)),
                Operation::DeleteRange { begin, end } => {
                    data.retain(|key, _| key.as_slice() < begin || key.as_slice() >= end);
                }
            }
        }
        if let Some(&(_, state)) = batch.states.last() {
            self.memory.state = state;
        }
        if let Some(region) = batch.regions.last() {
            self.memory.region = region.clone();
        }
    }
}
