//! Panics that tests plant in internal threads.
//!
//! Owns which thread shall panic at which place. What always holds: a planted panic falls once, in one thread, and
//! never in a library that is not built for its own tests, where this module does not exist.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where a thread can be made to panic: where it works and holds what it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the middle of its loop, outside what it does for one item.
    Loop,
    /// In a round, after it took the inputs.
    Round,
    /// With the appliers.
    Apply,
}

/// Long enough for another thread to take what a panic has let go of.
const LINGERING: Duration = Duration::from_millis(50);

thread_local! {
    static HAS_FALLEN: Cell<bool> = const { Cell::new(false) };
}

static PLANTED: Mutex<Option<(String, Place)>> = Mutex::new(None);

/// The next thread called `thread` that comes to `place` panics there.
pub(crate) fn plant(thread: &str, place: Place) {
    *PLANTED.lock().unwrap_or_else(PoisonError::into_inner) = Some((thread.to_owned(), place));
}

/// True until the planted panic has fallen.
pub(crate) fn is_waiting() -> bool {
    PLANTED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Panics when that was planted for this thread and place.
pub(crate) fn meet(place: Place) {
    let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::thread::current();
    let due =
        matches!((&*planted, own.name()), (Some((thread, at)), Some(name)) if thread == name && *at == place);
    if due {
        *planted = None;
        drop(planted);
        HAS_FALLEN.set(true);
        panic!("planted in {}", own.name().expect("it was compared"));
    }
}

/// To be called where a panic is caught: if it was planted, others get time to work with what it left half-way, if they can.
pub(crate) fn linger() {
    if HAS_FALLEN.replace(false) {
        std::thread::sleep(LINGERING);
    }
}
