//! Panics end at the border.
//!
//! Owns the way a panic becomes an error. What always holds: a panic of ours neither leaves the function it is
//! caught in nor prints anything; what other code of the process panics is left to whatever hook was there before.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::{Code, Error, Result};

thread_local! {
    static QUIET_DEPTH: Cell<usize> = const { Cell::new(0) };
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; a panic becomes [`Code::Panic`] with its message and place.
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

/// Runs what no answer may depend on, such as counting: a panic in it is logged and goes no further.
pub(crate) fn aside(body: impl FnOnce()) {
    // Its message was logged where it was caught.
    let _ = catch(|| {
        body();
        Ok(())
    });
}

/// The hook is the only place that learns where a panic happened, and the only one that can keep it from stderr.
/// In the shared library it is private to our own copy of the standard library; in a Rust program it passes on
/// every panic that is not inside [`catch`].
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

/// Which thread panicked, where, and with which message, in one line.
fn say(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let text = panic.to_string().replacen(":\n", ": ", 1);
    // The library's own threads have names; one without is the program's, and in one of our functions.
    format!("thread {} {text}", thread.name().unwrap_or("of the caller"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_says_who_what_and_where() {
        let body = || catch::<()>(|| panic!("the moon fell down")).expect_err("it panicked");
        let named = std::thread::Builder::new().name("watcher".to_owned()).spawn(body);
        let error = named.expect("a thread can be made").join().expect("the panic was caught");

        assert_eq!(error.code(), Code::Panic);
        let (head, tail) = error.detail().split_once("src/process/panics.rs:").expect("where");
        assert_eq!(head, "thread watcher panicked at ");
        assert!(tail.ends_with(": the moon fell down"), "{tail}");
    }
}
