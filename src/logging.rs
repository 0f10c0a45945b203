//! From raft's logger to the `log` facade.
//!
//! Owns the one drain through which the raft crate speaks. Its information is our debug output: elections and
//! probes matter to whoever debugs a cluster, not to whoever links a library. This library never writes to
//! stdout or stderr.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};

/// A logger for raft nodes.
pub fn raft_logger() -> Logger {
    Logger::root(ToLog, o!())
}

struct ToLog;

impl Drain for ToLog {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
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
