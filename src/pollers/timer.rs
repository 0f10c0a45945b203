//! The thread that enforces deadlines.
//!
//! Owns "almadia-timer". What always holds: it never depends on a thread that uses the disk or the network, so a call
//! is answered by its deadline no matter what the other threads are waiting for; it checks the open calls at most
//! once every [`PAUSE`], however many deadlines there are, and sleeps while none is near. Which calls are open, and
//! which error a late one gets, is left to [`crate::completion::deadlines`].

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::completion::deadlines::Deadlines;
use crate::completion::queue::CompletionQueue;
use crate::core::input::Input;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::process::{panics, thread};
use crate::time::now;
use crate::types::{NodeId, RegionId};

/// The pause between two checks of the open calls, so that many short deadlines cost no more than a few. It
/// determines how late an answer may be, which the C header documents.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
pub(crate) struct Timer {
    /// This member.
    pub node: NodeId,
    /// The open calls.
    pub deadlines: Arc<Deadlines>,
    /// Where answers with callbacks go.
    pub completions: Arc<CompletionQueue>,
    /// Which leaders are known, and where failures go.
    pub health: Arc<Health>,
    /// Notified of failures.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
}

impl Timer {
    /// Starts the thread; it ends when the list of open calls is closed and empty.
    ///
    /// # Errors
    /// When the operating system cannot create another thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        thread::spawn("almadia-timer", move || {
            // A bug in the library stops the store, but waiting callers are still answered.
            while let Err(error) = panics::catch(|| {
                self.run();
                Ok(())
            }) {
                self.health.poison(error);
                self.raft.nudge();
            }
        })
    }

    fn run(&self) {
        while self.deadlines.wait() {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
            answer_late(&self.deadlines, self.node, &self.health, &self.completions);
            if !self.deadlines.has_ended() {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Answers the calls of `node` whose deadline has passed.
pub(crate) fn answer_late(
    deadlines: &Deadlines,
    node: NodeId,
    health: &Health,
    completions: &CompletionQueue,
) {
    let late = deadlines.take_late(now());
    completions.answer_all(late.into_iter().map(|late| {
        let (completion, error) = late.answer(node, |region| health.status(region).known());
        (completion, Err(error))
    }));
}
