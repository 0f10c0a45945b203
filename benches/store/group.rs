//! The process of one group of rows.
//!
//! Owns what is measured in it and how its rows reach the process that prints them. What always holds: groups do
//! not share a process, so that none counts the memory, threads or open files of another.

use crate::load::Measured;
use crate::report::Row;
use crate::{leases, life, limits, reads, regions, writes};

/// Runs of a row before it is given up: leaders may change on a machine that others keep busy.
const ATTEMPTS: usize = 3;

/// What a line of a group's output begins with when it is a row.
pub const ROW_MARK: &str = "row\t";

/// Every group, in the order of the table.
pub const GROUPS: [&str; 12] = [
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
];

/// See the module.
pub struct Group {
    /// Only rows whose names contain one of these; all when there are none.
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
            _ => panic!("there is no group {name}; there are {GROUPS:?}"),
        }
    }

    /// Measures one row, unless a filter leaves it out.
    pub fn row(&self, name: &str, measure: impl FnOnce() -> Row) {
        if self.wants(name) {
            self.print(&measure());
        }
    }

    /// Whether no filter leaves the row out.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Whether no filter leaves all of these rows out.
    pub fn wants_any(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// Hands a row to the process that shows it.
    pub fn print(&self, row: &Row) {
        println!("{ROW_MARK}{}", row.to_line());
    }
}

/// Runs until it succeeds, a few times at most, and says on standard error why it did not.
pub fn retry(run: impl Fn() -> Result<Measured, String>) -> Measured {
    for _ in 1..ATTEMPTS {
        match run() {
            Ok(measured) => return measured,
            Err(error) => eprintln!("measured again: {error}"),
        }
    }
    run().expect("members that are all up answer every call")
}
