//! Configuration options by name and value.
//!
//! Owns every option: one table has its name, type, range, default and documentation, and the setter, the C enumeration
//! and the documentation are generated from it. What always holds: a value that [`Config::set`] accepted is right by
//! itself; consistency between options is checked once, by [`Config::check`], when a store is opened. There are no
//! global options. How values are read is left to [`values`].

mod members;
mod values;

use std::time::Duration;

use crate::completion::store_events::{OnStoreEvent, StoreEvent};
use crate::error::{Code, Error, Result};
use crate::time::longest_lease;
use crate::types::NodeId;

pub(crate) use members::Member;
use values::{BlockBytes, ClusterName, Join, Listen, Members, OptionValue, Read, SplitKeys};

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// UTF-8 text.
    Text,
    /// A whole number from the first to the second, both included.
    Number(u64, u64),
    /// `true` or `false`.
    Switch,
}

/// One row of [`OPTIONS`].
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// As in [`Config::set`].
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// The value when it is not set.
    pub default: &'static str,
    /// What it does, with its unit.
    pub doc: &'static str,
}

macro_rules! options {
    ($($field:ident: $type:ty, $name:literal, $kind:expr, $default:literal, $doc:literal;)+) => {
        /// The options of one store. `Config::default()` is a cluster of one member.
        #[derive(Clone, Debug)]
        pub struct Config { $(#[doc = $doc] pub(crate) $field: $type,)+ pub(crate) on_event: OnStoreEvent }

        /// Every option.
        pub const OPTIONS: &[OptionRow] =
            &[$(OptionRow { name: $name, kind: $kind, default: $default, doc: $doc },)+];

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($field: <$type>::parse($default, $kind).expect("the table's defaults are in range"),)+
                    on_event: OnStoreEvent::default(),
                }
            }
        }

        impl Config {
            /// Sets one option.
            ///
            /// # Errors
            /// `INVALID_CONFIG` naming the option, and the right form, when it is unknown or the value is malformed or
            /// out of range.
            pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
                match name {
                    $($name => self.$field = <$type>::parse(value, $kind)
                        .map_err(|reason| malformed(name, value, &reason))?,)+
                    _ => return Err(unknown(name)),
                }
                Ok(())
            }

            /// The value of one option as text.
            ///
            /// # Errors
            /// `INVALID_CONFIG` when there is no such option.
            pub fn get(&self, name: &str) -> Result<String> {
                match name {
                    $($name => Ok(self.$field.show()),)+
                    _ => Err(unknown(name)),
                }
            }
        }
    };
}

use OptionKind::{Number, Switch, Text};

const GIB: u64 = 1 << 30;

/// A busy disk occasionally stalls for one to two seconds; that must not cause a change of leader.
const APPLY_STALL_MS: u64 = 5_000;

