//! What DESIGN 13 asks, and how far that is.
//!
//! Owns the must and stretch figures. What always holds: a share of 1 and more means that the must is reached. The
//! figures were set on one machine, where RocksDB's own synced writes were measured too; the scaled share is what
//! remains when this machine's RocksDB, measured in the same run, takes the place of that one.

use std::fmt::Write;

use crate::report::{Row, known, number, object, text};

/// One figure of one row.
struct Goal {
    row: &'static str,
    figure: Figure,
    must: f64,
    stretch: f64,
    /// What this goal was set beside.
    reference: Option<Reference>,
}

/// RocksDB's figure on the machine of the goals.
struct Reference {
    row: &'static str,
    figure: Figure,
    measured: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Rate,
    Median,
    Cpu,
    Memory,
    Ratio,
}

/// How far a goal is.
struct Standing {
    measured: f64,
    share: f64,
    scaled_share: Option<f64>,
}

const ONE_RATE: Option<Reference> = reference("rocksdb write/0/1", Figure::Rate, 12_900.0);
const ONE_MEDIAN: Option<Reference> = reference("rocksdb write/0/1", Figure::Median, 70.0);
const MANY_RATE: Option<Reference> = reference("rocksdb write/0/64", Figure::Rate, 51_000.0);
const MANY_CPU: Option<Reference> = reference("rocksdb write/0/64", Figure::Cpu, 25.0);

const GOALS: &[Goal] = &[
    goal("write/3/1", Figure::Rate, 4_500.0, 6_500.0, ONE_RATE),
    goal("write blocking/3/1", Figure::Rate, 4_500.0, 6_500.0, ONE_RATE),
    goal("write blocking/3/1", Figure::Median, 200.0, 140.0, ONE_MEDIAN),
    goal("write/3/64", Figure::Rate, 55_000.0, 90_000.0, MANY_RATE),
    goal("write/3/256", Figure::Rate, 75_000.0, 130_000.0, MANY_RATE),
    goal("write/3/256", Figure::Cpu, 22.0, 13.0, MANY_CPU),
    goal("write/3/1000", Figure::Rate, 85_000.0, 150_000.0, MANY_RATE),
    goal("write/1/1", Figure::Rate, 11_000.0, 15_000.0, ONE_RATE),
    goal("write blocking/1/1", Figure::Rate, 11_000.0, 15_000.0, ONE_RATE),
    goal("write blocking/1/1", Figure::Median, 85.0, 85.0, ONE_MEDIAN),
    goal("write/1/64", Figure::Rate, 100_000.0, 150_000.0, MANY_RATE),
    goal("write/1/256", Figure::Rate, 130_000.0, 200_000.0, MANY_RATE),
    goal("write/1/1000", Figure::Rate, 150_000.0, 240_000.0, MANY_RATE),
    goal("write, 16 regions/3/256", Figure::Ratio, 0.90, 0.90, None),
    goal("lease get/1/1", Figure::Ratio, 0.90, 0.97, None),
    goal("lease get/3/1", Figure::Ratio, 0.90, 0.97, None),
    goal("lease snapshot/1/1", Figure::Median, 2.0, 2.0, None),
    goal("lease snapshot/3/1", Figure::Median, 2.0, 2.0, None),
    goal("lease get in C/1/1", Figure::Ratio, 0.90, 0.97, None),
    goal("lease snapshot in C/1/1", Figure::Median, 2.0, 2.0, None),
    goal("snapshot get/1/1", Figure::Ratio, 0.90, 0.97, None),
    goal("iterate 1000 keys/1/1", Figure::Ratio, 0.90, 0.90, None),
    goal("read leader/3/1", Figure::Rate, 8_000.0, 8_000.0, None),
    goal("read leader/3/256", Figure::Rate, 150_000.0, 150_000.0, None),
    goal("read follower/3/1", Figure::Rate, 8_000.0, 8_000.0, None),
    goal("read follower/3/256", Figure::Rate, 150_000.0, 150_000.0, None),
    // Half a percent of a core.
    goal("idle second/1/0", Figure::Cpu, 5_000.0, 5_000.0, None),
    goal("idle second/1/0", Figure::Memory, 25.0, 25.0, None),
    goal("write/1/1000", Figure::Memory, 130.0, 130.0, None),
    goal("open to first write/1/1", Figure::Median, 300_000.0, 300_000.0, None),
    goal("log store, 1 entry a sync/0/1", Figure::Rate, 18_000.0, 18_000.0, ONE_RATE),
    // 0.24 us an entry.
    goal("log store, 512 entries a sync/0/1", Figure::Cpu, 122.9, 122.9, None),
];

