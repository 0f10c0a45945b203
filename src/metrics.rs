//! A store's metrics and their text form.
//!
//! Owns histograms and the one table of their names from which the Prometheus text comes; the counters of calls are
//! [`calls`]'s, those of raft snapshots [`raft_snapshots`]'s. What always holds: counting takes no lock and never waits; a histogram's buckets are powers of two of a
//! microsecond, so that those of all members can be added. What to count is left to the callers.

mod calls;
mod raft_snapshots;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use self::calls::CallType;
use self::calls::Calls;
pub(crate) use self::raft_snapshots::RaftSnapshotCounts;

/// Buckets end at 1 us, 2 us, 4 us ... 2^24 us, about 17 s; one more has what is longer.
const BUCKETS: usize = 25;

/// A histogram of durations. Aligned to cache lines, because different threads update different histograms.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Records one duration.
    pub(crate) fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// The number of durations recorded.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    fn show(&self, name: &str, help: &str, text: &mut String) {
        head(name, "histogram", help, text);
        let mut below = 0;
        for (power, bucket) in self.buckets[..BUCKETS].iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            let seconds = (1_u64 << power) as f64 / 1e6;
            line(text, format_args!("{name}_bucket{{le=\"{seconds}\"}} {below}"));
        }
        // Summed from the values read here, so that the largest bucket and the count agree.
        let count = below + self.buckets[BUCKETS].load(Ordering::Relaxed);
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        line(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        line(text, format_args!("{name}_sum {sum}"));
        line(text, format_args!("{name}_count {count}"));
    }
}

/// The first bucket whose end is at or above `ns`.
fn bucket_of(ns: u64) -> usize {
    let us = ns.div_ceil(1000).max(1);
    let power = us.next_power_of_two().trailing_zeros() as usize;
    power.min(BUCKETS)
}

/// How large the raft log is, in bytes unless another unit is named.
#[derive(Debug, Default)]
pub(crate) struct LogSize {
    bytes: AtomicU64,
    live_bytes: AtomicU64,
    segments: AtomicU64,
}

impl LogSize {
    /// Publishes the size: that of the segment files, about how much of it is needed, and the number of files.
    pub(crate) fn publish(&self, bytes: u64, live_bytes: u64, segments: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.live_bytes.store(live_bytes, Ordering::Relaxed);
        self.segments.store(segments, Ordering::Relaxed);
    }

    /// What was published last, in the same order.
    #[must_use]
    pub(crate) fn get(&self) -> (u64, u64, u64) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        (load(&self.bytes), load(&self.live_bytes), load(&self.segments))
    }
}

macro_rules! histograms {
    ($($(#[doc = $doc:literal])+ $field:ident, $name:literal, $help:literal;)+) => {
        /// What one store measures.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $($(#[doc = $doc])+ pub $field: Histogram,)+
            /// Calls by their end.
            pub calls: Calls,
            /// Raft snapshots.
            pub raft_snapshots: RaftSnapshotCounts,
            /// The raft log, as of the last time it was written.
            pub log_size: LogSize,
        }

        impl Metrics {
            fn show_histograms(&self, text: &mut String) {
                $(self.$field.show($name, $help, text);)+
            }
        }
    };
}

histograms! {
    /// From the call to its entry in the leader's log.
    propose, "almadia_propose_seconds", "From the call of a write to its entry in this leader's log, in memory.";
    /// One synced write of the raft log.
    sync, "almadia_sync_seconds", "One write and sync of the raft log, for all regions of a round.";
    /// From there to a majority's disks.
    commit, "almadia_commit_seconds", "From a write's entry in this leader's log to a majority's disks.";
    /// From there to the answer.
    apply, "almadia_apply_seconds", "From the commit of a write to its answer, applied.";
    /// From the call of a write to its answer.
    write, "almadia_write_seconds", "From the call of a write on this member to its answer, success or not.";
    /// From the call of a read to its confirmation.
    read_index, "almadia_read_index_seconds", "From the call of a read that no lease covers to its confirmation.";
    /// From an answer to the callback that gets it.
    callback, "almadia_callback_delay_seconds", "From an answer to the start of the callback that gets it.";
    /// A user's callback.
    callback_run, "almadia_callback_seconds", "What callbacks took on the thread almadia-cb.";
}

/// A value of a gauge, and what it is of where there are several.
type Labelled = (Option<&'static str>, u64);

/// Current values, reported together with the histograms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    rows: Vec<(&'static str, &'static str, Vec<Labelled>)>,
}

impl Gauges {
    /// Adds a gauge.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.rows.push((name, help, vec![(None, value)]));
    }

    /// Adds a gauge with a value for each `what`.
    pub(crate) fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        self.rows.push((name, help, values.into_iter().map(|(what, value)| (Some(what), value)).collect()));
    }
}

