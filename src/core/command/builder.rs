//! Builds the encoding of a write in place.
//!
//! Owns the growing buffer. What always holds: a write of plain operations alone has the kind and the bytes that it
//! always had, and the first other operation makes it one of the other kind, until it is taken back. Limits are the
//! caller's.

use bytes::Bytes;

use super::operations::{Operations, put_operation};
use super::{HEADER_BYTES, KIND_CONDITIONAL, KIND_WRITE, Operation, Weight, operations_of, write_header};
use crate::types::BATCH_OPERATIONS_MAX;

/// Many writes need no more than this, and so are allocated once. What a smaller one does not need stays allocated with it, in
/// the log's cache too.
const SMALL_WRITE_BYTES: usize = 160;

/// Builds the encoding of a write in place; the header is filled in when the command is sealed.
#[derive(Clone, Debug, Default)]
pub struct CommandBuilder {
    /// Empty before the first operation: many builders are made to take the place of one that is sealed.
    buffer: Vec<u8>,
    so_far: SoFar,
}

/// What the operations so far make of the command.
#[derive(Clone, Copy, Debug, Default)]
struct SoFar {
    operations: u32,
    is_conditional: bool,
    has_otherwise: bool,
    weight: Weight,
}

/// How far a builder was once.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    so_far: SoFar,
    encoded_bytes: usize,
}

impl CommandBuilder {
    /// Appends one operation. The caller has checked the limits.
    ///
    /// # Panics
    /// When it is a condition, or another [`Operation::Otherwise`], behind that.
    pub fn push(&mut self, operation: Operation<'_>) {
        self.so_far.count(operation);
        self.begin();
        put_operation(&mut self.buffer, operation);
    }

    /// Leaves room for the header, once.
    fn begin(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.reserve_exact(SMALL_WRITE_BYTES);
            self.buffer.resize(HEADER_BYTES, 0);
        }
    }

    /// How many operations were pushed.
    #[must_use]
    pub fn operations(&self) -> u32 {
        self.so_far.operations
    }

    /// True when [`Operation::Otherwise`] was pushed.
    #[must_use]
    pub fn has_otherwise(&self) -> bool {
        self.so_far.has_otherwise
    }

    /// What the operations so far cost where they are applied.
    #[must_use]
    pub(crate) fn weight(&self) -> Weight {
        self.so_far.weight
    }

    /// Size of the encoded command so far.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES)
    }

    /// The place to which [`CommandBuilder::truncate`] can return.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { so_far: self.so_far, encoded_bytes: self.encoded_bytes() }
    }

    /// Forgets everything that was pushed after `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        assert!(mark.so_far.operations <= self.operations(), "it was once so long");
        assert!((HEADER_BYTES..=self.encoded_bytes()).contains(&mark.encoded_bytes), "it was once so long");
        self.so_far = mark.so_far;
        self.buffer.truncate(mark.encoded_bytes);
    }

    /// The builder whose work was sealed into `data`.
    #[must_use]
    pub fn reopen(data: Bytes) -> Self {
        assert!(data.len() >= HEADER_BYTES, "a builder sealed it");
        assert!(matches!(data[1], KIND_WRITE | KIND_CONDITIONAL), "a builder sealed it");
        let mut so_far = SoFar::default();
        match data[1] {
            KIND_WRITE => so_far.count_plain(operations_of(&data)),
            _ => Operations::of(&data[HEADER_BYTES..]).for_each(|operation| so_far.count(operation)),
        }
        assert_eq!(so_far.operations, operations_of(&data), "a builder sealed it");
        Self { buffer: data.into(), so_far }
    }

    /// The finished command, bound to a version of its region's key range.
    #[must_use]
    pub fn seal(mut self, epoch_version: u64) -> Bytes {
        let has_numbers = self.so_far.operations as usize <= BATCH_OPERATIONS_MAX;
        assert!(has_numbers || !self.so_far.is_conditional, "the caller checks the limits");
        let kind = if self.so_far.is_conditional { KIND_CONDITIONAL } else { KIND_WRITE };
        self.begin();
        write_header(&mut self.buffer, kind, self.so_far.operations, epoch_version);
        self.buffer.into()
    }
}

impl SoFar {
    fn count(&mut self, operation: Operation<'_>) {
        if !operation.is_plain() {
            let may_follow = !operation.is_condition() && operation != Operation::Otherwise;
            assert!(may_follow || !self.has_otherwise, "there is one other list, and it has no conditions");
            self.is_conditional = true;
            self.has_otherwise |= operation == Operation::Otherwise;
        }
        self.operations += 1;
        self.weight = self.weight.plus(Weight::of(operation));
    }

    fn count_plain(&mut self, operations: u32) {
        assert!(!self.is_conditional, "they are all");
        self.operations += operations;
        self.weight = self.weight.plus(Weight::of_plain(operations));
    }
}
