//! Completion queues.
//!
//! Owns a queue and the header's guarantees about it alone: the arguments of a pop, when its descriptor is readable,
//! the effects of an interruption and a shutdown. What is popped is left to `in_flight`.

use std::ptr::{NonNull, null_mut};

use almadia::capi::almadia_code;
use almadia::capi::completion::almadia_completion;
use almadia::capi::cq::{
    almadia_cq, almadia_cq_fd, almadia_cq_free, almadia_cq_interrupt, almadia_cq_new, almadia_cq_pop,
    almadia_cq_shutdown,
};

use super::arguments::Input;
use super::rules::{CLOSED, INVALID_ARGUMENT, NULL_POINTER, OK, answer, expect};
use super::{Free, Handles, put};

/// Long enough for any completion on a busy machine.
const TIMEOUT_MS: i32 = 60_000;
/// The capacity of one pop.
const CAPACITY_MAX: usize = 4;

/// A queue without calls in flight.
pub struct Queue {
    pub handle: *mut almadia_cq,
    pub is_shut: bool,
    /// Whether an interruption is pending.
    pub is_interrupted: bool,
}

impl Free for Queue {
    fn free(&mut self) {
        // SAFETY: the handle is live and not used again.
        unsafe { almadia_cq_free(self.handle) }
    }
}

impl Queue {
    /// A new queue.
    pub fn open(input: &mut Input<'_>) -> Self {
        let mut handle = null_mut();
        // SAFETY: the output is writable; NULL is refused.
        unsafe {
            expect(OK, input, |error| almadia_cq_new(&raw mut handle, error));
            expect(NULL_POINTER, input, |error| almadia_cq_new(null_mut(), error));
        }
        assert!(!handle.is_null());
        let queue = Self { handle, is_shut: false, is_interrupted: false };
        assert!(!queue.is_readable(0), "a new queue is empty");
        queue
    }

    pub fn interrupt(&mut self) {
        // SAFETY: the queue is live.
        unsafe { almadia_cq_interrupt(self.handle) };
        self.is_interrupted = true;
        assert!(self.is_readable(0), "an interruption is pending");
    }

    pub fn shut_down(&mut self) {
        // SAFETY: the queue is live.
        unsafe { almadia_cq_shutdown(self.handle) };
        self.is_shut = true;
        assert!(self.is_readable(0), "it is shut down");
    }

    fn is_readable(&self, timeout_ms: i32) -> bool {
        // SAFETY: the queue is live.
        let fd = unsafe { almadia_cq_fd(self.handle) };
        assert!(fd >= 0, "a queue has a descriptor");
        let mut watched = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor is watched.
        let ready = unsafe { libc::poll(&raw mut watched, 1, timeout_ms) };
        assert!(ready >= 0, "poll works");
        ready == 1
    }

    /// Pops what is queued; waits for the first on the descriptor or in the pop. At least one call is in flight.
    /// `with_events`: one of them requested events, which also make the descriptor readable and are delivered by a pop
    /// that may return no completion.
    pub fn pop(&mut self, input: &mut Input<'_>, with_events: bool) -> Vec<*mut almadia_completion> {
        let (capacity, by_descriptor) = (1 + input.slot(CAPACITY_MAX), input.yes());
        if by_descriptor {
            assert!(self.is_readable(TIMEOUT_MS), "a completion is announced");
        }
        let timeout_ms = if by_descriptor { 0 } else { i64::from(TIMEOUT_MS) };
        let (code, popped) = self.pop_with(input, capacity, timeout_ms);
        assert_eq!(code, OK, "a queue ends with the last call that it accepted");
        let interrupted = std::mem::take(&mut self.is_interrupted);
        // A queue that is shut down stays readable.
        let nothing_may_come = interrupted || (by_descriptor && (self.is_shut || with_events));
        assert!(!popped.is_empty() || nothing_may_come, "what was announced is there");
        assert!(popped.is_empty() || !interrupted, "an interruption comes before everything queued");
        popped
    }

    fn pop_with(
        &self,
        input: &mut Input<'_>,
        capacity: usize,
        timeout_ms: i64,
    ) -> (almadia_code, Vec<*mut almadia_completion>) {
        let mut completions = [NonNull::dangling().as_ptr(); CAPACITY_MAX + 1];
        let (untouched, mut count) = (completions[CAPACITY_MAX], 99);
        // SAFETY: the queue is live, there is room for `capacity` completions, outputs are writable.
        let pop = |error| unsafe {
            almadia_cq_pop(self.handle, completions.as_mut_ptr(), capacity, &raw mut count, timeout_ms, error)
        };
        let code = answer(input, pop);
        if code != OK {
            assert_eq!(count, 99, "outputs are written on success");
            return (code, Vec::new());
        }
        assert!(count <= capacity && completions[count..].iter().all(|other| *other == untouched));
        (code, completions[..count].to_vec())
    }

    /// What a queue returns while no call is in flight.
    pub fn check_idle(&mut self, input: &mut Input<'_>) {
        if input.yes() {
            self.interrupt();
        }
        if input.number() >= 0xf8 {
            self.shut_down();
        }
        assert_eq!(
            self.is_readable(0),
            self.is_interrupted || self.is_shut,
            "readable when there is a reason"
        );
        // Either there is a reason to return, or the pop does not wait.
        let returns = self.is_interrupted || self.is_shut;
        let timeout_ms = if returns { -1 } else { i64::from(input.number() % 2) };
        let (code, popped) = self.pop_with(input, 1 + extra_capacity(timeout_ms), timeout_ms);
        assert!(popped.is_empty());
        match code {
            OK => assert!(self.is_interrupted || !self.is_shut, "a queue that was shut down is at its end"),
            CLOSED => assert!(self.is_shut, "it is open"),
            other => panic!("answered {other}"),
        }
        self.is_interrupted = false;
        let wrong = [(0, 0, INVALID_ARGUMENT), (1, -2, INVALID_ARGUMENT), (1, i64::MIN, INVALID_ARGUMENT)];
        for (capacity, timeout_ms, wanted) in wrong {
            assert_eq!(self.pop_with(input, capacity, timeout_ms).0, wanted);
        }
        let (mut count, mut room) = (0, null_mut());
        // SAFETY: the queue is live or NULL; outputs are writable or NULL.
        unsafe {
            let handle = self.handle;
            expect(NULL_POINTER, input, |error| {
                almadia_cq_pop(handle, null_mut(), 1, &raw mut count, 0, error)
            });
            expect(NULL_POINTER, input, |error| {
                almadia_cq_pop(handle, &raw mut room, 1, null_mut(), 0, error)
            });
            expect(NULL_POINTER, input, |error| {
                almadia_cq_pop(null_mut(), &raw mut room, 1, &raw mut count, 0, error)
            });
            almadia_cq_interrupt(null_mut());
            almadia_cq_shutdown(null_mut());
            almadia_cq_free(null_mut());
            assert_eq!(almadia_cq_fd(null_mut()), -1);
        }
    }
}

fn extra_capacity(timeout_ms: i64) -> usize {
    usize::from(timeout_ms == 0)
}

impl Handles {
    pub fn use_queue(&mut self, input: &mut Input<'_>) {
        match &mut self.queue {
            None => self.queue = Some(Queue::open(input)),
            Some(_) if input.number() >= 0xf0 => put(&mut self.queue, None),
            Some(queue) => queue.check_idle(input),
        }
    }
}
