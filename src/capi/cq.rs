//! `almadia_cq`: completions for threads of the program's own.
//!
//! Owns the C view of a completion queue. What always holds: a completion is popped once; the descriptor is readable
//! while one waits; a queue may serve any number of stores and outlive them.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::completion::almadia_completion;
use super::handle::{
    ArraySlot, Boxed, HandleSlot, ProcessBound, ProcessId, ValueSlot, given, in_process, taken_in_process,
};
use crate::completion::queue::{CompletionQueue, Ran};
use crate::error::{Code, Error, Result};
use crate::process::panics;

/// A queue of completions, for programs that handle them on threads of their own instead of in callbacks. Any
/// number of threads may use it at once. It may serve several stores, and outlive them.
pub struct almadia_cq {
    queue: Arc<CompletionQueue>,
    process: ProcessId,
}

impl almadia_cq {
    pub(super) fn queue(&self) -> &Arc<CompletionQueue> {
        &self.queue
    }
}

impl Boxed for almadia_cq {}

impl ProcessBound for almadia_cq {
    fn process(&self) -> ProcessId {
        self.process
    }
}

thread_local! {
    /// What this thread pops right now.
    static POPPED: RefCell<Vec<almadia_completion>> = const { RefCell::new(Vec::new()) };
}

/// Leaves a completion to whoever pops on this thread.
pub(super) fn arrived(completion: almadia_completion) {
    POPPED.with_borrow_mut(|popped| popped.push(completion));
}

/// What `body` returns, and what arrived on this thread meanwhile. An event that `body` hands to the program may bring
/// us here again; what arrived before that belongs to the outer call.
fn popped_during<T>(body: impl FnOnce() -> T) -> (T, Vec<almadia_completion>) {
    let outer = POPPED.take();
    let result = body();
    (result, POPPED.replace(outer))
}

/// Makes a completion queue.
///
/// `cq` receives the handle; free it with almadia_cq_free. Blocks: no. Threads: any. Codes: ALMADIA_IO (no file
/// descriptor is left).
///
/// # Safety
/// `cq` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_cq_new(
    cq: *mut *mut almadia_cq,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `cq` is NULL or writable.
        let slot = unsafe { HandleSlot::new(cq, "cq") }?;
        slot.put(almadia_cq { queue: CompletionQueue::with_fd()?, process: ProcessId::current() });
        Ok(ALMADIA_OK)
    })
}

/// The descriptor of the queue, for poll, epoll and event loops: readable while a completion or an event waits, an
/// interrupt is pending, or the queue is shut down. When it is readable, call almadia_cq_pop with a timeout of 0
/// until it finds none; never read, write or close the descriptor. It belongs to the queue. -1 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `cq` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_cq_fd(cq: *const almadia_cq) -> i32 {
    boundary::value(-1, || {
        // SAFETY: `cq` is NULL or live.
        let cq = unsafe { cq.as_ref() };
        cq.and_then(|cq| cq.queue.fd()).unwrap_or(-1)
    })
}