options! {
    cluster_name: Read<ClusterName>, "cluster.name", Text, "almadia",
        "Name of the cluster, 1 to 255 bytes; equal on all members and never changed. Members with another name are refused.";
    node_id: u64, "cluster.node_id", Number(1, u64::MAX - 1), "1",
        "Number of this member, unique in the cluster, never reused.";
    initial_members: Read<Members>, "cluster.initial_members", Text, "",
        "All members as '1=host:port,2=host:port,...', equal on all; an IPv6 address as '[::1]:port'. Empty: a cluster of \
         this member alone.";
    join: Read<Join>, "cluster.join", Text, "",
        "Addresses of members of an existing cluster as 'host:port,host:port,...', for a member that was added to it and \
         starts with an empty directory; any of them is asked. Takes the place of cluster.initial_members, also at later \
         starts.";
    join_timeout_ms: u64, "cluster.join_timeout_ms", Number(0, 86_400_000), "60000",
        "Milliseconds for which the first start of a member with cluster.join asks to be let in.";
    split_keys: Read<SplitKeys>, "bootstrap.split_keys", Text, "",
        "Keys at which the key space is split into regions when a cluster is created: N keys make N + 1 regions, \
         1024 at most. Separated by commas, in any order; any byte as %XX, so %2C is a comma and %25 a percent sign; \
         spaces count. Equal on all members and never changed. Empty: one region owns all keys.";
    listen: Read<Listen>, "transport.listen", Text, "",
        "Address this member accepts its peers on, as 'host:port'. Empty: the one at which they reach it.";
    announce: Read<Listen>, "transport.announce", Text, "",
        "Address at which its peers reach this member, as 'host:port'; it tells them when it connects or joins. Empty: \
         its own address in cluster.initial_members, or, with cluster.join, what the list of members says; it tells \
         nobody.";
    insecure: bool, "transport.insecure", Switch, "false",
        "Allows plaintext traffic on addresses other than loopback. Only for networks where every host is trusted.";
    queue_bytes: u64, "transport.queue_bytes", Number(1 << 20, GIB), "67108864",
        "Bytes of messages that may wait for one peer; more are dropped, and sent again if need be.";
    tick_ms: u64, "raft.tick_ms", Number(5, 10_000), "50",
        "Milliseconds between two ticks of the raft clock; equal on all members.";
    heartbeat_ms: u64, "raft.heartbeat_ms", Number(5, 60_000), "100",
        "Milliseconds between two heartbeats of a leader; a multiple of raft.tick_ms.";
    election_timeout_ms: u64, "raft.election_timeout_ms", Number(20, 600_000), "1000",
        "Milliseconds without a leader after which a member campaigns, drawn up to 1.5 times as long; a multiple \
         of raft.tick_ms; equal on all members.";
    spread_leaders: bool, "raft.spread_leaders", Switch, "true",
        "Whether this member hands regions that it leads over to members that lead fewer, that are preferred, or when it is \
         drained. Set it to false on all members to place leaders by hand.";
    apply_stall_ms: u64, "raft.apply_stall_ms", Number(0, 86_400_000), "0",
        "Milliseconds for which a leader's engine may apply nothing while committed writes wait, before the leader \
         hands over; at least twice raft.election_timeout_ms. Longer than the occasional stalls of a disk, which cost \
         less than a change of leader. 0 means 5000, or three times raft.election_timeout_ms if that is more.";
    lease: bool, "read.lease", Switch, "true",
        "Whether a leader answers reads under its lease, without asking the other members. Needs members whose clocks \
         run at most 10 % fast or slow, as time daemons keep them, and never stop: set it to false on virtual machines \
         that may be paused, whose clocks need not count the pause.";
    lease_ms: u64, "read.lease_ms", Number(0, 600_000), "0",
        "Milliseconds a leader's lease lasts after a majority last confirmed it, at most nine elevenths of \
         (raft.election_timeout_ms minus raft.tick_ms): so it ends before another member can be elected although the \
         leader's clock runs 10 % slow and another's 10 % fast. 0 means as long as that allows.";
    group_bytes: u64, "write.group_bytes", Number(0, 1 << 20), "65536",
        "Bytes of writes of different callers that may share one entry of the log; 0 gives each its own.";
    write_timeout_ms: u64, "write.timeout_ms", Number(1, 86_400_000), "5000",
        "Milliseconds after which a write without a timeout of its own is answered.";
    read_timeout_ms: u64, "read.timeout_ms", Number(1, 86_400_000), "5000",
        "Milliseconds after which a snapshot without a timeout of its own is answered.";
    in_flight_ops: u64, "limits.in_flight_ops", Number(1, 10_000_000), "100000",
        "Calls of this store that may be unanswered at once; more are answered OVERLOADED.";
    in_flight_bytes: u64, "limits.in_flight_bytes", Number(16 << 20, 64 * GIB), "268435456",
        "Bytes of unanswered writes of this store; more are answered OVERLOADED.";
    log_segment_bytes: BlockBytes, "log.segment_bytes", Number(64 << 10, GIB), "67108864",
        "Size of one file of the raft log; a multiple of 4096.";
    accept_lost_end: u64, "log.accept_lost_end", Number(0, u64::MAX), "0",
        "Continues with a raft log that lost its end, without the acknowledged writes that are lost with it. Set to \
         the number in the error or the warning of that loss; accepts no other loss. 0 accepts none.";
    log_cache_bytes: u64, "log.cache_bytes", Number(64 << 10, 16 * GIB), "33554432",
        "Bytes of recent log entries kept in memory beside those not yet applied; regions share them evenly. A member that does not lead keeps a quarter of it, a cluster of one none.";
    log_retain_bytes: u64, "log.retain_bytes", Number(64 << 10, 64 * GIB), "67108864",
        "Bytes of applied log entries after which the log is truncated; regions share them evenly.";
    log_behind_bytes: u64, "log.behind_bytes", Number(64 << 10, 1024 * GIB), "1073741824",
        "Bytes of log that are kept for members that are down or behind; regions share them evenly. A member that is \
         farther behind is sent the data themselves, as a raft snapshot; while that lasts twice as much is kept.";
    snapshot_bytes_per_second: u64, "raft_snapshot.bytes_per_second", Number(0, 1024 * GIB), "104857600",
        "Bytes a second of raft snapshots that this member sends, all together, to members that are too far behind. 0 \
         sets no limit.";
    block_cache_bytes: u64, "engine.block_cache_bytes", Number(1 << 20, 1024 * GIB), "33554432",
        "Bytes of data blocks the engine keeps in memory.";
    memtable_bytes: u64, "engine.memtable_bytes", Number(1 << 20, 16 * GIB), "33554432",
        "Bytes of recent writes the engine keeps in memory before it flushes them.";
}

