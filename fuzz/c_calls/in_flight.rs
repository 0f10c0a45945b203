//! Concurrent calls.
//!
//! Owns a burst of `_async` calls: where their answers go, which are cancelled, what obstructs them, and the checks of
//! their answers. What must hold: an accepted call is answered once, with the user data it was submitted with; a call
//! is answered as cancelled if and only if its cancellation succeeded; a read shows the data as it was between two of
//! the writes; and at the end the data are those of all writes reported as applied, of none reported as not applied,
//! and of any of the others, in the order in which they were submitted.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Condvar, Mutex};

use almadia::capi::completion::{
    almadia_completion, almadia_completion_code, almadia_completion_error, almadia_completion_free,
    almadia_completion_index, almadia_completion_op, almadia_completion_take_snapshot,
    almadia_completion_take_value, almadia_completion_take_values, almadia_completion_term,
    almadia_completion_user,
};
use almadia::capi::done::{almadia_cancel, almadia_done};
use almadia::capi::error::{almadia_error_code, almadia_error_message};
use almadia::capi::get::{almadia_get_async, almadia_get_with_async, almadia_multi_get_async};
use almadia::capi::library::almadia_code_maybe_applied;
use almadia::capi::position::almadia_position;
use almadia::capi::snapshot::almadia_snapshot;
use almadia::capi::snapshot_open::{almadia_snapshot_open_async, almadia_snapshot_options};
use almadia::capi::store::almadia_store_shutdown;
use almadia::capi::write::{
    almadia_delete_async, almadia_delete_with_async, almadia_put_async, almadia_put_with_async,
    almadia_write_async,
};
use almadia::capi::write_options::almadia_write_options;
use almadia::capi::{almadia_code, almadia_error, almadia_slice};

use super::arguments::{Bytes, Input};
use super::many::{Values, keys, slices_of};
use super::member::{Member, Model};
use super::options::Sized;
use super::queue::Queue;
use super::rules::{
    CANCELLED, CANCELLED_IN_FLIGHT, CLOSED, INVALID_ARGUMENT, NOT_FOUND, NULL_POINTER, OK, UNSUPPORTED,
    answer, expect,
};
use super::writing::Change;
use super::{Handles, SLOTS, Snapshot, Value, put};

/// Most calls of one burst.
const CALLS_MAX: usize = 6;
/// A value that is no op number.
const NO_OP: u64 = u64::MAX;

/// The answers and events received by callbacks; boxed, because the library points to it.
#[derive(Default)]
struct Arrivals {
    log: Mutex<Vec<Arrival>>,
    changed: Condvar,
    /// What `user` points to: a reference to this and the number of a call.
    places: Vec<Place>,
}

struct Place {
    arrivals: *const Arrivals,
    call: usize,
}

enum Arrival {
    Event(usize, u32, almadia_position),
    Answer(usize, Answered),
}

// SAFETY: handles taken from a completion may be used by any thread.
unsafe impl Send for Arrival {}

impl Arrivals {
    fn new() -> Box<Self> {
        let mut arrivals = Box::new(Self::default());
        let own: *const Self = &raw const *arrivals;
        arrivals.places = (0..CALLS_MAX).map(|call| Place { arrivals: own, call }).collect();
        arrivals
    }

    fn place(&self, call: usize) -> *mut c_void {
        (&raw const self.places[call]).cast_mut().cast()
    }

    fn push(&self, arrival: Arrival) {
        self.log.lock().expect("nothing panics while it is held").push(arrival);
        self.changed.notify_all();
    }

    /// Waits until this many calls are answered.
    fn wait(&self, count: usize) {
        let answers =
            |log: &Vec<Arrival>| log.iter().filter(|arrival| matches!(arrival, Arrival::Answer(..))).count();
        let log = self.log.lock().expect("nothing panics while it is held");
        drop(
            self.changed
                .wait_while(log, |log| answers(log) < count)
                .expect("nothing panics while it is held"),
        );
    }
}

/// The contents of a completion.
struct Answered {
    code: almadia_code,
    index: u64,
    term: u64,
    op: u64,
    /// The code of its error; none without one.
    error: Option<(almadia_code, bool)>,
    snapshot: *mut almadia_snapshot,
    value: *mut almadia::capi::value::almadia_value,
    values: *mut almadia::capi::value::almadia_values,
    took_twice: bool,
}

