//! Rows and their output formats.
//!
//! Owns the table, the JSON, and the lines by which a group's process sends its rows to the main process. What always
//! holds: row names are unique, so that a row can name another as its baseline.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::load::{Measured, own_us_per_op};

/// Numeric fields in the line of a row.
const NUMBERS: usize = 10;

/// One measurement.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Kind, members and calls in flight, as `kind/members/in_flight`.
    pub name: String,
    /// Calls in flight.
    pub in_flight: u64,
    /// Members, all in one process; 0 when no store is involved.
    pub members: u64,
    /// Calls answered per second.
    pub ops_per_s: f64,
    /// Median latency.
    pub p50_us: f64,
    /// 99th percentile of the latency.
    pub p99_us: f64,
    /// CPU of all members and the callers, less that of the harness itself.
    pub cpu_us_per_op: f64,
    /// Memory of the process: all members, RocksDB's caches, and the samples.
    pub rss_mib: f64,
    /// Context switches.
    pub switches_per_op: f64,
    /// CPU of other processes, in percent of all cores.
    pub others_percent: f64,
    /// CPU stolen by the hypervisor, in percent of all cores.
    pub stolen_percent: f64,
    /// The row this one is compared with; empty when there is none.
    pub baseline: String,
    /// Operations per second divided by those of the baseline.
    pub ratio: Option<f64>,
    /// CPU per operation by thread name, in microseconds.
    pub threads: BTreeMap<String, f64>,
}

impl Row {
    /// The row of a run.
    pub fn new(name: String, members: u64, in_flight: u64, measured: &Measured) -> Self {
        let ops = measured.ops();
        let usage = &measured.usage;
        let per_op = |time: Duration| time.as_secs_f64() * 1e6 / ops;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let of_all_cores =
            |time: Duration| 100.0 * time.as_secs_f64() / usage.wall.as_secs_f64() / cores as f64;
        Self {
            name,
            in_flight,
            members,
            ops_per_s: measured.ops_per_s(),
            p50_us: measured.percentile_us(50),
            p99_us: measured.percentile_us(99),
            cpu_us_per_op: (per_op(usage.cpu()) - own_us_per_op()).max(0.0),
            rss_mib: measured.rss_mib,
            switches_per_op: usage.switches as f64 / ops,
            others_percent: of_all_cores(usage.others),
            stolen_percent: of_all_cores(usage.stolen),
            threads: usage.by_thread.iter().map(|(name, time)| (name.clone(), per_op(*time))).collect(),
            ..Self::default()
        }
    }

    /// Sets the row this one is compared with.
    pub fn with_baseline(mut self, baseline: &str) -> Self {
        baseline.clone_into(&mut self.baseline);
        self
    }

    /// The row as one line, for the main process.
    pub fn to_line(&self) -> String {
        let threads = self.threads.iter().map(|(name, us)| format!("{name}={us}")).collect::<Vec<_>>();
        let texts = [self.name.clone(), self.baseline.clone(), threads.join(",")];
        let numbers = self.numbers().map(|number| number.to_string());
        [&texts[..], &numbers[..]].concat().join("\t")
    }

