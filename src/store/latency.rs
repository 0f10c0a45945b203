//! Measures how long a call takes to reach each stage.
//!
//! Owns the timestamps of one call and records them in the store's histograms. What always holds: each stage is
//! counted once for each call that reaches it; a call forwarded by this member has no propose, commit or apply stage
//! here, because those belong to the leader. The histograms are left to [`crate::metrics`].

use std::cell::Cell;
use std::sync::Arc;

use crate::completion::WriteEvent;
use crate::metrics::{Histogram, Metrics};
use crate::time::{Timestamp, now};

/// The kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    /// A read that asks the region's peer. Reads under a lease are not counted, because counting would cost as much
    /// as the read.
    Read,
    /// Any other call.
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
    /// A call that starts now.
    pub(super) fn new(metrics: &Arc<Metrics>, kind: Kind) -> Self {
        let none = || Cell::new(None);
        let (metrics, called) = (Arc::clone(metrics), now());
        Self { metrics, kind, called, proposed: none(), committed: none(), answered: none() }
    }

    /// The metrics of the store that was called.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Records an event of a write.
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

    /// Records that there is an answer.
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

    /// Records that the callback is about to receive the answer.
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
    fn a_write_is_counted_in_each_stage_it_reached() {
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