/// Takes everything out of a completion.
///
/// # Safety
/// It is live.
unsafe fn take(completion: *mut almadia_completion) -> (*mut c_void, Answered) {
    // SAFETY: passed on to the caller.
    unsafe {
        let error = almadia_completion_error(completion);
        let answered = Answered {
            code: almadia_completion_code(completion),
            index: almadia_completion_index(completion),
            term: almadia_completion_term(completion),
            op: almadia_completion_op(completion),
            error: (!error.is_null())
                .then(|| (almadia_error_code(error), *almadia_error_message(error) != 0)),
            snapshot: almadia_completion_take_snapshot(completion),
            value: almadia_completion_take_value(completion),
            values: almadia_completion_take_values(completion),
            took_twice: !almadia_completion_take_snapshot(completion).is_null()
                || !almadia_completion_take_value(completion).is_null()
                || !almadia_completion_take_values(completion).is_null(),
        };
        (almadia_completion_user(completion), answered)
    }
}

unsafe extern "C" fn arrive(user: *mut c_void, completion: *mut almadia_completion) {
    // SAFETY: `user` is a place of `Arrivals` that waits for this call; the completion is live until this returns.
    unsafe {
        let place = &*user.cast::<Place>();
        let (found_user, answered) = take(completion);
        // A panic must not leave a callback: a failed check is reported as an answer to no call.
        let call = if found_user == user { place.call } else { usize::MAX };
        (*place.arrivals).push(Arrival::Answer(call, answered));
    }
}

unsafe extern "C" fn on_event(user: *mut c_void, event: u32, position: almadia_position) {
    // SAFETY: as above.
    unsafe {
        let place = &*user.cast::<Place>();
        (*place.arrivals).push(Arrival::Event(place.call, event, position));
    }
}

/// The kinds of calls.
enum Request {
    Write(Vec<Change>),
    Get(Bytes),
    /// A get that returns a position.
    GetWith(Bytes),
    Many(Vec<Bytes>),
    Snapshot,
}

/// An accepted call.
struct Call {
    request: Request,
    /// 0 when its number was not requested.
    op: u64,
    events: u32,
    is_cancelled: bool,
}

/// A burst of calls.
struct Burst<'a> {
    store: *mut almadia::capi::store::almadia_store,
    queue: Option<&'a mut Queue>,
    arrivals: Box<Arrivals>,
    calls: Vec<Call>,
}

impl Member {
    /// Makes several calls at once, through the queue if there is one; the sequence continues when all are answered.
    pub fn burst(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let mut queue = if input.yes() { handles.queue.take() } else { None };
        let mut burst =
            Burst { store: self.store, queue: queue.as_mut(), arrivals: Arrivals::new(), calls: Vec::new() };
        for _ in 0..1 + input.slot(CALLS_MAX) {
            burst.submit(input, handles);
            if input.number() >= 0xa0 {
                burst.cancel(input);
            }
        }
        let ending = input.number();
        if ending % 8 == 7
            && let Some(queue) = &mut burst.queue
        {
            if input.yes() { queue.shut_down() } else { queue.interrupt() }
        }
        // Calls in flight when the store is shut down are answered too.
        let is_closed = ending >= 0xf0;
        if is_closed {
            let store = self.store;
            // SAFETY: the store is live.
            expect(OK, input, |error| unsafe { almadia_store_shutdown(store, 0, error) });
        }
        let Burst { arrivals, calls, .. } = burst.await_all(input);
        if is_closed {
            handles.release_directory();
        }
        let mut log = std::mem::take(&mut *arrivals.log.lock().expect("nothing panics while it is held"));
        if is_closed {
            // Snapshots keep the directory locked: these are not checked.
            log.iter_mut().for_each(Arrival::drop_snapshot);
            self.free_and_start();
        }
        let shown = self.check(&calls, log, is_closed);
        for (handle, shows) in shown {
            let shown = Snapshot { handle, shows, range: Default::default() };
            put(&mut handles.snapshots[input.slot(SLOTS)], Some(shown));
        }
        match queue {
            Some(queue) if queue.is_shut && input.yes() => put(&mut Some(queue), None),
            Some(queue) => put(&mut handles.queue, Some(queue)),
            None => {}
        }
    }

