//! How a member that has joined finds the others until its regions tell it of them.
//!
//! Owns the asking of those whom it was told to join through, and the dialing of members for which the system gave no
//! thread. What always holds: a member that was let in dials the others, wherever the list says that it is itself and
//! however many there are; who closes it waits for no answer of another member.

use std::sync::MutexGuard;

use log::{info, warn};

use super::{Known, Members};
use crate::error::Code;
use crate::time::Timestamp;
use crate::transport;

impl Members {
    /// Asks who the others are, where this member has joined and knows nobody: what it was told when it was let in is not
    /// kept over a start. Ends when it has been told, or when its regions tell it, or when it is closed.
    pub(super) fn find_others(&self) {
        let Some((addresses, request)) = &self.before.joining else { return };
        if !self.lock().knows_nobody() {
            return;
        }
        match transport::ask(addresses, request, Timestamp::NEVER, &self.asking) {
            Ok(welcome) if welcome.cluster == self.own.cluster => {
                info!("was told again of {} members", welcome.members.len());
                self.tell_transport(|known| known.meet(&welcome.members));
            }
            Ok(_) => {
                warn!("cluster.join names a member of another cluster: correct it, and open the store again")
            }
            Err(error) if error.code() == Code::Cancelled => {}
            Err(error) if error.code() == Code::Removed => self.on_removed(),
            Err(error) => warn!("this member waits for the others to find it: {error}"),
        }
    }

    /// Dials those for which the system gave no thread, if it gives one now.
    pub(super) fn dial_refused<'a>(&'a self, known: MutexGuard<'a, Known>) -> MutexGuard<'a, Known> {
        drop(known);
        let telling = self.telling();
        let is_refused = self.transport().is_some_and(|transport| !transport.dial_refused());
        let mut known = self.lock();
        known.is_refused = is_refused;
        drop(telling);
        known
    }
}
