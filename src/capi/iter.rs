//! `almadia_iter`: the pairs of a snapshot in key order.
//!
//! Owns the C form of bounds and the arena of `almadia_iter_next_n`. What always holds: an iterator shows
//! only pairs within its bounds, in its direction; what it lends stays as it is until the iterator is moved.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::{almadia_kv, almadia_slice, bytes};
use super::extensible::{self, Extensible};
use super::handle::{
    ArraySlot, Boxed, HandleSlot, ProcessBound, ProcessId, ValueSlot, exclusive, in_process, taken_in_process,
};
use super::snapshot::almadia_snapshot;
use crate::error::{Code, Error, Result};
use crate::store::snapshot::{Iter, IterOptions, prefix_end};
use crate::store::transaction::TransactionIter;
use crate::types::Version;

/// One call of `almadia_iter_next_n` copies no more pairs once it holds this many bytes: enough to make the
/// crossing cheap, little enough to stay in the processor's cache.
const ARENA_BYTES_MAX: usize = 1 << 20;

/// What to iterate over. Begin with ALMADIA_ITER_OPTIONS_INIT; NULL means the same: all keys, ascending. Bounds of
/// length 0 are no bounds. The bytes are copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_iter_options {
    /// sizeof(almadia_iter_options).
    pub struct_size: usize,
    /// The smallest key shown.
    pub lower: *const c_void,
    /// Its length in bytes.
    pub lower_length: usize,
    /// The first key after the range, which is not shown.
    pub upper: *const c_void,
    /// Its length in bytes.
    pub upper_length: usize,
    /// Only keys that begin with this are shown. If there are bounds too, both apply.
    pub prefix: *const c_void,
    /// Its length in bytes.
    pub prefix_length: usize,
    /// 1: descending, so that first is the largest key and next goes to the next smaller one. 0: ascending.
    pub reverse: i32,
    /// Must be 0.
    pub reserved: i32,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers, which may be NULL.
unsafe impl Extensible for almadia_iter_options {
    const NAME: &'static str = "iter_options";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// Iterates over the pairs of a snapshot or a transaction. One thread at a time may use it. It may outlive its snapshot and its
/// store; it pins memory and files until it is freed.
pub struct almadia_iter {
    iter: Walk,
    /// False until the first move, which lets `next` begin at the first pair.
    positioned: bool,
    arena: Vec<u8>,
    process: ProcessId,
}

impl Boxed for almadia_iter {}

impl ProcessBound for almadia_iter {
    fn process(&self) -> ProcessId {
        self.process
    }
}

/// What C iterates over.
enum Walk {
    Snapshot(Iter),
    Transaction(Box<TransactionIter>),
}

/// The same call for either.
macro_rules! either {
    ($walk:expr, $iter:ident => $call:expr) => {
        match $walk {
            Walk::Snapshot($iter) => $call,
            Walk::Transaction($iter) => $call,
        }
    };
}

impl Walk {
    fn item(&self) -> Option<(&[u8], &[u8])> {
        either!(self, iter => iter.item())
    }

    /// That of the current key; none too for what a transaction has written itself.
    fn version(&self) -> Option<Version> {
        either!(self, iter => iter.version())
    }

    fn status(&self) -> Result<()> {
        either!(self, iter => iter.status())
    }

