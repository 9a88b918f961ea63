//! Descriptors that tell of events: epoll, eventfd, timerfd, signalfd, inotify. All are close-on-exec here.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use syscalls::syscall;

use super::descriptor::owned;
use crate::abi::{Errno, Sysno};

/// The size of the kernel's `sigset_t`.
pub const SIGSET_SIZE: usize = 8;

/// epoll_create1(2).
///
/// # Errors
/// Those of the call.
pub fn epoll() -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes a number and touches no memory.
    owned(unsafe { syscall!(Sysno::epoll_create1, libc::EPOLL_CLOEXEC) })
}

/// eventfd2(2).
///
/// # Errors
/// Those of the call.
pub fn eventfd(initval: u32, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers and touches no memory.
    owned(unsafe { syscall!(Sysno::eventfd2, initval, flags | libc::EFD_CLOEXEC) })
}

/// timerfd_create(2).
///
/// # Errors
/// Those of the call.
pub fn timerfd(clock: i32, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers and touches no memory.
    owned(unsafe { syscall!(Sysno::timerfd_create, clock, flags | libc::TFD_CLOEXEC) })
}

/// signalfd4(2), a new one.
///
/// # Errors
/// Those of the call.
pub fn signalfd(mask: u64, flags: i32) -> Result<OwnedFd, Errno> {
    let flags = flags | libc::SFD_CLOEXEC;
    // SAFETY: `mask` is a kernel sigset_t of the size given and outlives the call.
    owned(unsafe {
        syscall!(
            Sysno::signalfd4,
            -1_isize,
            &raw const mask,
            SIGSET_SIZE,
            flags
        )
    })
}

/// inotify_init1(2).
///
/// # Errors
/// Those of the call.
pub fn inotify(flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes a number and touches no memory.
    owned(unsafe { syscall!(Sysno::inotify_init1, flags | libc::IN_CLOEXEC) })
}

/// inotify_add_watch(2); a name is taken from the thread's working directory. Without one the kernel says `EFAULT` of
/// an inotify descriptor and `EINVAL` of any other.
///
/// # Errors
/// Those of the call.
pub fn watch(inotify: BorrowedFd<'_>, name: Option<&CStr>, mask: u32) -> Result<usize, Errno> {
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: `name` is null or NUL-terminated, and outlives the call.
    unsafe { syscall!(Sysno::inotify_add_watch, inotify.as_raw_fd(), name, mask) }
}
