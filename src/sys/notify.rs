//! seccomp notifications (`seccomp_unotify(2)`): receive, put a file into the caller, answer.
#![expect(unsafe_code, reason = "the kernel is called here")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::abi::Errno;

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// What the answer must name.
    pub id: u64,
    /// The calling thread, as the supervisor sees it.
    pub tid: i32,
    /// The call's number.
    pub nr: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// This value, or this negative errno.
    Result(i64),
    /// The kernel runs the call.
    Continue,
}

const IOWR: u64 = 3;
const IOW: u64 = 1;

const fn request(direction: u64, number: u64, size: usize) -> u64 {
    (direction << 30) | ((size as u64) << 16) | (0x21 << 8) | number
}

const RECV: u64 = request(IOWR, 0, size_of::<libc::seccomp_notif>());
const SEND: u64 = request(IOWR, 1, size_of::<libc::seccomp_notif_resp>());
const ID_VALID: u64 = request(IOW, 2, 8);
const ADDFD: u64 = request(IOW, 3, size_of::<libc::seccomp_notif_addfd>());
const SET_FLAGS: u64 = request(IOW, 4, 8);

fn ioctl<T>(listener: BorrowedFd<'_>, op: u64, data: *mut T) -> Result<i32, Errno> {
    // SAFETY: `data` comes from a live, exclusively borrowed structure of the very type and size that `op` encodes.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), op, data) };
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Waits for a notification.
///
/// # Errors
/// `EINTR`; `ENOENT` where the caller died meanwhile or no filter is left.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    // SAFETY: the structure is plain integers, for which zero is a value; the kernel wants it zeroed.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    ioctl(listener, RECV, &raw mut raw)?;
    Ok(Notification {
        id: raw.id,
        tid: raw.pid.cast_signed(),
        nr: u64::from(raw.data.nr.cast_unsigned()),
        args: raw.data.args,
    })
}

/// Answers.
///
/// # Errors
/// `ENOENT` where the caller is gone.
pub fn send(listener: BorrowedFd<'_>, id: u64, response: Response) -> Result<(), Errno> {
    let mut raw = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: 0,
    };
    match response {
        Response::Result(value @ -4095..=-1) => {
            raw.error = i32::try_from(value).unwrap_or(-libc::EINVAL)
        }
        Response::Result(value) => raw.val = value,
        Response::Continue => raw.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    }
    ioctl(listener, SEND, &raw mut raw).map(drop)
}

/// Whether the caller still waits: what was read of its memory was its own.
#[must_use]
pub fn still_waits(listener: BorrowedFd<'_>, mut id: u64) -> bool {
    ioctl(listener, ID_VALID, &raw mut id).is_ok()
}

/// Whether an added file's number is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The caller goes on with the number as its result.
    Answer,
    /// The caller goes on waiting.
    Wait,
}

/// Puts a file at exactly this number of the waiting caller, in place of what is there.
///
/// # Errors
/// `EBADF` for an `O_PATH` file or a number at or above the caller's limit, `EMFILE`, `ENOENT` where it is gone.
pub fn add_file(
    listener: BorrowedFd<'_>,
    id: u64,
    file: impl AsFd,
    at: i32,
    cloexec: bool,
    then: Then,
) -> Result<(), Errno> {
    let answers = match then {
        Then::Answer => libc::SECCOMP_ADDFD_FLAG_SEND,
        Then::Wait => 0,
    };
    let mut raw = libc::seccomp_notif_addfd {
        id,
        flags: (libc::SECCOMP_ADDFD_FLAG_SETFD | answers) as u32,
        srcfd: file.as_fd().as_raw_fd().cast_unsigned(),
        newfd: at.cast_unsigned(),
        newfd_flags: if cloexec {
            libc::O_CLOEXEC.cast_unsigned()
        } else {
            0
        },
    };
    ioctl(listener, ADDFD, &raw mut raw).map(drop)
}

/// Asks the kernel to hand the CPU over at an answer, where it can (6.6).
pub fn prefer_sync_wake_up(listener: BorrowedFd<'_>) {
    const SYNC_WAKE_UP: usize = 1;
    // SAFETY: this request takes its flags by value.
    unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
}

/// Whether a filter that reports to this listener still has users.
#[must_use]
pub fn has_users(listener: BorrowedFd<'_>) -> bool {
    poll_now(listener).is_some_and(|events| !events.contains(PollFlags::POLLHUP))
}

/// Whether a call waits to be received.
#[must_use]
pub fn is_pending(listener: BorrowedFd<'_>) -> bool {
    poll_now(listener).is_some_and(|events| events.contains(PollFlags::POLLIN))
}

fn poll_now(listener: BorrowedFd<'_>) -> Option<PollFlags> {
    let mut fds = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).ok()?;
    let [fd] = fds;
    fd.revents()
}

/// Whether this kernel has notifications that a signal cannot cut in two (5.19).
#[must_use]
pub fn is_supported() -> bool {
    const GET_NOTIF_SIZES: u32 = 3;
    const GET_ACTION_AVAIL: u32 = 2;
    let action = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: this operation reads a live u32.
    let available =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) == 0 };
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    // SAFETY: this operation writes a live structure of the type that the kernel fills.
    let sized =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_NOTIF_SIZES, 0, &raw mut sizes) == 0 };
    available
        && sized
        && usize::from(sizes.seccomp_notif) == size_of::<libc::seccomp_notif>()
        && kernel_release().is_some_and(|release| release >= (5, 19))
}

fn kernel_release() -> Option<(u32, u32)> {
    let name = nix::sys::utsname::uname().ok()?;
    let mut parts = name.release().to_str()?.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
