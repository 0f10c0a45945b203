//! Rows, and a place to stage them, for tests.
//!
//! Owns [`Rows`], a source of random bytes in rows of one length, and [`Shelf`], which keeps what was staged of each
//! sending when its sink is dropped. What always holds: a row that comes twice, is left out or has another byte is
//! noticed, by the crc32c that both sides chain and by the bytes themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::{Sending, SnapshotSink, SnapshotSource};
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage};
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::transport::lock;
use crate::transport::tests::TIMEOUT;
use crate::types::{ApplyState, LogIndex, NodeId, RegionId, Term};

/// Rows of this many bytes, of which the first eight are the key.
pub(super) const ROW_BYTES: usize = 100;

/// A generator of numbers that look random.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}

/// So many rows of random bytes.
pub(super) fn random_rows(rows: usize) -> Arc<Vec<u8>> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let words = (0..(rows * ROW_BYTES).div_ceil(8)).flat_map(|_| numbers.next().to_le_bytes());
    Arc::new(words.take(rows * ROW_BYTES).collect())
}

/// A source of rows.
pub(super) struct Rows {
    pub(super) data: Arc<Vec<u8>>,
    pub(super) row_bytes: usize,
    pub(super) at: usize,
    /// Fails when it has given so many bytes.
    pub(super) fails_at: usize,
    pub(super) fails_to_seek: bool,
    pub(super) panics: bool,
}

impl Rows {
    pub(super) fn new(data: &Arc<Vec<u8>>) -> Self {
        let data = Arc::clone(data);
        Self { data, row_bytes: ROW_BYTES, at: 0, fails_at: usize::MAX, fails_to_seek: false, panics: false }
    }
}

impl SnapshotSource for Rows {
    fn seek(&mut self, after: Option<&[u8]>, rows: u64, crc: u32) -> Result<()> {
        if self.fails_to_seek {
            return Err(Error::with_detail(Code::Io, "the disk is gone"));
        }
        let at = usize::try_from(rows).ok().and_then(|rows| rows.checked_mul(self.row_bytes));
        let before = at.and_then(|at| self.data.get(..at));
        let last = before.and_then(|before| before.len().checked_sub(self.row_bytes));
        let key = last.map(|start| &self.data[start..start + 8]);
        if after != key || before.map(crc32c::crc32c) != Some(crc) {
            return Err(Error::with_detail(Code::Corruption, "the receiver has other rows"));
        }
        self.at = before.map_or(0, <[u8]>::len);
        Ok(())
    }

    fn fill(&mut self, chunk: &mut Vec<u8>, bytes: usize) -> Result<Option<(u64, u32)>> {
        assert!(!self.panics, "as the test asked");
        assert!(chunk.is_empty());
        if self.at >= self.fails_at {
            return Err(Error::with_detail(Code::Io, "the disk is gone"));
        }
        if self.at == self.data.len() {
            return Ok(Some(((self.at / self.row_bytes) as u64, crc32c::crc32c(&self.data))));
        }
        let rows = (bytes / self.row_bytes).max(1);
        let end = (self.at + rows * self.row_bytes).min(self.data.len());
        chunk.extend_from_slice(&self.data[self.at..end]);
        self.at = end;
        Ok(None)
    }
}

/// What a sink was begun with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Begun {
    pub(super) message: SnapshotMessage,
    pub(super) source: [u64; 3],
    pub(super) bytes_estimate: u64,
}

/// Stages raft snapshots in memory.
#[derive(Default)]
pub(in crate::transport) struct Shelf {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    /// By region and source.
    pub(super) staged: HashMap<(RegionId, [u64; 3]), Vec<u8>>,
    pub(super) begun: Vec<Begun>,
    /// Sinks that are open.
    pub(super) open: usize,
    pub(super) finished: Vec<[u64; 3]>,
    /// The length of a row; 0 stands for [`ROW_BYTES`].
    pub(super) row_bytes: usize,
    pub(super) refuses: Option<String>,
    pub(super) fails_to_take: bool,
    pub(super) fails_to_finish: bool,
    /// The next sink that takes rows panics.
    pub(super) panics: bool,
    /// While set, a sink waits before it takes.
    pub(super) is_gate_closed: bool,
    pub(super) waiting_at_gate: usize,
}