impl Config {
    /// The number of ticks in `ms` milliseconds.
    pub(crate) fn ticks(&self, ms: u64) -> usize {
        usize::try_from(ms / self.tick_ms).expect("a timeout is less than a day")
    }

    /// Calls `tell` with the events of every store that is opened with this configuration, on that store's thread
    /// "almadia-cb", by the rules of callbacks.
    pub fn on_event(&mut self, tell: impl Fn(&StoreEvent) + Send + Sync + 'static) {
        self.on_event = OnStoreEvent::new(tell);
    }

    /// Stops reporting events.
    pub fn ignore_events(&mut self) {
        self.on_event = OnStoreEvent::default();
    }

    /// The initial members of a cluster, in order of their numbers; this one alone where it joins a cluster.
    ///
    /// # Errors
    /// `INVALID_CONFIG` when `cluster.initial_members` does not name this member, or stands beside `cluster.join`.
    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let (own, members) = (NodeId(self.node_id), &self.initial_members.meaning().0);
        let announced = self.announce.meaning().0.clone();
        self.check_join(announced.as_deref())?;
        if members.is_empty() {
            return Ok(vec![Member { node: own, address: announced.unwrap_or_default() }]);
        }
        if !members.iter().any(|member| member.node == own) {
            return Err(contradiction(&format!(
                "cluster.initial_members ('{}') does not name node {own}, which cluster.node_id says this member is: \
                 set cluster.node_id to this member's number, or add '{own}=host:port'",
                self.initial_members.show()
            )));
        }
        let mut members = members.clone();
        if let Some(address) = announced {
            members.iter_mut().filter(|member| member.node == own).for_each(|member| {
                member.address.clone_from(&address);
            });
        }
        Ok(members)
    }

    fn check_join(&self, announced: Option<&str>) -> Result<()> {
        if self.join_addresses().is_empty() {
            return Ok(());
        }
        if !self.initial_members.meaning().0.is_empty() {
            return Err(contradiction(
                "cluster.join is for a member that is added to a cluster, cluster.initial_members for those that found it: \
                 set one of them",
            ));
        }
        if announced.is_none() {
            return Err(contradiction(
                "a member with cluster.join needs transport.announce, the address at which the others reach it",
            ));
        }
        Ok(())
    }

    /// Whom a member asks that joins a cluster; nobody for one that does not.
    pub(crate) fn join_addresses(&self) -> &[String] {
        &self.join.meaning().0
    }

    /// The keys at which a cluster's key space is split initially, in order.
    #[must_use]
    pub(crate) fn split_keys(&self) -> &[Vec<u8>] {
        &self.split_keys.meaning().0
    }

    /// How long a leader's lease lasts; zero when leases are switched off.
    #[must_use]
    pub fn lease_max(&self) -> Duration {
        match self.lease_ms {
            _ if !self.lease => Duration::ZERO,
            0 => self.longest_lease(),
            chosen => Duration::from_millis(chosen),
        }
    }

    fn longest_lease(&self) -> Duration {
        longest_lease(Duration::from_millis(self.election_timeout_ms), Duration::from_millis(self.tick_ms))
    }

    /// How long a leader may make no apply progress before it hands over.
    #[must_use]
    pub fn apply_stall(&self) -> Duration {
        let least_ms = APPLY_STALL_MS.max(3 * self.election_timeout_ms);
        Duration::from_millis(if self.apply_stall_ms == 0 { least_ms } else { self.apply_stall_ms })
    }

    /// Checks that the options agree with each other.
    ///
    /// # Errors
    /// `INVALID_CONFIG` naming the options and the rule.
    pub fn check(&self) -> Result<()> {
        self.members()?;
        for (name, ms) in
            [("raft.heartbeat_ms", self.heartbeat_ms), ("raft.election_timeout_ms", self.election_timeout_ms)]
        {
            if !ms.is_multiple_of(self.tick_ms) {
                return Err(contradiction(&format!(
                    "{name} ({ms}) must be a multiple of raft.tick_ms ({})",
                    self.tick_ms
                )));
            }
        }
        let longest = self.longest_lease();
        if Duration::from_millis(self.lease_ms) > longest {
            return Err(contradiction(&format!(
                "read.lease_ms ({}) must be at most {}, which is 9/11 of raft.election_timeout_ms ({}) minus \
                 raft.tick_ms ({}): a longer lease could outlast the election of another leader when time daemons slew \
                 members' clocks, by up to 10 % each",
                self.lease_ms,
                longest.as_millis(),
                self.election_timeout_ms,
                self.tick_ms
            )));
        }
        if self.apply_stall_ms != 0 && self.apply_stall_ms < 2 * self.election_timeout_ms {
            return Err(contradiction(&format!(
                "raft.apply_stall_ms ({}) must be 0 or at least twice raft.election_timeout_ms ({})",
                self.apply_stall_ms, self.election_timeout_ms
            )));
        }
        if self.election_timeout_ms < 3 * self.heartbeat_ms {
            return Err(contradiction(&format!(
                "raft.election_timeout_ms ({}) must be at least 3 times raft.heartbeat_ms ({})",
                self.election_timeout_ms, self.heartbeat_ms
            )));
        }
        Ok(())
    }
}

