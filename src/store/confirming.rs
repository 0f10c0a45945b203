//! Reads that the peers confirm.
//!
//! Owns the way of a read from the question to its peers to a look at the data that they have confirmed, of the blocking
//! form ([`Inner::read`]) and of the other ([`Confirming`]). A peer answers no read while the data of its region are being
//! replaced by those of a raft snapshot, but the data are looked at after the answer, and the replacement may begin in
//! between. What always holds: whoever looks sees data that were whole from the beginning of the look to its end
//! ([`Leases::whole`](super::leases::Leases::whole)), and that show what was confirmed, or more: with new data more
//! entries are applied. If they were not whole, the peers are asked again, within the deadline of the call. They answer
//! when the replacement is over, since each has begun to take in the snapshot before the first byte of its data goes, and
//! is not done before the last one is there; so nobody asks in a loop.
//!
//! A view shows for ever what it showed when it was opened, whatever is replaced later. So it is enough to look whether
//! the data were whole while it was opened, even if a job reads from it much later.

use std::sync::{Arc, OnceLock};

use crate::completion::{Completion, Position, Reply, Sink};
use crate::error::{Code, Error, Result};
use crate::process::panics;
use crate::storage::engine::{Engine, View};
use crate::store::latency::{Kind, Latency};
use crate::store::snapshot::SnapshotOptions;
use crate::store::{Due, Inner};
use crate::types::RegionId;

impl Inner {
    /// The result of `look`, run on this thread when `regions` allow it, at once or after they were asked, and a position
    /// that it shows. It may run several times; what it returned is only told if the data were whole.
    pub(super) fn read<T>(
        &self,
        engine: &Engine,
        regions: &[RegionId],
        options: &SnapshotOptions,
        look: impl Fn() -> T,
    ) -> Result<(T, Position)> {
        if let Some(seen) = self.at_once(engine, regions, options, &look)? {
            return Ok(seen);
        }
        let (due, mut permit) = (self.read_due(regions, options), self.admission.admit(0)?);
        loop {
            let position = self.await_confirmation(&due, permit)?;
            if let Some(seen) = self.leases.whole(regions, &look) {
                return Ok((seen, position));
            }
            permit = self.admission.admit_again();
        }
    }
}

/// What goes on with a read once its view is there.
pub(super) trait Viewer: Send + 'static {
    /// The call. It is open until it is answered, so that its deadline and its caller can end it.
    fn call(&self) -> &Completion;

    /// The call, of a read that nobody is to answer.
    fn into_call(self) -> Completion;

    /// Goes on, or answers with the error. On an internal thread, which must not access the disk.
    fn go_on(self, seen: Result<(View, Position)>);
}

/// Asks the peers for a viewer, as often as it takes. See the module.
pub(super) struct Confirming<V> {
    inner: Arc<Inner>,
    engine: Engine,
    due: Due,
    latency: Latency,
    /// The caller has been told that the call is accepted: it must be answered.
    is_accepted: bool,
    viewer: V,
}

impl<V: Viewer> Confirming<V> {
    /// Asks for the first time.
    ///
    /// # Errors
    /// `CLOSED`; the viewer is dropped.
    pub(super) fn ask(inner: &Arc<Inner>, engine: Engine, due: Due, viewer: V) -> Result<()> {
        let (inner, latency) = (Arc::clone(inner), Latency::new(&inner.metrics, Kind::Read));
        Box::new(Self { inner, engine, due, latency, is_accepted: false, viewer }).put()
    }

    fn ask_again(mut self: Box<Self>) {
        if self.is_answered() {
            return;
        }
        self.is_accepted = true;
        let asked = self.put();
        debug_assert!(asked.is_ok(), "a closed store answers what it has accepted: `Self::defused`");
    }

    fn put(self: Box<Self>) -> Result<()> {
        let (inner, due) = (Arc::clone(&self.inner), self.due.clone());
        inner.ask(&due, Completion::new(self))
    }

    /// None if the data were replaced meanwhile.
    fn look(&self) -> Option<View> {
        self.inner.leases.whole(self.due.subject.regions.as_slice(), || self.engine.view())
    }
}

impl<V: Viewer> Sink for Confirming<V> {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        let seen = answer.and_then(|reply| {
            let view = panics::catch(|| Ok(self.look()))?;
            Ok(view.map(|view| (view, reply.position)))
        });
        let Some(seen) = seen.transpose() else { return self.ask_again() };
        panics::aside(|| self.latency.answered());
        self.viewer.go_on(seen);
    }

    fn is_answered(&self) -> bool {
        self.viewer.call().is_answered()
    }

    fn defused(self: Box<Self>) -> bool {
        if self.is_accepted {
            self.viewer.go_on(Err(Error::new(Code::Closed)));
            return false;
        }
        self.viewer.into_call().defuse()
    }
}

/// Takes what was stored before the answer.
pub(super) fn taken<T>(found: Arc<OnceLock<T>>) -> T {
    let found = Arc::into_inner(found).and_then(OnceLock::into_inner);
    found.expect("whoever answers has put it and let go of it")
}

#[cfg(test)]
mod tests;
