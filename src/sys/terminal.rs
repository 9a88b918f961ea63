//! The controlling terminal: which process group is in its foreground, and changing that.
//!
//! When to change it is decided in `run::terminal`.
#![expect(unsafe_code, reason = "a signal mask is set around tcsetpgrp")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The session's terminal, if there is one.
pub fn open_controlling() -> Option<OwnedFd> {
    open(
        "/dev/tty",
        OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY,
        Mode::empty(),
    )
    .ok()
}

/// Whether the calling process is in the foreground of `terminal`.
pub fn in_foreground(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal.as_fd()).is_ok_and(|group| group == getpgrp())
}

/// Makes `group` the foreground process group of `terminal`. Works from the background too, as a shell needs it.
pub fn set_foreground(terminal: BorrowedFd<'_>, group: i32) -> io::Result<()> {
    // A change from the background raises SIGTTOU, whose default is to stop; blocked, the change is simply made.
    let blocked = Blocked::new(libc::SIGTTOU);
    let result = tcsetpgrp(terminal.as_fd(), Pid::from_raw(group));
    drop(blocked);
    Ok(result?)
}

/// One signal blocked in this thread until dropped.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn new(signal: libc::c_int) -> Self {
        // SAFETY: all-zero is a valid sigset_t, and every pointer is to a live local.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that the kernel gave for this very thread.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}