    fn next(&mut self) {
        either!(self, iter => iter.next());
    }
}

/// A way to move, in the direction of the iteration.
#[derive(Clone, Copy)]
enum Move<'a> {
    First,
    Last,
    Next,
    Previous,
    Seek(&'a [u8]),
    SeekForPrevious(&'a [u8]),
}

impl almadia_iter {
    fn new(iter: Walk) -> Self {
        Self { iter, positioned: false, arena: Vec::new(), process: ProcessId::current() }
    }

    /// Over what a transaction sees.
    pub(super) fn of_transaction(iter: TransactionIter) -> Self {
        Self::new(Walk::Transaction(Box::new(iter)))
    }

    /// Moves and answers whether it stands on a pair.
    fn go(&mut self, to: Move<'_>) -> bool {
        let is_positioned = std::mem::replace(&mut self.positioned, true);
        either!(&mut self.iter, iter => {
            match to {
                Move::Next if is_positioned => iter.next(),
                Move::Previous if is_positioned => iter.prev(),
                Move::First | Move::Next => iter.seek_to_first(),
                Move::Last | Move::Previous => iter.seek_to_last(),
                Move::Seek(key) => iter.seek(key),
                Move::SeekForPrevious(key) => iter.seek_for_prev(key),
            }
            iter.valid()
        })
    }

    /// Copies up to `capacity` pairs into the arena, moves behind them, and answers the lengths of each. `versions`
    /// receives the version of each, for a caller that wants them.
    fn take(&mut self, capacity: usize, mut versions: Option<&mut Vec<u64>>) -> Vec<(usize, usize)> {
        let mut lengths = Vec::new();
        self.arena.clear();
        if !self.positioned {
            self.go(Move::First);
        }
        while lengths.len() < capacity && self.arena.len() < ARENA_BYTES_MAX {
            let Some((key, value)) = self.iter.item() else { break };
            self.arena.extend_from_slice(key);
            self.arena.extend_from_slice(value);
            lengths.push((key.len(), value.len()));
            if let Some(versions) = &mut versions {
                versions.push(self.iter.version().map_or(0, Version::get));
            }
            self.iter.next();
        }
        lengths
    }

    /// As `almadia_iter_next_n`, which gets no versions.
    fn next_n(
        &mut self,
        pairs: &ArraySlot<almadia_kv>,
        versions: Option<&ArraySlot<u64>>,
        capacity: usize,
        count: &ValueSlot<usize>,
    ) -> Result<almadia_code> {
        if capacity == 0 {
            return Err(Error::with_detail(Code::InvalidArgument, "capacity is 0"));
        }
        let mut found = Vec::new();
        let lengths = self.take(capacity, versions.is_some().then_some(&mut found));
        if lengths.is_empty() {
            self.iter.status()?;
            return Ok(Code::End.number());
        }
        pairs.put(self.lend(&lengths));
        if let Some(versions) = versions {
            versions.put(found.into_iter());
        }
        count.put(lengths.len());
        Ok(ALMADIA_OK)
    }

    /// The pairs of the arena, cut at `lengths`.
    fn lend(&self, lengths: &[(usize, usize)]) -> impl Iterator<Item = almadia_kv> {
        let mut rest = self.arena.as_slice();
        lengths.iter().map(move |(key_length, value_length)| {
            let (key, behind) = rest.split_at(*key_length);
            let (value, behind) = behind.split_at(*value_length);
            rest = behind;
            almadia_kv { key: almadia_slice::lend(key), value: almadia_slice::lend(value) }
        })
    }
}

/// The Rust form of the caller's options.
///
/// # Safety
/// `options` is NULL or points to a struct of `struct_size` bytes, whose bounds have their stated lengths.
pub(super) unsafe fn iter_options(options: *const almadia_iter_options) -> Result<IterOptions> {
    // SAFETY: passed on to the caller.
    let options = unsafe { extensible::read_or_default(options) }?;
    // SAFETY: passed on to the caller.
    let (lower, upper, prefix) = unsafe {
        (
            bytes(options.lower, options.lower_length, "almadia_iter_options.lower")?,
            bytes(options.upper, options.upper_length, "almadia_iter_options.upper")?,
            bytes(options.prefix, options.prefix_length, "almadia_iter_options.prefix")?,
        )
    };
    if options.reserved != 0 {
        return Err(Error::with_detail(Code::Unsupported, "almadia_iter_options.reserved must be 0"));
    }
    let (lower, upper) = bounds(lower, upper, prefix);
    Ok(IterOptions { lower, upper, reverse: options.reverse != 0, ..IterOptions::default() })
}

/// The range in which a pair is within the bounds and has the prefix; empty bytes are no restriction.
fn bounds(lower: &[u8], upper: &[u8], prefix: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let lower = Some(lower.max(prefix).to_vec()).filter(|lower| !lower.is_empty());
    let upper = Some(upper.to_vec()).filter(|upper| !upper.is_empty());
    let upper = match (upper, prefix_end(prefix)) {
        (Some(upper), Some(behind)) => Some(upper.min(behind)),
        (upper, behind) => upper.or(behind),
    };
    (lower, upper)
}

/// Moves an iterator from C; false for NULL, in a child process, and after a bug.
///
/// # Safety
/// `iter` is NULL or a live iterator no other call uses.
unsafe fn moved(iter: *mut almadia_iter, to: Move<'_>) -> bool {
    // SAFETY: passed on to the caller.
    let iter = unsafe { exclusive(iter, "iter") };
    iter.is_ok_and(|iter| iter.process.check().is_ok() && iter.go(to))
}

/// Makes an iterator over a snapshot; it shows no key outside the snapshot's range. `options` may be NULL. At first
/// it is at no pair: move it with _first, _last, _seek or _seek_for_prev, or let _next begin at the first pair.
/// This loop visits all pairs: for (bool on = almadia_iter_first(it); on; on = almadia_iter_next(it)). Check
/// almadia_iter_code after it.
///
/// `iter` receives the handle; free it with almadia_iter_free. Blocks: no. Threads: any number at once; callbacks
/// too. Codes: ALMADIA_FORKED, ALMADIA_UNSUPPORTED (a field that this version does not know),
/// ALMADIA_INVALID_ARGUMENT (struct_size).
///
/// # Safety
/// `snapshot` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its keys are NULL or
/// have their lengths; `iter` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_iter_new(
    snapshot: *const almadia_snapshot,
    options: *const almadia_iter_options,
    iter: *mut *mut almadia_iter,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `iter` is NULL or writable.
        let slot = unsafe { HandleSlot::new(iter, "iter") }?;
        // SAFETY: `snapshot` is NULL or live.
        let snapshot = unsafe { in_process(snapshot, "snapshot") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { iter_options(options) }?;
        let iter = snapshot.snapshot.iter(options)?;
        slot.put(almadia_iter::new(Walk::Snapshot(iter)));
        Ok(ALMADIA_OK)
    })
}

