//! Many regions: three members, their keys cut into equal parts.
//!
//! Owns the rows of their rest and of the same 256 writes in flight, spread over all regions and sent to the leader of
//! each: first as elections left them, on all members, then with one member that leads them all, as it leads a single
//! region. What always holds: rest comes before work, so that its memory is that of the regions alone; after each run
//! the last write of every lane is read back.

use std::sync::Arc;

use almadia::SnapshotOptions;

use crate::data::{Key, check};
use crate::group::{Group, retry};
use crate::life::idle;
use crate::load::measure;
use crate::members::{Asked, Members};
use crate::report::Row;
use crate::writes::drive_all;

const MEMBERS: usize = 3;
const IN_FLIGHT: u64 = 256;

/// Rows of so many regions.
pub fn run(group: &Group, regions: usize) {
    let members = Members::open_split(MEMBERS, regions);
    let resting = format!("idle second, {regions} regions/3/0");
    group.row(&resting, || idle(&resting, &members));
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
        let measured = measure(IN_FLIGHT, |lanes| drive_all(&leaders, lanes))?;
        let snapshot = members.member(Asked::Follower).snapshot(&SnapshotOptions::default());
        let snapshot = snapshot.map_err(|error| error.to_string())?;
        let read = |key: &Key| check(key, snapshot.get(key).expect("a healthy disk"));
        measured.last_keys.iter().try_for_each(read)?;
        Ok(measured)
    });
    Row::new(name.to_owned(), MEMBERS as u64, IN_FLIGHT, &measured).beside("write, 1 regions/3/256")
}
