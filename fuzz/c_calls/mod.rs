//! The fuzzer's entry point to the C interface.
//!
//! Owns the translation of arbitrary bytes into a sequence of calls on a few handles, as a C program could make them:
//! with arguments from the full range that the header allows and some beyond it, but with live handles only. What must
//! hold: every call returns the code the header documents; outputs and errors are as documented; every read, copy and
//! iteration shows exactly what a map with the same writes shows; handles can be freed in any order.
//!
//! One store of one member serves all inputs. An input begins by removing what the last one left, so that it behaves
//! the same when run alone.

mod arguments;
mod iterating;
mod many;
mod member;
mod options;
mod queue;
mod reading;
mod rules;
mod in_flight;
mod judging;
mod transacting;
mod with_options;
mod writing;

use std::ptr::null_mut;

use almadia::capi::batch::{almadia_batch, almadia_batch_free};
use almadia::capi::config::{almadia_config, almadia_config_free};
use almadia::capi::iter::{almadia_iter, almadia_iter_free};
use almadia::capi::snapshot::{almadia_snapshot, almadia_snapshot_free};
use almadia::capi::value::{almadia_value, almadia_value_free};

use arguments::Input;
use many::Values;
pub use member::Member;
use member::Model;
use queue::Queue;
use transacting::Transaction;
use writing::Change;

/// Most calls of one input.
const CALLS_MAX: usize = 120;
/// Most handles of a kind that a sequence holds at a time.
const SLOTS: usize = 2;

/// A batch and what was added to it.
struct Batch {
    handle: *mut almadia_batch,
    changes: Vec<Change>,
}

/// A snapshot, the data that it must show, and its range.
struct Snapshot {
    handle: *mut almadia_snapshot,
    shows: Model,
    range: (Vec<u8>, Vec<u8>),
}

/// A value and its bytes.
struct Value {
    handle: *mut almadia_value,
    bytes: Vec<u8>,
}

/// An iterator, its pairs in its direction, and its position among them.
struct Iter {
    handle: *mut almadia_iter,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    is_reverse: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    NeverMoved,
    At(usize),
    Nowhere,
}

/// The handles of a sequence. Dropping it frees everything.
pub struct Handles {
    config: *mut almadia_config,
    batches: [Option<Batch>; SLOTS],
    snapshots: [Option<Snapshot>; SLOTS],
    values: [Option<Value>; SLOTS],
    many: [Option<Values>; SLOTS],
    iters: [Option<Iter>; SLOTS],
    transactions: [Option<Transaction>; SLOTS],
    /// One for all stores, which are opened one after the other.
    queue: Option<Queue>,
}

impl Handles {
    fn none() -> Self {
        let (batches, snapshots) = ([const { None }; SLOTS], [const { None }; SLOTS]);
        let (values, many, iters) =
            ([const { None }; SLOTS], [const { None }; SLOTS], [const { None }; SLOTS]);
        let transactions = [const { None }; SLOTS];
        Self { config: null_mut(), batches, snapshots, values, many, iters, transactions, queue: None }
    }

    /// True while a handle lives that reads the store's files.
    fn hold_directory(&self) -> bool {
        let (snapshots, iters) = (self.snapshots.iter().flatten(), self.iters.iter().flatten());
        let (values, many) = (self.values.iter().flatten(), self.many.iter().flatten());
        // A value that does not exist needs no store.
        let many = many.filter(|values| values.shows.iter().any(Option::is_some));
        let transactions = self.transactions.iter().flatten().filter(|transaction| transaction.is_open());
        snapshots.count() + iters.count() + values.count() + many.count() + transactions.count() > 0
    }

    fn release_directory(&mut self) {
        self.values.iter_mut().for_each(|slot| put(slot, None));
        self.many.iter_mut().for_each(|slot| put(slot, None));
        self.snapshots.iter_mut().for_each(|slot| put(slot, None));
        self.iters.iter_mut().for_each(|slot| put(slot, None));
        self.transactions.iter_mut().for_each(|slot| put(slot, None));
    }
}

impl Member {
    /// Makes the calls that `data` encodes and checks each result.
    ///
    /// # Panics
    /// When one is not what the header documents.
    pub fn fuzz_calls(&mut self, data: &[u8]) {
        let mut input = Input::new(data);
        self.delete_all();
        let mut handles = Handles::none();
        for _ in 0..CALLS_MAX {
            let Some(kind) = input.byte() else { break };
            self.call(kind, &mut input, &mut handles);
        }
    }

    fn call(&mut self, kind: u8, input: &mut Input<'_>, handles: &mut Handles) {
        match kind {
            0xe8..=0xeb => return self.judge(input),
            0xec..=0xef => return self.transact(input, handles),
            0xf0..=0xf7 => return self.burst(input, handles),
            0xf8 => return self.multi_get(input, handles),
            0xf9 => return handles.snapshot_multi_get(input),
            0xfa => return handles.batch_append_ops(input),
            0xfb => return self.with_options(input, handles),
            0xfc | 0xfd => return handles.use_queue(input),
            0xfe => return handles.check_many(input),
            0xff => return self.check_metrics(input),
            _ => {}
        }
        match kind % 24 {
            0 => handles.new_batch(input),
            1 | 2 => handles.batch_put(input),
            3 => handles.batch_delete(input),
            4 => handles.batch_delete_range(input),
            5 => handles.check_batch(input),
            6 | 7 => self.write(input, handles),
            8 => self.put(input),
            9 => self.delete(input),
            10 => self.write_async(input, handles),
            11 => self.get(input, handles),
            12 => self.open_snapshot(input, handles),
            13 => handles.clone_snapshot(input),
            14 => handles.snapshot_get(input),
            15 => handles.snapshot_get_into(input),
            16 => handles.check_value(input),
            17 => handles.new_iter(input),
            18 | 19 => handles.move_iter(input),
            20 => handles.iter_next_n(input),
            21 => handles.use_config(input),
            22 => self.check_status(input),
            _ => self.free_or_reopen(input, handles),
        }
    }
}

/// Frees whatever it holds.
trait Free {
    fn free(&mut self);
}

impl Free for Batch {
    fn free(&mut self) {
        // SAFETY: the handle is live and not used again.
        unsafe { almadia_batch_free(self.handle) }
    }
}

impl Free for Snapshot {
    fn free(&mut self) {
        // SAFETY: as above.
        unsafe { almadia_snapshot_free(self.handle) }
    }
}

impl Free for Value {
    fn free(&mut self) {
        // SAFETY: as above.
        unsafe { almadia_value_free(self.handle) }
    }
}

impl Free for Iter {
    fn free(&mut self) {
        // SAFETY: as above.
        unsafe { almadia_iter_free(self.handle) }
    }
}

/// Puts a handle into a slot and frees the previous one.
fn put<T: Free>(slot: &mut Option<T>, held: Option<T>) {
    if let Some(mut old) = std::mem::replace(slot, held) {
        old.free();
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.batches.iter_mut().for_each(|slot| put(slot, None));
        put(&mut self.queue, None);
        self.release_directory();
        // SAFETY: NULL or a live config that is not used again.
        unsafe { almadia_config_free(self.config) }
    }
}
