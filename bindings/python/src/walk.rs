//! What is iterated over: the pairs of a snapshot, or of a transaction.
//!
//! Owns the one form of both. What always holds: "first" and "next" are in the direction of the iteration, and a step
//! reads no further than to the pair that it comes to.

use std::sync::Arc;

use almadia::{Error, Iter, Result, TransactionIter};

use crate::snapshot::{self, Shared};
use crate::transaction::{self, State};

/// Whose pairs they are.
pub enum Owner {
    Snapshot(Arc<Shared>),
    Transaction(Arc<State>),
}

/// The engine's iterator.
pub enum Walk {
    Snapshot(Iter),
    Transaction(Box<TransactionIter>),
}

/// The next step of a walk.
pub enum Step {
    First,
    Next,
    /// To the first pair behind this key.
    Behind(Vec<u8>),
    /// There is none.
    Ended,
}

/// The same call for either.
macro_rules! either {
    ($walk:expr, $iter:ident => $call:expr) => {
        match $walk {
            Walk::Snapshot($iter) => $call,
            Walk::Transaction($iter) => $call,
        }
    };
}

impl Walk {
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        either!(self, iter => iter.item())
    }

    /// That of the current key; 0 for what a transaction has written itself.
    pub fn version(&self) -> u64 {
        either!(self, iter => iter.version()).map_or(0, almadia::Version::get)
    }

    pub fn status(&self) -> Result<()> {
        either!(self, iter => iter.status())
    }

    pub fn go(&mut self, step: &Step) {
        match step {
            Step::First => either!(self, iter => iter.seek_to_first()),
            Step::Next => either!(self, iter => iter.next()),
            Step::Behind(key) => {
                either!(self, iter => iter.seek(key));
                if self.item().is_some_and(|(found, _)| found == key) {
                    either!(self, iter => iter.next());
                }
            }
            Step::Ended => {}
        }
    }
}

impl Owner {
    /// Whether it is closed or being closed. Never waits.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Snapshot(shared) => snapshot::is_closed(shared),
            Self::Transaction(state) => state.is_over(),
        }
    }

    /// The error of an iteration whose owner is closed.
    pub fn closed(&self) -> Error {
        match self {
            Self::Snapshot(_) => snapshot::closed(),
            Self::Transaction(_) => transaction::over(),
        }
    }

    /// How often it has changed what is there to iterate over.
    pub fn writes(&self) -> u64 {
        match self {
            Self::Snapshot(_) => 0,
            Self::Transaction(state) => state.writes(),
        }
    }

    /// How many pairs are read first, and how many times as many each time after that. What a transaction has read must be
    /// unchanged when it commits, so it reads ahead hardly more than the program has seen.
    pub fn chunks(&self) -> (usize, usize) {
        match self {
            Self::Snapshot(_) => (16, 4),
            Self::Transaction(_) => (1, 2),
        }
    }

    /// Whether it must be known which key was returned last.
    pub fn wants_keys(&self) -> bool {
        matches!(self, Self::Transaction(_))
    }
}
