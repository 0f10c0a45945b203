//! A store opened and called through the C functions.
//!
//! Owns its handle, and all unsafe code of the harness. What always holds: the handle is freed once, after every thread
//! that uses it has ended.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use almadia::capi::batch::{almadia_batch_free, almadia_batch_new, almadia_batch_put};
use almadia::capi::config::{almadia_config_free, almadia_config_new};
use almadia::capi::get::almadia_get;
use almadia::capi::library::ALMADIA_ABI_VERSION;
use almadia::capi::snapshot::almadia_snapshot_free;
use almadia::capi::snapshot_open::almadia_snapshot_open;
use almadia::capi::store::{
    almadia_store, almadia_store_free, almadia_store_open, almadia_store_wait_leader,
};
use almadia::capi::value::{almadia_value_data, almadia_value_free, almadia_value_size};
use almadia::capi::write::almadia_write;
use almadia::capi::{ALMADIA_OK, almadia_code};
use tempfile::TempDir;

use crate::data::{FILLED_KEYS, Key, VALUE_BYTES, check, directory, scattered, value};

const TIMEOUT_MS: u64 = 30_000;
const FILL_BATCH: u64 = 500;

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
    /// Opens a store in its own directory and waits until it leads.
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
            succeed(almadia_store_wait_leader(store, TIMEOUT_MS, ptr::null_mut(), ptr::null_mut()));
        }
        Self { store, _directory: directory }
    }

    /// Takes a snapshot and frees it.
    ///
    /// # Errors
    /// The code, when the call fails.
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

impl CStore {
    /// Writes the keys that the read rows read.
    pub fn fill(&self) {
        for first in (0..FILLED_KEYS).step_by(FILL_BATCH as usize) {
            let mut batch = ptr::null_mut();
            // SAFETY: keys and values outlive the calls and have their lengths, the batch is freed once.
            unsafe {
                succeed(almadia_batch_new(&raw mut batch, ptr::null_mut()));
                for key in (first..first + FILL_BATCH).map(scattered) {
                    let (bytes, length) = (key.as_ptr().cast(), key.len());
                    let data = value(&key).as_ptr().cast();
                    succeed(almadia_batch_put(batch, bytes, length, data, VALUE_BYTES, ptr::null_mut()));
                }
                let written = almadia_write(self.store, batch, ptr::null(), ptr::null_mut(), ptr::null_mut());
                almadia_batch_free(batch);
                succeed(written);
            }
        }
    }

    /// Reads a key and checks its value.
    ///
    /// # Errors
    /// The code, if it fails.
    pub fn get(&self, key: &Key) -> Result<(), String> {
        let mut found = ptr::null_mut();
        // SAFETY: the key outlives the call, the output is a local variable, the value is read before it is freed once.
        unsafe {
            let key_bytes = key.as_ptr().cast();
            let code = almadia_get(self.store, key_bytes, key.len(), &raw mut found, ptr::null_mut());
            if code != ALMADIA_OK {
                return Err(format!("code {code}"));
            }
            let data = almadia_value_data(found).cast::<u8>();
            check(key, Some(std::slice::from_raw_parts(data, almadia_value_size(found))));
            almadia_value_free(found);
        }
        Ok(())
    }
}

impl Drop for CStore {
    fn drop(&mut self) {
        // SAFETY: nobody else uses the handle any more.
        unsafe { almadia_store_free(self.store) };
    }
}

fn succeed(code: almadia_code) {
    assert_eq!(code, ALMADIA_OK, "a new store on a healthy machine");
}
