//! Calls that are answered by a callback.
//!
//! Owns the asynchronous form of every call: on the store's own thread "almadia-cb", or on whichever thread drains a
//! queue of the caller's. What always holds: a call that returned an error never runs its callback, any other runs it
//! exactly once, never on the caller's stack; the call holds its permit until then, so that queues are bounded; a read
//! that must look at the disk does so on the read pool.

use std::sync::{Arc, OnceLock};

use crate::completion::call::Call;
use crate::completion::ordered::Ordered;
use crate::completion::queue::{CompletionQueue, Delivery, Expected, Receiver};
use crate::completion::{Completion, Events, OnEvent, Position, Reply, Sink, WriteEvent};
use crate::error::{Error, Result};
use crate::metrics::CallType;
use crate::process::panics;
use crate::storage::engine::View;
use crate::store::admission::Permit;
use crate::store::batch::Batch;
use crate::store::confirming::{Confirming, Viewer, taken};
use crate::store::latency::{Kind, Latency};
use crate::store::snapshot::{Snapshot, SnapshotOptions};
use crate::store::transfer::TransferOptions;
use crate::store::{Due, Inner, Store, WriteOptions};

impl Store {
    /// The calls whose callbacks run on this store's own thread "almadia-cb". They must not block there, and blocking
    /// calls of this store answer `WOULD_DEADLOCK`.
    #[must_use]
    pub fn asynchronous(&self) -> Asynchronous<'_> {
        Asynchronous { inner: &self.inner, queue: &self.inner.completions }
    }

    /// The calls whose callbacks run on the thread that drains `queue` ([`CompletionQueue::run`]). An answer that is
    /// not taken counts as a call in flight, so drain it.
    #[must_use]
    pub fn on<'a>(&'a self, queue: &'a Arc<CompletionQueue>) -> Asynchronous<'a> {
        Asynchronous { inner: &self.inner, queue }
    }
}

/// The calls of a store that are answered on one queue. See the module; all methods may be called from any thread, also
/// inside callbacks, and none blocks.
#[derive(Clone, Copy)]
pub struct Asynchronous<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) queue: &'a Arc<CompletionQueue>,
}