    /// Checks the answers and the data, and updates the model. Returns the snapshots and their expected contents.
    fn check(
        &mut self,
        calls: &[Call],
        log: Vec<Arrival>,
        was_closed: bool,
    ) -> Vec<(*mut almadia_snapshot, Model)> {
        let mut answers: Vec<Option<Answered>> = calls.iter().map(|_| None).collect();
        let mut events = vec![Vec::new(); calls.len()];
        let mut last_index = 0;
        for arrival in log {
            match arrival {
                Arrival::Event(call, event, position) => {
                    assert!(answers[call].is_none(), "no event follows the answer");
                    events[call].push((event, position.index));
                }
                Arrival::Answer(call, answered) => {
                    // Without operations a write is a read, which may overtake.
                    let writes =
                        matches!(&calls[call].request, Request::Write(changes) if !changes.is_empty());
                    if writes && answered.code == OK {
                        assert!(answered.index >= last_index, "one thread's writes complete in their order");
                        last_index = answered.index;
                    }
                    assert!(answers[call].replace(answered).is_none(), "one answer per call");
                }
            }
        }
        let answers: Vec<_> =
            answers.into_iter().map(|answered| answered.expect("each is answered")).collect();
        for ((call, answered), events) in calls.iter().zip(&answers).zip(&events) {
            call.check(answered, events, was_closed);
        }
        let states = states(&self.model, calls, &answers);
        self.wait_for_all_before();
        let now = self.contents();
        let last = states.last().expect("there is the state before");
        assert!(last.contains(&now), "{now:?} is none of {last:?}");
        let any: BTreeSet<&Model> = states.iter().flatten().collect();
        let mut snapshots = Vec::new();
        for (call, answered) in calls.iter().zip(&answers) {
            snapshots.extend(call.check_read(answered, &any));
        }
        self.model = now;
        snapshots
    }
}

/// The possible data after each number of writes, given their outcomes.
fn states(before: &Model, calls: &[Call], answers: &[Answered]) -> Vec<BTreeSet<Model>> {
    let mut states = vec![BTreeSet::from([before.clone()])];
    for (call, answered) in calls.iter().zip(answers) {
        let Request::Write(changes) = &call.request else { continue };
        let all = states.last().expect("there is one");
        let changed = all.iter().cloned().map(|mut model| {
            changes.iter().cloned().for_each(|change| change.apply(&mut model));
            model
        });
        let next = match answered.code {
            OK => changed.collect(),
            code if almadia_code_maybe_applied(code) => changed.chain(all.iter().cloned()).collect(),
            _ => all.clone(),
        };
        states.push(next);
    }
    states
}

impl Arrival {
    fn drop_snapshot(&mut self) {
        let Self::Answer(_, answered) = self else { return };
        // SAFETY: what was taken from a completion is freed once.
        unsafe {
            almadia::capi::snapshot::almadia_snapshot_free(std::mem::replace(
                &mut answered.snapshot,
                null_mut(),
            ));
            almadia::capi::value::almadia_value_free(std::mem::replace(&mut answered.value, null_mut()));
            almadia::capi::value::almadia_values_free(std::mem::replace(&mut answered.values, null_mut()));
        }
    }
}

impl Call {
    fn check(&self, answered: &Answered, events: &[(u32, u64)], was_closed: bool) {
        let code = answered.code;
        let is_write = matches!(self.request, Request::Write(_));
        assert_eq!(answered.op, self.op, "the completion has the number of its call");
        let is_failure = ![OK, NOT_FOUND].contains(&code);
        assert_eq!(answered.error, is_failure.then_some((code, true)), "an error comes with a failure");
        assert!(!answered.took_twice, "what was taken is gone");
        assert_eq!(self.is_cancelled, [CANCELLED, CANCELLED_IN_FLIGHT].contains(&code), "answered {code}");
        assert!(is_write || code != CANCELLED_IN_FLIGHT, "nothing of a read is left");
        let is_possible = match self.request {
            _ if was_closed => true,
            Request::Get(_) | Request::GetWith(_) => code == OK || code == NOT_FOUND,
            _ => code == OK,
        };
        assert!(is_possible || self.is_cancelled, "answered {code}");
        let has_position = match self.request {
            Request::Write(_) | Request::Snapshot => code == OK,
            Request::GetWith(_) => code == OK || code == NOT_FOUND,
            Request::Get(_) | Request::Many(_) => false,
        };
        assert_eq!((answered.index > 0, answered.term > 0), (has_position, has_position));
        if !was_closed {
            let found = [!answered.snapshot.is_null(), !answered.value.is_null(), !answered.values.is_null()];
            let wanted = match self.request {
                _ if code != OK => [false; 3],
                Request::Write(_) => [false; 3],
                Request::Get(_) | Request::GetWith(_) => [false, true, false],
                Request::Many(_) => [false, false, true],
                Request::Snapshot => [true, false, false],
            };
            assert_eq!(found, wanted, "a success comes with the requested result");
        }
        let kinds: Vec<u32> = events.iter().map(|(event, _)| *event).collect();
        assert!(
            kinds.is_sorted_by(|before, after| before < after),
            "each event comes once, in order: {kinds:?}"
        );
        assert!(kinds.iter().all(|event| event & self.events != 0), "only requested events are reported");
        let at_index = |(_, index): &(u32, u64)| *index == answered.index;
        assert!(code != OK || events.iter().all(at_index), "events have the position of the write");
    }

