//! `make bench`: the performance of a store, compared with RocksDB and with the limits of the machine.
//!
//! Owns the order of the groups, each of which runs in its own process, and the two forms of the result: a table, and
//! `bench.json` in the build directory. What always holds: rows that are compared were measured in the same run on the
//! same disk; CPU is counted over all members and callers, less the harness's own share; when a call gets no answer its
//! row is measured again (`group::retry`), and a wrong answer ends the run.
//!
//! `cargo bench --bench store -- writes-three write/3/256` runs only these groups, and only rows whose names contain
//! one of the other arguments. `ALMADIA_BENCH_DIR` selects the disk; the default is that of the build directory.

#[path = "store/c_interface.rs"]
mod c_interface;
#[path = "store/cold.rs"]
mod cold;
#[path = "store/data.rs"]
mod data;
#[path = "store/goals.rs"]
mod goals;
#[path = "store/group.rs"]
mod group;
#[path = "store/leases.rs"]
mod leases;
#[path = "store/life.rs"]
mod life;
#[path = "store/limits.rs"]
mod limits;
#[path = "store/load.rs"]
mod load;
#[path = "store/members.rs"]
mod members;
#[path = "store/meter.rs"]
mod meter;
#[path = "store/reads.rs"]
mod reads;
#[path = "store/regions.rs"]
mod regions;
#[path = "store/report.rs"]
mod report;
#[path = "store/transfers.rs"]
mod transfers;
#[path = "store/writes.rs"]
mod writes;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Instant;

use group::{GROUPS, Group, ROW_MARK};
use report::Row;

/// Makes this program measure a single group.
const GROUP_FLAG: &str = "--group";

fn main() {
    // Cargo adds the flag `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, name, filters @ ..] = arguments.as_slice()
        && flag == GROUP_FLAG
    {
        return Group::run(name, filters);
    }
    let (groups, filters): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| GROUPS.contains(&argument.as_str()));
    let begun = Instant::now();
    let chosen = GROUPS.iter().filter(|name| groups.is_empty() || groups.iter().any(|group| group == *name));
    let mut rows: Vec<Row> = chosen.flat_map(|name| measure(name, &filters)).collect();
    report::compare(&mut rows);
    println!("{}\n{}\n{}", report::table(&rows), report::thread_table(&rows), goals::table(&rows));
    print_notes(&rows);
    let path = json_path();
    std::fs::write(&path, report::json(&rows, &environment(&rows))).expect("the build directory is writable");
    println!("{} rows in {:.0} s, written to {}", rows.len(), begun.elapsed().as_secs_f64(), path.display());
}

/// Measures one group in its own process.
fn measure(name: &str, filters: &[String]) -> Vec<Row> {
    eprintln!("measuring {name}");
    let program = std::env::current_exe().expect("Linux knows the path");
    let mut command = Command::new(program);
    command.arg(GROUP_FLAG).arg(name).args(filters).stdout(Stdio::piped());
    let mut process = command.spawn().expect("this program can be started again");
    let output = BufReader::new(process.stdout.take().expect("it is piped"));
    let rows = output.lines().filter_map(|line| {
        let line = line.expect("a readable pipe");
        let row = line.strip_prefix(ROW_MARK).map(|row| Row::from_line(row).expect("the format of to_line"));
        row.inspect(|row| eprintln!("  {:<34}{:>10.0} /s", row.name, row.ops_per_s))
    });
    let rows = rows.collect();
    if !process.wait().expect("a child process").success() {
        eprintln!("group {name} failed; its errors are above");
        exit(1);
    }
    rows
}

fn print_notes(rows: &[Row]) {
    let busiest = rows.iter().map(|row| row.others_percent).fold(0.0, f64::max);
    println!(
        "writes use callbacks, except 'write blocking'; RocksDB's use a thread per write in flight, at most 64"
    );
    println!(
        "scaled: as if RocksDB's synced writes were as fast here as on the machine that set the targets"
    );
    println!("an idle second counts as one operation: its CPU column is in microseconds per second");
    println!("the harness's own {:.2} us CPU per operation are subtracted", load::own_us_per_op());
    if busiest > 10.0 {
        println!("NOISY: other processes used up to {busiest:.0}% of the CPU; see the column 'others %'");
    }
}

/// What the results depend on, and the targets.
fn environment(rows: &[Row]) -> Vec<(&'static str, String)> {
    let median = |name: &str| rows.iter().find(|row| row.name == name).map_or(f64::NAN, |row| row.p50_us);
    let busiest = rows.iter().map(|row| row.others_percent).fold(0.0, f64::max);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let disk = data::disk().display().to_string();
    vec![
        ("machine", report::text(&processor())),
        ("cores", cores.to_string()),
        ("kernel", report::text(first_line("/proc/sys/kernel/osrelease").trim())),
        ("disk", report::text(&disk)),
        ("key_bytes", data::Key::default().len().to_string()),
        ("value_bytes", data::VALUE_BYTES.to_string()),
        ("fdatasync_p50_us", report::number(median("fdatasync of 4 KiB/0/1"))),
        ("loopback_round_trip_p50_us", report::number(median("loopback round trip/0/1"))),
        ("wake_up_round_trip_p50_us", report::number(median("thread wake-up round trip/0/1"))),
        ("harness_us_per_op", report::number(load::own_us_per_op())),
        ("others_cpu_percent_max", report::number(busiest)),
        ("goals", goals::json(rows)),
    ]
}

fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    model.to_owned()
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Cargo keeps the directory for temporary files in the build directory.
fn json_path() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it has a parent").join("bench.json")
}
