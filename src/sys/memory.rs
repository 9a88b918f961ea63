//! Another process's memory and files.
#![expect(unsafe_code, reason = "the kernel is called here")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::abi::Errno;

/// Reads the memory of a thread's process.
///
/// # Errors
/// `EFAULT` where nothing can be read, `ESRCH`, `EPERM`.
pub fn read(tid: i32, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(to_usize(addr)),
        iov_len: buf.len(),
    };
    // SAFETY: `local` describes a live, exclusively borrowed buffer; `remote` is only a number to this process.
    let got = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(got).map_err(|_| Errno::last())
}

/// Writes the memory of a thread's process.
///
/// # Errors
/// `EFAULT` where nothing can be written, `ESRCH`, `EPERM`.
pub fn write(tid: i32, addr: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(to_usize(addr)),
        iov_len: bytes.len(),
    };
    // SAFETY: `local` describes a live buffer that the call only reads; `remote` is only a number to this process.
    let got = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(got).map_err(|_| Errno::last())
}

fn to_usize(addr: u64) -> usize {
    usize::try_from(addr).unwrap_or(usize::MAX)
}

/// A descriptor of a process.
///
/// # Errors
/// `ESRCH`, `EMFILE`.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(fd)
}

/// A descriptor of a thread (6.9); where the kernel has none, of its process.
///
/// # Errors
/// `ESRCH`, `EINVAL`, `EMFILE`.
pub fn pidfd_open_thread(tid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, libc::O_EXCL) };
    owned(fd)
}

/// A copy of the file that a process holds at this number; close-on-exec.
///
/// # Errors
/// `EBADF` where it holds none, `EPERM`, `ESRCH`, `EMFILE`.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointers.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    owned(copy)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    match i32::try_from(fd) {
        // SAFETY: the kernel just made this descriptor for this process; nothing else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Errno::last()),
    }
}