/// Longer values are cut in messages.
const SHOWN_CHARS_MAX: usize = 200;

fn malformed(name: &str, value: &str, reason: &str) -> Error {
    let cut = value.char_indices().nth(SHOWN_CHARS_MAX).map(|(at, _)| at);
    let (shown, rest) = value.split_at(cut.unwrap_or(value.len()));
    let dots = if rest.is_empty() { "" } else { "..." };
    Error::with_detail(Code::InvalidConfig, format!("{name} = '{}{dots}': {reason}", shown.escape_debug()))
}

fn contradiction(rule: &str) -> Error {
    Error::with_detail(Code::InvalidConfig, rule)
}

fn unknown(name: &str) -> Error {
    let near = OPTIONS.iter().map(|row| row.name).min_by_key(|known| distance(known, name));
    let hint = near.map_or_else(String::new, |known| format!("; did you mean {known}?"));
    Error::with_detail(Code::InvalidConfig, format!("there is no option '{name}'{hint}"))
}

/// Levenshtein distance, to name the option that was probably meant.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(result: Result<()>) -> String {
        result.expect_err("refused").detail().to_owned()
    }

    #[test]
    fn every_default_can_be_set_and_read_back() {
        let mut config = Config::default();
        for row in OPTIONS {
            config.set(row.name, row.default).expect("a default is in range");
            assert_eq!(config.get(row.name).expect("it exists"), row.default);
        }
        config.check().expect("the defaults agree");
    }

    #[test]
    fn an_unknown_option_names_the_one_that_was_meant() {
        let detail = detail(Config::default().set("raft.tick", "5"));

        assert!(detail.contains("'raft.tick'") && detail.contains("raft.tick_ms"), "{detail}");
    }

    #[test]
    fn a_value_out_of_range_names_the_range() {
        let detail = detail(Config::default().set("raft.tick_ms", "0"));

        assert!(detail.contains("raft.tick_ms = '0'") && detail.contains("5 to 10000"), "{detail}");
    }

    #[test]
    fn members_are_read_in_any_order() {
        let mut config = Config::default();
        config.set("cluster.initial_members", "2=b:2, 1=a:1").expect("well formed text");

        let members = config.members().expect("both well formed");

        assert_eq!(members[0], Member { node: NodeId(1), address: "a:1".into() });
        assert_eq!(members.len(), 2);
    }

    #[test]
    fn a_stall_lasts_longer_than_an_election() {
        let mut config = Config::default();
        assert_eq!(config.apply_stall(), Duration::from_secs(5));

        config.set("raft.election_timeout_ms", "10000").expect("in range");
        config.check().expect("what follows from other options agrees with them");
        assert_eq!(config.apply_stall(), Duration::from_secs(30));

        config.set("raft.apply_stall_ms", "20000").expect("in range");
        config.check().expect("twice the election timeout");
        assert_eq!(config.apply_stall(), Duration::from_secs(20));
    }

    #[test]
    fn a_lease_is_as_long_as_members_clocks_allow_unless_it_is_set_shorter_or_off() {
        let lease_ms = |settings: &[(&str, &str)]| {
            let mut config = Config::default();
            settings.iter().for_each(|(name, value)| config.set(name, value).expect("in range"));
            config.check().expect("they agree");
            config.lease_max().as_millis()
        };

        assert_eq!(lease_ms(&[]), 777);
        assert_eq!(lease_ms(&[("read.lease_ms", "777")]), 777);
        assert_eq!(lease_ms(&[("read.lease_ms", "100")]), 100);
        assert_eq!(lease_ms(&[("read.lease", "false")]), 0);
        assert_eq!(lease_ms(&[("raft.election_timeout_ms", "400"), ("raft.tick_ms", "10")]), 319);
    }

    #[test]
    fn contradictions_name_both_options() {
        let mut config = Config::default();
        config.set("cluster.initial_members", "2=a:1,3=b:1").expect("well formed text");
        assert!(detail(config.check()).contains("cluster.node_id"));

        let mut config = Config::default();
        config.set("raft.election_timeout_ms", "200").expect("in range");
        assert!(detail(config.check()).contains("raft.heartbeat_ms"));

        let mut config = Config::default();
        config.set("raft.apply_stall_ms", "1999").expect("in range");
        assert!(detail(config.check()).contains("raft.election_timeout_ms"));

        let mut config = Config::default();
        config.set("read.lease_ms", "778").expect("in range");
        let text = detail(config.check());
        assert!(text.contains("read.lease_ms (778) must be at most 777"), "{text}");
        assert!(text.contains("raft.election_timeout_ms (1000) minus raft.tick_ms (50)"), "{text}");
    }

    #[test]
    fn every_option_is_checked_when_it_is_set_and_the_right_form_is_shown() {
        let long = "n".repeat(256);
        let cases = [
            ("cluster.name", "", "it has 0 bytes; expected 1 to 255"),
            ("cluster.name", &long, "it has 256 bytes; expected 1 to 255"),
            ("cluster.node_id", "0", "expected a whole number from 1 to"),
            ("bootstrap.split_keys", "a,%2", "'%2' has a '%' without two"),
            ("bootstrap.split_keys", "a,,b", "expected keys separated by commas, such as 'g,n,t'"),
            ("transport.listen", "7001", "has no port; expected an address of this machine as 'host:port'"),
            ("transport.listen", ":7001", "has no host; expected"),
            ("transport.listen", "127.0.0.1:0", "a port that is 0; expected"),
            ("transport.listen", "127.0.0.1:1,127.0.0.1:2", "is no host"),
            ("transport.insecure", "yes", "expected true or false"),
            ("log.segment_bytes", "65537", "expected a multiple of 4096, such as 69632"),
            ("log.segment_bytes", "1", "from 65536 to 1073741824 that is a multiple of 4096"),
        ];
        for (name, value, expected) in cases {
            let text = detail(Config::default().set(name, value));
            assert!(text.starts_with(&format!("{name} = '")) && text.contains(expected), "{text}");
        }
        for row in OPTIONS.iter().filter(|row| row.kind != Text) {
            for value in ["", " ", "1 ", "-1", "1.5", "x", "1\n"] {
                assert!(detail(Config::default().set(row.name, value)).contains("expected"), "{}", row.name);
            }
        }
    }

    #[test]
    fn malformed_members_are_refused_when_they_are_set() {
        for members in [
            "1",
            "1=a",
            "x=a:1",
            "0=a:1",
            "1=a:1,1=b:1",
            "1=:1",
            "1=a:99999",
            "1=a:1,",
            "1=a:0",
            "1=a:1;2=b:2",
        ] {
            let mut config = Config::default();
            let text = detail(config.set("cluster.initial_members", members));

            assert!(text.starts_with("cluster.initial_members = '"), "{text}");
            assert!(text.contains("such as '1=host:port,2=host:port'"), "{text}");
            assert_eq!(config.get("cluster.initial_members").expect("an option"), "");
        }
    }

    #[test]
    fn a_value_is_shown_on_one_line_and_not_longer_than_a_message_may_be() {
        let list = "1=a:1\n2=b:2".to_owned() + &"\u{e9}".repeat(1000);
        let text = detail(Config::default().set("cluster.initial_members", &list));

        assert!(text.starts_with("cluster.initial_members = '1=a:1\\n2=b:2"), "{text}");
        assert!(!text.contains('\n') && text.contains("...': "), "{text}");
    }
}