    /// Compares what was read with the possible data; frees everything except a snapshot.
    fn check_read(
        &self,
        answered: &Answered,
        any: &BTreeSet<&Model>,
    ) -> Option<(*mut almadia_snapshot, Model)> {
        match &self.request {
            Request::Write(_) => {}
            Request::Get(key) | Request::GetWith(key) => {
                let bytes = |model: &&&Model| model.get(&key.bytes).cloned();
                if !answered.value.is_null() {
                    let seen =
                        |bytes: &Vec<u8>| Value { handle: answered.value, bytes: bytes.clone() }.is_same();
                    let mut possible = any.iter().filter_map(|model| bytes(&model));
                    assert!(possible.any(|bytes| seen(&bytes)), "the value is none that the key had");
                    // SAFETY: it was taken from its completion and is freed once.
                    unsafe { almadia::capi::value::almadia_value_free(answered.value) };
                } else if answered.code == NOT_FOUND {
                    assert!(
                        any.iter().any(|model| bytes(&model).is_none()),
                        "the key was there all the time"
                    );
                }
            }
            Request::Many(keys) => {
                if !answered.values.is_null() {
                    let shown = Values { handle: answered.values, shows: Vec::new() }.returned();
                    let mut possible = any.iter().map(|model| Values::of(answered.values, keys, model).shows);
                    assert!(possible.any(|shows| shows == shown), "{shown:?} are not from one state");
                    // SAFETY: as above.
                    unsafe { almadia::capi::value::almadia_values_free(answered.values) };
                }
            }
            Request::Snapshot => {
                if !answered.snapshot.is_null() {
                    let shows = super::iterating::contents(answered.snapshot);
                    assert!(any.contains(&shows), "{shows:?} never were the data");
                    return Some((answered.snapshot, shows));
                }
            }
        }
        None
    }
}

/// The result of submitting one call.
struct Submitted {
    code: almadia_code,
    /// The expected code.
    wanted: almadia_code,
    request: Request,
    /// The requested events.
    events: u32,
}

impl<'a> Burst<'a> {
    /// Submits one call, which may be refused.
    fn submit(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let mut op = NO_OP;
        let wants_op = input.number() < 0xe0;
        let (done, wanted) = self.draw_done(input, if wants_op { &raw mut op } else { null_mut() });
        let Some(submitted) = self.submit_some_kind(input, handles, done.pointer(), wanted) else { return };
        assert_eq!(submitted.code, submitted.wanted, "the receiver of a call is checked before the call");
        if submitted.code != OK {
            assert_eq!(op, NO_OP, "outputs are written on success");
            return;
        }
        assert_eq!(op != NO_OP, wants_op, "the number is returned if it is requested");
        let op = if wants_op { op } else { 0 };
        let is_new = self.calls.iter().all(|call| call.op != op || op == 0);
        assert!(is_new, "no number is reused");
        let Submitted { request, events, .. } = submitted;
        self.calls.push(Call { request, op, events, is_cancelled: false });
    }

    /// The receiver of the next call's answer, valid or not, and the code that it must cause.
    fn draw_done(&self, input: &mut Input<'_>, op: *mut u64) -> (Sized<almadia_done>, almadia_code) {
        let mut done = Sized::<almadia_done>::new();
        done.options.user = self.arrivals.place(self.calls.len());
        done.options.op = op;
        match &self.queue {
            Some(queue) => done.options.cq = queue.handle,
            None => done.options.callback = Some(arrive),
        }
        let combination = match input.number() {
            0xff => {
                (done.options.cq, done.options.callback) = (null_mut(), None);
                NULL_POINTER
            }
            0xfe if self.queue.is_some() => {
                done.options.callback = Some(arrive);
                INVALID_ARGUMENT
            }
            _ => OK,
        };
        let wanted = match done.vary(input) {
            (_, false) => NULL_POINTER,
            (OK, _) if combination == OK && self.queue.as_ref().is_some_and(|queue| queue.is_shut) => CLOSED,
            (OK, _) => combination,
            (code, _) => code,
        };
        (done, wanted)
    }

