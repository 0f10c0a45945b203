//! What a peer was heard to say, for whoever shows the members.
//!
//! Owns the time at which it was heard last, on whichever connection, and what it said of itself. What always holds: the
//! time never goes back; a peer that has shaken hands has been heard.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handshake::Hello;
use super::lock;
use crate::time::Timestamp;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Heard {
    /// 0 as long as it never was: the clock is later than that.
    at: AtomicU64,
    build: Mutex<String>,
}

impl Heard {
    /// Something came from it.
    pub(super) fn note(&self, now: Timestamp) {
        self.at.fetch_max(now.0, Ordering::Relaxed);
    }

    /// It said this of itself.
    pub(super) fn shook_hands(&self, now: Timestamp, theirs: &Hello) {
        theirs.build.clone_into(&mut lock(&self.build));
        self.note(now);
    }

    /// When it was heard last, and the version of its build; `None` if it never was.
    pub(super) fn get(&self) -> Option<(Timestamp, String)> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| (Timestamp(at), lock(&self.build).clone()))
    }
}
