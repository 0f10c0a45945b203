//! Events that a store reports on its own.
//!
//! Owns the events of a store and their delivery to the caller's function. What always holds: the function runs on the
//! store's completion thread, one event at a time; it receives the newest state, so of several changes while it is busy
//! it may see only the last, and at most one event of each kind is pending per region, or per region and member;
//! reporting an event never blocks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::queue::{CompletionQueue, Delivery};
use crate::error::Error;
use crate::types::{LogIndex, NodeId, RegionId, Term};

/// Something that happened to a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreEvent {
    /// The leader of a region changed, as far as this member knows.
    LeaderChanged {
        /// The region.
        region: RegionId,
        /// Its leader; none while no leader is known.
        leader: Option<NodeId>,
        /// The raft term.
        term: Term,
    },
    /// This member, as a leader, has sent another one a raft snapshot, or failed to.
    RaftSnapshotSent {
        /// The region.
        region: RegionId,
        /// Who was to get it.
        to: NodeId,
        /// Up to here the region's log is in it.
        index: LogIndex,
        /// Whether the other member has all of it.
        is_delivered: bool,
    },
    /// The data of a raft snapshot have become those of the region on this member.
    RaftSnapshotInstalled {
        /// The region.
        region: RegionId,
        /// Who sent it; none when it came before the store was opened.
        from: Option<NodeId>,
        /// Up to here the region's log is in it.
        index: LogIndex,
    },
    /// This member was removed from its cluster and answers `REMOVED` from now on.
    Removed {
        /// This member.
        node: NodeId,
    },
    /// The store stopped working and answers `POISONED` from now on; this is why.
    Poisoned(Error),
}

/// A caller's function that receives a store's events.
#[derive(Clone, Default)]
pub(crate) struct OnStoreEvent(Option<Arc<Tell>>);

type Tell = dyn Fn(&StoreEvent) + Send + Sync;

impl OnStoreEvent {
    /// Calls `tell` with each event.
    pub(crate) fn new(tell: impl Fn(&StoreEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }
}

impl fmt::Debug for OnStoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnStoreEvent(set)" } else { "OnStoreEvent(none)" })
    }
}

/// The pending events of one store.
#[derive(Debug)]
pub(crate) struct StoreEvents {
    on_event: OnStoreEvent,
    queue: Arc<CompletionQueue>,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    leaders: BTreeMap<RegionId, (Option<NodeId>, Term)>,
    /// By region and member, with whether it was delivered.
    sent: BTreeMap<(RegionId, NodeId), (LogIndex, bool)>,
    installed: BTreeMap<RegionId, (Option<NodeId>, LogIndex)>,
    removed: Option<NodeId>,
    poisoned: Option<Error>,
    /// Whether a delivery is queued.
    queued: bool,
}

impl Pending {
    fn take(&mut self) -> Option<StoreEvent> {
        if let Some((region, (leader, term))) = self.leaders.pop_first() {
            return Some(StoreEvent::LeaderChanged { region, leader, term });
        }
        if let Some(((region, to), (index, is_delivered))) = self.sent.pop_first() {
            return Some(StoreEvent::RaftSnapshotSent { region, to, index, is_delivered });
        }
        if let Some((region, (from, index))) = self.installed.pop_first() {
            return Some(StoreEvent::RaftSnapshotInstalled { region, from, index });
        }
        if let Some(node) = self.removed.take() {
            return Some(StoreEvent::Removed { node });
        }
        self.poisoned.take().map(StoreEvent::Poisoned)
    }

    fn is_empty(&self) -> bool {
        self.leaders.is_empty()
            && self.sent.is_empty()
            && self.installed.is_empty()
            && self.removed.is_none()
            && self.poisoned.is_none()
    }
}

impl StoreEvents {
    /// Events for `on_event`, which runs on the thread that drains `queue`.
    #[must_use]
    pub(crate) fn new(on_event: OnStoreEvent, queue: Arc<CompletionQueue>) -> Arc<Self> {
        Arc::new(Self { on_event, queue, pending: Mutex::default() })
    }

    /// The leader of `region` changed.
    pub(crate) fn leader_changed(self: &Arc<Self>, region: RegionId, leader: Option<NodeId>, term: Term) {
        self.add(|pending| {
            pending.leaders.insert(region, (leader, term));
        });
    }

    /// The sending of a raft snapshot ended.
    pub(crate) fn raft_snapshot_sent(
        self: &Arc<Self>,
        (region, to): (RegionId, NodeId),
        index: LogIndex,
        is_delivered: bool,
    ) {
        self.add(|pending| {
            pending.sent.insert((region, to), (index, is_delivered));
        });
    }