/// Moves to the first pair; with `reverse` that is the one with the largest key. True when there is one; false at
/// the end, after an error (see almadia_iter_code) and for NULL.
///
/// Blocks: no (it may read from the disk). Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_first(iter: *mut almadia_iter) -> bool {
    // SAFETY: `iter` is NULL or live, and no other call uses it.
    boundary::value(false, || unsafe { moved(iter, Move::First) })
}

/// Moves to the last pair; with `reverse` that is the one with the smallest key. Returns what almadia_iter_first
/// does.
///
/// Blocks: no (it may read from the disk). Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_last(iter: *mut almadia_iter) -> bool {
    // SAFETY: `iter` is NULL or live, and no other call uses it.
    boundary::value(false, || unsafe { moved(iter, Move::Last) })
}

/// Moves to `key` or, when it does not exist, to the next pair in the direction of the iteration. Returns what
/// almadia_iter_first does.
///
/// Blocks: no (it may read from the disk). Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_seek(
    iter: *mut almadia_iter,
    key: *const c_void,
    key_length: usize,
) -> bool {
    boundary::value(false, || {
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let Ok(key) = (unsafe { bytes(key, key_length, "key") }) else { return false };
        // SAFETY: `iter` is NULL or live, and no other call uses it.
        unsafe { moved(iter, Move::Seek(key)) }
    })
}

