//! The targets of DESIGN 13, and how the measured rows compare with them.
//!
//! Owns the required ("must") and the stretch targets. What always holds: a share of 1 or more meets the must. The
//! targets were set on one machine, where RocksDB's own synced writes were measured too; the scaled share corrects for
//! the difference between that machine's RocksDB and this one's, which is measured in the same run.

use std::fmt::Write;

use crate::report::{Row, cell, number, object, text};

/// The target for one metric of one row.
struct Goal {
    row: &'static str,
    metric: Metric,
    must: f64,
    stretch: f64,
    /// The figure that scales it to other machines.
    reference: Option<Reference>,
}

/// RocksDB's figure on the machine that set the targets.
struct Reference {
    row: &'static str,
    metric: Metric,
    measured: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Rate,
    Median,
    Cpu,
    Memory,
    Ratio,
}

/// A measurement compared with its target.
struct Assessment {
    measured: f64,
    share: f64,
    scaled_share: Option<f64>,
}

const ONE_RATE: Option<Reference> = reference("rocksdb write/0/1", Metric::Rate, 12_900.0);
const ONE_MEDIAN: Option<Reference> = reference("rocksdb write/0/1", Metric::Median, 70.0);
const MANY_RATE: Option<Reference> = reference("rocksdb write/0/64", Metric::Rate, 51_000.0);
const MANY_CPU: Option<Reference> = reference("rocksdb write/0/64", Metric::Cpu, 25.0);

const GOALS: &[Goal] = &[
    goal("write/3/1", Metric::Rate, 4_500.0, 6_500.0, ONE_RATE),
    goal("write blocking/3/1", Metric::Rate, 4_500.0, 6_500.0, ONE_RATE),
    goal("write blocking/3/1", Metric::Median, 200.0, 140.0, ONE_MEDIAN),
    goal("write/3/64", Metric::Rate, 55_000.0, 90_000.0, MANY_RATE),
    goal("write/3/256", Metric::Rate, 75_000.0, 130_000.0, MANY_RATE),
    goal("write/3/256", Metric::Cpu, 22.0, 13.0, MANY_CPU),
    goal("write/3/1000", Metric::Rate, 85_000.0, 150_000.0, MANY_RATE),
    goal("write/1/1", Metric::Rate, 11_000.0, 15_000.0, ONE_RATE),
    goal("write blocking/1/1", Metric::Rate, 11_000.0, 15_000.0, ONE_RATE),
    goal("write blocking/1/1", Metric::Median, 85.0, 85.0, ONE_MEDIAN),
    goal("write/1/64", Metric::Rate, 100_000.0, 150_000.0, MANY_RATE),
    goal("write/1/256", Metric::Rate, 130_000.0, 200_000.0, MANY_RATE),
    goal("write/1/1000", Metric::Rate, 150_000.0, 240_000.0, MANY_RATE),
    goal("write, 16 regions/3/256", Metric::Ratio, 0.90, 0.90, None),
    goal("lease get/1/1", Metric::Ratio, 0.90, 0.97, None),
    goal("lease get/3/1", Metric::Ratio, 0.90, 0.97, None),
    goal("lease snapshot/1/1", Metric::Median, 2.0, 2.0, None),
    goal("lease snapshot/3/1", Metric::Median, 2.0, 2.0, None),
    goal("lease get in C/1/1", Metric::Ratio, 0.90, 0.97, None),
    goal("lease snapshot in C/1/1", Metric::Median, 2.0, 2.0, None),
    goal("snapshot get/1/1", Metric::Ratio, 0.90, 0.97, None),
    goal("iterate 1000 keys/1/1", Metric::Ratio, 0.90, 0.90, None),
    goal("read leader/3/1", Metric::Rate, 8_000.0, 8_000.0, None),
    goal("read leader/3/256", Metric::Rate, 150_000.0, 150_000.0, None),
    goal("read follower/3/1", Metric::Rate, 8_000.0, 8_000.0, None),
    goal("read follower/3/256", Metric::Rate, 150_000.0, 150_000.0, None),
    // Half a percent of a core.
    goal("idle second/1/0", Metric::Cpu, 5_000.0, 5_000.0, None),
    goal("idle second/1/0", Metric::Memory, 25.0, 25.0, None),
    goal("write/1/1000", Metric::Memory, 130.0, 130.0, None),
    goal("open to first write/1/1", Metric::Median, 300_000.0, 300_000.0, None),
    goal("log store, 1 entry a sync/0/1", Metric::Rate, 18_000.0, 18_000.0, ONE_RATE),
    // 0.24 us per entry.
    goal("log store, 512 entries a sync/0/1", Metric::Cpu, 122.9, 122.9, None),
];

const fn goal(
    row: &'static str,
    metric: Metric,
    must: f64,
    stretch: f64,
    reference: Option<Reference>,
) -> Goal {
    Goal { row, metric, must, stretch, reference }
}

const fn reference(row: &'static str, metric: Metric, measured: f64) -> Option<Reference> {
    Some(Reference { row, metric, measured })
}

impl Metric {
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

    /// `measured` relative to `wanted`: above 1 is better, whichever direction the metric has.
    fn share(self, measured: f64, wanted: f64) -> f64 {
        match self {
            Self::Rate | Self::Ratio => measured / wanted,
            Self::Median | Self::Cpu | Self::Memory => wanted / measured,
        }
    }
}

impl Goal {
    fn assess(&self, rows: &[Row]) -> Option<Assessment> {
        let measured = self.metric.of(self.row, rows)?;
        let share = self.metric.share(measured, self.must);
        let scaled_share = self.reference.as_ref().and_then(|reference| {
            let here = reference.metric.of(reference.row, rows)?;
            Some(share / reference.metric.share(here, reference.measured))
        });
        Some(Assessment { measured, share, scaled_share })
    }

    fn to_json(&self, assessment: &Assessment) -> String {
        object(&[
            ("row", text(self.row)),
            ("figure", text(self.metric.name())),
            ("must", number(self.must)),
            ("stretch", number(self.stretch)),
            ("measured", number(assessment.measured)),
            ("share_of_must", number(assessment.share)),
            ("scaled_share_of_must", assessment.scaled_share.map_or("null".to_owned(), number)),
        ])
    }
}

/// The goals whose rows were measured.
fn assessments(rows: &[Row]) -> impl Iterator<Item = (&'static Goal, Assessment)> {
    GOALS.iter().filter_map(|goal| Some((goal, goal.assess(rows)?)))
}

/// The table for people.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!("{:<50}", "DESIGN 13 (a share of 1.00 or more meets the must)");
    for title in ["must", "stretch", "measured", "share", "scaled"] {
        write!(out, "{title:>11}").expect("a String can grow");
    }
    for (goal, Assessment { measured, share, scaled_share }) in assessments(rows) {
        let name = format!("{} {}", goal.row, goal.metric.name());
        let (must, stretch) = (goal.must, goal.stretch);
        let scaled = scaled_share.map_or(String::new(), |share| cell(share, 2));
        write!(out, "\n{name:<53}{must:>8.2}{stretch:>11.2}{measured:>11.2}{share:>11.2}{scaled:>11}")
            .expect("a String can grow");
    }
    out.push('\n');
    out
}

/// The same for programs: a JSON array.
pub fn json(rows: &[Row]) -> String {
    let goals: Vec<String> = assessments(rows).map(|(goal, assessment)| goal.to_json(&assessment)).collect();
    format!("[\n    {}\n  ]", goals.join(",\n    "))
}