/// Takes up to `capacity` completions, in the order in which they arrived, after waiting up to `timeout_ms`
/// milliseconds for the first: 0 does not wait, -1 waits without limit. `completions` receives them and `count`
/// their number; free each with almadia_completion_free. ALMADIA_OK with a count of 0 means that the time is up, or
/// that the wait was interrupted. A completion that is not popped counts as a call in flight and keeps its snapshot
/// or values alive, so pop them all.
///
/// Events of writes (almadia_write_options.on_event) whose completion goes to a queue are called inside this
/// function.
///
/// Blocks: yes, for the timeout at most; with 0 no. Threads: any number at once; with a timeout of 0 callbacks too.
/// Codes: ALMADIA_CLOSED (the queue is shut down and nothing will come any more; without an error object),
/// ALMADIA_WOULD_DEADLOCK, ALMADIA_INVALID_ARGUMENT (capacity is 0, timeout_ms is less than -1), ALMADIA_FORKED.
///
/// # Safety
/// `cq` is NULL or live; `completions` is NULL or points to room for `capacity` of them; `count` and `error` are NULL
/// or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_cq_pop(
    cq: *mut almadia_cq,
    completions: *mut *mut almadia_completion,
    capacity: usize,
    count: *mut usize,
    timeout_ms: i64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `count` is NULL or writable.
        let count = unsafe { ValueSlot::new(count, "count") }?;
        // SAFETY: `completions` is NULL or points to room for `capacity` of them.
        let completions = unsafe { ArraySlot::new(completions, capacity, "completions") }?;
        // SAFETY: `cq` is NULL or live.
        let cq = unsafe { in_process(cq, "cq") }?;
        let Some(popped) = pop(&cq.queue, capacity, wait_max(timeout_ms)?)? else {
            return Ok(Code::Closed.number());
        };
        count.put(popped.len());
        completions.put(popped.into_iter().map(given));
        Ok(ALMADIA_OK)
    })
}

fn wait_max(timeout_ms: i64) -> Result<Option<Duration>> {
    match u64::try_from(timeout_ms) {
        Ok(ms) => Ok(Some(Duration::from_millis(ms))),
        Err(_) if timeout_ms == -1 => Ok(None),
        Err(_) => Err(Error::with_detail(Code::InvalidArgument, format!("timeout_ms is {timeout_ms}"))),
    }
}

/// What there is; none when nothing will come any more.
fn pop(
    queue: &CompletionQueue,
    capacity: usize,
    wait_max: Option<Duration>,
) -> Result<Option<Vec<almadia_completion>>> {
    if capacity == 0 {
        return Err(Error::with_detail(Code::InvalidArgument, "capacity is 0"));
    }
    let until = wait_max.and_then(|wait_max| Instant::now().checked_add(wait_max));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let (ran, popped) = popped_during(|| panics::catch(|| queue.run(capacity, left)));
        match ran {
            // A panic after the first: it was logged, and what was popped has no other way to its caller.
            _ if !popped.is_empty() => return Ok(Some(popped)),
            Ok(Ran::Closed) => return Ok(None),
            Ok(Ran::Some(0)) => return Ok(Some(popped)),
            // Only events ran; the time is not up yet.
            Ok(Ran::Some(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes one waiting almadia_cq_pop, or else the next one, return at once with a count of 0. NULL is fine.
///
/// Blocks: no. Threads: any number at once; callbacks too.
///
/// # Safety
/// `cq` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_cq_interrupt(cq: *mut almadia_cq) {
    boundary::release(|| {
        // SAFETY: `cq` is NULL or live.
        if let Ok(cq) = unsafe { in_process(cq.cast_const(), "cq") } {
            cq.queue.interrupt();
        }
    });
}

/// Makes the queue accept no more calls: those that name it return ALMADIA_CLOSED. The completions of accepted
/// calls still arrive; once the last one was popped, almadia_cq_pop returns ALMADIA_CLOSED, to every thread. NULL
/// is fine.
///
/// Blocks: no. Threads: any number at once; callbacks too.
///
/// # Safety
/// `cq` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_cq_shutdown(cq: *mut almadia_cq) {
    boundary::release(|| {
        // SAFETY: `cq` is NULL or live.
        if let Ok(cq) = unsafe { in_process(cq.cast_const(), "cq") } {
            cq.queue.close();
        }
    });
}

/// Frees a queue and closes its descriptor. NULL is fine. Completions that were not popped, or are still to come,
/// are dropped: to lose none, shut the queue down and pop until ALMADIA_CLOSED. In a child process it does nothing.
///
/// Blocks: no. Threads: one, while no other uses it.
///
/// # Safety
/// `cq` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_cq_free(cq: *mut almadia_cq) {
    boundary::release(|| {
        // SAFETY: `cq` is NULL or live, and not used again.
        if let Some(cq) = unsafe { taken_in_process(cq) } {
            cq.queue.abandon();
        }
    });
}
