//! Making and copying descriptors of the supervisor's own: pipes, memory files, pid descriptors, terminals' other
//! ends. All are close-on-exec here, whatever the cage asked for. `EMFILE` of the supervisor is the cage's `ENFILE`.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use syscalls::syscall;

use super::privilege::{Capability, with_if_refused};
use crate::abi::layout::Rlimit;
use crate::abi::{Errno, Sysno};

/// Takes a descriptor that the kernel has just made; for this floor alone.
pub(super) fn owned(made: Result<usize, Errno>) -> Result<OwnedFd, Errno> {
    let number = made.map_err(no_room)?;
    let number = RawFd::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A full table of the supervisor's is not the cage's fault.
fn no_room(errno: Errno) -> Errno {
    if errno == Errno::EMFILE {
        Errno::ENFILE
    } else {
        errno
    }
}

/// Another descriptor of the same open file.
///
/// # Errors
/// `ENFILE`.
pub fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes two numbers and touches no memory.
    owned(unsafe { syscall!(Sysno::fcntl, fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) })
}

/// Another descriptor of what a number stands for that whoever started this program handed on; its own number is `first`
/// or above.
///
/// # Errors
/// `EBADF`, `ENFILE`, `EINVAL` where there is no number so high.
pub fn copy_inherited(number: RawFd, first: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes two numbers and touches no memory; a wrong one is EBADF.
    owned(unsafe { syscall!(Sysno::fcntl, number, libc::F_DUPFD_CLOEXEC, first) })
}

/// Whether a descriptor can be written to.
#[must_use]
pub fn is_writable(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let flags = unsafe { syscall!(Sysno::fcntl, fd.as_raw_fd(), libc::F_GETFL) };
    flags.is_ok_and(|flags| flags & 3 != 0)
}

/// pipe2(2): the end to read and the end to write.
///
/// # Errors
/// Those of the call.
pub fn pipe(flags: i32) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: `ends` has room for the two numbers that the kernel writes.
    unsafe { syscall!(Sysno::pipe2, ends.as_mut_ptr(), flags | libc::O_CLOEXEC) }
        .map_err(no_room)?;
    // SAFETY: the kernel has just made both descriptors for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// memfd_create(2).
///
/// # Errors
/// Those of the call.
pub fn memory_file(name: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    owned(unsafe {
        syscall!(
            Sysno::memfd_create,
            name.as_ptr(),
            flags | libc::MFD_CLOEXEC
        )
    })
}

/// pidfd_open(2).
///
/// # Errors
/// Those of the call.
pub fn process(pid: i32, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes two numbers and touches no memory.
    owned(unsafe { syscall!(Sysno::pidfd_open, pid, flags) })
}

/// pidfd_getfd(2): a copy of what another process has open at a number.
///
/// # Errors
/// Those of the call.
pub fn borrow(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes three numbers and touches no memory.
    owned(unsafe { syscall!(Sysno::pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

/// Whether it is a terminal.
#[must_use]
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: isatty takes a number; all it writes is a local of its own.
    unsafe { libc::isatty(fd.as_raw_fd()) == 1 }
}

/// The number of a pseudoterminal, asked of its master.
///
/// # Errors
/// Those of ioctl(2), `ENOTTY` above all.
pub fn pty_number(master: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut number = 0_u32;
    // SAFETY: TIOCGPTN writes one unsigned int.
    unsafe {
        syscall!(
            Sysno::ioctl,
            master.as_raw_fd(),
            libc::TIOCGPTN,
            &raw mut number
        )
    }?;
    Ok(number)
}

/// The other end of a pseudoterminal, opened by way of its master.
///
/// # Errors
/// Those of ioctl(2).
pub fn pty_peer(master: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd, Errno> {
    // Opened by us without O_NOCTTY it could become our own controlling terminal.
    // This open keeps O_CLOEXEC among the file's status flags, where the cage would see it: only the cage's own goes
    // along, and ours is set afterwards.
    let flags = flags | libc::O_NOCTTY;
    // SAFETY: TIOCGPTPEER takes open flags, not a pointer.
    let peer =
        owned(unsafe { syscall!(Sysno::ioctl, master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: F_SETFD takes two numbers and touches no memory.
    unsafe {
        syscall!(
            Sysno::fcntl,
            peer.as_raw_fd(),
            libc::F_SETFD,
            libc::FD_CLOEXEC
        )
    }?;
    Ok(peer)
}

/// prlimit(2): sets a limit of a process where one is given, and says what it was.
///
/// # Errors
/// Those of the call.
pub fn limit(pid: i32, resource: i32, new: Option<&Rlimit>) -> Result<Rlimit, Errno> {
    let mut old = Rlimit::default();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    with_if_refused(Capability::SYS_RESOURCE, || {
        // SAFETY: `new` is null or a whole rlimit64, `old` is one that the kernel may fill; both outlive the call.
        unsafe { syscall!(Sysno::prlimit64, pid, resource, new, &raw mut old) }
    })?;
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn pipes_and_copies_are_close_on_exec() {
        let (read, write) = pipe(libc::O_NONBLOCK).unwrap();
        let again = copy(read.as_fd()).unwrap();
        for fd in [&read, &write, &again] {
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
        assert!(!is_terminal(read.as_fd()));
        assert_eq!(pty_number(read.as_fd()), Err(Errno::ENOTTY));
        assert_eq!(pipe(libc::O_TRUNC).err(), Some(Errno::EINVAL));
    }
}
