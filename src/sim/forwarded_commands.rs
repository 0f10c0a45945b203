//! What a leader accepts from the callers of other members.
//!
//! Owns directed runs in which a member forwards something its own callers could not have produced: it may run another
//! version, or be corrupt. What always holds: a leader checks the bounds of a forwarded command itself. The message
//! validator is left to the fuzzer ([`fuzz`](super::fuzz)).

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
fn a_forwarded_write_may_not_exceed_the_operations_of_a_batch() {
    let mut trio = Trio::new(1, &Setup::default());
    trio.elect(1, 1);

    let most = trio.propose(2, REGION, deletes(BATCH_OPERATIONS_MAX));
    let more = trio.propose(2, REGION, deletes(BATCH_OPERATIONS_MAX + 1));

    at_once(&most).expect("as many as a batch may have");
    assert_eq!(at_once(&more).expect_err("one more").code(), Code::Unsupported);
}
