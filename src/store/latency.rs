//! How long a call took to reach each stage.
//!
//! Owns the clock readings of one call and turns them into the store's histograms. What always holds: each stage is
//! counted once for each call that reached it; a call that its member forwarded has neither propose nor commit nor
//! apply, for these are the leader's.

use std::cell::Cell;
use std::sync::Arc;

use crate::completion::WriteEvent;
use crate::metrics::{Histogram, Metrics};
use crate::time::{Timestamp, now};

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    /// One that asks the region's peer; those under a lease are not counted, for to count would cost as much.
    Read,
    /// Anything else.
    Other,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Latency {
    metrics: Arc<Metrics>,
    kind: Kind,
    called: Timestamp,
    proposed: Cell<Option<Timestamp>>,
    committed: Cell<Option<Timestamp>>,
    answered: Cell<Option<Timestamp>>,
}

impl Latency {
    /// A call that is made now.
    pub(super) fn new(metrics: &Arc<Metrics>, kind: Kind) -> Self {
        let none = || Cell::new(None);
        let (metrics, called) = (Arc::clone(metrics), now());
        Self { metrics, kind, called, proposed: none(), committed: none(), answered: none() }
    }

    /// An event of a write.
    pub(super) fn happened(&self, event: WriteEvent) {
        let now = now();
        match event {
            WriteEvent::Proposed => {
                self.metrics.propose.record(now.since(self.called));
                self.proposed.set(Some(now));
            }
            WriteEvent::Committed => {
                since(self.proposed.get(), now, &self.metrics.commit);
                self.committed.set(Some(now));
            }
        }
    }

    /// There is an answer.
    pub(super) fn answered(&self) {
        let now = now();
        match self.kind {
            Kind::Write => {
                since(self.committed.get(), now, &self.metrics.apply);
                self.metrics.write.record(now.since(self.called));
            }
            Kind::Read => self.metrics.read_index.record(now.since(self.called)),
            Kind::Other => {}
        }
        self.answered.set(Some(now));
    }

    /// The callback is about to get it.
    pub(super) fn delivered(&self) {
        since(self.answered.get(), now(), &self.metrics.callback);
    }
}

fn since(then: Option<Timestamp>, now: Timestamp, histogram: &Histogram) {
    if let Some(then) = then {
        histogram.record(now.since(then));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_counted_in_each_stage_that_it_reached() {
        let metrics = Arc::<Metrics>::default();

        let led = Latency::new(&metrics, Kind::Write);
        led.happened(WriteEvent::Proposed);
        led.happened(WriteEvent::Committed);
        led.answered();
        led.delivered();
        let forwarded = Latency::new(&metrics, Kind::Write);
        forwarded.answered();

        let Metrics { propose, commit, apply, write, callback, read_index, .. } = &*metrics;
        assert_eq!([propose, commit, apply, callback].map(Histogram::count), [1; 4]);
        assert_eq!((write.count(), read_index.count()), (2, 0));
    }
}
