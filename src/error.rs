//! The one error type and the one table of codes.
//!
//! Owns every code a caller can see: number, name, meaning and whether the call took effect. The C constants, the
//! documentation and the Python exceptions come from [`CODES`]; numbers are never reused. An [`Error`] answers the
//! caller's most important question first: *did it take effect?*

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::effects::Precondition;
use crate::regions::{KeyRange, shown};
use crate::types::{LogIndex, NodeId, RegionId};

/// Whether a write that was answered with an error took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not applied and never will be. Safe to retry.
    NotApplied,
    /// It may have been applied, or may still be, at any later time. A read that shows it settles it; one that does not
    /// settles nothing.
    Unknown,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $c_name:literal, $message:literal;)+) => {
        /// The reason of an [`Error`]. `number / 100` is its category: 1 wrong call, 2 normal negative
        /// answer, 3 certainly not applied, 4 outcome unknown, 5 life cycle, 6 environment, 7 data, 9 bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $doc])+ $name = $number,)+ }

        /// Every code with its number, its C name (without `ALMADIA_`) and its message.
        pub const CODES: &[(Code, i32, &str, &str)] =
            &[$((Code::$name, $number, $c_name, $message),)+];
    };
}

codes! {
    /// An argument is outside its documented range.
    InvalidArgument = 101, "INVALID_ARGUMENT", "an argument is outside its documented range";
    /// A pointer that must not be NULL is NULL.
    NullPointer = 102, "NULL_POINTER", "a pointer that must not be NULL is NULL";
    /// A configuration option is unknown, malformed or contradicts another.
    InvalidConfig = 103, "INVALID_CONFIG", "a configuration option is unknown, malformed or contradicts another";
    /// The program was compiled against a header of another ABI version.
    AbiMismatch = 104, "ABI_MISMATCH", "the program was compiled against a header of another ABI version";
    /// The buffer is smaller than the value; the needed length was written.
    BufferTooSmall = 105, "BUFFER_TOO_SMALL", "the buffer is smaller than the value; the needed length was written";
    /// A blocking call inside a completion callback.
    WouldDeadlock = 106, "WOULD_DEADLOCK", "a blocking call inside a completion callback; use the _async form";
    /// This version does not offer what was asked.
    Unsupported = 107, "UNSUPPORTED", "this version does not offer what was asked";
    /// A key, value or batch is larger than its limit.
    TooLarge = 108, "TOO_LARGE", "a key, value or batch is larger than its limit";
    /// The operations of a batch belong to more than one region, and only one region's are atomic.
    BatchAcrossRegions = 110, "BATCH_ACROSS_REGIONS", "the batch touches keys of more than one region; split it at the region boundary";
    /// The key does not exist.
    NotFound = 201, "NOT_FOUND", "the key does not exist";
    /// A condition of the batch was false, and nothing was applied; the error says which one it was, and the version of
    /// its key.
    PreconditionFailed = 202, "PRECONDITION_FAILED", "a condition of the batch was false; it was not applied";
    /// What a transaction had read was changed by another write before its commit.
    Conflict = 203, "CONFLICT", "what the transaction had read was changed before its commit; it was not applied, begin it again";
    /// The iteration is at its end.
    End = 204, "END", "the iteration is at its end";
    /// An `add` met a value that is not a number of 8 bytes, or the sum does not fit into one.
    NotANumber = 205, "NOT_A_NUMBER", "add: the value is not a number of 8 bytes, or the sum does not fit into one; the batch was not applied";
    /// This member does not lead the region; the leader is in the error's detail.
    NotLeader = 301, "NOT_LEADER", "this member does not lead the region; ask the leader";
    /// No leader was found before the deadline.
    NoLeader = 302, "NO_LEADER", "no leader before the deadline, nothing was done; retry when a majority of the members is up and reachable";
    /// A local queue is full.
    Overloaded = 303, "OVERLOADED", "a local queue is full; retry after some completions";
    /// A leader transfer is under way.
    TransferInProgress = 304, "TRANSFER_IN_PROGRESS", "a leader transfer is under way; retry when it has ended";
    /// The target of the transfer is too far behind.
    Lagging = 306, "LAGGING", "the target of the transfer is too far behind; retry when it has caught up";
    /// The deadline passed before the call reached the log or was answered by a read.
    DeadlineBeforeStart = 307, "DEADLINE_BEFORE_START", "the deadline passed before the write entered the log; it was not applied, retry";
    /// The region's key range changed between the call and its apply.
    RegionChanged = 309, "REGION_CHANGED", "the region's key range changed meanwhile; it was not applied, retry";
    /// The deadline passed while the write was in flight.
    Timeout = 401, "TIMEOUT", "the deadline passed while the write was in flight; it may be applied, now or later";
    /// The caller cancelled a write in flight.
    CancelledInFlight = 403, "CANCELLED_IN_FLIGHT", "the write was cancelled while it was in flight; it may be applied, now or later";
    /// The store was shut down while the write was in flight.
    ShutdownInFlight = 404, "SHUTDOWN_IN_FLIGHT", "the store was shut down while the write was in flight; it may be applied, now or later";
    /// The store failed while the write was in flight.
    FailedInFlight = 405, "FAILED_IN_FLIGHT", "the store failed while the write was in flight; it may be applied, now or later";
    /// This member was so far behind that it took over another one's data, and with them what became of the write.
    SkippedInFlight = 406, "SKIPPED_IN_FLIGHT", "this member was far behind and took over another one's data while the write was in flight; it may be applied, or not";
    /// The store is shut down.
    Closed = 501, "CLOSED", "the store, or the completion queue, is shut down";
    /// The caller cancelled the call before it had any effect.
    Cancelled = 502, "CANCELLED", "the call was cancelled before it had any effect";
    /// The store accepts no more calls, but its threads have not ended by the timeout of the shutdown.
    ShuttingDown = 503, "SHUTTING_DOWN", "the store accepts no more calls, but its threads have not ended in time; shut it down again to wait for them";
    /// The call was made in a child process of the one that opened the store, or of one that had a store open.
    Forked = 504, "FORKED", "a parent process had a store open when it forked; close it before, fork first, or exec";
    /// This member was removed from its cluster.
    Removed = 505, "REMOVED", "this member was removed from its cluster; its number is not used again: start another member under a new number";
    /// A read's deadline passed before it could be confirmed.
    ReadTimeout = 507, "READ_TIMEOUT", "the deadline passed before the read was confirmed; retry";
    /// The operating system reported an error; errno and path are in the message.
    Io = 601, "IO", "the operating system reported an error";
    /// The disk is full.
    NoSpace = 602, "NO_SPACE", "the disk is full";
    /// Another process or store has the directory open.
    Locked = 603, "LOCKED", "another process or store has the directory open";
    /// The operating system refused access.
    Permission = 604, "PERMISSION", "the operating system refused access";
    /// The network address cannot be used.
    Network = 605, "NETWORK", "the network address cannot be used";
    /// Stored data is damaged; file and offset are in the message.
    Corruption = 701, "CORRUPTION", "stored data is damaged";
    /// The directory was written by a newer version.
    IncompatibleFormat = 703, "INCOMPATIBLE_FORMAT", "the directory was written by a newer version";
    /// The directory belongs to another cluster, node or instance.
    WrongCluster = 704, "WRONG_CLUSTER", "the directory belongs to another cluster or member";
    /// The store stopped after an earlier error.
    Poisoned = 903, "POISONED", "the store stopped after an earlier error; close it and open it again";
    /// A bug in Almadia: a panic was caught before it reached the caller.
    Panic = 902, "PANIC", "a bug in Almadia: a panic was caught";
    /// A bug in Almadia.
    Internal = 901, "INTERNAL", "a bug in Almadia";
}

