//! A cage that is a process: its memory by process_vm_readv(2), its files by pidfd_getfd(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::abi::Errno;
use crate::cage::Thread;
use crate::guest::{Guest, GuestMemory};
use crate::sys::{memory, notify, privilege};

/// A thread of a cage while it waits for an answer.
#[derive(Debug)]
pub(crate) struct ProcessGuest<'a> {
    thread: &'a Arc<Thread>,
    /// The notification that it waits by, where it does: then its number may have been taken over after its death, and
    /// what was read counts only if it still waits.
    notification: Option<(BorrowedFd<'a>, u64)>,
}

impl<'a> ProcessGuest<'a> {
    /// A thread in a ptrace stop.
    pub(crate) fn stopped(thread: &'a Arc<Thread>) -> Self {
        Self {
            thread,
            notification: None,
        }
    }

    /// A thread that waits by a notification.
    pub(crate) fn notified(thread: &'a Arc<Thread>, listener: BorrowedFd<'a>, id: u64) -> Self {
        Self {
            thread,
            notification: Some((listener, id)),
        }
    }

    fn still_there(&self) -> Result<(), Errno> {
        match self.notification {
            Some((listener, id)) if !notify::still_waits(listener, id) => Err(Errno::ESRCH),
            _ => Ok(()),
        }
    }
}

/// Tries without a capability first: only a process that made itself undumpable needs one.
fn with_ptrace_if_refused<T>(mut act: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match act() {
        Err(Errno::EPERM | Errno::EACCES) => privilege::with_ptrace(act),
        result => result,
    }
}

impl GuestMemory for ProcessGuest<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let got = with_ptrace_if_refused(|| memory::read(self.thread.tid.0, addr, buf));
        self.still_there()?;
        got
    }

    fn write(&self, addr: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.still_there()?;
        with_ptrace_if_refused(|| memory::write(self.thread.tid.0, addr, bytes))
    }
}

impl Guest for ProcessGuest<'_> {
    fn borrow_file(&self, fd: i32) -> Result<OwnedFd, Errno> {
        let of_thread = || {
            let own = memory::pidfd_open_thread(self.thread.tid.0)?;
            with_ptrace_if_refused(|| memory::pidfd_getfd(own.as_fd(), fd))
        };
        if self.thread.has_own_files() {
            return of_thread();
        }
        let pidfd = self.thread.cage.pidfd().ok_or(Errno::EBADF)?;
        match with_ptrace_if_refused(|| memory::pidfd_getfd(pidfd, fd)) {
            // The leader may have ended.
            Err(Errno::EBADF | Errno::ESRCH) if self.thread.needs_own_pidfd() => of_thread(),
            result => result,
        }
    }
}