const fn goal(
    row: &'static str,
    figure: Figure,
    must: f64,
    stretch: f64,
    reference: Option<Reference>,
) -> Goal {
    Goal { row, figure, must, stretch, reference }
}

const fn reference(row: &'static str, figure: Figure, measured: f64) -> Option<Reference> {
    Some(Reference { row, figure, measured })
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Rate => "ops_per_s",
            Self::Median => "p50_us",
            Self::Cpu => "cpu_us_per_op",
            Self::Memory => "rss_mib",
            Self::Ratio => "ratio",
        }
    }

    fn of(self, name: &str, rows: &[Row]) -> Option<f64> {
        let row = rows.iter().find(|row| row.name == name)?;
        match self {
            Self::Rate => Some(row.ops_per_s),
            Self::Median => Some(row.p50_us),
            Self::Cpu => Some(row.cpu_us_per_op),
            Self::Memory => Some(row.rss_mib),
            Self::Ratio => row.ratio,
        }
    }

    /// How many times as good the first is.
    fn share(self, measured: f64, wanted: f64) -> f64 {
        match self {
            Self::Rate | Self::Ratio => measured / wanted,
            Self::Median | Self::Cpu | Self::Memory => wanted / measured,
        }
    }
}

impl Goal {
    fn standing(&self, rows: &[Row]) -> Option<Standing> {
        let measured = self.figure.of(self.row, rows)?;
        let share = self.figure.share(measured, self.must);
        let scaled_share = self.reference.as_ref().and_then(|reference| {
            let here = reference.figure.of(reference.row, rows)?;
            Some(share / reference.figure.share(here, reference.measured))
        });
        Some(Standing { measured, share, scaled_share })
    }

    fn to_json(&self, standing: &Standing) -> String {
        object(&[
            ("row", text(self.row)),
            ("figure", text(self.figure.name())),
            ("must", number(self.must)),
            ("stretch", number(self.stretch)),
            ("measured", number(standing.measured)),
            ("share_of_must", number(standing.share)),
            ("scaled_share_of_must", standing.scaled_share.map_or("null".to_owned(), number)),
        ])
    }
}

/// The goals whose rows were measured.
fn standings(rows: &[Row]) -> impl Iterator<Item = (&'static Goal, Standing)> {
    GOALS.iter().filter_map(|goal| Some((goal, goal.standing(rows)?)))
}

/// For people.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!("{:<50}", "DESIGN 13 (a share of 1.00 and more reaches the must)");
    for title in ["must", "stretch", "measured", "share", "scaled"] {
        write!(out, "{title:>11}").expect("a String takes everything");
    }
    for (goal, Standing { measured, share, scaled_share }) in standings(rows) {
        let name = format!("{} {}", goal.row, goal.figure.name());
        let (must, stretch) = (goal.must, goal.stretch);
        let scaled = scaled_share.map_or(String::new(), |share| known(share, 2));
        write!(out, "\n{name:<53}{must:>8.2}{stretch:>11.2}{measured:>11.2}{share:>11.2}{scaled:>11}")
            .expect("a String takes everything");
    }
    out.push('\n');
    out
}

/// For programs: an array.
pub fn json(rows: &[Row]) -> String {
    let goals: Vec<String> = standings(rows).map(|(goal, standing)| goal.to_json(&standing)).collect();
    format!("[\n    {}\n  ]", goals.join(",\n    "))
}
