//! Panics that tests inject into internal threads.
//!
//! Owns the choice of the thread that is to panic, and of the place. What always holds: an injected panic fires once,
//! in one thread, and exists only in the library's own test builds; other builds do not contain this module. Catching
//! it is left to [`panics`](super::panics).

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A place where a thread can be made to panic: where it is working and holds the state it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its main loop, outside the handling of a single item.
    Loop,
    /// In a round, after taking the inputs.
    Round,
    /// While holding the appliers.
    Apply,
}

/// Long enough for another thread to take a lock that the panicking thread has released.
const LINGERING: Duration = Duration::from_millis(50);

thread_local! {
    static HAS_FALLEN: Cell<bool> = const { Cell::new(false) };
}

static PLANTED: Mutex<Option<(String, Place)>> = Mutex::new(None);

/// The next thread named `thread` that reaches `place` panics there.
pub(crate) fn plant(thread: &str, place: Place) {
    *PLANTED.lock().unwrap_or_else(PoisonError::into_inner) = Some((thread.to_owned(), place));
}

/// True until the injected panic has fired.
pub(crate) fn is_waiting() -> bool {
    PLANTED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Panics if a panic was injected for this thread and place.
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

/// Call this where a panic is caught: after an injected one, it gives other threads time to use any half-finished
/// state they can reach.
pub(crate) fn linger() {
    if HAS_FALLEN.replace(false) {
        std::thread::sleep(LINGERING);
    }
}
