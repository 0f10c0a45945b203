//! How often this member was started.
//!
//! Owns the `run` file. What always holds: no two starts of a member have the same number, and a later one has a higher
//! number; it is durable before anyone hears of it. Others tell by it whether what a member says is of the life in which
//! it promised something (DESIGN 7).
//!
//! ```text
//! run u64        (little-endian)
//! ```

use super::record;
use crate::error::{Error, Result};
use crate::storage::open_directory::OpenDirectory;

pub(super) const RUN: &str = "run";
const MAGIC: [u8; 8] = *b"almidrun";

/// Counts one more start and returns its number, from 1.
///
/// # Errors
/// `INCOMPATIBLE_FORMAT` or `CORRUPTION`, `IO`, `NO_SPACE` or `PERMISSION`.
pub(super) fn begin(directory: &OpenDirectory) -> Result<u64> {
    let body = record::read(directory, RUN, MAGIC)?.unwrap_or_else(|| vec![0; 8]);
    let Ok(before) = <[u8; 8]>::try_from(body) else {
        let path = directory.path().join(RUN);
        return Err(Error::corruption(&path, record::HEADER_BYTES as u64, "the content makes no sense"));
    };
    let run = u64::from_le_bytes(before) + 1;
    record::write(directory, RUN, MAGIC, &run.to_le_bytes())?;
    Ok(run)
}