impl Code {
    /// The stable number, the same in Rust, C and Python.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The C name without its `ALMADIA_` prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// What happened and what to do, without details.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.row().3
    }

    /// Whether a write that was answered with this code took effect: unknown for category 4 and for a caught panic;
    /// certainly not for every other code.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self.number() / 100 {
            4 | 9 if !matches!(self, Self::Poisoned) => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }

    /// True when the same call, unchanged, can succeed later or on another member and cannot have been applied.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.number() / 100 == 3 || matches!(self, Self::ReadTimeout)
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        CODES.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    fn row(self) -> &'static (Self, i32, &'static str, &'static str) {
        CODES.iter().find(|row| row.0 == self).expect("the macro writes one row per code")
    }
}

/// Why a call failed. Small: the details are boxed.
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    code: Code,
    detail: String,
    leader: Option<NodeId>,
    errno: Option<i32>,
    path: Option<PathBuf>,
    precondition: Option<Precondition>,
    conflict: Option<Conflict>,
}

/// What a transaction had read, and another write changed before its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A key: it was set, or removed.
    Key(Bytes),
    /// Keys that the transaction had iterated over: one of them was set or removed, or there is another one among them.
    Range(KeyRange),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key '{}' was changed", shown(key)),
            Self::Range(KeyRange { start, end }) if end.is_empty() => {
                write!(f, "a key from '{}' on was changed", shown(start))
            }
            Self::Range(KeyRange { start, end }) => {
                write!(f, "a key from '{}' to '{}' was changed", shown(start), shown(end))
            }
        }
    }
}

