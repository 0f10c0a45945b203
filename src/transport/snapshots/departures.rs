//! The raft snapshots that this member sends.
//!
//! Owns their threads, and the locks around [`Schedule`] and [`Pace`]. What always holds: no lock is held while code of
//! others runs; a sending whose thread cannot be started has ended; and each thread, when it ends in whatever way, starts
//! those that waited for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use log::warn;

use super::super::{Network, lock, spawn};
use super::pace::Pace;
use super::schedule::{Schedule, Way};
use super::{Sending, sending};
use crate::time;
use crate::types::NodeId;

/// See the head of this file.
pub(in crate::transport) struct Departures {
    state: Mutex<State>,
    pace: Mutex<Pace>,
}

struct State {
    schedule: Schedule<Departure>,
    /// Those that were not seen to have ended.
    threads: Vec<JoinHandle<()>>,
}

/// A sending whose end is told whatever happens to it.
pub(super) struct Departure {
    pub(super) sending: Sending,
    end: End,
}

/// Calls [`Sending::ended`], at the latest when this is dropped.
struct End(Option<Box<dyn FnOnce(bool) + Send>>);

impl End {
    fn tell(&mut self, delivered: bool) {
        if let Some(ended) = self.0.take() {
            ended(delivered);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tell(false);
    }
}

impl Departures {
    /// Nothing is sent yet; later so many bytes a second, 0 for no limit.
    pub(in crate::transport) fn new(bytes_per_second: u64) -> Self {
        let state = State { schedule: Schedule::new(), threads: Vec::new() };
        Self { state: Mutex::new(state), pace: Mutex::new(Pace::new(bytes_per_second)) }
    }

    /// How many bytes to write at once.
    pub(super) fn slice_bytes(&self) -> usize {
        lock(&self.pace).slice_bytes()
    }

    /// After how long so many bytes may be written.
    pub(super) fn take(&self, bytes: usize) -> Duration {
        lock(&self.pace).take(time::now(), bytes)
    }

    /// Ends what waits and starts nothing any more. What runs ends by itself when its sockets are closed.
    pub(in crate::transport) fn close(&self) {
        let waiting = lock(&self.state).schedule.close();
        // Not under the lock: this tells their ends.
        drop(waiting);
    }

    /// Ends what waits for the member `node`, which is no peer any more. As with [`close`](Self::close), what runs ends by
    /// itself.
    pub(in crate::transport) fn forget(&self, node: NodeId) {
        let waiting = lock(&self.state).schedule.forget(node);
        // Not under the lock: this tells their ends.
        drop(waiting);
    }

    /// Waits for the threads; to be called once closed.
    pub(in crate::transport) fn join(&self) {
        let threads = std::mem::take(&mut lock(&self.state).threads);
        for thread in threads {
            // Its panics were reported where they happened.
            drop(thread.join());
        }
    }
}

/// Queues a sending and starts what may run.
pub(in crate::transport) fn send(network: &Arc<Network>, mut sending: Sending) {
    let message = &sending.message;
    assert_eq!(message.from, network.options.node, "a member sends in its own name");
    let way = (message.to, message.head.region.id);
    let end = End(Some(std::mem::replace(&mut sending.ended, Box::new(|_| {}))));
    let departure = Departure { sending, end };
    if network.peers.find(way.0).is_none() {
        return;
    }
    let never_run = lock(&network.departures.state).schedule.push(way, departure);
    // Not under the lock: this tells its end.
    drop(never_run);
    start_waiting(network);
}

fn start_waiting(network: &Arc<Network>) {
    loop {
        let mut state = lock(&network.departures.state);
        state.threads.retain(|thread| !thread.is_finished());
        let Some((way, departure)) = state.schedule.start() else { return };
        // Shared, so that it is not dropped with the closure of a thread that cannot be started, under the lock.
        let departure = Arc::new(Mutex::new(Some(departure)));
        let its = Arc::clone(&departure);
        let spawned =
            spawn(network, &format!("almadia-snap-{}", way.0), move |network| run(network, way, &its));
        match spawned {
            Ok(thread) => state.threads.push(thread),
            Err(error) => {
                state.schedule.ended(way);
                drop(state);
                warn!("cannot send a raft snapshot to node {}: no thread could be started: {error}", way.0);
                drop(take(&departure));
            }
        }
    }
}

fn take(departure: &Mutex<Option<Departure>>) -> Option<Departure> {
    departure.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn run(network: &Arc<Network>, way: Way, departure: &Mutex<Option<Departure>>) {
    // Dropped last, so that whoever hears of the end finds a place as soon as this thread is gone.
    let _place = Running { network, way };
    let Some(Departure { mut sending, mut end }) = take(departure) else { return };
    let delivered = sending::run(network, &mut sending);
    // The rows may hold on to a view of the engine: let go before anybody hears of the end.
    drop(sending);
    end.tell(delivered);
}

/// A place in the schedule, given up when this is dropped, also by a panic.
struct Running<'a> {
    network: &'a Arc<Network>,
    way: Way,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.network.departures.state).schedule.ended(self.way);
        start_waiting(self.network);
    }
}