    /// A raft snapshot is installed.
    pub(crate) fn raft_snapshot_installed(
        self: &Arc<Self>,
        region: RegionId,
        from: Option<NodeId>,
        index: LogIndex,
    ) {
        self.add(|pending| {
            pending.installed.insert(region, (from, index));
        });
    }

    /// This member was removed.
    pub(crate) fn removed(self: &Arc<Self>, node: NodeId) {
        self.add(|pending| pending.removed = Some(node));
    }

    /// The store stopped.
    pub(crate) fn poisoned(self: &Arc<Self>, why: &Error) {
        self.add(|pending| pending.poisoned = Some(why.clone()));
    }

    fn add(self: &Arc<Self>, add: impl FnOnce(&mut Pending)) {
        if self.on_event.0.is_none() {
            return;
        }
        let mut pending = self.lock();
        add(&mut pending);
        let queue = !std::mem::replace(&mut pending.queued, true);
        drop(pending);
        if queue {
            self.send();
        }
    }

    fn send(self: &Arc<Self>) {
        let events = Arc::clone(self);
        self.queue.push(Delivery::Run(Box::new(move || events.tell())));
    }

    /// Delivers one event and leaves the rest to the next delivery, so that a function that panics at one does not lose
    /// the others.
    fn tell(self: &Arc<Self>) {
        let Some(on_event) = &self.on_event.0 else { return };
        let mut pending = self.lock();
        let event = pending.take();
        pending.queued = !pending.is_empty();
        let more = pending.queued;
        drop(pending);
        if more {
            self.send();
        }
        if let Some(event) = event {
            on_event(&event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_busy_listener_sees_the_newest_leader_of_each_region_once() {
        let queue = CompletionQueue::with_fd().expect("a descriptor is free");
        let received = Arc::<Mutex<Vec<String>>>::default();
        let events = Arc::clone(&received);
        let on_event =
            OnStoreEvent::new(move |event| events.lock().expect("one thread").push(format!("{event:?}")));
        let events = StoreEvents::new(on_event, Arc::clone(&queue));

        for leader in 1..=3 {
            events.leader_changed(RegionId(1), Some(NodeId(leader)), Term(leader));
        }
        events.leader_changed(RegionId(2), None, Term(9));
        queue.run(100, Some(Duration::ZERO)).expect("not a callback");

        let received = received.lock().expect("one thread");
        assert_eq!(received.len(), 2, "{received:?}");
        assert!(received[0].contains("leader: Some(NodeId(3))") && received[1].contains("leader: None"));
    }

    #[test]
    fn a_busy_listener_sees_the_last_raft_snapshot_of_each_region_and_member_once() {
        let queue = CompletionQueue::with_fd().expect("a descriptor is free");
        let received = Arc::<Mutex<Vec<String>>>::default();
        let events = Arc::clone(&received);
        let on_event =
            OnStoreEvent::new(move |event| events.lock().expect("one thread").push(format!("{event:?}")));
        let events = StoreEvents::new(on_event, Arc::clone(&queue));

        for (to, index, is_delivered) in [(2, 7, true), (3, 8, false), (3, 9, true)] {
            events.raft_snapshot_sent((RegionId(1), NodeId(to)), LogIndex(index), is_delivered);
        }
        events.raft_snapshot_installed(RegionId(2), Some(NodeId(4)), LogIndex(6));
        queue.run(100, Some(Duration::ZERO)).expect("not a callback");

        let received = received.lock().expect("one thread");
        assert_eq!(received.len(), 3, "{received:?}");
        assert!(received[0].contains("to: NodeId(2)") && received[0].contains("is_delivered: true"));
        assert!(received[1].contains("index: LogIndex(9)") && received[1].contains("is_delivered: true"));
        assert!(received[2].contains("from: Some(NodeId(4))"), "{received:?}");
    }

    #[test]
    fn a_listener_that_panics_at_one_event_receives_the_others() {
        let queue = CompletionQueue::with_fd().expect("a descriptor is free");
        let received = Arc::<Mutex<Vec<String>>>::default();
        let events = Arc::clone(&received);
        let on_event = OnStoreEvent::new(move |event| match event {
            StoreEvent::LeaderChanged { .. } => panic!("planted"),
            StoreEvent::Poisoned(why) => events.lock().expect("one thread").push(why.to_string()),
            _ => unreachable!("nothing else happened"),
        });
        let events = StoreEvents::new(on_event, Arc::clone(&queue));
        events.leader_changed(RegionId(1), None, Term(1));
        events.poisoned(&Error::new(crate::error::Code::Io));

        let run = || crate::process::panics::catch(|| queue.run(1, Some(Duration::ZERO)));

        assert!(run().is_err(), "it panicked");
        assert!(run().is_ok());
        assert_eq!(received.lock().expect("one thread").len(), 1);
    }
}