    /// Parses a line of [`Row::to_line`].
    pub fn from_line(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, baseline, threads, numbers @ ..] = fields.as_slice() else { return None };
        let numbers: Option<Vec<f64>> = numbers.iter().map(|number| number.parse().ok()).collect();
        let numbers = <[f64; NUMBERS]>::try_from(numbers?).ok()?;
        let [in_flight, members, ops_per_s, p50_us, p99_us, cpu_us_per_op, rss_mib, rest @ ..] = numbers;
        let [switches_per_op, others_percent, stolen_percent] = rest;
        let threads = threads.split(',').filter_map(|pair| pair.split_once('='));
        Some(Self {
            name: (*name).to_owned(),
            in_flight: in_flight as u64,
            members: members as u64,
            ops_per_s,
            p50_us,
            p99_us,
            cpu_us_per_op,
            rss_mib,
            switches_per_op,
            others_percent,
            stolen_percent,
            baseline: (*baseline).to_owned(),
            ratio: None,
            threads: threads.filter_map(|(name, us)| Some((name.to_owned(), us.parse().ok()?))).collect(),
        })
    }

    fn numbers(&self) -> [f64; NUMBERS] {
        [
            self.in_flight as f64,
            self.members as f64,
            self.ops_per_s,
            self.p50_us,
            self.p99_us,
            self.cpu_us_per_op,
            self.rss_mib,
            self.switches_per_op,
            self.others_percent,
            self.stolen_percent,
        ]
    }

    fn to_json(&self) -> String {
        let threads = self.threads.iter().map(|(name, us)| format!("{}: {}", text(name), number(*us)));
        let threads = threads.collect::<Vec<_>>().join(", ");
        let baseline = if self.baseline.is_empty() { "null".to_owned() } else { text(&self.baseline) };
        object(&[
            ("name", text(&self.name)),
            ("in_flight", self.in_flight.to_string()),
            ("members", self.members.to_string()),
            ("ops_per_s", number(self.ops_per_s)),
            ("p50_us", number(self.p50_us)),
            ("p99_us", number(self.p99_us)),
            ("cpu_us_per_op", number(self.cpu_us_per_op)),
            ("rss_mib", number(self.rss_mib)),
            ("baseline", baseline),
            ("ratio", self.ratio.map_or("null".to_owned(), number)),
            ("switches_per_op", number(self.switches_per_op)),
            ("others_cpu_percent", number(self.others_percent)),
            ("stolen_cpu_percent", number(self.stolen_percent)),
            ("cpu_us_per_op_by_thread", format!("{{{threads}}}")),
        ])
    }
}

/// Computes the ratios once all rows are measured.
pub fn compare(rows: &mut [Row]) {
    let rates: BTreeMap<String, f64> = rows.iter().map(|row| (row.name.clone(), row.ops_per_s)).collect();
    for row in rows {
        row.ratio = rates.get(&row.baseline).map(|rate| row.ops_per_s / rate);
    }
}

/// The table for people.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<34}{:>10}{:>10}{:>10}{:>9}{:>8}{:>10}{:>8}  {:<30}{:>7}\n",
        "name/members/in flight",
        "ops/s",
        "p50 us",
        "p99 us",
        "CPU us",
        "RSS MiB",
        "switches",
        "others %",
        "baseline",
        "ratio"
    );
    for row in rows {
        let (cpu, switches) = (cell(row.cpu_us_per_op, 2), cell(row.switches_per_op, 2));
        let (others, ratio) = (cell(row.others_percent, 0), row.ratio.map_or(String::new(), |r| cell(r, 2)));
        let Row { name, ops_per_s, p50_us, p99_us, rss_mib, baseline, .. } = row;
        write!(out, "{name:<34}{ops_per_s:>10.0}{p50_us:>10.1}{p99_us:>10.1}{cpu:>9}{rss_mib:>8.1}")
            .expect("a String can grow");
        writeln!(out, "{switches:>10}{others:>8}  {baseline:<30}{ratio:>7}").expect("a String can grow");
    }
    out
}

/// A number in a table; a dash when it is unknown.
pub fn cell(number: f64, decimals: usize) -> String {
    if number.is_finite() { format!("{number:.decimals$}") } else { "-".to_owned() }
}

/// The CPU of each row by thread.
pub fn thread_table(rows: &[Row]) -> String {
    let mut out = String::from("CPU us per operation, by thread\n");
    for row in rows.iter().filter(|row| row.members > 0 && !row.threads.is_empty()) {
        let mut threads: Vec<_> = row.threads.iter().filter(|(_, us)| **us >= 0.05).collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let threads = threads.iter().map(|(name, us)| format!("{name} {us:.1}")).collect::<Vec<_>>();
        writeln!(out, "{:<34}{}", row.name, threads.join(" · ")).expect("a String can grow");
    }
    out
}

/// The same for programs: an array of the rows, then one object about the environment and the targets.
pub fn json(rows: &[Row], environment: &[(&str, String)]) -> String {
    let objects: Vec<String> = rows.iter().map(Row::to_json).chain([object(environment)]).collect();
    format!("[\n  {}\n]\n", objects.join(",\n  "))
}

/// A JSON object whose values are already JSON.
pub fn object(fields: &[(&str, String)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{}: {value}", text(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

/// A JSON number; null when it is not finite.
pub fn number(number: f64) -> String {
    if number.is_finite() { format!("{number:.4}") } else { "null".to_owned() }
}

/// A JSON string.
pub fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a String can grow");
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