/// Moves to `key` or, when it does not exist, to the pair before it in the direction of the iteration. Returns what
/// almadia_iter_first does.
///
/// Blocks: no (it may read from the disk). Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_seek_for_prev(
    iter: *mut almadia_iter,
    key: *const c_void,
    key_length: usize,
) -> bool {
    boundary::value(false, || {
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let Ok(key) = (unsafe { bytes(key, key_length, "key") }) else { return false };
        // SAFETY: `iter` is NULL or live, and no other call uses it.
        unsafe { moved(iter, Move::SeekForPrevious(key)) }
    })
}

/// Moves to the next pair, or to the first when the iterator was never moved. At an end it stays there. Returns
/// what almadia_iter_first does.
///
/// Blocks: no (it may read from the disk). Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_next(iter: *mut almadia_iter) -> bool {
    // SAFETY: `iter` is NULL or live, and no other call uses it.
    boundary::value(false, || unsafe { moved(iter, Move::Next) })
}

/// Moves to the previous pair, or to the last when the iterator was never moved. At an end it stays there. Returns
/// what almadia_iter_first does.
///
/// Blocks: no (it may read from the disk). Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_prev(iter: *mut almadia_iter) -> bool {
    // SAFETY: `iter` is NULL or live, and no other call uses it.
    boundary::value(false, || unsafe { moved(iter, Move::Previous) })
}

/// True when the iterator is at a pair. False for NULL.
///
/// Blocks: no. Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call moves it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_valid(iter: *const almadia_iter) -> bool {
    boundary::value(false, || {
        // SAFETY: `iter` is NULL or live, and nobody moves it.
        unsafe { in_process(iter, "iter") }.is_ok_and(|iter| iter.iter.item().is_some())
    })
}

/// The key of the pair that the iterator is at, valid until the iterator is moved or freed; {NULL, 0} when it is at
/// none.
///
/// Blocks: no. Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call moves it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_key(iter: *const almadia_iter) -> almadia_slice {
    boundary::value(almadia_slice::NONE, || {
        // SAFETY: `iter` is NULL or live, and nobody moves it.
        let bytes =
            unsafe { in_process(iter, "iter") }.ok().and_then(|iter| iter.iter.item()).map(|(key, _)| key);
        bytes.map_or(almadia_slice::NONE, almadia_slice::lend)
    })
}

/// The value of the pair that the iterator is at, valid until the iterator is moved or freed; {NULL, 0} when it is
/// at none.
///
/// Blocks: no. Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call moves it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_value(iter: *const almadia_iter) -> almadia_slice {
    boundary::value(almadia_slice::NONE, || {
        // SAFETY: `iter` is NULL or live, and nobody moves it.
        let bytes = unsafe { in_process(iter, "iter") }
            .ok()
            .and_then(|iter| iter.iter.item())
            .map(|(_, value)| value);
        bytes.map_or(almadia_slice::NONE, almadia_slice::lend)
    })
}

/// The version of the key of the pair that the iterator is at, as almadia_value_version describes it; 0 when it is at
/// none, and for what a transaction has written itself.
///
/// Blocks: no. Threads: one at a time.
///
/// # Safety
/// `iter` is NULL or live, and no other call moves it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_version(iter: *const almadia_iter) -> u64 {
    boundary::value(0, || {
        // SAFETY: `iter` is NULL or live, and nobody moves it.
        let version = unsafe { in_process(iter, "iter") }.ok().and_then(|iter| iter.iter.version());
        version.map_or(0, Version::get)
    })
}

/// Why the iterator is at no pair: ALMADIA_OK when it is at an end, otherwise the error that stopped it. Check it
/// after every loop.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
///
/// # Safety
/// `iter` is NULL or live, and no other call moves it meanwhile; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_iter_code(
    iter: *const almadia_iter,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `iter` is NULL or live, and nobody moves it.
        let iter = unsafe { in_process(iter, "iter") }?;
        iter.iter.status()?;
        Ok(ALMADIA_OK)
    })
}