impl Asynchronous<'_> {
    /// Applies `batch` on a majority; `callback` learns the outcome. When this returns an error the batch is as it was.
    /// A batch without operations is a read, as in [`Store::write`]: its answer may overtake those of earlier writes.
    ///
    /// # Errors
    /// `BATCH_ACROSS_REGIONS`, `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn write<F>(&self, batch: &mut Batch, options: &WriteOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        self.write_with(batch, options, None, callback)
    }

    /// As [`Asynchronous::write`]; before `callback`, `on_event` is called for those of `events` that happen, with the place
    /// of the write in the log, `Proposed` first. Each call returns before the next one begins, and before `callback`,
    /// on whichever threads drain the queue.
    ///
    /// They happen only while this member leads the region: a write that it forwards is answered without any. A write
    /// that was proposed need not come to be committed; one that is committed is durable and will be applied, and is
    /// readable once it is answered.
    ///
    /// # Errors
    /// As [`Asynchronous::write`]; then no event comes either.
    pub fn write_with_events<E, F>(
        &self,
        batch: &mut Batch,
        options: &WriteOptions,
        events: Events,
        on_event: E,
        callback: F,
    ) -> Result<Call>
    where
        E: Fn(WriteEvent, Position) + Send + Sync + 'static,
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        self.write_with(
            batch,
            options,
            Some(EventSubscription {
                events,
                on_event: Arc::new(on_event),
                ordered: Arc::new(Ordered::new(Arc::clone(self.queue))),
            }),
            callback,
        )
    }

    fn write_with<F>(
        &self,
        batch: &mut Batch,
        options: &WriteOptions,
        subscription: Option<EventSubscription>,
        callback: F,
    ) -> Result<Call>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        self.inner.counted_if_refused(CallType::Write, || {
            if batch.is_empty() {
                return self.confirmed_position(options, callback);
            }
            let sink = self.sink_of(CallType::Write, Kind::Write, subscription, callback)?;
            self.accept(sink, |open| self.inner.submit_write(batch, options, open).map(drop))
        })
    }

    /// Takes a snapshot; `callback` receives it.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`; `INVALID_ARGUMENT` as [`Store::snapshot`].
    pub fn snapshot<F>(&self, options: &SnapshotOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Snapshot>) + Send + 'static,
    {
        self.inner.counted_if_refused(options.call_type(), || self.submit_snapshot(options, callback))
    }

    fn submit_snapshot<F>(&self, options: &SnapshotOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<Snapshot>) + Send + 'static,
    {
        let call = options.call_type();
        let regions = self.inner.regions_of(options)?;
        let engine = self.inner.engine()?;
        let range = options.range.clone();
        if let Some((view, position)) = self.inner.at_once(&engine, regions, options, || engine.view())? {
            let snapshot = Snapshot::new(view, position, &range);
            let sink = self.sink_of(call, Kind::Other, None, move |answer: Result<Reply>| {
                callback(answer.map(|_| snapshot));
            })?;
            return self.accept(sink, |open| {
                let due = self.inner.read_due(regions, options);
                open(self.inner.admission.admit(0)?, due)?.answer(Ok(position.into()));
                Ok(())
            });
        }
        let found = Arc::<OnceLock<View>>::default();
        let view = Arc::clone(&found);
        let sink = self.sink_of(call, Kind::Other, None, move |answer: Result<Reply>| {
            callback(answer.map(|reply| Snapshot::new(taken(view), reply.position, &range)));
        })?;
        self.accept(sink, |open| {
            let due = self.inner.read_due(regions, options);
            let answer = open(self.inner.admission.admit(0)?, due.clone())?;
            Confirming::ask(self.inner, engine, due, PendingSnapshot { answer, found })
        })
    }

    /// Hands leadership over as [`Store::transfer_leader`] does; `callback` learns the outcome.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn transfer_leader<F>(&self, options: &TransferOptions, callback: F) -> Result<Call>
    where
        F: FnOnce(Result<()>) + Send + 'static,
    {
        self.inner.counted_if_refused(CallType::Transfer, || {
            let callback = move |answer: Result<_>| callback(answer.map(drop));
            let sink = self.sink_of(CallType::Transfer, Kind::Other, None, callback)?;
            self.accept(sink, |open| self.inner.transfer(options, open))
        })
    }

    pub(super) fn sink_of<F>(
        &self,
        call: CallType,
        kind: Kind,
        subscription: Option<EventSubscription>,
        callback: F,
    ) -> Result<impl FnOnce(Arc<Permit>) -> CallbackSink<F>>
    where
        F: FnOnce(Result<Reply>) + Send + 'static,
    {
        self.inner.health.check()?;
        let expected = self.queue.expect()?;
        let latency = Latency::new(&self.inner.metrics, kind);
        Ok(move |permit| CallbackSink { permit, call, expected, latency, subscription, callback })
    }

    /// Creates the completion once `submit` has a permit for it, and returns the caller's end of the call.
    pub(super) fn accept<S: Sink + 'static>(
        &self,
        sink: impl FnOnce(Arc<Permit>) -> S,
        submit: impl FnOnce(&mut dyn FnMut(Permit, Due) -> Result<Completion>) -> Result<()>,
    ) -> Result<Call> {
        let (mut sink, mut call) = (Some(sink), None);
        let mut open = |permit, due: Due| {
            // Shared: a call that is answered early counts until the internal threads let it go.
            let permit = Arc::new(permit);
            let sink = sink.take().expect("one call makes one promise");
            let (kept, sink) = (Arc::clone(&permit), Box::new(sink(permit)));
            let (completion, own) = self.inner.deadlines.accept(due.subject, due.deadline, sink, kept)?;
            call = Some(own);
            Ok(completion)
        };
        submit(&mut open)?;
        Ok(call.expect("an accepted call has made its promise"))
    }
}

