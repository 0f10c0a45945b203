//! `almadia_precondition`: the condition of a batch that was false.
//!
//! Owns the struct, and how an error is asked for it. What always holds: it says what the key was like where the write was
//! judged, which may be over by the time it is read.

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::extensible::{self, Extensible};
use super::handle::shared;
use crate::effects::Precondition;
use crate::error::Code;

/// A condition that was false, or an operation that could not be done, and what its key was like where the write was
/// judged. Begin with ALMADIA_PRECONDITION_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_precondition {
    /// sizeof(almadia_precondition).
    pub struct_size: usize,
    /// The number of the operation in its batch, from 0. Conditions, almadia_batch_otherwise and the operations of both
    /// lists count.
    pub operation: u64,
    /// The version that its key had; 0 when it did not exist, and for a condition on a range.
    pub version: u64,
    /// 1 when its key existed, else 0.
    pub exists: i32,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers.
unsafe impl Extensible for almadia_precondition {
    const NAME: &'static str = "precondition";
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl From<Precondition> for almadia_precondition {
    fn from(found: Precondition) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            operation: found.operation.into(),
            version: found.version.get(),
            exists: found.exists.into(),
            reserved: 0,
        }
    }
}

/// Tells C of a condition that was false; `ALMADIA_NOT_FOUND` for none.
///
/// # Safety
/// `to` is NULL or points to a writable struct of `struct_size` bytes.
pub(super) unsafe fn tell(
    found: Option<Precondition>,
    to: *mut almadia_precondition,
) -> crate::Result<almadia_code> {
    let Some(found) = found else { return Ok(Code::NotFound.number()) };
    // SAFETY: passed on to the caller.
    unsafe { extensible::write(to, &found.into()) }?;
    Ok(ALMADIA_OK)
}

/// The condition that was false (ALMADIA_PRECONDITION_FAILED), or the addition that could not be done
/// (ALMADIA_NOT_A_NUMBER). Also for the error of a completion.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (the error is about something else),
/// ALMADIA_INVALID_ARGUMENT (struct_size).
///
/// # Safety
/// `error` is NULL or live; `precondition` is NULL or points to `struct_size` writable bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_error_precondition(
    error: *const almadia_error,
    precondition: *mut almadia_precondition,
) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        // SAFETY: `error` is NULL or live.
        let error = unsafe { shared(error, "error") }?;
        // SAFETY: `precondition` is NULL or points to `struct_size` writable bytes.
        unsafe { tell(error.error().precondition(), precondition) }
    })
}
