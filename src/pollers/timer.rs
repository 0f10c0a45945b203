//! The thread that keeps deadlines.
//!
//! Owns "almadia-timer". What always holds: it needs nobody who touches a disk or a network, so that a call is answered
//! by its deadline whatever the other threads wait for; it looks at the open calls at most once every [`PAUSE`], however
//! many deadlines there are, and sleeps while none is near. Which calls are open, and what a late one is told, is
//! [`crate::completion::deadlines`]'s.

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

/// Between two looks at the open calls, so that many short deadlines cost no more than a few. How late an answer may be
/// follows from it, and is stated in the header.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
pub(crate) struct Timer {
    /// This member.
    pub node: NodeId,
    /// The open calls.
    pub deadlines: Arc<Deadlines>,
    /// Where answers with callbacks go.
    pub completions: Arc<CompletionQueue>,
    /// Who leads, as far as is known; and where failures go.
    pub health: Arc<Health>,
    /// Who must hear of them.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
}

impl Timer {
    /// Starts the thread; it ends when the list of open calls is closed and empty.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        thread::spawn("almadia-timer", move || {
            // A bug of ours stops the store, but those who wait are answered yet.
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

/// Answers the calls of `node` that are late now.
pub(crate) fn answer_late(
    deadlines: &Deadlines,
    node: NodeId,
    health: &Health,
    completions: &CompletionQueue,
) {
    let late = deadlines.take_late(now());
    completions.burst(late.into_iter().map(|late| {
        let (completion, error) = late.answer(node, |region| health.status(region).known_leader());
        (completion, Err(error))
    }));
}
