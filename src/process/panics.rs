//! Stops panics at the library boundary.
//!
//! Owns the conversion of a panic into an error. What always holds: a panic inside [`catch`] neither propagates
//! beyond it nor prints anything; panics of other code in the process are left to the previously installed hook.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::{Code, Error, Result};

thread_local! {
    static QUIET_DEPTH: Cell<usize> = const { Cell::new(0) };
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; a panic becomes [`Code::Panic`] with its message and location.
///
/// # Errors
/// What `body` returns, or `PANIC`.
pub(crate) fn catch<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    install_hook();
    QUIET_DEPTH.set(QUIET_DEPTH.get() + 1);
    let caught = catch_unwind(AssertUnwindSafe(body));
    QUIET_DEPTH.set(QUIET_DEPTH.get() - 1);
    caught.unwrap_or_else(|_| {
        let message = MESSAGE.take().unwrap_or_else(|| "panicked".into());
        log::error!("{message}");
        #[cfg(test)]
        crate::process::planted_panics::linger();
        Err(Error::with_detail(Code::Panic, message))
    })
}

/// Runs a side task, such as counting, on which no answer may depend: a panic in it is logged and goes no further.
pub(crate) fn aside(body: impl FnOnce()) {
    // `catch` has logged its message.
    let _ = catch(|| {
        body();
        Ok(())
    });
}

/// Only the hook can see where a panic happened, and only it can keep the message off stderr. In the shared library
/// it is private to our own copy of the standard library; in a Rust program it forwards every panic outside [`catch`]
/// to the previous hook.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if QUIET_DEPTH.get() > 0 {
                MESSAGE.set(Some(say(panic)));
            } else {
                before(panic);
            }
        }));
    });
}

/// Which thread panicked, where, and with which message, on one line.
fn say(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let text = panic.to_string().replacen(":\n", ": ", 1);
    // The library's own threads have names; an unnamed one is the program's, inside one of our functions.
    format!("thread {} {text}", thread.name().unwrap_or("of the caller"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_thread_location_and_message() {
        let body = || catch::<()>(|| panic!("the moon fell down")).expect_err("it panicked");
        let named = std::thread::Builder::new().name("watcher".to_owned()).spawn(body);
        let error = named.expect("a thread can be made").join().expect("the panic was caught");

        assert_eq!(error.code(), Code::Panic);
        let (head, tail) = error.detail().split_once("src/process/panics.rs:").expect("where");
        assert_eq!(head, "thread watcher panicked at ");
        assert!(tail.ends_with(": the moon fell down"), "{tail}");
    }
}
