//! The old segments whose files are open.
//!
//! Owns a few open files that are only read. What always holds: however long a log is, it keeps no more than
//! [`OPEN_MAX`] of them open, the last ones that were read; so a member that holds gigabytes for another one takes none
//! of the descriptors that its host, its engine and its peers need. The head and the spares, which are written, are open
//! all the time and not among them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::files::{Files, LogFile};
use super::segment::segment_name;
use crate::error::{Error, Result};

/// Members that catch up each read one or two segments at a time.
pub(super) const OPEN_MAX: usize = 8;

/// See the module.
pub(super) struct OpenFiles {
    files: Arc<dyn Files>,
    /// By the time of the last read, the newest last.
    recent: RefCell<VecDeque<(u64, Arc<dyn LogFile>)>>,
}

impl OpenFiles {
    /// None open yet.
    pub(super) fn new(files: Arc<dyn Files>) -> Self {
        Self { files, recent: RefCell::default() }
    }

    /// The file of segment `number`, opened if it is not open.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn get(&self, number: u64) -> Result<Arc<dyn LogFile>> {
        let file = match self.take(number) {
            Some(file) => file,
            None => self.open(number)?,
        };
        let mut recent = self.recent.borrow_mut();
        recent.push_back((number, Arc::clone(&file)));
        if recent.len() > OPEN_MAX {
            recent.pop_front();
        }
        assert!(recent.len() <= OPEN_MAX, "one is closed for each that is opened");
        Ok(file)
    }

    /// The file of segment `number` if it is open; it is no longer kept.
    pub(super) fn take(&self, number: u64) -> Option<Arc<dyn LogFile>> {
        let mut recent = self.recent.borrow_mut();
        let at = recent.iter().position(|(open, _)| *open == number)?;
        recent.remove(at).map(|(_, file)| file)
    }

    fn open(&self, number: u64) -> Result<Arc<dyn LogFile>> {
        let name = segment_name(number);
        let opened = self.files.open(&name);
        opened.map(Arc::from).map_err(|error| Error::io("open", &self.files.path(&name), &error))
    }
}
