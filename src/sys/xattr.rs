//! Extended attributes by name: the host's calls, which take no directory.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CStr;

use syscalls::syscall;

use crate::abi::{Errno, Sysno};

/// Sets an extended attribute in the thread's directory, see [`super::fs::in_dir`].
///
/// # Errors
/// Those of setxattr(2).
pub fn set(path: &CStr, name: &CStr, value: &[u8], flags: i32, follow: bool) -> Result<(), Errno> {
    let nr = if follow {
        Sysno::setxattr
    } else {
        Sysno::lsetxattr
    };
    // SAFETY: the strings are NUL-terminated, `value` is as long as said.
    unsafe {
        syscall!(
            nr,
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr(),
            value.len(),
            flags
        )
    }
    .map(drop)
}

/// Reads an extended attribute in the thread's directory; with an empty buffer its length.
///
/// # Errors
/// Those of getxattr(2).
pub fn get(path: &CStr, name: &CStr, value: &mut [u8], follow: bool) -> Result<usize, Errno> {
    let nr = if follow {
        Sysno::getxattr
    } else {
        Sysno::lgetxattr
    };
    // SAFETY: the strings are NUL-terminated, `value` is as long as said.
    unsafe {
        syscall!(
            nr,
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr(),
            value.len()
        )
    }
}

/// Lists extended attributes in the thread's directory; with an empty buffer the list's length.
///
/// # Errors
/// Those of listxattr(2).
pub fn list(path: &CStr, list: &mut [u8], follow: bool) -> Result<usize, Errno> {
    let nr = if follow {
        Sysno::listxattr
    } else {
        Sysno::llistxattr
    };
    // SAFETY: `path` is NUL-terminated, `list` is as long as said.
    unsafe { syscall!(nr, path.as_ptr(), list.as_mut_ptr(), list.len()) }
}

/// Removes an extended attribute in the thread's directory.
///
/// # Errors
/// Those of removexattr(2).
pub fn remove(path: &CStr, name: &CStr, follow: bool) -> Result<(), Errno> {
    let nr = if follow {
        Sysno::removexattr
    } else {
        Sysno::lremovexattr
    };
    // SAFETY: both strings are NUL-terminated.
    unsafe { syscall!(nr, path.as_ptr(), name.as_ptr()) }.map(drop)
}
