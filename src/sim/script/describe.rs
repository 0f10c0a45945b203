//! Formatting of members in script output.
//!
//! Owns the output lines of commands. Messages and syncs are left out: they are formatted elsewhere.

use std::time::Duration;

use crate::sim::disk::Data;
use crate::sim::member::Member;
use crate::time::Timestamp;

/// Longer than any lease.
const LEASE_MS_MAX: u64 = 10_000;

/// Role, term and log of a member.
pub(crate) fn describe_status(member: &Member) -> String {
    if !member.is_running() {
        return format!("{} down", member.node);
    }
    let status = member.peer().status();
    let role = format!("{:?}", status.role).to_lowercase();
    let role = if status.lacks_end { format!("{role} without its end") } else { role };
    format!(
        "{} {role} term={} last={} commit={} applied={}",
        member.node, status.term, status.last_index, status.commit_index, status.applied_index
    )
}

/// The configuration that a member's engine holds.
pub(crate) fn describe_members(member: &Member) -> String {
    let (region, _) = member.engine().state();
    let (voters, learners) = (&region.members.voters, &region.members.learners);
    format!(
        "{} holds version {}: voters {voters:?} learners {learners:?}",
        member.node, region.epoch.conf_ver
    )
}

/// Keys and values, one per line. What adds have made is shown as a number.
pub(crate) fn describe_data(data: &Data) -> Vec<String> {
    let text = |bytes: &[u8]| match bytes.try_into().map(i64::from_le_bytes) {
        Ok(number) if bytes.iter().any(u8::is_ascii_control) => number.to_string(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    data.iter().map(|(key, stored)| format!("{}={}", text(key), text(&stored.value))).collect()
}

/// Keys, values and versions, one per line.
pub(crate) fn describe_versions(data: &Data) -> Vec<String> {
    let versions = data.values().map(|stored| (stored.version.index(), stored.version.ordinal()));
    let lines = describe_data(data).into_iter().zip(versions);
    lines.map(|(line, (index, ordinal))| format!("{line} of {index}/{ordinal}")).collect()
}

/// What a member knows, and its first region.
pub(super) fn describe_level(member: &Member) -> String {
    let (region, _) = member.engine().state();
    format!("{}: knows {}, at {}", member.node, member.known_level(), region.level)
}

/// How long after `now` the peer may trust its lease, and how long callers may, for whom it is published a little less
/// often.
pub(crate) fn describe_lease(member: &Member, now: Timestamp) -> String {
    let peer = member.peer();
    let (published, node) = (peer.published_lease(), member.node);
    let held = lasts(now, |then| peer.holds_lease(then));
    let seen =
        published.glimpse().map_or(0, |glimpse| lasts(now, |then| published.still_holds(glimpse, then)));
    match (held, seen) {
        (0, 0) => format!("{node} holds no lease"),
        (held, 0) => format!("{node} holds a lease for {held} ms, its callers none"),
        (held, seen) => format!("{node} holds a lease for {held} ms, its callers for {seen} ms"),
    }
}

/// How long `holds` stays true, in milliseconds.
fn lasts(now: Timestamp, holds: impl Fn(Timestamp) -> bool) -> usize {
    (0..LEASE_MS_MAX).take_while(|&ms| holds(now + Duration::from_millis(ms))).count()
}

/// Merges repeated lines into one, with their count.
pub(crate) fn counted(output: Vec<String>) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for line in output {
        match lines.iter_mut().find(|(seen, _)| *seen == line) {
            Some((_, times)) => *times += 1,
            None => lines.push((line, 1)),
        }
    }
    let say = |(line, times)| if times == 1 { line } else { format!("{line} ({times} times)") };
    lines.into_iter().map(say).collect()
}
