//! What a leader takes of other members' callers.
//!
//! Owns directed runs in which a member forwards what its own callers could not have made: it may run another version, or
//! be damaged. The validator is asked by fuzzing ([`fuzz`](super::fuzz)); here are the bounds of commands.

use bytes::Bytes;

use crate::core::command::{CommandBuilder, Operation};
use crate::error::Code;
use crate::sim::member::Setup;
use crate::sim::trio::{Trio, at_once};
use crate::types::BATCH_OPERATIONS_MAX;
use crate::types::{BOOTSTRAP_EPOCH, RegionId};

const REGION: RegionId = RegionId(1);

fn deletes(count: usize) -> Bytes {
    let mut builder = CommandBuilder::default();
    (0..count).for_each(|_| builder.push(Operation::Delete { key: b"k" }));
    builder.seal(BOOTSTRAP_EPOCH.version)
}

#[test]
fn a_forwarded_write_has_no_more_operations_than_a_batch() {
    let mut trio = Trio::new(1, &Setup::default());
    trio.elect(1, 1);

    let most = trio.propose(2, REGION, deletes(BATCH_OPERATIONS_MAX));
    let more = trio.propose(2, REGION, deletes(BATCH_OPERATIONS_MAX + 1));

    at_once(&most).expect("as many as a batch may have");
    assert_eq!(at_once(&more).expect_err("one more").code(), Code::Unsupported);
}