/// Copies up to `capacity` pairs, beginning with the one that the iterator is at (the first, when it was never
/// moved), and moves past them: one call for many pairs. `count` receives their number; fewer than `capacity` does
/// not mean the end, only ALMADIA_END does. The pairs belong to the iterator and are valid until its next
/// almadia_iter_next_n or until it is freed.
///
/// Blocks: no (it may read from the disk). Threads: one at a time. Codes: ALMADIA_END (no pair is left; count is 0,
/// no error object), ALMADIA_INVALID_ARGUMENT (capacity is 0), ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile; `pairs` is NULL or points to room for `capacity` of
/// them; `count` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_iter_next_n(
    iter: *mut almadia_iter,
    pairs: *mut almadia_kv,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `count` is NULL or writable.
        let count = unsafe { ValueSlot::new(count, "count") }?;
        count.put(0);
        // SAFETY: `iter` is NULL or live, and no other call uses it.
        let iter = unsafe { exclusive(iter, "iter") }?;
        iter.process.check()?;
        // SAFETY: `pairs` is NULL or points to room for `capacity` of them.
        let pairs = unsafe { ArraySlot::new(pairs, capacity, "pairs") }?;
        iter.next_n(&pairs, None, capacity, &count)
    })
}

/// As almadia_iter_next_n, with the version of the key of each pair, as almadia_value_version describes it.
///
/// Blocks: no (it may read from the disk). Threads: one at a time. Codes: as almadia_iter_next_n.
///
/// # Safety
/// `iter` is NULL or live, and no other call uses it meanwhile; `pairs` and `versions` are NULL or point to room for
/// `capacity` of them; `count` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_iter_next_n_versions(
    iter: *mut almadia_iter,
    pairs: *mut almadia_kv,
    versions: *mut u64,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `count` is NULL or writable.
        let count = unsafe { ValueSlot::new(count, "count") }?;
        count.put(0);
        // SAFETY: `iter` is NULL or live, and no other call uses it.
        let iter = unsafe { exclusive(iter, "iter") }?;
        iter.process.check()?;
        // SAFETY: `pairs` is NULL or points to room for `capacity` of them.
        let pairs = unsafe { ArraySlot::new(pairs, capacity, "pairs") }?;
        // SAFETY: `versions` is NULL or points to room for `capacity` of them.
        let versions = unsafe { ArraySlot::new(versions, capacity, "versions") }?;
        iter.next_n(&pairs, Some(&versions), capacity, &count)
    })
}

/// Frees an iterator. NULL is fine. In a child process it does nothing.
///
/// Blocks: no (the last handle of a closed store closes its files). Threads: one.
///
/// # Safety
/// `iter` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_iter_free(iter: *mut almadia_iter) {
    // SAFETY: `iter` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken_in_process(iter) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lower: &[u8], upper: &[u8], prefix: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        bounds(lower, upper, prefix)
    }

    #[test]
    fn empty_bounds_restrict_nothing() {
        assert_eq!(range(b"", b"", b""), (None, None));
    }

    #[test]
    fn a_prefix_becomes_the_range_from_itself_to_its_successor() {
        assert_eq!(range(b"", b"", b"ab"), (Some(b"ab".to_vec()), Some(b"ac".to_vec())));
        assert_eq!(range(b"", b"", b"a\xff\xff"), (Some(b"a\xff\xff".to_vec()), Some(b"b".to_vec())));
        assert_eq!(range(b"", b"", b"\xff"), (Some(b"\xff".to_vec()), None));
    }

    #[test]
    fn bounds_and_prefix_apply_together() {
        assert_eq!(range(b"ab3", b"ab7", b"ab"), (Some(b"ab3".to_vec()), Some(b"ab7".to_vec())));
        assert_eq!(range(b"aa", b"zz", b"ab"), (Some(b"ab".to_vec()), Some(b"ac".to_vec())));
    }
}
