//! The thread that runs user callbacks.
//!
//! Owns "almadia-cb". What always holds: the callbacks of calls that named no queue of their own run here and nowhere
//! else, one at a time; a panic, in a callback or in this thread itself, does not prevent the others from running.
//! The order of the callbacks is left to the completion queue.

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

/// A callback that takes longer is logged with a warning.
const SLOW: Duration = Duration::from_millis(100);

/// Starts the thread; it ends when the queue is closed and the last accepted call has been answered.
///
/// # Errors
/// When the operating system cannot create another thread.
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
            // A bug in the library stops the store, but every promised answer is still delivered.
            health.poison(error);
        }
    })
}

/// After a panic, `taken` still holds the deliveries that are not done.
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

/// Records how long a callback took; the callbacks queued behind it have to wait.
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