/// Why a write was refused where it was applied. It is the same on every member, and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub code: Code,
    /// Which operation it is about, and what was found.
    pub precondition: Option<Precondition>,
}

impl Refusal {
    /// The refusal that a call was answered with.
    #[must_use]
    pub(crate) fn of(error: &Error) -> Self {
        Self { code: error.code(), precondition: error.precondition() }
    }
}

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with only its code's message.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self::with_detail(code, String::new())
    }

    /// An error with a detail: what it is about.
    #[must_use]
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            inner: Box::new(Inner {
                code,
                detail,
                leader: None,
                errno: None,
                path: None,
                precondition: None,
                conflict: None,
            }),
        }
    }

    /// This member does not lead; `leader` does, as far as it knows.
    #[must_use]
    pub fn not_leader(leader: NodeId) -> Self {
        let mut error = Self::with_detail(Code::NotLeader, format!("the leader is node {leader}"));
        error.inner.leader = Some(leader);
        error
    }

    /// An error whose detail is what `node` knows about the leader of `region`.
    #[must_use]
    pub fn of_member(code: Code, node: NodeId, region: RegionId, leader: Option<NodeId>) -> Self {
        let detail = match leader {
            None => format!("node {node} knows no leader of region {region}"),
            Some(leader) if leader == node => format!("node {node} leads region {region}"),
            Some(leader) => format!("node {node} regards node {leader} as the leader of region {region}"),
        };
        let mut error = Self::with_detail(code, detail);
        error.inner.leader = leader;
        error
    }

    /// This error of a local read that waited for `min_index` at a member that has applied so much, which is added if it
    /// was the reason.
    #[must_use]
    pub(crate) fn of_local_read(self, node: NodeId, applied: LogIndex, min_index: LogIndex) -> Self {
        if applied >= min_index {
            return self;
        }
        self.and(&format!("node {node} has applied it up to index {applied}, and min_index is {min_index}"))
    }

    /// The refusal of a write where it was applied.
    #[must_use]
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let Refusal { code, precondition } = refusal;
        let mut error = Self::with_detail(code, precondition.map_or(String::new(), described));
        error.inner.precondition = precondition;
        error
    }

    /// The refusal of a transaction that had read `conflict`.
    #[must_use]
    pub(crate) fn conflicting(conflict: Conflict) -> Self {
        let mut error = Self::with_detail(Code::Conflict, conflict.to_string());
        error.inner.conflict = Some(conflict);
        error
    }

    /// An error of the operating system on `path` while doing `what`.
    #[must_use]
    pub fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::system(&format!("{what} {}", path.display()), error).at(path)
    }

    /// An error of the operating system while doing `what`.
    #[must_use]
    pub fn system(what: &str, error: &std::io::Error) -> Self {
        let code = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Code::NoSpace,
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Code::Permission,
            _ => Code::Io,
        };
        Self::with_detail(code, format!("{what}: {error}")).with_errno(error.raw_os_error())
    }

    /// This error, with the number of the operating system's error that caused it, if there is one.
    #[must_use]
    pub fn with_errno(mut self, errno: Option<i32>) -> Self {
        self.inner.errno = errno;
        self
    }

    /// This error, which is about the file or directory `path`.
    #[must_use]
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.inner.path = Some(path.to_owned());
        self
    }

    /// This error, with `more` about it.
    #[must_use]
    pub(crate) fn and(mut self, more: &str) -> Self {
        let before = std::mem::take(&mut self.inner.detail);
        self.inner.detail = if before.is_empty() { more.to_owned() } else { format!("{before}; {more}") };
        self
    }

    /// Damage at `offset` of `path`.
    #[must_use]
    pub fn corruption(path: &Path, offset: u64, what: &str) -> Self {
        Self::with_detail(Code::Corruption, format!("{}, offset {offset}: {what}", path.display())).at(path)
    }

    /// The reason.
    #[must_use]
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// Whether the write this answers was certainly not applied, or may have been.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.code().outcome()
    }

    /// The member that leads, when the error knows it.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.inner.leader
    }

    /// The operating system's error number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.inner.errno
    }

    /// The operation of the batch that it is about, and what its key was like, when there is one.
    #[must_use]
    pub fn precondition(&self) -> Option<Precondition> {
        self.inner.precondition
    }

    /// What the transaction had read, and another write changed, when it is about that.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        self.inner.conflict.as_ref()
    }

    /// The file or directory that it is about, when there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// What this error is about, beyond its code's message; may be empty.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.inner.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().message())?;
        if self.detail().is_empty() { Ok(()) } else { write!(f, " ({})", self.detail()) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.code().name())
    }
}