impl Metrics {
    /// All metrics in the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        for (name, help, values) in &gauges.rows {
            head(name, "gauge", help, &mut text);
            for (what, value) in values {
                let label = what.map(|what| format!("{{what=\"{what}\"}}")).unwrap_or_default();
                line(&mut text, format_args!("{name}{label} {value}"));
            }
        }
        self.show_calls(&mut text);
        self.raft_snapshots.show(&mut text);
        self.show_histograms(&mut text);
        text
    }

    fn show_calls(&self, text: &mut String) {
        let name = "almadia_calls_total";
        head(name, "counter", "Calls that were answered or refused, by what was called and the code.", text);
        for (call, code, count) in self.calls.rows() {
            line(text, format_args!("{name}{{call=\"{call}\",code=\"{code}\"}} {count}"));
        }
    }
}

fn head(name: &str, kind: &str, help: &str, text: &mut String) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    text.write_fmt(content).expect("a string grows");
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_reaches_it() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(1_000), 0);
        assert_eq!(bucket_of(1_001), 1);
        assert_eq!(bucket_of(4_000), 2);
        assert_eq!(bucket_of(1 << 24 << 10), BUCKETS);
        assert_eq!(bucket_of(u64::MAX), BUCKETS);
    }

    #[test]
    fn the_text_has_cumulative_buckets_and_is_consistent() {
        let metrics = Metrics::default();
        for us in [1, 3, 100_000_000] {
            metrics.sync.record(Duration::from_micros(us));
        }
        metrics.calls.count(CallType::Write, None);
        metrics.calls.count(CallType::Write, Some(Code::Timeout));
        let mut gauges = Gauges::default();
        gauges.gauge("almadia_term", "The raft term.", 7);
        gauges.gauges("almadia_raft_snapshots_now", "Under way.", [("sending", 2), ("receiving", 0)]);
        metrics.raft_snapshots.count_end(true);
        metrics.raft_snapshots.count_end(false);
        metrics.raft_snapshots.sent_bytes.fetch_add(9, Ordering::Relaxed);

        let text = metrics.text(&gauges);

        for wanted in [
            "# TYPE almadia_term gauge\nalmadia_term 7\n",
            "almadia_raft_snapshots_now{what=\"sending\"} 2\nalmadia_raft_snapshots_now{what=\"receiving\"} 0\n",
            "# TYPE almadia_raft_snapshot_sent_bytes_total counter\nalmadia_raft_snapshot_sent_bytes_total 9\n",
            "almadia_raft_snapshots_total{what=\"sent\"} 1\nalmadia_raft_snapshots_total{what=\"failed\"} 1\n",
            "# TYPE almadia_calls_total counter\nalmadia_calls_total{call=\"write\",code=\"OK\"} 1\n",
            "almadia_calls_total{call=\"write\",code=\"TIMEOUT\"} 1\n",
            "# TYPE almadia_sync_seconds histogram\n",
            "almadia_sync_seconds_bucket{le=\"0.000001\"} 1\n",
            "almadia_sync_seconds_bucket{le=\"0.000004\"} 2\n",
            "almadia_sync_seconds_bucket{le=\"16.777216\"} 2\n",
            "almadia_sync_seconds_bucket{le=\"+Inf\"} 3\n",
            "almadia_sync_seconds_sum 100.000004\n",
            "almadia_sync_seconds_count 3\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
        }
        assert_eq!(metrics.sync.count(), 3);
    }
}