impl Shelf {
    pub(in crate::transport) fn begin(
        self: &Arc<Self>,
        message: SnapshotMessage,
        source: [u64; 3],
        bytes_estimate: u64,
    ) -> std::result::Result<Box<dyn SnapshotSink>, String> {
        let mut state = lock(&self.state);
        if let Some(text) = &state.refuses {
            return Err(text.clone());
        }
        let way = (message.head.region.id, source);
        state.open += 1;
        let row_bytes = if state.row_bytes == 0 { ROW_BYTES } else { state.row_bytes };
        let staged = state.staged.remove(&way).unwrap_or_default();
        state.begun.push(Begun { message, source, bytes_estimate });
        drop(state);
        self.changed.notify_all();
        Ok(Box::new(Sink { shelf: Arc::clone(self), way, staged, row_bytes }))
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits until `condition` holds.
    pub(super) fn wait(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, TIMEOUT, |state| !condition(state));
        assert!(!waited.expect("no panic").1.timed_out(), "waited in vain: {what}");
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&lock(&self.state))
    }
}

struct Sink {
    shelf: Arc<Shelf>,
    way: (RegionId, [u64; 3]),
    staged: Vec<u8>,
    row_bytes: usize,
}

impl SnapshotSink for Sink {
    fn resume(&self) -> (Option<Vec<u8>>, u64, u32) {
        let last = self.staged.len().checked_sub(self.row_bytes);
        let key = last.map(|start| self.staged[start..].iter().take(8).copied().collect());
        (key, (self.staged.len() / self.row_bytes) as u64, crc32c::crc32c(&self.staged))
    }

    fn take(&mut self, chunk: &[u8]) -> Result<()> {
        let mut state = lock(&self.shelf.state);
        state.waiting_at_gate += 1;
        self.shelf.changed.notify_all();
        state = self.shelf.changed.wait_while(state, |state| state.is_gate_closed).expect("no panic");
        state.waiting_at_gate -= 1;
        if state.fails_to_take {
            return Err(Error::with_detail(Code::Io, "no space is left"));
        }
        let must_panic = std::mem::take(&mut state.panics);
        drop(state);
        assert!(!must_panic, "as the test asked");
        assert_eq!(chunk.len() % self.row_bytes, 0, "whole rows");
        self.staged.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(self: Box<Self>, rows: u64, crc: u32) -> Result<()> {
        let (_, own_rows, own_crc) = self.resume();
        let mut state = lock(&self.shelf.state);
        if state.fails_to_finish || (rows, crc) != (own_rows, own_crc) {
            return Err(Error::with_detail(Code::Corruption, "the rows are others"));
        }
        state.finished.push(self.way.1);
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let way = self.way;
        self.shelf.update(|state| {
            state.open -= 1;
            state.staged.insert(way, staged);
        });
    }
}

/// What became of a sending.
#[derive(Clone, Default)]
pub(super) struct Fate {
    pub(super) progress: Arc<AtomicU64>,
    pub(super) cancelled: Arc<AtomicBool>,
    told: Arc<(Mutex<Vec<bool>>, Condvar)>,
}

impl Fate {
    /// Waits for the end; whether it was delivered.
    pub(super) fn wait(&self) -> bool {
        let (told, changed) = &*self.told;
        let waited =
            changed.wait_timeout_while(lock(told), TIMEOUT, |told| told.is_empty()).expect("no panic");
        assert!(!waited.1.timed_out(), "its end is told");
        assert_eq!(waited.0.len(), 1, "once");
        waited.0[0]
    }

    /// Every end that was told.
    pub(super) fn told(&self) -> Vec<bool> {
        lock(&self.told.0).clone()
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
}

/// What is sent of a region.
pub(super) fn message(from: u64, to: u64, region: u64) -> SnapshotMessage {
    let region = Region { id: RegionId(region), ..Region::bootstrap(&[NodeId(from), NodeId(to)]) };
    let head = SnapshotHead { region, state: ApplyState { index: LogIndex(70), term: Term(6) } };
    SnapshotMessage { from: NodeId(from), to: NodeId(to), term: Term(8), head }
}

/// A sending of these rows, and what becomes of it.
pub(super) fn sending(message: SnapshotMessage, rows: Rows) -> (Sending, Fate) {
    let fate = Fate::default();
    let told = Arc::clone(&fate.told);
    let sending = Sending {
        message,
        number: 5,
        bytes_estimate: rows.data.len() as u64,
        source: Box::new(rows),
        progress: Arc::clone(&fate.progress),
        cancelled: Arc::clone(&fate.cancelled),
        ended: Box::new(move |delivered| {
            lock(&told.0).push(delivered);
            told.1.notify_all();
        }),
    };
    (sending, fate)
}
