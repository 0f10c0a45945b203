//! The thread that runs user callbacks.
//!
//! Owns "almadia-cb". What always holds: the callbacks of calls that named no queue of their caller's run here and nowhere
//! else, one at a time, and a panic, of one of them or of this thread itself, does not keep the others from running.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::completion::queue::{CompletionQueue, Delivery};
use crate::metrics::Metrics;
use crate::pollers::health::Health;
use crate::process::{panics, thread};
use crate::time::now;

/// A callback that takes longer is worth a warning.
const SLOW: Duration = Duration::from_millis(100);

/// Starts the thread; it ends when the queue is closed and the last accepted call is answered.
///
/// # Errors
/// When the operating system cannot make one more thread.
pub(crate) fn start(
    queue: Arc<CompletionQueue>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> io::Result<JoinHandle<()>> {
    thread::spawn("almadia-cb", move || {
        thread::mark_callback_thread();
        let mut taken = VecDeque::new();
        while let Err(error) = panics::catch(|| {
            deliver_all(&queue, &mut taken, &metrics);
            Ok(())
        }) {
            // A bug of ours stops the store, but nobody is left without the answer that was promised.
            health.poison(error);
        }
    })
}

/// A panic leaves in `taken` what is not delivered yet.
fn deliver_all(queue: &CompletionQueue, taken: &mut VecDeque<Delivery>, metrics: &Metrics) {
    loop {
        let mut begun = now();
        while let Some(delivery) = taken.pop_front() {
            deliver(delivery);
            let ended = now();
            judge(ended.since(begun), metrics);
            begun = ended;
        }
        if !queue.take_all(taken) {
            return;
        }
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
    }
}

/// The callbacks behind one wait for it.
fn judge(took: Duration, metrics: &Metrics) {
    metrics.callback_run.record(took);
    if took >= SLOW {
        log::warn!("a completion callback took {} ms; others waited behind it", took.as_millis());
    }
}

fn deliver(delivery: Delivery) {
    let ran = panics::catch(|| {
        delivery.deliver();
        Ok(())
    });
    if let Err(error) = ran {
        log::error!("a completion callback panicked: {}", error.detail());
    }
}