    /// Submits a call of some kind; none when there is no batch for it.
    fn submit_some_kind(
        &self,
        input: &mut Input<'_>,
        handles: &mut Handles,
        done: *const almadia_done,
        wanted: almadia_code,
    ) -> Option<Submitted> {
        let store = self.store;
        // SAFETY, for all: the store is live, bytes have their lengths, structs their sizes, and what `done` names
        // outlives the answers, for which `await_all` waits.
        let (code, request) = match input.number() % 8 {
            0 => {
                let (key, value) = (input.good_key(), input.good_key());
                let code = answer(input, |error| unsafe {
                    almadia_put_async(store, key.data, key.length, value.data, value.length, done, error)
                });
                (code, Request::Write(vec![Change::Put(key.bytes, value.bytes)]))
            }
            2 => {
                let key = input.good_key();
                let code = answer(input, |error| unsafe {
                    almadia_delete_async(store, key.data, key.length, done, error)
                });
                (code, Request::Write(vec![Change::Delete(key.bytes)]))
            }
            1 => return Some(self.write_one_with_events(input, done, wanted)),
            3 => return self.write(input, handles, done, wanted),
            5 => {
                let (key, mut options) = (input.good_key(), Sized::<almadia_snapshot_options>::new());
                options.options.level = i32::from(input.yes());
                let code = answer(input, |error| unsafe {
                    almadia_get_with_async(store, key.data, key.length, options.pointer(), done, error)
                });
                (code, Request::GetWith(key))
            }
            4 => {
                let key = input.good_key();
                let code = answer(input, |error| unsafe {
                    almadia_get_async(store, key.data, key.length, done, error)
                });
                (code, Request::Get(key))
            }
            6 => {
                let keys = keys(input, true);
                let slices: Vec<almadia_slice> = slices_of(&keys);
                let code = answer(input, |error| unsafe {
                    almadia_multi_get_async(store, slices.as_ptr(), slices.len(), null(), done, error)
                });
                (code, Request::Many(keys))
            }
            _ => {
                let code =
                    answer(input, |error| unsafe { almadia_snapshot_open_async(store, null(), done, error) });
                (code, Request::Snapshot)
            }
        };
        Some(Submitted { code, wanted, request, events: 0 })
    }

    /// Sets or removes one key, and requests the events of that.
    fn write_one_with_events(
        &self,
        input: &mut Input<'_>,
        done: *const almadia_done,
        wanted: almadia_code,
    ) -> Submitted {
        let mut options = Sized::<almadia_write_options>::new();
        let events = u32::from(input.number() % 4);
        options.options.events = events;
        options.options.event_user = self.arrivals.place(self.calls.len());
        options.options.on_event = Some(on_event);
        let (store, key, value) = (self.store, input.good_key(), input.good_key());
        let (key_data, key_length, options) = (key.data, key.length, options.pointer());
        let change =
            if input.yes() { Change::Put(key.bytes, value.bytes.clone()) } else { Change::Delete(key.bytes) };
        // SAFETY: as for `ask`; the callback is good until the write is completed.
        let code = answer(input, |error| unsafe {
            match &change {
                Change::Put(..) => {
                    let (data, length) = (value.data, value.length);
                    almadia_put_with_async(store, key_data, key_length, data, length, options, done, error)
                }
                _ => almadia_delete_with_async(store, key_data, key_length, options, done, error),
            }
        });
        Submitted { code, wanted, request: Request::Write(vec![change]), events }
    }

