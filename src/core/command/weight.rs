//! What a write costs where it is applied.
//!
//! Owns the sizes by which writes are packed into entries and entries into engine batches. What always holds: a weight
//! follows from the bytes of the command alone, and no judgement takes more than its weight says: the condition on a
//! range declares what it may look at, and is false beyond that.

use super::operations::Operations;
use super::{HEADER_BYTES, KIND_CONDITIONAL, KIND_MEMBERS, Operation, operations_of};
use crate::core::digest::RangeDigest;
use crate::types::{
    BATCH_OPERATIONS_MAX, RANGE_BYTES_MAX, RANGE_KEYS_MAX, TRANSACTION_READS_MAX, TRANSACTION_WRITES_MAX,
};

/// So many plain operations cost as much as one that is judged: it reads the whole value, perhaps from the disk.
const JUDGED_OPERATIONS: u64 = 16;
const _: () = assert!(
    TRANSACTION_READS_MAX * JUDGED_OPERATIONS as usize + TRANSACTION_WRITES_MAX <= BATCH_OPERATIONS_MAX,
    "what a transaction may read and write fits an entry"
);

/// How much applying a write takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Operations, each that is judged as many.
    pub operations: u64,
    /// Keys of ranges that conditions look at.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
}

impl Weight {
    /// The weight of one operation.
    #[must_use]
    pub(crate) fn of(operation: Operation<'_>) -> Self {
        match operation {
            Operation::IfRange { seen, .. } => {
                let RangeDigest { keys, bytes, .. } = RangeDigest::decode(seen);
                Self { operations: JUDGED_OPERATIONS, keys, bytes }
            }
            Operation::Add { .. } | Operation::Pop { .. } | Operation::TakeFirst { .. } => Self::judged(),
            operation if operation.is_condition() => Self::judged(),
            _ => Self::of_plain(1),
        }
    }

    /// The weight of operations that are not judged.
    #[must_use]
    pub(crate) fn of_plain(operations: u32) -> Self {
        Self { operations: u64::from(operations), ..Self::default() }
    }

    fn judged() -> Self {
        Self { operations: JUDGED_OPERATIONS, ..Self::default() }
    }

    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        // Anybody may declare anything.
        Self {
            operations: self.operations.saturating_add(other.operations),
            keys: self.keys.saturating_add(other.keys),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What it takes of the operations of an engine batch.
    #[must_use]
    pub(crate) fn steps(self) -> usize {
        usize::try_from(self.operations.saturating_add(self.keys)).unwrap_or(usize::MAX)
    }

    /// True when an entry may be so heavy. It is applied in one go, and other writes and reads wait for that.
    #[must_use]
    pub(crate) fn fits_an_entry(self) -> bool {
        self.operations <= BATCH_OPERATIONS_MAX as u64
            && self.keys <= RANGE_KEYS_MAX as u64
            && self.bytes <= RANGE_BYTES_MAX as u64
    }
}

/// The weight of a sealed write that was checked.
#[must_use]
pub(crate) fn weight_of(data: &[u8]) -> Weight {
    assert!(data.len() >= HEADER_BYTES, "it was checked");
    if data[1] == KIND_MEMBERS {
        // As much as an entry may have: it stands alone.
        Weight { operations: BATCH_OPERATIONS_MAX as u64, ..Weight::default() }
    } else if data[1] == KIND_CONDITIONAL {
        let each = Operations::of(&data[HEADER_BYTES..]).map(Weight::of);
        let weight = each.fold(Weight::default(), Weight::plus);
        assert!(weight.operations >= u64::from(operations_of(data)), "what is judged weighs more, not less");
        weight
    } else {
        Weight::of_plain(operations_of(data))
    }
}