impl std::error::Error for Error {}

fn described(precondition: Precondition) -> String {
    let Precondition { operation, exists, version } = precondition;
    match exists {
        true => format!("operation {operation}: its key has version {}", version.get()),
        false => format!("operation {operation}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Version;

    #[test]
    fn an_error_of_a_member_names_the_leader_it_knows() {
        let detail = |leader: Option<u64>| {
            let error = Error::of_member(Code::ReadTimeout, NodeId(2), RegionId(7), leader.map(NodeId));
            assert_eq!(error.leader(), leader.map(NodeId));
            error.to_string()
        };

        assert!(detail(None).ends_with("; retry (node 2 knows no leader of region 7)"));
        assert!(detail(Some(2)).ends_with("(node 2 leads region 7)"));
        assert!(detail(Some(3)).ends_with("(node 2 regards node 3 as the leader of region 7)"));
    }

    #[test]
    fn a_refusal_comes_back_out_of_its_error() {
        let precondition = Some(Precondition { operation: 3, exists: true, version: Version(7 << 16) });
        let absent = Some(Precondition { operation: 3, exists: false, version: Version::NONE });

        for precondition in [precondition, absent, None] {
            let refusal = Refusal { code: Code::PreconditionFailed, precondition };
            let error = Error::refused(refusal);
            assert_eq!(Refusal::of(&error), refusal);
            assert_eq!(error.outcome(), Outcome::NotApplied);
            assert_eq!(error.detail().is_empty(), precondition.is_none());
        }
    }
}
