//! POSIX message queues, of the calling thread's ipc namespace.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use syscalls::syscall;

use super::descriptor::owned;
use crate::abi::{Errno, Sysno};

/// `struct mq_attr`: flags, most messages, largest message, messages now, and four that nobody uses.
pub type Attributes = [i64; 8];

/// mq_open(2), close-on-exec here; the name is the kernel's, without a slash.
///
/// # Errors
/// Those of the call.
pub fn open(
    name: &CStr,
    oflag: i32,
    mode: u32,
    attributes: Option<&Attributes>,
) -> Result<OwnedFd, Errno> {
    let attributes = attributes.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the name is NUL-terminated, the attributes are null or of the size that the call reads; both outlive it.
    owned(unsafe {
        syscall!(
            Sysno::mq_open,
            name.as_ptr(),
            oflag | libc::O_CLOEXEC,
            mode,
            attributes
        )
    })
}

/// mq_unlink(2).
///
/// # Errors
/// Those of the call.
pub fn unlink(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    unsafe { syscall!(Sysno::mq_unlink, name.as_ptr()) }?;
    Ok(())
}
