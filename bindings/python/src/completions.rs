//! Completions for an event loop.
//!
//! Owns the queue that carries the answers of one event loop's calls: one descriptor that the loop watches, and one
//! call that resolves all futures whose answers have arrived. What always holds: only the draining thread, which is
//! the loop's, touches futures; a future that is already done, because its task was cancelled, is left alone; internal
//! threads of a store touch neither Python nor the GIL.

use std::sync::Arc;
use std::time::Duration;

use almadia::Call;
use almadia::CompletionQueue;
use almadia::{Error, Result};
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::{OrRaise, instance};
use crate::exit::attached;
use crate::fork_guard::ForkGuarded;

/// Maximum number of answers per drain, so that a flood of them leaves the loop time for its other work.
const DRAIN_MAX: usize = 1024;

/// The queue of answers for one event loop.
#[pyclass(module = "almadia._almadia", frozen, weakref)]
pub struct Completions {
    queue: ForkGuarded<Arc<CompletionQueue>>,
}

#[pymethods]
impl Completions {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self { queue: ForkGuarded::new(CompletionQueue::with_fd().or_raise(py)?) })
    }

    /// The descriptor, readable while answers are queued. Only to be watched, not read.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let queue = self.queue.get().or_raise(py)?;
        Ok(queue.fd().expect("it was made with a descriptor"))
    }

    /// Resolves the futures whose answers have arrived. Called by the loop when the descriptor is readable.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue.get().or_raise(py)?;
        attached(py, || queue.run(DRAIN_MAX, Some(Duration::ZERO))).map(drop).or_raise(py)
    }

    /// Drops all answers, queued and still to come, because the loop is closed.
    fn abandon(&self) {
        if let Ok(queue) = self.queue.get() {
            queue.abandon();
        }
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Completions {
    /// Submits a call and resolves `future` with its answer, converted by `convert`.
    pub fn submit<T: 'static>(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        convert: fn(Python<'_>, T) -> PyResult<Bound<'_, PyAny>>,
        submit: impl FnOnce(&Arc<CompletionQueue>, Box<dyn FnOnce(Result<T>) + Send>) -> Result<Call>,
    ) -> PyResult<Pending> {
        let queue = self.queue.get().or_raise(py)?;
        // It runs during a drain, on a thread that already holds the GIL.
        let on_answer =
            move |answer: Result<T>| Python::attach(|py| resolve(py, future.bind(py), convert, answer));
        let call = submit(queue, Box::new(on_answer)).or_raise(py)?;
        Ok(Pending { call: ForkGuarded::new(call) })
    }
}

/// A submitted call, for cancelling it.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct Pending {
    call: ForkGuarded<Call>,
}

#[pymethods]
impl Pending {
    /// Cancels the call; false if it was answered before. A future that is cancelled already stays as it is.
    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.call.get().or_raise(py)?.cancel())
    }
}

fn resolve<T>(
    py: Python<'_>,
    future: &Bound<'_, PyAny>,
    convert: fn(Python<'_>, T) -> PyResult<Bound<'_, PyAny>>,
    answer: Result<T>,
) {
    let resolved = try_resolve(py, future, convert, answer);
    if let Err(error) = resolved {
        // The other futures must still be resolved. asyncio treats errors of its own callbacks the same way.
        error.write_unraisable(py, Some(future));
    }
}

fn try_resolve<T>(
    py: Python<'_>,
    future: &Bound<'_, PyAny>,
    convert: fn(Python<'_>, T) -> PyResult<Bound<'_, PyAny>>,
    answer: Result<T>,
) -> PyResult<()> {
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    let answer = answer.map_err(|error: Error| instance(py, &error)).map(|value| convert(py, value));
    match answer {
        Ok(Ok(value)) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Ok(Err(failed)) => future.call_method1(intern!(py, "set_exception"), (failed.into_value(py),))?,
        Err(exception) => future.call_method1(intern!(py, "set_exception"), (exception?,))?,
    };
    Ok(())
}
