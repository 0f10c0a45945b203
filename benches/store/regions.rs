//! Many regions: three members, whose keys are split into equal parts.
//!
//! Owns the rows of idle members and of 256 writes in flight, spread over all regions and sent to the leader of each:
//! first with the leaders on all members, as the elections left them, then with one member that leads all regions, as
//! with a single region. What always holds: the idle row comes first, so that its memory is that of the regions alone;
//! after each run the last write of every client is read back.

use std::sync::Arc;

use almadia::SnapshotOptions;

use crate::data::{Key, check};
use crate::group::{Group, retry};
use crate::life::idle;
use crate::load::measure;
use crate::members::{Members, Target};
use crate::report::Row;
use crate::writes::drive_all;

const MEMBERS: usize = 3;
const IN_FLIGHT: u64 = 256;

/// Measures the rows of a cluster with `regions` regions.
pub fn run(group: &Group, regions: usize) {
    let members = Members::open_split(MEMBERS, regions);
    let idle_name = format!("idle second, {regions} regions/3/0");
    group.row(&idle_name, || idle(&idle_name, &members));
    let spread = format!("write, {regions} regions led by all/3/256");
    if regions > 1 {
        group.row(&spread, || write(&spread, &members));
    }
    let gathered = format!("write, {regions} regions/3/256");
    group.row(&gathered, || {
        members.gather_leaders();
        write(&gathered, &members)
    });
}

fn write(name: &str, members: &Members) -> Row {
    let measured = retry(|| {
        let leaders = Arc::new(members.leaders());
        let measured = measure(IN_FLIGHT, |clients| drive_all(&leaders, clients))?;
        let snapshot = members.member(Target::Follower).snapshot(&SnapshotOptions::default());
        let snapshot = snapshot.map_err(|error| error.to_string())?;
        let read = |key: &Key| check(key, snapshot.get(key).expect("a healthy disk"));
        measured.last_keys.iter().for_each(read);
        Ok(measured)
    });
    Row::new(name.to_owned(), MEMBERS as u64, IN_FLIGHT, &measured).with_baseline("write, 1 regions/3/256")
}
