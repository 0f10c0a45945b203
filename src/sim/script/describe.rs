//! Formatting of members in script output.
//!
//! Owns the output lines of commands. Messages and syncs are left out: they are formatted elsewhere.

use std::time::Duration;

use raft::eraftpb::ConfState;

use crate::core::member_list::{ListedMember, MemberList, MemberRole};
use crate::sim::disk::Data;
use crate::sim::member::Member;
use crate::time::Timestamp;
use crate::types::RegionId;

/// Longer than any lease.
const LEASE_MS_MAX: u64 = 10_000;

/// Role, term and log of a member.
pub(crate) fn describe_status(member: &Member, region: RegionId) -> String {
    let Some(peer) = member.peer_of(region) else { return format!("{} down", member.node) };
    let status = peer.status();
    let role = format!("{:?}", status.role).to_lowercase();
    let lacks = [
        (status.lacks_end, " without its end"),
        (!status.has_data, " without data"),
        (status.installing, " that installs"),
    ];
    let lacks = lacks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what);
    let role = role + &lacks.collect::<String>();
    format!(
        "{} {role} term={} last={} commit={} applied={}",
        member.node, status.term, status.last_index, status.commit_index, status.applied_index
    )
}

/// The configuration that a member's engine holds, the list of members if it holds one, and for what the member waits as
/// a leader before it follows the list further.
pub(crate) fn describe_members(member: &Member, region: RegionId) -> Vec<String> {
    let (node, (region, _)) = (member.node, member.engine().state_of(region));
    if region.lacks_data() {
        return vec![format!("{node} holds nothing")];
    }
    let ConfState { voters, learners, voters_outgoing, learners_next, .. } = &region.members;
    let [voters, learners, voters_outgoing, learners_next] =
        [voters, learners, voters_outgoing, learners_next].map(|nodes| sorted(nodes));
    let mut line =
        format!("{node} holds version {}: voters {voters:?} learners {learners:?}", region.epoch.conf_ver);
    if !voters_outgoing.is_empty() {
        line += &format!(", joint with voters {voters_outgoing:?}");
    }
    if !learners_next.is_empty() {
        line += &format!(", then learners {learners_next:?}");
    }
    if region.list_version > 0 {
        line += &format!(", by list {}", region.list_version);
    }
    let list = region.list.as_ref().map(|list| format!("{node} holds {}", describe_list(list)));
    let waits = member.peer_of(region.id).and_then(|peer| peer.members_now().waits);
    let waits = waits.map(|waits| format!("{node} waits: {}", waits.describe(region.id)));
    [Some(line), list, waits].into_iter().flatten().collect()
}

fn sorted(nodes: &[u64]) -> Vec<u64> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes
}

fn describe_list(list: &MemberList) -> String {
    let role = |role| if role == MemberRole::Learner { ":learner" } else { "" };
    let member = |it: &ListedMember| format!(" {}{}", it.node, role(it.role));
    let members: String = list.members.iter().map(member).collect();
    format!("list {}:{members}, highest {}", list.version, list.highest)
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
