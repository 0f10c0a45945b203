//! The thread that runs user callbacks.
//!
//! Owns "almadia-cb". What always holds: callbacks run here and nowhere else, one at a time, and a panic of one
//! does not keep the others from running.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::completion::{CompletionQueue, Delivery};
use crate::{panics, thread};

/// Starts the thread; it ends when the queue is closed and empty.
///
/// # Errors
/// When the operating system cannot make one more thread.
pub fn start(queue: Arc<CompletionQueue>) -> io::Result<JoinHandle<()>> {
    thread::spawn("almadia-cb", move || {
        thread::mark_callback_thread();
        let mut taken = Vec::new();
        while queue.take_all(&mut taken) {
            taken.drain(..).for_each(deliver);
        }
    })
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
