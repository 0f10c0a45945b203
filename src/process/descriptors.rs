//! Which descriptors are ours: none of standard input, output and error.
//!
//! Owns the rule that nothing of the library has the numbers 0, 1 and 2. A program may run with these closed, and code in
//! it that knows nothing of that writes its messages to 2 all the same: into whatever file was opened next. What always
//! holds: a descriptor that [`above_standard`] hands out is above 2, and right after [`fill_standard`] the three are open,
//! so that code of others, RocksDB's and the resolver's, cannot get them either. A program that closes them while a
//! store is open leaves the engine's next file to chance.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

const STANDARD_MAX: RawFd = 2;

/// `open`, under a number above those of standard input, output and error. It is closed on exec, as std's files are.
///
/// # Errors
/// When the process has no descriptor left.
pub fn above_standard<T: AsFd + From<OwnedFd>>(open: T) -> io::Result<T> {
    if open.as_fd().as_raw_fd() > STANDARD_MAX {
        return Ok(open);
    }
    // std duplicates to 3 and above, for this very reason, and with F_DUPFD_CLOEXEC.
    let moved = T::from(open.as_fd().try_clone_to_owned()?);
    assert!(moved.as_fd().as_raw_fd() > STANDARD_MAX, "std keeps duplicates away from standard streams");
    Ok(moved)
}

/// Opens /dev/null as whichever of standard input, output and error is closed, as Rust's own runtime does before `main`.
/// They stay open for good, and child processes inherit them, because a child without them has the same trouble.
///
/// # Errors
/// When one is closed and /dev/null cannot be opened.
#[allow(unsafe_code)] // Named corner: std opens nothing that a child inherits, and cannot ask about a number.
pub(crate) fn fill_standard() -> io::Result<()> {
    while (0..=STANDARD_MAX).any(is_closed) {
        // SAFETY: the path is a C string, and the call touches no other memory.
        let lowest = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if lowest < 0 {
            return Err(io::Error::last_os_error());
        }
        if lowest > STANDARD_MAX {
            // Another thread took the number meanwhile. Whatever it opened there is the program's own.
            // SAFETY: the call just made this descriptor, so nobody else owns it.
            drop(File::from(unsafe { OwnedFd::from_raw_fd(lowest) }));
        }
    }
    Ok(())
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

    // What happens at 0 to 2 is shown by tests/c/descriptors.c: a test must not close them for all others.

    #[test]
    fn a_descriptor_above_the_standard_ones_stays_what_it_is() {
        let file = tempfile::tempfile().expect("the temporary directory is writable");
        let number = file.as_raw_fd();

        assert_eq!(above_standard(file).expect("nothing is opened").as_raw_fd(), number);
    }

    #[test]
    fn open_standard_descriptors_are_left_alone() {
        let link = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        fill_standard().expect("/dev/null exists");
        let before = [0, 1, 2].map(link);

        fill_standard().expect("nothing is to be done");

        assert_eq!([0, 1, 2].map(link), before);
        assert!(!(0..=STANDARD_MAX).any(is_closed));
    }
}
