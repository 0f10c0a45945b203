//! The boot count of this member.
//!
//! Owns the `run` file. What always holds: no two boots of a member have the same count, and a later one has a higher
//! count; it is durable before it is used. Other members use it to tell whether a message comes from the same boot of a
//! member as an earlier promise, which that member may have lost with the end of its log.
//!
//! ```text
//! boots u64        (little-endian)
//! ```

use super::record::{self, Format};
use crate::error::{Error, Result};
use crate::storage::open_directory::OpenDirectory;

/// Its name in a directory of this format.
pub(super) const BOOT_COUNT: &str = "run";
const MAGIC: [u8; 8] = *b"almidrun";

/// Counts one more boot; the first is 1. The file gets `format`, that of the directory.
///
/// # Errors
/// `INCOMPATIBLE_FORMAT` or `CORRUPTION`, `IO`, `NO_SPACE` or `PERMISSION`.
pub(super) fn begin(directory: &OpenDirectory, format: Format) -> Result<u64> {
    let body = record::read(directory, BOOT_COUNT, MAGIC)?.map_or_else(|| vec![0; 8], |record| record.body);
    let Ok(before) = <[u8; 8]>::try_from(body) else {
        let path = directory.path().join(BOOT_COUNT);
        return Err(Error::corruption(&path, record::HEADER_BYTES as u64, "the content makes no sense"));
    };
    let count = u64::from_le_bytes(before) + 1;
    record::write(directory, BOOT_COUNT, MAGIC, format, &count.to_le_bytes())?;
    Ok(count)
}
