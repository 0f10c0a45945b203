//! Handles that work only in the process that created them.
//!
//! Owns the guard around everything that holds threads, locks or memory of the engine. What always holds: a child
//! process neither uses nor drops the content, because a lock it needs may have been held by a thread that does not
//! exist in the child.

use almadia::Result;
use almadia::internal::ProcessId;

/// A `T` that works only in the process that created it.
pub struct ForkGuarded<T> {
    process: ProcessId,
    /// None only while it is being dropped.
    content: Option<T>,
}

impl<T> ForkGuarded<T> {
    pub fn new(content: T) -> Self {
        Self { process: ProcessId::current(), content: Some(content) }
    }

    /// The content; fails with `FORKED` in a child process.
    pub fn get(&self) -> Result<&T> {
        self.process.check()?;
        Ok(self.get_in_any_process())
    }

    /// The content, in a child process too. Only for plain memory, of which the child has a copy.
    pub fn get_in_any_process(&self) -> &T {
        self.content.as_ref().expect("present until it is dropped")
    }
}

impl<T> Drop for ForkGuarded<T> {
    fn drop(&mut self) {
        if !self.process.is_current() {
            std::mem::forget(self.content.take());
        }
    }
}
