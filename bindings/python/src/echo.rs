//! A store that does nothing, for measuring the round trip of a call from Python and back.
//!
//! Owns one thread that answers every call at once. What always holds: a call takes the path of a real one - the same
//! batch, the same completion, the same queue, another thread - and only the store itself is missing. It is
//! compiled with the feature `bench` only, which `make bench` turns on.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use almadia::RegionId;
use almadia::internal::Deadlines;
use almadia::internal::Timestamp;
use almadia::internal::{CallKind, CallRegions, Subject};
use almadia::internal::{Completion, Sink};
use almadia::internal::{Delivery, Expected, Receiver};
use almadia::{Error, Reply, Result};
use pyo3::prelude::*;

use crate::arguments::{Key, Value};
use crate::calls::put_batch;
use crate::completions::{Completions, Pending};
use crate::errors::OrRaise;
use crate::submit;

/// See the module.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct Echo {
    calls: Sender<Completion>,
    deadlines: Arc<Deadlines>,
}

#[pymethods]
impl Echo {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let (calls, arriving) = channel::<Completion>();
        let answer = move || arriving.into_iter().for_each(|call| call.answer(Ok(Reply::default())));
        // The thread ends when this object is dropped.
        almadia::internal::spawn("almadia-echo", answer)
            .map_err(|error| Error::system("cannot start a thread", &error))
            .or_raise(py)?;
        Ok(Self { calls, deadlines: Arc::default() })
    }

    /// As `submit_put`, without a store.
    fn submit_put(
        &self,
        py: Python<'_>,
        completions: &Completions,
        future: Py<PyAny>,
        key: Key<'_>,
        value: Value<'_>,
    ) -> PyResult<Pending> {
        let batch = put_batch(py, &key, &value)?;
        completions.submit(py, future, submit::position, |queue, on_answer| {
            let echoed = Box::new(Echoed { expected: queue.expect()?, on_answer });
            let subject = Subject { kind: CallKind::Write, regions: CallRegions::One(RegionId(1)) };
            let opened = self.deadlines.accept(subject, Timestamp::NEVER, echoed, Arc::new(batch));
            let (completion, call) = opened?;
            self.calls.send(completion).expect("the thread lives as long as this object");
            Ok(call)
        })
    }
}

struct Echoed<F> {
    expected: Expected,
    on_answer: F,
}

impl<F: FnOnce(Result<Reply>) + Send + 'static> Sink for Echoed<F> {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        let queue = Arc::clone(self.expected.queue());
        queue.push(Delivery::Answer(self, answer));
    }
}

impl<F: FnOnce(Result<Reply>) + Send> Receiver for Echoed<F> {
    fn receive(self: Box<Self>, answer: Result<Reply>) {
        (self.on_answer)(answer);
    }
}
