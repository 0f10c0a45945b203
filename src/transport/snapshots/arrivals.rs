//! The raft snapshots that this member receives.
//!
//! Owns the places for them and the threads that receive. What always holds: there are at most [`RUNNING_MAX`] places,
//! one for each region of a member, and a thread only for who has one. A member that comes again for what it is sending
//! already has lost its connection: the old one is broken off, so that the place is free soon.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::Socket;

use super::super::sockets::break_off;
use super::super::{Network, lock};
use super::schedule::{RUNNING_MAX, Way};

/// See the head of this file.
#[derive(Default)]
pub(in crate::transport) struct Arrivals {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<(Way, Arc<Socket>)>,
    /// Those that were not seen to have ended.
    threads: Vec<JoinHandle<()>>,
}

impl Arrivals {
    /// Takes a place for what comes on `socket`; the reason if there is none now.
    pub(super) fn enter(network: &Arc<Network>, way: Way, socket: &Arc<Socket>) -> Result<Place, String> {
        let mut state = lock(&network.arrivals.state);
        if let Some((_, older)) = state.open.iter().find(|(open, _)| *open == way) {
            break_off(older);
            return Err(format!(
                "an earlier connection for region {} of node {} is about to end",
                way.1, way.0
            ));
        }
        if state.open.len() >= RUNNING_MAX {
            return Err(format!("{RUNNING_MAX} raft snapshots are being received"));
        }
        state.open.push((way, Arc::clone(socket)));
        Ok(Place { network: Arc::clone(network), way, socket: Arc::clone(socket) })
    }

    /// Remembers a thread, to be joined.
    pub(super) fn keep(&self, thread: JoinHandle<()>) {
        let mut state = lock(&self.state);
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(thread);
    }

    /// Waits for the threads; to be called when no connection can come any more.
    pub(in crate::transport) fn join(&self) {
        let threads = std::mem::take(&mut lock(&self.state).threads);
        for thread in threads {
            // Its panics were reported where they happened.
            drop(thread.join());
        }
    }
}

/// A place, given up when this is dropped, also by a panic; its connection is then broken off.
pub(super) struct Place {
    network: Arc<Network>,
    way: Way,
    pub(super) socket: Arc<Socket>,
}

impl Drop for Place {
    fn drop(&mut self) {
        break_off(&self.socket);
        lock(&self.network.arrivals.state).open.retain(|(way, _)| *way != self.way);
    }
}
