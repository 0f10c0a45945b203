//! Forwards raft's log records to the `log` facade.
//!
//! Owns the drain of the raft crate's logger, and the queue of records for a binding that displays them. Raft's info
//! level is mapped to our debug level: elections and probes matter for debugging a cluster, not to users of a
//! library. What always holds: this library never writes to stdout or stderr; logging never blocks and never runs
//! user code; the queue is bounded, and dropped records are counted; nobody holds its lock while the process is forked
//! but the thread that forks, so that a child may use it. Displaying the records is left to the binding,
//! or to a Rust program's logger.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use slog::{Drain, Level, Logger, Never, OwnedKVList, o};

use crate::error::{Code, Error, Result};

/// A logger for raft nodes.
pub(crate) fn raft_logger() -> Logger {
    Logger::root(ToLog, o!())
}

struct ToLog;

impl Drain for ToLog {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &slog::Record<'_>, _: &OwnedKVList) -> std::result::Result<(), Never> {
        log::log!(target: "almadia::raft", translate(record.level()), "{}", record.msg());
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        log::log_enabled!(target: "almadia::raft", translate(level))
    }
}

fn translate(level: Level) -> log::Level {
    match level {
        Level::Critical | Level::Error => log::Level::Error,
        Level::Warning => log::Level::Warn,
        Level::Info => log::Level::Debug,
        Level::Debug | Level::Trace => log::Level::Trace,
    }
}

/// Maximum number of queued records; newer ones are dropped.
const RECORDS_MAX: usize = 4096;

/// One log record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its severity.
    pub level: log::Level,
    /// The part of the library that logged it.
    pub target: String,
    /// Its text.
    pub message: String,
}

/// This process's log records, queued for a binding. Meant for libraries that are the only user of their copy of the
/// `log` crate; a Rust program installs its own logger instead.
#[derive(Debug)]
pub struct Records {
    state: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Debug)]
struct Waiting {
    records: Vec<Record>,
    dropped: u64,
    /// A binding is reading them.
    captured: bool,
    /// The `log` crate hands its records to this queue.
    installed: bool,
}

static RECORDS: Records = Records {
    state: Mutex::new(Waiting { records: Vec::new(), dropped: 0, captured: false, installed: false }),
    filled: Condvar::new(),
};

thread_local! {
    /// The lock, while this thread forks.
    static HELD: RefCell<Option<MutexGuard<'static, Waiting>>> = const { RefCell::new(None) };
}

impl Records {
    /// Queues every record at `level` or above from now on, for [`Records::take`].
    ///
    /// # Errors
    /// `UNSUPPORTED` when another logger is installed.
    pub fn capture(level: log::LevelFilter) -> Result<&'static Self> {
        let mut state = RECORDS.lock();
        if !state.installed {
            log::set_logger(&RECORDS)
                .map_err(|_| Error::with_detail(Code::Unsupported, "another logger is installed"))?;
        }
        *state = Waiting { records: Vec::new(), dropped: 0, captured: true, installed: true };
        drop(state);
        log::set_max_level(level);
        Ok(&RECORDS)
    }

    /// Stops queueing records; [`Records::take`] returns false after the last one.
    pub fn release() {
        Self::mute();
        RECORDS.lock().captured = false;
        RECORDS.filled.notify_all();
    }

    /// Stops queueing records without taking a lock.
    pub(crate) fn mute() {
        log::set_max_level(log::LevelFilter::Off);
    }

    /// Takes the lock for the time in which the calling thread forks.
    pub(crate) fn hold() {
        let held = RECORDS.lock();
        // A thread that forks in its last destructors has no place for it any more, and forks without.
        let _ = HELD.try_with(|place| place.replace(Some(held)));
    }

    /// Ends [`Records::hold`], in the parent and in the child.
    pub(crate) fn let_go() {
        let _ = HELD.try_with(|place| place.replace(None));
    }

    /// Takes all queued records, waiting for the first. False once capturing has stopped and none are left.
    pub fn take(&self, taken: &mut Vec<Record>) -> bool {
        let idle = |state: &mut Waiting| state.captured && state.records.is_empty() && state.dropped == 0;
        let waited = self.filled.wait_while(self.lock(), idle);
        drain(waited.unwrap_or_else(PoisonError::into_inner), taken);
        !taken.is_empty()
    }

    /// Takes all queued records without waiting. False once capturing has stopped and none were left.
    pub fn take_now(&self, taken: &mut Vec<Record>) -> bool {
        let state = self.lock();
        let captured = state.captured;
        drain(state, taken);
        captured || !taken.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drain(mut state: MutexGuard<'_, Waiting>, taken: &mut Vec<Record>) {
    taken.append(&mut state.records);
    let dropped = std::mem::take(&mut state.dropped);
    drop(state);
    if dropped > 0 {
        let message = format!("{dropped} log records were dropped: the log callback is too slow");
        taken.push(Record { level: log::Level::Warn, target: "almadia::logging".to_owned(), message });
    }
}

impl log::Log for Records {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        let (target, message) = (record.target().to_owned(), record.args().to_string());
        let mut state = self.lock();
        if !state.captured {
            return;
        }
        if state.records.len() >= RECORDS_MAX {
            state.dropped += 1;
            return;
        }
        state.records.push(Record { level: record.level(), target, message });
        drop(state);
        self.filled.notify_one();
    }

    fn flush(&self) {}
}
