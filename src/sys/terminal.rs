//! Terminals: which process group is in the foreground, how large the window is, and making a pseudo-terminal.
//!
//! When to change what is decided in `run::terminal` and `run::pty`.
#![expect(
    unsafe_code,
    reason = "a signal mask is set around tcsetpgrp; some ioctls have no safe wrapper"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgrp, setsid, tcgetpgrp, tcsetpgrp};

use super::descriptor::pty_peer;

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

/// Whether `terminal` may be read from and changed: this process is in its foreground, or it is not this session's at
/// all, so that no job control concerns it.
pub fn is_at_hand(terminal: BorrowedFd<'_>) -> bool {
    match tcgetpgrp(terminal.as_fd()) {
        Ok(group) => group == getpgrp(),
        Err(error) => error == nix::Error::ENOTTY,
    }
}

/// A pseudo-terminal of the devpts instance that is mounted at `devpts`: its master, which never blocks, and its slave.
pub fn open_pair(devpts: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = openat(devpts, "ptmx", flags, Mode::empty())?;
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which outlives the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let slave = pty_peer(master.as_fd(), libc::O_RDWR)?;
    Ok((master, slave))
}

/// Makes the calling process the leader of a new session whose terminal is `terminal`.
pub fn lead_session(terminal: BorrowedFd<'_>) -> io::Result<()> {
    setsid()?;
    // SAFETY: TIOCSCTTY takes a number: nothing is taken away from another session.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The window of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    rows: u16,
    columns: u16,
    width: u16,
    height: u16,
}

/// How large the window of `terminal` is; `None` where it is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Option<Size> {
    let mut window = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, which outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut window) };
    (result == 0).then_some(Size {
        rows: window.ws_row,
        columns: window.ws_col,
        width: window.ws_xpixel,
        height: window.ws_ypixel,
    })
}

/// Makes the window of `terminal` as large as `size`; the kernel tells its foreground by SIGWINCH where that is a change.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let window = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.width,
        ws_ypixel: size.height,
    };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const window) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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
