//! A group of rows, and the process that measures it.
//!
//! Owns the list of groups and how their rows reach the main process. What always holds: groups do not share a process,
//! so that none counts the memory, threads or open files of another.

use crate::load::Measured;
use crate::report::Row;
use crate::{cold, leases, life, limits, reads, regions, transfers, writes};

/// Runs of a row before the benchmark fails: on a busy machine the leader may change during a run.
const ATTEMPTS: usize = 3;

/// Prefix of the output lines that are rows.
pub const ROW_MARK: &str = "row\t";

/// All groups, in the order of the table.
pub const GROUPS: [&str; 14] = [
    "limits",
    "rocksdb",
    "life",
    "writes-one",
    "writes-three",
    "reads-one",
    "reads-three",
    "leases-one",
    "leases-three",
    "regions-1",
    "regions-16",
    "regions-256",
    "conditions-cold",
    "transfers",
];

/// The rows to measure in this process.
pub struct Group {
    /// Only rows whose names contain one of these; all rows when it is empty.
    filters: Vec<String>,
}

impl Group {
    /// Measures the rows of the group `name` and prints a line for each.
    pub fn run(name: &str, filters: &[String]) {
        let group = Self { filters: filters.to_vec() };
        match name {
            "limits" => limits::run(&group),
            "rocksdb" => writes::run_baseline(&group),
            "life" => life::run(&group),
            "writes-one" => writes::run(&group, 1),
            "writes-three" => writes::run(&group, 3),
            "reads-one" => reads::run(&group, 1),
            "reads-three" => reads::run(&group, 3),
            "leases-one" => leases::run(&group, 1),
            "leases-three" => leases::run(&group, 3),
            "regions-1" => regions::run(&group, 1),
            "regions-16" => regions::run(&group, 16),
            "regions-256" => regions::run(&group, 256),
            "conditions-cold" => cold::run(&group),
            "transfers" => transfers::run(&group),
            _ => panic!("there is no group {name}; there are {GROUPS:?}"),
        }
    }

    /// Measures and prints one row, if the filters select it.
    pub fn row(&self, name: &str, measure: impl FnOnce() -> Row) {
        if self.wants(name) {
            self.print(&measure());
        }
    }

    /// Whether the filters select the row.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Whether the filters select any of these rows.
    pub fn wants_any(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// Sends a row to the main process.
    pub fn print(&self, row: &Row) {
        println!("{ROW_MARK}{}", row.to_line());
    }
}

/// Repeats a failed run, a few times at most, and prints the error of each failure.
pub fn retry(run: impl Fn() -> Result<Measured, String>) -> Measured {
    for _ in 1..ATTEMPTS {
        match run() {
            Ok(measured) => return measured,
            Err(error) => eprintln!("measuring again: {error}"),
        }
    }
    run().expect("members that are all up answer every call")
}
