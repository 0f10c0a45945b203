//! The log callback.
//!
//! Owns the process's one thread that hands log records to C. What always holds: the callback runs on that thread only,
//! one record at a time, and not any more once it was taken back; whoever logs never waits for it.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::to_c_text;
use super::handle::ProcessId;
use crate::error::{Code, Error, Result};
use crate::process::logging::{Record, Records};
use crate::process::thread;

/// How serious a log record is: one of the ALMADIA_LOG_... constants.
pub type almadia_log_level = i32;

/// Something failed. A store that stops says why.
pub const ALMADIA_LOG_ERROR: almadia_log_level = 1;
/// Something is wrong, and the library deals with it by itself.
pub const ALMADIA_LOG_WARN: almadia_log_level = 2;
/// What an operator wants to know.
pub const ALMADIA_LOG_INFO: almadia_log_level = 3;
/// What helps to debug a cluster: elections, connections.
pub const ALMADIA_LOG_DEBUG: almadia_log_level = 4;
/// Everything.
pub const ALMADIA_LOG_TRACE: almadia_log_level = 5;

/// Called for each log record, on the library's thread "almadia-log". `target` names the part of the library,
/// `message` is one or more lines of English; both end with a NUL and are valid until the callback returns. The
/// callback may block, at the cost of records: when 4096 are waiting, newer ones are dropped, and a record says how
/// many.
pub type almadia_log_callback = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        level: almadia_log_level,
        target: *const c_char,
        message: *const c_char,
    ),
>;

/// A checked callback.
struct Listener {
    callback: unsafe extern "C" fn(*mut c_void, almadia_log_level, *const c_char, *const c_char),
    user: *mut c_void,
}

// SAFETY: the caller promises that its callback may run on another thread, with `user`, which nobody here follows.
unsafe impl Send for Listener {}

impl Listener {
    fn tell(&self, record: &Record) {
        let (target, message): (CString, CString) = (to_c_text(&record.target), to_c_text(&record.message));
        let level = record.level as almadia_log_level;
        // SAFETY: whoever made this was promised that it may be called until it is taken back, which joins this thread.
        unsafe { (self.callback)(self.user, level, target.as_ptr(), message.as_ptr()) };
    }
}

/// The thread of the present callback.
struct LogThread {
    thread: JoinHandle<()>,
}

thread_local! {
    static IS_LOG_THREAD: Cell<bool> = const { Cell::new(false) };
}

static LOG_THREAD: Mutex<Option<LogThread>> = Mutex::new(None);
/// The process that used the log first. In a child of it the locks here may be held by threads that do not exist.
static FIRST_USE: OnceLock<ProcessId> = OnceLock::new();

/// Sends the log records of the whole library, in this process, to `callback` from now on; NULL ends that. `user`
/// is passed to each call. `level` is the least serious level that you want, ALMADIA_LOG_INFO for most programs. A
/// second call replaces the first. When it returns, the previous callback is not running and will not be called
/// again.
///
/// Blocks: yes, while a callback is running; inside a log callback it returns ALMADIA_WOULD_DEADLOCK too. Threads:
/// any number at once. Codes: ALMADIA_INVALID_ARGUMENT (level), ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED, ALMADIA_IO
/// (no thread can be started), ALMADIA_UNSUPPORTED (another logger is installed, in a Rust program).
///
/// # Safety
/// `callback` is NULL, or may be called with `user` on another thread until it is replaced or taken back; `error` is
/// NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_log_set_callback(
    callback: almadia_log_callback,
    user: *mut c_void,
    level: almadia_log_level,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        boundary::may_block()?;
        // Whatever a child of an open store would log comes from calls that are refused.
        ProcessId::for_store()?;
        FIRST_USE.get_or_init(ProcessId::current).check()?;
        // Before the lock, which may be held by whoever waits for this very thread.
        if IS_LOG_THREAD.get() {
            return Err(Error::new(Code::WouldDeadlock));
        }
        let filter = filter(level)?;
        let mut present = lock();
        end(&mut present);
        if let Some(callback) = callback {
            let records = Records::capture(filter)?;
            *present = Some(start(records, Listener { callback, user })?);
        }
        Ok(ALMADIA_OK)
    })
}

fn filter(level: almadia_log_level) -> Result<log::LevelFilter> {
    let known = log::LevelFilter::iter().find(|filter| *filter as almadia_log_level == level);
    known
        .filter(|filter| *filter != log::LevelFilter::Off)
        .ok_or_else(|| Error::with_detail(Code::InvalidArgument, format!("there is no log level {level}")))
}

/// Ends the thread of the callback before.
fn end(present: &mut Option<LogThread>) {
    let Some(before) = present.take() else { return };
    Records::release();
    // A panic in there was ours and was caught.
    let _ = before.thread.join();
}

fn start(records: &'static Records, listener: Listener) -> Result<LogThread> {
    let run = move || {
        IS_LOG_THREAD.set(true);
        let mut taken = Vec::new();
        while records.take(&mut taken) {
            taken.drain(..).for_each(|record| listener.tell(&record));
        }
    };
    let spawned = thread::spawn("almadia-log", run);
    let thread = spawned.map_err(|error| {
        Records::release();
        thread::refused(&error)
    })?;
    Ok(LogThread { thread })
}

fn lock() -> MutexGuard<'static, Option<LogThread>> {
    LOG_THREAD.lock().unwrap_or_else(PoisonError::into_inner)
}
