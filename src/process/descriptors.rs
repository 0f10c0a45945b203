//! Keeps the library's file descriptors away from standard input, output and error.
//!
//! Owns the rule that the library uses no descriptor numbered 0, 1 or 2. A program may run with these closed, while
//! code in it that is unaware of this still writes its messages to 2: into whichever file was opened next. What
//! always holds: a descriptor returned by [`above_standard`] is above 2, and right after [`fill_standard`] all three
//! are open, so third-party code, such as RocksDB and the resolver, cannot get them either. It does not protect a
//! program that closes them while a store is open: the next file the engine opens may then get such a number.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

const STANDARD_MAX: RawFd = 2;

/// Returns `open` with a number above those of standard input, output and error. It is closed on exec, like std's
/// files.
///
/// # Errors
/// When the process has run out of descriptors.
pub fn above_standard<T: AsFd + From<OwnedFd>>(open: T) -> io::Result<T> {
    if open.as_fd().as_raw_fd() > STANDARD_MAX {
        return Ok(open);
    }
    // std duplicates to 3 and above, for this very reason, and uses F_DUPFD_CLOEXEC.
    let moved = T::from(open.as_fd().try_clone_to_owned()?);
    assert!(moved.as_fd().as_raw_fd() > STANDARD_MAX, "std keeps duplicates away from standard streams");
    Ok(moved)
}

/// Opens /dev/null for each of standard input, output and error that is closed, as Rust's own runtime does before
/// `main`. They stay open for good and are inherited by child processes, because a child without them has the same
/// problem.
///
/// # Errors
/// When one of them is closed and /dev/null cannot be opened.
#[allow(unsafe_code)] // Named corner: std opens only close-on-exec files, and cannot query a number.
pub(crate) fn fill_standard() -> io::Result<()> {
    while (0..=STANDARD_MAX).any(is_closed) {
        // SAFETY: the path is a C string, and the call touches no other memory.
        let lowest = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if lowest < 0 {
            return Err(io::Error::last_os_error());
        }
        if lowest > STANDARD_MAX {
            // Another thread took the closed number in the meantime. Whatever it opened there belongs to the program.
            drop(File::from(unsafe { OwnedFd::from_raw_fd(lowest) }));
        }
    }
    Ok(())
}

/// How many more descriptors this process may open, as of now.
///
/// # Errors
/// When it has run out of them, or has no `/proc`.
#[allow(unsafe_code)] // Named corner: std cannot query a limit.
pub(crate) fn available() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to the structure, a local variable.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // One of them is the listing's own.
    let open = std::fs::read_dir("/proc/self/fd")?.count() as u64 - 1;
    Ok(limit.rlim_cur.saturating_sub(open))
}

#[allow(unsafe_code)] // As above.
fn is_closed(fd: RawFd) -> bool {
    // SAFETY: the call takes numbers and touches no memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // tests/c/descriptors.c covers 0 to 2: a test here must not close them for all other tests.

    #[test]
    fn a_descriptor_above_the_standard_ones_keeps_its_number() {
        let file = tempfile::tempfile().expect("the temporary directory is writable");
        let number = file.as_raw_fd();

        assert_eq!(above_standard(file).expect("nothing is opened").as_raw_fd(), number);
    }

    #[test]
    fn open_standard_descriptors_are_left_unchanged() {
        let link = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        fill_standard().expect("/dev/null exists");
        let before = [0, 1, 2].map(link);

        fill_standard().expect("nothing is to be done");

        assert_eq!([0, 1, 2].map(link), before);
        assert!(!(0..=STANDARD_MAX).any(is_closed));
    }
}
