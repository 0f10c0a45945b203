//! Writes whose caller is told how far they are before they are answered.
//!
//! Owns the way of an event to its caller. What always holds: events and answer come from the same thread, in order,
//! each event at most once and none after the answer; who did not ask for events pays nothing for them.

use std::sync::Arc;

use crate::batch::Batch;
use crate::completion::{Completion, CompletionQueue, Delivery, Events, OnEvent, Position, Sink, WriteEvent};
use crate::error::Result;
use crate::store::admission::Permit;
use crate::store::{Store, WriteOptions};

impl Store {
    /// As [`Store::write_async`]; before `callback` the thread "almadia-cb" calls `on_event` with those of `events`
    /// that happen and the place of the write in the log, `Proposed` first.
    ///
    /// They happen only while this member leads the region: a write that it forwards is answered without any. A write
    /// that was proposed need not come to be committed; one that is committed is durable and will be applied, and is
    /// readable once it is answered.
    ///
    /// # Errors
    /// As [`Store::write_async`]; then no event comes either.
    pub fn write_with_events<E, F>(
        &self,
        batch: &mut Batch,
        options: &WriteOptions,
        events: Events,
        on_event: E,
        callback: F,
    ) -> Result<()>
    where
        E: Fn(WriteEvent, Position) + Send + Sync + 'static,
        F: FnOnce(Result<Position>) + Send + 'static,
    {
        let timeout = options.timeout.unwrap_or(self.inner.write_timeout);
        let queue = Arc::clone(&self.inner.completions);
        let on_event = Arc::new(on_event);
        let sink =
            |permit| Completion::with_events(Box::new(Told { permit, queue, on_event, callback }), events);
        self.inner.propose(batch, timeout, sink).map(drop)
    }
}

/// Answers a callback, on the completion thread, after the events.
struct Told<F> {
    permit: Permit,
    queue: Arc<CompletionQueue>,
    on_event: Arc<OnEvent>,
    callback: F,
}

impl<F: FnOnce(Result<Position>) + Send> Sink for Told<F> {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        let Self { permit, on_event, callback, .. } = *self;
        // Before the callback, so that it may submit the next call even at the limit.
        drop(permit);
        // Its last event was delivered, so what it holds is free for the callback.
        drop(on_event);
        callback(answer);
    }

    fn queue(&self) -> Option<Arc<CompletionQueue>> {
        Some(Arc::clone(&self.queue))
    }

    fn happened(&self, event: WriteEvent, position: Position) {
        self.queue.push(Delivery::Event(Arc::clone(&self.on_event), event, position));
    }
}
