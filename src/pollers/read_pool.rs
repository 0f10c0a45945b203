//! The threads that read values for calls that must not block.
//!
//! Owns "almadia-read-N". The threads start with the first such call, so a store without any pays nothing. What
//! always holds: every accepted job runs, even while the store is shutting down. Limiting the number of waiting jobs
//! is left to the permits of their calls.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Code, Error, Result};
use crate::process::{panics, thread};

/// Enough to keep a disk busy, without crowding out more important threads.
const THREADS: usize = 2;

/// One read and the delivery of its result.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct ReadPool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl ReadPool {
    /// The sender for jobs. The pool cannot end before it is dropped, so it must be dropped along with the job.
    ///
    /// # Errors
    /// `CLOSED`; `IO` when the operating system refuses every thread. The next call tries again.
    pub(crate) fn jobs(&self) -> Result<Sender<Job>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(Code::Closed));
        }
        if let Some(jobs) = &state.jobs {
            return Ok(jobs.clone());
        }
        let (sender, receiver) = crossbeam_channel::unbounded();
        for number in 1..=THREADS {
            match start(number, receiver.clone()) {
                Ok(thread) => state.threads.push(thread),
                Err(error) if state.threads.is_empty() => return Err(thread::refused(&error)),
                // One is enough to answer every call.
                Err(error) => log::warn!("{}", thread::refused(&error)),
            }
        }
        state.jobs = Some(sender.clone());
        Ok(sender)
    }

    /// Ends and joins the threads after their last job. No sender may be left.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs = None;
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            // Panics of a job are caught, so the thread ends by itself.
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(number: usize, jobs: Receiver<Job>) -> io::Result<JoinHandle<()>> {
    thread::spawn(&format!("almadia-read-{number}"), move || {
        for job in jobs {
            // A job catches the panics of its read and answers with them; any others are caught here, so that the
            // remaining jobs run.
            let _ = panics::catch(|| {
                job();
                Ok(())
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_runs_even_if_one_panics_and_the_pool_is_stopped() {
        let (pool, ran) = (ReadPool::default(), Arc::<AtomicUsize>::default());

        let jobs = pool.jobs().expect("threads can be made");
        for number in 0..100 {
            let ran = Arc::clone(&ran);
            let job: Job = Box::new(move || {
                ran.fetch_add(1, Ordering::Relaxed);
                assert!(number != 50, "planted");
            });
            jobs.send(job).expect("the pool runs");
        }
        drop(jobs);
        pool.stop();

        assert_eq!(ran.load(Ordering::Relaxed), 100);
        assert_eq!(pool.jobs().err().map(|error| error.code()), Some(Code::Closed));
    }
}