/// A snapshot in progress. The view is opened by the thread that has the confirmation, while the call is open: if the data
/// are being replaced, the call goes on.
struct PendingSnapshot {
    answer: Completion,
    /// Receives the view, before the answer.
    found: Arc<OnceLock<View>>,
}

impl Viewer for PendingSnapshot {
    fn call(&self) -> &Completion {
        &self.answer
    }

    fn into_call(self) -> Completion {
        self.answer
    }

    fn go_on(self, seen: Result<(View, Position)>) {
        let Self { answer, found } = self;
        let position = seen.map(|(view, position)| {
            found.set(view).unwrap_or_else(|_| unreachable!("a snapshot is opened once"));
            position
        });
        // The callback must be the only owner of the view.
        drop(found);
        answer.answer(position.map(Reply::from));
    }
}

/// Which events a caller wants to hear of, and its function.
pub(super) struct EventSubscription {
    events: Events,
    on_event: Arc<OnEvent>,
    ordered: Arc<Ordered>,
}

/// Answers a callback, on the thread that drains its queue.
pub(super) struct CallbackSink<F> {
    permit: Arc<Permit>,
    call: CallType,
    expected: Expected,
    latency: Latency,
    subscription: Option<EventSubscription>,
    callback: F,
}

impl<F: FnOnce(Result<Reply>) + Send + 'static> Sink for CallbackSink<F> {
    fn deliver(mut self: Box<Self>, answer: Result<Reply>) {
        panics::aside(|| {
            self.latency.answered();
            self.latency.metrics().calls.count(self.call, answer.as_ref().err().map(Error::code));
            self.permit.queue();
        });
        // No event comes any more. Those that wait hold the caller's function themselves.
        if let Some(subscription) = self.subscription.take() {
            return subscription.ordered.push(Delivery::Answer(self, answer));
        }
        let queue = Arc::clone(self.expected.queue());
        queue.push(Delivery::Answer(self, answer));
    }

    fn happened(&self, event: WriteEvent, position: Position) {
        self.latency.happened(event);
        if let Some(EventSubscription { events, on_event, ordered }) = &self.subscription
            && events.has(event)
        {
            ordered.push(Delivery::Event(Arc::clone(on_event), event, position));
        }
    }
}

impl<F: FnOnce(Result<Reply>) + Send> Receiver for CallbackSink<F> {
    fn receive(self: Box<Self>, answer: Result<Reply>) {
        let Self { permit, expected, latency, callback, .. } = *self;
        panics::aside(|| {
            latency.delivered();
            // Before the callback, so that it may submit the next call even at the limit.
            permit.answered();
        });
        callback(answer);
        drop(expected);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_store_that_ends_with_the_callback_of_an_abandoned_queue_is_torn_down() {
        let directory = tempfile::tempdir().expect("there is room");
        let ports: Vec<_> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect();
        let member = |(at, port): (usize, &TcpListener)| {
            format!("{}={}", at + 1, port.local_addr().expect("it is bound"))
        };
        let members = ports.iter().enumerate().map(member).collect::<Vec<_>>().join(",");
        drop(ports);
        let mut config = Config::default();
        for (name, value) in [("cluster.initial_members", &*members), ("write.timeout_ms", "200")] {
            config.set(name, value).expect("in range");
        }
        let store = Arc::new(Store::open(directory.path(), &config).expect("a directory of its own"));
        let (queue, held) = (CompletionQueue::with_fd().expect("a descriptor is free"), Arc::clone(&store));
        let mut batch = Batch::new();
        batch.put(b"k", b"v").expect("small");

        // Without the others there is no leader, so that it waits for its deadline.
        let callback = move |_| drop(held);
        store.on(&queue).write(&mut batch, &WriteOptions::default(), callback).expect("open");
        queue.abandon();
        drop(store);

        let until = Instant::now() + Duration::from_secs(20);
        while let Err(error) = Store::open(directory.path(), &config) {
            assert!(Instant::now() < until, "its threads never ended: {error}");
            std::thread::yield_now();
        }
    }
}
