//! RocksDB's threads.
//!
//! Owns how RocksDB's threads start and when they end. RocksDB starts them with `std::thread`, which throws when the
//! operating system refuses one; nobody catches that, and the host dies. Here the linker hands those calls to
//! `start_thread` (`--wrap`, see `build.rs`), which never throws. What always holds: while a database is opened, which
//! is when RocksDB starts threads, as many stand ready as it needs, and if they could not be had that is an error; its
//! options let it start no others, except after a full disk, and such a one is waited for; when the last database is
//! closed, all of them end, so that a process that has closed its stores can be forked and its child can open some.
//!
//! A Rust program that links this crate into its executable has no such linker argument, and may use RocksDB itself.
//! There its threads are left alone: they stay until the process exits, and those that stand ready are only a probe,
//! which ends before the database is opened; others may take the threads in between.

use std::cell::RefCell;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rocksdb::Env;

use super::{at_exit, errors};
use crate::error::Result;
use crate::process::fork::Unforkable;
use crate::process::thread::{self, ThreadNumber};
use crate::time::now;

/// One for compactions and one for flushes, which all databases share: see `max_background_jobs`.
const POOL_THREADS: usize = 2;
/// One that flushes RocksDB's own log every ten seconds. It starts with the first database and ends with the last.
const TIMER_THREADS: usize = 1;
/// How long to wait for a thread that has done its work to leave the process. It takes microseconds.
const LEAVE_MAX: Duration = Duration::from_secs(1);
const LEAVE_PAUSE: Duration = Duration::from_micros(50);
/// How long to wait before the operating system is asked once more for a thread that RocksDB cannot do without.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

static DATABASES: Mutex<Databases> = Mutex::new(Databases { count: 0, unforkable: None });
static THREADS: Mutex<Threads> = Mutex::new(Threads { working: 0, leaving: Vec::new() });

thread_local! {
    /// The threads for what the calling thread makes RocksDB start.
    static RESERVE: RefCell<Reserve> = const { RefCell::new(Reserve(Vec::new())) };
}

/// The databases of this process.
struct Databases {
    /// How many are open, are being opened or are being closed.
    count: usize,
    /// There while RocksDB has threads.
    unforkable: Option<Unforkable>,
}

/// The threads that were made here.
struct Threads {
    /// How many RocksDB has.
    working: usize,
    /// Those that may not have left the process yet.
    leaving: Vec<ThreadNumber>,
}

/// Keeps the threads that all databases share. It must outlive its database.
pub(super) struct SharedThreads(());

impl SharedThreads {
    /// Opens a database on this thread: runs `open` with the threads at hand that RocksDB needs for that.
    ///
    /// # Errors
    /// `IO` with the errno when the operating system refuses a thread; otherwise those of `open`.
    pub(super) fn open_with<T>(open: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        let shared = Self::begin()?;
        if at_exit::is_wrapped() {
            return lending(Reserve::new(TIMER_THREADS)?, open).map(|opened| (shared, opened));
        }
        drop(Reserve::new(POOL_THREADS + TIMER_THREADS)?);
        // The system may go on counting a thread for a moment after it was joined.
        have_left();
        open().map(|opened| (shared, opened))
    }

    /// Counts one more database. The pools start with the first, under the lock, so that no other database comes up
    /// before them.
    fn begin() -> Result<Self> {
        // Around the lock: a child would find it locked for ever.
        let unforkable = Unforkable::new();
        let mut databases = lock(&DATABASES);
        if databases.count == 0 && at_exit::is_wrapped() {
            lending(Reserve::new(POOL_THREADS)?, || resize_pools(1))?;
        }
        databases.count += 1;
        databases.unforkable = Some(unforkable);
        Ok(Self(()))
    }
}

impl Drop for SharedThreads {
    fn drop(&mut self) {
        let mut databases = lock(&DATABASES);
        databases.count -= 1;
        if databases.count > 0 || !at_exit::is_wrapped() {
            return;
        }
        if resize_pools(0).is_ok() && have_left() {
            let unforkable = databases.unforkable.take();
            drop(databases);
            drop(unforkable);
        }
    }
}

/// Gives each of the two pools so many threads. RocksDB never shrinks them by itself.
fn resize_pools(threads: i32) -> Result<()> {
    let mut env = Env::new().map_err(errors::failed)?;
    env.set_low_priority_background_threads(threads);
    env.set_high_priority_background_threads(threads);
    Ok(())
}

/// Waits until every thread that was made here has left the process; false when one has not in time.
fn have_left() -> bool {
    let until = now() + LEAVE_MAX;
    loop {
        let mut threads = lock(&THREADS);
        threads.leaving.retain(|thread| !thread.has_left());
        if threads.working == 0 && threads.leaving.is_empty() {
            return true;
        }
        drop(threads);
        if now() >= until {
            return false;
        }
        std::thread::sleep(LEAVE_PAUSE);
    }
}

/// Threads that wait for work. Those that got none end, and are joined, when this is dropped.
#[derive(Default)]
struct Reserve(Vec<Waiting>);

