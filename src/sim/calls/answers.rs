//! What must be true of an answer, by the chosen log and by what was known before.
//!
//! Owns one check for each promise to a caller. What always holds: a check looks, and changes nothing.

use super::Call;
use crate::completion::{Position, Reply};
use crate::error::{Code, Error, Outcome, Refusal};
use crate::sim::checker::Verdict;
use crate::sim::chosen::{self, CallId};
use crate::sim::invariants::Check;
use crate::types::{LogIndex, Version};

/// A local read is answered from a state that has applied what it waited for.
pub(super) fn waited_for_its_index(call: CallId, known: &Call, index: LogIndex) -> Check {
    if index >= known.min_index {
        return Ok(());
    }
    Err(format!("call {call} is answered from {index}, but waited for {}", known.min_index))
}

/// An answer "applied" is true, the entry is at the position it names, and came to what it says.
pub(super) fn ok_is_where_it_says(
    call: CallId,
    (reply, has_version): (&Reply, bool),
    chosen: Option<&chosen::Outcome>,
    term: Option<u64>,
) -> Check {
    let Position { index, term: term_told } = reply.position;
    let version = chosen.map(|outcome| outcome.version);
    let told = (index, Some(reply.version), Some(term_told.get()));
    let version_to_tell = version.map(|version| if has_version { version } else { Version::UNKNOWN });
    let stands = (version.map_or(LogIndex(0), Version::index), version_to_tell, term);
    if told != stands {
        return Err(format!("call {call} was told it stands at {told:?}, but it stands at {stands:?}"));
    }
    let effects = Ok(reply.effects().cloned().unwrap_or_default());
    match chosen.map(|outcome| &outcome.told) {
        Some(comes_to) if *comes_to != effects => {
            Err(format!("call {call} was told {effects:?}, but comes to {comes_to:?}"))
        }
        _ => Ok(()),
    }
}

/// An answer "refused" is true, and says what there was; the index of the call's entry.
pub(super) fn refused_is_refused(
    call: CallId,
    refusal: Refusal,
    chosen: Option<&chosen::Outcome>,
) -> std::result::Result<u64, String> {
    match chosen {
        Some(chosen::Outcome { version, told }) if *told == Err(refusal) => Ok(version.index().get()),
        other => Err(format!("call {call} was told {refusal:?}, but comes to {other:?}")),
    }
}

/// An answer "certainly not applied" is never wrong.
pub(super) fn not_applied_is_never_seen(
    call: CallId,
    known: &Call,
    chosen: Option<&chosen::Outcome>,
) -> Check {
    match chosen.map(|outcome| outcome.version.index()) {
        Some(index) if known.operation.verdict == Verdict::NotApplied => {
            Err(format!("call {call} was answered with certainly not applied, but took effect at {index}"))
        }
        _ => Ok(()),
    }
}

/// A completion is dropped only when its member stops.
pub(super) fn only_an_end_drops_calls(
    call: CallId,
    host: usize,
    error: &Error,
    ended: Option<usize>,
) -> Check {
    let of_an_end = matches!(error.code(), Code::FailedInFlight | Code::Poisoned | Code::Closed);
    if of_an_end && ended != Some(host) {
        return Err(format!("call {call} was dropped while its member went on"));
    }
    Ok(())
}

/// A caller whose member is alive learns the outcome of its write, unless the write timed out or was cancelled, or a raft
/// snapshot has taken the place of its entry there.
pub(super) fn unknown_is_what_had_no_time(
    call: CallId,
    known: &Call,
    error: &Error,
    may_be_unknown: bool,
) -> Check {
    let is_unknown = known.operation.is_write() && !known.transfers && error.outcome() == Outcome::Unknown;
    if may_be_unknown || !is_unknown || matches!(error.code(), Code::Timeout | Code::CancelledInFlight) {
        return Ok(());
    }
    Err(format!("call {call} is {} to its caller, whose member lives", error.code().name()))
}

/// A call that started after something was known is ordered after it: the real-time half of linearizability.
pub(super) fn comes_after_what_was_known(call: CallId, known: &Call, index: u64) -> Check {
    let in_time = if known.operation.is_write() { index > known.floor } else { index >= known.floor };
    if in_time {
        return Ok(());
    }
    let (what, floor) = (if known.operation.is_write() { "stands at" } else { "shows" }, known.floor);
    Err(format!("call {call} {what} {index}, but {floor} was known before it was made"))
}