    /// Writes a batch, if there is one, and requests its events.
    fn write(
        &self,
        input: &mut Input<'_>,
        handles: &mut Handles,
        done: *const almadia_done,
        wanted: almadia_code,
    ) -> Option<Submitted> {
        let mut options = Sized::<almadia_write_options>::new();
        let events = u32::from(input.number() % 5);
        options.options.events = events;
        options.options.event_user = self.arrivals.place(self.calls.len());
        let is_missing = input.number() == 0xff;
        options.options.on_event = if is_missing { None } else { Some(on_event) };
        let batch = handles.batches[input.slot(SLOTS)].as_mut()?;
        // SAFETY: as for `submit_some_kind`; the batch is live, and the callback is good until the write is completed.
        let code = answer(input, |error| unsafe {
            almadia_write_async(self.store, batch.handle, (&raw const options).cast(), done, error)
        });
        let refused = match events {
            4 => UNSUPPORTED,
            1.. if is_missing => NULL_POINTER,
            _ => OK,
        };
        let changes = if code == OK { std::mem::take(&mut batch.changes) } else { Vec::new() };
        batch.check_count();
        // Of two errors either may be reported.
        let is_wanted = refused != OK && code == refused;
        let wanted = if is_wanted || (wanted == OK && refused != OK) { refused } else { wanted };
        Some(Submitted { code, wanted, request: Request::Write(changes), events })
    }

    /// Cancels one of the calls, or one that does not exist.
    fn cancel(&mut self, input: &mut Input<'_>) {
        let (store, count) = (self.store, self.calls.len());
        // So that work on some of them has begun. Nothing reports that work has begun without an answer.
        (0..4 * u32::from(input.number())).for_each(|_| std::thread::yield_now());
        let call = self.calls.get_mut(input.slot(count + 1)).filter(|call| call.op != 0);
        let op = call.as_ref().map_or([0, 1, NO_OP][input.slot(3)], |call| call.op);
        // SAFETY: the store is live or NULL.
        let code = answer(input, |error| unsafe { almadia_cancel(store, op, error) });
        match (call, code) {
            (Some(call), OK) => {
                assert!(!call.is_cancelled, "it has an answer");
                call.is_cancelled = true;
            }
            // The first call of a store may be one of this burst.
            (None, OK) => assert!(op == 1, "there is no such call"),
            (_, NOT_FOUND) => {}
            (_, other) => panic!("answered {other}"),
        }
        if code == OK {
            expect(NOT_FOUND, input, |error| unsafe { almadia_cancel(store, op, error) });
            self.calls.iter_mut().filter(|call| call.op == op).for_each(|call| call.is_cancelled = true);
        }
        expect(NULL_POINTER, input, |error| unsafe { almadia_cancel(null_mut(), op, error) });
    }

    /// Waits for all answers, and cancels each again, which must have no effect.
    fn await_all(mut self, input: &mut Input<'_>) -> Self {
        match &mut self.queue {
            None => self.arrivals.wait(self.calls.len()),
            Some(queue) => {
                let mut left = self.calls.len();
                let with_events = self.calls.iter().any(|call| call.events != 0);
                while left > 0 {
                    for completion in queue.pop(input, with_events) {
                        left = left.checked_sub(1).expect("one completion per call");
                        // SAFETY: it was popped, and is freed once.
                        let (user, answered) = unsafe { take(completion) };
                        let place =
                            self.arrivals.places.iter().find(|place| std::ptr::eq(*place, user.cast()));
                        let call = place.expect("the completion has the user of its call").call;
                        self.arrivals.push(Arrival::Answer(call, answered));
                        // SAFETY: as above.
                        unsafe { almadia_completion_free(completion) };
                    }
                }
                queue.check_idle(input);
            }
        }
        for call in self.calls.iter().filter(|call| call.op != 0) {
            let store = self.store;
            // SAFETY: the store is live.
            expect(NOT_FOUND, input, |error| unsafe { almadia_cancel(store, call.op, error) });
        }
        self
    }
}

/// Checks the accessors of a completion and its error with NULL.
pub fn check_null_completion() {
    // SAFETY: NULL is fine for all.
    unsafe {
        let nothing: *mut almadia_completion = null_mut();
        assert_eq!(almadia_completion_code(nothing), NULL_POINTER);
        assert_eq!((almadia_completion_index(nothing), almadia_completion_term(nothing)), (0, 0));
        assert_eq!(almadia_completion_op(nothing), 0);
        assert!(almadia_completion_user(nothing).is_null() && almadia_completion_error(nothing).is_null());
        assert!(almadia_completion_take_snapshot(nothing).is_null());
        assert!(almadia_completion_take_value(nothing).is_null());
        assert!(almadia_completion_take_values(nothing).is_null());
        almadia_completion_free(nothing);
        assert_eq!(almadia_error_code(null::<almadia_error>()), OK);
    }
}