/// A thread that waits for work.
struct Waiting {
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

impl Reserve {
    /// Starts so many; all of them run at once.
    ///
    /// # Errors
    /// `IO` with the errno when the operating system refuses one.
    fn new(count: usize) -> Result<Self> {
        let mut reserve = Self(Vec::new());
        while reserve.0.len() < count {
            reserve.0.push(Waiting::start().map_err(|error| thread::refused(&error))?);
        }
        Ok(reserve)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let (senders, threads): (Vec<_>, Vec<_>) =
            self.0.drain(..).map(|Waiting { work, thread }| (work, thread)).unzip();
        drop(senders);
        for thread in threads {
            // It has nothing that could panic.
            drop(thread.join());
        }
    }
}

impl Waiting {
    /// Returns once it waits: the name that RocksDB gives it must come after ours.
    fn start() -> io::Result<Self> {
        let (work, received) = bounded(1);
        let (waits, is_waiting) = bounded::<()>(0);
        let thread = thread::spawn("rocksdb", move || {
            drop(waits);
            wait_and_work(&received);
        })?;
        // It ends when the thread has dropped its side.
        let _ = is_waiting.recv();
        Ok(Self { work, thread })
    }

    fn give(self, work: Work) -> JoinHandle<()> {
        lock(&THREADS).working += 1;
        self.work.send(work).expect("the thread waits for work as long as this side is there");
        self.thread
    }
}

fn wait_and_work(received: &Receiver<Work>) {
    let work = received.recv();
    let worked = work.is_ok();
    work.into_iter().for_each(Work::run);
    let mut threads = lock(&THREADS);
    threads.working -= usize::from(worked);
    threads.leaving.retain(|thread| !thread.has_left());
    threads.leaving.push(ThreadNumber::current());
}

/// Runs `body`, and gives its calls of `start_thread` the threads of `reserve`.
fn lending<T>(reserve: Reserve, body: impl FnOnce() -> T) -> T {
    /// Ends the loan, even if `body` panics.
    struct Lent;
    impl Drop for Lent {
        fn drop(&mut self) {
            drop(RESERVE.take());
        }
    }
    RESERVE.set(reserve);
    let _lent = Lent;
    body()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks protect is valid between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `work` done by a thread that waits for it or, where none does, by a new one, however long that takes.
fn begin_work(work: Work) -> JoinHandle<()> {
    let lent = RESERVE.try_with(|reserve| reserve.borrow_mut().0.pop());
    let mut waiting = lent.ok().flatten();
    loop {
        match waiting {
            Some(waiting) => return waiting.give(work),
            None => std::thread::sleep(REFUSED_PAUSE),
        }
        waiting = Waiting::start().ok();
    }
}

/// What RocksDB wants a thread to do: an object of `std::thread::_State`, of which the C++ ABI says that it begins with
/// a pointer to its virtual functions.
struct Work(*mut State);

#[repr(C)]
struct State {
    functions: *const Functions,
}

/// In the order of their declarations; a virtual destructor takes two places.
#[repr(C)]
struct Functions {
    destroy: unsafe extern "C" fn(*mut State),
    delete: unsafe extern "C" fn(*mut State),
    run: unsafe extern "C" fn(*mut State),
}

// SAFETY: RocksDB made it to be used by another thread, once.
#[allow(unsafe_code)] // Named corner: this stands in for a function of the C++ library.
unsafe impl Send for Work {}

impl Work {
    #[allow(unsafe_code)] // As above.
    fn run(self) {
        // SAFETY: `start_thread` took it over from RocksDB, and it is used once.
        unsafe {
            let functions = (*self.0).functions;
            ((*functions).run)(self.0);
            ((*functions).delete)(self.0);
        }
    }
}

#[allow(unsafe_code)] // As above.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod starting {
    use std::ffi::c_void;
    use std::os::unix::thread::JoinHandleExt as _;
    use std::ptr::null_mut;

    use super::{State, Work, begin_work};

    // In assembly, because a function that Rust exports would be visible to the whole process.
    #[cfg(target_arch = "x86_64")]
    macro_rules! jump {
        () => {
            "jmp {start_thread}"
        };
    }
    #[cfg(target_arch = "aarch64")]
    macro_rules! jump {
        () => {
            "b {start_thread}"
        };
    }
    // `std::thread::_M_start_thread(std::unique_ptr<std::thread::_State>, void (*)())`.
    macro_rules! name {
        () => {
            "__wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE"
        };
    }
    core::arch::global_asm!(
        concat!(".pushsection .text.", name!(), ", \"ax\", @progbits"),
        concat!(".globl ", name!()),
        concat!(".hidden ", name!()),
        concat!(".type ", name!(), ", @function"),
        concat!(name!(), ":"),
        jump!(),
        concat!(".size ", name!(), ", . - ", name!()),
        ".popsection",
        start_thread = sym start_thread,
    );

    /// Starts a thread: `thread` is the `std::thread` that gets its handle, and `*state` what it is to do, which is
    /// taken. The last argument only makes programs link the C library's threads.
    unsafe extern "C" fn start_thread(
        thread: *mut libc::pthread_t,
        state: *mut *mut State,
        _: *const c_void,
    ) {
        // SAFETY: the caller passes a `unique_ptr` by reference, as the C++ ABI wants, and owns both.
        let work = Work(unsafe { state.replace(null_mut()) });
        let started = begin_work(work).into_pthread_t();
        // SAFETY: the handle is all that a `std::thread` has.
        unsafe { thread.write(started) };
    }
}
