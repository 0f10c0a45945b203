//! A store as C sees it.
//!
//! Owns the handle that some rows need, and all unsafe code of the harness. What always holds: the handle is freed once,
//! after every thread that uses it has ended.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use almadia::capi::config::{almadia_config_free, almadia_config_new};
use almadia::capi::library::{ALMADIA_ABI_VERSION, ALMADIA_OK, almadia_code};
use almadia::capi::snapshot::{almadia_snapshot_free, almadia_snapshot_open};
use almadia::capi::store::{
    almadia_store, almadia_store_free, almadia_store_open, almadia_store_wait_leader,
};
use tempfile::TempDir;

use crate::data::directory;

const PATIENCE_MS: u64 = 30_000;

/// A cluster of one member, opened through the C functions.
pub struct CStore {
    store: *mut almadia_store,
    _directory: TempDir,
}

// SAFETY: the header allows any number of threads to use a store at once.
unsafe impl Send for CStore {}
// SAFETY: as above.
unsafe impl Sync for CStore {}

impl CStore {
    /// Opens one in a directory of its own and waits until it leads.
    pub fn open() -> Self {
        let directory = directory();
        let path = directory.path().join("store");
        let path = CString::new(path.as_os_str().as_bytes()).expect("no name has a NUL");
        let (mut config, mut store) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the path is a C string, the outputs are local variables, the handles came from these functions.
        unsafe {
            succeed(almadia_config_new(ALMADIA_ABI_VERSION, &raw mut config, ptr::null_mut()));
            succeed(almadia_store_open(path.as_ptr(), config, &raw mut store, ptr::null_mut()));
            almadia_config_free(config);
            succeed(almadia_store_wait_leader(store, PATIENCE_MS, ptr::null_mut(), ptr::null_mut()));
        }
        Self { store, _directory: directory }
    }

    /// Takes a snapshot and frees it.
    ///
    /// # Errors
    /// The code, when there is none.
    pub fn snapshot(&self) -> Result<(), String> {
        let mut snapshot = ptr::null_mut();
        // SAFETY: the store lives as long as `self`, the output is a local variable, the snapshot is freed once.
        unsafe {
            let code = almadia_snapshot_open(self.store, ptr::null(), &raw mut snapshot, ptr::null_mut());
            almadia_snapshot_free(snapshot);
            if code == ALMADIA_OK { Ok(()) } else { Err(format!("code {code}")) }
        }
    }
}

impl Drop for CStore {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle any more.
        unsafe { almadia_store_free(self.store) };
    }
}

fn succeed(code: almadia_code) {
    assert_eq!(code, ALMADIA_OK, "a new store on a healthy machine");
}
