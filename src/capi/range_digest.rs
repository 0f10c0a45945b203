//! `almadia_range_digest`: what a range looked like.
//!
//! Owns the struct, and how a snapshot is asked for one. What always holds: a digest says which keys there were and
//! their versions, and nothing of the program that asks.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::extensible::{self, Extensible};
use super::handle::in_process;
use super::snapshot::almadia_snapshot;
use crate::core::digest::RangeDigest;

/// What a range of keys looked like in a snapshot: which keys there were, each with its version. For
/// almadia_batch_if_range. Begin with ALMADIA_RANGE_DIGEST_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_range_digest {
    /// sizeof(almadia_range_digest).
    pub struct_size: usize,
    /// Of the keys and their versions; the same everywhere.
    pub digest: [u8; 16],
    /// How many keys there were.
    pub keys: u64,
    /// Bytes of the keys and values together.
    pub bytes: u64,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers.
unsafe impl Extensible for almadia_range_digest {
    const NAME: &'static str = "range_digest";
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl From<RangeDigest> for almadia_range_digest {
    fn from(RangeDigest { digest, keys, bytes }: RangeDigest) -> Self {
        Self { struct_size: size_of::<Self>(), digest, keys, bytes }
    }
}

impl From<almadia_range_digest> for RangeDigest {
    fn from(almadia_range_digest { digest, keys, bytes, .. }: almadia_range_digest) -> Self {
        Self { digest, keys, bytes }
    }
}

/// What the keys from `begin` (included) to `end` (not included) look like in a snapshot; an empty `end` means the end of
/// all keys. The snapshot's range must contain this one.
///
/// Blocks: no, but it reads every key and value of the range, from the disk if need be, on your thread. Threads: any
/// number at once. Codes: ALMADIA_TOO_LARGE (more than 65,536 keys or 64 MiB), ALMADIA_INVALID_ARGUMENT (begin is after
/// an end that is not empty; a range beyond that of the snapshot; struct_size), ALMADIA_IO, ALMADIA_CORRUPTION,
/// ALMADIA_FORKED.
///
/// # Safety
/// `snapshot` is NULL or live; `begin` and `end` are NULL or point to `begin_length` and `end_length` readable bytes;
/// `seen` is NULL or points to `struct_size` writable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_digest(
    snapshot: *const almadia_snapshot,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    seen: *mut almadia_range_digest,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `snapshot` is NULL or live.
        let snapshot = unsafe { in_process(snapshot, "snapshot") }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        let digest = snapshot.snapshot.digest(begin, end)?;
        // SAFETY: `seen` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(seen, &digest.into()) }?;
        Ok(ALMADIA_OK)
    })
}
