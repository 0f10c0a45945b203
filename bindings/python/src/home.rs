//! What belongs to the process it was made in.
//!
//! Owns the guard around everything that holds threads, locks or memory of the engine. What always holds: in a child
//! process the content is neither used nor dropped, because a lock it needs may have been held by a thread that does
//! not exist there.

use almadia::Result;
use almadia::fork::Home;

/// A `T` that works only in the process that made it.
pub struct AtHome<T> {
    home: Home,
    /// None only while it is dropped.
    content: Option<T>,
}

impl<T> AtHome<T> {
    pub fn new(content: T) -> Self {
        Self { home: Home::here(), content: Some(content) }
    }

    /// The content; `FORKED` in a child process.
    pub fn get(&self) -> Result<&T> {
        self.home.check()?;
        Ok(self.anywhere())
    }

    /// The content in any process. Only for what is plain memory, which a child has a copy of.
    pub fn anywhere(&self) -> &T {
        self.content.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for AtHome<T> {
    fn drop(&mut self) {
        if !self.home.is_here() {
            std::mem::forget(self.content.take());
        }
    }
}
