//! Whether a file may be executed.
#![expect(
    unsafe_code,
    reason = "faccessat2(2) with AT_EMPTY_PATH has no safe wrapper"
)]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::abi::Errno;

/// Asks the kernel whether this process could execute the open file (`O_PATH` will do).
///
/// # Errors
/// `EACCES`.
pub fn may_execute(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the path is an empty C string; the descriptor is borrowed for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::X_OK,
            libc::AT_EMPTY_PATH | libc::AT_EACCESS,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::last())
    }
}
