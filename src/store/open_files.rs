//! How many files a store may have open.
//!
//! Owns the plan: what the log, the directory and the connections need, and what is left for the engine. What always
//! holds: a store that opens has room for all of it beside what the process has open at that moment, and for a few
//! descriptors of the program itself. What the program opens later is its own affair.

use crate::error::{Code, Error, Result};

/// The engine gains nothing from more.
const ENGINE_FILES_MAX: u64 = 256;
/// With less the engine opens and closes files for single reads.
const ENGINE_FILES_MIN: u64 = 32;
/// Files of the engine that it does not count: its log, manifest, lock and directories, and those of a flush and of
/// compactions.
const ENGINE_OTHER_FILES: u64 = 16;
/// The head of the log, its spares and the next one, old segments that are read, marks, and directories.
const LOG_FILES: u64 = 20;
/// Lock files, a poller of sockets, descriptors that wake threads.
const OTHER_FILES: u64 = 8;
/// A member may be connected twice for a moment, in each direction.
const FILES_PER_PEER: u64 = 4;
/// Left to the program.
const SPARE_FILES: u64 = 16;

/// How many files the engine may have open, in a process that may open `available` more.
///
/// # Errors
/// `IO`, with the operating system's number for too many open files, when that is too few for a store with `peers`
/// other members.
pub(super) fn engine_files(available: u64, peers: usize) -> Result<u16> {
    let beside = ENGINE_OTHER_FILES + LOG_FILES + OTHER_FILES + SPARE_FILES + FILES_PER_PEER * peers as u64;
    let rest = available.saturating_sub(beside);
    if rest < ENGINE_FILES_MIN {
        let detail = format!(
            "this process may open {available} more files, and a store with {peers} other members needs {}: raise the \
             limit of the process (ulimit -n), or close what it has open",
            beside + ENGINE_FILES_MIN
        );
        return Err(Error::with_detail(Code::Io, detail).with_errno(Some(libc::EMFILE)));
    }
    let files = rest.min(ENGINE_FILES_MAX);
    Ok(u16::try_from(files).expect("the maximum fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_gets_what_is_left_up_to_what_it_can_use() {
        assert_eq!(engine_files(1000, 2).expect("plenty"), 256);
        assert_eq!(engine_files(120, 2).expect("enough"), 52);
    }

    #[test]
    fn a_process_with_too_few_descriptors_is_told_how_many_it_needs() {
        let error = engine_files(99, 2).expect_err("too few");

        assert_eq!((error.code(), error.errno()), (Code::Io, Some(libc::EMFILE)));
        assert!(error.detail().contains("may open 99 more files"), "{error}");
        assert!(error.detail().contains("needs 100"), "{error}");
        assert!(engine_files(100, 2).is_ok());
    }
}
