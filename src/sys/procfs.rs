//! Reading a mounted /proc by way of a descriptor of its root. What may be read by whom is decided above.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use syscalls::syscall;

use super::descriptor::owned;
use crate::abi::{Errno, Sysno};

/// No file read here is longer; a status of 20 groups has 2 KiB.
const MOST: u64 = 1 << 20;
const LINK_MAX: usize = 4096;

fn name(path: &str) -> Result<CString, Errno> {
    CString::new(path).map_err(|_| Errno::EINVAL)
}

/// Opens a file below `proc`; magic links are followed.
///
/// # Errors
/// Those of openat(2).
pub fn open(proc: BorrowedFd<'_>, path: &str, flags: i32) -> Result<OwnedFd, Errno> {
    let path = name(path)?;
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    owned(unsafe { syscall!(Sysno::openat, proc.as_raw_fd(), path.as_ptr(), flags, 0) })
}

/// The whole of a file below `proc`.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let file = File::from(open(proc, path, libc::O_RDONLY)?);
    let mut content = Vec::new();
    match file.take(MOST).read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(error) => Err(error.raw_os_error().map_or(Errno::EIO, Errno::new)),
    }
}

/// The text of a link below `proc`.
///
/// # Errors
/// Those of readlinkat(2).
pub fn link(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let path = name(path)?;
    let mut text = vec![0_u8; LINK_MAX];
    // SAFETY: `path` is NUL-terminated, `text` has the room that is told; both outlive the call.
    let len = unsafe {
        syscall!(
            Sysno::readlinkat,
            proc.as_raw_fd(),
            path.as_ptr(),
            text.as_mut_ptr(),
            text.len()
        )
    }?;
    text.truncate(len);
    Ok(text)
}
